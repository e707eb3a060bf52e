//! One run inside the shard: its inbox, and what waits for the append that is on its way.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use l05_core::id::{Attempt, Epoch, TaskIndex};
use l05_core::plan::PlanStatus;
use l05_core::time::Timestamp;
use l05_core::{Error, id::Sequence};
use l05_run::Run;
use l05_run::command::{CommandRejected, RunCommand, RunEffect, RunLimits};
use l05_run::event::RunNotice;
use l05_run::event::{RunEvent, TaskOutput};
use l05_run::record::{Actor, OutputBlob, Record};

use super::{
    ConditionRequest, ListRequest, ProducedOutput, QueuedCommand, Reply, ReplyTicket, ShardAction,
    TaskLaunch,
};
use crate::port::Launch;

/// The place of a run between memory and journal.
#[derive(Debug)]
pub(super) enum RunPhase {
    /// Memory and journal agree.
    Idle,
    /// Memory is ahead; the inputs that made it so are kept in case the append fails, and their
    /// answers until it has not.
    Appending { inputs: Vec<Answered>, effects: Vec<RunEffect> },
    /// The append failed and the journal must be read before anything else.
    Lost,
}

#[derive(Debug)]
pub(super) struct OwnedRun {
    run: Run,
    epoch: Epoch,
    state: RunPhase,
    pub(super) inbox: VecDeque<QueuedCommand>,
    /// In the shard's list of runs to decide.
    pub(super) touched: bool,
    /// Callers were told that the run waits for people.
    waiting_told: bool,
    /// A timer fired or room came free.
    pub(super) due: bool,
    /// The timer that the shard holds for it.
    pub(super) wake_at: Option<Timestamp>,
    /// Attempts whose executors this process has started, with whose they are.
    started: HashMap<(TaskIndex, Attempt), StartedAttempt>,
    launches: u64,
    /// The time of the last decision.
    moved_at: Timestamp,
    /// The load of agents before the append that is on its way, where agents are counted.
    pub(super) durable_loads: Vec<(Arc<str>, u32)>,
    /// The number of times in a row that the store said that the journal goes on elsewhere than
    /// this run.
    disagreed: u32,
    /// Inputs that were decided once already, under an append that failed. They go first.
    again: VecDeque<Answered>,
}

/// The most times that a run is folded from the journal again because its next place there is
/// taken. Once is what an append does of which nothing was known; a store that says so each time
/// contradicts itself.
const DISAGREED_MAX: u32 = 5;

/// The size at which further reports wait for the next record, in bytes of large outputs.
const BLOB_BYTES_MAX: usize = 32 << 20;

/// A start of an attempt's executor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct StartedAttempt {
    agent: Arc<str>,
    launch: Launch,
    at: Timestamp,
}

/// An input with what was decided about it.
type Answered = (QueuedCommand, Result<(), CommandRejected>);

/// Inputs that one turn of a run decides.
#[derive(Debug, Default)]
pub(super) struct DecidedInputs {
    pub(super) record: Option<Arc<Record>>,
    pub(super) actions: Vec<ShardAction>,
    /// Answers that need no append: refusals, and what is so already.
    pub(super) replies: Vec<Reply>,
}

impl OwnedRun {
    pub(super) fn new(run: Run, epoch: Epoch) -> OwnedRun {
        OwnedRun {
            run,
            epoch,
            state: RunPhase::Idle,
            inbox: VecDeque::new(),
            touched: false,
            waiting_told: false,
            due: false,
            wake_at: None,
            started: HashMap::new(),
            launches: 0,
            moved_at: Timestamp(0),
            durable_loads: Vec::new(),
            disagreed: 0,
            again: VecDeque::new(),
        }
    }

    pub(super) fn durable(&self) -> Option<&Run> {
        self.is_idle().then_some(&self.run)
    }

    pub(super) fn in_flight(&self) -> u32 {
        match self.state {
            RunPhase::Idle | RunPhase::Appending { .. } => self.run.running(),
            // Counted again when the run is back.
            RunPhase::Lost => 0,
        }
    }

    pub(super) fn wants_room(&self) -> bool {
        self.run.wants_room()
    }

    pub(super) fn lacks_agents(&self) -> bool {
        self.run.lacks_agents()
    }

    /// Notices about the run, where memory and journal agree.
    pub(super) fn observe(&self, now: Timestamp) -> Vec<RunNotice> {
        let began = |task, attempt| self.started.get(&(task, attempt)).map(|started| started.at);
        // One that has only been opened has not moved yet.
        let moved_at = if self.moved_at == Timestamp(0) { now } else { self.moved_at };
        match self.state {
            RunPhase::Idle => self.run.observe(now, moved_at, began),
            RunPhase::Appending { .. } | RunPhase::Lost => Vec::new(),
        }
    }

    /// The agents that work for this run, with how many attempts each. While memory and journal
    /// disagree the more of the two, so that nobody is given more than it takes.
    pub(super) fn agent_loads(&self) -> Vec<(Arc<str>, u32)> {
        let mut loads: Vec<(Arc<str>, u32)> =
            self.run.agent_loads().map(|(agent, load)| (agent.clone(), load)).collect();
        if self.durable_loads.is_empty() {
            return loads;
        }
        let places: HashMap<Arc<str>, usize> =
            loads.iter().enumerate().map(|(at, (agent, _))| (agent.clone(), at)).collect();
        for (agent, before) in &self.durable_loads {
            match places.get(agent) {
                Some(at) => loads[*at].1 = loads[*at].1.max(*before),
                None => loads.push((agent.clone(), *before)),
            }
        }
        loads
    }

    pub(super) fn find(&self, name: &str) -> Option<TaskIndex> {
        self.run.find(name)
    }

    /// The number of tasks of the run.
    pub(super) fn task_count(&self) -> usize {
        self.run.task_count()
    }

    /// 1 (low) to 10 (high).
    pub(super) fn priority(&self) -> u8 {
        self.run.plan().document().priority.max(1)
    }

    /// Tells once that the run came so far that only people can move it on.
    fn begins_to_wait(&mut self) -> Option<ShardAction> {
        let waits = self.run.waits_for_people();
        let told = std::mem::replace(&mut self.waiting_told, waits);
        (waits && !told).then(|| ShardAction::Waiting(self.run.plan().id()))
    }

    pub(super) fn tickets(&self) -> impl Iterator<Item = ReplyTicket> + '_ {
        let appending: &[Answered] = match &self.state {
            RunPhase::Appending { inputs, .. } => inputs,
            RunPhase::Idle | RunPhase::Lost => &[],
        };
        let decided = appending.iter().chain(&self.again).map(|(queued, _)| queued);
        decided.chain(&self.inbox).filter_map(|queued| queued.ticket)
    }

    /// The time of the next timer, if the shard does not hold it yet.
    pub(super) fn wake_at_changed(&mut self) -> Option<Timestamp> {
        // One that comes too early finds nothing due, and the next is asked for then: most timers move
        // on with every task, and the shard would gather those that mean nothing any more.
        let at = self.run.wake_at()?;
        if self.wake_at.is_some_and(|held| held <= at) {
            return None;
        }
        self.wake_at = Some(at);
        self.wake_at
    }

    /// Decides what is in the inbox, `inputs_max` of it at most. Not while an append or a reload is on
    /// its way.
    pub(super) fn decide(
        &mut self,
        now: Timestamp,
        terms: RunLimits<'_>,
        inputs_max: usize,
    ) -> DecidedInputs {
        let first = Sequence(self.run.sequence().0 + 1);
        let mut decided = DecidedInputs::default();
        let (mut events, mut effects, mut blobs) =
            (Vec::new(), Vec::new(), Vec::<OutputBlob>::new());
        let mut inputs: Vec<Answered> = Vec::new();
        let mut filed = FiledUnder::default();
        loop {
            // What was decided once already goes first: whether it took effect is seen in the state
            // that the journal has, and an adoption says whose the attempts in flight are before
            // their timers are judged.
            if self.again.is_empty() && std::mem::take(&mut self.due) {
                let wake = self
                    .run
                    .handle(RunCommand::Wake, now, terms)
                    .expect("waking is always allowed");
                events.extend(wake.events);
                effects.extend(wake.effects);
            }
            if !events.is_empty()
                && self.waiting().next().is_some_and(|next| filed.parts_from(next))
            {
                break;
            }
            let before = self.again.pop_front();
            let accepted_before = before.as_ref().is_some_and(|(_, answer)| answer.is_ok());
            let full = inputs.len() >= inputs_max
                || blobs.iter().map(|blob| blob.json.len()).sum::<usize>() >= BLOB_BYTES_MAX;
            let next = || if full { None } else { self.inbox.pop_front() };
            let Some(queued) = before.map(|(queued, _)| queued).or_else(next) else {
                break;
            };
            if self.is_of_another_launch(&queued) {
                continue;
            }
            if accepted_before && self.is_done_already(&queued.command) {
                inputs.push((queued, Ok(())));
                continue;
            }
            let answer = match self.run.handle(queued.command.clone(), now, terms) {
                Ok(decision) => {
                    // Kept in the input too: a failed append needs it again.
                    let wanted = queued.blob.as_ref().filter(|blob| names(&decision.events, blob));
                    blobs.extend(wanted.cloned());
                    if !decision.events.is_empty() {
                        filed.take(&queued);
                    }
                    events.extend(decision.events);
                    effects.extend(decision.effects);
                    Ok(())
                }
                Err(rejected) => Err(rejected),
            };
            inputs.push((queued, answer));
        }
        if events.is_empty() {
            // Nothing to wait for: what was asked is so already, or refused.
            decided.replies = replies(inputs);
            decided.actions = effects.into_iter().filter_map(|e| self.action(e)).collect();
            decided.actions.extend(self.begins_to_wait());
            return decided;
        }
        self.moved_at = now;
        let actor = filed.actor.unwrap_or_else(|| "system".into());
        decided.record = Some(Arc::new(Record {
            plan: self.run.plan().id(),
            first,
            epoch: self.epoch,
            at: now,
            actor,
            events,
            blobs,
        }));
        self.state = RunPhase::Appending { inputs, effects };
        decided
    }

    /// True if a report is of an executor that was given up: the attempt is another's now.
    fn is_of_another_launch(&self, queued: &QueuedCommand) -> bool {
        let RunCommand::Report { task, attempt, .. } = &queued.command else { return false };
        let current = self.started.get(&(*task, *attempt)).map(|started| started.launch);
        queued.launch.zip(current).is_some_and(|(reported, current)| reported != current)
    }

    /// True if a command that was decided before a failed append turned out to be durable.
    fn is_done_already(&self, command: &RunCommand) -> bool {
        match command {
            RunCommand::Start { .. } => {
                matches!(self.run.status(), PlanStatus::Executing | PlanStatus::PendingApproval)
            }
            RunCommand::Cancel { .. } => self.run.status().has_ended(),
            RunCommand::Adopt { epoch, .. } | RunCommand::Resume { epoch, .. } => {
                self.run.epoch() == *epoch
            }
            // Deciding these again gives no event where they took effect.
            RunCommand::AgentLost { .. }
            | RunCommand::Notice { .. }
            | RunCommand::Resolved { .. }
            | RunCommand::Expanded { .. }
            | RunCommand::Report { .. }
            | RunCommand::Wake => false,
            RunCommand::AnswerGate { gate, approve, .. } => self.run.was_answered(*gate, *approve),
        }
    }

    /// The append is durable: what waited for it may leave.
    pub(super) fn acknowledge(&mut self) -> (Vec<ShardAction>, Vec<Reply>) {
        let RunPhase::Appending { inputs, effects } =
            std::mem::replace(&mut self.state, RunPhase::Idle)
        else {
            return (Vec::new(), Vec::new());
        };
        self.durable_loads.clear();
        self.disagreed = 0;
        for (queued, _) in &inputs {
            if let RunCommand::Report { task, attempt, .. } = &queued.command {
                self.started.remove(&(*task, *attempt));
            }
        }
        let mut actions: Vec<ShardAction> =
            effects.into_iter().filter_map(|effect| self.action(effect)).collect();
        actions.extend(self.begins_to_wait());
        (actions, replies(inputs))
    }

    /// The store refused the sequence; whether reading the journal again will not help any more.
    pub(super) fn disagree(&mut self) -> bool {
        self.disagreed += 1;
        self.disagreed > DISAGREED_MAX
    }

    /// Nothing is known of the append: the state is worthless, the inputs are not.
    pub(super) fn lose(&mut self) {
        if let RunPhase::Appending { inputs, .. } =
            std::mem::replace(&mut self.state, RunPhase::Lost)
        {
            self.again = inputs.into();
        }
    }

    /// Back from the journal. Effects may have been lost with the append: what the durable state
    /// asks for and this process has not begun begins now, what it no longer knows is stopped.
    pub(super) fn reopen(&mut self, run: Run, epoch: Epoch) -> Vec<ShardAction> {
        self.run = run;
        self.epoch = epoch;
        self.state = RunPhase::Idle;
        self.wake_at = None;
        self.durable_loads.clear();
        // Who asked while it was lost has not been told.
        self.waiting_told = false;
        if self.is_to_be_adopted() {
            return Vec::new();
        }
        self.due = true;
        let mut outstanding = self.run.outstanding();
        // A new run that is about to be decided again: the last one's end has been told.
        if self.waiting().any(|queued| matches!(queued.command, RunCommand::Start { .. })) {
            outstanding.retain(|effect| *effect != RunEffect::Finished);
        }
        let pair = |effect: &RunEffect| match effect {
            RunEffect::Dispatch { task, attempt } => Some((*task, *attempt)),
            RunEffect::Resolve { .. }
            | RunEffect::Expand { .. }
            | RunEffect::Stop { .. }
            | RunEffect::Abandon { .. }
            | RunEffect::Finished => None,
        };
        let known: HashSet<(TaskIndex, Attempt)> = outstanding.iter().filter_map(pair).collect();
        let goes_on = |attempt: &(TaskIndex, Attempt), agent: &Arc<str>| {
            known.contains(attempt) && self.run.agent(attempt.0) == agent
        };
        let started = self.started.iter();
        let (begun, mut gone): (Vec<_>, Vec<_>) =
            started.partition(|(attempt, started)| goes_on(attempt, &started.agent));
        gone.sort_unstable();
        let begun: HashSet<(TaskIndex, Attempt)> = begun.into_iter().map(|(a, _)| *a).collect();
        // What another agent has by now, or will have, is not to answer any more.
        let ends = gone.into_iter().map(|(started, _)| {
            let (task, attempt) = *started;
            if known.contains(started) || self.run.may_be_repeated(task) {
                RunEffect::Abandon { task, attempt }
            } else {
                RunEffect::Stop { task, attempt }
            }
        });
        let fresh = outstanding.into_iter().filter(|e| pair(e).is_none_or(|p| !begun.contains(&p)));
        let effects: Vec<RunEffect> = ends.chain(fresh).collect();
        effects.into_iter().filter_map(|effect| self.action(effect)).collect()
    }

    /// True if an adoption waits to be decided, perhaps again after it was lost with an append.
    /// Until then what is in flight is the last owner's, and its timers are not this process's to
    /// judge: an attempt that they start would be taken for one of the last owner's.
    fn is_to_be_adopted(&self) -> bool {
        let epoch = self.run.epoch();
        let adopts = |queued: &QueuedCommand| matches!(queued.command, RunCommand::Adopt { epoch: new, .. } | RunCommand::Resume { epoch: new, .. } if new != epoch);
        self.waiting().any(adopts)
    }

    /// Everything that is still to be decided.
    fn waiting(&self) -> impl Iterator<Item = &QueuedCommand> {
        self.again.iter().map(|(queued, _)| queued).chain(&self.inbox)
    }

    /// Another claim by this process: the newer epoch is the one that the store accepts.
    pub(super) fn raise_epoch(&mut self, epoch: Epoch) {
        self.epoch = self.epoch.max(epoch);
    }

    /// True if memory and journal agree.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, RunPhase::Idle)
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state, RunPhase::Lost)
    }

    /// An effect with what it takes to carry it out.
    fn action(&mut self, effect: RunEffect) -> Option<ShardAction> {
        let plan = self.run.plan();
        Some(match effect {
            RunEffect::Dispatch { task, attempt } => {
                if self.run.attempt(task) != attempt || !self.run.is_in_flight(task) {
                    return None;
                }
                let origin = self.run.origin(task);
                let name = if origin == task {
                    plan.task(task).task_id.as_str().into()
                } else {
                    self.run.name(task).into()
                };
                let assignment = TaskLaunch {
                    plan: plan.clone(),
                    task,
                    origin,
                    name,
                    attempt,
                    agent: self.run.agent(task).clone(),
                    launch: Launch { epoch: self.epoch, number: self.launches },
                    not_after: self.run.not_after(task),
                    needs: self.needs(origin),
                    item: self.run.map_item(task),
                    workspace: self.run.workspace().cloned(),
                    answer: self.run.answer(origin).cloned(),
                };
                self.launches += 1;
                let (agent, launch) = (assignment.agent.clone(), assignment.launch);
                let started = StartedAttempt { agent, launch, at: self.moved_at };
                self.started.insert((task, attempt), started);
                ShardAction::Start(assignment)
            }
            RunEffect::Expand { task } => {
                let (plan, needs) = (plan.clone(), self.needs(task));
                ShardAction::Expand(ListRequest { plan, task, needs })
            }
            RunEffect::Resolve { task, edges } => {
                let edges = edges
                    .into_iter()
                    .map(|edge| (edge, self.produced(plan.graph().edge(edge).from)))
                    .collect();
                ShardAction::Resolve(ConditionRequest { plan: plan.clone(), task, edges })
            }
            RunEffect::Abandon { task, attempt } => {
                self.started.remove(&(task, attempt));
                ShardAction::Abandon { plan: plan.id(), task, attempt }
            }
            RunEffect::Stop { task, attempt } => {
                self.started.remove(&(task, attempt));
                ShardAction::Stop { plan: plan.id(), task, attempt }
            }
            RunEffect::Finished => {
                ShardAction::Finished { plan: plan.id(), status: self.run.status() }
            }
        })
    }

    /// Outputs that a task of the plan was waiting for.
    fn needs(&self, task: TaskIndex) -> Vec<ProducedOutput> {
        let graph = self.run.plan().graph();
        let edges = graph.edges_in(task).iter();
        edges.map(|edge| self.produced(graph.edge(*edge).from)).collect()
    }

    fn produced(&self, task: TaskIndex) -> ProducedOutput {
        ProducedOutput {
            task,
            status: self.run.task_status(task),
            output: self.run.output(task).cloned(),
            error: self.run.error(task).cloned(),
        }
    }
}

/// The name that a record is filed under: that of the first whose command was accepted.
#[derive(Default)]
struct FiledUnder {
    actor: Option<Actor>,
    is_callers: bool,
}

impl FiledUnder {
    fn take(&mut self, queued: &QueuedCommand) {
        if self.actor.is_none() {
            self.actor = Some(queued.actor.clone());
            self.is_callers = queued.is_callers;
        }
    }

    /// True if a command has to wait for a record of its own: a caller's act and anybody else's are
    /// never one record.
    fn parts_from(&self, next: &QueuedCommand) -> bool {
        let same = self.actor.as_ref() == Some(&next.actor);
        (self.is_callers || next.is_callers) && !same
    }
}

/// The answers for those who wait for them.
fn replies(inputs: Vec<Answered>) -> Vec<Reply> {
    let answered = inputs.into_iter().filter_map(|(queued, answer)| {
        queued.ticket.map(|ticket| (ticket, answer.map_err(Error::from)))
    });
    answered.collect()
}

/// True if a decision keeps a large output; one that came with a report that is ignored, or refused
/// for its size, is not kept.
fn names(events: &[RunEvent], blob: &OutputBlob) -> bool {
    let is_it = |output: &TaskOutput| match output {
        TaskOutput::Blob { sha256, .. } => *sha256 == blob.sha256,
        TaskOutput::Inline(_) | TaskOutput::List(_) => false,
    };
    events.iter().any(|event| match event {
        RunEvent::TaskCompleted { output, .. } => is_it(output),
        RunEvent::MapExpanded { items, .. } => is_it(items),
        _ => false,
    })
}
