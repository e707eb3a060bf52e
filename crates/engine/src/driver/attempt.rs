//! One attempt: resolve references, call the executor, check and pack the output.

use std::collections::BTreeMap;
use std::sync::Arc;

use l05_core::ErrorCode;
use l05_core::catalog::{Catalog, first_problem, schema_problem};
use l05_core::context::CONTEXT_BYTES_MAX;
use l05_core::graph::EdgeIndex;
use l05_core::id::TaskIndex;
use l05_core::plan::digest_hex;
use l05_core::reference::{Reference, Source};
use l05_core::run::command::Outcome;
use l05_core::run::event::{Output, TaskError, Usage, Verdict};
use l05_core::run::record::Blob;
use l05_core::task::{Task, TaskStatus};
use serde_json::{Map, Value, json};

use crate::port::{BoxFuture, CancelSignal, Executed, Executor, Journal, StoreError, ToolCall};
use crate::shard::{Assignment, Produced, Question};

/// Outputs longer than this, as JSON text, are kept beside the journal (spec 03, 3.6).
const INLINE_BYTES_MAX: usize = 64 << 10;
/// How deep an output may nest: JSON readers stop at 128, and records and results wrap it.
const OUTPUT_DEPTH_MAX: usize = 100;
/// The largest output of one task; larger data are files.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// The executors and the tools they have.
#[derive(Clone)]
pub(crate) struct Workbench {
    executors: Arc<BTreeMap<String, Arc<dyn Executor>>>,
    catalog: Arc<Catalog>,
}

/// What became of an attempt.
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    pub(crate) blob: Option<Blob>,
    pub(crate) usage: Usage,
}

impl Workbench {
    pub(crate) fn new(executors: &[Arc<dyn Executor>], catalog: Arc<Catalog>) -> Workbench {
        let by_tool = executors
            .iter()
            .flat_map(|e| e.tools().into_iter().map(move |tool| (tool.name, e.clone())))
            .collect();
        Workbench { executors: Arc::new(by_tool), catalog }
    }

    /// The work of one attempt, ready to be spawned.
    pub(crate) fn attempt(
        &self,
        journal: &Arc<dyn Journal>,
        assignment: Assignment,
        cancel: CancelSignal,
    ) -> BoxFuture<'static, Done> {
        let (journal, workbench) = (journal.clone(), self.clone());
        Box::pin(async move {
            match workbench.run(&*journal, assignment, cancel).await {
                Ok((output, blob, usage)) => {
                    Done { outcome: Outcome::Completed(output), blob, usage }
                }
                Err(error) => {
                    Done { outcome: Outcome::Failed(error), blob: None, usage: Usage::default() }
                }
            }
        })
    }

    async fn run(
        &self,
        journal: &dyn Journal,
        assignment: Assignment,
        cancel: CancelSignal,
    ) -> Result<(Output, Option<Blob>, Usage), TaskError> {
        let task = assignment.plan.task(assignment.task);
        let tool = task.tool.clone().unwrap_or_default();
        let executor = self.executors.get(&tool).cloned().ok_or_else(|| {
            failed(ErrorCode::AGENT_UNAVAILABLE, format!("nothing here runs the tool `{tool}`"))
        })?;
        let inputs = resolve_inputs(journal, &assignment).await?;
        let call = ToolCall {
            tool: tool.as_str().into(),
            inputs,
            plan: assignment.plan.id(),
            task_id: task.task_id.as_str().into(),
            attempt: assignment.attempt,
            not_after: assignment.not_after,
            cancel,
        };
        self.check_inputs(&tool, task, &call.inputs)?;
        let Executed { output, usage } = executor.execute(call).await?;
        self.check_output(&tool, task, &output)?;
        let (output, blob) = pack(output)?;
        Ok((output, blob, usage))
    }

    /// Again at run time, now that references are values.
    fn check_inputs(&self, tool: &str, task: &Task, inputs: &Value) -> Result<(), TaskError> {
        let validator = self.catalog.get(tool).and_then(|t| t.inputs.as_ref());
        let refused = validator
            .and_then(|validator| first_problem(validator, inputs))
            .map(|problem| format!("tool `{tool}` refuses its input at {problem}"))
            .or_else(|| {
                let problem = schema_problem(task.input_schema.as_ref()?, inputs)?;
                Some(format!("the task's input_schema refuses the input at {problem}"))
            });
        let error = |message| TaskError { code: ErrorCode::TYPE_MISMATCH, message, is_final: true };
        refused.map_or(Ok(()), |message| Err(error(message)))
    }

    fn check_output(&self, tool: &str, task: &Task, output: &Value) -> Result<(), TaskError> {
        let validator = self.catalog.get(tool).and_then(|t| t.outputs.as_ref());
        let broken = validator
            .and_then(|validator| first_problem(validator, output))
            .map(|at| format!("tool `{tool}` gave an output that breaks its schema at {at}"))
            .or_else(|| {
                let problem = schema_problem(task.output_schema.as_ref()?, output)?;
                Some(format!("the output breaks the task's output_schema at {problem}"))
            });
        broken.map_or(Ok(()), |message| Err(failed(ErrorCode::TYPE_MISMATCH, message)))
    }
}

fn failed(code: ErrorCode, message: String) -> TaskError {
    TaskError { code, message, is_final: false }
}

async fn resolve_inputs(
    journal: &dyn Journal,
    assignment: &Assignment,
) -> Result<Value, TaskError> {
    let plan = &assignment.plan;
    let bindings = plan.structure().bindings(assignment.task);
    let outputs = load_referenced(journal, assignment).await?;
    let plan_inputs = Value::Object(plan.document().inputs.clone());
    let mut inputs = Map::new();
    let mut lookup = |reference: &Reference| -> Result<Value, TaskError> {
        let unresolved = |e: l05_core::reference::Unresolved| {
            failed(ErrorCode::REFERENCE_UNRESOLVED, e.to_string())
        };
        match &reference.source {
            Source::Inputs => reference.resolve(&plan_inputs).map_err(unresolved),
            Source::Output(id) | Source::Error(id) => {
                let index = plan.structure().index_of(id);
                let found = index.and_then(|index| outputs.get(&index));
                match (found, &reference.source) {
                    (Some(Loaded { output: Some(value), .. }), Source::Output(_)) => {
                        reference.resolve(value).map_err(unresolved)
                    }
                    (Some(Loaded { error: Some(error), .. }), Source::Error(_)) => {
                        reference.resolve(error).map_err(unresolved)
                    }
                    // `join: any`, or a failure that is allowed: it has nothing to give.
                    (Some(_), _) => Ok(Value::Null),
                    (None, _) => Err(failed(
                        ErrorCode::REFERENCE_UNRESOLVED,
                        format!("`{reference}` names a task that this one does not depend on"),
                    )),
                }
            }
            Source::Item | Source::Index => Err(failed(
                ErrorCode::REFERENCE_UNRESOLVED,
                format!("`{reference}` means nothing outside a for_each"),
            )),
        }
    };
    for (name, binding) in &bindings.inputs {
        inputs.insert(name.clone(), binding.resolve(&mut lookup)?);
    }
    let inputs = Value::Object(inputs);
    // Literals were measured when the plan was validated: only references can make it large.
    if !outputs.is_empty() {
        let bytes = json_len(&inputs);
        if bytes > CONTEXT_BYTES_MAX {
            let message = format!(
                "the resolved inputs are {bytes} bytes; at most {CONTEXT_BYTES_MAX} are allowed"
            );
            return Err(failed(ErrorCode::CONTEXT_TOO_LARGE, message));
        }
    }
    Ok(inputs)
}

struct Loaded {
    output: Option<Arc<Value>>,
    error: Option<Value>,
}

/// Outputs and errors of the tasks that the inputs refer to, blobs included.
async fn load_referenced(
    journal: &dyn Journal,
    assignment: &Assignment,
) -> Result<BTreeMap<TaskIndex, Loaded>, TaskError> {
    let structure = assignment.plan.structure();
    let mut wanted = Vec::new();
    for binding in structure.bindings(assignment.task).all() {
        binding.for_each_reference(&mut |reference| {
            wanted.extend(reference.task().and_then(|id| structure.index_of(id)));
        });
    }
    let mut loaded = BTreeMap::new();
    for produced in assignment.needs.iter().filter(|p| wanted.contains(&p.task)) {
        let output = load(journal, &assignment.plan, produced).await.map_err(|e| {
            failed(ErrorCode::CONTEXT_INJECTION_FAILED, format!("an input cannot be read: {e}"))
        })?;
        let error = produced
            .error
            .as_ref()
            .filter(|_| produced.status != TaskStatus::Completed)
            .map(|e| json!({ "code": e.code, "message": e.message }));
        loaded.insert(produced.task, Loaded { output, error });
    }
    Ok(loaded)
}

async fn load(
    journal: &dyn Journal,
    plan: &l05_core::plan::Plan,
    produced: &Produced,
) -> Result<Option<Arc<Value>>, StoreError> {
    match &produced.output {
        None => Ok(None),
        Some(Output::Inline(value)) => Ok(Some(value.clone())),
        Some(Output::Blob { sha256, .. }) => {
            let json = journal.blob(plan.id(), sha256.clone()).await?;
            let value = serde_json::from_slice(&json)
                .map_err(|e| StoreError::Corrupt(format!("output {sha256}: {e}")))?;
            Ok(Some(Arc::new(value)))
        }
    }
}

/// Evaluates the conditions of a question.
pub(super) async fn answer(
    journal: &dyn Journal,
    question: Question,
) -> Vec<(EdgeIndex, Result<Verdict, TaskError>)> {
    let plan = &question.plan;
    let inputs = Value::Object(plan.document().inputs.clone());
    let mut verdicts = Vec::new();
    for (edge, produced) in &question.edges {
        let verdict = match load(journal, plan, produced).await {
            Err(error) => Err(failed(ErrorCode::CONTEXT_INJECTION_FAILED, error.to_string())),
            Ok(output) => {
                let outputs = output.as_deref().unwrap_or(&Value::Null);
                let conditions = plan.structure().conditions(*edge);
                let all = conditions.iter().try_fold(true, |all, condition| {
                    Ok(all && condition.evaluate(outputs, &inputs, produced.status)?)
                });
                match all {
                    Ok(true) => Ok(Verdict::Satisfied),
                    Ok(false) => Ok(Verdict::Unsatisfied),
                    Err(error) => {
                        let error: l05_core::condition::ConditionError = error;
                        Err(failed(ErrorCode::DEPENDENCY_INVALID, error.to_string()))
                    }
                }
            }
        };
        verdicts.push((*edge, verdict));
    }
    verdicts
}

/// Keeps a small output inline and takes a large one out.
fn pack(value: Value) -> Result<(Output, Option<Blob>), TaskError> {
    if is_deeper(&value, OUTPUT_DEPTH_MAX) {
        let message = format!("the output nests deeper than {OUTPUT_DEPTH_MAX}");
        return Err(failed(ErrorCode::CONTEXT_TOO_LARGE, message));
    }
    if json_len(&value) <= INLINE_BYTES_MAX {
        return Ok((Output::Inline(Arc::new(value)), None));
    }
    let json = serde_json::to_vec(&value).expect("a JSON value has a text");
    if json.len() > OUTPUT_BYTES_MAX {
        let message =
            format!("the output is {} bytes; at most {OUTPUT_BYTES_MAX} are kept", json.len());
        return Err(failed(ErrorCode::CONTEXT_TOO_LARGE, message));
    }
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &json);
    let sha256 = digest_hex(hash.as_ref());
    let output = Output::Blob { sha256: sha256.clone(), bytes: json.len() as u64 };
    Ok((output, Some(Blob { sha256, json })))
}

/// Whether a value nests deeper than `depth`; looks no deeper itself.
fn is_deeper(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => true,
        Value::Array(items) => items.iter().any(|item| is_deeper(item, depth - 1)),
        Value::Object(map) => map.values().any(|item| is_deeper(item, depth - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The length of a value's JSON text, without writing it down.
fn json_len(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("counting does not fail");
    count.0
}
