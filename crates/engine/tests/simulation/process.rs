//! A process of the simulated world: a shard, what it has still to do, and its executors.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use l05_core::id::{Attempt, Epoch, PlanId, TaskIndex};
use l05_core::time::Timestamp;
use l05_engine::port::Launch;
use l05_engine::shard::{AgentInput, Shard, ShardAction, ShardInput, ShardRules};
use l05_run::record::Record;
use serde_json::json;

/// The agents of a process that has some, and how many tasks each takes at once.
pub(crate) const AGENTS: [&str; 2] = ["a", "b"];
pub(crate) const AGENT_SLOTS: usize = 2;

/// What the driver has been told to do and has not done yet.
pub(crate) enum Job {
    Act(ShardAction),
    Reload(PlanId),
}

/// An executor at work.
pub(crate) struct Work {
    pub(crate) plan: PlanId,
    pub(crate) task: TaskIndex,
    pub(crate) attempt: Attempt,
    pub(crate) launch: Launch,
    pub(crate) told_to_stop: bool,
    pub(crate) hangs: bool,
}

pub(crate) struct Process {
    pub(crate) shard: Shard,
    pub(crate) jobs: VecDeque<Job>,
    pub(crate) batch: Option<Vec<Arc<Record>>>,
    pub(crate) works: Vec<Work>,
    pub(crate) wake_at: Option<Timestamp>,
    /// The plans it drives, each with the epoch under which it claimed it.
    pub(crate) plans: BTreeMap<PlanId, Epoch>,
    /// Plans that another process has taken while this one lived: it may start nothing of them.
    pub(crate) lost: BTreeSet<PlanId>,
}

impl Process {
    pub(crate) fn new(in_flight_max: u32) -> Process {
        Process {
            shard: Shard::new(ShardRules {
                observe_millis: 4_000,
                deaths_max: crate::oracle::DEATHS_MAX,
                ..ShardRules::room(in_flight_max)
            }),
            jobs: VecDeque::new(),
            batch: None,
            works: Vec::new(),
            wake_at: None,
            plans: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    /// A process with two agents beside it.
    pub(crate) fn with_agents(in_flight_max: u32, now: Timestamp) -> Process {
        let mut process = Process::new(in_flight_max);
        AGENTS.iter().for_each(|id| process.register(id, now));
        process
    }

    pub(crate) fn register(&mut self, id: &str, now: Timestamp) {
        let agent = serde_json::from_value(json!({
            "agent_id": id, "type": "worker", "version": "1.0.0", "status": "AVAILABLE",
            "capabilities": ["tool:noop"], "max_concurrent_tasks": AGENT_SLOTS, "current_load": 0,
            "capacity": {"cpu_cores": 1.0, "memory_mb": 1}, "last_heartbeat": "1970-01-01T00:00:00Z",
        }));
        self.tell(AgentInput::Registered(Box::new(agent.unwrap())), now);
    }

    pub(crate) fn tell(&mut self, input: AgentInput, at: Timestamp) {
        self.shard.handle(ShardInput::Agent { input, at });
    }
}
