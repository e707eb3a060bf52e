//! Verdicts that are already known. A catalogue keeps one: its schemas never change, so the same
//! reference between the same two tools is compared once, however many plans use it.
//!
//! The one piece of shared state in the core. It changes no answer, only how fast it comes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::FlowVerdict;
use super::projection::ValuePresence;

/// The most verdicts that are kept; past it the memo starts anew. A verdict is a few hundred bytes.
const ENTRIES_MAX: usize = 20_000;

/// The two ends of a comparison: whose schemas, and which parts of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    /// The producer: a tool's name, or the text of a schema that a plan brought along.
    pub(crate) producer: Box<str>,
    /// The path in the producer's output.
    pub(crate) path: Box<str>,
    /// The consumer.
    pub(crate) consumer: Box<str>,
    /// The place in the consumer's inputs.
    pub(crate) place: Box<str>,
}

/// Findings about one flow of data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DataFlow {
    /// The presence of a value at the path.
    pub(crate) presence: ValuePresence,
    /// True if the consumer's schema has branches on the way to the place, so that a fit there is
    /// none of the whole.
    pub(crate) branching: bool,
    /// The verdict on the two schemas.
    pub(crate) verdict: FlowVerdict,
}

/// Known flows.
#[derive(Debug, Default)]
pub(crate) struct FlowMemo {
    known: RwLock<HashMap<FlowKey, Arc<DataFlow>>>,
}

impl FlowMemo {
    /// The flow, made by `make` when it is not known.
    pub(crate) fn get(&self, key: FlowKey, make: impl FnOnce() -> DataFlow) -> Arc<DataFlow> {
        // A poisoned lock still holds whole entries: each is inserted at once.
        if let Some(flow) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return flow.clone();
        }
        let flow = Arc::new(make());
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ENTRIES_MAX {
            known.clear();
        }
        known.insert(key, flow.clone());
        flow
    }
}
