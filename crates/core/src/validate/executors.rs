//! Inputs that stand in the plan as they are, for those who will do the work to look at: whether SQL parses, whether a
//! path stays in the workspace.
//!
//! The core knows no tool's language. The engine and the command line hand each [`LiteralCall`] to its executor, and
//! give the answers to validation ([`LiteralCall::finding`]).

use serde_json::Value;

use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::plan::PlanDocument;
use crate::reference::{InputBinding, ReferencePlace};
use crate::task::{Task, TaskType};

/// A task's call of a tool.
#[derive(Debug, Clone, Copy)]
pub struct LiteralCall<'p> {
    /// The task's place in the document.
    at: usize,
    task: &'p Task,
    /// The tool.
    pub tool: &'p str,
}

/// A problem that an executor sees in an input.
#[derive(Debug, Clone, PartialEq)]
pub struct InputProblem {
    /// The input, or a place in it: `sql`, `write_to.path`.
    pub input: String,
    /// The problem, in words.
    pub message: String,
    /// The code.
    pub code: ErrorCode,
    /// A thing that is not there now and may be by the time the task runs: the finding is a warning.
    pub missing: Option<String>,
    /// Advice on how to mend it.
    pub suggestion: String,
}

/// An executor's problem as a finding.
#[derive(Debug, Clone)]
pub struct ExecutorFinding {
    /// The finding.
    pub finding: Finding,
    /// False where the finding is a warning.
    pub is_error: bool,
}

impl<'p> LiteralCall<'p> {
    /// An input as it stands in the plan, references and all.
    pub fn written(&self, input: &str) -> Option<&'p Value> {
        self.task.inputs.get(input)
    }

    /// An input that holds no reference: what the tool will get.
    pub fn literal(&self, input: &str) -> Option<Value> {
        let value = self.task.inputs.get(input)?;
        let mut broken = Vec::new();
        let place = ReferencePlace::Field("inputs");
        let binding = InputBinding::parse(value, &place.key(input), &mut broken);
        if !binding.is_literal() || !broken.is_empty() {
            return None;
        }
        binding.resolve(&mut |_| Err(())).ok()
    }

    /// A problem as a finding about the call's task; none where another task of the plan names what is missing here,
    /// for it may make it.
    pub fn finding(
        &self,
        document: &PlanDocument,
        problem: InputProblem,
    ) -> Option<ExecutorFinding> {
        if let Some(missing) = &problem.missing {
            let others = document.tasks.iter().enumerate().filter(|(i, _)| *i != self.at);
            let mut values = others.flat_map(|(_, task)| task.inputs.values());
            if values.any(|value| names(value, missing)) {
                return None;
            }
        }
        let code = problem.code;
        let finding = Finding::new(code, ValidationLevel::Semantic, problem.message)
            .task(&self.task.task_id)
            .field(format!("tasks[{}].inputs.{}", self.at, problem.input))
            .suggest(problem.suggestion);
        Some(ExecutorFinding { finding, is_error: problem.missing.is_none() })
    }
}

/// True if a text is a value, or stands somewhere in one.
fn names(value: &Value, text: &str) -> bool {
    match value {
        Value::String(s) => s == text,
        Value::Array(items) => items.iter().any(|item| names(item, text)),
        Value::Object(map) => map.values().any(|item| names(item, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The tool calls of a document.
pub fn literal_calls(document: &PlanDocument) -> impl Iterator<Item = LiteralCall<'_>> {
    document.tasks.iter().enumerate().filter_map(|(at, task)| {
        let tool = task.tool.as_deref().filter(|_| task.task_type == TaskType::ToolCall)?;
        Some(LiteralCall { at, task, tool })
    })
}
