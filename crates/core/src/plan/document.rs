//! The plan as a document: what files hold, the API returns and signatures cover.
//!
//! A document proves nothing; [`super::Plan`] does. Reading refuses unknown fields by path, but
//! takes both spellings of spec 08 and leaves aside what a run added.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::decision::{ApprovalReason, PlanDecision};
use super::figures::{PlanBound, PlanEstimate};
use crate::document::choice::choices;
use crate::document::reader::{DocumentReader, FieldName, ObjectReader, aliased, plain};
use crate::document::{DocumentFormat, DocumentPlaces};
use crate::finding::Finding;
use crate::goal::{
    CONSTRAINT_FIELDS, GoalConstraints, INTEGER_MAX, PRIORITY_DEFAULT, read_constraints,
};
use crate::id::{AgentDid, GoalId, PlanId};
use crate::reference::{PathStep, Reference, ReferencePath, ReferenceSource};
use crate::resource::ResourceConstraints;
use crate::task::{DEPENDENCY_FIELDS, TASK_FIELDS, Task, read_task};
use crate::time::Timestamp;

choices! {
    /// The status of a plan.
    pub enum PlanStatus {
        /// Written, not proven.
        Draft = "DRAFT",
        /// Passed validation and signed.
        Validated = "VALIDATED",
        /// Waits for a person.
        PendingApproval = "PENDING_APPROVAL",
        /// May be executed.
        Approved = "APPROVED",
        /// Being executed.
        Executing = "EXECUTING",
        /// Taken out of execution: its owners died one after the other with the same attempts in flight. Goes on when
        /// somebody asks for it.
        Suspended = "SUSPENDED",
        /// Every task that must succeed did.
        Completed = "COMPLETED",
        /// At least one did not.
        Failed = "FAILED",
        /// Ended on request.
        Cancelled = "CANCELLED",
    }
}

impl PlanStatus {
    /// True if the last run is over: nobody drives it any more.
    pub fn has_ended(self) -> bool {
        match self {
            PlanStatus::Completed | PlanStatus::Failed | PlanStatus::Cancelled => true,
            PlanStatus::Draft
            | PlanStatus::Validated
            | PlanStatus::PendingApproval
            | PlanStatus::Approved
            | PlanStatus::Executing
            | PlanStatus::Suspended => false,
        }
    }

    /// True if nothing happens to the last run until somebody asks for it.
    pub fn is_at_rest(self) -> bool {
        self.has_ended() || self == PlanStatus::Suspended
    }
}

choices! {
    /// Meanings of a failed task for the rest of the plan.
    pub enum OnFailure {
        /// Independent branches go on.
        Continue = "CONTINUE",
        /// Everything that has not ended is cancelled.
        FailFast = "FAIL_FAST",
    }
}

choices! {
    /// Rules for the moment at which the next task would break the budget.
    pub enum OnBudget {
        /// The plan fails.
        Fail = "FAIL",
        /// A person is asked.
        Ask = "ASK",
    }
}

choices! {
    /// Ways in which a plan came to be. Lower case in documents, as spec 08 has it.
    pub enum Strategy {
        /// By a model.
        Llm = "llm",
        /// From a template.
        Template = "template",
        /// The best template, else a model.
        Hybrid = "hybrid",
        /// From the plan cache.
        Cached = "cached",
        /// Handed in as a file.
        Manual = "manual",
    }
}

/// The plan's origin, and what is known of it beside its tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PlanMetadata {
    /// The strategy that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// The template, where one was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// The template's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_version: Option<String>,
    /// The kind of gateway, where a model made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The version of the prompts that it was asked with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_version: Option<u32>,
    /// Model tokens that making it took, in and out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decomposition_tokens: Option<u64>,
    /// US dollars that making it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decomposition_cost_usd: Option<f64>,
    /// Milliseconds from the request to the draft. In a copy from a cache those of the plan that was copied, as below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decomposition_latency_ms: Option<u64>,
    /// Milliseconds of validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_time_ms: Option<u64>,
    /// The depth to which parts of the goal were decomposed by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nesting: Option<u32>,
    /// The template's fit to the goal, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// A person has to approve it before it runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub requires_approval: bool,
    /// The reasons for that, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approval_reasons: Vec<String>,
    /// Reasons for an approval, as data; plans of older versions have the words alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approval_needed_for: Vec<ApprovalReason>,
    /// Labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The probable use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<PlanEstimate>,
    /// The most that it can use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<PlanBound>,
    /// Decisions of planning, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<PlanDecision>,
    /// Repairs and open doubts of planning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The author's own data.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub custom: Map<String, Value>,
}

choices! {
    /// The level of the plan cache that a plan came from. Lower case in documents.
    pub enum CacheHit {
        /// The memory of this process.
        L1 = "l1",
        /// The shared cache.
        L2 = "l2",
        /// An entry past its time, because nothing better could be had.
        Stale = "stale",
    }
}

/// That a plan is a copy of one made before. Its metadata tell how that was made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CachedCopy {
    /// The level that the copy came from.
    pub hit: CacheHit,
    /// The age of the first plan.
    pub age_seconds: f64,
}

/// A keyed signature over a plan (spec 04, 4.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlanSignature {
    /// The key's id.
    pub key_id: String,
    /// Base64 of the HMAC-SHA256.
    pub value: String,
}

/// The document's format; raised when a field changes its meaning.
pub const PLAN_VERSION: u32 = 1;

/// A plan as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PlanDocument {
    /// Ours; absent in a file that a person wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<PlanId>,
    /// The goal's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal_id: Option<GoalId>,
    /// The requester.
    pub agent_did: AgentDid,
    /// The plan's purpose, in words.
    pub goal: String,
    /// 1 (low) to 10 (high).
    pub priority: u8,
    /// Values that tasks read as `$[inputs].name`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub inputs: Map<String, Value>,
    /// The steps.
    pub tasks: Vec<Task>,
    /// The present status.
    pub status: PlanStatus,
    /// Limits that came with the goal.
    pub constraints: GoalConstraints,
    /// The constraints as maxima of resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_budget: Option<ResourceConstraints>,
    /// Agents to be used where they can.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preferred_agents: Vec<String>,
    /// The plan's origin.
    pub metadata: PlanMetadata,
    /// The meaning of a failed task for the rest.
    pub on_failure: OnFailure,
    /// The meaning of a spent budget.
    pub on_budget: OnBudget,
    /// The time at which it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// The time at which it passed validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validated_at: Option<Timestamp>,
    /// The signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<PlanSignature>,
    /// Set on a copy from the plan cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<CachedCopy>,
    /// The document's format.
    pub version: u32,
}

impl PlanDocument {
    /// A draft with nothing but a goal and tasks.
    pub fn draft(goal: impl Into<String>, tasks: Vec<Task>) -> PlanDocument {
        PlanDocument {
            plan_id: None,
            goal_id: None,
            agent_did: AgentDid::local(),
            goal: goal.into(),
            priority: PRIORITY_DEFAULT,
            inputs: Map::new(),
            tasks,
            status: PlanStatus::Draft,
            constraints: GoalConstraints::default(),
            resource_budget: None,
            preferred_agents: Vec::new(),
            metadata: PlanMetadata::default(),
            on_failure: OnFailure::Continue,
            on_budget: OnBudget::Fail,
            created_at: None,
            validated_at: None,
            signature: None,
            cached: None,
            version: PLAN_VERSION,
        }
    }

    /// The most of its tasks that may run at once.
    pub fn parallelism(&self) -> u32 {
        let budget = self.resource_budget.as_ref().and_then(|b| b.max_parallel_tasks);
        self.constraints.max_parallelism.min(budget.unwrap_or(u32::MAX)).max(1)
    }

    /// The list that a reference names, where it stands in the plan's own inputs.
    pub fn known_list(&self, reference: &Reference) -> Option<&Vec<Value>> {
        let (ReferenceSource::Inputs, ReferencePath::Singular(steps)) =
            (&reference.source, &reference.path)
        else {
            return None;
        };
        let (first, rest) = steps.split_first()?;
        let PathStep::Name(name) = first else { return None };
        let mut value = self.inputs.get(name)?;
        for step in rest {
            value = match step {
                PathStep::Name(name) => value.get(name)?,
                PathStep::Index(at) => value.get(usize::try_from(*at).ok()?)?,
            };
        }
        value.as_array()
    }

    /// True if it has a budget of tokens or money.
    pub fn limits_spending(&self) -> bool {
        let budget = self.resource_budget.as_ref();
        let budgeted = |b: &ResourceConstraints| {
            b.tokens_in.is_some() || b.tokens_out.is_some() || b.cost_usd.is_some()
        };
        self.constraints.max_token_budget.is_some()
            || self.constraints.cost_limit_usd.is_some()
            || budget.is_some_and(budgeted)
    }

    /// Tokens and US dollars that making the plan took; nothing for a copy from a cache.
    pub fn planning_spent(&self) -> (u64, f64) {
        if self.cached.is_some() {
            return (0, 0.0);
        }
        let metadata = &self.metadata;
        let tokens = metadata.decomposition_tokens.unwrap_or(0);
        (tokens, metadata.decomposition_cost_usd.unwrap_or(0.0))
    }

    /// Reads a parsed document; all problems at once.
    pub fn read(value: &Value) -> Result<PlanDocument, Vec<Finding>> {
        match PlanDocument::read_partial(value) {
            Ok(DocumentReading { document, findings }) if findings.is_empty() => Ok(document),
            Ok(DocumentReading { findings, .. }) | Err(findings) => Err(findings),
        }
    }

    /// The places of a plan's fields in the text that it was read from; none if that is no document.
    pub fn places(text: &str, format: DocumentFormat) -> Option<DocumentPlaces<'_>> {
        DocumentPlaces::of(text.strip_prefix('\u{feff}').unwrap_or(text), format, &RESPELLED_FIELDS)
    }

    /// Reads what can be read of a parsed document; fields whose form is wrong have their defaults.
    ///
    /// Err: the document is no mapping at all.
    pub fn read_partial(value: &Value) -> Result<DocumentReading, Vec<Finding>> {
        let reader = DocumentReader::default();
        match read_plan(&reader, value) {
            Some(document) => Ok(DocumentReading { document, findings: reader.into_findings() }),
            None => Err(reader.into_findings()),
        }
    }
}

/// A document as far as it could be read.
#[derive(Debug)]
pub struct DocumentReading {
    /// The document, with defaults for what could not be read.
    pub document: PlanDocument,
    /// Problems of its form.
    pub findings: Vec<Finding>,
}

pub(crate) static PLAN_FIELDS: &[FieldName] = &[
    plain("plan_id"),
    plain("goal_id"),
    plain("agent_did"),
    aliased("goal", &["goal_text", "name"]),
    plain("priority"),
    plain("inputs"),
    plain("tasks"),
    plain("constraints"),
    plain("resource_budget"),
    plain("preferred_agents"),
    plain("metadata"),
    plain("on_failure"),
    plain("on_budget"),
    plain("created_at"),
    plain("validated_at"),
    plain("signature"),
    plain("cached"),
    plain("version"),
    // Derived, or added by a run: read and left aside.
    plain("dependency_graph"),
    plain("status"),
    plain("approval_status"),
    plain("approval_rationale"),
    plain("execution_started_at"),
    plain("execution_completed_at"),
    plain("estimated_duration_ms"),
    plain("outputs"),
    plain("partial"),
    plain("interrupted"),
];

/// Fields of a plan file that have other spellings.
static RESPELLED_FIELDS: [&[FieldName]; 4] =
    [TASK_FIELDS, PLAN_FIELDS, CONSTRAINT_FIELDS, DEPENDENCY_FIELDS];

pub(crate) static METADATA_FIELDS: &[FieldName] = &[
    plain("strategy"),
    plain("template_id"),
    plain("template_version"),
    plain("provider"),
    plain("model"),
    plain("prompt_version"),
    plain("decomposition_tokens"),
    plain("decomposition_cost_usd"),
    plain("decomposition_latency_ms"),
    plain("validation_time_ms"),
    plain("nesting"),
    plain("confidence"),
    plain("requires_approval"),
    plain("approval_reasons"),
    plain("approval_needed_for"),
    plain("tags"),
    plain("estimate"),
    plain("bound"),
    plain("decisions"),
    plain("warnings"),
    plain("custom"),
];

pub(crate) static SIGNATURE_FIELDS: &[FieldName] = &[plain("key_id"), plain("value")];

/// A label's limits: what a goal may be long.
pub const GOAL_MAX_CHARS: usize = 100_000;

fn read_plan(reader: &DocumentReader, value: &Value) -> Option<PlanDocument> {
    let object = reader.object(value, "", PLAN_FIELDS)?;
    let goal = object.text("goal").unwrap_or_default();
    if object.value("goal").is_none() {
        object.problem("goal", "is missing; a plan says what it is for (`goal:` or `name:`)");
    }
    if object.value("tasks").is_none() {
        object.problem("tasks", "is missing; a plan has a list of tasks");
    }
    let mut tasks = Vec::new();
    for (i, task) in object.list("tasks").iter().enumerate() {
        let read = read_task(reader, task, &format!("tasks[{i}]"));
        // One that is no mapping keeps its place, so that the others are called what they are.
        let nothing = Value::Object(Map::new());
        tasks.extend(read.or_else(|| read_task(&DocumentReader::default(), &nothing, "")));
    }
    let constraints = object
        .value("constraints")
        .and_then(|v| reader.object(v, "constraints", CONSTRAINT_FIELDS))
        .map(|constraints| read_constraints(&constraints))
        .unwrap_or_default();
    if object.value("version").is_some() {
        object.integer("version", 1..=u64::from(PLAN_VERSION));
    }
    Some(PlanDocument {
        plan_id: read_parsed(&object, "plan_id", "a UUID", |s| s.parse().ok()),
        goal_id: read_parsed(&object, "goal_id", "a URL-safe id of at most 128 characters", |s| {
            GoalId::new(s)
        }),
        agent_did: read_parsed(&object, "agent_did", "a DID or a URL-safe id", |s| {
            AgentDid::new(s)
        })
        .unwrap_or_else(AgentDid::local),
        priority: object
            .integer("priority", 1..=10)
            .and_then(|n| u8::try_from(n).ok())
            .unwrap_or(PRIORITY_DEFAULT),
        inputs: object.map("inputs"),
        constraints,
        resource_budget: object.typed_document("resource_budget"),
        preferred_agents: object.texts("preferred_agents"),
        metadata: read_metadata(reader, &object),
        on_failure: object.choice("on_failure").unwrap_or(OnFailure::Continue),
        on_budget: object.choice("on_budget").unwrap_or(OnBudget::Fail),
        created_at: read_parsed(&object, "created_at", "an RFC 3339 time", |s| s.parse().ok()),
        validated_at: read_parsed(&object, "validated_at", "an RFC 3339 time", |s| s.parse().ok()),
        signature: read_signature(reader, &object),
        cached: object.typed_document("cached"),
        ..PlanDocument::draft(goal, tasks)
    })
}

fn read_parsed<T>(
    object: &ObjectReader<'_>,
    name: &str,
    what: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = object.text(name)?;
    let parsed = parse(&text);
    if parsed.is_none() {
        object.problem(name, format!("must be {what}, not `{text}`"));
    }
    parsed
}

fn read_metadata(reader: &DocumentReader, plan: &ObjectReader<'_>) -> PlanMetadata {
    let read = plan.value("metadata").and_then(|v| reader.object(v, "metadata", METADATA_FIELDS));
    let Some(object) = read else { return PlanMetadata::default() };
    PlanMetadata {
        strategy: object.choice("strategy"),
        template_id: object.text("template_id"),
        template_version: object.text("template_version"),
        provider: object.text("provider"),
        model: object.text("model"),
        prompt_version: object
            .integer("prompt_version", 1..=u64::from(u32::MAX))
            .and_then(|version| u32::try_from(version).ok()),
        decomposition_tokens: object.integer("decomposition_tokens", 0..=INTEGER_MAX),
        decomposition_cost_usd: object.number("decomposition_cost_usd", 0.0..=1e9),
        decomposition_latency_ms: object.integer("decomposition_latency_ms", 0..=INTEGER_MAX),
        validation_time_ms: object.integer("validation_time_ms", 0..=INTEGER_MAX),
        nesting: object.integer("nesting", 0..=20).and_then(|n| u32::try_from(n).ok()),
        confidence: object.number("confidence", 0.0..=1.0),
        requires_approval: object.boolean("requires_approval").unwrap_or(false),
        approval_reasons: object.texts("approval_reasons"),
        approval_needed_for: object.typed_document("approval_needed_for").unwrap_or_default(),
        tags: object.texts("tags"),
        estimate: object.typed_document("estimate"),
        bound: object.typed_document("bound"),
        decisions: object.typed_document("decisions").unwrap_or_default(),
        warnings: object.texts("warnings"),
        custom: object.map("custom"),
    }
}

fn read_signature(reader: &DocumentReader, plan: &ObjectReader<'_>) -> Option<PlanSignature> {
    let object = reader.object(plan.value("signature")?, "signature", SIGNATURE_FIELDS)?;
    for name in ["key_id", "value"] {
        if object.value(name).is_none() {
            object.problem(name, "is missing from the signature");
        }
    }
    Some(PlanSignature { key_id: object.text("key_id")?, value: object.text("value")? })
}
