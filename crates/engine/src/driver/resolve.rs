//! What needs values outside the run's state: inputs of attempts, conditions, lists of fan-outs.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use l05_core::ErrorCode;
use l05_core::context::{CONTEXT_BYTES_MAX, json_len};
use l05_core::graph::EdgeIndex;
use l05_core::id::{PlanId, TaskIndex};
use l05_core::plan::Plan;
use l05_core::reference::{Reference, ReferenceSource};
use l05_core::task::TaskStatus;
use l05_run::event::{ConditionVerdict, TaskError, TaskOutput};
use l05_run::record::OutputBlob;
use serde_json::{Map, Value, json};

use super::attempt::{failed, pack};
use crate::blobs::RecentBlobs;
use crate::evaluations::EvaluationPort;
use crate::port::{BoxFuture, Journal, StoreError};
use crate::shard::{ConditionRequest, ListRequest, ProducedOutput, TaskLaunch};

/// The number of times that a large output is asked for again while the store is away, and the
/// first wait; it doubles: some 13 s in all.
const BLOB_TRIES: u32 = 7;
const BLOB_WAIT: Duration = Duration::from_millis(100);

/// Loads outputs and evaluates what refers to them.
pub(crate) struct OutputLoader {
    journal: Arc<dyn Journal>,
    pub(super) evaluations: EvaluationPort,
    /// All items of a fan-out, and all tasks behind a large output, want the same one.
    recent: Mutex<RecentBlobs>,
}

/// The items of a fan-out: the list and its length, and its text where it is large.
pub(crate) struct ListedItems {
    pub(crate) items: Result<(TaskOutput, u32), TaskError>,
    pub(crate) blob: Option<OutputBlob>,
}

/// Inputs of an attempt.
pub(crate) struct ResolvedInputs {
    pub(crate) inputs: Value,
    /// That of an LLM_CALL.
    pub(crate) prompt: Option<String>,
}

struct LoadedOutputs {
    output: Option<Arc<Value>>,
    error: Option<Value>,
}

/// Meanings of references for one task.
struct ResolveScope<'a> {
    plan: &'a Plan,
    plan_inputs: Value,
    outputs: BTreeMap<TaskIndex, LoadedOutputs>,
    item: Option<(Value, u32)>,
    /// The values of references that are not small, by their texts.
    queried: HashMap<String, Value>,
}

impl OutputLoader {
    pub(crate) fn new(journal: Arc<dyn Journal>, evaluations: EvaluationPort) -> OutputLoader {
        OutputLoader { journal, evaluations, recent: Mutex::new(RecentBlobs::default()) }
    }

    /// The inputs and the prompt of an attempt, references resolved.
    pub(crate) async fn inputs(
        &self,
        assignment: &TaskLaunch,
    ) -> Result<ResolvedInputs, TaskError> {
        let plan = &assignment.plan;
        let bindings = plan.structure().bindings(assignment.origin);
        let mut wanted = Vec::new();
        for binding in bindings.all() {
            binding.for_each_reference(&mut |reference| wanted.push(reference));
        }
        wanted.extend(&bindings.named_outputs);
        let mut scope = self.scope(plan, &assignment.needs, &wanted).await?;
        if let Some(item) = &assignment.item {
            scope.item = Some((self.item(plan, item).await?, item.index));
        }
        self.query(&mut scope, &wanted).await?;
        for named in &bindings.named_outputs {
            scope.lookup(named)?;
        }
        let mut inputs = Map::new();
        for (name, binding) in &bindings.inputs {
            inputs.insert(name.clone(), binding.resolve(&mut |r: &Reference| scope.lookup(r))?);
        }
        let inputs = Value::Object(inputs);
        let prompt = match &bindings.prompt {
            Some(binding) => Some(match binding.resolve(&mut |r: &Reference| scope.lookup(r))? {
                Value::String(text) => text,
                value => value.to_string(),
            }),
            None => None,
        };
        // Literals were measured when the plan was validated: only references can make it large.
        if !wanted.is_empty() {
            let bytes = json_len(&inputs) + prompt.as_ref().map_or(0, String::len);
            if bytes > CONTEXT_BYTES_MAX {
                let message = format!(
                    "the resolved inputs are {bytes} bytes; at most {CONTEXT_BYTES_MAX} are allowed"
                );
                return Err(failed(ErrorCode::ContextTooLarge, message));
            }
        }
        Ok(ResolvedInputs { inputs, prompt })
    }

    /// Evaluates the conditions of a question.
    pub(crate) async fn answer(
        &self,
        question: ConditionRequest,
    ) -> Vec<(EdgeIndex, Result<ConditionVerdict, TaskError>)> {
        let plan = &question.plan;
        let inputs = Value::Object(plan.document().inputs.clone());
        let mut verdicts = Vec::new();
        for (edge, produced) in &question.edges {
            let verdict = self.verdict(plan, *edge, produced, &inputs);
            verdicts.push((*edge, guarded("the condition", verdict).await));
        }
        verdicts
    }

    async fn verdict(
        &self,
        plan: &Plan,
        edge: EdgeIndex,
        produced: &ProducedOutput,
        inputs: &Value,
    ) -> Result<ConditionVerdict, TaskError> {
        let output = self
            .output(plan.id(), produced.output.as_ref())
            .await
            .map_err(|error| unreadable(&error))?;
        let outputs = output.as_deref().unwrap_or(&Value::Null);
        for condition in plan.structure().conditions(edge) {
            let status = produced.status;
            if !self.evaluations.condition(condition, outputs, inputs, status).await? {
                return Ok(ConditionVerdict::Unsatisfied);
            }
        }
        Ok(ConditionVerdict::Satisfied)
    }

    /// Evaluates the list of a fan-out.
    pub(crate) async fn list(&self, listing: ListRequest) -> ListedItems {
        match guarded("the fan-out's list", self.list_value(&listing)).await {
            Ok((output, blob, count)) => ListedItems { items: Ok((output, count)), blob },
            Err(error) => ListedItems { items: Err(error), blob: None },
        }
    }

    async fn list_value(
        &self,
        listing: &ListRequest,
    ) -> Result<(TaskOutput, Option<OutputBlob>, u32), TaskError> {
        let plan = &listing.plan;
        let reference = plan.structure().bindings(listing.task).list.as_ref();
        let reference = reference.expect("only fan-outs are expanded, and each has a list");
        let mut scope = self.scope(plan, &listing.needs, &[reference]).await?;
        self.query(&mut scope, &[reference]).await?;
        let value = scope.lookup(reference)?;
        let Some(items) = value.as_array() else {
            let message = format!("`{reference}` is not a list");
            let code = ErrorCode::TypeMismatch;
            return Err(TaskError::last(code, message));
        };
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let (output, blob) = pack(value)?;
        Ok((output, blob, count))
    }

    async fn item(
        &self,
        plan: &Plan,
        item: &l05_run::machine::MapItem,
    ) -> Result<Value, TaskError> {
        let list =
            self.output(plan.id(), Some(&item.items)).await.map_err(|error| unreadable(&error))?;
        let found = list.as_deref().and_then(|list| list.get(item.index as usize)).cloned();
        found.ok_or_else(|| {
            let message = format!("the list has no item {}", item.index);
            failed(ErrorCode::ReferenceUnresolved, message)
        })
    }

    /// Outputs and errors of the tasks that the references name, large ones included.
    async fn scope<'p>(
        &self,
        plan: &'p Plan,
        needs: &[ProducedOutput],
        references: &[&Reference],
    ) -> Result<ResolveScope<'p>, TaskError> {
        let structure = plan.structure();
        let wanted: Vec<TaskIndex> = references
            .iter()
            .filter_map(|reference| structure.index_of(reference.task()?))
            .collect();
        let mut outputs = BTreeMap::new();
        for produced in needs.iter().filter(|produced| wanted.contains(&produced.task)) {
            let output = self.output(plan.id(), produced.output.as_ref()).await;
            let output = output.map_err(|error| unreadable(&error))?;
            let error = produced
                .error
                .as_ref()
                .filter(|_| produced.status != TaskStatus::Completed)
                .map(|e| json!({ "code": e.code, "message": e.message }));
            outputs.insert(produced.task, LoadedOutputs { output, error });
        }
        let uses_inputs = references.iter().any(|r| r.source == ReferenceSource::Inputs);
        let plan_inputs =
            if uses_inputs { Value::Object(plan.document().inputs.clone()) } else { Value::Null };
        Ok(ResolveScope { plan, plan_inputs, outputs, item: None, queried: HashMap::new() })
    }

    /// Evaluates the references that are not small, for lookups to come.
    async fn query(
        &self,
        scope: &mut ResolveScope<'_>,
        references: &[&Reference],
    ) -> Result<(), TaskError> {
        for reference in references.iter().filter(|reference| !reference.is_small()) {
            let text = reference.to_string();
            if scope.queried.contains_key(&text) {
                continue;
            }
            let Some(value) = scope.target(reference)? else { continue };
            let found = self.evaluations.query(reference, &value).await?;
            scope.queried.insert(text, found);
        }
        Ok(())
    }

    /// An output as a value.
    pub(crate) fn output<'a>(
        &'a self,
        plan: PlanId,
        output: Option<&'a TaskOutput>,
    ) -> BoxFuture<'a, Result<Option<Arc<Value>>, StoreError>> {
        Box::pin(async move {
            match output {
                None => Ok(None),
                Some(TaskOutput::Inline(value)) => Ok(Some(value.clone())),
                Some(TaskOutput::Blob { sha256, .. }) => Ok(Some(self.blob(plan, sha256).await?)),
                Some(TaskOutput::List(parts)) => {
                    let mut values = Vec::with_capacity(parts.len());
                    for part in parts.iter() {
                        let value = self.output(plan, part.as_ref()).await?;
                        values.push(value.map_or(Value::Null, |value| (*value).clone()));
                    }
                    Ok(Some(Arc::new(Value::Array(values))))
                }
            }
        })
    }

    async fn blob(&self, plan: PlanId, sha256: &str) -> Result<Arc<Value>, StoreError> {
        if let Some(value) = self.recent().get(plan, sha256) {
            return Ok(value);
        }
        let json = self.patiently(plan, sha256).await?;
        let value = serde_json::from_slice(&json)
            .map_err(|e| StoreError::Corrupt(format!("output {sha256}: {e}")))?;
        let value = Arc::new(value);
        self.recent().keep(plan, sha256, json.len(), &value);
        Ok(value)
    }

    /// A store that is away for a moment fails no task.
    async fn patiently(&self, plan: PlanId, sha256: &str) -> Result<Vec<u8>, StoreError> {
        let mut wait = BLOB_WAIT;
        for _ in 0..BLOB_TRIES {
            match self.journal.blob(plan, sha256.to_owned()).await {
                Err(StoreError::Unavailable(_)) => tokio::time::sleep(wait).await,
                answer => return answer,
            }
            wait *= 2;
        }
        self.journal.blob(plan, sha256.to_owned()).await
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, RecentBlobs> {
        self.recent.lock().expect("no code panics while it holds this lock")
    }
}

/// A crash of what evaluates (others' code: CEL, JSONPath) fails the task; without an answer the run
/// would wait for ever.
async fn guarded<T>(
    what: &str,
    work: impl Future<Output = Result<T, TaskError>>,
) -> Result<T, TaskError> {
    let caught = std::panic::AssertUnwindSafe(work).catch_unwind().await;
    caught.unwrap_or_else(|_| {
        let message = format!("evaluating {what} crashed; this is a bug of L05");
        Err(TaskError::last(ErrorCode::DependencyInvalid, message))
    })
}

fn unreadable(error: &StoreError) -> TaskError {
    let code = match error {
        StoreError::Unavailable(_) => ErrorCode::StorageFailed,
        StoreError::Corrupt(_) => ErrorCode::ContextInjectionFailed,
    };
    failed(code, format!("an input cannot be read: {error}"))
}

impl ResolveScope<'_> {
    /// The value of a reference; one that is not small has been evaluated before.
    fn lookup(&self, reference: &Reference) -> Result<Value, TaskError> {
        if let Some(found) =
            self.queried.get(&reference.to_string()).filter(|_| !reference.is_small())
        {
            return Ok(found.clone());
        }
        match self.target(reference)? {
            None => Ok(Value::Null),
            Some(value) => reference
                .resolve(&value)
                .map_err(|e| failed(ErrorCode::ReferenceUnresolved, e.to_string())),
        }
    }

    /// The value that a reference's path leads into; none where its task has nothing to give.
    fn target(&self, reference: &Reference) -> Result<Option<Cow<'_, Value>>, TaskError> {
        let unresolved =
            |why: &str| Err(failed(ErrorCode::ReferenceUnresolved, format!("`{reference}` {why}")));
        match (&reference.source, &self.item) {
            (ReferenceSource::Inputs, _) => Ok(Some(Cow::Borrowed(&self.plan_inputs))),
            (ReferenceSource::Item, Some((item, _))) => Ok(Some(Cow::Borrowed(item))),
            (ReferenceSource::Index, Some((_, index))) => Ok(Some(Cow::Owned(json!(index)))),
            (ReferenceSource::Item | ReferenceSource::Index, None) => {
                unresolved("means nothing outside a for_each")
            }
            (ReferenceSource::Output(id) | ReferenceSource::Error(id), _) => {
                let found = self.plan.structure().index_of(id).and_then(|i| self.outputs.get(&i));
                let Some(LoadedOutputs { output, error }) = found else {
                    return unresolved("names a task that this one does not depend on");
                };
                // `join: any`, or a failure that is allowed: it has nothing to give.
                Ok(match &reference.source {
                    ReferenceSource::Error(_) => error.as_ref().map(Cow::Borrowed),
                    _ => output.as_deref().map(Cow::Borrowed),
                })
            }
        }
    }
}
