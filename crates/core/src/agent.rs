//! Who does the work, as the registry knows them. Plain data: assignment and liveness are the
//! engine's, and come with the agents.

use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::document::choice::choices;
use crate::time::Timestamp;

choices! {
    /// Whether an agent takes work.
    pub enum AgentStatus {
        /// It does.
        Available = "AVAILABLE",
        /// It is full.
        Busy = "BUSY",
        /// It ends what it has and takes nothing new.
        Draining = "DRAINING",
        /// It has not been heard of.
        Offline = "OFFLINE",
    }
}

/// What an agent's machine has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Processor cores.
    pub cpu_cores: f64,
    /// Memory, in MB.
    pub memory_mb: u64,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Its DID.
    pub agent_id: String,
    /// What kind it is.
    #[serde(rename = "type")]
    pub agent_type: String,
    /// Its version.
    #[schemars(with = "String")]
    pub version: Version,
    /// What it can do: `tool:fs.read`, `llm`, `lang:python`.
    pub capabilities: Vec<String>,
    /// Whether it takes work.
    pub status: AgentStatus,
    /// How many tasks at once.
    pub max_concurrent_tasks: u32,
    /// What its machine has.
    pub capacity: Capacity,
    /// How busy it is, 0 to 100.
    pub current_load: u8,
    /// For authorisation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// For authorisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Where it is reached; none for one that connects by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// When it was last heard of.
    pub last_heartbeat: Timestamp,
}

/// The parts of a score, each 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreParts {
    /// How well its capabilities fit.
    pub capability: f64,
    /// How free it is.
    pub load: f64,
    /// Whether it did related tasks.
    pub affinity: f64,
}

/// One candidate with its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The agent.
    pub agent_id: String,
    /// 0 to 1.
    pub score: f64,
    /// What it is made of.
    pub parts: ScoreParts,
}

/// Which agent got a task, and who else could have. Kept, because `explain` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentAssignment {
    /// The task.
    pub task_id: String,
    /// Who got it.
    pub chosen: Candidate,
    /// Who else was considered, best first.
    pub alternatives: Vec<Candidate>,
}
