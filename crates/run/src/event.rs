//! What happens to a run, as the journal keeps it.
//!
//! This is a persisted format: tasks are indices, times are numbers, and a variant or field keeps
//! its meaning for ever. New fields have `#[serde(default)]`; recorded histories replay in tests.
//! What the outside sees is a projection of these (see [`crate::public_event`]).

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::amounts::{Amounts, BudgetKind, Usage};
use l05_core::error::ErrorCode;
use l05_core::graph::EdgeIndex;
use l05_core::id::{Attempt, Epoch, TaskIndex};
use l05_core::plan::PlanStatus;
use l05_core::task::TaskStatus;
use l05_core::time::{Timestamp, millis};

/// The id of whoever caused something: a DID, a user name, or `local`.
pub type Actor = Arc<str>;

/// A fact about a run. Past tense: it has been decided and, once journaled, cannot be undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEvent {
    /// A run of the plan began; the tasks in `keep` stay completed from an earlier run.
    RunStarted {
        /// From 1.
        run: u16,
        /// Completed before, items of fan-outs included.
        keep: Vec<TaskIndex>,
        /// Fan-outs that did not complete and keep their list, with the items that did.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept_maps: Vec<TaskIndex>,
        /// The time by which the run must have ended.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_millis")]
        deadline: Option<Timestamp>,
        /// The time at which it began, where it has a deadline.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_millis")]
        began: Option<Timestamp>,
        /// The caller who started it; records of older versions do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Actor>,
        /// The account that the run begins with: what planning and earlier runs of the plan used counts.
        /// None, in records of older versions and where nothing is limited: the plan's budget, untouched.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<Box<OpeningAccount>>,
        /// The workspace that the run belongs to; none where none of its tools works in one, and in records of older
        /// versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workspace: Option<Arc<str>>,
    },
    /// Another process drives the run from here on.
    RunAdopted {
        /// The owner's epoch.
        epoch: Epoch,
        /// The last owner did not give the run up: it died. Records of older versions do not say.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        after_death: bool,
    },
    /// The run was taken out of execution: whoever took it up died of it.
    RunSuspended {
        /// The number of deaths in a row.
        deaths: u16,
        /// Tasks whose attempts were in flight each time.
        tasks: Vec<TaskIndex>,
    },
    /// Somebody lets a suspended run go on.
    RunResumed {
        /// The caller.
        by: Actor,
    },
    /// A condition was evaluated.
    EdgeDecided {
        /// The conditional dependency.
        edge: EdgeIndex,
        /// The verdict.
        verdict: ConditionVerdict,
    },
    /// A person was asked.
    GateOpened {
        /// The gate.
        gate: Gate,
        /// The time from which no answer counts as a refusal.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_millis")]
        expires_at: Option<Timestamp>,
    },
    /// The person answered, or the time for it is over.
    GateDecided {
        /// The gate.
        gate: Gate,
        /// The answer.
        approved: bool,
        /// The person.
        by: String,
        /// The person's reason.
        reason: String,
        /// The digest of the plan's content that the answer is about, in hexadecimal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_digest: Option<String>,
    },
    /// A fan-out's list is known; from here on its items are tasks of the run.
    MapExpanded {
        /// The fan-out.
        task: TaskIndex,
        /// The index of its first item.
        first: TaskIndex,
        /// The number of items.
        count: u32,
        /// The list.
        items: TaskOutput,
    },
    /// All items of a fan-out ended well; its output is the list of theirs.
    MapCompleted {
        /// The fan-out.
        task: TaskIndex,
    },
    /// Four fifths of a budget are used.
    BudgetWarned {
        /// Of what.
        kind: BudgetKind,
        /// The amount used: tokens, billionths of a dollar, or milliseconds.
        used: u64,
        /// The allowed amount, in the same unit.
        limit: u64,
    },
    /// An attempt used more than it was told it may.
    BudgetBreached {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
        /// The amounts that it was told.
        allowed: Amounts,
        /// The amounts that it used.
        used: Amounts,
        /// True if somebody set a limit, so that nothing further starts; else it is told and no more.
        stops: bool,
    },
    /// An attempt was given to an executor.
    TaskDispatched {
        /// The task.
        task: TaskIndex,
        /// The number of the attempt.
        attempt: Attempt,
        /// The time at which it times out.
        #[serde(with = "millis")]
        not_after: Timestamp,
        /// The part of the plan's budget that it may use.
        #[serde(default, skip_serializing_if = "Amounts::is_none")]
        reserved: Amounts,
        /// The agent that got it, where there was a choice; else this process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        placed: Option<Box<AgentPlacement>>,
    },
    /// The agent of an attempt is gone: the same attempt waits for another.
    AttemptReturned {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
    },
    /// Nobody is there who could do a task: it is tried again later.
    TaskDeferred {
        /// The task.
        task: TaskIndex,
        /// The reason.
        error: TaskError,
        /// The time.
        #[serde(with = "millis")]
        at: Timestamp,
    },
    /// An attempt that was in flight when its owner died was given out again.
    TaskRedispatched {
        /// The task.
        task: TaskIndex,
        /// The number of the attempt, as before.
        attempt: Attempt,
        /// The time at which it times out now.
        #[serde(with = "millis")]
        not_after: Timestamp,
        /// The amounts it may use beside what it has used already.
        #[serde(default, skip_serializing_if = "Amounts::is_none")]
        reserved: Amounts,
        /// The agent that got it, where there was a choice; else this process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        placed: Option<Box<AgentPlacement>>,
    },
    /// An attempt succeeded, and with it the task.
    TaskCompleted {
        /// The task.
        task: TaskIndex,
        /// The attempt that did it.
        attempt: Attempt,
        /// The task's output.
        output: TaskOutput,
        /// The amounts it used.
        #[serde(default, skip_serializing_if = "Usage::is_none")]
        usage: Usage,
    },
    /// An attempt failed.
    AttemptFailed {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
        /// The reason.
        error: TaskError,
        /// The amounts it used.
        #[serde(default, skip_serializing_if = "Usage::is_none")]
        usage: Usage,
        /// Nobody knows what it used: all that it had reserved counts.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lost: bool,
        /// The next step.
        next: AfterFailure,
    },
    /// A task failed without an attempt of its own: its condition or list cannot be evaluated, or
    /// items of it failed.
    TaskFailed {
        /// The task.
        task: TaskIndex,
        /// The reason.
        error: TaskError,
    },
    /// Tasks can never start, because something they need failed for good.
    TasksBlocked {
        /// The task that failed.
        cause: TaskIndex,
        /// All that it blocks, directly and through others.
        tasks: Vec<TaskIndex>,
    },
    /// Tasks are not needed, because of a condition or a skipped dependency.
    TasksSkipped {
        /// The first of them, or what was skipped before them.
        cause: TaskIndex,
        /// All that are skipped with it.
        tasks: Vec<TaskIndex>,
    },
    /// Somebody or a policy wants the rest, or one task, ended.
    CancelRequested {
        /// The part that is cancelled.
        scope: CancelScope,
        /// The reason.
        cause: CancelCause,
        /// In words.
        reason: String,
        /// The time at which executors that still run are given up.
        #[serde(with = "millis")]
        grace_until: Timestamp,
        /// The caller who asked for it, where a policy did not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Actor>,
    },
    /// Tasks ended because of a cancellation.
    TasksCancelled {
        /// The tasks.
        tasks: Vec<TaskIndex>,
        /// True if executors were still running and have been given up.
        abandoned: bool,
    },
    /// A report that came late, twice, or for nothing that runs.
    ReportIgnored {
        /// The task it names.
        task: TaskIndex,
        /// The attempt it names.
        attempt: Attempt,
        /// The reason for which it does not count.
        why: IgnoredReport,
    },
    /// Somebody who looks after runs noticed something.
    Noticed {
        /// The notice.
        notice: RunNotice,
    },
    /// The run ended.
    RunFinished {
        /// COMPLETED, FAILED or CANCELLED.
        status: PlanStatus,
        /// FAILED, but some leaves completed.
        partial: bool,
    },
}

impl RunEvent {
    /// True if somebody did something for the run: the last owner lived long enough for more than taking it up.
    pub(crate) fn shows_life(&self) -> bool {
        !matches!(
            self,
            RunEvent::RunAdopted { .. }
                | RunEvent::RunSuspended { .. }
                | RunEvent::TaskRedispatched { .. }
                | RunEvent::AttemptReturned { .. }
                | RunEvent::TaskDeferred { .. }
        )
    }

    /// The task that the event is about, where it is about one; out of range it is a broken journal's.
    pub(crate) fn named_task(&self) -> Option<TaskIndex> {
        match self {
            RunEvent::TaskDispatched { task, .. }
            | RunEvent::TaskRedispatched { task, .. }
            | RunEvent::AttemptReturned { task, .. }
            | RunEvent::TaskDeferred { task, .. }
            | RunEvent::TaskCompleted { task, .. }
            | RunEvent::AttemptFailed { task, .. }
            | RunEvent::BudgetBreached { task, .. }
            | RunEvent::MapExpanded { task, .. }
            | RunEvent::MapCompleted { task }
            | RunEvent::TaskFailed { task, .. } => Some(*task),
            RunEvent::GateOpened { gate, .. } | RunEvent::GateDecided { gate, .. } => gate.task(),
            RunEvent::RunStarted { .. }
            | RunEvent::RunAdopted { .. }
            | RunEvent::RunSuspended { .. }
            | RunEvent::RunResumed { .. }
            | RunEvent::EdgeDecided { .. }
            | RunEvent::BudgetWarned { .. }
            | RunEvent::TasksBlocked { .. }
            | RunEvent::TasksSkipped { .. }
            | RunEvent::CancelRequested { .. }
            | RunEvent::TasksCancelled { .. }
            | RunEvent::ReportIgnored { .. }
            | RunEvent::Noticed { .. }
            | RunEvent::RunFinished { .. } => None,
        }
    }

    /// The plan's status after it, where it changes that.
    pub fn plan_status(&self) -> Option<PlanStatus> {
        match self {
            RunEvent::RunStarted { .. } | RunEvent::RunResumed { .. } => {
                Some(PlanStatus::Executing)
            }
            RunEvent::RunSuspended { .. } => Some(PlanStatus::Suspended),
            RunEvent::RunFinished { status, .. } => Some(*status),
            RunEvent::GateOpened { gate: Gate::Plan, .. } => Some(PlanStatus::PendingApproval),
            RunEvent::GateDecided { gate: Gate::Plan, approved: true, .. } => {
                Some(PlanStatus::Approved)
            }
            // A refused plan's end follows in the same record.
            RunEvent::GateDecided { .. }
            | RunEvent::GateOpened { .. }
            | RunEvent::RunAdopted { .. }
            | RunEvent::EdgeDecided { .. }
            | RunEvent::MapExpanded { .. }
            | RunEvent::MapCompleted { .. }
            | RunEvent::BudgetWarned { .. }
            | RunEvent::BudgetBreached { .. }
            | RunEvent::TaskDispatched { .. }
            | RunEvent::AttemptReturned { .. }
            | RunEvent::TaskDeferred { .. }
            | RunEvent::TaskRedispatched { .. }
            | RunEvent::TaskCompleted { .. }
            | RunEvent::AttemptFailed { .. }
            | RunEvent::TaskFailed { .. }
            | RunEvent::TasksBlocked { .. }
            | RunEvent::TasksSkipped { .. }
            | RunEvent::CancelRequested { .. }
            | RunEvent::TasksCancelled { .. }
            | RunEvent::ReportIgnored { .. }
            | RunEvent::Noticed { .. } => None,
        }
    }
}

/// A run's account as it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpeningAccount {
    /// The amounts that count as used already: by planning, and by earlier runs.
    #[serde(default, skip_serializing_if = "Amounts::is_none")]
    pub spent: Amounts,
    /// The amounts that approvals of earlier runs added.
    #[serde(default, skip_serializing_if = "Amounts::is_none")]
    pub granted: Amounts,
    /// The limits, where they are not those of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Amounts>,
}

/// The agent that got an attempt, and the others that could have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentPlacement {
    /// The agent that got it.
    pub agent: Arc<str>,
    /// 0 to 1, by the routing strategy.
    pub score: f64,
    /// The best of the others, with their scores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<(Arc<str>, f64)>,
}

/// The verdict of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConditionVerdict {
    /// True: the dependency is satisfied.
    Satisfied,
    /// False: the task is skipped, if it needs this dependency.
    Unsatisfied,
}

/// A task's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutput {
    /// Kept in the journal.
    Inline(Arc<Value>),
    /// Kept beside it, because it is large.
    Blob {
        /// SHA-256 of the JSON text, in hexadecimal.
        sha256: String,
        /// The length.
        bytes: u64,
    },
    /// The results of a fan-out's items, in order; none where an item was allowed to fail.
    List(Arc<[Option<TaskOutput>]>),
}

/// The question that a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The start of the plan.
    Plan,
    /// The start of a task.
    Task(TaskIndex),
    /// A second budget of the same size for the plan.
    Budget,
    /// The repetition of an attempt of which nobody knows how it went.
    Recovery(TaskIndex),
}

impl Gate {
    /// The task that it is about.
    pub fn task(self) -> Option<TaskIndex> {
        match self {
            Gate::Task(task) | Gate::Recovery(task) => Some(task),
            Gate::Plan | Gate::Budget => None,
        }
    }
}

/// The reason for which an attempt or a task failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskError {
    /// The stable code, which also decides about retries.
    pub code: ErrorCode,
    /// The failure in words.
    pub message: String,
    /// The executor says that trying again is no use.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_final: bool,
    /// The time after which to come again, in milliseconds, where the one who was asked says so
    /// (`Retry-After`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_millis: Option<u64>,
}

impl TaskError {
    /// An error that is tried again as its code's class says.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> TaskError {
        TaskError { code, message: message.into(), is_final: false, retry_after_millis: None }
    }

    /// An error after which trying again is no use.
    pub fn last(code: ErrorCode, message: impl Into<String>) -> TaskError {
        TaskError { is_final: true, ..TaskError::new(code, message) }
    }
}

/// The step after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterFailure {
    /// Another attempt, not before this time.
    Retry {
        /// The time.
        #[serde(with = "millis")]
        at: Timestamp,
    },
    /// Nothing: the task ended.
    Final {
        /// FAILED or TIMED_OUT.
        status: TaskStatus,
    },
}

/// The part of a run that a cancellation covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelScope {
    /// Everything that has not ended.
    Plan,
    /// One task; what needs it is blocked.
    Task(TaskIndex),
}

/// Causes of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelCause {
    /// A person or program asked: the plan ends CANCELLED.
    Request,
    /// `on_failure: fail_fast`: the plan ends FAILED.
    FailFast,
    /// The deadline is over: the plan ends FAILED.
    Deadline,
    /// The budget does not suffice: the plan ends FAILED.
    Budget,
    /// A task with `cancel_others` went on without it: the plan goes on.
    NotNeeded,
}

/// Reasons for which a report does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IgnoredReport {
    /// The attempt had ended.
    Late,
    /// The attempt was reported before, with another result.
    Conflict,
}

/// Something that was noticed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunNotice {
    /// An attempt takes much longer than expected.
    Straggler {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
        /// The time that it has taken so far.
        elapsed_millis: u64,
        /// The time that it was expected to take.
        expected_millis: u64,
    },
    /// By the longest chain that is left the plan ends too late.
    DeadlineAtRisk {
        /// The earliest time at which it will end.
        #[serde(with = "millis")]
        forecast: Timestamp,
        /// The time by which it must have ended.
        #[serde(with = "millis")]
        deadline: Timestamp,
    },
    /// Nothing moves.
    Stuck {
        /// For how long.
        idle_millis: u64,
        /// Tasks that could start, the first of them.
        waiting: Vec<TaskIndex>,
        /// Tasks wait for an agent, not for room in the process.
        lacks_agents: bool,
    },
}

mod optional_millis {
    use super::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "serde's `with` gives the field by reference")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|t| t.0).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(Timestamp))
    }
}
