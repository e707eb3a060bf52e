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
    CacheHit, CachedCopy, GOAL_MAX_CHARS, OnBudget, OnFailure, PLAN_VERSION, PlanDocument,
    PlanMetadata, PlanSignature, PlanStatus, Strategy,
};
pub(crate) use document::{METADATA_FIELDS, PLAN_FIELDS, SIGNATURE_FIELDS};
pub use figures::{PlanBound, PlanEstimate, TaskBound, TaskEstimate};
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

/// A plan that passed validation. Only [`crate::validate::Validation::into_plan`] and
/// [`SignedPlan::open`] build it, so holding one is the proof; it has no `Deserialize`.
#[derive(Debug)]
pub struct Plan {
    /// Shared with copies of the plan, as the structure is.
    document: Arc<PlanDocument>,
    /// The parts that a copy has of its own; none: the document has it.
    own: Option<Box<PlanHead>>,
    /// A copy's document with its own head, made when somebody wants to see it.
    whole: OnceLock<PlanDocument>,
    structure: Arc<PlanStructure>,
    identity: PlanIdentity,
    digest: Digest,
    /// The covered content as canonical JSON, until it is stored.
    content: Option<Arc<[u8]>>,
    rank: Arc<[f64]>,
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
        let (digest, content) = sign::content_digest(&document);
        let seconds: Vec<f64> = document.tasks.iter().map(expected_seconds).collect();
        let rank = structure.graph().upward_rank(&seconds).into();
        Plan {
            document: Arc::new(document),
            own: None,
            whole: OnceLock::new(),
            structure: Arc::new(structure),
            identity,
            digest,
            content: Some(content.into()),
            rank,
            asks: OnceLock::new(),
        }
    }

    /// Another plan of the same content: its tasks, digest, structure and text are those of this
    /// one, and nothing of them is copied. `content` is what [`Plan::take_content`] gave. It has to
    /// be signed anew.
    pub fn copy_as(
        &self,
        identity: PlanIdentity,
        now: Timestamp,
        cached: CachedCopy,
        content: Arc<[u8]>,
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
        Plan {
            document: self.document.clone(),
            own: Some(Box::new(head)),
            whole: OnceLock::new(),
            structure: self.structure.clone(),
            identity,
            digest: self.digest,
            content: Some(content),
            rank: self.rank.clone(),
            asks: OnceLock::new(),
        }
    }

    /// Copies the plan for another requester: what the signature covers of the request is replaced,
    /// and the digest is made anew. Identity and signature are to be set by [`Plan::copy_as`].
    #[must_use]
    pub fn with_requester(&self, agent_did: AgentDid, goal: String, priority: u8) -> Plan {
        let mut document = (*self.document).clone();
        (document.agent_did, document.goal, document.priority) = (agent_did, goal, priority);
        let (digest, content) = sign::content_digest(&document);
        Plan {
            document: Arc::new(document),
            own: None,
            whole: OnceLock::new(),
            structure: self.structure.clone(),
            identity: self.identity.clone(),
            digest,
            content: Some(content.into()),
            rank: self.rank.clone(),
            asks: OnceLock::new(),
        }
    }

    /// The whole document as JSON. Made from the canonical text where that is still here.
    pub fn written(&self) -> Vec<u8> {
        match &self.content {
            Some(content) => match &self.own {
                Some(own) => own.written_before(content),
                None => PlanHead::of(&self.document).written_before(content),
            },
            None => serde_json::to_vec(self.document()).expect("a plan is plain data"),
        }
    }

    /// Takes the canonical text out: nobody needs it once the plan is stored, but a cache.
    pub fn take_content(&mut self) -> Arc<[u8]> {
        self.content.take().unwrap_or_else(|| sign::content_digest(&self.document).1.into())
    }

    /// The first task that asks of an agent what this one asks: one name for all that are alike.
    pub fn placement_class(&self, task: TaskIndex) -> TaskIndex {
        self.asks.get_or_init(|| asks(&self.document.tasks))[task.at()]
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
        match &self.own {
            None => &self.document,
            Some(own) => self.whole.get_or_init(|| own.on((*self.document).clone())),
        }
    }

    /// The document of the content, in which identity, status, times and signature may be those of
    /// the plan that this one is a copy of.
    pub fn content(&self) -> &PlanDocument {
        &self.document
    }

    /// The dependency graph.
    pub fn graph(&self) -> &DependencyGraph {
        self.structure.graph()
    }

    /// Parsed ids, bindings and conditions.
    pub fn structure(&self) -> &PlanStructure {
        &self.structure
    }

    /// One task.
    pub fn task(&self, index: TaskIndex) -> &Task {
        &self.document.tasks[index.at()]
    }

    /// SHA-256 over what the signature covers.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The time from this task's start to the plan's end along the longest path, in seconds.
    pub fn rank(&self, task: TaskIndex) -> f64 {
        self.rank[task.at()]
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
