//! Callers' end of the driver: what can be asked, and of whom.

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

/// How a run came to its end, as the driver sees it.
#[derive(Debug, Clone)]
pub(crate) enum RunEnd {
    /// The machine finished it.
    Finished(PlanStatus),
    /// It has not ended: nothing happens before a person answers.
    Waiting,
    /// It goes on no more in this process; why.
    Paused(Error),
}

pub(crate) enum DriverMessage {
    /// A run that this process has claimed, with what it is told first: nothing else may be decided
    /// before that, because what is in flight is still the last owner's.
    Open {
        run: Box<Run>,
        epoch: Epoch,
        commands: Vec<RunCommand>,
        /// How the first of them went.
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Command {
        plan: PlanId,
        command: RunCommand,
        actor: Actor,
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
    /// All agents as they are now.
    Agents(oneshot::Sender<Vec<Agent>>),
    /// Whether this process drives the run.
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

/// Callers' end of the driver.
#[derive(Clone)]
pub(crate) struct DriverHandle {
    pub(super) sender: mpsc::Sender<DriverMessage>,
    pub(super) agents: watch::Receiver<Arc<[Agent]>>,
}

impl DriverHandle {
    /// Who is there; how busy they are is as of the last change.
    pub(crate) fn agents(&self) -> Arc<[Agent]> {
        self.agents.borrow().clone()
    }

    pub(crate) async fn send(&self, message: DriverMessage) -> Result<(), Error> {
        self.sender.send(message).await.map_err(|_| stopped())
    }

    /// Opens a run and tells it `commands`; how the first went. When it was refused the run is closed
    /// again, and still owned.
    pub(crate) async fn open(
        &self,
        run: Run,
        epoch: Epoch,
        commands: impl IntoIterator<Item = RunCommand>,
    ) -> Result<(), Error> {
        let plan = run.plan().id();
        let (reply, answer) = oneshot::channel();
        let (run, commands) = (Box::new(run), commands.into_iter().collect());
        self.send(DriverMessage::Open { run, epoch, commands, reply }).await?;
        let begun = answer.await.unwrap_or_else(|_| Err(stopped()));
        if begun.is_err() {
            self.send(DriverMessage::Close(plan)).await?;
        }
        begun
    }

    pub(crate) async fn command(
        &self,
        plan: PlanId,
        command: RunCommand,
        actor: Actor,
    ) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(DriverMessage::Command { plan, command, actor, reply }).await?;
        answer.await.map_err(|_| stopped())?
    }
}

fn stopped() -> Error {
    Error::new(ErrorCode::PlanNotExecutable, "the service has shut down")
}
