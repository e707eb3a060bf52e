//! The driver: moves messages between the shard, the journal and the executors. Decides nothing.
//!
//! One task owns the shard. Callers hold a [`DriverHandle`]; executors report through the same channel;
//! the journal is awaited between two turns, so that everything that arrives meanwhile is decided
//! together and committed as one group.

mod attempt;
#[cfg(test)]
mod budget_tests;
mod handle;
mod journal;
mod lease;
mod model_task;
mod remote_commands;
mod resolve;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use l05_core::agent::Agent;
use l05_core::error::ErrorKind;
use l05_core::id::{Attempt, Epoch, PlanId, TaskIndex, WorkerId};
use l05_core::plan::{Plan, PlanStatus};
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use l05_run::Run;
use l05_run::command::{AttemptOutcome, RunCommand};
use l05_run::event::TaskError;
use l05_run::record::Actor;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::evaluations::EvaluationPort;
use crate::hub::EventHub;
use crate::port::{CancelHandle, Clock, Executor, Journal, Launch, cancel_pair};
use crate::records::RecordWriter;
use crate::shard::{
    AgentInput, QueuedCommand, ReplyTicket, Shard, ShardAction, ShardInput, ShardRules,
};
pub(crate) use attempt::ExecutorSet;
use handle::DriverMessage;
pub use handle::SHUTDOWN_GRACE;
pub(crate) use handle::{RunDriver, RunEnd};
pub(crate) use journal::release;
use lease::Lease;
pub(crate) use model_task::ModelTasks;
pub(crate) use resolve::OutputLoader;

/// Messages that may wait for the driver; past it executors and callers wait too.
const QUEUE_MAX: usize = 65_536;
/// Messages taken in before the next turn, so that a flood cannot starve the journal.
const DRAIN_MAX: usize = 16_384;
/// The most ended runs that are remembered, for callers that ask a moment too late.
const ENDED_MAX: usize = 1_000;
/// The interval at which commands of other processes are looked for.
const POSTED_EVERY: Duration = Duration::from_millis(200);

pub(crate) struct Driver {
    shard: Shard,
    journal: Arc<dyn Journal>,
    writer: RecordWriter,
    hub: Arc<EventHub>,
    loader: Arc<OutputLoader>,
    clock: Arc<dyn Clock>,
    workbench: ExecutorSet,
    worker: WorkerId,
    receiver: mpsc::Receiver<DriverMessage>,
    sender: mpsc::WeakSender<DriverMessage>,
    replies: HashMap<ReplyTicket, oneshot::Sender<Result<(), Error>>>,
    next_ticket: u64,
    /// Commands of other processes whose answers are still to come, those that are being dealt with,
    /// and those that the store may forget.
    posted: HashMap<ReplyTicket, (PlanId, u64)>,
    in_hand: HashSet<(PlanId, u64)>,
    settled: Vec<(PlanId, u64)>,
    running: HashMap<PlanId, HashMap<TaskIndex, RunningAttempt>>,
    waiting: HashMap<PlanId, Vec<oneshot::Sender<RunEnd>>>,
    plans: HashMap<PlanId, (Arc<Plan>, Epoch)>,
    lease: Lease,
    /// Executors of registered agents.
    agents: HashMap<String, Arc<dyn Executor>>,
    /// Agents, for those who only look.
    published: watch::Sender<Arc<[Agent]>>,
    /// Refusals of the store since it last did what it was asked.
    refusals: u32,
    /// Runs to fold from the journal again.
    lost: Vec<PlanId>,
    /// Ends of the last runs, for callers who ask afterwards; oldest first.
    ended: VecDeque<(PlanId, RunEnd)>,
    stopping: Option<DriverStop>,
}

/// An attempt in progress. Dropping the canceller changes nothing; cancelling does.
struct RunningAttempt {
    launch: Launch,
    attempt: Attempt,
    canceller: CancelHandle,
    task: tokio::task::AbortHandle,
}

/// The time of the shard's next turn, if nothing comes before.
#[derive(Clone, Copy)]
enum NextTurn {
    /// An append has become durable, or was refused: it has something to say.
    AtOnce,
    /// A timer fires.
    At(Option<Timestamp>),
}

struct DriverStop {
    until: Instant,
    reply: oneshot::Sender<()>,
}

impl Driver {
    /// Starts the driver on the current tokio runtime.
    pub(crate) fn spawn(
        journal: Arc<dyn Journal>,
        hub: Arc<EventHub>,
        clock: Arc<dyn Clock>,
        (workbench, evaluations): (ExecutorSet, EvaluationPort),
        worker: WorkerId,
        rules: ShardRules,
    ) -> RunDriver {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let lease = Lease::keep(journal.clone(), worker);
        let mut shard = Shard::new(rules);
        shard.agents_changed();
        let (published, agents) = watch::channel(shard.agents().into());
        let driver = Driver {
            shard,
            agents: HashMap::new(),
            published,
            loader: Arc::new(OutputLoader::new(journal.clone(), evaluations)),
            writer: RecordWriter::new(journal.clone(), hub.clone()),
            hub,
            journal,
            clock,
            workbench,
            worker,
            receiver,
            sender: sender.downgrade(),
            replies: HashMap::new(),
            next_ticket: 0,
            posted: HashMap::new(),
            in_hand: HashSet::new(),
            settled: Vec::new(),
            running: HashMap::new(),
            waiting: HashMap::new(),
            plans: HashMap::new(),
            lease,
            refusals: 0,
            lost: Vec::new(),
            ended: VecDeque::new(),
            stopping: None,
        };
        tokio::spawn(driver.run());
        RunDriver { sender, agents }
    }

    async fn run(mut self) {
        let mut next = NextTurn::At(None);
        let mut look_for_posted = Instant::now() + POSTED_EVERY;
        // One timer, moved only when it must fire earlier: most turns change nothing about it.
        let mut timer = std::pin::pin!(tokio::time::sleep_until(look_for_posted));
        loop {
            // Before each turn: a run with much to decide takes many, and the others' reports come
            // meanwhile.
            let has_news = self.drain();
            if let (false, NextTurn::At(wake_at)) = (has_news, next) {
                let due = self.next_due(wake_at, look_for_posted);
                if due < timer.deadline() || timer.is_elapsed() {
                    timer.as_mut().reset(due);
                }
                tokio::select! {
                    message = self.receiver.recv() => match message {
                        Some(message) => self.take(message),
                        // All handles are gone: nobody can ask for anything any more.
                        None => return,
                    },
                    () = timer.as_mut() => {}
                    () = self.lease.over(), if !self.plans.is_empty() && !self.lease.is_unneeded() => {}
                }
                self.drain();
            }
            if !self.plans.is_empty() && self.lease.is_over() {
                self.pause_all(&lease::lost());
            }
            let looks = !self.shard.is_empty() || !self.settled.is_empty();
            if looks && Instant::now() >= look_for_posted {
                self.take_posted().await;
                look_for_posted = Instant::now() + POSTED_EVERY;
            }
            next = self.turn().await;
            if matches!(next, NextTurn::At(_)) && self.has_stopped() {
                return;
            }
        }
    }

    /// Takes in what is there, up to a limit; whether there was anything.
    fn drain(&mut self) -> bool {
        for taken in 0..DRAIN_MAX {
            match self.receiver.try_recv() {
                Ok(message) => self.take(message),
                Err(_) => return taken > 0,
            }
        }
        true
    }

    fn next_due(&self, wake_at: Option<Timestamp>, look_for_posted: Instant) -> Instant {
        let now = Instant::now();
        let idle = now + Duration::from_secs(3600);
        let due = wake_at
            .map_or(idle, |at| now + Duration::from_millis(at.millis_since(self.clock.now())));
        let looks = !self.shard.is_empty() || !self.settled.is_empty();
        let posted = if looks { look_for_posted } else { idle };
        let stop = self.stopping.as_ref().map_or(idle, |stopping| stopping.until);
        due.min(posted).min(stop)
    }

    fn take(&mut self, message: DriverMessage) {
        match message {
            // Stopping: its reply is dropped, and that says so.
            DriverMessage::Open { .. } if self.stopping.is_some() => {}
            DriverMessage::Open { run, epoch, commands, caller, reply } => {
                let plan = run.plan().id();
                self.plans.insert(plan, (run.plan().clone(), epoch));
                self.hub.set_driven(plan, true);
                self.shard.handle(ShardInput::Open { run, epoch });
                let mut reply = Some(reply);
                for command in commands {
                    self.command(plan, command, caller.clone(), reply.take());
                }
            }
            DriverMessage::Command { plan, command, caller, reply } => {
                self.command(plan, command, caller, Some(reply));
            }
            DriverMessage::Report { queued } => {
                if let (RunCommand::Report { task, .. }, Some(launch)) =
                    (&queued.command, queued.launch)
                {
                    self.forget(queued.plan, *task, launch);
                }
                self.shard.handle(ShardInput::Command(*queued));
            }
            DriverMessage::Register { agent, executor } => {
                self.agents.insert(agent.agent_id.clone(), executor);
                self.tell_agent(AgentInput::Registered(agent));
            }
            DriverMessage::Agent(input) => self.tell_agent(input),
            DriverMessage::Agents(reply) => {
                let _ = reply.send(self.shard.agents());
            }
            DriverMessage::IsDriven { plan, reply } => {
                let _ = reply.send(self.shard.owns(plan));
            }
            DriverMessage::Tools { idempotent, local } => {
                self.shard.handle(ShardInput::Tools { idempotent, local });
                self.publish();
            }
            DriverMessage::Close(plan) => {
                self.let_go(plan);
                self.shard.handle(ShardInput::Close { plan, error: None });
                self.stop_executors(plan);
                // Somebody may have asked for its end meanwhile.
                self.tell_waiting(plan, &RunEnd::Paused(not_driven(plan)));
            }
            // It has begun to move: somebody answered meanwhile.
            DriverMessage::Park { plan, reply }
                if !self.shard.durable(plan).is_some_and(Run::waits_for_people) =>
            {
                let _ = reply.send(false);
            }
            DriverMessage::Park { plan, reply } => {
                let epoch = self.let_go(plan);
                self.shard.handle(ShardInput::Close { plan, error: None });
                self.stop_executors(plan);
                self.release(plan, epoch, Some(reply));
            }
            DriverMessage::AwaitEnd { plan, reply } => {
                if self.shard.durable(plan).is_some_and(Run::waits_for_people) {
                    let _ = reply.send(RunEnd::Waiting);
                } else if self.shard.owns(plan) {
                    let waiting = self.waiting.entry(plan).or_default();
                    // Those who gave up waiting do not gather; looked for only when there is no room.
                    if waiting.len() == waiting.capacity() {
                        waiting.retain(|reply| !reply.is_closed());
                    }
                    waiting.push(reply);
                } else {
                    let known = self.ended.iter().rev().find(|(of, _)| *of == plan);
                    let ended = known.map(|(_, ended)| ended.clone());
                    let ended = ended.unwrap_or_else(|| RunEnd::Paused(not_driven(plan)));
                    let _ = reply.send(ended);
                }
            }
            DriverMessage::Stop { grace, reply } => {
                self.shard.drain();
                self.stopping = Some(DriverStop { until: Instant::now() + grace, reply });
            }
        }
    }

    fn command(
        &mut self,
        plan: PlanId,
        command: RunCommand,
        caller: Actor,
        reply: Option<oneshot::Sender<Result<(), Error>>>,
    ) {
        let ticket = reply.map(|reply| {
            let ticket = self.next_ticket();
            self.replies.insert(ticket, reply);
            ticket
        });
        let queued = QueuedCommand::from_caller(plan, command, caller, ticket);
        self.shard.handle(ShardInput::Command(queued));
    }

    fn tell_agent(&mut self, input: AgentInput) {
        let left = match &input {
            AgentInput::Left(id) => Some(id.clone()),
            AgentInput::Registered(_) | AgentInput::Heard { .. } | AgentInput::Drained(_) => None,
        };
        self.shard.handle(ShardInput::Agent { input, at: self.clock.now() });
        left.and_then(|id| self.agents.remove(&id));
        self.publish();
    }

    /// Tells who is there, if that has changed.
    fn publish(&mut self) {
        if self.shard.agents_changed() {
            let there = self.shard.agents();
            let there_by_id: HashSet<&str> = there.iter().map(|a| a.agent_id.as_str()).collect();
            self.agents.retain(|id, _| there_by_id.contains(id.as_str()));
            self.published.send_replace(there.into());
        }
    }

    /// Forgets an executor that is done, or given up; gives it back if it was still known.
    fn forget(&mut self, plan: PlanId, task: TaskIndex, launch: Launch) -> Option<RunningAttempt> {
        let tasks = self.running.get_mut(&plan)?;
        let is_it = tasks.get(&task).is_some_and(|running| running.launch == launch);
        let known = if is_it { tasks.remove(&task) } else { None };
        if tasks.is_empty() {
            self.running.remove(&plan);
        }
        known
    }

    fn next_ticket(&mut self) -> ReplyTicket {
        self.next_ticket += 1;
        ReplyTicket(self.next_ticket)
    }

    /// Passes an answer on. What was refused because the run is not here any more is left to whoever
    /// has it next.
    fn answer(&mut self, ticket: ReplyTicket, answer: Result<(), Error>) {
        if let Some((plan, position)) = self.posted.remove(&ticket) {
            match answer.map_err(|error| error.kind()) {
                Err(ErrorKind::Conflict | ErrorKind::Unavailable) => {
                    self.in_hand.remove(&(plan, position));
                }
                Ok(())
                | Err(
                    ErrorKind::Usage
                    | ErrorKind::Refused
                    | ErrorKind::NotFound
                    | ErrorKind::WrongState
                    | ErrorKind::Damaged
                    | ErrorKind::Cancelled,
                ) => self.settled.push((plan, position)),
            }
        } else if let Some(reply) = self.replies.remove(&ticket) {
            let _ = reply.send(answer);
        }
    }

    /// One turn: what was appended last is acted on, what is decided now is appended.
    async fn turn(&mut self) -> NextTurn {
        let turn = self.shard.poll(self.clock.now());
        self.publish();
        for (ticket, answer) in turn.replies {
            self.answer(ticket, answer);
        }
        for action in turn.actions {
            self.carry_out(action);
        }
        if !turn.left_behind.is_empty() {
            tokio::task::spawn_blocking(move || drop(turn.left_behind));
        }
        let paused = !turn.broken.is_empty();
        for plan in turn.broken {
            let message = "the store refuses what follows the journal that it gives";
            self.pause(plan, &Error::new(ErrorCode::JournalCorrupt, message));
        }
        self.lost.extend(turn.reload);
        if turn.append.is_empty() && self.lost.is_empty() {
            // Whoever asked something of a run that was paused here is told in the next turn.
            return if paused { NextTurn::AtOnce } else { NextTurn::At(turn.wake_at) };
        }
        self.reload().await;
        if !turn.append.is_empty() {
            self.append(turn.append).await;
        }
        NextTurn::AtOnce
    }

    fn tell_waiting(&mut self, plan: PlanId, ended: &RunEnd) {
        for reply in self.waiting.remove(&plan).unwrap_or_default() {
            let _ = reply.send(ended.clone());
        }
    }

    fn tell_end(&mut self, plan: PlanId, ended: &RunEnd) {
        self.tell_waiting(plan, ended);
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((plan, ended.clone()));
    }

    fn carry_out(&mut self, action: ShardAction) {
        match action {
            // It was paused or let go of while its start became durable: whoever has it next starts it.
            ShardAction::Start(assignment) if !self.plans.contains_key(&assignment.plan.id()) => {}
            ShardAction::Start(assignment) => {
                let Some(sender) = self.sender.upgrade() else { return };
                let (plan, task, attempt) =
                    (assignment.plan.id(), assignment.task, assignment.attempt);
                let (canceller, cancel) = cancel_pair();
                let (agent, launch) = (assignment.agent.clone(), assignment.launch);
                let executor =
                    if self.agents.is_empty() { None } else { self.agents.get(&*agent).cloned() };
                let work = self.workbench.attempt(&self.loader, assignment, executor, cancel);
                let work = report(plan, task, attempt, work, (agent, launch), sender);
                let task_handle = tokio::spawn(work);
                let task_handle = task_handle.abort_handle();
                let running = RunningAttempt { launch, attempt, canceller, task: task_handle };
                let before = self.running.entry(plan).or_default().insert(task, running);
                // One that was told to stop and has not had its time is over now.
                if let Some(before) = before {
                    before.task.abort();
                }
            }
            ShardAction::Resolve(question) => {
                let Some(sender) = self.sender.upgrade() else { return };
                let loader = self.loader.clone();
                tokio::spawn(async move {
                    let plan = question.plan.id();
                    let task = question.task;
                    let edges = loader.answer(question).await;
                    let command = RunCommand::Resolved { task, edges };
                    let queued = QueuedCommand::from_system(plan, command, "conditions");
                    let _ = sender.send(DriverMessage::Report { queued: Box::new(queued) }).await;
                });
            }
            ShardAction::Expand(listing) => {
                let Some(sender) = self.sender.upgrade() else { return };
                let loader = self.loader.clone();
                tokio::spawn(async move {
                    let (plan, task) = (listing.plan.id(), listing.task);
                    let listed = loader.list(listing).await;
                    let command = RunCommand::Expanded { task, items: listed.items };
                    let queued = QueuedCommand::from_system(plan, command, "lists");
                    let queued = queued.with_blob(listed.blob);
                    let _ = sender.send(DriverMessage::Report { queued: Box::new(queued) }).await;
                });
            }
            ShardAction::Waiting(plan) => self.tell_waiting(plan, &RunEnd::Waiting),
            ShardAction::Abandon { plan, task, attempt } => {
                let running = self.running.get(&plan).and_then(|tasks| tasks.get(&task));
                let launch = running.filter(|r| r.attempt == attempt).map(|r| r.launch);
                if let Some(running) = launch.and_then(|launch| self.forget(plan, task, launch)) {
                    // First: what it says of a cancellation must not count for its successor.
                    running.task.abort();
                    running.canceller.cancel();
                }
            }
            ShardAction::Stop { plan, task, attempt } => {
                if let Some(running) = self.running.get(&plan).and_then(|tasks| tasks.get(&task))
                    && running.attempt == attempt
                {
                    running.canceller.cancel();
                }
            }
            ShardAction::StopAll(plan) => {
                self.stop_executors(plan);
                // Fenced by the epoch: what another has taken over is not touched.
                let epoch = self.let_go(plan);
                self.release(plan, epoch, None);
                let error = Error::new(
                    ErrorCode::VersionConflict,
                    format!("another process has taken over plan {plan}"),
                );
                self.tell_end(plan, &RunEnd::Paused(error));
            }
            ShardAction::Finished { plan, status } => self.finish(plan, status),
        }
    }

    fn finish(&mut self, plan: PlanId, status: PlanStatus) {
        let epoch = self.let_go(plan);
        // The append of an end ended the ownership, too; a suspended run has not ended.
        if !status.has_ended() {
            self.release(plan, epoch, None);
        }
        self.shard.handle(ShardInput::Close { plan, error: None });
        self.stop_executors(plan);
        self.tell_end(plan, &RunEnd::Finished(status));
    }

    /// Takes a run off the list of those that are driven here; the epoch under which it was.
    fn let_go(&mut self, plan: PlanId) -> Option<Epoch> {
        self.hub.set_driven(plan, false);
        self.plans.remove(&plan).map(|(_, epoch)| epoch)
    }

    fn stop_executors(&mut self, plan: PlanId) {
        for running in self.running.remove(&plan).unwrap_or_default().into_values() {
            running.canceller.cancel();
            running.task.abort();
        }
    }

    /// Stopping: when nothing runs any more, or the grace is over.
    fn has_stopped(&mut self) -> bool {
        let over = |s: &DriverStop| self.running.is_empty() || Instant::now() >= s.until;
        if !self.stopping.as_ref().is_some_and(over) {
            return false;
        }
        for running in self.running.values().flat_map(HashMap::values) {
            running.canceller.cancel();
            running.task.abort();
        }
        if let Some(stopping) = self.stopping.take() {
            let _ = stopping.reply.send(());
        }
        true
    }
}

fn not_driven(plan: PlanId) -> Error {
    let message = format!("plan {plan} is not being driven here");
    Error::new(ErrorCode::PlanNotExecutable, message)
}

/// Runs an attempt and reports how it went, whatever happens: a panic of an executor too.
async fn report(
    plan: PlanId,
    task: TaskIndex,
    attempt: Attempt,
    work: impl Future<Output = attempt::AttemptReport> + Send + 'static,
    (actor, launch): (Actor, Launch),
    sender: mpsc::Sender<DriverMessage>,
) {
    let done = match futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(work)).await
    {
        Ok(done) => done,
        Err(_) => attempt::AttemptReport {
            outcome: AttemptOutcome::Failed(TaskError::new(
                ErrorCode::AgentCrashed,
                "the executor crashed",
            )),
            blob: None,
            usage: None,
        },
    };
    let (outcome, usage) = (done.outcome, done.usage);
    let command = RunCommand::Report { task, attempt, outcome, usage };
    let queued = QueuedCommand::from_agent(plan, command, actor, launch).with_blob(done.blob);
    // The driver is gone: the attempt is in the journal and comes again after the next start.
    let _ = sender.send(DriverMessage::Report { queued: Box::new(queued) }).await;
}
