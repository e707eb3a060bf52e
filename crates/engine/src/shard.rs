//! The shard: owns many runs, synchronously and without I/O.
//!
//! ```text
//! inputs ──▶ handle ──▶ inbox of each run
//!                          │ poll(now)
//!                          ▼
//!            Turn { append, actions, replies, reload, … }
//!                          │ the driver appends, then says how it went
//!                          ▼
//!                       appended ──▶ the next poll gives the actions that were waiting for it
//! ```
//!
//! Between the decision and the durable append of a run, no action of it leaves the shard, no
//! reply is given and no further input of it is decided: inputs queue and are decided together in
//! the next turn. The driver (tokio) and the simulation drive this same type.

mod slot;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use l05_core::Error;
use l05_core::graph::EdgeIndex;
use l05_core::id::{Attempt, Epoch, PlanId, TaskIndex};
use l05_core::plan::{Plan, PlanStatus};
use l05_core::run::Run;
use l05_core::run::command::Command;
use l05_core::run::event::{Output, TaskError};
use l05_core::run::record::{Actor, Blob, Record};
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;

use crate::port::AppendResult;
use slot::{Slot, State};

/// Names a caller that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// An answer to a command, for whoever holds the ticket.
pub type Reply = (Ticket, Result<(), Error>);

/// What the shard is told.
#[derive(Debug)]
pub enum Input {
    /// A run whose journal the driver has folded. Also the answer to [`Turn::reload`].
    Open {
        /// The folded state.
        run: Box<Run>,
        /// The epoch under which this process owns it.
        epoch: Epoch,
    },
    /// Something for a run.
    Command(Queued),
    /// Drop a run from memory; its journal keeps it. Callers that wait get the error.
    Close {
        /// The plan.
        plan: PlanId,
        /// Why.
        error: Option<Error>,
    },
}

/// A command on its way to a run.
#[derive(Debug)]
pub struct Queued {
    /// The plan.
    pub plan: PlanId,
    /// The command.
    pub command: Command,
    /// Who sends it.
    pub actor: Actor,
    /// A large output that comes with a report.
    pub blob: Option<Blob>,
    /// Who waits for the answer.
    pub ticket: Option<Ticket>,
}

/// What the driver does next.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be appended as one batch, at most one record per plan.
    pub append: Vec<Arc<Record>>,
    /// To be carried out; all of it is durable.
    pub actions: Vec<Action>,
    /// Answers to commands; what they acknowledge is durable.
    pub replies: Vec<Reply>,
    /// Runs to be folded from the journal again and given back with [`Input::Open`].
    pub reload: Vec<PlanId>,
    /// When to poll again even if nothing arrives.
    pub wake_at: Option<Timestamp>,
}

/// An effect with what it takes to carry it out.
#[derive(Debug)]
pub enum Action {
    /// Start an attempt.
    Start(Assignment),
    /// Evaluate conditions.
    Resolve(Question),
    /// Tell an executor to stop.
    Stop {
        /// The plan.
        plan: PlanId,
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
    },
    /// Tell all executors of a plan to stop: another process owns it now.
    StopAll(PlanId),
    /// The run ended.
    Finished {
        /// The plan.
        plan: PlanId,
        /// How.
        status: PlanStatus,
    },
}

/// An attempt to start.
#[derive(Debug)]
pub struct Assignment {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The task.
    pub task: TaskIndex,
    /// The attempt.
    pub attempt: Attempt,
    /// When it times out.
    pub not_after: Timestamp,
    /// What its dependencies gave.
    pub needs: Vec<Produced>,
}

/// Conditions to evaluate.
#[derive(Debug)]
pub struct Question {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The task they lead to.
    pub task: TaskIndex,
    /// The conditional dependencies, each with what its producer gave.
    pub edges: Vec<(EdgeIndex, Produced)>,
}

/// How a dependency ended.
#[derive(Debug, Clone)]
pub struct Produced {
    /// The task.
    pub task: TaskIndex,
    /// Its end.
    pub status: TaskStatus,
    /// What it gave.
    pub output: Option<Output>,
    /// Why it failed.
    pub error: Option<TaskError>,
}

/// The most records of one batch: a commit stays in the order of 10 ms.
const BATCH_RECORDS_MAX: usize = 4_096;

/// Many runs, one owner.
pub struct Shard {
    slots: HashMap<PlanId, Slot>,
    /// Runs with inputs to decide, each once.
    touched: VecDeque<PlanId>,
    wakes: BinaryHeap<Reverse<(Timestamp, PlanId)>>,
    /// Runs that have tasks ready and found no room, first come first served.
    starved: VecDeque<PlanId>,
    in_flight: u32,
    in_flight_max: u32,
    /// Records of the batch that is being appended, in its order.
    appending: Vec<PlanId>,
    turn: Turn,
}

impl Shard {
    /// A shard that keeps at most `in_flight_max` attempts running over all plans.
    pub fn new(in_flight_max: u32) -> Shard {
        Shard {
            slots: HashMap::new(),
            touched: VecDeque::new(),
            wakes: BinaryHeap::new(),
            starved: VecDeque::new(),
            in_flight: 0,
            in_flight_max,
            appending: Vec::new(),
            turn: Turn::default(),
        }
    }

    /// A run's state as of the last durable event; `None` while an append is on its way.
    pub fn durable(&self, plan: PlanId) -> Option<&Run> {
        self.slots.get(&plan).and_then(Slot::durable)
    }

    /// Whether the shard owns this run.
    pub fn owns(&self, plan: PlanId) -> bool {
        self.slots.contains_key(&plan)
    }

    /// Nothing new starts from here on; what is in flight may end.
    pub fn drain(&mut self) {
        self.in_flight_max = 0;
    }

    /// How many runs it owns.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it owns none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes an input. Nothing is decided before [`Shard::poll`].
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Open { run, epoch } => self.open(*run, epoch),
            Input::Command(queued) => self.queue(queued),
            Input::Close { plan, error } => self.close(plan, error.as_ref()),
        }
    }

    fn open(&mut self, run: Run, epoch: Epoch) {
        let plan = run.plan().id();
        match self.slots.get_mut(&plan) {
            Some(slot) if slot.is_lost() => {
                self.in_flight += run.running();
                let outstanding = slot.reopen(run, epoch);
                self.turn.actions.extend(outstanding);
                self.touch(plan);
            }
            // Its state in memory is at least as new.
            Some(slot) => slot.raise_epoch(epoch),
            None => {
                self.in_flight += run.running();
                // Not touched: timers of the past must not be decided before the command that
                // says what this process wants with the run.
                self.slots.insert(plan, Slot::new(run, epoch));
            }
        }
    }

    fn queue(&mut self, queued: Queued) {
        let plan = queued.plan;
        match self.slots.get_mut(&plan) {
            Some(slot) => {
                slot.inbox.push_back(queued);
                self.touch(plan);
            }
            None => {
                if let Some(ticket) = queued.ticket {
                    self.turn.replies.push((ticket, Err(not_here(plan))));
                }
            }
        }
    }

    fn close(&mut self, plan: PlanId, error: Option<&Error>) {
        let Some(slot) = self.slots.remove(&plan) else { return };
        self.in_flight -= slot.in_flight();
        for ticket in slot.tickets() {
            let error = error.cloned().unwrap_or_else(|| not_here(plan));
            self.turn.replies.push((ticket, Err(error)));
        }
    }

    fn touch(&mut self, plan: PlanId) {
        if let Some(slot) = self.slots.get_mut(&plan)
            && !std::mem::replace(&mut slot.touched, true)
        {
            self.touched.push_back(plan);
        }
    }

    /// Decides what is queued and says what to do. While a batch is being appended no second one
    /// is given; inputs wait for [`Shard::appended`].
    pub fn poll(&mut self, now: Timestamp) -> Turn {
        self.wake_due(now);
        self.feed_starved();
        if self.appending.is_empty() {
            let mut again = Vec::new();
            while let Some(plan) = self.touched.pop_front() {
                if self.turn.append.len() == BATCH_RECORDS_MAX {
                    again.push(plan);
                    continue;
                }
                self.decide(plan, now);
            }
            self.touched.extend(again);
            self.appending = self.turn.append.iter().map(|record| record.plan).collect();
        }
        self.turn.wake_at = self.wakes.peek().map(|Reverse((at, _))| *at);
        std::mem::take(&mut self.turn)
    }

    fn wake_due(&mut self, now: Timestamp) {
        while let Some(Reverse((at, plan))) = self.wakes.peek().copied() {
            if at > now {
                break;
            }
            self.wakes.pop();
            if let Some(slot) = self.slots.get_mut(&plan)
                && slot.wake_at == Some(at)
            {
                slot.wake_at = None;
                slot.due = true;
                self.touch(plan);
            }
        }
    }

    fn feed_starved(&mut self) {
        let room = self.in_flight_max.saturating_sub(self.in_flight) as usize;
        for _ in 0..room.min(self.starved.len()) {
            let Some(plan) = self.starved.pop_front() else { break };
            if let Some(slot) = self.slots.get_mut(&plan) {
                slot.starved = false;
                slot.due = true;
                self.touch(plan);
            }
        }
    }

    fn decide(&mut self, plan: PlanId, now: Timestamp) {
        let Some(slot) = self.slots.get_mut(&plan) else { return };
        slot.touched = false;
        let before = slot.in_flight();
        let running_max = self.in_flight_max.saturating_sub(self.in_flight - before);
        let Some(decided) = slot.decide(now, running_max) else { return };
        self.in_flight = self.in_flight - before + slot.in_flight();
        self.turn.replies.extend(decided.replies);
        self.turn.actions.extend(decided.actions);
        self.turn.append.extend(decided.record);
        let wake_at = slot.wake_at_changed();
        let starves = slot.wants_room() && !std::mem::replace(&mut slot.starved, true);
        if let Some(at) = wake_at {
            self.wakes.push(Reverse((at, plan)));
        }
        if starves {
            self.starved.push_back(plan);
        }
    }

    /// How the append of the last batch went, record by record in its order; `None`: nothing is
    /// known, and the runs are folded from the journal again with their inputs kept.
    pub fn appended(&mut self, results: Option<&[AppendResult]>) {
        let batch = std::mem::take(&mut self.appending);
        for (i, plan) in batch.into_iter().enumerate() {
            let Some(slot) = self.slots.get_mut(&plan) else { continue };
            match results.and_then(|results| results.get(i)) {
                Some(AppendResult::Appended) => {
                    let (actions, replies) = slot.acknowledge();
                    self.turn.actions.extend(actions);
                    self.turn.replies.extend(replies);
                    if !slot.inbox.is_empty() {
                        self.touch(plan);
                    }
                }
                Some(AppendResult::Refused(_)) => {
                    self.close(plan, None);
                    self.turn.actions.push(Action::StopAll(plan));
                }
                None => {
                    self.in_flight -= slot.in_flight();
                    slot.lose();
                    self.turn.reload.push(plan);
                }
            }
        }
    }
}

fn not_here(plan: PlanId) -> Error {
    let message = format!("plan {plan} is not driven by this process any more");
    Error::new(l05_core::ErrorCode::VERSION_CONFLICT, message)
}

impl State {
    fn is_idle(&self) -> bool {
        matches!(self, State::Idle)
    }
}
