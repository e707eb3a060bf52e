//! One step of a plan, as documents describe it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::document::choice::choices;
use crate::document::reader::{DocumentReader, FieldName, ObjectReader, aliased, kind, plain};
use crate::goal::INTEGER_MAX;
use crate::reference::{Reference, ReferenceError};
use crate::resource::{ResourceConstraints, ResourceEstimate};

choices! {
    /// The kind of executor of a task.
    pub enum TaskType {
        /// One agent does it.
        Atomic = "ATOMIC",
        /// A sub-plan stands behind it.
        Compound = "COMPOUND",
        /// A named tool.
        ToolCall = "TOOL_CALL",
        /// One inference of a model.
        LlmCall = "LLM_CALL",
    }
}

choices! {
    /// The status of a task in its run.
    pub enum TaskStatus {
        /// Waits for what it depends on, or for its next attempt.
        Pending = "PENDING",
        /// May start as soon as there is room.
        Ready = "READY",
        /// Given to an agent that has not said that it began.
        Assigned = "ASSIGNED",
        /// Being done.
        Executing = "EXECUTING",
        /// Done; its outputs are recorded.
        Completed = "COMPLETED",
        /// The last attempt failed.
        Failed = "FAILED",
        /// The last attempt took too long.
        TimedOut = "TIMED_OUT",
        /// Ended on request.
        Cancelled = "CANCELLED",
        /// Something it needs failed for good.
        Blocked = "BLOCKED",
        /// A condition said that it is not needed.
        Skipped = "SKIPPED",
    }
}

impl TaskStatus {
    /// True if nothing leads out of it in the same run.
    pub fn has_ended(self) -> bool {
        match self {
            TaskStatus::Completed
            | TaskStatus::Failed
            | TaskStatus::TimedOut
            | TaskStatus::Cancelled
            | TaskStatus::Blocked
            | TaskStatus::Skipped => true,
            TaskStatus::Pending
            | TaskStatus::Ready
            | TaskStatus::Assigned
            | TaskStatus::Executing => false,
        }
    }

    /// True if the task itself ended badly: a blocked one is another's failure, a cancelled one somebody's
    /// wish.
    pub fn is_failure(self) -> bool {
        matches!(self, TaskStatus::Failed | TaskStatus::TimedOut)
    }
}

choices! {
    /// Kinds of dependency.
    pub enum DependencyType {
        /// The task waits until the other has completed.
        Blocking = "BLOCKING",
        /// The task also needs a condition over the other's outputs to be true.
        Conditional = "CONDITIONAL",
        /// The task needs an output of the other.
        Data = "DATA",
    }
}

choices! {
    /// Rules for the start of a task with several dependencies.
    pub enum Join {
        /// All must be satisfied.
        All = "ALL",
        /// One is enough.
        Any = "ANY",
    }
}

choices! {
    /// Rules for a task that was in flight when its owner died.
    pub enum OnRecovery {
        /// Run the same attempt again, with the same idempotency key.
        Rerun = "RERUN",
        /// Leave it to a person.
        Ask = "ASK",
        /// The task fails.
        Fail = "FAIL",
    }
}

/// An edge of the task graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct TaskDependency {
    /// The task that is needed.
    pub task_id: String,
    /// The kind.
    #[serde(rename = "type")]
    pub dependency_type: DependencyType,
    /// CEL over `outputs`, `inputs` and `status`; CONDITIONAL only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The output, or a path into it; DATA only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_key: Option<String>,
}

/// Rules for the repetition of failed attempts. Which errors are:
/// [`RetryClass`](crate::error::RetryClass).
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RetryPolicy {
    /// Attempts after the first, 0 to 5; the error class has a limit of its own, the smaller counts.
    pub max_retries: u8,
    /// Wait before the first retry, in seconds.
    pub base_seconds: f64,
    /// Each further wait is this many times the last.
    pub multiplier: f64,
    /// The wait is up to this share longer or shorter.
    pub jitter: f64,
    /// The longest wait, in seconds.
    pub cap_seconds: f64,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            max_retries: 3,
            base_seconds: 1.0,
            multiplier: 2.0,
            jitter: 0.5,
            cap_seconds: 30.0,
        }
    }
}

/// A fan-out over a list: one instance of the task per item.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ForEach {
    /// A reference to the list.
    #[serde(rename = "in")]
    pub list: String,
    /// The most items; counts towards the plan's size.
    pub max_items: u64,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Task {
    /// The task's name inside the plan.
    pub task_id: String,
    /// A title for people; the id when there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The purpose.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// A short verb phrase.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// The kind of executor.
    pub task_type: TaskType,
    /// Dependencies.
    pub dependencies: Vec<TaskDependency>,
    /// Literals, and references to inputs of the plan and outputs of tasks.
    pub inputs: Map<String, Value>,
    /// The schema of its inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// The schema of its outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// The tool, of a TOOL_CALL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The prompt, of an LLM_CALL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The goal of the sub-plan, of a COMPOUND.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<String>,
    /// Capabilities that an agent must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capability_requirements: Vec<String>,
    /// A semver range its agent must satisfy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version_constraint: Option<String>,
    /// The probable use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_estimate: Option<ResourceEstimate>,
    /// The most that it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_quota: Option<ResourceConstraints>,
    /// The longest time of one attempt, in seconds.
    pub timeout_seconds: f64,
    /// Rules for the repetition of failed attempts.
    pub retry_policy: RetryPolicy,
    /// The rule for its start.
    pub join: Join,
    /// A fan-out over a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// With `join: any`: what the task no longer needs once it may start is cancelled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancel_others: bool,
    /// True if its dependents run although it failed.
    pub allow_failure: bool,
    /// True if a person approves before it starts.
    pub gate: bool,
    /// The rule for a death of its owner.
    pub on_recovery: OnRecovery,
    /// The expected duration, in seconds; for estimates and simulation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<f64>,
    /// The author's own data.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl TaskDependency {
    /// The part of the other task's output that a DATA dependency names (`output_key`), as a reference.
    pub fn named_output(&self) -> Option<Result<Reference, ReferenceError>> {
        let key = self.output_key.as_ref()?;
        let dot = if key.starts_with(['.', '[']) { "" } else { "." };
        Some(Reference::parse(&format!("$[{}].output{dot}{key}", self.task_id)))
    }
}

impl Task {
    /// The model that its author asks for (`metadata.model`).
    pub fn model(&self) -> Option<&str> {
        self.metadata.get("model").and_then(Value::as_str)
    }
}

/// The tool that is nothing but a person's agreement.
pub const APPROVAL_TOOL: &str = "human.approve";

impl Task {
    /// True if a person must agree before it starts.
    pub fn asks_first(&self) -> bool {
        self.gate || self.tool.as_deref() == Some(APPROVAL_TOOL)
    }

    /// The cores and the memory, in MB, that it is expected to need.
    pub fn expected_size(&self) -> (f64, f64) {
        let said = self.resource_estimate.as_ref();
        let expected =
            |range: Option<crate::resource::EstimateRange>| range.map_or(0.0, |r| r.expected);
        (expected(said.and_then(|e| e.cpu_cores)), expected(said.and_then(|e| e.memory_mb)))
    }

    /// True if its quota limits tokens or money.
    pub fn limits_spending(&self) -> bool {
        self.resource_quota.as_ref().is_some_and(|quota| {
            quota.tokens_in.is_some() || quota.tokens_out.is_some() || quota.cost_usd.is_some()
        })
    }

    /// The longest time of one attempt, in seconds: its timeout, or its quota where that is shorter.
    pub fn attempt_seconds(&self) -> f64 {
        let quota = self.resource_quota.as_ref().and_then(|quota| quota.execution_seconds);
        quota.map_or(self.timeout_seconds, |quota| quota.min(self.timeout_seconds))
    }

    /// The task in the words that say most.
    pub fn instructions(&self) -> &str {
        let said = [&self.description, &self.action, &self.name];
        said.into_iter().find(|text| !text.is_empty()).unwrap_or(&self.task_id)
    }

    /// The title for people.
    pub fn title(&self) -> &str {
        if self.name.is_empty() { &self.task_id } else { &self.name }
    }
}

/// One attempt's time limit when the task names none.
pub const TIMEOUT_SECONDS_DEFAULT: f64 = 300.0;
/// A week: longer waits are a matter for approvals, not for an executor that sits there.
pub const TIMEOUT_SECONDS_MAX: f64 = 604_800.0;
/// The most retries a task may ask for.
pub const RETRIES_MAX: u8 = 5;
/// The longest time a task may be expected to take: a hundred years (asynchow has a goal of two).
const EXPECTED_SECONDS_MAX: f64 = 3.2e9;
/// The largest fan-out of one task.
pub const FAN_OUT_MAX: u64 = 100_000;

pub(crate) static TASK_FIELDS: &[FieldName] = &[
    aliased("task_id", &["id"]),
    plain("name"),
    plain("description"),
    plain("action"),
    aliased("task_type", &["type"]),
    aliased("dependencies", &["depends_on"]),
    plain("inputs"),
    plain("input_schema"),
    plain("output_schema"),
    plain("tool"),
    plain("prompt"),
    plain("goal"),
    aliased("capability_requirements", &["needs"]),
    aliased("agent_version_constraint", &["agent_version"]),
    plain("resource_estimate"),
    plain("resource_quota"),
    plain("timeout_seconds"),
    aliased("retry_policy", &["retry"]),
    plain("join"),
    plain("for_each"),
    plain("cancel_others"),
    plain("allow_failure"),
    plain("gate"),
    plain("on_recovery"),
    plain("expected_seconds"),
    plain("metadata"),
    // What a run adds. Part of the document that `show` prints, so it is read and left aside.
    plain("plan_id"),
    plain("status"),
    plain("outputs"),
    plain("assigned_agent"),
    plain("retry_count"),
    plain("attempts"),
    plain("error"),
    plain("created_at"),
    plain("started_at"),
    plain("completed_at"),
];

pub(crate) static DEPENDENCY_FIELDS: &[FieldName] =
    &[aliased("task_id", &["task"]), plain("type"), plain("condition"), plain("output_key")];

pub(crate) static RETRY_FIELDS: &[FieldName] = &[
    plain("max_retries"),
    plain("base_seconds"),
    plain("multiplier"),
    plain("jitter"),
    plain("cap_seconds"),
];

pub(crate) static FOR_EACH_FIELDS: &[FieldName] = &[plain("in"), plain("max_items")];

/// Reads one task; problems go to the reader.
pub(crate) fn read_task(reader: &DocumentReader, value: &Value, path: &str) -> Option<Task> {
    let object = reader.object(value, path, TASK_FIELDS)?;
    let task_id = read_id(&object);
    let tool = object.text("tool");
    let prompt = object.text("prompt");
    let goal = object.text("goal");
    let task_type = object.choice("task_type").unwrap_or(match (&tool, &prompt, &goal) {
        (Some(_), _, _) => TaskType::ToolCall,
        (None, Some(_), _) => TaskType::LlmCall,
        (None, None, Some(_)) => TaskType::Compound,
        (None, None, None) => TaskType::Atomic,
    });
    Some(Task {
        task_id,
        name: object.text("name").unwrap_or_default(),
        description: object.text("description").unwrap_or_default(),
        action: object.text("action").unwrap_or_default(),
        task_type,
        dependencies: read_dependencies(reader, &object),
        inputs: object.map("inputs"),
        input_schema: object.value("input_schema").cloned(),
        output_schema: object.value("output_schema").cloned(),
        tool,
        prompt,
        goal,
        capability_requirements: object.texts("capability_requirements"),
        agent_version_constraint: object.text("agent_version_constraint"),
        resource_estimate: object.typed_document("resource_estimate"),
        resource_quota: object.typed_document("resource_quota"),
        timeout_seconds: object
            .number("timeout_seconds", 0.001..=TIMEOUT_SECONDS_MAX)
            .unwrap_or(TIMEOUT_SECONDS_DEFAULT),
        retry_policy: read_retry(reader, &object),
        join: object.choice("join").unwrap_or(Join::All),
        for_each: read_for_each(reader, &object),
        cancel_others: object.boolean("cancel_others").unwrap_or(false),
        allow_failure: object.boolean("allow_failure").unwrap_or(false),
        gate: object.boolean("gate").unwrap_or(false),
        on_recovery: object.choice("on_recovery").unwrap_or(OnRecovery::Rerun),
        expected_seconds: object.number("expected_seconds", 0.0..=EXPECTED_SECONDS_MAX),
        metadata: object.map("metadata"),
    })
}

/// A number is taken as the id it spells: plans by hand often count their steps.
fn read_id(object: &ObjectReader<'_>) -> String {
    match object.value("task_id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(number)) if number.is_u64() => number.to_string(),
        Some(other) => {
            object.problem("task_id", format!("must be text, not {}", kind(other)));
            String::new()
        }
        None => {
            object.problem("task_id", "is missing; every task has an id");
            String::new()
        }
    }
}

fn read_dependencies(reader: &DocumentReader, object: &ObjectReader<'_>) -> Vec<TaskDependency> {
    let mut dependencies = Vec::new();
    for (i, value) in object.list("dependencies").iter().enumerate() {
        let path = object.path(&format!("dependencies[{i}]"));
        match value {
            Value::String(task) => dependencies.push(blocking(task.clone())),
            Value::Number(n) if n.is_u64() => dependencies.push(blocking(n.to_string())),
            Value::Object(_) => {
                dependencies.extend(read_dependency(reader, value, &path));
            }
            other => reader
                .malformed(&path, format!("must be a task id or a mapping, not {}", kind(other))),
        }
    }
    dependencies
}

fn blocking(task_id: String) -> TaskDependency {
    let dependency_type = DependencyType::Blocking;
    TaskDependency { task_id, dependency_type, condition: None, output_key: None }
}

fn read_dependency(reader: &DocumentReader, value: &Value, path: &str) -> Option<TaskDependency> {
    let object = reader.object(value, path, DEPENDENCY_FIELDS)?;
    let condition = object.text("condition");
    let output_key = object.text("output_key");
    let dependency_type = object.choice("type").unwrap_or(match (&condition, &output_key) {
        (Some(_), _) => DependencyType::Conditional,
        (None, Some(_)) => DependencyType::Data,
        (None, None) => DependencyType::Blocking,
    });
    if object.value("task_id").is_none() {
        object.problem("task_id", "is missing; a dependency names a task");
    }
    match (dependency_type, &condition) {
        (DependencyType::Conditional, None) => {
            object.problem("condition", "is missing; a CONDITIONAL dependency has one");
        }
        (DependencyType::Blocking | DependencyType::Data, Some(_)) => {
            object.problem("condition", "belongs to CONDITIONAL dependencies only");
        }
        (DependencyType::Conditional, Some(_))
        | (DependencyType::Blocking | DependencyType::Data, None) => {}
    }
    let task_id = match object.value("task_id") {
        Some(Value::Number(n)) if n.is_u64() => n.to_string(),
        _ => object.text("task_id")?,
    };
    Some(TaskDependency { task_id, dependency_type, condition, output_key })
}

fn read_retry(reader: &DocumentReader, object: &ObjectReader<'_>) -> RetryPolicy {
    let default = RetryPolicy::default();
    let read = object
        .value("retry_policy")
        .and_then(|value| reader.object(value, object.path("retry_policy"), RETRY_FIELDS));
    let Some(retry) = read else { return default };
    let retries = retry.integer("max_retries", 0..=u64::from(RETRIES_MAX));
    RetryPolicy {
        max_retries: retries.and_then(|n| u8::try_from(n).ok()).unwrap_or(default.max_retries),
        base_seconds: retry.number("base_seconds", 0.0..=3600.0).unwrap_or(default.base_seconds),
        multiplier: retry.number("multiplier", 1.0..=10.0).unwrap_or(default.multiplier),
        jitter: retry.number("jitter", 0.0..=1.0).unwrap_or(default.jitter),
        cap_seconds: retry.number("cap_seconds", 0.0..=3600.0).unwrap_or(default.cap_seconds),
    }
}

fn read_for_each(reader: &DocumentReader, object: &ObjectReader<'_>) -> Option<ForEach> {
    let value = object.value("for_each")?;
    let each = reader.object(value, object.path("for_each"), FOR_EACH_FIELDS)?;
    if each.value("in").is_none() {
        each.problem("in", "is missing; it is a reference to a list");
    }
    Some(ForEach {
        list: each.text("in")?,
        max_items: each.integer("max_items", 1..=FAN_OUT_MAX.min(INTEGER_MAX)).unwrap_or(100),
    })
}

/// The expected duration in seconds: the author's, else a first guess by type. The guesses order
/// tasks (a model is slower than a tool, an agent than a model); they promise nothing.
pub fn expected_seconds(task: &Task) -> f64 {
    task.expected_seconds.unwrap_or(match task.task_type {
        TaskType::ToolCall => 1.0,
        TaskType::LlmCall => 5.0,
        TaskType::Atomic | TaskType::Compound => 30.0,
    })
}
