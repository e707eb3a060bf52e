//! How events change the state. Total, and never a decision: whatever a journal says happened.

use std::cmp::Reverse;

use super::event::{CancelCause, Event, Next, Scope, Verdict};
use super::record::Record;
use super::transition::{Change, next_status};
use super::{Fate, ReadyTask, Run, TaskState, Timer, TimerKind, has_ended, is_in_flight};
use crate::graph::EdgeIndex;
use crate::id::{Attempt, Sequence, TaskIndex};
use crate::plan::PlanStatus;
use crate::task::TaskStatus;
use crate::time::Timestamp;

/// A record that does not follow the one before.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("event {missing} is missing: the next record begins at {found}")]
pub struct Gap {
    /// The number that should come next.
    pub missing: u64,
    /// The number that came.
    pub found: u64,
}

/// What became of a dependency.
#[derive(Clone, Copy)]
enum Met {
    Satisfied,
    Skipped,
    Failed,
}

impl Run {
    /// Folds one journal record. Events that are applied already change nothing.
    pub fn replay(&mut self, record: &Record) -> Result<(), Gap> {
        let expected = self.sequence.0 + 1;
        if record.first.0 > expected {
            return Err(Gap { missing: expected, found: record.first.0 });
        }
        let known = expected - record.first.0;
        for event in record.events.iter().skip(usize::try_from(known).unwrap_or(usize::MAX)) {
            self.apply(event);
        }
        // Effects of the past have been carried out or will be asked for again by `Adopt`.
        self.trim_timers();
        Ok(())
    }

    /// Applies the next event.
    pub(super) fn apply(&mut self, event: &Event) {
        self.sequence = Sequence(self.sequence.0 + 1);
        if let Some(task) = named_task(event)
            && task.at() >= self.tasks.len()
        {
            return;
        }
        match event {
            Event::RunStarted { run, keep, deadline } => self.begin(*run, keep, *deadline),
            Event::RunAdopted { epoch } => self.epoch = *epoch,
            Event::EdgeDecided { edge, verdict } => self.decide_edge(*edge, *verdict),
            Event::TaskDispatched { task, attempt, not_after } => {
                self.launch(*task, *attempt, *not_after, Change::Dispatched);
            }
            Event::TaskRedispatched { task, attempt, not_after } => {
                self.launch(*task, *attempt, *not_after, Change::Redispatched);
            }
            Event::TaskCompleted { task, output, usage, .. } => {
                self.spend(usage);
                if self.change(*task, Change::Completed) {
                    self.tasks[task.at()].output = Some(output.clone());
                    self.meet_dependents(*task, Met::Satisfied);
                }
            }
            Event::AttemptFailed { task, error, usage, next, .. } => {
                self.spend(usage);
                self.tasks[task.at()].error = Some(Box::new(error.clone()));
                match next {
                    Next::Retry { at } => self.wait_for_retry(*task, *at),
                    Next::Final { status: TaskStatus::TimedOut } => {
                        self.fail(*task, Change::TimedOut);
                    }
                    Next::Final { .. } => self.fail(*task, Change::Failed),
                }
            }
            Event::TaskFailed { task, error } => {
                self.tasks[task.at()].error = Some(Box::new(error.clone()));
                self.fail(*task, Change::Failed);
            }
            Event::TasksBlocked { tasks, .. } => {
                for task in tasks {
                    self.fail(*task, Change::Blocked);
                }
            }
            Event::TasksSkipped { tasks, .. } => {
                for task in tasks {
                    if self.change(*task, Change::Skipped) {
                        self.meet_dependents(*task, Met::Skipped);
                    }
                }
            }
            Event::CancelRequested { scope, cause, grace_until, .. } => {
                self.begin_cancel(*scope, *cause, *grace_until);
            }
            Event::TasksCancelled { tasks, .. } => {
                for task in tasks {
                    self.fail(*task, Change::Cancelled);
                }
            }
            // Kept for the record; the state does not depend on it.
            Event::ReportIgnored { .. } => {}
            Event::RunFinished { status, partial } => {
                self.status = *status;
                self.partial = *partial;
            }
        }
    }

    fn begin(&mut self, run: u16, keep: &[TaskIndex], deadline: Option<Timestamp>) {
        let plan = self.plan.clone();
        self.run = run;
        self.status = PlanStatus::Executing;
        self.partial = false;
        self.deadline = deadline;
        self.cancel = None;
        self.running = 0;
        self.cancelling = 0;
        self.failed_for_good = 0;
        self.ready.clear();
        self.timers.clear();
        self.doomed.clear();
        self.decidable.clear();
        let mut kept = vec![false; self.tasks.len()];
        for task in keep {
            kept[task.at()] = self.tasks[task.at()].status == TaskStatus::Completed;
        }
        for (state, task) in self.tasks.iter_mut().zip(plan.graph().indices()) {
            if !kept[task.at()] {
                let waiting = plan.graph().edges_in(task).len() as u32;
                *state = TaskState::fresh(waiting, state.attempt);
            }
        }
        self.left = kept.iter().filter(|kept| !**kept).count() as u32;
        if let Some(at) = deadline {
            self.push_timer(at, TimerKind::Deadline, TaskIndex(0), Attempt(0));
        }
        for task in plan.graph().indices() {
            if kept[task.at()] {
                self.meet_dependents(task, Met::Satisfied);
            } else if plan.graph().edges_in(task).is_empty() {
                self.free(task);
            }
        }
    }

    /// Moves a task along the table; false when the event does not fit, and then nothing changed.
    fn change(&mut self, task: TaskIndex, change: Change) -> bool {
        let state = &mut self.tasks[task.at()];
        let before = state.status;
        let Some(after) = next_status(before, change) else { return false };
        state.status = after;
        if !is_in_flight(after) && state.cancelling {
            state.cancelling = false;
            self.cancelling -= 1;
        }
        if after != TaskStatus::Pending && !self.decidable.is_empty() {
            // Its conditions make no difference any more.
            for edge in self.plan.graph().edges_in(task) {
                self.decidable.remove(edge);
            }
        }
        self.running += u32::from(is_in_flight(after));
        self.running -= u32::from(is_in_flight(before));
        self.left -= u32::from(has_ended(after));
        true
    }

    fn launch(&mut self, task: TaskIndex, attempt: Attempt, not_after: Timestamp, change: Change) {
        if !self.change(task, change) {
            return;
        }
        let state = &mut self.tasks[task.at()];
        state.attempt = attempt;
        state.not_after = not_after;
        state.not_before = None;
        self.push_timer(not_after, TimerKind::Timeout, task, attempt);
    }

    fn wait_for_retry(&mut self, task: TaskIndex, at: Timestamp) {
        if !self.change(task, Change::Retried) {
            return;
        }
        let state = &mut self.tasks[task.at()];
        state.failures = state.failures.saturating_add(1);
        state.not_before = Some(at);
        let attempt = state.attempt;
        self.push_timer(at, TimerKind::Retry, task, attempt);
    }

    /// Ends a task without success; with `allow_failure` its dependents do not mind.
    fn fail(&mut self, task: TaskIndex, change: Change) {
        if task.at() >= self.tasks.len() || !self.change(task, change) {
            return;
        }
        if self.plan.task(task).allow_failure {
            self.meet_dependents(task, Met::Satisfied);
        } else {
            self.failed_for_good += 1;
            self.meet_dependents(task, Met::Failed);
        }
    }

    /// Tells a task's dependents that it ended. A satisfied dependency with a condition waits for
    /// the condition.
    fn meet_dependents(&mut self, task: TaskIndex, met: Met) {
        let plan = self.plan.clone();
        for edge in plan.graph().edges_out(task) {
            let conditional = plan.structure().is_conditional(*edge);
            match met {
                Met::Satisfied if conditional => {
                    let to = &self.tasks[plan.graph().edge(*edge).to.at()];
                    if to.status == TaskStatus::Pending && !to.attempt_pending() {
                        self.decidable.insert(*edge);
                    }
                }
                Met::Satisfied | Met::Skipped | Met::Failed => self.meet(*edge, met),
            }
        }
    }

    fn decide_edge(&mut self, edge: EdgeIndex, verdict: Verdict) {
        if self.decidable.remove(&edge) {
            match verdict {
                Verdict::Satisfied => self.meet(edge, Met::Satisfied),
                Verdict::Unsatisfied => self.meet(edge, Met::Skipped),
            }
        }
    }

    fn meet(&mut self, edge: EdgeIndex, met: Met) {
        let edge = self.plan.graph().edge(edge);
        let join = self.join(edge.to);
        let state = &mut self.tasks[edge.to.at()];
        state.needs.waiting = state.needs.waiting.saturating_sub(1);
        match met {
            Met::Satisfied => state.needs.satisfied += 1,
            Met::Skipped => state.needs.skipped += 1,
            Met::Failed => state.needs.failed += 1,
        }
        // READY and beyond: a second dependency of a `join: any` makes no difference any more.
        if state.status != TaskStatus::Pending || state.attempt_pending() {
            return;
        }
        match state.needs.fate(join) {
            Fate::Run => self.free(edge.to),
            Fate::Skip | Fate::Block => self.doomed.push((edge.from, edge.to)),
            Fate::Wait => {}
        }
    }

    fn free(&mut self, task: TaskIndex) {
        if self.change(task, Change::Freed) {
            self.push_ready(task);
        }
    }

    pub(super) fn push_ready(&mut self, task: TaskIndex) {
        let rank_bits = self.plan.rank(task).to_bits();
        self.ready.push(ReadyTask { rank_bits, task: Reverse(task) });
    }

    fn begin_cancel(&mut self, scope: Scope, cause: CancelCause, grace_until: Timestamp) {
        match scope {
            Scope::Plan => {
                self.cancel = Some(cause);
                for task in self.plan.clone().graph().indices() {
                    self.mark_cancelling(task);
                }
            }
            Scope::Task(task) => self.mark_cancelling(task),
        }
        self.push_timer(grace_until, TimerKind::Grace, TaskIndex(0), Attempt(0));
    }

    fn mark_cancelling(&mut self, task: TaskIndex) {
        let Some(state) = self.tasks.get_mut(task.at()) else { return };
        if is_in_flight(state.status) && !state.cancelling {
            state.cancelling = true;
            self.cancelling += 1;
        }
    }

    fn push_timer(&mut self, at: Timestamp, kind: TimerKind, task: TaskIndex, attempt: Attempt) {
        self.timers.push(Reverse(Timer { at, kind, task, attempt }));
    }

    /// Drops timers at the top that no longer mean anything, so that `wake_at` is exact.
    pub(super) fn trim_timers(&mut self) {
        while let Some(Reverse(timer)) = self.timers.peek() {
            if self.is_live(timer) {
                return;
            }
            self.timers.pop();
        }
    }

    pub(super) fn is_live(&self, timer: &Timer) -> bool {
        let state = &self.tasks[timer.task.at()];
        match timer.kind {
            TimerKind::Retry => {
                state.status == TaskStatus::Pending
                    && state.attempt == timer.attempt
                    && state.not_before == Some(timer.at)
                    && self.may_dispatch()
            }
            TimerKind::Timeout => {
                is_in_flight(state.status)
                    && state.attempt == timer.attempt
                    && state.not_after == timer.at
                    && !state.cancelling
            }
            TimerKind::Grace => self.cancelling > 0,
            TimerKind::Deadline => self.may_dispatch() && self.deadline == Some(timer.at),
        }
    }

    fn spend(&mut self, usage: &super::event::Usage) {
        self.spent.tokens = self.spent.tokens.saturating_add(usage.tokens);
        self.spent.cost_usd += usage.cost_usd;
    }
}

impl TaskState {
    /// PENDING between two attempts, not before the first.
    pub(super) fn attempt_pending(&self) -> bool {
        self.not_before.is_some()
    }
}

/// The task an event is about, where it is about one; out of range it is a broken journal's.
fn named_task(event: &Event) -> Option<TaskIndex> {
    match event {
        Event::TaskDispatched { task, .. }
        | Event::TaskRedispatched { task, .. }
        | Event::TaskCompleted { task, .. }
        | Event::AttemptFailed { task, .. }
        | Event::TaskFailed { task, .. } => Some(*task),
        Event::RunStarted { .. }
        | Event::RunAdopted { .. }
        | Event::EdgeDecided { .. }
        | Event::TasksBlocked { .. }
        | Event::TasksSkipped { .. }
        | Event::CancelRequested { .. }
        | Event::TasksCancelled { .. }
        | Event::ReportIgnored { .. }
        | Event::RunFinished { .. } => None,
    }
}
