//! Identities. Each is a type of its own, so that a goal's id is never passed for a plan's.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A plan's identity. Always made by us (UUID v7, so that newer plans sort after older ones).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PlanId(#[schemars(with = "String")] pub Uuid);

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for PlanId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<PlanId, uuid::Error> {
        Uuid::parse_str(text).map(PlanId)
    }
}

/// The longest id accepted from outside, in characters.
pub const ID_MAX_CHARS: usize = 128;

/// A goal's identity: a UUID v7 when we make it, else any URL-safe text of at most 128 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct GoalId(String);

impl GoalId {
    /// `None` when the text is empty, too long, or has characters a URL would have to escape.
    pub fn new(text: impl Into<String>) -> Option<GoalId> {
        let text = text.into();
        is_url_safe(&text).then_some(GoalId(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Uuid> for GoalId {
    fn from(id: Uuid) -> GoalId {
        GoalId(id.to_string())
    }
}

/// A requester or actor: a DID (`did:…`, `spiffe://…`) or a plain URL-safe id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct AgentDid(String);

impl AgentDid {
    /// The caller of an embedded or command-line L05, where nobody else is named.
    pub fn local() -> AgentDid {
        AgentDid("local".to_owned())
    }

    /// `None` when the text is neither a DID nor a plain id.
    pub fn new(text: impl Into<String>) -> Option<AgentDid> {
        let text = text.into();
        let is_did = ["did:", "spiffe://"].iter().any(|scheme| {
            text.strip_prefix(scheme)
                .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic()))
        });
        (is_did && text.len() <= DID_MAX_CHARS || is_url_safe(&text)).then_some(AgentDid(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The longest DID accepted, in characters. SPIFFE allows 2,048 bytes; no shorter limit is
/// standard for DIDs.
const DID_MAX_CHARS: usize = 2048;

/// RFC 3986's unreserved characters: what a URL carries without escaping.
pub(crate) fn is_url_safe(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ID_MAX_CHARS
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

/// A task's place in its plan: `0..n` in the order of the document. 32 bits hold the largest plan
/// (1,000,000 tasks) with room, at half the memory of `usize`.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct TaskIndex(pub u32);

impl TaskIndex {
    /// For indexing the per-task vectors.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// The number of an attempt at a task, from 1; never restarts, not in a new run either.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Attempt(pub u16);

impl Attempt {
    /// The number of the next attempt.
    #[must_use]
    pub fn next(self) -> Attempt {
        Attempt(self.0.saturating_add(1))
    }
}

/// Counts owners of a run: each takeover raises it, and an append with an old epoch is refused.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// An event's number within its plan, from 1.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

/// One process that drives runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WorkerId(pub Uuid);
