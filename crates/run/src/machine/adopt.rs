//! What becomes of attempts whose owner is gone (spec 03, 3.9).

use super::{Run, TaskPhase};
use crate::amounts::Usage;
use crate::command::RunLimits;
use crate::event::{AfterFailure, AgentPlacement, CancelScope, Gate, RunEvent, TaskError};
use l05_core::error::ErrorCode;
use l05_core::id::{Attempt, Epoch, TaskIndex};
use l05_core::plan::{OnBudget, PlanStatus};
use l05_core::task::{OnRecovery, TaskStatus};
use l05_core::time::Timestamp;

impl Run {
    pub(super) fn decide_adopt(
        &self,
        epoch: Epoch,
        now: Timestamp,
        terms: RunLimits<'_>,
    ) -> Vec<RunEvent> {
        let mut events = vec![RunEvent::RunAdopted { epoch }];
        if self.status != PlanStatus::Executing {
            return events;
        }
        let in_flight: Vec<TaskIndex> = self.in_flight_in(CancelScope::Plan);
        // Executors of those told to stop died with their owner.
        let (gone, open): (Vec<_>, Vec<_>) =
            in_flight.into_iter().partition(|task| self.tasks[task.at()].cancelling);
        let mut account = self.account.clone();
        for task in open {
            let share = self.share(task);
            let reserved = self.reservations.get(&task).copied().unwrap_or_default();
            account.charge(reserved, reserved);
            let asks = self.plan.document().on_budget == OnBudget::Ask;
            // After a breach nothing starts, a second time either.
            let is_over = account.overdraft().is_some();
            let event = match account.shortage(share) {
                _ if is_over => {
                    RunEvent::AttemptReturned { task, attempt: self.tasks[task.at()].attempt }
                }
                // A person is asked when it comes up again.
                Some(_) if !share.is_none() && asks => {
                    RunEvent::AttemptReturned { task, attempt: self.tasks[task.at()].attempt }
                }
                Some(shortage) if !share.is_none() => {
                    let message =
                        format!("it would run again: {}", shortage.tell(&self.name(task)));
                    self.lost_attempt(task, ErrorCode::BudgetExceeded, message)
                }
                Some(_) | None => self.recover(task, now, terms),
            };
            if matches!(event, RunEvent::TaskRedispatched { .. }) {
                account.reserve(share);
            }
            events.push(event);
        }
        if !gone.is_empty() {
            events.push(RunEvent::TasksCancelled { tasks: gone, abandoned: true });
        }
        events
    }

    /// Decides on an attempt whose owner died (spec 03, 3.9).
    fn recover(&self, task: TaskIndex, now: Timestamp, terms: RunLimits<'_>) -> RunEvent {
        match self.spec(task).on_recovery {
            OnRecovery::Rerun => self.again(task, now, terms),
            OnRecovery::Ask | OnRecovery::Fail if self.is_harmless(task, terms) => {
                self.again(task, now, terms)
            }
            OnRecovery::Ask => {
                let expires_at = terms.answer_within_millis.map(|millis| now.plus_millis(millis));
                RunEvent::GateOpened { gate: Gate::Recovery(task), expires_at }
            }
            OnRecovery::Fail => {
                let message = "whoever ran it is gone, and on_recovery is FAIL".to_owned();
                self.lost_attempt(task, ErrorCode::AgentCrashed, message)
            }
        }
    }

    /// True if a second start of an attempt changes nothing that the first has not.
    pub(super) fn is_harmless(&self, task: TaskIndex, terms: RunLimits<'_>) -> bool {
        self.spec(task).tool.as_ref().is_some_and(|tool| terms.idempotent_tools.contains(tool))
    }

    /// Gives out an attempt once more: at once by this process, or as soon as an agent is free.
    fn again(&self, task: TaskIndex, now: Timestamp, terms: RunLimits<'_>) -> RunEvent {
        match terms.crew {
            Some(_) => RunEvent::AttemptReturned { task, attempt: self.tasks[task.at()].attempt },
            None => self.redispatch(task, None, now),
        }
    }

    /// Decides on the attempts of an agent that is gone: as after the death of a process.
    pub(super) fn decide_lost(
        &self,
        agent: &str,
        now: Timestamp,
        terms: RunLimits<'_>,
    ) -> Vec<RunEvent> {
        let of_agent = |task: &TaskIndex| &**self.agent(*task) == agent;
        let in_flight = self.in_flight_in(CancelScope::Plan).into_iter().filter(of_agent);
        let (gone, open): (Vec<_>, Vec<_>) =
            in_flight.partition(|task| self.tasks[task.at()].cancelling);
        let mut events: Vec<RunEvent> =
            open.into_iter().map(|task| self.recover(task, now, terms)).collect();
        if !gone.is_empty() {
            events.push(RunEvent::TasksCancelled { tasks: gone, abandoned: true });
        }
        events
    }

    /// Takes an attempt back, to be given to somebody else as soon as there is somebody.
    pub(super) fn take_back(&mut self, task: TaskIndex, attempt: Attempt) {
        let state = &self.tasks[task.at()];
        if state.phase != TaskPhase::InFlight || state.attempt != attempt {
            return;
        }
        // What it used before, nobody knows.
        self.charge_share(task, None);
        self.set_phase(task, TaskPhase::Idle);
        self.tasks[task.at()].again = true;
        self.push_ready(task);
    }

    pub(super) fn redispatch(
        &self,
        task: TaskIndex,
        placed: Option<Box<AgentPlacement>>,
        now: Timestamp,
    ) -> RunEvent {
        RunEvent::TaskRedispatched {
            task,
            attempt: self.tasks[task.at()].attempt,
            not_after: self.attempt_deadline(task, now),
            reserved: self.share(task),
            placed,
        }
    }

    fn lost_attempt(&self, task: TaskIndex, code: ErrorCode, message: String) -> RunEvent {
        RunEvent::AttemptFailed {
            task,
            attempt: self.tasks[task.at()].attempt,
            error: TaskError::last(code, message),
            usage: Usage::default(),
            lost: true,
            next: AfterFailure::Final { status: TaskStatus::Failed },
        }
    }
}
