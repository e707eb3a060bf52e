//! Both levels together: lookups, single flight, write-through, degradation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use l05_core::plan::digest_hex;
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use moka::Expiry;
use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::entry::{self, CacheEntry, EntryMarks, SharedEntry, UnusableEntry};
use super::key::{CacheKey, goal_key};
use super::modes::{CacheMode, LevelSeen, LevelWatch};
use super::{CacheCounters, CacheInvalidation, CacheReport, CacheRules};
use crate::port::{CacheError, CacheLevel, Clock};

/// The time that an entry is held, in times of its freshness, for when nothing better can be had.
const STALE_TIMES: u32 = 24;
/// The longest wait for the shared level: a plan must not wait for its cache.
const L2_WITHIN: Duration = Duration::from_millis(500);
/// The interval at which the shared level is asked whether it is there.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A larger plan is not cached: copying it costs as much as it saves.
const CONTENT_BYTES_MAX: usize = 1 << 20;

/// Both levels.
pub(crate) struct PlanCache {
    rules: CacheRules,
    key: hmac::Key,
    mac: hmac::Key,
    clock: Arc<dyn Clock>,
    fresh: Cache<CacheKey, Arc<CacheEntry>>,
    /// All entries, past their time as well.
    held: Cache<CacheKey, Arc<CacheEntry>>,
    // Short and synchronous: never held across an await.
    watch: Mutex<LevelWatch>,
    pub(crate) counters: CacheCounters,
}

/// Each entry's own time: a tenth more or less, so that what came together does not go together.
struct JitteredExpiry(Duration);

impl Expiry<CacheKey, Arc<CacheEntry>> for JitteredExpiry {
    fn expire_after_create(
        &self,
        key: &CacheKey,
        _: &Arc<CacheEntry>,
        _: Instant,
    ) -> Option<Duration> {
        // The key is a hash: as good as chance, and the same on every machine.
        Some(self.0.mul_f64(0.9 + 0.2 * f64::from(key[0]) / 255.0))
    }
}

/// The entry that was found, and the way.
pub(crate) enum FoundEntry {
    /// Somebody made it before, or makes it now.
    Entry(Arc<CacheEntry>),
    /// The caller itself made it.
    Made(Arc<CacheEntry>),
}

impl PlanCache {
    pub(crate) fn new(
        rules: CacheRules,
        key: hmac::Key,
        mac: hmac::Key,
        clock: Arc<dyn Clock>,
    ) -> Arc<PlanCache> {
        let counters = CacheCounters::default();
        let evictions = counters.evictions.clone();
        let cache = |plans: u64| {
            Cache::builder().max_capacity(plans).eviction_policy(EvictionPolicy::lru())
        };
        let fresh = cache(rules.l1_plans)
            .expire_after(JitteredExpiry(rules.l1_fresh))
            .eviction_listener(move |_, _, cause| {
                if cause == moka::notification::RemovalCause::Size {
                    evictions.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        let held = cache(rules.l1_plans).time_to_live(rules.l1_fresh * STALE_TIMES).build();
        let watch = Mutex::new(LevelWatch::new(rules.latency, clock.now()));
        let cache = PlanCache { rules, key, mac, clock, fresh, held, watch, counters };
        let cache = Arc::new(cache);
        if cache.rules.l2.is_some() {
            tokio::spawn(probe(Arc::downgrade(&cache)));
        }
        cache
    }

    pub(crate) fn key(&self) -> &hmac::Key {
        &self.key
    }

    /// True if plans are looked for at all.
    pub(crate) fn is_on(&self) -> bool {
        self.rules.l1_plans > 0 || self.rules.l2.is_some()
    }

    /// A cache is configured, and there is none.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_on() && self.mode() == CacheMode::None
    }

    pub(crate) fn mode(&self) -> CacheMode {
        let seen = match &self.rules.l2 {
            Some(_) => self.watch().seen(),
            None => LevelSeen::Good,
        };
        match (seen, self.rules.l1_plans) {
            (LevelSeen::Good, 0) if self.rules.l2.is_none() => CacheMode::None,
            (LevelSeen::Good, _) => CacheMode::Full,
            (LevelSeen::Down | LevelSeen::Slow, 0) => CacheMode::None,
            (LevelSeen::Down, _) => CacheMode::L1Only,
            (LevelSeen::Slow, _) => CacheMode::L2Bypassed,
        }
    }

    /// Refuses where the configuration wants a cache and there is none.
    pub(crate) fn check_required(&self) -> Result<(), Error> {
        let mode = self.mode();
        let l2_is_usable = mode == CacheMode::Full && self.rules.l2.is_some();
        let missing = (self.rules.required && mode == CacheMode::None)
            || (self.rules.l2_required && !l2_is_usable);
        if missing {
            let message = format!(
                "the plan cache is wanted (cache.required, cache.l2_required) and is in mode {mode:?}"
            );
            return Err(Error::new(ErrorCode::CacheUnavailable, message));
        }
        Ok(())
    }

    /// A fresh entry of this process. No lock, no await that waits: this is the quick way.
    pub(crate) async fn look(&self, key: &CacheKey) -> Option<Arc<CacheEntry>> {
        let found = self.fresh.get(key).await;
        CacheCounters::count(match &found {
            Some(_) => &self.counters.l1_hits,
            None => &self.counters.l1_misses,
        });
        found
    }

    /// Looks in the shared level, else makes the entry; of many callers one does, and the others
    /// get what it made.
    pub(crate) async fn find_or_make<E: Clone + Send + Sync + 'static>(
        &self,
        key: CacheKey,
        make: impl Future<Output = Result<Arc<CacheEntry>, E>>,
    ) -> Result<FoundEntry, E> {
        if self.rules.l1_plans == 0 {
            return make.await.map(FoundEntry::Made);
        }
        let found = self.fresh.entry(key).or_try_insert_with(make).await;
        let found = found.map_err(|error: Arc<E>| (*error).clone())?;
        let is_mine = found.is_fresh();
        let entry = found.into_value();
        if entry.content.len() > CONTENT_BYTES_MAX || !entry.keep {
            self.fresh.invalidate(&key).await;
        } else if is_mine {
            self.held.insert(key, entry.clone()).await;
        }
        Ok(if is_mine { FoundEntry::Made(entry) } else { FoundEntry::Entry(entry) })
    }

    /// An entry past its time.
    pub(crate) async fn stale(&self, key: &CacheKey) -> Option<Arc<CacheEntry>> {
        self.held.get(key).await
    }

    /// Replaces an entry by one that was checked again.
    pub(crate) async fn renew(&self, key: CacheKey, entry: Arc<CacheEntry>) {
        self.fresh.insert(key, entry.clone()).await;
        self.held.insert(key, entry).await;
    }

    /// Forgets an entry that no longer fits.
    pub(crate) async fn drop_outdated(&self, key: &CacheKey) {
        CacheCounters::count(&self.counters.outdated);
        self.fresh.invalidate(key).await;
        self.held.invalidate(key).await;
        self.shared(|level| level.remove(&name(key))).await;
    }

    /// The shared level's entry, checked for who wrote it. What is forged or corrupt is dropped.
    pub(crate) async fn shared_entry(&self, key: &CacheKey) -> Option<SharedEntry> {
        let bytes = self.shared(|level| level.get(&name(key))).await?;
        let Some(bytes) = bytes else {
            CacheCounters::count(&self.counters.l2_misses);
            return None;
        };
        match entry::open(&self.mac, key, &bytes) {
            Ok(shared) => Some(shared),
            Err(why) => {
                self.drop_unusable(key, why).await;
                None
            }
        }
    }

    /// Counts and removes a shared entry that cannot be used.
    pub(crate) async fn drop_unusable(&self, key: &CacheKey, why: UnusableEntry) {
        tracing::warn!(?why, "a shared cache entry cannot be used and is dropped");
        CacheCounters::count(match why {
            UnusableEntry::Forged => &self.counters.forged,
            UnusableEntry::Corrupt => &self.counters.corrupt,
        });
        self.shared(|level| level.remove(&name(key))).await;
    }

    /// Writes an entry through to the shared level.
    pub(crate) async fn share(&self, key: &CacheKey, entry: &CacheEntry) {
        if self.rules.l2.is_none() || entry.content.len() > CONTENT_BYTES_MAX || !entry.keep {
            return;
        }
        let goal = goal_key(&self.key, &entry.plan.document().goal);
        let bytes = entry::seal(&self.mac, key, entry, goal);
        let keep = self.rules.l2_fresh;
        self.shared(|level| level.put(&name(key), bytes, keep)).await;
    }

    /// Forgets entries in all levels; how many the shared one had.
    pub(crate) async fn invalidate(&self, what: &CacheInvalidation) -> Result<usize, CacheError> {
        let goal = match what {
            CacheInvalidation::Goal(goal) => goal_key(&self.key, goal),
            _ => String::new(),
        };
        for cache in [&self.fresh, &self.held] {
            for (key, entry) in cache {
                let own = goal_key(&self.key, &entry.plan.document().goal);
                if is_meant(what, &goal, &EntryMarks::of(&entry.plan, own)) {
                    cache.invalidate(&*key).await;
                }
            }
        }
        let Some(level) = &self.rules.l2 else { return Ok(0) };
        let what = what.clone();
        // What cannot be read serves nobody: it goes as well.
        level
            .remove_if(Box::new(move |bytes| {
                entry::marks(bytes).is_none_or(|marks| is_meant(&what, &goal, &marks))
            }))
            .await
    }

    /// One call of the shared level, if it may be called now. What it took is watched.
    async fn shared<'c, T>(
        &'c self,
        call: impl FnOnce(&'c dyn CacheLevel) -> crate::port::BoxFuture<'c, Result<T, CacheError>>,
    ) -> Option<T> {
        let level = self.rules.l2.as_deref()?;
        if self.watch().seen() != LevelSeen::Good {
            return None;
        }
        self.timed(call(level)).await
    }

    async fn timed<T>(&self, call: crate::port::BoxFuture<'_, Result<T, CacheError>>) -> Option<T> {
        let start = Instant::now();
        let answer = tokio::time::timeout(L2_WITHIN, call).await;
        let (took, value) = match answer {
            Ok(Ok(value)) => (Some(start.elapsed()), Some(value)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the shared cache failed");
                (None, None)
            }
            // What does not answer at all is as good as gone.
            Err(_) => (None, None),
        };
        if value.is_none() {
            CacheCounters::count(&self.counters.l2_failures);
        }
        let changed = self.watch().observe(self.clock.now(), took);
        if let Some(seen) = changed {
            CacheCounters::count(&self.counters.mode_changes);
            tracing::warn!(?seen, "the plan cache's shared level is seen differently now");
        }
        value
    }

    fn watch(&self) -> std::sync::MutexGuard<'_, LevelWatch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn report(&self) -> CacheReport {
        let counters = &self.counters;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheReport {
            mode: self.mode(),
            l1_entries: self.fresh.entry_count(),
            l1_hits: of(&counters.l1_hits),
            l1_misses: of(&counters.l1_misses),
            l2_hits: of(&counters.l2_hits),
            l2_misses: of(&counters.l2_misses),
            stale_hits: of(&counters.stale_hits),
            forged: of(&counters.forged),
            corrupt: of(&counters.corrupt),
            outdated: of(&counters.outdated),
            l2_failures: of(&counters.l2_failures),
            evictions: of(&counters.evictions),
            mode_changes: of(&counters.mode_changes),
            uncached: of(&counters.uncached),
        }
    }
}

/// Asks the shared level now and then whether it is there, so that it is missed and found again
/// without anybody's plan waiting for it.
async fn probe(cache: std::sync::Weak<PlanCache>) {
    loop {
        let Some(cache) = cache.upgrade() else { return };
        let every = PROBE_EVERY.min(cache.rules.latency.window / 4);
        if let Some(level) = &cache.rules.l2 {
            cache.timed(level.ping()).await;
        }
        drop(cache);
        tokio::time::sleep(every).await;
    }
}

fn is_meant(what: &CacheInvalidation, goal: &str, marks: &EntryMarks) -> bool {
    match what {
        CacheInvalidation::Goal(_) => marks.goal == goal,
        CacheInvalidation::Tag(tag) => marks.tags.contains(tag),
        CacheInvalidation::Template(template) => marks.template.as_ref() == Some(template),
        CacheInvalidation::Model(model) => marks.model.as_ref() == Some(model),
        CacheInvalidation::All => true,
    }
}

/// An entry's name in the shared level.
fn name(key: &CacheKey) -> String {
    digest_hex(key)
}

/// The age of an entry.
pub(crate) fn age(entry: &CacheEntry, now: Timestamp) -> f64 {
    now.millis_since(entry.made_at) as f64 / 1_000.0
}
