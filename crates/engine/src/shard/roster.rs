//! Who there is to do the work: agents with their heartbeats and loads, and who has gone silent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use l05_core::agent::{Agent, AgentStatus};
use l05_core::schedule::RoutingStrategy;
use l05_core::time::Timestamp;
use l05_run::placement::{Crew, CrewMember};

/// The most heartbeats that an agent may miss (spec 03, 3.11).
const MISSED_MAX: u64 = 3;

/// An agent that has been silent for so long is forgotten when another registers: those that come under
/// a new name each time would pile up.
const FORGOTTEN_AFTER_MILLIS: u64 = 24 * 3_600_000;

/// The agents of a process. With none registered the process does everything by itself.
#[derive(Debug)]
pub(super) struct AgentRoster {
    crew: Crew,
    /// The time at which each registered agent was last heard of; this process is not among them.
    heard: BTreeMap<String, Timestamp>,
    /// Agents that were told to end what they have and take nothing new.
    draining: BTreeSet<String>,
    heartbeat_millis: u64,
    /// Set by a change since it was last asked: who is there and what they are.
    changed: bool,
    /// An agent came free, or a new one came.
    freed: bool,
    /// Loads are counted: from the first registration on.
    counts: bool,
}

/// Something about an agent.
#[derive(Debug, Clone)]
pub enum AgentInput {
    /// An agent is there and takes work, or says anew what it is.
    Registered(Box<Agent>),
    /// An agent lives; its load, 0 to 100, if it says so.
    Heard {
        /// The agent.
        agent_id: String,
        /// The agent's load with other things, too.
        load: Option<u8>,
    },
    /// An agent ends what it has and takes nothing new.
    Drained(String),
    /// An agent is gone.
    Left(String),
}

impl AgentRoster {
    pub(super) fn new(
        routing: RoutingStrategy,
        heartbeat_millis: u64,
        local: Option<&Agent>,
    ) -> AgentRoster {
        let mut crew = Crew::new(routing);
        local.into_iter().for_each(|agent| crew.put(agent.clone()));
        AgentRoster {
            crew,
            heard: BTreeMap::new(),
            draining: BTreeSet::new(),
            heartbeat_millis,
            changed: true,
            freed: false,
            counts: false,
        }
    }

    /// Replaces this process's own entry, as it can do other things than before.
    pub(super) fn put_local(&mut self, local: Agent) {
        self.crew.put(local);
        (self.changed, self.freed) = (true, true);
    }

    /// The crew, once there was anybody beside this process.
    pub(super) fn crew(&self) -> Option<&Crew> {
        self.counts.then_some(&self.crew)
    }

    /// All agents as they are now.
    pub(super) fn agents(&self) -> Vec<Agent> {
        let with_load = |member: &CrewMember| {
            let mut agent = member.agent.clone();
            let busy = member.running() * 100 / agent.max_concurrent_tasks.max(1);
            agent.current_load = agent.current_load.max(u8::try_from(busy).unwrap_or(100).min(100));
            if agent.status == AgentStatus::Available && agent.current_load >= 100 {
                agent.status = AgentStatus::Busy;
            }
            if let Some(heard) = self.heard.get(&agent.agent_id) {
                agent.last_heartbeat = *heard;
            }
            agent
        };
        let here = self.crew.members().iter().filter(|member| !self.has_left(member));
        here.map(with_load).collect()
    }

    fn has_left(&self, member: &CrewMember) -> bool {
        member.agent.status == AgentStatus::Offline
            && !self.heard.contains_key(&member.agent.agent_id)
    }

    /// Takes what is said of an agent; whether its attempts are lost with it.
    pub(super) fn tell(&mut self, input: AgentInput, now: Timestamp) -> Option<Arc<str>> {
        match input {
            AgentInput::Registered(mut agent) => {
                self.forget_gone(now);
                agent.status = AgentStatus::Available;
                self.draining.remove(&agent.agent_id);
                self.heard.insert(agent.agent_id.clone(), now);
                self.crew.put(*agent);
                (self.changed, self.freed) = (true, true);
            }
            AgentInput::Heard { agent_id, load } => {
                let heard = self.heard.get_mut(&agent_id)?;
                *heard = now;
                let mut agent = self.crew.get(&agent_id)?.agent.clone();
                // It was given up, and lives.
                if agent.status == AgentStatus::Offline {
                    agent.status = if self.draining.contains(&agent_id) {
                        AgentStatus::Draining
                    } else {
                        AgentStatus::Available
                    };
                    (self.changed, self.freed) = (true, true);
                }
                agent.current_load = load.unwrap_or(agent.current_load).min(100);
                self.crew.put(agent);
            }
            AgentInput::Drained(id) => {
                self.heard.get(&id)?;
                // One that is silent has lost what it had; it drains when it is heard of again.
                if self.crew.get(&id)?.agent.status != AgentStatus::Offline {
                    self.crew.set_status(&id, AgentStatus::Draining);
                }
                self.draining.insert(id);
                self.changed = true;
            }
            AgentInput::Left(id) => {
                self.heard.remove(&id)?;
                self.draining.remove(&id);
                // Forgotten when its attempts have gone elsewhere.
                self.crew.set_status(&id, AgentStatus::Offline);
                self.changed = true;
                return Some(id.into());
            }
        }
        None
    }

    /// Forgets those that have left and those silent for very long, once their attempts are elsewhere.
    fn forget_gone(&mut self, now: Timestamp) {
        let is_silent = |member: &&CrewMember| member.agent.status == AgentStatus::Offline;
        let is_gone = |member: &&CrewMember| match self.heard.get(&member.agent.agent_id) {
            Some(heard) => now.millis_since(*heard) >= FORGOTTEN_AFTER_MILLIS,
            // It has said that it left.
            None => true,
        };
        let members = self.crew.members().iter();
        let gone: Vec<String> = members
            .filter(|member| member.running() == 0)
            .filter(is_silent)
            .filter(is_gone)
            .map(|member| member.agent.agent_id.clone())
            .collect();
        for id in &gone {
            self.crew.remove(id);
            self.heard.remove(id);
            self.draining.remove(id);
        }
    }

    /// Takes out agents that have been silent for too long.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<Arc<str>> {
        if self.next_expiry().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let limit = self.heartbeat_millis * MISSED_MAX;
        let mut lost = Vec::new();
        for (id, heard) in &self.heard {
            let there = self.crew.get(id).is_some_and(|m| m.agent.status != AgentStatus::Offline);
            if there && now.millis_since(*heard) >= limit {
                self.crew.set_status(id, AgentStatus::Offline);
                lost.push(Arc::from(id.as_str()));
            }
        }
        self.changed |= !lost.is_empty();
        lost
    }

    /// The time at which the next silence is too long.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        let there = |(id, heard): (&String, &Timestamp)| {
            let member = self.crew.get(id)?;
            let limit = self.heartbeat_millis * MISSED_MAX;
            (member.agent.status != AgentStatus::Offline).then(|| heard.plus_millis(limit))
        };
        self.heard.iter().filter_map(there).min()
    }

    /// True if the first agent has come just now: until then nothing was counted.
    pub(super) fn begins_to_matter(&mut self) -> bool {
        !self.heard.is_empty() && !std::mem::replace(&mut self.counts, true)
    }

    /// Counts all attempts there are.
    pub(super) fn recount(&mut self, loads: &[(Arc<str>, u32)]) {
        self.count(&[], loads);
    }

    /// A run's attempts are counted apart while it is decided, and no more when it is closed.
    pub(super) fn set_aside(&mut self, loads: &[(Arc<str>, u32)]) {
        if !self.counts {
            return;
        }
        loads.iter().for_each(|(agent, load)| self.crew.give_back(agent, *load));
    }

    /// Counts the loads again with what the run has now.
    pub(super) fn count(&mut self, before: &[(Arc<str>, u32)], now: &[(Arc<str>, u32)]) {
        if !self.counts {
            return;
        }
        now.iter().for_each(|(agent, load)| self.crew.take(agent, *load));
        if self.freed || before.is_empty() {
            return;
        }
        let now: HashMap<&str, u32> = now.iter().map(|(id, load)| (&**id, *load)).collect();
        let has_less = |(agent, load): &(Arc<str>, u32)| now.get(&**agent).is_none_or(|n| n < load);
        self.freed = before.iter().any(has_less);
    }

    /// True if somebody came free since it was last asked.
    pub(super) fn take_freed(&mut self) -> bool {
        std::mem::take(&mut self.freed)
    }

    /// True if somebody came, went or changed since it was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}
