//! Who does the work, as the registry knows them. Plain data, and what an agent can do; the choice
//! among several is `l05_run::placement`'s, their liveness the engine's.

use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::document::choice::choices;
use crate::task::{Task, TaskType};
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
pub struct AgentCapacity {
    /// Processor cores.
    pub cpu_cores: f64,
    /// Memory, in MB.
    pub memory_mb: u64,
}

/// The agent that runs built-in tools.
pub const LOCAL_AGENT: &str = "local";

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
    pub capacity: AgentCapacity,
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

/// What agents that call models can do.
pub const MODEL_CAPABILITY: &str = "llm";
/// The type of the agent that is this process: it runs tools and nothing else.
pub const LOCAL_AGENT_TYPE: &str = "local";

impl Agent {
    /// Whether it has a capability.
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c == capability)
    }

    fn has_tool(&self, tool: &str) -> bool {
        self.capabilities.iter().any(|c| c.strip_prefix("tool:") == Some(tool))
    }

    /// Whether it can do a task: its type, its tool, and what it states.
    pub fn can_do(&self, task: &Task) -> bool {
        let by_type = match task.task_type {
            TaskType::ToolCall => task.tool.as_deref().is_none_or(|tool| self.has_tool(tool)),
            TaskType::LlmCall => self.has(MODEL_CAPABILITY),
            TaskType::Atomic => self.agent_type != LOCAL_AGENT_TYPE,
            TaskType::Compound => false,
        };
        by_type && task.capability_requirements.iter().all(|need| self.has(need))
    }

    /// Whether its version is one that the task wants. A range that does not parse was refused when
    /// the plan was validated.
    pub fn is_of_version(&self, task: &Task) -> bool {
        let wanted = task.agent_version_constraint.as_deref();
        let wanted = wanted.and_then(|range| semver::VersionReq::parse(range).ok());
        wanted.is_none_or(|range| range.matches(&self.version))
    }

    /// Whether its machine has the cores and the memory that the task is expected to need.
    pub fn has_room_for(&self, task: &Task) -> bool {
        let (cores, memory) = task.expected_size();
        cores <= self.capacity.cpu_cores && memory <= self.capacity.memory_mb as f64
    }

    /// How well its capabilities fit, 0 to 1: best is who can do little beside it.
    pub fn fit(&self, task: &Task) -> f64 {
        let needed = task.capability_requirements.len() + usize::from(task.tool.is_some());
        needed.max(1) as f64 / self.capabilities.len().max(needed).max(1) as f64
    }
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
pub struct AgentCandidate {
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
    pub chosen: AgentCandidate,
    /// Who else was considered, best first.
    pub alternatives: Vec<AgentCandidate>,
}
