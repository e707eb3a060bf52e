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

mod fair_queue;
mod message;
mod owned_run;
mod roster;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use l05_core::Error;
use l05_core::agent::Agent;
use l05_core::id::{Epoch, PlanId, TaskIndex};
use l05_core::time::Timestamp;
use l05_run::Run;
use l05_run::command::RunCommand;

use crate::port::{AppendRefusal, AppendResult};
use fair_queue::FairQueue;
pub use message::{
    ConditionRequest, HEARTBEAT_MILLIS_DEFAULT, ListRequest, ProducedOutput, QueuedCommand, Reply,
    ReplyTicket, ShardAction, ShardInput, ShardRules, ShardTurn, TaskLaunch,
};
use owned_run::OwnedRun;
pub use roster::AgentInput;
use roster::AgentRoster;

/// The most records of one batch: a commit stays in the order of 10 ms.
const BATCH_RECORDS_MAX: usize = 4_096;
/// The most inputs of one run that a turn decides while others have attempts in flight or want some,
/// so that a small run need not wait long for its turn beside a large one. About 1 us each.
const INPUTS_BESIDE_OTHERS: usize = 32;
/// One run leaves this part of the room to others that may come: its attempts may take hours.
const KEPT_FREE: u32 = 10;
/// The state of a run of more tasks is left to the driver to drop: about 0.2 us a task.
const DROPPED_AT_ONCE_MAX: usize = 1_000;
/// The size at which a batch is full, in bytes of large outputs: what a store takes at once has
/// limits. One output more may come on top, of 64 MiB at most.
const BATCH_BYTES_MAX: usize = 32 << 20;

/// Many runs, one owner.
pub struct Shard {
    slots: HashMap<PlanId, OwnedRun>,
    /// Runs with inputs to decide, each once.
    touched: VecDeque<PlanId>,
    wakes: BinaryHeap<Reverse<(Timestamp, PlanId)>>,
    starved: FairQueue,
    in_flight: u32,
    rules: ShardRules,
    roster: AgentRoster,
    /// Runs that have tasks ready and found no agent free.
    lacking: BTreeSet<PlanId>,
    /// The time at which the runs are looked at next.
    observe_at: Option<Timestamp>,
    /// Records of the batch that is being appended, in its order.
    appending: Vec<PlanId>,
    turn: ShardTurn,
}

impl Shard {
    /// A shard that keeps to `rules`.
    pub fn new(rules: ShardRules) -> Shard {
        let heartbeat = match rules.heartbeat_millis {
            0 => HEARTBEAT_MILLIS_DEFAULT,
            millis => millis,
        };
        Shard {
            roster: AgentRoster::new(rules.routing, heartbeat, rules.local_agent.as_ref()),
            lacking: BTreeSet::new(),
            slots: HashMap::new(),
            touched: VecDeque::new(),
            wakes: BinaryHeap::new(),
            starved: FairQueue::default(),
            observe_at: None,
            in_flight: 0,
            rules,
            appending: Vec::new(),
            turn: ShardTurn::default(),
        }
    }

    /// A run's state as of the last durable event; `None` while an append is on its way.
    pub fn durable(&self, plan: PlanId) -> Option<&Run> {
        self.slots.get(&plan).and_then(OwnedRun::durable)
    }

    /// The task of a run that is called so.
    pub fn task(&self, plan: PlanId, name: &str) -> Option<TaskIndex> {
        self.slots.get(&plan)?.find(name)
    }

    /// True if the shard owns this run.
    pub fn owns(&self, plan: PlanId) -> bool {
        self.slots.contains_key(&plan)
    }

    /// Nothing new starts from here on; what is in flight may end.
    pub fn drain(&mut self) {
        self.rules.in_flight_max = 0;
    }

    /// The number of runs it owns.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True if it owns none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes an input. Nothing is decided before [`Shard::poll`].
    pub fn handle(&mut self, input: ShardInput) {
        match input {
            ShardInput::Open { run, epoch } => self.open(*run, epoch),
            ShardInput::Command(queued) => self.queue(queued),
            ShardInput::Tools { idempotent, local } => {
                self.rules.idempotent_tools = idempotent;
                self.roster.put_local(*local);
            }
            ShardInput::Agent { input, at } => {
                let lost = self.roster.tell(input, at);
                if self.roster.begins_to_matter() {
                    let loads: Vec<_> =
                        self.slots.values().flat_map(OwnedRun::agent_loads).collect();
                    self.roster.recount(&loads);
                }
                self.lose_agents(lost.as_slice());
            }
            ShardInput::Close { plan, error } => self.close(plan, error.as_ref()),
        }
    }

    /// All agents, with how they are now.
    pub fn agents(&self) -> Vec<Agent> {
        self.roster.agents()
    }

    /// True if an agent came, went or changed since this was last asked.
    pub fn agents_changed(&mut self) -> bool {
        self.roster.take_changed()
    }

    /// Tells the runs of agents that are gone.
    fn lose_agents(&mut self, lost: &[Arc<str>]) {
        for agent in lost {
            let has_work = |slot: &OwnedRun| slot.agent_loads().iter().any(|(id, _)| id == agent);
            let plans = self.slots.iter().filter(|(_, slot)| has_work(slot) || slot.is_lost());
            let mut plans: Vec<PlanId> = plans.map(|(plan, _)| *plan).collect();
            plans.sort_unstable();
            for plan in plans {
                let command = RunCommand::AgentLost { agent: agent.clone() };
                self.queue(QueuedCommand::from_system(plan, command, "agents"));
            }
        }
    }

    fn open(&mut self, run: Run, epoch: Epoch) {
        let plan = run.plan().id();
        match self.slots.get_mut(&plan) {
            Some(slot) if slot.is_lost() => {
                self.in_flight += run.running();
                let before = slot.agent_loads();
                let outstanding = slot.reopen(run, epoch);
                self.roster.set_aside(&before);
                self.roster.count(&before, &slot.agent_loads());
                self.turn.actions.extend(outstanding);
                self.touch(plan);
            }
            // Its state in memory is at least as new.
            Some(slot) => slot.raise_epoch(epoch),
            None => {
                self.in_flight += run.running();
                // Not touched: timers of the past must not be decided before the command that
                // says what this process wants with the run.
                let slot = OwnedRun::new(run, epoch);
                if self.roster.crew().is_some() {
                    self.roster.count(&[], &slot.agent_loads());
                }
                self.slots.insert(plan, slot);
            }
        }
    }

    fn queue(&mut self, queued: QueuedCommand) {
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
        if self.roster.crew().is_some() {
            let loads = slot.agent_loads();
            self.roster.set_aside(&loads);
            // They have come free for others.
            self.roster.count(&loads, &[]);
        }
        self.lacking.remove(&plan);
        self.starved.remove(plan);
        for ticket in slot.tickets() {
            let error = error.cloned().unwrap_or_else(|| not_here(plan));
            self.turn.replies.push((ticket, Err(error)));
        }
        if slot.task_count() > DROPPED_AT_ONCE_MAX {
            self.turn.left_behind.push(Box::new(slot));
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
    pub fn poll(&mut self, now: Timestamp) -> ShardTurn {
        self.wake_due(now);
        let silent = self.roster.expire(now);
        self.lose_agents(&silent);
        self.feed_lacking();
        self.observe(now);
        if self.appending.is_empty() {
            self.feed_starved();
            let (mut again, mut bytes) = (Vec::new(), 0);
            while let Some(plan) = self.touched.pop_front() {
                let full = self.turn.append.len() == BATCH_RECORDS_MAX || bytes >= BATCH_BYTES_MAX;
                if full {
                    again.push(plan);
                    continue;
                }
                let before = self.turn.append.len();
                self.decide(plan, now);
                let added = self.turn.append[before..].iter().flat_map(|record| &record.blobs);
                bytes += added.map(|blob| blob.json.len()).sum::<usize>();
            }
            self.touched.extend(again);
            self.appending = self.turn.append.iter().map(|record| record.plan).collect();
        }
        let wakes = self.wakes.peek().map(|Reverse((at, _))| *at);
        let others = self.roster.next_expiry().into_iter().chain(self.observe_at);
        self.turn.wake_at = wakes.into_iter().chain(others).min();
        std::mem::take(&mut self.turn)
    }

    /// Looks after the runs now and then, all of them at one time.
    fn observe(&mut self, now: Timestamp) {
        if self.rules.observe_millis == 0 || self.slots.is_empty() {
            self.observe_at = None;
            return;
        }
        let next = now.plus_millis(self.rules.observe_millis);
        if *self.observe_at.get_or_insert(next) > now {
            return;
        }
        self.observe_at = Some(next);
        let noticed = self.slots.iter().map(|(plan, slot)| (*plan, slot.observe(now)));
        let mut noticed: Vec<_> = noticed.filter(|(_, notices)| !notices.is_empty()).collect();
        noticed.sort_unstable_by_key(|(plan, _)| *plan);
        for (plan, notices) in noticed {
            let command = RunCommand::Notice { notices };
            self.queue(QueuedCommand::from_system(plan, command, "monitor"));
        }
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

    /// Feeds those that have waited longest for room before whoever has just given it back.
    fn feed_starved(&mut self) {
        let first = self.starved.first(self.rules.in_flight_max, self.in_flight);
        for plan in first.into_iter().rev() {
            if let Some(slot) = self.slots.get_mut(&plan) {
                slot.due = true;
                slot.touched = true;
                self.touched.push_front(plan);
            }
        }
    }

    /// Somebody came free: runs that look for an agent look again.
    fn feed_lacking(&mut self) {
        if !self.roster.take_freed() {
            return;
        }
        for plan in std::mem::take(&mut self.lacking) {
            if let Some(slot) = self.slots.get_mut(&plan) {
                slot.due = true;
                self.touch(plan);
            }
        }
    }

    /// The most that one run alone may have in flight.
    fn ceiling(&self) -> u32 {
        self.rules.in_flight_max - self.rules.in_flight_max / KEPT_FREE
    }

    /// The most attempts that a run may have in flight: what room there is, but while others wait
    /// for room no more than its share by priority.
    fn running_max(&self, slot: &OwnedRun) -> u32 {
        let others = self.in_flight - slot.in_flight();
        let room = self.rules.in_flight_max.saturating_sub(others);
        let share = self.starved.share(self.rules.in_flight_max, others, slot.priority());
        room.min(share).min(self.ceiling())
    }

    fn decide(&mut self, plan: PlanId, now: Timestamp) {
        let Some(slot) = self.slots.get_mut(&plan) else { return };
        slot.touched = false;
        if !slot.is_idle() {
            return;
        }
        self.starved.remove(plan);
        let Some(slot) = self.slots.get(&plan) else { return };
        let (before, running_max) = (slot.in_flight(), self.running_max(slot));
        let is_alone = self.in_flight == before && self.starved.is_empty();
        let inputs_max = if is_alone { usize::MAX } else { INPUTS_BESIDE_OTHERS };
        let ceiling = self.ceiling();
        let Some(slot) = self.slots.get_mut(&plan) else { return };
        let loads = self.roster.crew().is_some().then(|| slot.agent_loads());
        if let Some(loads) = &loads {
            self.roster.set_aside(loads);
        }
        let decided = slot.decide(now, self.rules.terms(running_max, &self.roster), inputs_max);
        if let Some(loads) = loads {
            if decided.record.is_some() {
                slot.durable_loads.clone_from(&loads);
            }
            self.roster.count(&loads, &slot.agent_loads());
        }
        self.in_flight = self.in_flight - before + slot.in_flight();
        // With a record it is touched when that is durable.
        let goes_on = decided.record.is_none() && !slot.inbox.is_empty();
        self.turn.replies.extend(decided.replies);
        self.turn.actions.extend(decided.actions);
        self.turn.append.extend(decided.record);
        if let Some(at) = slot.wake_at_changed() {
            self.wakes.push(Reverse((at, plan)));
        }
        if slot.lacks_agents() {
            self.lacking.insert(plan);
        } else if slot.wants_room() && slot.in_flight() < ceiling {
            self.starved.insert(plan, slot.priority(), slot.in_flight());
        }
        if goes_on {
            self.touch(plan);
        }
    }

    /// Takes the outcome of the last batch's append, record by record in its order; `None`: nothing
    /// is known, and the runs are folded from the journal again with their inputs kept.
    pub fn appended(&mut self, results: Option<&[AppendResult]>) {
        let batch = std::mem::take(&mut self.appending);
        for (i, plan) in batch.into_iter().enumerate() {
            let Some(slot) = self.slots.get_mut(&plan) else { continue };
            match results.and_then(|results| results.get(i)) {
                Some(AppendResult::Appended) => {
                    let before = self.roster.crew().is_some().then(|| slot.agent_loads());
                    let (actions, replies) = slot.acknowledge();
                    if let Some(before) = before {
                        self.roster.set_aside(&before);
                        self.roster.count(&before, &slot.agent_loads());
                    }
                    self.turn.actions.extend(actions);
                    self.turn.replies.extend(replies);
                    if !slot.inbox.is_empty() {
                        self.touch(plan);
                    }
                }
                Some(AppendResult::Refused(
                    AppendRefusal::StaleEpoch | AppendRefusal::UnknownPlan,
                )) => {
                    self.close(plan, None);
                    self.turn.actions.push(ShardAction::StopAll(plan));
                }
                // An append of which nothing was known became durable after its plan was read again.
                refused @ (Some(AppendResult::Refused(AppendRefusal::WrongSequence)) | None) => {
                    self.in_flight -= slot.in_flight();
                    slot.lose();
                    // It asks again when it is back.
                    self.starved.remove(plan);
                    if refused.is_some() && slot.disagree() {
                        self.turn.broken.push(plan);
                    } else {
                        self.turn.reload.push(plan);
                    }
                }
            }
        }
    }
}

fn not_here(plan: PlanId) -> Error {
    let message = format!("plan {plan} is not driven by this process any more");
    Error::new(l05_core::ErrorCode::VersionConflict, message)
}
