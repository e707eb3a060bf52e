//! Plans: the document as it is written, and [`Plan`], the proof that it may run.

mod canonical;
mod document;
mod sign;
mod structure;

pub use document::{
    GOAL_MAX_CHARS, OnBudget, OnFailure, PLAN_VERSION, PlanDocument, PlanMetadata, PlanStatus,
    Signature, Strategy,
};
pub(crate) use document::{METADATA_FIELDS, PLAN_FIELDS, SIGNATURE_FIELDS};
pub use sign::{Digest, SignedPlan, digest_hex};
pub use structure::{Structure, TaskBindings};

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::estimate::expected_seconds;
use crate::graph::DependencyGraph;
use crate::id::{GoalId, PlanId, TaskIndex};
use crate::task::Task;
use crate::time::Timestamp;

/// Who a plan is: given when it is accepted, never read from a draft.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The plan.
    pub plan_id: PlanId,
    /// The goal it serves.
    pub goal_id: GoalId,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A plan that passed validation. Only [`crate::validate::Validation::into_plan`] and
/// [`SignedPlan::open`] build it, so holding one is the proof; it has no `Deserialize`.
#[derive(Debug)]
pub struct Plan {
    document: PlanDocument,
    structure: Structure,
    identity: Identity,
    digest: Digest,
    text_bytes: usize,
    rank: Vec<f64>,
    /// The first task that asks the same of an agent, for each; made when there is a choice.
    asks: OnceLock<Vec<TaskIndex>>,
}

impl Plan {
    pub(crate) fn assemble(
        mut document: PlanDocument,
        structure: Structure,
        identity: Identity,
    ) -> Plan {
        document.plan_id = Some(identity.plan_id);
        document.goal_id = Some(identity.goal_id.clone());
        document.created_at = Some(identity.created_at);
        let (digest, text_bytes) = sign::content_digest(&document);
        let seconds: Vec<f64> = document.tasks.iter().map(expected_seconds).collect();
        let rank = structure.graph().upward_rank(&seconds);
        Plan { document, structure, identity, digest, text_bytes, rank, asks: OnceLock::new() }
    }

    /// The length of its content as canonical JSON: what a text of it takes, more or less.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// The first task that asks of an agent what this one asks: one name for all that are alike.
    pub fn ask_of(&self, task: TaskIndex) -> TaskIndex {
        self.asks.get_or_init(|| asks(&self.document.tasks))[task.at()]
    }

    /// The plan's identity.
    pub fn id(&self) -> PlanId {
        self.identity.plan_id
    }

    /// Plan, goal and creation time.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// As it is written.
    pub fn document(&self) -> &PlanDocument {
        &self.document
    }

    /// The dependency graph.
    pub fn graph(&self) -> &DependencyGraph {
        self.structure.graph()
    }

    /// Parsed ids, bindings and conditions.
    pub fn structure(&self) -> &Structure {
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
