//! The world: a journal, processes, executors, people, and the scheduler that moves one of them at
//! a time.

mod checks;
mod people;

use std::collections::BTreeMap;
use std::sync::Arc;

use l05_core::ErrorCode;
use l05_core::graph::EdgeIndex;
use l05_core::id::{Attempt, Epoch, PlanId, Sequence, TaskIndex};
use l05_core::plan::{Plan, PlanStatus};
use l05_core::time::Timestamp;
use l05_engine::port::{AppendRefusal, AppendResult, Launch};
use l05_engine::shard::{
    AgentInput, QueuedCommand, ReplyTicket, ShardAction, ShardInput, ShardTurn, TaskLaunch,
};
use l05_run::Run;
use l05_run::amounts::Usage;
use l05_run::command::{AttemptOutcome, RerunScope, RunCommand};
use l05_run::event::{Actor, CancelScope, ConditionVerdict, Gate, TaskError, TaskOutput};
use l05_run::record::Record;
use serde_json::json;

use crate::chance::Chance;
use crate::oracle::Oracle;
use crate::plans::any_plan;
use crate::process::{AGENTS, Job, Process, Work};

/// Steps with faults, before the world calms down and everything has to come to its end.
const WILD_STEPS: usize = 250;
/// Steps within which a calm world ends every plan.
const CALM_STEPS: usize = 20_000;

/// What a caller was promised when the answer comes.
#[derive(Clone, Copy, Debug)]
enum Promise {
    Started(u16),
    Cancelled,
    /// With how many answers the journal had before.
    Answered(usize),
}

struct Stored {
    plan: Arc<Plan>,
    records: Vec<Arc<Record>>,
    epoch: u64,
    owner: Option<usize>,
    /// The last owner did not give it up.
    died: bool,
    oracle: Oracle,
    retries_left: u32,
}

pub(crate) struct World {
    chance: Chance,
    now: Timestamp,
    journal: BTreeMap<PlanId, Stored>,
    processes: Vec<Process>,
    room: u32,
    /// Whether processes have agents beside them.
    agents: bool,
    /// Whether the first task of each plan kills the process that begins it, as long as the world is wild.
    poison: bool,
    promises: BTreeMap<u64, (PlanId, Promise)>,
    tickets: u64,
    /// Starts of executors by plan, task and attempt: a life in short.
    story: Vec<(PlanId, u32, u16, usize)>,
    calm: bool,
    /// A seed that runs alone tells its journal.
    aloud: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut chance = Chance::new(seed);
        let count = 1 + chance.below(3);
        let journal = (0..count).map(|number| {
            let plan = any_plan(&mut chance, number);
            let oracle = Oracle::new(plan.clone());
            let stored = Stored {
                plan,
                records: Vec::new(),
                epoch: 0,
                owner: None,
                died: false,
                oracle,
                retries_left: 1,
            };
            (stored.plan.id(), stored)
        });
        let journal = journal.collect();
        let room = 1 + chance.below(4) as u32;
        let agents = chance.one_in(2);
        let poison = chance.one_in(4);
        let now = Timestamp(1_000);
        let process = || if agents { Process::with_agents(room, now) } else { Process::new(room) };
        World {
            chance,
            now,
            journal,
            processes: vec![process(), process()],
            room,
            agents,
            poison,
            promises: BTreeMap::new(),
            tickets: 0,
            story: Vec::new(),
            calm: false,
            aloud: std::env::var_os("L05_TEST_SEED").is_some(),
        }
    }

    /// Plays the whole life; panics where an invariant breaks.
    pub(crate) fn play(mut self) -> Vec<(PlanId, u32, u16, usize)> {
        for _ in 0..WILD_STEPS {
            self.wild_step();
        }
        self.calm = true;
        for _ in 0..CALM_STEPS {
            if self.journal.values().all(|stored| stored.oracle.is_over()) && self.is_quiet() {
                self.check_the_end();
                return self.story;
            }
            self.calm_step();
        }
        panic!("a plan does not come to its end");
    }

    fn wild_step(&mut self) {
        let who = self.chance.below(self.processes.len());
        match self.chance.below(100) {
            0..=29 => self.poll(who),
            30..=54 => self.finish_append(who),
            55..=69 => self.do_job(who),
            70..=81 => self.work(),
            82..=86 => self.claim_any(who),
            87..=90 => self.pass_time(),
            91..=92 => self.answer_any(),
            93 => self.cancel_any(),
            94 => self.stray_report(who),
            95 if self.agents => self.agent_event(who),
            95 => self.stray_report(who),
            96 => self.steal_any(who),
            97 => self.crash(who),
            98 if self.agents => self.agent_event(who),
            98 => self.crash(who),
            _ => self.compare(who),
        }
    }

    /// An agent comes, is heard of, drains or goes.
    fn agent_event(&mut self, who: usize) {
        let id = (*self.chance.pick(&AGENTS)).to_owned();
        let (now, process) = (self.now, &mut self.processes[who]);
        match self.chance.below(6) {
            0 => process.tell(AgentInput::Drained(id), now),
            1 | 2 => process.tell(AgentInput::Left(id), now),
            3 => process.tell(AgentInput::Heard { agent_id: id, load: None }, now),
            _ => process.register(&id, now),
        }
    }

    /// A calm world hears of all agents before it waits for anything.
    fn hear_of_all(&mut self) {
        for process in self.processes.iter_mut().filter(|_| self.agents) {
            AGENTS.iter().for_each(|id| process.register(id, self.now));
        }
    }

    /// Everything that can be done is done before time passes.
    fn calm_step(&mut self) {
        self.hear_of_all();
        for who in 0..self.processes.len() {
            self.poll(who);
            while self.processes[who].batch.is_some() || !self.processes[who].jobs.is_empty() {
                self.finish_append(who);
                self.do_job(who);
                self.poll(who);
            }
            self.compare(who);
            for stored in self.journal.values().filter(|stored| stored.owner == Some(who)) {
                stored.oracle.check_timers(self.now);
            }
        }
        let before: usize = self.journal.values().map(|stored| stored.records.len()).sum();
        let who = self.chance.below(self.processes.len());
        self.claim_any(who);
        self.work();
        self.answer_any();
        let after: usize = self.journal.values().map(|stored| stored.records.len()).sum();
        if before == after {
            self.pass_time();
        }
    }

    fn is_quiet(&self) -> bool {
        self.processes.iter().all(|process| process.batch.is_none() && process.jobs.is_empty())
    }

    // A process at work.

    fn poll(&mut self, who: usize) {
        let turn = self.processes[who].shard.poll(self.now);
        let ShardTurn { append, actions, replies, reload, broken, wake_at, left_behind: _ } = turn;
        assert!(broken.is_empty(), "the simulated journal does not contradict itself");
        for (ticket, answer) in replies {
            if let Some((plan, promise)) = self.promises.remove(&ticket.0)
                && answer.is_ok()
            {
                self.check_promise(plan, promise);
            }
        }
        for action in actions {
            self.check_action(who, &action);
            self.processes[who].jobs.push_back(Job::Act(action));
        }
        let process = &mut self.processes[who];
        process.jobs.extend(reload.into_iter().map(Job::Reload));
        process.wake_at = wake_at;
        if !append.is_empty() {
            assert!(process.batch.is_none(), "a second batch while one is being appended");
            process.batch = Some(append);
        }
    }

    /// The journal answers, or fails: with all, some or nothing of the batch written.
    fn finish_append(&mut self, who: usize) {
        let Some(batch) = self.processes[who].batch.take() else { return };
        let fails = !self.calm && self.chance.one_in(12);
        let written = if fails { self.chance.below(batch.len() + 1) } else { batch.len() };
        let results: Vec<AppendResult> =
            batch.iter().take(written).map(|record| self.append(record)).collect();
        self.tell(|| {
            format!("process {who} appends, and {}", if fails { "cannot know" } else { "knows" })
        });
        let known = (!fails).then_some(&results[..]);
        self.processes[who].shard.appended(known);
    }

    #[expect(clippy::print_stderr, reason = "a seed that runs alone is there to be read")]
    fn tell(&self, what: impl FnOnce() -> String) {
        if self.aloud {
            eprintln!("{} {}", self.now.0, what());
        }
    }

    fn append(&mut self, record: &Arc<Record>) -> AppendResult {
        let stored = &self.journal[&record.plan];
        if record.epoch.0 != stored.epoch {
            return AppendResult::Refused(AppendRefusal::StaleEpoch);
        }
        let next = stored.records.last().map_or(1, |last| last.next().0);
        if record.first.0 != next {
            return AppendResult::Refused(AppendRefusal::WrongSequence);
        }
        self.tell(|| format!("{} {:?} {:?}", record.plan, record.epoch, record.events));
        let stored = self.journal.get_mut(&record.plan).unwrap();
        stored.records.push(record.clone());
        stored.oracle.record(record);
        checks::check_filing(record);
        self.check_agents();
        AppendResult::Appended
    }

    fn do_job(&mut self, who: usize) {
        let Some(job) = self.processes[who].jobs.pop_front() else { return };
        match job {
            Job::Reload(plan) => {
                if let Some(epoch) = self.processes[who].plans.get(&plan).copied() {
                    let run = self.fold(plan);
                    self.open(who, run, epoch);
                }
            }
            Job::Act(action) => self.act(who, action),
        }
    }

    fn act(&mut self, who: usize, action: ShardAction) {
        match action {
            ShardAction::Start(it) if self.poison && !self.calm && it.task == TaskIndex(0) => {
                self.crash(who);
            }
            ShardAction::Start(it) => self.start(who, &it),
            ShardAction::Resolve(question) => {
                let edges = question.edges.iter().map(|(edge, _)| (*edge, self.verdict()));
                let edges: Vec<(EdgeIndex, Result<ConditionVerdict, TaskError>)> = edges.collect();
                let command = RunCommand::Resolved { task: question.task, edges };
                self.send(who, question.plan.id(), command, None);
            }
            ShardAction::Expand(listing) => {
                let items = match self.chance.below(8) {
                    0 => Err(failure(ErrorCode::ReferenceUnresolved)),
                    n => {
                        let count = n as u32 % 4;
                        let list: Vec<u32> = (0..count).collect();
                        Ok((TaskOutput::Inline(Arc::new(json!(list))), count))
                    }
                };
                let command = RunCommand::Expanded { task: listing.task, items };
                self.send(who, listing.plan.id(), command, None);
            }
            ShardAction::Abandon { plan, task, attempt } => {
                let is_it = |w: &Work| (w.plan, w.task, w.attempt) == (plan, task, attempt);
                self.processes[who].works.retain(|work| !is_it(work));
            }
            ShardAction::Stop { plan, task, attempt } => {
                let works = &mut self.processes[who].works;
                let is_it = |w: &&mut Work| (w.plan, w.task, w.attempt) == (plan, task, attempt);
                works.iter_mut().filter(is_it).for_each(|work| work.told_to_stop = true);
            }
            ShardAction::StopAll(plan) => {
                self.processes[who].works.retain(|work| work.plan != plan);
                self.processes[who].lost.remove(&plan);
                self.let_go(who, plan);
            }
            // The driver lets go of a run that waits only when it is asked to.
            ShardAction::Waiting(_) => {}
            ShardAction::Finished { plan, .. } => {
                self.processes[who].shard.handle(ShardInput::Close { plan, error: None });
                self.let_go(who, plan);
            }
        }
    }

    fn let_go(&mut self, who: usize, plan: PlanId) {
        self.processes[who].plans.remove(&plan);
        let stored = self.journal.get_mut(&plan).unwrap();
        if stored.owner == Some(who) {
            stored.owner = None;
        }
    }

    fn verdict(&mut self) -> Result<ConditionVerdict, TaskError> {
        match self.chance.below(6) {
            0 => Err(failure(ErrorCode::DependencyInvalid)),
            1 => Ok(ConditionVerdict::Unsatisfied),
            _ => Ok(ConditionVerdict::Satisfied),
        }
    }

    /// An executor begins: the same work may not be going on anywhere.
    fn start(&mut self, who: usize, it: &TaskLaunch) {
        let (plan, task, attempt, launch) = (it.plan.id(), it.task, it.attempt, it.launch);
        if self.processes[who].lost.contains(&plan) {
            return;
        }
        self.tell(|| format!("process {who} starts {task:?} {attempt:?} of {plan}"));
        let others = self.processes.iter().flat_map(|process| &process.works);
        for other in others.filter(|work| (work.plan, work.task) == (plan, task)) {
            assert!(other.told_to_stop, "{task:?} runs twice at the same time");
            // Only a person has an attempt that took too long made again under its number.
            assert!(other.launch != launch, "{launch:?} of {task:?} was begun twice");
        }
        self.story.push((plan, task.0, attempt.0, who));
        let hangs = self.chance.one_in(10);
        let work = Work { plan, task, attempt, launch, told_to_stop: false, hangs };
        self.processes[who].works.push(work);
    }

    /// Some executor answers, or goes on hanging.
    fn work(&mut self) {
        let who = self.chance.below(self.processes.len());
        let count = self.processes[who].works.len();
        if count == 0 {
            return;
        }
        let at = self.chance.below(count);
        let Work { plan, task, attempt, launch, told_to_stop, hangs } =
            self.processes[who].works[at];
        if hangs && !told_to_stop {
            return;
        }
        self.processes[who].works.swap_remove(at);
        if told_to_stop && self.chance.one_in(4) {
            // It never says anything: it is given up when its grace is over.
            return;
        }
        let reserved = self.journal[&plan].oracle.in_flight.get(&task).map_or(0, |f| f.reserved);
        let usage = Usage {
            tokens: self.chance.below(reserved as usize + 1) as u64,
            cost_usd: 0.0,
            ..Usage::default()
        };
        let outcome = match self.chance.below(8) {
            _ if told_to_stop => AttemptOutcome::Stopped,
            0 | 1 => AttemptOutcome::Failed(failure(ErrorCode::TaskFailed)),
            2 => AttemptOutcome::Failed(failure(ErrorCode::InputMissing)),
            _ => AttemptOutcome::Completed(TaskOutput::Inline(Arc::new(json!(attempt.0)))),
        };
        let report = RunCommand::Report { task, attempt, outcome, usage: Some(usage) };
        if self.chance.one_in(6) {
            self.report(who, plan, report.clone(), launch);
        }
        self.report(who, plan, report, launch);
    }

    fn report(&mut self, who: usize, plan: PlanId, command: RunCommand, launch: Launch) {
        self.tell(|| format!("process {who} gets {command:?} for {plan}"));
        let queued = QueuedCommand::from_agent(plan, command, "world".into(), launch);
        self.processes[who].shard.handle(ShardInput::Command(queued));
    }

    /// A report that is late, wrong or contradicts an earlier one.
    fn stray_report(&mut self, who: usize) {
        let Some(plan) = self.any_plan_of(who) else { return };
        let stored = &self.journal[&plan];
        let task = TaskIndex(self.chance.below(stored.plan.graph().len() + 2) as u32);
        let last = stored.oracle.last_attempt.get(&task).map_or(0, |attempt| attempt.0);
        // One that came before the last, or one that never was.
        let attempt = Attempt(if last > 1 { last - 1 } else { 40 });
        let outcome = AttemptOutcome::Completed(TaskOutput::Inline(Arc::new(json!("stray"))));
        let usage = Usage { tokens: 1_000_000, cost_usd: 0.0, ..Usage::default() };
        self.send(
            who,
            plan,
            RunCommand::Report { task, attempt, outcome, usage: Some(usage) },
            None,
        );
    }

    // Owners.

    /// A process takes a plan that nobody owns, as `execute` and `retry` do.
    fn claim_any(&mut self, who: usize) {
        let free: Vec<PlanId> = self
            .journal
            .iter()
            .filter(|(_, stored)| {
                stored.owner.is_none() && (!stored.oracle.is_over() || stored.retries_left > 0)
            })
            .map(|(id, _)| *id)
            .collect();
        if !free.is_empty() {
            let plan = *self.chance.pick(&free);
            self.claim(who, plan);
        }
    }

    fn claim(&mut self, who: usize, plan: PlanId) {
        if self.processes[who].shard.owns(plan) || self.processes[who].lost.contains(&plan) {
            return;
        }
        let run = self.fold(plan);
        let stored = self.journal.get_mut(&plan).unwrap();
        let start = match run.status() {
            PlanStatus::Executing | PlanStatus::PendingApproval | PlanStatus::Suspended => None,
            PlanStatus::Validated | PlanStatus::Approved | PlanStatus::Draft => {
                Some(RerunScope::Fresh)
            }
            PlanStatus::Failed | PlanStatus::Cancelled if stored.retries_left > 0 => {
                stored.retries_left -= 1;
                Some(RerunScope::Failed)
            }
            PlanStatus::Failed | PlanStatus::Cancelled | PlanStatus::Completed => {
                stored.retries_left = 0;
                return;
            }
        };
        stored.epoch += 1;
        stored.owner = Some(who);
        let epoch = Epoch(stored.epoch);
        let after_death = std::mem::take(&mut stored.died);
        let promise = start.map(|_| Promise::Started(run.number() + 1));
        let command = match (start, run.status()) {
            (Some(from), _) => RunCommand::start(from, "test".into()),
            (None, PlanStatus::Suspended) => RunCommand::Resume { epoch, by: "test".into() },
            (None, _) => RunCommand::Adopt { epoch, after_death },
        };
        self.open(who, run, epoch);
        self.send(who, plan, command, promise);
    }

    /// A process that could not renew its lease stops its executors; then another takes over.
    fn steal_any(&mut self, thief: usize) {
        let victim = 1 - thief;
        let Some(plan) = self.any_plan_of(victim) else { return };
        if self.processes[thief].shard.owns(plan) || self.processes[thief].lost.contains(&plan) {
            return;
        }
        self.tell(|| format!("process {thief} takes {plan}"));
        self.processes[victim].works.retain(|work| work.plan != plan);
        self.processes[victim].lost.insert(plan);
        let stored = self.journal.get_mut(&plan).unwrap();
        (stored.owner, stored.died) = (None, true);
        if !self.journal[&plan].oracle.is_over() {
            self.claim(thief, plan);
        }
    }

    fn any_plan_of(&mut self, who: usize) -> Option<PlanId> {
        let owned: Vec<PlanId> = self
            .journal
            .iter()
            .filter(|(_, stored)| stored.owner == Some(who))
            .map(|(id, _)| *id)
            .collect();
        (!owned.is_empty()).then(|| *self.chance.pick(&owned))
    }

    /// The process dies: its batch is written up to some record, its executors die with it.
    fn crash(&mut self, who: usize) {
        let room = self.room;
        self.tell(|| format!("process {who} dies"));
        let fresh =
            if self.agents { Process::with_agents(room, self.now) } else { Process::new(room) };
        let dead = std::mem::replace(&mut self.processes[who], fresh);
        if let Some(batch) = dead.batch {
            let written = self.chance.below(batch.len() + 1);
            for record in &batch[..written] {
                self.append(record);
            }
        }
        for stored in self.journal.values_mut().filter(|stored| stored.owner == Some(who)) {
            (stored.owner, stored.died) = (None, true);
        }
    }

    // People.

    fn send(&mut self, who: usize, plan: PlanId, command: RunCommand, promise: Option<Promise>) {
        self.tell(|| format!("process {who} gets {command:?} for {plan}"));
        let ticket = promise.map(|promise| {
            self.tickets += 1;
            self.promises.insert(self.tickets, (plan, promise));
            ReplyTicket(self.tickets)
        });
        let queued = match caller_of(&command) {
            Some(caller) => QueuedCommand::from_caller(plan, command, caller, ticket),
            None => {
                let mut queued = QueuedCommand::from_system(plan, command, "world");
                queued.ticket = ticket;
                queued
            }
        };
        self.processes[who].shard.handle(ShardInput::Command(queued));
    }

    fn open(&mut self, who: usize, run: Run, epoch: Epoch) {
        self.processes[who].plans.insert(run.plan().id(), epoch);
        self.tell(|| format!("process {who} opens {} at {:?}", run.plan().id(), run.sequence()));
        self.processes[who].shard.handle(ShardInput::Open { run: Box::new(run), epoch });
    }

    /// Time passes: to the next timer, or a little.
    fn pass_time(&mut self) {
        let timers = self.processes.iter().filter_map(|process| process.wake_at);
        let next = timers.min().filter(|at| *at > self.now);
        let little = self.now.plus_millis(1 + self.chance.below(2_000) as u64);
        self.now = match next {
            Some(next) if self.calm || self.chance.one_in(2) => next,
            _ => little,
        };
    }
}

/// The caller whose act a command is.
fn caller_of(command: &RunCommand) -> Option<Actor> {
    match command {
        RunCommand::Start { by, .. } | RunCommand::Cancel { by, .. } => Some(by.clone()),
        RunCommand::AnswerGate { by, .. } => Some(by.as_str().into()),
        _ => None,
    }
}

fn plan_of(action: &ShardAction) -> PlanId {
    match action {
        ShardAction::Start(it) => it.plan.id(),
        ShardAction::Resolve(it) => it.plan.id(),
        ShardAction::Expand(it) => it.plan.id(),
        ShardAction::Stop { plan, .. }
        | ShardAction::Abandon { plan, .. }
        | ShardAction::StopAll(plan)
        | ShardAction::Waiting(plan)
        | ShardAction::Finished { plan, .. } => *plan,
    }
}

fn failure(code: ErrorCode) -> TaskError {
    TaskError::new(code, "simulated")
}
