//! What the shard is told and what it answers.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use l05_core::Error;
use l05_core::agent::Agent;
use l05_core::graph::EdgeIndex;
use l05_core::id::{Attempt, Epoch, PlanId, TaskIndex};
use l05_core::plan::{Plan, PlanStatus};
use l05_core::schedule::RoutingStrategy;
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;
use l05_run::Run;
use l05_run::command::{OwnWorkspace, RunCommand, RunLimits};
use l05_run::event::{TaskError, TaskOutput};
use l05_run::machine::GateApproval;
use l05_run::machine::MapItem;
use l05_run::record::{Actor, OutputBlob, Record};

use super::roster::{AgentInput, AgentRoster};
use crate::port::Launch;

/// Names a caller that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplyTicket(pub u64);

/// An answer to a command, for whoever holds the ticket.
pub type Reply = (ReplyTicket, Result<(), Error>);

/// Inputs of the shard.
#[derive(Debug)]
pub enum ShardInput {
    /// A run whose journal the driver has folded. Also the answer to [`ShardTurn::reload`].
    Open {
        /// The folded state.
        run: Box<Run>,
        /// The epoch under which this process owns it.
        epoch: Epoch,
    },
    /// Something for a run.
    Command(QueuedCommand),
    /// Something about an agent.
    Agent {
        /// News of an agent.
        input: AgentInput,
        /// The time.
        at: Timestamp,
    },
    /// The tools have changed.
    Tools {
        /// Tools whose attempts may be repeated without harm.
        idempotent: BTreeSet<String>,
        /// The present process as an agent.
        local: Box<Agent>,
    },
    /// Drop a run from memory; its journal keeps it. Callers that wait get the error.
    Close {
        /// The plan.
        plan: PlanId,
        /// The reason.
        error: Option<Error>,
    },
}

/// A command on its way to a run.
#[derive(Debug)]
pub struct QueuedCommand {
    /// The plan.
    pub plan: PlanId,
    /// The command.
    pub command: RunCommand,
    /// Whoever causes it: the record is filed under this name.
    pub actor: Actor,
    /// A caller's act, which is never filed together with anybody else's.
    pub is_callers: bool,
    /// The caller that waits for the answer.
    pub ticket: Option<ReplyTicket>,
    /// The start of the attempt that a report is about; none: whichever the journal knows.
    pub launch: Option<Launch>,
    /// A large output that comes with a report.
    pub blob: Option<OutputBlob>,
}

impl QueuedCommand {
    /// A caller's command.
    pub fn from_caller(
        plan: PlanId,
        command: RunCommand,
        caller: Actor,
        ticket: Option<ReplyTicket>,
    ) -> QueuedCommand {
        let (launch, blob) = (None, None);
        QueuedCommand { plan, command, actor: caller, is_callers: true, ticket, launch, blob }
    }

    /// A command that a part of this process sends by itself.
    pub fn from_system(plan: PlanId, command: RunCommand, part: &str) -> QueuedCommand {
        let (ticket, launch, blob) = (None, None, None);
        let actor = part.into();
        QueuedCommand { plan, command, actor, is_callers: false, ticket, launch, blob }
    }

    /// The report of an agent's executor about one of its launches.
    pub fn from_agent(
        plan: PlanId,
        report: RunCommand,
        agent: Actor,
        launch: Launch,
    ) -> QueuedCommand {
        let (command, launch) = (report, Some(launch));
        QueuedCommand {
            plan,
            command,
            actor: agent,
            is_callers: false,
            ticket: None,
            launch,
            blob: None,
        }
    }

    /// Adds a large output.
    #[must_use]
    pub fn with_blob(mut self, blob: Option<OutputBlob>) -> QueuedCommand {
        self.blob = blob;
        self
    }
}

/// The driver's next steps.
#[derive(Debug, Default)]
pub struct ShardTurn {
    /// To be appended as one batch, at most one record per plan.
    pub append: Vec<Arc<Record>>,
    /// To be carried out; all of it is durable.
    pub actions: Vec<ShardAction>,
    /// Answers to commands; what they acknowledge is durable.
    pub replies: Vec<Reply>,
    /// Runs to be folded from the journal again and given back with [`ShardInput::Open`].
    pub reload: Vec<PlanId>,
    /// Runs that the store will not go on with: what it reads and what it takes contradict each other.
    pub broken: Vec<PlanId>,
    /// The time at which to poll again even if nothing arrives.
    pub wake_at: Option<Timestamp>,
    /// Remains of large runs, to be dropped where it holds nobody up: that of 100,000 tasks takes
    /// tens of milliseconds.
    pub left_behind: Vec<Box<dyn Any + Send>>,
}

/// An effect with what it takes to carry it out.
#[derive(Debug)]
pub enum ShardAction {
    /// Start an attempt.
    Start(TaskLaunch),
    /// Evaluate conditions.
    Resolve(ConditionRequest),
    /// Evaluate a fan-out's list.
    Expand(ListRequest),
    /// Tell an executor to stop.
    Stop {
        /// The plan.
        plan: PlanId,
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
    },
    /// Give an attempt up: its agent is gone, and the same attempt goes elsewhere.
    Abandon {
        /// The plan.
        plan: PlanId,
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
    },
    /// Tell all executors of a plan to stop: another process owns it now.
    StopAll(PlanId),
    /// Nothing happens to the run before a person answers.
    Waiting(PlanId),
    /// The run ended.
    Finished {
        /// The plan.
        plan: PlanId,
        /// The status at the end.
        status: PlanStatus,
    },
}

/// An attempt to start.
#[derive(Debug)]
pub struct TaskLaunch {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The task.
    pub task: TaskIndex,
    /// The plan's task that it is, or is an item of.
    pub origin: TaskIndex,
    /// The task's name; items of fan-outs are `map[3]`.
    pub name: Arc<str>,
    /// The attempt.
    pub attempt: Attempt,
    /// The agent that has it.
    pub agent: Arc<str>,
    /// To be given back with the report.
    pub launch: Launch,
    /// The time at which it times out.
    pub not_after: Timestamp,
    /// Outputs of its dependencies.
    pub needs: Vec<ProducedOutput>,
    /// The item that it is for.
    pub item: Option<MapItem>,
    /// The workspace that the run belongs to.
    pub workspace: Option<Arc<str>>,
    /// The person's answer when it was let through.
    pub answer: Option<GateApproval>,
}

/// A list to evaluate.
#[derive(Debug)]
pub struct ListRequest {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The fan-out.
    pub task: TaskIndex,
    /// Outputs of its dependencies.
    pub needs: Vec<ProducedOutput>,
}

/// Conditions to evaluate.
#[derive(Debug)]
pub struct ConditionRequest {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The task they lead to.
    pub task: TaskIndex,
    /// The conditional dependencies, each with what its producer gave.
    pub edges: Vec<(EdgeIndex, ProducedOutput)>,
}

/// The end of a dependency.
#[derive(Debug, Clone)]
pub struct ProducedOutput {
    /// The task.
    pub task: TaskIndex,
    /// The status.
    pub status: TaskStatus,
    /// The output.
    pub output: Option<TaskOutput>,
    /// The reason for which it failed.
    pub error: Option<TaskError>,
}

/// Limits of a process's runs.
#[derive(Debug, Clone, Default)]
pub struct ShardRules {
    /// Attempts in flight over all plans.
    pub in_flight_max: u32,
    /// The time that a person has to answer.
    pub answer_within_millis: Option<u64>,
    /// Tools whose attempts may be repeated without harm.
    pub idempotent_tools: BTreeSet<String>,
    /// The workspace of the process.
    pub workspace: Option<Arc<OwnWorkspace>>,
    /// The present process as an agent, for the choice among several.
    pub local_agent: Option<Agent>,
    /// The rule by which a task finds its agent.
    pub routing: RoutingStrategy,
    /// The interval at which agents are to be heard of; 0: every ten seconds.
    pub heartbeat_millis: u64,
    /// The number of owners that may die in a row with the same attempts in flight before a run is suspended; 0: any.
    pub deaths_max: u16,
    /// The interval at which runs are looked at for stragglers and the like; 0: never.
    pub observe_millis: u64,
}

/// The interval at which agents are to be heard of (spec 03, 3.11).
pub const HEARTBEAT_MILLIS_DEFAULT: u64 = 10_000;

impl ShardRules {
    /// Room for some attempts and nothing else.
    pub fn room(in_flight_max: u32) -> ShardRules {
        ShardRules { in_flight_max, ..ShardRules::default() }
    }

    pub(super) fn terms<'a>(&'a self, running_max: u32, roster: &'a AgentRoster) -> RunLimits<'a> {
        RunLimits {
            running_max,
            crew: roster.crew(),
            answer_within_millis: self.answer_within_millis,
            idempotent_tools: &self.idempotent_tools,
            workspace: self.workspace.as_deref(),
            deaths_max: if self.deaths_max == 0 { u16::MAX } else { self.deaths_max },
        }
    }
}
