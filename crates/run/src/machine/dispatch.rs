//! Which ready task goes out next, and to whom.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::budget::BudgetShortage;
use super::retry::is_of_agent;
use super::{ReadyTask, Run, TaskPhase};
use crate::amounts::Amounts;
use crate::command::RunLimits;
use crate::event::{AgentPlacement, RunEvent, TaskError};
use crate::placement::{Crew, Placement, PlacementRequest};
use l05_core::id::TaskIndex;
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;

impl Run {
    /// The ready task of the highest rank, as far as parallelism, room, agents and budget allow.
    pub(super) fn dispatch(&mut self, now: Timestamp, terms: RunLimits<'_>) -> Option<RunEvent> {
        if !self.may_dispatch() || self.running >= self.parallelism().min(terms.running_max) {
            return None;
        }
        if let Some(crew) = terms.crew {
            return self.dispatch_to(crew, now, terms);
        }
        while let Some(next) = self.ready.pop() {
            if self.is_due(next.task.0, now) {
                return self.send(next, None, now, terms);
            }
        }
        None
    }

    /// The ready task of the highest rank among those for which an agent is free.
    fn dispatch_to(
        &mut self,
        crew: &Crew,
        now: Timestamp,
        terms: RunLimits<'_>,
    ) -> Option<RunEvent> {
        while let Some(next) = self.ready.pop() {
            let ask = self.plan.placement_class(self.origin(next.task.0));
            self.queues.entry(ask).or_default().push(next);
        }
        let mut queues = std::mem::take(&mut self.queues);
        let loads: HashMap<&str, u32> =
            self.agent_loads().map(|(id, load)| (&**id, load)).collect();
        let mut best: Option<(ReadyTask, TaskIndex, Placement)> = None;
        for (ask, queue) in &mut queues {
            let Some(next) = self.first_due(queue, now) else { continue };
            if best.as_ref().is_some_and(|(other, ..)| *other > next) {
                continue;
            }
            match self.place(crew, &loads, next.task.0) {
                Placement::Busy => {}
                placed @ (Placement::On(_) | Placement::Nobody(_)) => {
                    best = Some((next, *ask, placed));
                }
            }
        }
        if let Some((_, ask, _)) = &best {
            queues.get_mut(ask).and_then(BinaryHeap::pop);
        }
        queues.retain(|_, queue| !queue.is_empty());
        self.queues = queues;
        self.lacks_agents = best.is_none() && !self.queues.is_empty();
        match best? {
            (next, _, Placement::On(placement)) => self.send(next, Some(placement), now, terms),
            (next, _, Placement::Nobody(error)) => Some(self.nobody(next.task.0, error, now)),
            (_, _, Placement::Busy) => None,
        }
    }

    /// The first of a queue that still wants to go out now; what went another way leaves it.
    fn first_due(&self, queue: &mut BinaryHeap<ReadyTask>, now: Timestamp) -> Option<ReadyTask> {
        while let Some(next) = queue.peek() {
            if self.is_due(next.task.0, now) {
                return Some(*next);
            }
            queue.pop();
        }
        None
    }

    /// `loads` is what the agents have of this run.
    fn place(&self, crew: &Crew, loads: &HashMap<&str, u32>, task: TaskIndex) -> Placement {
        let loads = |agent: &str| loads.get(agent).copied().unwrap_or(0);
        let graph = self.plan.graph();
        let needs = graph.edges_in(self.origin(task));
        let related = |agent: &str| {
            let by = needs.iter().filter(|e| &**self.agent(graph.edge(**e).from) == agent).count();
            if needs.is_empty() { 0.0 } else { by as f64 / needs.len() as f64 }
        };
        let state = &self.tasks[task.at()];
        let lost = state.error.as_ref().is_some_and(|error| is_of_agent(error.code));
        crew.place(&PlacementRequest {
            task: self.spec(task),
            index: task,
            allowed_types: &self.plan.document().constraints.allowed_agent_types,
            preferred: &self.plan.document().preferred_agents,
            own: &loads,
            related: &related,
            avoid: (state.again || lost).then(|| &**self.agent(task)),
        })
    }

    /// A task goes out, unless the budget does not suffice.
    fn send(
        &mut self,
        next: ReadyTask,
        placed: Option<Box<AgentPlacement>>,
        now: Timestamp,
        terms: RunLimits<'_>,
    ) -> Option<RunEvent> {
        let task = next.task.0;
        if !self.has_room_beside_others(task) {
            self.ready.push(next);
            self.lacks_budget = true;
            return None;
        }
        let reserved = self.share(task);
        if !reserved.is_none()
            && let Some(shortage) = self.account.shortage(reserved)
        {
            return self.wait_for_budget(next, shortage, now, terms);
        }
        let state = &self.tasks[task.at()];
        if state.again {
            return Some(self.redispatch(task, placed, now));
        }
        let (attempt, not_after) = (state.attempt.next(), self.attempt_deadline(task, now));
        Some(RunEvent::TaskDispatched { task, attempt, not_after, reserved, placed })
    }

    /// There is no agent for a task: it comes again later, or has failed.
    fn nobody(&self, task: TaskIndex, error: TaskError, now: Timestamp) -> RunEvent {
        let state = &self.tasks[task.at()];
        if state.again {
            // Another agent had begun it.
            let (attempt, last) = (state.attempt, TaskStatus::Failed);
            return self.attempt_failed(task, attempt, error, None, last, now);
        }
        match self.next_try(task, state.attempt.next(), &error, now) {
            Some(at) => RunEvent::TaskDeferred { task, error, at },
            None => RunEvent::TaskFailed { task, error },
        }
    }

    fn is_due(&self, task: TaskIndex, now: Timestamp) -> bool {
        let not_before = self.tasks[task.at()].not_before;
        self.wants_slot(task) && not_before.is_none_or(|at| at <= now)
    }

    /// True if anything could go out now, but for room and agents.
    pub(super) fn any_ready(&self) -> bool {
        let queued = self.queues.values().flatten();
        self.ready.iter().chain(queued).any(|next| self.wants_slot(next.task.0))
    }

    /// True if a task of the ready queue still wants to be sent out; entries of tasks that went
    /// another way meanwhile stay in the queue until they come up.
    fn wants_slot(&self, task: TaskIndex) -> bool {
        let state = &self.tasks[task.at()];
        match state.status {
            TaskStatus::Ready => true,
            TaskStatus::Pending => state.not_before.is_some(),
            TaskStatus::Executing => {
                state.phase == TaskPhase::Idle && (state.cleared || state.again)
            }
            TaskStatus::Assigned
            | TaskStatus::Completed
            | TaskStatus::Failed
            | TaskStatus::TimedOut
            | TaskStatus::Cancelled
            | TaskStatus::Blocked
            | TaskStatus::Skipped => false,
        }
    }

    /// Notes whose an attempt in flight is.
    pub(super) fn hand_to(&mut self, task: TaskIndex, placed: Option<&AgentPlacement>) {
        if self.tasks[task.at()].phase != TaskPhase::InFlight {
            return;
        }
        let agent = placed.map_or(0, |placed| self.agent_number(&placed.agent));
        let before = std::mem::replace(&mut self.tasks[task.at()].agent, agent);
        // The phase counted it for whoever had the last attempt.
        self.agent_loads[usize::from(before)] -= 1;
        self.agent_loads[usize::from(agent)] += 1;
    }

    /// The place of an agent in the run's list; the first time it is named, the next one.
    fn agent_number(&mut self, agent: &Arc<str>) -> u16 {
        let known = self.agents.iter().position(|known| known == agent);
        let at = known.unwrap_or_else(|| {
            // More agents than that in one run are counted as this process.
            if self.agents.len() >= usize::from(u16::MAX) {
                return 0;
            }
            self.agents.push(agent.clone());
            self.agent_loads.push(0);
            self.agents.len() - 1
        });
        at as u16
    }

    /// Waits for attempts in flight, which may give back what they reserved; when nothing is, the
    /// budget is over.
    fn wait_for_budget(
        &mut self,
        next: ReadyTask,
        shortage: BudgetShortage,
        now: Timestamp,
        terms: RunLimits<'_>,
    ) -> Option<RunEvent> {
        self.ready.push(next);
        if self.account.reserved != Amounts::NONE {
            self.lacks_budget = true;
            return None;
        }
        let expires_at = terms.answer_within_millis.map(|millis| now.plus_millis(millis));
        Some(self.over_budget(next.task.0, shortage, expires_at, now))
    }
}
