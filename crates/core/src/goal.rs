//! What is asked for: the goal and its constraints.

mod constraints;
pub mod input;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::document::choice::choices;
use crate::id::{AgentDid, GoalId};
use crate::time::Timestamp;

pub(crate) use constraints::{CONSTRAINT_FIELDS, INTEGER_MAX, read_constraints};
pub use constraints::{GoalConstraints, PARALLELISM_DEFAULT, PARALLELISM_MAX};

choices! {
    /// Ways in which a goal may be decomposed.
    pub enum GoalType {
        /// One step is enough.
        Simple = "SIMPLE",
        /// Several steps (the default).
        Compound = "COMPOUND",
        /// Steps may themselves be decomposed again.
        Recursive = "RECURSIVE",
    }
}

choices! {
    /// The status of a goal: PENDING -> DECOMPOSING -> READY or FAILED.
    pub enum GoalStatus {
        /// Not looked at yet.
        Pending = "PENDING",
        /// Being decomposed.
        Decomposing = "DECOMPOSING",
        /// There is a plan.
        Ready = "READY",
        /// There is none, and why is known.
        Failed = "FAILED",
    }
}

/// Priorities run from 1 (low) to 10 (high).
pub const PRIORITY_DEFAULT: u8 = 5;

/// A request: who wants what, within which limits.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Goal {
    /// Unique; ours or the caller's.
    pub goal_id: GoalId,
    /// The requester.
    pub agent_did: AgentDid,
    /// The goal, in the requester's words.
    pub goal_text: String,
    /// The way in which it may be decomposed.
    pub goal_type: GoalType,
    /// 1 (low) to 10 (high).
    pub priority: u8,
    /// Limits on the plan and its run.
    pub constraints: GoalConstraints,
    /// The present status.
    pub status: GoalStatus,
    /// The time of the request.
    pub created_at: Timestamp,
    /// The caller's own data.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// The goal this one is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_goal_id: Option<GoalId>,
}

impl Goal {
    /// A goal of three fields; the rest has its defaults.
    pub fn new(goal_id: GoalId, agent_did: AgentDid, text: impl Into<String>) -> Goal {
        Goal {
            goal_id,
            agent_did,
            goal_text: text.into(),
            goal_type: GoalType::Compound,
            priority: PRIORITY_DEFAULT,
            constraints: GoalConstraints::default(),
            status: GoalStatus::Pending,
            created_at: Timestamp(0),
            metadata: Map::new(),
            parent_goal_id: None,
        }
    }
}
