//! Who does the work, as the registry knows them. Plain data, and what an agent can do; the choice
//! among several is `l05_run::placement`'s, their liveness the engine's.

use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::document::choice::choices;
use crate::task::{Task, TaskType};
use crate::time::Timestamp;

choices! {
    /// The readiness of an agent for work.
    pub enum AgentStatus {
        /// The agent takes work.
        Available = "AVAILABLE",
        /// The agent is full.
        Busy = "BUSY",
        /// The agent ends what it has and takes nothing new.
        Draining = "DRAINING",
        /// The agent has not been heard of.
        Offline = "OFFLINE",
    }
}

/// Resources of an agent's machine.
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
    /// The agent's DID.
    pub agent_id: String,
    /// The kind of agent.
    #[serde(rename = "type")]
    pub agent_type: String,
    /// The agent's version.
    #[schemars(with = "String")]
    pub version: Version,
    /// Capabilities: `tool:fs.read`, `llm`, `lang:python`.
    pub capabilities: Vec<String>,
    /// The readiness for work.
    pub status: AgentStatus,
    /// The most tasks at once.
    pub max_concurrent_tasks: u32,
    /// The machine's resources.
    pub capacity: AgentCapacity,
    /// The agent's load, 0 to 100.
    pub current_load: u8,
    /// For authorisation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// For authorisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The address at which the agent is reached; none for one that connects by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The time at which the agent was last heard of.
    pub last_heartbeat: Timestamp,
}

/// The capability of agents that call models.
pub const MODEL_CAPABILITY: &str = "llm";
/// The type of the agent that is this process: it runs tools and nothing else.
pub const LOCAL_AGENT_TYPE: &str = "local";

impl Agent {
    /// True if the agent has a capability.
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c == capability)
    }

    fn has_tool(&self, tool: &str) -> bool {
        self.capabilities.iter().any(|c| c.strip_prefix("tool:") == Some(tool))
    }

    /// True if the agent can do a task: its type, its tool, and what it states.
    pub fn can_do(&self, task: &Task) -> bool {
        let by_type = match task.task_type {
            TaskType::ToolCall => task.tool.as_deref().is_none_or(|tool| self.has_tool(tool)),
            TaskType::LlmCall => self.has(MODEL_CAPABILITY),
            TaskType::Atomic => self.agent_type != LOCAL_AGENT_TYPE,
            TaskType::Compound => false,
        };
        by_type && task.capability_requirements.iter().all(|need| self.has(need))
    }

    /// True if the agent's version is one that the task wants. A range that does not parse was
    /// refused when the plan was validated.
    pub fn is_of_version(&self, task: &Task) -> bool {
        let wanted = task.agent_version_constraint.as_deref();
        let wanted = wanted.and_then(|range| semver::VersionReq::parse(range).ok());
        wanted.is_none_or(|range| range.matches(&self.version))
    }

    /// True if the agent's machine has the cores and the memory that the task is expected to need.
    pub fn has_room_for(&self, task: &Task) -> bool {
        let (cores, memory) = task.expected_size();
        cores <= self.capacity.cpu_cores && memory <= self.capacity.memory_mb as f64
    }

    /// The fit of the agent's capabilities, 0 to 1: best is who can do little beside it.
    pub fn fit(&self, task: &Task) -> f64 {
        let needed = task.capability_requirements.len() + usize::from(task.tool.is_some());
        needed.max(1) as f64 / self.capabilities.len().max(needed).max(1) as f64
    }
}

/// The parts of a score, each 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreParts {
    /// The fit of the agent's capabilities.
    pub capability: f64,
    /// The free part of the agent.
    pub load: f64,
    /// 1 for an agent that did related tasks.
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
    /// The parts of the score.
    pub parts: ScoreParts,
}

/// The agent that got a task, and the others that could have. Kept, because `explain` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentAssignment {
    /// The task.
    pub task_id: String,
    /// The agent that got it.
    pub chosen: AgentCandidate,
    /// Other agents that were considered, best first.
    pub alternatives: Vec<AgentCandidate>,
}
