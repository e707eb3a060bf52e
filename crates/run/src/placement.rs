//! Which agent gets a task that is ready to start: the choice at run time, with its reasons.
//!
//! Called by the run machine for each attempt, where there are agents beside the process itself. The
//! engine keeps the crew's heartbeats; here is only what a choice needs.

use std::sync::Arc;

use crate::event::{AgentPlacement, TaskError};
use l05_core::agent::{Agent, AgentStatus};
use l05_core::error::ErrorCode;
use l05_core::id::TaskIndex;
use l05_core::schedule::{AgentFit, RoutingStrategy};
use l05_core::task::Task;

/// The most others that a placement names.
const OTHERS_MAX: usize = 3;

/// The agents that a process can give work to.
#[derive(Clone, Debug, Default)]
pub struct Crew {
    members: Vec<CrewMember>,
    routing: RoutingStrategy,
}

/// An agent with what it has to do.
#[derive(Clone, Debug)]
pub struct CrewMember {
    /// The agent's description of itself; its status is what the registry knows.
    pub agent: Agent,
    id: Arc<str>,
    /// Attempts of runs other than the one that is being decided.
    running: u32,
}

/// A task that looks for an agent, and what its run knows.
pub struct PlacementRequest<'a> {
    /// The task.
    pub task: &'a Task,
    /// The task's place in the run.
    pub index: TaskIndex,
    /// Types that the goal allows; empty: all.
    pub allowed_types: &'a [String],
    /// Agents that the plan would have rather than others.
    pub preferred: &'a [String],
    /// Attempts of this run at an agent.
    pub own: &'a dyn Fn(&str) -> u32,
    /// The share of what the task needs that an agent did, 0 to 1.
    pub related: &'a dyn Fn(&str) -> f64,
    /// The agent that lost it last; taken only where there is nobody else.
    pub avoid: Option<&'a str>,
}

/// The answer to a wish.
#[derive(Debug, PartialEq)]
pub enum Placement {
    /// One agent, with the reason.
    On(Box<AgentPlacement>),
    /// All who could are full: somebody will be free.
    Busy,
    /// Nobody can.
    Nobody(TaskError),
}

impl Crew {
    /// A crew that chooses by `routing`.
    pub fn new(routing: RoutingStrategy) -> Crew {
        Crew { members: Vec::new(), routing }
    }

    /// Members, in the order of their ids.
    pub fn members(&self) -> &[CrewMember] {
        &self.members
    }

    /// Adds an agent, or replaces what is known of it.
    pub fn put(&mut self, agent: Agent) {
        match self.place_of(&agent.agent_id) {
            Ok(at) => self.members[at].agent = agent,
            Err(at) => {
                let id = agent.agent_id.as_str().into();
                self.members.insert(at, CrewMember { agent, id, running: 0 });
            }
        }
    }

    /// Forgets an agent.
    pub fn remove(&mut self, id: &str) {
        if let Ok(at) = self.place_of(id) {
            self.members.remove(at);
        }
    }

    /// An agent.
    pub fn get(&self, id: &str) -> Option<&CrewMember> {
        self.place_of(id).ok().map(|at| &self.members[at])
    }

    /// Changes what the registry knows of an agent.
    pub fn set_status(&mut self, id: &str, status: AgentStatus) {
        if let Ok(at) = self.place_of(id) {
            self.members[at].agent.status = status;
        }
    }

    /// `count` more attempts at an agent.
    pub fn take(&mut self, id: &str, count: u32) {
        if let Ok(at) = self.place_of(id) {
            self.members[at].running += count;
        }
    }

    /// `count` fewer.
    pub fn give_back(&mut self, id: &str, count: u32) {
        if let Ok(at) = self.place_of(id) {
            let member = &mut self.members[at];
            member.running = member.running.saturating_sub(count);
        }
    }

    fn place_of(&self, id: &str) -> Result<usize, usize> {
        self.members.binary_search_by(|member| (*member.id).cmp(id))
    }

    /// Chooses an agent for a task.
    pub fn place(&self, wish: &PlacementRequest<'_>) -> Placement {
        let able = match self.able(wish) {
            Ok(able) => able,
            Err(error) => return Placement::Nobody(error),
        };
        let free: Vec<&CrewMember> = able.iter().copied().filter(|m| m.is_free(wish)).collect();
        let mut left: Vec<&CrewMember> =
            free.iter().copied().filter(|m| wish.avoid != Some(&*m.id)).collect();
        if left.is_empty() {
            // Others could, once they are free: better than the one that just lost it.
            let others = able.iter().any(|m| wish.avoid != Some(&*m.id));
            if others || free.is_empty() {
                return Placement::Busy;
            }
            left = free;
        }
        // A preference is kept as far as anybody of those is free.
        let is_preferred =
            |member: &&CrewMember| wish.preferred.iter().any(|id| **id == *member.id);
        if left.iter().any(is_preferred) {
            left.retain(is_preferred);
        }
        if self.routing.takes_turns() {
            let turn = wish.index.at() % left.len();
            left.rotate_left(turn);
        }
        let mut scored: Vec<(f64, &CrewMember)> =
            left.into_iter().map(|member| (self.score(member, wish), member)).collect();
        // Stable: among equals the first in turn, or by id.
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (score, chosen) = scored[0];
        let others = scored[1..].iter().take(OTHERS_MAX);
        Placement::On(Box::new(AgentPlacement {
            agent: chosen.id.clone(),
            score,
            others: others.map(|(score, member)| (member.id.clone(), *score)).collect(),
        }))
    }

    /// Members that can do it and are there; sieve by sieve, so that the error names the last one.
    fn able<'a>(&'a self, wish: &PlacementRequest<'_>) -> Result<Vec<&'a CrewMember>, TaskError> {
        let task = wish.task;
        let error = |code, message: String, is_final| {
            Err(TaskError { is_final, ..TaskError::new(code, message) })
        };
        let allowed = |m: &&CrewMember| {
            wish.allowed_types.is_empty() || wish.allowed_types.contains(&m.agent.agent_type)
        };
        let can: Vec<&CrewMember> =
            self.members.iter().filter(|m| m.agent.can_do(task)).filter(allowed).collect();
        if can.is_empty() {
            let message = format!("no agent is registered that can do `{}`", task.task_id);
            return error(ErrorCode::CapabilityMismatch, message, true);
        }
        let fits: Vec<&CrewMember> =
            can.into_iter().filter(|m| m.agent.is_of_version(task)).collect();
        if fits.is_empty() {
            let range = task.agent_version_constraint.as_deref().unwrap_or_default();
            let message = format!("`{}` wants an agent of version {range}", task.task_id);
            return error(ErrorCode::AgentVersionMismatch, message, true);
        }
        let fits: Vec<&CrewMember> =
            fits.into_iter().filter(|m| m.agent.has_room_for(task)).collect();
        if fits.is_empty() {
            let message = format!("every agent is too small for `{}`", task.task_id);
            return error(ErrorCode::ResourcesInsufficient, message, true);
        }
        let there: Vec<&CrewMember> = fits.into_iter().filter(|m| m.is_there()).collect();
        if there.is_empty() {
            let message = format!("every agent that can do `{}` is away", task.task_id);
            return error(ErrorCode::AgentUnavailable, message, false);
        }
        Ok(there)
    }

    fn score(&self, member: &CrewMember, wish: &PlacementRequest<'_>) -> f64 {
        self.routing.score(&AgentFit {
            freedom: &|| 1.0 - member.load(wish),
            capability: &|| member.agent.fit(wish.task),
            affinity: &|| (wish.related)(&member.id),
        })
    }
}

impl CrewMember {
    /// Attempts that it works on.
    pub fn running(&self) -> u32 {
        self.running
    }

    fn is_there(&self) -> bool {
        match self.agent.status {
            AgentStatus::Available | AgentStatus::Busy => true,
            AgentStatus::Draining | AgentStatus::Offline => false,
        }
    }

    fn is_free(&self, wish: &PlacementRequest<'_>) -> bool {
        self.running + (wish.own)(&self.id) < self.agent.max_concurrent_tasks
    }

    /// The load of a member, 0 to 1: by the attempts that it has here, or by what it says of
    /// itself.
    fn load(&self, wish: &PlacementRequest<'_>) -> f64 {
        let running = f64::from(self.running + (wish.own)(&self.id));
        let here = running / f64::from(self.agent.max_concurrent_tasks.max(1));
        here.max(f64::from(self.agent.current_load) / 100.0)
    }
}
