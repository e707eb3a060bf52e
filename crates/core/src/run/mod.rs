//! The run machine: one plan's life as a pure state machine.
//!
//! ```text
//! command ──▶ decide (reads the state) ──▶ events ──▶ apply (changes the state)
//!                                            │              │
//!                                            ▼              ▼
//!                                         journal      what follows by itself: cascades,
//!                                            │         retries due, dispatches, the end
//!                                            ▼              │ (more events, same record)
//!                                         effects ◀─────────┘
//! ```
//!
//! [`Run::handle`] decides and applies; the caller journals the events and carries out the effects
//! only when they are durable. [`Run::replay`] folds a journal: state is nothing but that fold, so
//! changed code in `decide` can never change an old history.
//!
//! Time, room and epochs come in as arguments; jitter is drawn from the plan's own digest.

pub mod apply;
mod cascade;
pub mod command;
mod decide;
pub mod event;
pub mod history;
pub mod public;
pub mod record;
pub mod retry;
mod settle;
pub mod transition;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use crate::graph::EdgeIndex;
use crate::id::{Attempt, Epoch, Sequence, TaskIndex};
use crate::plan::{Plan, PlanStatus};
use crate::task::{Join, TaskStatus};
use crate::time::Timestamp;

use event::{CancelCause, Output, TaskError, Usage};

/// The state of one plan's run.
#[derive(Debug)]
pub struct Run {
    plan: Arc<Plan>,
    tasks: Vec<TaskState>,
    status: PlanStatus,
    partial: bool,
    /// How many runs of the plan have begun.
    run: u16,
    epoch: Epoch,
    /// The last event applied.
    sequence: Sequence,
    deadline: Option<Timestamp>,
    cancel: Option<CancelCause>,
    spent: Usage,

    // Counters over `tasks`, so that no event costs a scan.
    running: u32,
    cancelling: u32,
    left: u32,
    failed_for_good: u32,

    // Indices over `tasks`. Entries go stale when a task moves on; readers check and drop them.
    ready: BinaryHeap<ReadyTask>,
    timers: BinaryHeap<Reverse<Timer>>,
    /// Tasks whose dependencies say that they will never start, with what made it so.
    doomed: Vec<(TaskIndex, TaskIndex)>,
    /// Conditional dependencies whose producer has ended and that are not decided yet.
    decidable: BTreeSet<EdgeIndex>,
}

/// One task's state.
#[derive(Clone, Debug, PartialEq)]
struct TaskState {
    status: TaskStatus,
    /// The last attempt begun; 0 before the first.
    attempt: Attempt,
    /// Failed attempts in this run.
    failures: u8,
    needs: Needs,
    /// PENDING after a failed attempt: not to be dispatched earlier.
    not_before: Option<Timestamp>,
    /// In flight: when it times out.
    not_after: Timestamp,
    /// In flight and told to stop.
    cancelling: bool,
    output: Option<Output>,
    error: Option<Box<TaskError>>,
}

/// How a task's dependencies stand. Each is counted once, under what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Needs {
    waiting: u32,
    satisfied: u32,
    skipped: u32,
    failed: u32,
}

/// What its dependencies mean for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Wait,
    Run,
    Skip,
    Block,
}

impl Needs {
    /// The table of spec 03, 3.5.
    fn fate(self, join: Join) -> Fate {
        match join {
            Join::All if self.failed > 0 => Fate::Block,
            Join::All if self.skipped > 0 => Fate::Skip,
            Join::All if self.waiting == 0 => Fate::Run,
            Join::All => Fate::Wait,
            Join::Any if self.satisfied > 0 => Fate::Run,
            Join::Any if self.waiting > 0 => Fate::Wait,
            Join::Any if self.failed > 0 => Fate::Block,
            Join::Any if self.skipped > 0 => Fate::Skip,
            // A root: nothing to wait for.
            Join::Any => Fate::Run,
        }
    }
}

/// Higher rank first, then the earlier task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ReadyTask {
    /// The bits of a non-negative number sort like the number.
    rank_bits: u64,
    task: Reverse<TaskIndex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at: Timestamp,
    kind: TimerKind,
    task: TaskIndex,
    attempt: Attempt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TimerKind {
    /// A failed attempt's successor may start.
    Retry,
    /// An attempt has taken too long.
    Timeout,
    /// Executors told to stop are given up.
    Grace,
    /// The plan's time is over.
    Deadline,
}

/// How long executors that were told to stop are waited for, in milliseconds (spec 03, 3.4).
pub const GRACE_MILLIS: u64 = 10_000;

impl Run {
    /// The state before any event.
    pub fn new(plan: Arc<Plan>) -> Run {
        let tasks = plan
            .graph()
            .indices()
            .map(|task| TaskState::fresh(plan.graph().edges_in(task).len() as u32, Attempt(0)))
            .collect::<Vec<_>>();
        Run {
            status: PlanStatus::Validated,
            partial: false,
            run: 0,
            epoch: Epoch(0),
            sequence: Sequence(0),
            deadline: None,
            cancel: None,
            spent: Usage::default(),
            running: 0,
            cancelling: 0,
            left: tasks.len() as u32,
            failed_for_good: 0,
            ready: BinaryHeap::new(),
            timers: BinaryHeap::new(),
            doomed: Vec::new(),
            decidable: BTreeSet::new(),
            plan,
            tasks,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Where the plan stands.
    pub fn status(&self) -> PlanStatus {
        self.status
    }

    /// FAILED, but some leaves completed.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// The number of the current or last run; 0 before the first.
    pub fn number(&self) -> u16 {
        self.run
    }

    /// The number of the last event.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The epoch of the last owner that the journal names.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where a task stands.
    pub fn task_status(&self, task: TaskIndex) -> TaskStatus {
        self.tasks[task.at()].status
    }

    /// A completed task's result.
    pub fn output(&self, task: TaskIndex) -> Option<&Output> {
        self.tasks[task.at()].output.as_ref()
    }

    /// Why a task failed last.
    pub fn error(&self, task: TaskIndex) -> Option<&TaskError> {
        self.tasks[task.at()].error.as_deref()
    }

    /// The last attempt begun; 0 before the first.
    pub fn attempt(&self, task: TaskIndex) -> Attempt {
        self.tasks[task.at()].attempt
    }

    /// When the attempt in flight times out.
    pub fn not_after(&self, task: TaskIndex) -> Timestamp {
        self.tasks[task.at()].not_after
    }

    /// Attempts in flight.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Tasks that have not ended.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// What the run has used so far.
    pub fn spent(&self) -> Usage {
        self.spent
    }

    /// Whether tasks could start if the process had room for them.
    pub fn wants_room(&self) -> bool {
        self.may_dispatch() && !self.ready.is_empty() && self.running < self.parallelism()
    }

    /// The next time that [`command::Command::Wake`] has something to do.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse(timer)| timer.at)
    }

    fn parallelism(&self) -> u32 {
        self.plan.document().constraints.max_parallelism
    }

    fn may_dispatch(&self) -> bool {
        self.status == PlanStatus::Executing && self.cancel.is_none()
    }

    fn join(&self, task: TaskIndex) -> Join {
        self.plan.task(task).join
    }
}

impl TaskState {
    fn fresh(waiting: u32, attempt: Attempt) -> TaskState {
        TaskState {
            status: TaskStatus::Pending,
            attempt,
            failures: 0,
            needs: Needs { waiting, ..Needs::default() },
            not_before: None,
            not_after: Timestamp(0),
            cancelling: false,
            output: None,
            error: None,
        }
    }
}

/// Whether a task has ended: no way leads out.
pub fn has_ended(status: TaskStatus) -> bool {
    match status {
        TaskStatus::Completed
        | TaskStatus::Failed
        | TaskStatus::TimedOut
        | TaskStatus::Cancelled
        | TaskStatus::Blocked
        | TaskStatus::Skipped => true,
        TaskStatus::Pending | TaskStatus::Ready | TaskStatus::Assigned | TaskStatus::Executing => {
            false
        }
    }
}

/// Whether an executor works on it.
pub fn is_in_flight(status: TaskStatus) -> bool {
    match status {
        TaskStatus::Assigned | TaskStatus::Executing => true,
        TaskStatus::Pending
        | TaskStatus::Ready
        | TaskStatus::Completed
        | TaskStatus::Failed
        | TaskStatus::TimedOut
        | TaskStatus::Cancelled
        | TaskStatus::Blocked
        | TaskStatus::Skipped => false,
    }
}

#[cfg(test)]
mod tests;
