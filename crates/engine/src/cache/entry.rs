//! Entries: a plan with what is needed to copy it; and the same as signed bytes for a shared level.

use std::sync::Arc;

use aws_lc_rs::hmac;
use l05_core::agent::Agent;
use l05_core::finding::Finding;
use l05_core::plan::Plan;
use l05_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::CacheKey;

/// The format of shared entries. Entries of another are no entries.
const VERSION: u32 = 1;
/// The length of the tag before an entry's bytes.
const TAG_BYTES: usize = 32;

/// A plan to be copied.
pub(crate) struct CacheEntry {
    pub(crate) plan: Arc<Plan>,
    /// The plan's canonical text, which every copy has as well.
    pub(crate) content: Arc<[u8]>,
    pub(crate) warnings: Vec<Finding>,
    pub(crate) made_at: Timestamp,
    /// The agents that it was last checked against.
    pub(crate) agents: Arc<[Agent]>,
    /// The entry came from the shared level, and is another's plan.
    pub(crate) is_shared: bool,
    /// The entry is worth keeping: a template that stood in for a model is not.
    pub(crate) keep: bool,
}

/// The marks that invalidation looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryMarks {
    pub(crate) goal: String,
    pub(crate) template: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) tags: Vec<String>,
}

/// An entry as a shared level keeps it.
#[derive(Serialize, Deserialize)]
pub(crate) struct SharedEntry {
    version: u32,
    pub(crate) marks: EntryMarks,
    pub(crate) made_at: i64,
    /// The signed plan document.
    pub(crate) plan: Value,
}

impl EntryMarks {
    pub(crate) fn of(plan: &Plan, goal: String) -> EntryMarks {
        let metadata = &plan.document().metadata;
        EntryMarks {
            goal,
            template: metadata.template_id.clone(),
            model: metadata.model.clone(),
            tags: metadata.tags.clone(),
        }
    }
}

/// The bytes of an entry: its tag over key and body, and the body. An entry under another key than
/// its own is forged.
pub(crate) fn seal(mac: &hmac::Key, key: &CacheKey, entry: &CacheEntry, goal: String) -> Vec<u8> {
    let plan = serde_json::to_value(entry.plan.document()).expect("a plan is plain data");
    let marks = EntryMarks::of(&entry.plan, goal);
    let shared = SharedEntry { version: VERSION, marks, made_at: entry.made_at.0, plan };
    let body = serde_json::to_vec(&shared).expect("a plan is plain data");
    let mut bytes = tag(mac, key, &body).as_ref().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

/// Reasons for which bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnusableEntry {
    /// The tag does not fit: somebody else wrote it, or its bytes changed.
    Forged,
    /// The bytes are not what this version writes.
    Corrupt,
}

pub(crate) fn open(
    mac: &hmac::Key,
    key: &CacheKey,
    bytes: &[u8],
) -> Result<SharedEntry, UnusableEntry> {
    let (given, body) = bytes.split_at_checked(TAG_BYTES).ok_or(UnusableEntry::Corrupt)?;
    let expected = tag(mac, key, body);
    aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), given)
        .map_err(|_| UnusableEntry::Forged)?;
    let shared: SharedEntry = serde_json::from_slice(body).map_err(|_| UnusableEntry::Corrupt)?;
    if shared.version != VERSION {
        return Err(UnusableEntry::Corrupt);
    }
    Ok(shared)
}

/// The marks of an entry's bytes, whoever wrote them: enough to choose what is removed.
pub(crate) fn marks(bytes: &[u8]) -> Option<EntryMarks> {
    let shared: SharedEntry = serde_json::from_slice(bytes.get(TAG_BYTES..)?).ok()?;
    Some(shared.marks)
}

fn tag(mac: &hmac::Key, key: &CacheKey, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(mac);
    context.update(b"l05-cache-entry-1|");
    context.update(key);
    context.update(body);
    context.sign()
}
