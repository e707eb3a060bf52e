//! Callers' end of the driver: what can be asked, and of whom.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use l05_core::agent::Agent;
use l05_core::id::{Epoch, PlanId};
use l05_core::plan::PlanStatus;
use l05_core::{Error, ErrorCode};
use l05_run::Run;
use l05_run::command::RunCommand;
use l05_run::record::Actor;
use tokio::sync::{mpsc, oneshot, watch};

use crate::port::Executor;
use crate::shard::{AgentInput, QueuedCommand};

/// The time that running tasks may still take after [`PlanningService::shutdown`](crate::PlanningService::shutdown).
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// The end of a run, as the driver sees it.
#[derive(Debug, Clone)]
pub(crate) enum RunEnd {
    /// The machine finished it.
    Finished(PlanStatus),
    /// The run has not ended: nothing happens before a person answers.
    Waiting,
    /// The run goes on no more in this process; why.
    Paused(Error),
}

pub(super) enum DriverMessage {
    /// A run that this process has claimed, with what it is told first: nothing else may be decided
    /// before that, because what is in flight is still the last owner's.
    Open {
        run: Box<Run>,
        epoch: Epoch,
        commands: Vec<RunCommand>,
        caller: Actor,
        /// The outcome of the first of them.
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Command {
        plan: PlanId,
        command: RunCommand,
        caller: Actor,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Report {
        queued: Box<QueuedCommand>,
    },
    /// An agent is there and takes work.
    Register {
        agent: Box<Agent>,
        executor: Arc<dyn Executor>,
    },
    /// Something about an agent.
    Agent(AgentInput),
    /// The tools have changed: those that may be repeated, and this process as an agent.
    Tools {
        idempotent: BTreeSet<String>,
        local: Box<Agent>,
    },
    /// All agents as they are now.
    Agents(oneshot::Sender<Vec<Agent>>),
    /// Asks whether this process drives the run.
    IsDriven {
        plan: PlanId,
        reply: oneshot::Sender<bool>,
    },
    /// Drop a run that did not begin.
    Close(PlanId),
    /// Let go of a run that waits for people; another process may claim it then. Whether it was let go
    /// of.
    Park {
        plan: PlanId,
        reply: oneshot::Sender<bool>,
    },
    /// Tells when the run ends; at once if it is not driven here.
    AwaitEnd {
        plan: PlanId,
        reply: oneshot::Sender<RunEnd>,
    },
    Stop {
        grace: Duration,
        reply: oneshot::Sender<()>,
    },
}

/// The door to the driver: all that a service knows of it.
#[derive(Clone)]
pub(crate) struct RunDriver {
    pub(super) sender: mpsc::Sender<DriverMessage>,
    pub(super) agents: watch::Receiver<Arc<[Agent]>>,
}

impl RunDriver {
    /// Opens a run and tells it `commands`; how the first went. When it was refused the run is closed
    /// again, and still owned.
    pub(crate) async fn open(
        &self,
        run: Run,
        epoch: Epoch,
        commands: impl IntoIterator<Item = RunCommand>,
        caller: Actor,
    ) -> Result<(), Error> {
        let plan = run.plan().id();
        let (reply, answer) = oneshot::channel();
        let (run, commands) = (Box::new(run), commands.into_iter().collect());
        self.send(DriverMessage::Open { run, epoch, commands, caller, reply }).await?;
        let begun = answer.await.unwrap_or_else(|_| Err(stopped()));
        if begun.is_err() {
            self.send(DriverMessage::Close(plan)).await?;
        }
        begun
    }

    /// Tells a run that is driven here something; how it went.
    pub(crate) async fn command(
        &self,
        plan: PlanId,
        command: RunCommand,
        caller: Actor,
    ) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(DriverMessage::Command { plan, command, caller, reply }).await?;
        answer.await.map_err(|_| stopped())?
    }

    /// Waits until a run has ended, rests, or is not driven here any more.
    pub(crate) async fn wait(&self, plan: PlanId) -> Result<RunEnd, Error> {
        let (reply, ended) = oneshot::channel();
        self.send(DriverMessage::AwaitEnd { plan, reply }).await?;
        ended.await.map_err(|_| stopped().suggest(format!("`l05 execute {plan}` goes on")))
    }

    /// Lets go of a run that waits for people. False: it does not wait any more.
    pub(crate) async fn park(&self, plan: PlanId) -> Result<bool, Error> {
        let (reply, parked) = oneshot::channel();
        self.send(DriverMessage::Park { plan, reply }).await?;
        // Gone before an answer: it was not driven here.
        Ok(parked.await.unwrap_or(true))
    }

    /// True if this process drives the run.
    pub(crate) async fn is_driven(&self, plan: PlanId) -> Result<bool, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(DriverMessage::IsDriven { plan, reply }).await?;
        Ok(answer.await.unwrap_or(false))
    }

    /// The agents; how busy they are is as of the last change.
    pub(crate) fn agents(&self) -> Arc<[Agent]> {
        self.agents.borrow().clone()
    }

    /// Watches the agents.
    pub(crate) fn watch_agents(&self) -> watch::Receiver<Arc<[Agent]>> {
        self.agents.clone()
    }

    /// All agents as they are now.
    pub(crate) async fn all_agents(&self) -> Result<Vec<Agent>, Error> {
        let (reply, agents) = oneshot::channel();
        self.send(DriverMessage::Agents(reply)).await?;
        agents.await.map_err(|_| stopped())
    }

    /// Adds an agent with whatever does its work.
    pub(crate) async fn register(
        &self,
        agent: Agent,
        executor: Arc<dyn Executor>,
    ) -> Result<(), Error> {
        self.send(DriverMessage::Register { agent: Box::new(agent), executor }).await
    }

    /// Something about an agent.
    pub(crate) async fn tell_agent(&self, input: AgentInput) -> Result<(), Error> {
        self.send(DriverMessage::Agent(input)).await
    }

    /// The tools have changed.
    pub(crate) async fn set_tools(
        &self,
        idempotent: BTreeSet<String>,
        local: Agent,
    ) -> Result<(), Error> {
        self.send(DriverMessage::Tools { idempotent, local: Box::new(local) }).await
    }

    /// Stops: nothing new starts, running tasks get the grace, then their executors are told to stop.
    pub(crate) async fn stop(&self) {
        let (reply, stopped) = oneshot::channel();
        if self.send(DriverMessage::Stop { grace: SHUTDOWN_GRACE, reply }).await.is_ok() {
            let _ = stopped.await;
        }
    }

    async fn send(&self, message: DriverMessage) -> Result<(), Error> {
        self.sender.send(message).await.map_err(|_| stopped())
    }
}

fn stopped() -> Error {
    Error::new(ErrorCode::PlanNotExecutable, "the service has shut down")
}
