//! What a journal tells people: every attempt with its times, beside the state it led to.
//!
//! The run machine forgets how it came where it is; `show`, `status` and the result of a run want
//! to know. This fold keeps it.

use std::sync::Arc;

use serde::Serialize;

use crate::event::{AfterFailure, AgentPlacement, Gate, RunEvent, TaskError};
use crate::machine::JournalGap;
use crate::machine::Run;
use crate::record::Record;
use l05_core::ErrorCode;
use l05_core::agent::LOCAL_AGENT;
use l05_core::error::RetryClass;
use l05_core::id::{Attempt, TaskIndex};
use l05_core::plan::{Plan, PlanStatus};
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;

/// One try of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttemptLog {
    /// From 1, over all runs.
    pub number: u16,
    /// The agent that did it.
    pub agent: Arc<str>,
    /// The time at which it was given out, the last time.
    pub started_at: Timestamp,
    /// The time at which it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// The result.
    pub result: AttemptResult,
    /// The number of times that it was given out again after its owner died.
    #[serde(skip_serializing_if = "is_zero")]
    pub redispatched: u32,
    /// The reason for which it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives the field by reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptResult {
    /// The attempt goes on.
    Running,
    /// The attempt succeeded.
    Completed,
    /// The attempt failed.
    Failed,
    /// The attempt took too long.
    TimedOut,
    /// The attempt was stopped on request.
    Cancelled,
    /// The attempt was given up; nobody knows what became of it.
    Abandoned,
}

/// The cause of a run that did not end well.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFailure {
    /// The stable code.
    pub code: ErrorCode,
    /// The cause in words.
    pub message: String,
    /// The first task that failed, where a task is to blame.
    pub task: Option<String>,
}

/// The answer to the question whether a plan may run.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanApproval {
    /// The answer.
    pub approved: bool,
    /// The person, or `system` when the time for an answer was over.
    pub by: String,
    /// The person's reason.
    pub reason: String,
}

/// A plan's state with all attempts.
#[derive(Debug)]
pub struct RunHistory {
    run: Run,
    attempts: Vec<Vec<AttemptLog>>,
    /// The time at which the first run began.
    pub started_at: Option<Timestamp>,
    /// The time at which the last run ended.
    pub completed_at: Option<Timestamp>,
    /// The number of times that another process took the run over.
    pub adoptions: u32,
    /// Somebody has driven the present run.
    pub is_begun: bool,
    /// The last answer to the question whether it may run.
    pub approval: Option<PlanApproval>,
}

impl RunHistory {
    /// The history of a plan that has not run.
    pub fn new(plan: Arc<Plan>) -> RunHistory {
        let attempts = vec![Vec::new(); plan.graph().len()];
        let run = Run::new(plan);
        let (started_at, completed_at, approval) = (None, None, None);
        let (adoptions, is_begun) = (0, false);
        RunHistory { run, attempts, started_at, completed_at, adoptions, is_begun, approval }
    }

    /// Adds the next record. Records that are known already change nothing.
    pub fn add(&mut self, record: &Record) -> Result<(), JournalGap> {
        let known = self.run.sequence().0;
        self.run.replay(record)?;
        let tasks = self.run.task_count();
        self.attempts.resize_with(tasks.max(self.attempts.len()), Vec::new);
        for (number, event) in (record.first.0..).zip(&record.events) {
            if number > known {
                self.log(event, record.at);
            }
        }
        Ok(())
    }

    /// The state.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The cause of a run that did not end well.
    pub fn failure(&self) -> Option<RunFailure> {
        let run = &self.run;
        match run.status() {
            PlanStatus::Failed => {}
            PlanStatus::Cancelled => {
                let (code, message) = (ErrorCode::Cancelled, "the plan was cancelled".to_owned());
                return Some(RunFailure { code, message, task: None });
            }
            PlanStatus::Suspended => {
                let (code, message) = (ErrorCode::AgentCrashed, run.tell_suspension());
                let task = run.suspended_tasks().first().map(|task| run.name(*task).to_string());
                return Some(RunFailure { code, message, task });
            }
            PlanStatus::Draft
            | PlanStatus::Validated
            | PlanStatus::PendingApproval
            | PlanStatus::Approved
            | PlanStatus::Executing
            | PlanStatus::Completed => return None,
        }
        if let Some(why) = run.why() {
            let (code, message) = (why.code, why.message.clone());
            return Some(RunFailure { code, message, task: None });
        }
        Some(self.first_failed_task())
    }

    /// The first task that failed for good, with how many more did.
    fn first_failed_task(&self) -> RunFailure {
        let (run, plan) = (&self.run, self.run.plan());
        let failed = |t: &TaskIndex| {
            matches!(run.task_status(*t), TaskStatus::Failed | TaskStatus::TimedOut)
                && !plan.task(*t).allow_failure
        };
        let failed: Vec<TaskIndex> = plan.graph().indices().filter(failed).collect();
        let Some(first) = failed.first() else {
            let message = "the plan did not finish in time".to_owned();
            return RunFailure { code: ErrorCode::DeadlineMissed, message, task: None };
        };
        let cause = run.error(*first);
        let code = cause.map_or(ErrorCode::TaskFailed, |error| error.code);
        let why = cause.map_or("it failed", |error| error.message.as_str());
        let others = match failed.len() - 1 {
            0 => String::new(),
            more => format!(" ({more} more failed)"),
        };
        let name = &plan.task(*first).task_id;
        let message = format!("task `{name}` failed: {why}{others}");
        RunFailure { code, message, task: Some(name.clone()) }
    }

    /// A task's attempts, oldest first.
    pub fn attempts(&self, task: TaskIndex) -> &[AttemptLog] {
        &self.attempts[task.at()]
    }

    fn log(&mut self, event: &RunEvent, at: Timestamp) {
        match event {
            RunEvent::RunStarted { .. } => {
                self.started_at.get_or_insert(at);
                self.completed_at = None;
                self.is_begun = false;
            }
            RunEvent::RunAdopted { .. } => {
                self.adoptions += 1;
                self.is_begun = true;
            }
            RunEvent::RunSuspended { .. } | RunEvent::RunResumed { .. } => {}
            RunEvent::TaskDispatched { task, attempt, placed, .. } => {
                self.is_begun = true;
                self.begin(*task, *attempt, agent_of(placed.as_deref()), at);
            }
            RunEvent::TaskRedispatched { task, placed, .. } => {
                if let Some(attempt) = self.attempts[task.at()].last_mut() {
                    attempt.redispatched += 1;
                    attempt.started_at = at;
                    attempt.agent = agent_of(placed.as_deref());
                }
            }
            RunEvent::TaskCompleted { task, .. } => {
                self.end(*task, at, AttemptResult::Completed, None);
            }
            RunEvent::AttemptFailed { task, error, next, .. } => {
                let timed_out =
                    matches!(next, AfterFailure::Final { status: TaskStatus::TimedOut })
                        || error.code.info().retry == RetryClass::Timeout;
                let result =
                    if timed_out { AttemptResult::TimedOut } else { AttemptResult::Failed };
                self.end(*task, at, result, Some(error.clone()));
            }
            RunEvent::TasksCancelled { tasks, abandoned } => {
                let result =
                    if *abandoned { AttemptResult::Abandoned } else { AttemptResult::Cancelled };
                for task in tasks {
                    self.end(*task, at, result, None);
                }
            }
            RunEvent::RunFinished { .. } => self.completed_at = Some(at),
            RunEvent::GateDecided { gate: Gate::Plan, approved, by, reason, .. } => {
                let (by, reason) = (by.clone(), reason.clone());
                self.approval = Some(PlanApproval { approved: *approved, by, reason });
            }
            // The question is open again.
            RunEvent::GateOpened { gate: Gate::Plan, .. } => self.approval = None,
            // No attempt begins or ends with these.
            RunEvent::EdgeDecided { .. }
            | RunEvent::GateOpened { .. }
            | RunEvent::GateDecided { .. }
            | RunEvent::MapExpanded { .. }
            | RunEvent::MapCompleted { .. }
            | RunEvent::BudgetWarned { .. }
            | RunEvent::BudgetBreached { .. }
            | RunEvent::AttemptReturned { .. }
            | RunEvent::TaskDeferred { .. }
            | RunEvent::TaskFailed { .. }
            | RunEvent::TasksBlocked { .. }
            | RunEvent::TasksSkipped { .. }
            | RunEvent::CancelRequested { .. }
            | RunEvent::Noticed { .. }
            | RunEvent::ReportIgnored { .. } => {}
        }
    }

    fn begin(&mut self, task: TaskIndex, attempt: Attempt, agent: Arc<str>, at: Timestamp) {
        let Some(attempts) = self.attempts.get_mut(task.at()) else { return };
        attempts.push(AttemptLog {
            number: attempt.0,
            agent,
            started_at: at,
            completed_at: None,
            result: AttemptResult::Running,
            redispatched: 0,
            error: None,
        });
    }

    fn end(
        &mut self,
        task: TaskIndex,
        at: Timestamp,
        result: AttemptResult,
        error: Option<TaskError>,
    ) {
        let Some(attempts) = self.attempts.get_mut(task.at()) else { return };
        if let Some(last) = attempts.last_mut().filter(|a| a.result == AttemptResult::Running) {
            last.completed_at = Some(at);
            last.result = result;
            last.error = error;
        }
    }

    /// Tasks on which an executor works.
    pub fn in_flight(&self) -> Vec<TaskIndex> {
        self.run.all_tasks().filter(|task| self.run.is_in_flight(*task)).collect()
    }
}

/// The agent that got an attempt.
pub(crate) fn agent_of(placed: Option<&AgentPlacement>) -> Arc<str> {
    placed.map_or_else(|| LOCAL_AGENT.into(), |placed| placed.agent.clone())
}
