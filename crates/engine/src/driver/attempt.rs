//! One attempt: resolve references, call the executor, check and pack the output.

use std::sync::Arc;

use l05_core::ErrorCode;
use l05_core::agent::LOCAL_AGENT;
use l05_core::catalog::ToolCatalog;
use l05_core::context::json_len;
use l05_core::json_schema::first_problem;
use l05_core::plan::digest_hex;
use l05_core::task::{Task, TaskType};
use l05_run::amounts::Usage;
use l05_run::command::AttemptOutcome;
use l05_run::event::{TaskError, TaskOutput};
use l05_run::record::OutputBlob;
use serde_json::Value;

use super::resolve::{OutputLoader, ResolvedInputs};
use crate::evaluations::EvaluationPort;
use crate::port::{BoxFuture, CancelSignal, Executor, ExecutorOutput, Failure, ToolCall};
use crate::shard::TaskLaunch;
use crate::tool_catalog::CatalogHandle;
use crate::workspaces::RunWorkspaces;

/// Outputs longer than this, as JSON text, are kept beside the journal (spec 03, 3.6).
const INLINE_BYTES_MAX: usize = 64 << 10;
/// The depth to which an output may nest: JSON readers stop at 128, and records and results wrap
/// it.
const OUTPUT_DEPTH_MAX: usize = 100;
/// The largest output of one task; larger data are files.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// The executors and the tools they have.
#[derive(Clone)]
pub(crate) struct ExecutorSet {
    catalog: Arc<CatalogHandle>,
    /// Does LLM_CALL tasks, where there is a model.
    model: Option<Arc<dyn Executor>>,
    /// The folders of attempts.
    workspaces: RunWorkspaces,
}

/// The outcome of an attempt.
pub(crate) struct AttemptReport {
    pub(crate) outcome: AttemptOutcome,
    pub(crate) blob: Option<OutputBlob>,
    /// `None`: nobody knows.
    pub(crate) usage: Option<Usage>,
}

impl ExecutorSet {
    pub(crate) fn new(
        catalog: Arc<CatalogHandle>,
        model: Option<Arc<dyn Executor>>,
        workspaces: RunWorkspaces,
    ) -> ExecutorSet {
        ExecutorSet { catalog, model, workspaces }
    }

    /// The work of one attempt, ready to be spawned.
    pub(crate) fn attempt(
        &self,
        loader: &Arc<OutputLoader>,
        assignment: TaskLaunch,
        agent: Option<Arc<dyn Executor>>,
        cancel: CancelSignal,
    ) -> BoxFuture<'static, AttemptReport> {
        let (loader, workbench) = (loader.clone(), self.clone());
        Box::pin(async move {
            match workbench.run(&loader, assignment, agent, cancel).await {
                Ok((output, blob, usage)) => AttemptReport {
                    outcome: AttemptOutcome::Completed(output),
                    blob,
                    usage: Some(usage),
                },
                Err(Failure { error, usage }) => {
                    AttemptReport { outcome: AttemptOutcome::Failed(error), blob: None, usage }
                }
            }
        })
    }

    async fn run(
        &self,
        loader: &OutputLoader,
        assignment: TaskLaunch,
        agent: Option<Arc<dyn Executor>>,
        cancel: CancelSignal,
    ) -> Result<(TaskOutput, Option<OutputBlob>, Usage), Failure> {
        let tools = self.catalog.snapshot();
        let task = assignment.plan.task(assignment.origin);
        let tool = task.tool.clone().unwrap_or_default();
        let here = || match task.task_type {
            TaskType::LlmCall => self.model.clone(),
            TaskType::ToolCall | TaskType::Atomic | TaskType::Compound => tools.executor(&tool),
        };
        // What was placed on another agent is not done here because that one has left meanwhile.
        let is_mine = &*assignment.agent == LOCAL_AGENT;
        let executor = agent.or_else(|| is_mine.then(here).flatten()).ok_or_else(|| {
            let (work, agent) = (tool_or_task(&tool, &assignment.name), &assignment.agent);
            failed(
                ErrorCode::AgentUnavailable,
                format!("`{agent}` has nothing here that does {work}"),
            )
        })?;
        let ResolvedInputs { inputs, prompt } = loader.inputs(&assignment).await?;
        let workspace = self
            .workspaces
            .folder(assignment.workspace.as_deref())
            .map_err(|why| failed(ErrorCode::AccessDenied, why))?;
        let told = prompt.as_deref().unwrap_or_else(|| task.instructions());
        let call = ToolCall {
            tool: tool.as_str().into(),
            inputs,
            instructions: tool.is_empty().then(|| told.into()),
            output_schema: task.output_schema.clone(),
            plan: assignment.plan.id(),
            task_id: assignment.name.clone(),
            attempt: assignment.attempt,
            launch: assignment.launch,
            not_after: assignment.not_after,
            model: task.model().map(Arc::from),
            allowance: assignment.plan.allowance(assignment.origin),
            answer: assignment.answer,
            workspace,
            cancel,
        };
        check_inputs(&tools.tools, &tool, task, &call.inputs, &loader.evaluations).await?;
        let ExecutorOutput { output, usage } = executor.execute(call).await?;
        // It has been paid for, whatever it is worth.
        let used = |error| Failure { error, usage: Some(usage) };
        let checked = check_output(&tools.tools, &tool, task, &output, &loader.evaluations);
        checked.await.map_err(used)?;
        let (output, blob) = pack(output).map_err(used)?;
        Ok((output, blob, usage))
    }
}

/// Again at run time, now that references are values.
async fn check_inputs(
    catalog: &ToolCatalog,
    tool: &str,
    task: &Task,
    inputs: &Value,
    evaluations: &EvaluationPort,
) -> Result<(), TaskError> {
    let refused = |message| TaskError::last(ErrorCode::TypeMismatch, message);
    let validator = catalog.get(tool).and_then(|t| t.inputs.as_ref());
    if let Some(problem) = validator.and_then(|validator| first_problem(validator, inputs)) {
        return Err(refused(format!("tool `{tool}` refuses its input at {problem}")));
    }
    let Some(schema) = &task.input_schema else { return Ok(()) };
    match evaluations.schema_problem(schema, inputs).await? {
        None => Ok(()),
        Some(problem) => {
            Err(refused(format!("the task's input_schema refuses the input at {problem}")))
        }
    }
}

async fn check_output(
    catalog: &ToolCatalog,
    tool: &str,
    task: &Task,
    output: &Value,
    evaluations: &EvaluationPort,
) -> Result<(), TaskError> {
    let broken = |message| Err(failed(ErrorCode::TypeMismatch, message));
    let validator = catalog.get(tool).and_then(|t| t.outputs.as_ref());
    if let Some(at) = validator.and_then(|validator| first_problem(validator, output)) {
        return broken(format!("tool `{tool}` gave an output that breaks its schema at {at}"));
    }
    let Some(schema) = &task.output_schema else { return Ok(()) };
    match evaluations.schema_problem(schema, output).await? {
        None => Ok(()),
        Some(problem) => broken(format!("the output breaks the task's output_schema at {problem}")),
    }
}

fn tool_or_task(tool: &str, task: &str) -> String {
    if tool.is_empty() { format!("the task `{task}`") } else { format!("the tool `{tool}`") }
}

pub(super) fn failed(code: ErrorCode, message: String) -> TaskError {
    TaskError::new(code, message)
}

/// Keeps a small output inline and takes a large one out.
pub(super) fn pack(value: Value) -> Result<(TaskOutput, Option<OutputBlob>), TaskError> {
    if is_deeper(&value, OUTPUT_DEPTH_MAX) {
        let message = format!("the output nests deeper than {OUTPUT_DEPTH_MAX}");
        return Err(failed(ErrorCode::ContextTooLarge, message));
    }
    if json_len(&value) <= INLINE_BYTES_MAX {
        return Ok((TaskOutput::Inline(Arc::new(value)), None));
    }
    let json = serde_json::to_vec(&value).expect("a JSON value has a text");
    if json.len() > OUTPUT_BYTES_MAX {
        let message =
            format!("the output is {} bytes; at most {OUTPUT_BYTES_MAX} are kept", json.len());
        return Err(failed(ErrorCode::ContextTooLarge, message));
    }
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &json);
    let sha256 = digest_hex(hash.as_ref());
    let output = TaskOutput::Blob { sha256: sha256.clone(), bytes: json.len() as u64 };
    Ok((output, Some(OutputBlob { sha256, json })))
}

/// True if a value nests deeper than `depth`; looks no deeper itself.
fn is_deeper(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => true,
        Value::Array(items) => items.iter().any(|item| is_deeper(item, depth - 1)),
        Value::Object(map) => map.values().any(|item| is_deeper(item, depth - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
