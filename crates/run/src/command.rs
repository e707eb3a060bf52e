//! What a run is told, what it answers, and what its driver must then do.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::amounts::Usage;
use crate::event::RunNotice;
use crate::event::{Actor, CancelScope, ConditionVerdict, Gate, RunEvent, TaskError, TaskOutput};
use crate::placement::Crew;
use l05_core::error::{Error, ErrorCode};
use l05_core::graph::EdgeIndex;
use l05_core::id::{Attempt, Epoch, TaskIndex};

/// An input of the machine. Imperative: it may be refused.
#[derive(Clone, Debug)]
pub enum RunCommand {
    /// Begin a run.
    Start {
        /// The tasks that run again.
        from: RerunScope,
        /// A budget in place of what is left of the plan's.
        budget: NewBudget,
        /// The caller.
        by: Actor,
    },
    /// A new owner goes on with a run whose last owner is gone.
    Adopt {
        /// The new owner's epoch.
        epoch: Epoch,
        /// The last owner died: it did not give the run up.
        after_death: bool,
    },
    /// Somebody lets a suspended run go on, under a new owner.
    Resume {
        /// The new owner's epoch.
        epoch: Epoch,
        /// The caller.
        by: Actor,
    },
    /// An agent has gone; what it was working on goes elsewhere.
    AgentLost {
        /// The agent's id.
        agent: Arc<str>,
    },
    /// Conditions of dependencies into `task` were evaluated.
    Resolved {
        /// The task they lead to.
        task: TaskIndex,
        /// The verdicts; an error fails the task.
        edges: Vec<(EdgeIndex, Result<ConditionVerdict, TaskError>)>,
    },
    /// A fan-out's list was evaluated.
    Expanded {
        /// The fan-out.
        task: TaskIndex,
        /// The list and its length; an error fails the task.
        items: Result<(TaskOutput, u32), TaskError>,
    },
    /// A person answers.
    AnswerGate {
        /// The gate.
        gate: Gate,
        /// The answer.
        approve: bool,
        /// The person.
        by: String,
        /// The person's reason.
        reason: String,
    },
    /// An executor is done with an attempt.
    Report {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
        /// The outcome.
        outcome: AttemptOutcome,
        /// The amounts used; `None`: nobody knows, and all that was reserved for it counts.
        usage: Option<Usage>,
    },
    /// End the plan or a task.
    Cancel {
        /// The part of the run.
        scope: CancelScope,
        /// The reason, in words.
        reason: String,
        /// The caller.
        by: Actor,
    },
    /// Something was noticed about the run.
    Notice {
        /// The notices.
        notices: Vec<RunNotice>,
    },
    /// Time has passed, or room came free.
    Wake,
}

impl RunCommand {
    /// Begin a run with what is left of the plan's budget.
    pub fn start(from: RerunScope, by: Actor) -> RunCommand {
        RunCommand::Start { from, budget: NewBudget::default(), by }
    }
}

/// Limits of a run beside its plan.
#[derive(Clone, Copy, Debug)]
pub struct RunLimits<'a> {
    /// The most attempts that the process lets this run have in flight.
    pub running_max: u32,
    /// The time that a person has to answer.
    pub answer_within_millis: Option<u64>,
    /// Tools whose attempts may be repeated without harm.
    pub idempotent_tools: &'a BTreeSet<String>,
    /// The workspace of this process; none: runs are bound to none.
    pub workspace: Option<&'a OwnWorkspace>,
    /// The number of owners that may die in a row with the same attempts in flight before the run is suspended.
    pub deaths_max: u16,
    /// The agents that do the work, without what this run has them do; none: this process alone.
    pub crew: Option<&'a Crew>,
}

/// The workspace of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnWorkspace {
    /// The workspace's identity, a text that only whoever finds folders reads.
    pub identity: Arc<str>,
    /// Tools that work in it.
    pub tools: BTreeSet<String>,
}

/// [`RunLimits::deaths_max`] where nobody says otherwise (spec 03, 3.14).
pub const DEATHS_MAX_DEFAULT: u16 = 3;

static NO_TOOLS: BTreeSet<String> = BTreeSet::new();

impl RunLimits<'_> {
    /// Room for some attempts, no time limit on answers, nothing known of tools.
    pub fn room(running_max: u32) -> RunLimits<'static> {
        RunLimits {
            deaths_max: DEATHS_MAX_DEFAULT,
            running_max,
            answer_within_millis: None,
            idempotent_tools: &NO_TOOLS,
            workspace: None,
            crew: None,
        }
    }
}

/// The tasks that a run runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RerunScope {
    /// All; the plan has not run before.
    Fresh,
    /// All that did not complete.
    Failed,
    /// One task and everything behind it, beside what did not complete.
    From(TaskIndex),
}

/// A budget that a new run of a plan gets, kind by kind; where there is none, it has what earlier runs
/// left.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NewBudget {
    /// Model tokens, in and out.
    pub tokens: Option<u64>,
    /// US dollars.
    pub cost_usd: Option<f64>,
}

impl NewBudget {
    /// True if it says anything.
    pub fn is_some(&self) -> bool {
        self.tokens.is_some() || self.cost_usd.is_some()
    }
}

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptOutcome {
    /// The attempt succeeded.
    Completed(TaskOutput),
    /// The attempt failed.
    Failed(TaskError),
    /// The attempt stopped because it was told to.
    Stopped,
}

/// Work for the driver once the events are durable.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEffect {
    /// Evaluate the conditions of these dependencies of `task`, answer with
    /// [`RunCommand::Resolved`].
    Resolve {
        /// The task they lead to.
        task: TaskIndex,
        /// The dependencies.
        edges: Vec<EdgeIndex>,
    },
    /// Evaluate a fan-out's list, answer with [`RunCommand::Expanded`].
    Expand {
        /// The fan-out.
        task: TaskIndex,
    },
    /// Start an attempt.
    Dispatch {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
    },
    /// Give an attempt up: its agent is gone, and it will be started again under the same number.
    Abandon {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
    },
    /// Tell an executor to stop.
    Stop {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
    },
    /// The run ended.
    Finished,
}

/// The machine's answer to a command. Empty when there is nothing to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunDecision {
    /// To be journaled, in this order.
    pub events: Vec<RunEvent>,
    /// To be done once they are durable.
    pub effects: Vec<RunEffect>,
}

/// A command that does not fit the state. Nothing changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct CommandRejected {
    /// The stable code.
    pub code: ErrorCode,
    /// Names the state and what it allows.
    pub message: String,
    /// The thing to do, where that is not what the code's own row says.
    pub instead: Option<&'static str>,
}

impl CommandRejected {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> CommandRejected {
        CommandRejected { code, message: message.into(), instead: None }
    }

    pub(super) fn suggest(self, instead: &'static str) -> CommandRejected {
        CommandRejected { instead: Some(instead), ..self }
    }
}

impl From<CommandRejected> for Error {
    fn from(rejected: CommandRejected) -> Error {
        let error = Error::new(rejected.code, rejected.message);
        match rejected.instead {
            Some(suggestion) => error.suggest(suggestion),
            None => error,
        }
    }
}
