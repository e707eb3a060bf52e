//! The plan cache: a level in this process, and one that processes share (spec 02, 2.5).
//!
//! A hit gives a new plan of the same content: fresh ids, a signature of its own, checked against
//! the tools, agents and limits of today. Nothing needs the cache: whatever fails here costs time.

mod entry;
mod key;
mod levels;
mod modes;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

pub use modes::{CacheMode, LatencyRules};

pub(crate) use entry::{CacheEntry, UnusableEntry};
pub(crate) use key::{CacheKey, RequestShape, cache_key};
pub(crate) use levels::{FoundEntry, PlanCache, age};

use crate::port::CacheLevel;

/// Rules of the plan cache.
#[derive(Clone)]
pub struct CacheRules {
    /// Plans in this process; 0: it keeps none.
    pub l1_plans: u64,
    /// The time for which a plan counts as fresh here. Each entry's own time differs by up to a
    /// tenth.
    pub l1_fresh: Duration,
    /// The level that processes share.
    pub l2: Option<Arc<dyn CacheLevel>>,
    /// The time for which it keeps an entry.
    pub l2_fresh: Duration,
    /// Planning fails when there is no cache at all (mode 4).
    pub required: bool,
    /// Planning fails when the shared level cannot be used.
    pub l2_required: bool,
    /// Rules by which the shared level counts as slow.
    pub latency: LatencyRules,
}

/// Without the address of the shared level.
impl fmt::Debug for CacheRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CacheRules { l1_plans, l1_fresh, l2, l2_fresh, required, l2_required, latency } = self;
        f.debug_struct("CacheRules")
            .field("l1", &(l1_plans, l1_fresh))
            .field("l2", &(l2.is_some(), l2_fresh))
            .field("required", &(required, l2_required))
            .field("latency", latency)
            .finish()
    }
}

impl Default for CacheRules {
    /// One level, an hour.
    fn default() -> CacheRules {
        CacheRules {
            l1_plans: 10_000,
            l1_fresh: Duration::from_secs(3_600),
            l2: None,
            l2_fresh: Duration::from_secs(3_600),
            required: false,
            l2_required: false,
            latency: LatencyRules::default(),
        }
    }
}

impl CacheRules {
    /// Nothing is cached.
    pub fn off() -> CacheRules {
        CacheRules { l1_plans: 0, ..CacheRules::default() }
    }
}

/// Entries that are to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheInvalidation {
    /// Entries of a goal, however it was planned.
    Goal(String),
    /// Entries with a tag.
    Tag(String),
    /// Entries that a template made.
    Template(String),
    /// Entries that a model made.
    Model(String),
    /// All.
    All,
}

/// Numbers of what happened so far.
#[derive(Default)]
pub(crate) struct CacheCounters {
    pub(crate) l1_hits: AtomicU64,
    pub(crate) l1_misses: AtomicU64,
    pub(crate) l2_hits: AtomicU64,
    pub(crate) l2_misses: AtomicU64,
    pub(crate) stale_hits: AtomicU64,
    pub(crate) forged: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) outdated: AtomicU64,
    pub(crate) l2_failures: AtomicU64,
    pub(crate) evictions: Arc<AtomicU64>,
    pub(crate) mode_changes: AtomicU64,
    pub(crate) uncached: AtomicU64,
}

impl CacheCounters {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The state of the cache, and numbers of what happened so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheReport {
    /// The degradation mode.
    pub mode: CacheMode,
    /// Entries in this process.
    pub l1_entries: u64,
    /// Found here.
    pub l1_hits: u64,
    /// Not found here.
    pub l1_misses: u64,
    /// Found in the shared level.
    pub l2_hits: u64,
    /// Not found there.
    pub l2_misses: u64,
    /// Taken past their time, because nothing better could be had.
    pub stale_hits: u64,
    /// Shared entries whose tag did not fit: dropped.
    pub forged: u64,
    /// Shared entries that could not be read: dropped.
    pub corrupt: u64,
    /// Entries that no longer fit today's tools, agents and limits: dropped.
    pub outdated: u64,
    /// Calls of the shared level that failed or took too long.
    pub l2_failures: u64,
    /// Entries that made room for others.
    pub evictions: u64,
    /// Changes of the mode.
    pub mode_changes: u64,
    /// Plans that were made without any cache (mode 4).
    pub uncached: u64,
}
