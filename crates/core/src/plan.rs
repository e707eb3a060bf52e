//! Plans: the document as it is written, and [`Plan`], the proof that it may run.

mod canonical;
mod decision;
mod document;
mod figures;
mod sign;
mod structure;

pub use decision::{
    ApprovalReason, ConsideredTemplate, LimitUse, ModelRound, PlanDecision, StatedEdge, TaskShare,
    TaskSlack,
};
pub use document::{
    CacheHit, CachedCopy, DocumentReading, GOAL_MAX_CHARS, OnBudget, OnFailure, PLAN_VERSION,
    PlanDocument, PlanMetadata, PlanSignature, PlanStatus, Strategy,
};
pub(crate) use document::{METADATA_FIELDS, PLAN_FIELDS, SIGNATURE_FIELDS};
pub use figures::{AttemptAllowance, PlanBound, PlanEstimate, TaskBound, TaskEstimate};
use sign::PlanHead;
pub use sign::{Digest, SignedPlan, digest_hex};
pub use structure::{PlanStructure, TaskBindings};

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::graph::DependencyGraph;
use crate::id::{AgentDid, GoalId, PlanId, TaskIndex};
use crate::task::{Task, expected_seconds};
use crate::time::Timestamp;

/// The identity of a plan: given when it is accepted, never read from a draft.
#[derive(Clone, Debug)]
pub struct PlanIdentity {
    /// The plan.
    pub plan_id: PlanId,
    /// The goal it serves.
    pub goal_id: GoalId,
    /// The time at which it was made.
    pub created_at: Timestamp,
}

/// The part of a plan that all copies of it share: what the signature covers, read and indexed.
#[derive(Clone, Debug)]
struct PlanContent {
    /// The head in it is that of the plan that was made first.
    document: Arc<PlanDocument>,
    structure: Arc<PlanStructure>,
    digest: Digest,
    rank: Arc<[f64]>,
}

/// The head of a copy.
#[derive(Debug)]
struct CopyHead {
    head: PlanHead,
    /// The content's document with this head, made when somebody wants to see it.
    document: OnceLock<PlanDocument>,
}

/// A plan that passed validation. Only [`crate::validate::Validation::into_plan`] and
/// [`SignedPlan::open`] build it, so holding one is the proof; it has no `Deserialize`.
#[derive(Debug)]
pub struct Plan {
    content: PlanContent,
    /// None: the head stands in the content's document.
    copy: Option<Box<CopyHead>>,
    identity: PlanIdentity,
    /// The content as canonical JSON, until it is stored.
    text: Option<Arc<[u8]>>,
    /// The first task that asks the same of an agent, for each; made when there is a choice.
    asks: OnceLock<Vec<TaskIndex>>,
}

impl Plan {
    pub(crate) fn assemble(
        mut document: PlanDocument,
        structure: PlanStructure,
        identity: PlanIdentity,
    ) -> Plan {
        document.plan_id = Some(identity.plan_id);
        document.goal_id = Some(identity.goal_id.clone());
        document.created_at = Some(identity.created_at);
        let (digest, text) = sign::content_digest(&document);
        let seconds: Vec<f64> = document.tasks.iter().map(expected_seconds).collect();
        let rank = structure.graph().upward_rank(&seconds).into();
        let (document, structure) = (Arc::new(document), Arc::new(structure));
        let content = PlanContent { document, structure, digest, rank };
        Plan { content, copy: None, identity, text: Some(text.into()), asks: OnceLock::new() }
    }

    /// Another plan of the same content, of which nothing is copied. `text` is what
    /// [`Plan::take_text`] gave. The copy has to be signed anew.
    pub fn copy_as(
        &self,
        identity: PlanIdentity,
        now: Timestamp,
        cached: CachedCopy,
        text: Arc<[u8]>,
    ) -> Plan {
        let head = PlanHead {
            plan_id: Some(identity.plan_id),
            goal_id: Some(identity.goal_id.clone()),
            status: PlanStatus::Validated,
            created_at: Some(identity.created_at),
            validated_at: Some(now),
            signature: None,
            cached: Some(cached),
        };
        let copy = Some(Box::new(CopyHead { head, document: OnceLock::new() }));
        let content = self.content.clone();
        Plan { content, copy, identity, text: Some(text), asks: OnceLock::new() }
    }

    /// Copies the plan for another requester: what the signature covers of the request is replaced,
    /// and the digest is made anew. Identity and signature are to be set by [`Plan::copy_as`].
    #[must_use]
    pub fn with_requester(&self, agent_did: AgentDid, goal: String, priority: u8) -> Plan {
        let mut document = (*self.content.document).clone();
        (document.agent_did, document.goal, document.priority) = (agent_did, goal, priority);
        let (digest, text) = sign::content_digest(&document);
        let content = PlanContent { document: Arc::new(document), digest, ..self.content.clone() };
        let (identity, text) = (self.identity.clone(), Some(text.into()));
        Plan { content, copy: None, identity, text, asks: OnceLock::new() }
    }

    /// The whole document as JSON. Made from the canonical text where that is still here.
    pub fn written(&self) -> Vec<u8> {
        match (&self.text, &self.copy) {
            (Some(text), Some(copy)) => copy.head.written_before(text),
            (Some(text), None) => PlanHead::of(&self.content.document).written_before(text),
            (None, _) => serde_json::to_vec(self.document()).expect("a plan is plain data"),
        }
    }

    /// Takes the canonical text of the content out: nobody needs it once the plan is stored, but a
    /// cache.
    pub fn take_text(&mut self) -> Arc<[u8]> {
        self.text.take().unwrap_or_else(|| sign::content_digest(&self.content.document).1.into())
    }

    /// The first task that asks of an agent what this one asks: one name for all that are alike.
    pub fn placement_class(&self, task: TaskIndex) -> TaskIndex {
        self.asks.get_or_init(|| asks(&self.content.document.tasks))[task.at()]
    }

    /// The plan's identity.
    pub fn id(&self) -> PlanId {
        self.identity.plan_id
    }

    /// Plan, goal and creation time.
    pub fn identity(&self) -> &PlanIdentity {
        &self.identity
    }

    /// As it is written.
    pub fn document(&self) -> &PlanDocument {
        let content = &self.content.document;
        match &self.copy {
            None => content,
            Some(copy) => copy.document.get_or_init(|| copy.head.on((**content).clone())),
        }
    }

    /// The goal, in the requester's words.
    pub fn goal(&self) -> &str {
        &self.content.document.goal
    }

    /// True if it was asked for by this requester, in these words and with this priority.
    pub fn is_asked_alike(&self, agent_did: &str, goal: &str, priority: u8) -> bool {
        let document = &self.content.document;
        document.agent_did.as_str() == agent_did
            && document.goal == goal
            && document.priority == priority
    }

    /// The dependency graph.
    pub fn graph(&self) -> &DependencyGraph {
        self.content.structure.graph()
    }

    /// Parsed ids, bindings and conditions.
    pub fn structure(&self) -> &PlanStructure {
        &self.content.structure
    }

    /// One task.
    pub fn task(&self, index: TaskIndex) -> &Task {
        &self.content.document.tasks[index.at()]
    }

    /// The most that one attempt of a task may use.
    pub fn allowance(&self, index: TaskIndex) -> AttemptAllowance {
        let document = &self.content.document;
        let quota = self.task(index).resource_quota.as_ref();
        let is_firm = document.limits_spending() || self.task(index).limits_spending();
        let bound = document.metadata.bound.as_ref();
        let bound = bound.and_then(|bound| bound.tasks.get(index.at()));
        let (tokens, cost_usd) =
            bound.map_or((u64::MAX, f64::INFINITY), |b| (b.attempt_tokens, b.attempt_cost_usd));
        let side = |quota: Option<u64>| quota.unwrap_or(u64::MAX).min(tokens);
        AttemptAllowance {
            tokens,
            tokens_in: side(quota.and_then(|q| q.tokens_in)),
            tokens_out: side(quota.and_then(|q| q.tokens_out)),
            cost_usd: quota.and_then(|q| q.cost_usd).unwrap_or(f64::INFINITY).min(cost_usd),
            is_firm,
        }
    }

    /// SHA-256 over what the signature covers.
    pub fn digest(&self) -> &Digest {
        &self.content.digest
    }

    /// The time from this task's start to the plan's end along the longest path, in seconds.
    pub fn rank(&self, task: TaskIndex) -> f64 {
        self.content.rank[task.at()]
    }
}

/// Tasks that ask the same, told by the first of them.
fn asks(tasks: &[Task]) -> Vec<TaskIndex> {
    let mut first = HashMap::new();
    let ask = |task: &Task| {
        let (cores, memory) = task.expected_size();
        (
            task.task_type,
            task.tool.clone(),
            task.capability_requirements.clone(),
            task.agent_version_constraint.clone(),
            (cores.to_bits(), memory.to_bits()),
        )
    };
    let indices = (0..tasks.len() as u32).map(TaskIndex);
    indices.zip(tasks).map(|(index, task)| *first.entry(ask(task)).or_insert(index)).collect()
}
