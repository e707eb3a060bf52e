//! Gates: where a run waits for a person (spec 03, 3.7 to 3.9).
//!
//! A waiting run holds no slot and no executor. It is the journal that waits, for days if need be,
//! and any process may answer.

use super::budget::BudgetShortage;
use super::transition::StatusChange;
use super::{GRACE_MILLIS, Run, TaskPhase, TimerKind};
use crate::amounts::Amounts;
use crate::command::CommandRejected;
use crate::event::{CancelCause, CancelScope, Gate, RunEvent, TaskError};
use l05_core::error::ErrorCode;
use l05_core::id::{Attempt, TaskIndex};
use l05_core::plan::{OnBudget, PlanStatus, digest_hex};
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;

/// A gate that nobody has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenGate {
    /// The gate.
    pub gate: Gate,
    /// The time from which no answer counts as a refusal.
    pub expires_at: Option<Timestamp>,
}

/// A person's agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateApproval {
    /// The person.
    pub by: String,
    /// The person's reason.
    pub reason: String,
}

/// The name that stands for the answer when the time is over.
pub(super) const NOBODY: &str = "system";

impl Run {
    /// The gates that wait for an answer.
    pub fn open_gates(&self) -> impl Iterator<Item = OpenGate> + '_ {
        self.gates
            .iter()
            .map(|(gate, expires_at)| OpenGate { gate: *gate, expires_at: *expires_at })
    }

    /// True if nothing happens before a person answers: nothing is in flight, being evaluated or
    /// due at a time of its own.
    pub fn waits_for_people(&self) -> bool {
        !self.gates.is_empty()
            && self.running == 0
            && self.decidable.is_empty()
            && self.expandable.is_empty()
            && !(self.may_dispatch() && self.any_ready())
            && !self
                .timers
                .iter()
                .any(|timer| timer.0.kind == TimerKind::Retry && self.is_live(&timer.0))
    }

    /// True if a plan has to be approved before it runs.
    pub(super) fn needs_approval(&self) -> bool {
        self.plan.document().metadata.requires_approval
    }

    pub(super) fn open_gate(&mut self, gate: Gate, expires_at: Option<Timestamp>) {
        self.gates.insert(gate, expires_at);
        match gate {
            Gate::Plan => self.status = PlanStatus::PendingApproval,
            Gate::Task(task) => {
                self.change(task, StatusChange::Gated);
            }
            Gate::Recovery(task) => {
                // What the attempt used before its process died, nobody knows.
                self.charge_share(task, None);
                self.change(task, StatusChange::Gated);
            }
            Gate::Budget => {}
        }
        if let Some(at) = expires_at {
            let task = gate.task().unwrap_or_default();
            self.push_timer(at, TimerKind::Gate(gate), task, Attempt(0));
        }
    }

    /// The person's words when a task was let through.
    pub fn answer(&self, task: TaskIndex) -> Option<&GateApproval> {
        self.answers.get(&task)
    }

    /// True if a question was answered so, as far as the state still shows it: it may be closed for
    /// other reasons, too.
    pub fn was_answered(&self, gate: Gate, approved: bool) -> bool {
        if self.gates.contains_key(&gate) {
            return false;
        }
        if !approved {
            return self.declined.contains(&gate);
        }
        match gate {
            Gate::Plan => self.status == PlanStatus::Approved || self.run > 0,
            Gate::Task(task) => self.answers.contains_key(&task),
            Gate::Recovery(task) => {
                self.task_status(task) != TaskStatus::Cancelled && !self.declined.contains(&gate)
            }
            Gate::Budget => self.account.granted != Amounts::NONE,
        }
    }

    /// The answer of a person.
    pub(super) fn decide_gate(
        &self,
        gate: Gate,
        approved: bool,
        by: String,
        reason: String,
        now: Timestamp,
    ) -> Result<Vec<RunEvent>, CommandRejected> {
        let Some(expires_at) = self.gates.get(&gate) else {
            let message = match gate.task() {
                Some(task) => format!("task `{}` waits for no approval", self.name(task)),
                None => format!("the plan is {} and waits for no approval", self.status),
            };
            return Err(CommandRejected::new(ErrorCode::StateTransitionInvalid, message));
        };
        if let Some(at) = expires_at.filter(|at| *at <= now) {
            let message = format!("the time for an answer was over at {at}");
            return Err(CommandRejected::new(ErrorCode::StateTransitionInvalid, message));
        }
        let mut events = vec![self.gate_decided(gate, approved, by, reason)];
        events.extend(self.after_answer(gate, approved, now));
        Ok(events)
    }

    /// The answer of time.
    pub(super) fn expire_gate(&self, gate: Gate, now: Timestamp) -> Vec<RunEvent> {
        let reason = "nobody answered in time".to_owned();
        let by = NOBODY.to_owned();
        let mut events = vec![self.gate_decided(gate, false, by, reason)];
        events.extend(self.after_answer(gate, false, now));
        events
    }

    /// An answer names the content that it is about.
    fn gate_decided(&self, gate: Gate, approved: bool, by: String, reason: String) -> RunEvent {
        let content_digest = Some(digest_hex(self.plan.digest()));
        RunEvent::GateDecided { gate, approved, by, reason, content_digest }
    }

    /// Does what follows of itself from an answer.
    fn after_answer(&self, gate: Gate, approved: bool, now: Timestamp) -> Option<RunEvent> {
        match (gate, approved) {
            (Gate::Plan, false) => {
                Some(RunEvent::RunFinished { status: PlanStatus::Failed, partial: false })
            }
            (Gate::Budget, false) => {
                let reason = "more budget was refused".to_owned();
                Some(self.budget_is_over(reason, now))
            }
            (Gate::Plan | Gate::Task(_) | Gate::Recovery(_) | Gate::Budget, true)
            | (Gate::Task(_) | Gate::Recovery(_), false) => None,
        }
    }

    /// Applies an answer.
    pub(super) fn answer_gate(&mut self, gate: Gate, approved: bool, by: &str, reason: &str) {
        if self.gates.remove(&gate).is_none() {
            return;
        }
        if !approved {
            self.declined.insert(gate);
        }
        match (gate, approved) {
            (Gate::Plan, true) => self.status = PlanStatus::Approved,
            // The end of the run says the rest.
            (Gate::Plan, false) => self.why = Some(Box::new(refusal("the plan", by, reason))),
            (Gate::Budget, true) => {
                self.account.grant();
                self.lacks_budget = false;
            }
            (Gate::Budget, false) => {}
            (Gate::Task(task), true) => {
                self.set_phase(task, TaskPhase::Idle);
                self.tasks[task.at()].cleared = true;
                let answer = GateApproval { by: by.to_owned(), reason: reason.to_owned() };
                self.answers.insert(task, answer);
                self.start_or_expand(task);
            }
            // The same attempt, as soon as there are a slot and budget for it.
            (Gate::Recovery(task), true) => {
                self.set_phase(task, TaskPhase::Idle);
                self.tasks[task.at()].again = true;
                self.push_ready(task);
            }
            (Gate::Task(task) | Gate::Recovery(task), false) => {
                let error = match gate {
                    Gate::Recovery(_) => {
                        refusal("another try of the interrupted attempt", by, reason)
                    }
                    Gate::Plan | Gate::Budget | Gate::Task(_) => refusal("the task", by, reason),
                };
                self.set_phase(task, TaskPhase::Idle);
                self.tasks[task.at()].error = Some(Box::new(error));
                self.fail(task, StatusChange::Failed);
            }
        }
    }

    /// The budget does not suffice for a task: the plan ends, or a person is asked.
    pub(super) fn over_budget(
        &self,
        task: TaskIndex,
        shortage: BudgetShortage,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> RunEvent {
        match self.plan.document().on_budget {
            OnBudget::Ask => RunEvent::GateOpened { gate: Gate::Budget, expires_at },
            OnBudget::Fail => self.budget_is_over(shortage.tell(&self.name(task)), now),
        }
    }

    pub(super) fn budget_is_over(&self, reason: String, now: Timestamp) -> RunEvent {
        RunEvent::CancelRequested {
            scope: CancelScope::Plan,
            cause: CancelCause::Budget,
            reason,
            grace_until: now.plus_millis(GRACE_MILLIS),
            by: None,
        }
    }

    /// Gates that are not answered when everything ends.
    pub(super) fn drop_gates(&mut self) {
        self.gates.clear();
    }
}

fn refusal(what: &str, by: &str, reason: &str) -> TaskError {
    let message = format!("{by} refused {what}: {reason}");
    TaskError::last(ErrorCode::ApprovalRefused, message)
}
