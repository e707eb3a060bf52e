//! What follows by itself: timers that are due, cascades, dispatches, the end of the run.

use std::cmp::Reverse;

use super::command::{Decision, Effect};
use super::event::{CancelCause, Event, Scope, TaskError, Usage};
use super::{GRACE_MILLIS, Run, TimerKind, has_ended, is_in_flight};
use crate::error::ErrorCode;
use crate::id::TaskIndex;
use crate::plan::{OnFailure, PlanStatus};
use crate::task::{OnRecovery, TaskStatus};
use crate::time::Timestamp;

impl Run {
    /// Commits one event after the other until the state asks for nothing more.
    pub(super) fn settle(&mut self, now: Timestamp, running_max: u32, decision: &mut Decision) {
        loop {
            if let Some(event) = self.due(now, decision) {
                self.commit(event, decision);
            } else if let Some(events) = self.doom() {
                for event in events {
                    self.commit(event, decision);
                }
            } else if let Some(event) = self.cancellation(now) {
                self.commit(event, decision);
            } else if let Some(event) = self.dispatch(now, running_max) {
                self.commit(event, decision);
            } else if let Some(event) = self.finish() {
                self.commit(event, decision);
            } else {
                break;
            }
        }
        self.trim_timers();
    }

    /// The event of a timer that is due. Retries only come back to the ready tasks.
    fn due(&mut self, now: Timestamp, decision: &mut Decision) -> Option<Event> {
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
                    decision.effects.push(Effect::Stop { task, attempt });
                    let (error, usage) = (self.timeout_error(task), Usage::default());
                    let last = TaskStatus::TimedOut;
                    return Some(self.attempt_failed(task, attempt, error, usage, last, now));
                }
                TimerKind::Grace => {
                    let given_up = |task: &TaskIndex| self.tasks[task.at()].cancelling;
                    let tasks = self.plan.graph().indices().filter(given_up).collect();
                    return Some(Event::TasksCancelled { tasks, abandoned: true });
                }
                TimerKind::Deadline => {
                    return Some(Event::CancelRequested {
                        scope: Scope::Plan,
                        cause: CancelCause::Deadline,
                        reason: "the deadline is over".to_owned(),
                        grace_until: now.plus_millis(GRACE_MILLIS),
                    });
                }
            }
        }
        None
    }

    fn timeout_error(&self, task: TaskIndex) -> TaskError {
        let state = &self.tasks[task.at()];
        if self.deadline == Some(state.not_after) {
            let message = "it was still running when the plan's deadline came".to_owned();
            return TaskError { code: ErrorCode::DEADLINE_MISSED, message, is_final: true };
        }
        let spec = self.plan.task(task);
        let message = format!("it took longer than its timeout of {} s", spec.timeout_seconds);
        // Nobody knows what became of the attempt: as after a crash, the policy decides whether it
        // is repeated.
        let is_final = spec.on_recovery != OnRecovery::Rerun;
        TaskError { code: ErrorCode::TASK_TIMEOUT, message, is_final }
    }

    /// The next cascade, whole.
    fn doom(&mut self) -> Option<Vec<Event>> {
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
                events.push(Event::TasksBlocked { cause, tasks: cascade.blocked });
            }
            if !cascade.skipped.is_empty() {
                events.push(Event::TasksSkipped { cause, tasks: cascade.skipped });
            }
            if !events.is_empty() {
                return Some(events);
            }
        }
        None
    }

    /// Tasks that a cancellation ends at once, or the cancellation that `fail_fast` asks for.
    fn cancellation(&self, now: Timestamp) -> Option<Event> {
        if self.status == PlanStatus::Completed
            || self.status == PlanStatus::Failed
            || self.status == PlanStatus::Cancelled
        {
            return None;
        }
        if self.cancel.is_some() {
            // All that are left and not in flight; when only those in flight are left, none.
            if self.left == self.running {
                return None;
            }
            let idle = |task: &TaskIndex| {
                let status = self.task_status(*task);
                !has_ended(status) && !is_in_flight(status)
            };
            let tasks = self.plan.graph().indices().filter(idle).collect();
            return Some(Event::TasksCancelled { tasks, abandoned: false });
        }
        let fail_fast = self.plan.document().on_failure == OnFailure::FailFast;
        (fail_fast && self.failed_for_good > 0 && self.left > 0).then(|| Event::CancelRequested {
            scope: Scope::Plan,
            cause: CancelCause::FailFast,
            reason: "a task failed and the plan is fail_fast".to_owned(),
            grace_until: now.plus_millis(GRACE_MILLIS),
        })
    }

    /// The ready task of the highest rank, as far as parallelism and room allow.
    fn dispatch(&mut self, now: Timestamp, running_max: u32) -> Option<Event> {
        if !self.may_dispatch() || self.running >= self.parallelism().min(running_max) {
            return None;
        }
        while let Some(next) = self.ready.pop() {
            let task = next.task.0;
            let state = &self.tasks[task.at()];
            let waits_no_more = state.status == TaskStatus::Ready
                || state.status == TaskStatus::Pending
                    && state.not_before.is_some_and(|at| at <= now);
            if waits_no_more {
                return Some(Event::TaskDispatched {
                    task,
                    attempt: state.attempt.next(),
                    not_after: self.attempt_deadline(task, now),
                });
            }
        }
        None
    }

    fn finish(&self) -> Option<Event> {
        let running = match self.status {
            PlanStatus::Executing => true,
            // Cancelled before it ever ran.
            PlanStatus::Validated | PlanStatus::Approved | PlanStatus::PendingApproval => {
                self.cancel.is_some()
            }
            PlanStatus::Draft
            | PlanStatus::Completed
            | PlanStatus::Failed
            | PlanStatus::Cancelled => false,
        };
        if !running || self.left > 0 {
            return None;
        }
        let was_cancelled = self.tasks.iter().any(|state| state.status == TaskStatus::Cancelled);
        let status = match self.cancel {
            Some(CancelCause::Request) if was_cancelled => PlanStatus::Cancelled,
            Some(CancelCause::Deadline) if was_cancelled => PlanStatus::Failed,
            Some(_) | None if self.failed_for_good > 0 => PlanStatus::Failed,
            Some(_) | None => PlanStatus::Completed,
        };
        let leaf_completed =
            || self.plan.graph().leaves().any(|t| self.task_status(t) == TaskStatus::Completed);
        let partial = status == PlanStatus::Failed && leaf_completed();
        Some(Event::RunFinished { status, partial })
    }
}
