//! What becomes of attempts whose owner is gone (spec 03, 3.9).

use super::{Run, TaskPhase};
use crate::amounts::Usage;
use crate::command::{CommandRejected, RunLimits};
use crate::event::{Actor, AfterFailure, AgentPlacement, CancelScope, Gate, RunEvent, TaskError};
use l05_core::error::ErrorCode;
use l05_core::id::{Attempt, Epoch, TaskIndex};
use l05_core::plan::{OnBudget, PlanStatus};
use l05_core::task::{OnRecovery, TaskStatus};
use l05_core::time::Timestamp;

impl Run {
    pub(super) fn decide_adopt(
        &self,
        epoch: Epoch,
        after_death: bool,
        now: Timestamp,
        terms: RunLimits<'_>,
    ) -> Vec<RunEvent> {
        let mut events = vec![RunEvent::RunAdopted { epoch, after_death }];
        let goes_on = match self.status {
            PlanStatus::Executing => true,
            PlanStatus::Suspended => self.cancel.is_some(),
            PlanStatus::Draft
            | PlanStatus::Validated
            | PlanStatus::PendingApproval
            | PlanStatus::Approved
            | PlanStatus::Completed
            | PlanStatus::Failed
            | PlanStatus::Cancelled => false,
        };
        if !goes_on {
            return events;
        }
        let deaths = self.deaths.saturating_add(u16::from(after_death));
        let open = self.open_attempts();
        if deaths >= terms.deaths_max && !open.is_empty() && self.cancel.is_none() {
            events.push(RunEvent::RunSuspended { deaths, tasks: open });
            return events;
        }
        events.extend(self.take_up(open, now, terms));
        events
    }

    /// Lets a suspended run go on: as a new owner would.
    pub(super) fn decide_resume(
        &self,
        epoch: Epoch,
        by: Actor,
        now: Timestamp,
        terms: RunLimits<'_>,
    ) -> Result<Vec<RunEvent>, CommandRejected> {
        if self.status != PlanStatus::Suspended {
            let message = format!("the plan is {}, not suspended", self.status);
            return Err(CommandRejected::new(ErrorCode::PlanNotExecutable, message));
        }
        let mut events =
            vec![RunEvent::RunAdopted { epoch, after_death: false }, RunEvent::RunResumed { by }];
        events.extend(self.take_up(self.open_attempts(), now, terms));
        Ok(events)
    }

    /// The reason for which a run is suspended, in words.
    pub(crate) fn tell_suspension(&self) -> String {
        let tasks: Vec<String> =
            self.open_attempts().iter().map(|t| self.name(*t).to_string()).collect();
        let (deaths, tasks) = (self.deaths, tasks.join("`, `"));
        format!("{deaths} processes died in a row with `{tasks}` in flight")
    }

    /// Attempts in flight that nobody has told to stop.
    pub(super) fn open_attempts(&self) -> Vec<TaskIndex> {
        let mut in_flight = self.in_flight_in(CancelScope::Plan);
        in_flight.retain(|task| !self.tasks[task.at()].cancelling);
        in_flight
    }

    /// What becomes of attempts whose owner is gone.
    fn take_up(&self, open: Vec<TaskIndex>, now: Timestamp, terms: RunLimits<'_>) -> Vec<RunEvent> {
        let mut events = Vec::new();
        // Executors of those told to stop died with their owner.
        let in_flight = self.in_flight_in(CancelScope::Plan).into_iter();
        let gone: Vec<TaskIndex> =
            in_flight.filter(|task| self.tasks[task.at()].cancelling).collect();
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
        if self.status == PlanStatus::Suspended {
            return Vec::new();
        }
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
