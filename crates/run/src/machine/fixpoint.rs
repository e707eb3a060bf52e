//! What follows by itself: timers that are due, cascades, lists, gates, dispatches, the end.

use std::cmp::Reverse;

use super::map::MapProgress;
use super::{GRACE_MILLIS, Run, TaskPhase, TimerKind};
use crate::amounts::BudgetKind;
use crate::command::{RunDecision, RunEffect, RunLimits};
use crate::event::{CancelCause, CancelScope, Gate, RunEvent, TaskError};
use l05_core::error::ErrorCode;
use l05_core::id::{Attempt, TaskIndex};
use l05_core::plan::{OnFailure, PlanStatus};
use l05_core::task::{OnRecovery, TaskStatus};
use l05_core::time::Timestamp;

impl Run {
    /// Commits one event after the other until the state asks for nothing more.
    pub(super) fn run_to_fixpoint(
        &mut self,
        now: Timestamp,
        terms: RunLimits<'_>,
        decision: &mut RunDecision,
    ) {
        // Its timers, too, wait for whoever lets it go on.
        if self.status == PlanStatus::Suspended && self.cancel.is_none() {
            return;
        }
        loop {
            let events = if let Some(events) = self.due(now, terms, decision) {
                events
            } else if let Some(events) = self.doom() {
                events
            } else if let Some(events) = self.supersede(now) {
                events
            } else if let Some(event) = self.gather() {
                vec![event]
            } else if let Some(event) = self.account.warning() {
                vec![event]
            } else if let Some(event) = self.overdrawn(now, terms) {
                vec![event]
            } else if let Some(event) = self.ask_or_expand(now, terms) {
                vec![event]
            } else if let Some(event) = self.cancellation(now) {
                vec![event]
            } else if let Some(event) = self.dispatch(now, terms) {
                // By far the most common, and one at a time: no list is made for it.
                self.commit(event, decision);
                continue;
            } else if let Some(event) = self.finish() {
                vec![event]
            } else {
                break;
            };
            for event in events {
                self.commit(event, decision);
            }
        }
        self.trim_timers();
    }

    /// A person to ask before a task starts, or a fan-out whose list is known already.
    fn ask_or_expand(&mut self, now: Timestamp, terms: RunLimits<'_>) -> Option<RunEvent> {
        if !self.is_going_on() {
            return None;
        }
        let is_ready = |run: &Run, task: TaskIndex| run.task_status(task) == TaskStatus::Ready;
        while let Some(task) = self.gated.pop() {
            if is_ready(self, task) {
                let expires_at = terms.answer_within_millis.map(|millis| now.plus_millis(millis));
                return Some(RunEvent::GateOpened { gate: Gate::Task(task), expires_at });
            }
        }
        while let Some(task) = self.known_lists.pop() {
            if let Some(span) = self.maps.get(&task)
                && span.stand == MapProgress::Kept
                && !self.task_status(task).has_ended()
            {
                let items = span.items.clone();
                return Some(self.expansion(task, items, span.count));
            }
        }
        None
    }

    /// The event of a timer that is due. Retries only come back to the ready tasks.
    fn due(
        &mut self,
        now: Timestamp,
        terms: RunLimits<'_>,
        decision: &mut RunDecision,
    ) -> Option<Vec<RunEvent>> {
        while let Some(Reverse(timer)) = self.timers.peek().copied() {
            if timer.at > now && self.is_live(&timer) {
                return None;
            }
            self.timers.pop();
            if !self.is_live(&timer) {
                continue;
            }
            match timer.kind {
                TimerKind::Retry => self.push_ready(timer.task),
                TimerKind::Timeout => {
                    let (task, attempt) = (timer.task, timer.attempt);
                    decision.effects.push(RunEffect::Stop { task, attempt });
                    return Some(vec![self.timed_out(task, attempt, now, terms)]);
                }
                TimerKind::Grace => {
                    let given_up = |task: &TaskIndex| self.tasks[task.at()].cancelling;
                    let tasks = self.all_tasks().filter(given_up).collect();
                    return Some(vec![RunEvent::TasksCancelled { tasks, abandoned: true }]);
                }
                TimerKind::DeadlineNear => {
                    return Some(self.time_warning(now).into_iter().collect());
                }
                TimerKind::Gate(gate) => return Some(self.expire_gate(gate, now)),
                TimerKind::Deadline => {
                    return Some(vec![RunEvent::CancelRequested {
                        scope: CancelScope::Plan,
                        cause: CancelCause::Deadline,
                        reason: "the plan did not finish in time".to_owned(),
                        grace_until: now.plus_millis(GRACE_MILLIS),
                        by: None,
                    }]);
                }
            }
        }
        None
    }

    fn time_warning(&self, now: Timestamp) -> Option<RunEvent> {
        let (began, deadline) = (self.began?, self.deadline?);
        Some(RunEvent::BudgetWarned {
            kind: BudgetKind::Time,
            used: now.millis_since(began),
            limit: deadline.millis_since(began),
        })
    }

    /// An attempt is given up. Nobody knows what became of it: as after a crash, the policy decides whether
    /// it is repeated.
    fn timed_out(
        &self,
        task: TaskIndex,
        attempt: Attempt,
        now: Timestamp,
        terms: RunLimits<'_>,
    ) -> RunEvent {
        let last = TaskStatus::TimedOut;
        let failed = |error: TaskError| self.attempt_failed(task, attempt, error, None, last, now);
        if self.deadline == Some(self.tasks[task.at()].not_after) {
            let message = "it was still running when the plan's deadline came".to_owned();
            return failed(TaskError::last(ErrorCode::DeadlineMissed, message));
        }
        let spec = self.spec(task);
        let limit = spec.attempt_seconds();
        let named = if limit < spec.timeout_seconds { "quota" } else { "timeout" };
        let message = format!("it took longer than its {named} of {limit} s");
        let error =
            |is_final| TaskError { is_final, ..TaskError::new(ErrorCode::TaskTimeout, message) };
        match spec.on_recovery {
            OnRecovery::Ask | OnRecovery::Fail if self.is_harmless(task, terms) => {
                failed(error(false))
            }
            OnRecovery::Rerun => failed(error(false)),
            OnRecovery::Ask => {
                let expires_at = terms.answer_within_millis.map(|millis| now.plus_millis(millis));
                RunEvent::GateOpened { gate: Gate::Recovery(task), expires_at }
            }
            OnRecovery::Fail => failed(error(true)),
        }
    }

    /// The next cascade, whole.
    fn doom(&mut self) -> Option<Vec<RunEvent>> {
        while !self.doomed.is_empty() {
            let doomed = std::mem::take(&mut self.doomed);
            // What has one cause is told in one event; other causes wait for the next round.
            let cause = doomed[0].0;
            let seeds: Vec<TaskIndex> =
                doomed.iter().filter(|(c, _)| *c == cause).map(|(_, task)| *task).collect();
            self.doomed.extend(doomed.into_iter().filter(|(c, _)| *c != cause));
            let cascade = self.cascade(&seeds);
            let mut events = Vec::new();
            if !cascade.blocked.is_empty() {
                events.push(RunEvent::TasksBlocked { cause, tasks: cascade.blocked });
            }
            if !cascade.skipped.is_empty() {
                events.push(RunEvent::TasksSkipped { cause, tasks: cascade.skipped });
            }
            if !events.is_empty() {
                return Some(events);
            }
        }
        None
    }

    /// Tasks that a cancellation ends at once, or the cancellation that `fail_fast` asks for.
    fn cancellation(&self, now: Timestamp) -> Option<RunEvent> {
        if self.status == PlanStatus::Completed
            || self.status == PlanStatus::Failed
            || self.status == PlanStatus::Cancelled
        {
            return None;
        }
        if self.cancel.is_some() {
            // All that are left but those in flight and those whose items are.
            if self.left == self.running + self.mapping {
                return None;
            }
            let idle = |task: &TaskIndex| {
                let state = &self.tasks[task.at()];
                !state.status.has_ended()
                    && matches!(state.phase, TaskPhase::Idle | TaskPhase::Gate)
            };
            let tasks = self.all_tasks().filter(idle).collect();
            return Some(RunEvent::TasksCancelled { tasks, abandoned: false });
        }
        let fail_fast = self.plan.document().on_failure == OnFailure::FailFast;
        (fail_fast && self.failed_for_good > 0 && self.left > 0).then(|| {
            RunEvent::CancelRequested {
                scope: CancelScope::Plan,
                cause: CancelCause::FailFast,
                reason: "a task failed and the plan is fail_fast".to_owned(),
                grace_until: now.plus_millis(GRACE_MILLIS),
                by: None,
            }
        })
    }

    fn finish(&self) -> Option<RunEvent> {
        let running = match self.status {
            PlanStatus::Executing => true,
            // Cancelled before it ever ran.
            PlanStatus::Validated
            | PlanStatus::Approved
            | PlanStatus::PendingApproval
            | PlanStatus::Suspended => self.cancel.is_some(),
            PlanStatus::Draft
            | PlanStatus::Completed
            | PlanStatus::Failed
            | PlanStatus::Cancelled => false,
        };
        if !running || self.left > 0 || self.gates.contains_key(&Gate::Budget) {
            return None;
        }
        let was_cancelled =
            self.all_tasks().any(|task| self.task_status(task) == TaskStatus::Cancelled);
        let status = match self.cancel {
            Some(CancelCause::Request) if was_cancelled => PlanStatus::Cancelled,
            Some(CancelCause::Deadline | CancelCause::Budget) if was_cancelled => {
                PlanStatus::Failed
            }
            Some(_) | None if self.failed_for_good > 0 => PlanStatus::Failed,
            // The outputs are there, and they cost more than they were to.
            Some(_) | None if self.account.overdraft().is_some() => PlanStatus::Failed,
            Some(_) | None => PlanStatus::Completed,
        };
        let leaf_completed =
            || self.plan.graph().leaves().any(|t| self.task_status(t) == TaskStatus::Completed);
        let partial = status == PlanStatus::Failed && leaf_completed();
        Some(RunEvent::RunFinished { status, partial })
    }
}
