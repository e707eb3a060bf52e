//! The journal's unit: all events that one commit adds to one plan.

pub use crate::event::Actor;
use l05_core::plan::PlanStatus;

use crate::event::RunEvent;
use l05_core::id::{Epoch, PlanId, Sequence};
use l05_core::time::Timestamp;

/// One commit's events of one plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The plan.
    pub plan: PlanId,
    /// The number of the first event; the others follow.
    pub first: Sequence,
    /// The owner's epoch, which fences the append.
    pub epoch: Epoch,
    /// The time of the decision.
    pub at: Timestamp,
    /// The actor who caused it.
    pub actor: Actor,
    /// The events.
    pub events: Vec<RunEvent>,
    /// Large outputs, written in the same transaction.
    pub blobs: Vec<OutputBlob>,
}

impl Record {
    /// The plan status that the record leaves, where it changes it. Stores keep it beside the plan so
    /// that lists need no replay.
    pub fn status_after(&self) -> Option<PlanStatus> {
        self.events.iter().rev().find_map(RunEvent::plan_status)
    }

    /// The number of the event after the last.
    pub fn next(&self) -> Sequence {
        Sequence(self.first.0 + self.events.len() as u64)
    }
}

/// A large output's JSON text, named by its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputBlob {
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// The text.
    pub json: Vec<u8>,
}
