//! What a run is told, what it answers, and what its driver must then do.

use super::event::{Event, Output, Scope, TaskError, Usage, Verdict};
use crate::error::{Error, ErrorCode};
use crate::graph::EdgeIndex;
use crate::id::{Attempt, Epoch, TaskIndex};

/// An input of the machine. Imperative: it may be refused.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin a run.
    Start {
        /// Which tasks run again.
        from: Rerun,
    },
    /// A new owner goes on with a run whose last owner is gone.
    Adopt {
        /// The new owner's epoch.
        epoch: Epoch,
    },
    /// Conditions of dependencies into `task` were evaluated.
    Resolved {
        /// The task they lead to.
        task: TaskIndex,
        /// The verdicts; an error fails the task.
        edges: Vec<(EdgeIndex, Result<Verdict, TaskError>)>,
    },
    /// An executor is done with an attempt.
    Report {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: Attempt,
        /// How it went.
        outcome: Outcome,
        /// What it used.
        usage: Usage,
    },
    /// End the plan or a task.
    Cancel {
        /// What.
        scope: Scope,
        /// Why, in words.
        reason: String,
    },
    /// Time has passed, or room came free.
    Wake,
}

/// Which tasks a run runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rerun {
    /// All; the plan has not run before.
    Fresh,
    /// All that did not complete.
    Failed,
    /// This one and everything behind it, beside what did not complete.
    From(TaskIndex),
}

/// How an attempt went.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It succeeded.
    Completed(Output),
    /// It failed.
    Failed(TaskError),
    /// It stopped because it was told to.
    Stopped,
}

/// What the driver does once the events are durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Evaluate the conditions of these dependencies of `task`, answer with
    /// [`Command::Resolved`].
    Resolve {
        /// The task they lead to.
        task: TaskIndex,
        /// The dependencies.
        edges: Vec<EdgeIndex>,
    },
    /// Start an attempt.
    Dispatch {
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
pub struct Decision {
    /// To be journaled, in this order.
    pub events: Vec<Event>,
    /// To be done once they are durable.
    pub effects: Vec<Effect>,
}

/// A command that does not fit the state. Nothing changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Rejected {
    /// The stable code.
    pub code: ErrorCode,
    /// Names the state and what it allows.
    pub message: String,
}

impl Rejected {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Rejected {
        Rejected { code, message: message.into() }
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Error {
        Error::new(rejected.code, rejected.message)
    }
}
