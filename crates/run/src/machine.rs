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

mod adopt;
mod apply;
mod budget;
mod cancel;
mod cascade;
mod decide;
mod dispatch;
mod fixpoint;
mod gate;
mod map;
mod monitor;
mod retry;
mod start;
mod supersede;
mod transition;

pub use apply::JournalGap;
pub use gate::{GateApproval, OpenGate};
pub use map::MapItem;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use l05_core::graph::EdgeIndex;
use l05_core::id::{Attempt, Epoch, Sequence, TaskIndex};
use l05_core::plan::{Plan, PlanStatus};
use l05_core::task::{Join, Task, TaskStatus};
use l05_core::time::Timestamp;

use crate::amounts::Amounts;
use crate::amounts::Usage;
use crate::event::{CancelCause, Gate, TaskError, TaskOutput};
use budget::{BudgetAccount, TaskSize};
use l05_core::agent::LOCAL_AGENT;
use map::{MapMember, MapSpan};

/// The state of one plan's run.
#[derive(Debug)]
pub struct Run {
    plan: Arc<Plan>,
    /// The plan's tasks, then items of fan-outs.
    tasks: Vec<TaskState>,
    /// The fan-outs that the tasks behind the plan's are items of.
    item_origins: Vec<MapMember>,
    maps: BTreeMap<TaskIndex, MapSpan>,
    status: PlanStatus,
    partial: bool,
    /// The number of runs of the plan that have begun.
    run: u16,
    epoch: Epoch,
    /// Owners that died in a row and did nothing for the run but take it up.
    deaths: u16,
    /// The last event applied.
    sequence: Sequence,
    /// The time at which the present run began.
    began: Option<Timestamp>,
    deadline: Option<Timestamp>,
    cancel: Option<CancelCause>,
    /// The reason for which the run as a whole cannot end well, where that is not a task's failure.
    why: Option<Box<TaskError>>,
    /// Waits for a person, each with the time of its end.
    gates: BTreeMap<Gate, Option<Timestamp>>,
    /// Gates that were refused in the present run.
    declined: BTreeSet<Gate>,
    /// Answers by which tasks may start, each with its person and reason.
    answers: BTreeMap<TaskIndex, GateApproval>,
    /// Attempts that were noticed as stragglers, and what else was told once already.
    noticed: BTreeSet<(TaskIndex, Attempt)>,
    deadline_noticed: bool,
    stuck_noticed: bool,
    /// Amounts that executors reported.
    used: Usage,
    /// Attempts whose tokens were counted here.
    counted_attempts: u32,
    account: BudgetAccount,
    /// Amounts that attempts in flight have reserved, where there is a budget.
    reservations: BTreeMap<TaskIndex, Amounts>,
    /// Cores and memory that attempts may need at once, where the plan says so.
    size_limit: Option<TaskSize>,
    size_in_flight: TaskSize,
    /// The size of all outputs kept, as JSON text, more or less.
    output_bytes: u64,
    /// Agents that attempts were given to, this process first.
    agents: Vec<Arc<str>>,
    /// The number of attempts that each of them has in flight.
    agent_loads: Vec<u32>,

    // Counters over `tasks`, so that no event costs a scan.
    running: u32,
    mapping: u32,
    cancelling: u32,
    left: u32,
    failed_for_good: u32,

    // Indices over `tasks`. Entries go stale when a task moves on; readers check and drop them.
    ready: BinaryHeap<ReadyTask>,
    /// Queues of ready tasks where there is a crew: ready tasks by what they ask of an agent, so
    /// that those whose agents are all busy keep nobody else waiting.
    queues: BTreeMap<TaskIndex, BinaryHeap<ReadyTask>>,
    /// The last look found nobody free for what is ready.
    lacks_agents: bool,
    /// The next task waits until attempts in flight give back what they have reserved, or the cores and
    /// the memory that they need.
    lacks_budget: bool,
    timers: BinaryHeap<Reverse<RunTimer>>,
    /// Tasks whose dependencies say that they will never start, with what made it so.
    doomed: Vec<(TaskIndex, TaskIndex)>,
    /// The workspace that its runs belong to.
    workspace: Option<Arc<str>>,
    /// Freed tasks with `cancel_others`, to be looked at.
    winners: Vec<TaskIndex>,
    /// Tasks that were told to end because a task with `cancel_others` went on.
    not_needed: BTreeSet<TaskIndex>,
    /// Conditional dependencies whose producer has ended and that are not decided yet.
    decidable: BTreeSet<EdgeIndex>,
    /// Tasks that may start as soon as a person agrees.
    gated: Vec<TaskIndex>,
    /// Fan-outs whose list is not known yet.
    expandable: BTreeSet<TaskIndex>,
    /// Fan-outs whose lists nobody has been asked for.
    fresh_lists: Vec<TaskIndex>,
    /// Fan-outs whose list is known from an earlier run.
    known_lists: Vec<TaskIndex>,
    /// Fan-outs whose items have all ended.
    gathered: Vec<TaskIndex>,
}

/// One task's state.
#[derive(Clone, Debug, PartialEq)]
struct TaskState {
    status: TaskStatus,
    phase: TaskPhase,
    /// A person agreed to its start.
    cleared: bool,
    /// A person agreed to another try of its last attempt.
    again: bool,
    /// The last attempt begun; 0 before the first.
    attempt: Attempt,
    /// Failed attempts in this run.
    failures: u8,
    needs: DependencyCounts,
    /// PENDING after a failed attempt: not to be dispatched earlier.
    not_before: Option<Timestamp>,
    /// In flight: when it times out.
    not_after: Timestamp,
    /// The agent of the last attempt; a place in the run's list of agents.
    agent: u16,
    /// In flight and told to stop.
    cancelling: bool,
    output: Option<TaskOutput>,
    error: Option<Box<TaskError>>,
}

/// The phase of a task that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskPhase {
    /// Nothing: it waits for dependencies, a slot, or the time of its next attempt.
    Idle,
    /// An executor works on it.
    InFlight,
    /// A person is asked.
    Gate,
    /// The fan-out's items are being done.
    Mapping,
}

/// The state of a task's dependencies. Each is counted once, under what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct DependencyCounts {
    waiting: u32,
    satisfied: u32,
    skipped: u32,
    failed: u32,
}

/// The meaning of its dependencies for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DependencyFate {
    Wait,
    Run,
    Skip,
    Block,
}

impl DependencyCounts {
    /// The table of spec 03, 3.5.
    fn fate(self, join: Join) -> DependencyFate {
        match join {
            Join::All if self.failed > 0 => DependencyFate::Block,
            Join::All if self.skipped > 0 => DependencyFate::Skip,
            Join::All if self.waiting == 0 => DependencyFate::Run,
            Join::All => DependencyFate::Wait,
            Join::Any if self.satisfied > 0 => DependencyFate::Run,
            Join::Any if self.waiting > 0 => DependencyFate::Wait,
            Join::Any if self.failed > 0 => DependencyFate::Block,
            Join::Any if self.skipped > 0 => DependencyFate::Skip,
            // A root: nothing to wait for.
            Join::Any => DependencyFate::Run,
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
struct RunTimer {
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
    /// Four fifths of the plan's time are over.
    DeadlineNear,
    /// The plan's time is over.
    Deadline,
    /// Nobody answered in time.
    Gate(Gate),
}

/// The time that executors that were told to stop are waited for, in milliseconds (spec 03, 3.4).
pub const GRACE_MILLIS: u64 = 10_000;
/// The most that all outputs of a run may take as JSON text, in bytes (spec 03, 3.6): larger data
/// are files.
pub const OUTPUTS_BYTES_MAX: u64 = 1 << 30;

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
            deaths: 0,
            sequence: Sequence(0),
            began: None,
            deadline: None,
            cancel: None,
            why: None,
            gates: BTreeMap::new(),
            noticed: BTreeSet::new(),
            deadline_noticed: false,
            stuck_noticed: false,
            used: Usage::default(),
            counted_attempts: 0,
            account: BudgetAccount::of(plan.document()),
            reservations: BTreeMap::new(),
            size_limit: TaskSize::limit(plan.document()),
            size_in_flight: TaskSize::default(),
            output_bytes: 0,
            running: 0,
            mapping: 0,
            cancelling: 0,
            left: tasks.len() as u32,
            failed_for_good: 0,
            agents: vec![LOCAL_AGENT.into()],
            agent_loads: vec![0],
            ready: BinaryHeap::new(),
            queues: BTreeMap::new(),
            lacks_agents: false,
            lacks_budget: false,
            timers: BinaryHeap::new(),
            doomed: Vec::new(),
            workspace: None,
            winners: Vec::new(),
            not_needed: BTreeSet::new(),
            decidable: BTreeSet::new(),
            gated: Vec::new(),
            expandable: BTreeSet::new(),
            fresh_lists: Vec::new(),
            known_lists: Vec::new(),
            answers: BTreeMap::new(),
            declined: BTreeSet::new(),
            gathered: Vec::new(),
            item_origins: Vec::new(),
            maps: BTreeMap::new(),
            plan,
            tasks,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The workspace that the plan's runs belong to.
    pub fn workspace(&self) -> Option<&Arc<str>> {
        self.workspace.as_ref()
    }

    /// The plan's status.
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

    /// The number of owners that died in a row and did nothing for the run but take it up.
    pub fn deaths(&self) -> u16 {
        self.deaths
    }

    /// Tasks in flight when a suspended run was taken out of execution; empty where it is not suspended.
    pub fn suspended_tasks(&self) -> Vec<TaskIndex> {
        if self.status == PlanStatus::Suspended { self.open_attempts() } else { Vec::new() }
    }

    /// The epoch of the last owner that the journal names.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// A task's status.
    pub fn task_status(&self, task: TaskIndex) -> TaskStatus {
        self.tasks[task.at()].status
    }

    /// A completed task's result.
    pub fn output(&self, task: TaskIndex) -> Option<&TaskOutput> {
        self.tasks[task.at()].output.as_ref()
    }

    /// The reason for which a task failed last.
    pub fn error(&self, task: TaskIndex) -> Option<&TaskError> {
        self.tasks[task.at()].error.as_deref()
    }

    /// The last attempt begun; 0 before the first.
    pub fn attempt(&self, task: TaskIndex) -> Attempt {
        self.tasks[task.at()].attempt
    }

    /// The time at which the attempt in flight times out.
    pub fn not_after(&self, task: TaskIndex) -> Timestamp {
        self.tasks[task.at()].not_after
    }

    /// The number of task indices: the plan's tasks and all items of fan-outs.
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// Attempts in flight.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Tasks that have not ended.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The amounts that the run has used so far, as its executors reported them.
    pub fn spent(&self) -> Usage {
        self.used
    }

    /// Attempts whose tokens were counted here, because their executor reported none that can be right.
    pub fn counted_attempts(&self) -> u32 {
        self.counted_attempts
    }

    /// The amounts that attempts in flight have reserved of the plan's budget.
    pub fn reserved(&self) -> Amounts {
        self.account.reserved
    }

    /// The amounts that count as used: what was reported, and all that was reserved by attempts of
    /// which nobody knows what they used.
    pub fn charged(&self) -> Amounts {
        self.account.spent
    }

    /// The amounts that the plan may use, with what approvals added.
    pub fn allowed(&self) -> Amounts {
        self.account.allowed()
    }

    /// The reason for which the run as a whole ended badly, where that is not a task's failure.
    pub fn why(&self) -> Option<&TaskError> {
        self.why.as_deref()
    }

    /// True if an executor works on a task.
    pub fn is_in_flight(&self, task: TaskIndex) -> bool {
        self.tasks[task.at()].phase == TaskPhase::InFlight
    }

    /// True if the last attempt of a task may be made again under the same number.
    pub fn may_be_repeated(&self, task: TaskIndex) -> bool {
        self.tasks[task.at()].again || self.gates.contains_key(&Gate::Recovery(task))
    }

    /// True if a task waits for a person.
    pub fn is_at_gate(&self, task: TaskIndex) -> bool {
        self.tasks[task.at()].phase == TaskPhase::Gate
    }

    /// The deadline of the present run.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// True if tasks could start if the process had room for them.
    pub fn wants_room(&self) -> bool {
        let some_ready = !self.ready.is_empty() || !self.queues.is_empty();
        let may = self.may_dispatch() && !self.lacks_budget;
        may && some_ready && self.running < self.parallelism()
    }

    /// True if what is ready waits for an agent to be free, not for the process.
    pub fn lacks_agents(&self) -> bool {
        self.lacks_agents && self.wants_room()
    }

    /// The agents that have attempts of this run, with how many.
    pub fn agent_loads(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        let loads = self.agents.iter().zip(self.agent_loads.iter().copied());
        loads.filter(|(_, load)| *load > 0)
    }

    /// The agent of a task's last attempt.
    pub fn agent(&self, task: TaskIndex) -> &Arc<str> {
        &self.agents[usize::from(self.tasks[task.at()].agent)]
    }

    /// The next time that [`RunCommand::Wake`](crate::command::RunCommand::Wake) has something to do.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse(timer)| timer.at)
    }

    /// True if two folds of a plan's journal came to the same state. What the state holds for speed
    /// alone (queues with entries that went stale) is not compared.
    pub fn agrees_with(&self, other: &Run) -> bool {
        let Run { tasks, status, partial, run, epoch, sequence, deadline, cancel, gates, .. } =
            self;
        *tasks == other.tasks
            && (*status, *partial, *run) == (other.status, other.partial, other.run)
            && (*epoch, *sequence, self.deaths) == (other.epoch, other.sequence, other.deaths)
            && (*deadline, *cancel) == (other.deadline, other.cancel)
            && *gates == other.gates
            && (self.left, self.running, self.mapping) == (other.left, other.running, other.mapping)
            && self.maps == other.maps
            && self.noticed == other.noticed
            && (&self.agents, &self.agent_loads) == (&other.agents, &other.agent_loads)
            && self.account == other.account
            && self.reservations == other.reservations
            && self.decidable == other.decidable
            && self.expandable == other.expandable
            && self.output_bytes == other.output_bytes
    }

    fn parallelism(&self) -> u32 {
        self.plan.document().parallelism()
    }

    fn is_going_on(&self) -> bool {
        self.status == PlanStatus::Executing && self.cancel.is_none()
    }

    fn may_dispatch(&self) -> bool {
        let asks = self.gates.contains_key(&Gate::Budget);
        self.is_going_on() && !asks && self.account.overdraft().is_none()
    }

    fn join(&self, task: TaskIndex) -> Join {
        self.plan.task(task).join
    }

    /// The plan's description of a task of the run.
    pub fn spec(&self, task: TaskIndex) -> &Task {
        self.plan.task(self.origin(task))
    }
}

impl TaskState {
    fn fresh(waiting: u32, attempt: Attempt) -> TaskState {
        TaskState {
            status: TaskStatus::Pending,
            phase: TaskPhase::Idle,
            cleared: false,
            again: false,
            attempt,
            failures: 0,
            needs: DependencyCounts { waiting, ..DependencyCounts::default() },
            not_before: None,
            not_after: Timestamp(0),
            agent: 0,
            cancelling: false,
            output: None,
            error: None,
        }
    }
}

#[cfg(test)]
mod tests;
