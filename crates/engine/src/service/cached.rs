//! Planning through the cache: copies of what was planned before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use l05_core::finding::{Finding, ValidationLevel};
use l05_core::plan::{CacheHit, CachedCopy, PlanDocument};
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use l05_draft::decomposition::prompt_version;

use super::PlanningService;
use super::planning::{PlanRequest, PlannedGoal, PlanningStrategy, planning_ends};
use crate::cache::{
    CacheCounters, CacheEntry, CacheInvalidation, CacheKey, CacheReport, FoundEntry, RequestShape,
    UnusableEntry, age, cache_key, is_asked_alike,
};
use crate::decomposer::OUT_OF_TIME;

impl PlanningService {
    pub(super) async fn create_cached(
        &self,
        request: &PlanRequest,
        now: Timestamp,
    ) -> Result<PlannedGoal, Error> {
        let cache = &self.inner.cache;
        let key = self.cache_key(request).await?;
        if let Some(entry) = cache.look(&key).await
            && let Some(planned) = self.copy(&key, &entry, request, CacheHit::L1).await?
        {
            return Ok(planned);
        }
        let stale = cache.stale(&key).await;
        let is_mine = AtomicBool::new(false);
        let make = Box::pin(async {
            is_mine.store(true, Ordering::Relaxed);
            self.find_shared_or_make(key, request, now, stale.is_some()).await
        });
        let until = planning_ends(request, now);
        let found = match within(until, now, cache.find_or_make(key, make)).await {
            // It ran out of another's time; this caller has its own.
            Err(error)
                if error.details.contains_key(OUT_OF_TIME) && !is_mine.load(Ordering::Relaxed) =>
            {
                self.make(request, self.now(), stale.is_some()).await.map(FoundEntry::Made)
            }
            found => found,
        };
        match found {
            Ok(FoundEntry::Made(entry)) if !entry.is_shared => {
                Ok(PlannedGoal { plan: entry.plan.clone(), warnings: entry.warnings.clone() })
            }
            Ok(FoundEntry::Made(entry)) => {
                self.copy_or_make(&key, &entry, request, CacheHit::L2).await
            }
            Ok(FoundEntry::Entry(entry)) => {
                self.copy_or_make(&key, &entry, request, CacheHit::L1).await
            }
            Err(error) => {
                let Some(entry) = stale else { return Err(error) };
                let copied = match is_of_model(&error) {
                    true => self.copy(&key, &entry, request, CacheHit::Stale).await?,
                    false => None,
                };
                let Some(mut planned) = copied else {
                    // It kept a template from stepping in, and is of no use itself.
                    let made = self.make(request, self.now(), false).await?;
                    return Ok(PlannedGoal {
                        plan: made.plan.clone(),
                        warnings: made.warnings.clone(),
                    });
                };
                CacheCounters::count(&cache.counters.stale_hits);
                let message = format!("{error}; a plan of an earlier time was taken");
                planned.warnings.push(Finding::new(
                    error.code,
                    ValidationLevel::Feasibility,
                    message,
                ));
                Ok(planned)
            }
        }
    }

    /// An entry that stopped fitting between two looks is planned afresh.
    async fn copy_or_make(
        &self,
        key: &CacheKey,
        entry: &CacheEntry,
        request: &PlanRequest,
        hit: CacheHit,
    ) -> Result<PlannedGoal, Error> {
        if let Some(planned) = self.copy(key, entry, request, hit).await? {
            return Ok(planned);
        }
        let made = self.make(request, self.now(), false).await?;
        Ok(PlannedGoal { plan: made.plan.clone(), warnings: made.warnings.clone() })
    }

    async fn find_shared_or_make(
        &self,
        key: CacheKey,
        request: &PlanRequest,
        now: Timestamp,
        stale_is_held: bool,
    ) -> Result<Arc<CacheEntry>, Error> {
        if let Some(entry) = self.shared(&key).await? {
            return Ok(Arc::new(entry));
        }
        let entry = self.make(request, now, stale_is_held).await?;
        self.inner.cache.share(&key, &entry).await;
        Ok(entry)
    }

    /// The shared level's entry: its tag, its plan's signature, and today's tools, agents and limits
    /// are checked before anybody sees it.
    async fn shared(&self, key: &CacheKey) -> Result<Option<CacheEntry>, Error> {
        let cache = &self.inner.cache;
        let Some(shared) = cache.shared_entry(key).await else { return Ok(None) };
        let opened = PlanDocument::read(&shared.plan).ok().map(|d| self.inner.keys.open(d));
        let Some(Ok(mut plan)) = opened else {
            cache.drop_unusable(key, UnusableEntry::Corrupt).await;
            return Ok(None);
        };
        let agents = self.inner.driver.agents();
        let validation = self.validate(plan.document().clone(), false).await?;
        if !validation.is_valid() {
            cache.drop_outdated(key).await;
            return Ok(None);
        }
        CacheCounters::count(&cache.counters.l2_hits);
        let content = plan.take_content();
        Ok(Some(CacheEntry {
            plan: Arc::new(plan),
            content,
            warnings: validation.warnings,
            made_at: Timestamp(shared.made_at),
            agents,
            is_shared: true,
            keep: true,
        }))
    }

    /// A new plan with an entry's content; none: the entry no longer fits and was forgotten.
    async fn copy(
        &self,
        key: &CacheKey,
        entry: &CacheEntry,
        request: &PlanRequest,
        hit: CacheHit,
    ) -> Result<Option<PlannedGoal>, Error> {
        let now = self.now();
        let agents = self.inner.driver.agents();
        let is_checked = Arc::ptr_eq(&agents, &entry.agents)
            && request.goal.constraints.deadline_unix_ms.is_none();
        if !is_checked {
            let validation = self.validate(entry.plan.document().clone(), false).await?;
            if !validation.is_valid() {
                self.inner.cache.drop_outdated(key).await;
                return Ok(None);
            }
            if hit == CacheHit::L1 {
                let renewed = CacheEntry {
                    plan: entry.plan.clone(),
                    content: entry.content.clone(),
                    warnings: validation.warnings,
                    agents,
                    ..*entry
                };
                self.inner.cache.renew(*key, Arc::new(renewed)).await;
            }
        }
        let goal = &request.goal;
        let cached = CachedCopy { hit, age_seconds: age(entry, now) };
        let identity = self.identity(request, now);
        let alike =
            is_asked_alike(&entry.plan, goal.agent_did.as_str(), &goal.goal_text, goal.priority);
        let plan = if alike {
            entry.plan.copy_as(identity, now, cached, entry.content.clone())
        } else {
            let (agent_did, text) = (goal.agent_did.clone(), goal.goal_text.clone());
            let mut other = entry.plan.with_requester(agent_did, text, goal.priority);
            let content = other.take_content();
            other.copy_as(identity, now, cached, content)
        };
        let mut plan = self.inner.keys.sign(plan);
        self.store(&plan).await?;
        plan.take_content();
        let plan = Arc::new(plan);
        self.inner.recent.keep(&plan);
        Ok(Some(PlannedGoal { plan, warnings: entry.warnings.clone() }))
    }

    /// Everything that shapes the plan of a request.
    async fn cache_key(&self, request: &PlanRequest) -> Result<CacheKey, Error> {
        let inner = &self.inner;
        let template = match (&request.template, request.strategy) {
            (Some(id), _) => Some(id.clone()),
            (None, PlanningStrategy::Llm) => None,
            (None, PlanningStrategy::Template | PlanningStrategy::Hybrid) => {
                self.would_take(request).await?
            }
        };
        let template = template.as_deref();
        let version = |id| inner.template_digests.get(id).map_or("", String::as_str);
        let model = inner.decomposer.as_ref().filter(|_| template.is_none()).map(|d| &d.identity);
        let today = inner.clock.today();
        let shape = RequestShape {
            strategy: request.strategy.as_str(),
            goal_type: request.goal.goal_type.as_str(),
            template: template.map(|id| (id, version(id))),
            model: model.map(|m| (m.provider, m.address.as_str(), m.model.as_str())),
            prompt_version: prompt_version(),
            constraints: &request.goal.constraints,
            inputs: &request.inputs,
            place: &inner.place_digest,
            today: &today,
        };
        Ok(cache_key(inner.cache.key(), &request.goal.goal_text, &shape))
    }

    /// A warning for whoever plans while no cache can be had.
    pub(super) fn without_cache(&self) -> Finding {
        CacheCounters::count(&self.inner.cache.counters.uncached);
        tracing::warn!("a goal is planned without any cache");
        let message = "the plan cache cannot be reached: the goal was planned afresh";
        Finding::new(ErrorCode::CacheUnavailable, ValidationLevel::Feasibility, message)
    }

    /// How the plan cache stands.
    pub fn cache_report(&self) -> CacheReport {
        self.inner.cache.report()
    }

    /// Forgets cached plans; how many the shared level had.
    pub async fn invalidate(&self, what: &CacheInvalidation) -> Result<usize, Error> {
        self.inner.cache.invalidate(what).await.map_err(|error| {
            Error::new(ErrorCode::CacheUnavailable, format!("the shared plan cache: {error}"))
        })
    }
}

/// Waits no longer than the caller wants to wait, whoever makes the plan.
async fn within<T>(
    until: Option<Timestamp>,
    now: Timestamp,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(until) = until else { return work.await };
    let left = Duration::from_millis(u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0));
    tokio::time::timeout(left, work).await.unwrap_or_else(|_| {
        let message = "there was no plan within the time that the caller has";
        Err(Error::new(ErrorCode::ModelDecompositionFailed, message))
    })
}

/// Whether a model could not be had, or gave nothing that can be used.
fn is_of_model(error: &Error) -> bool {
    matches!(
        error.code,
        ErrorCode::ModelDecompositionFailed
            | ErrorCode::ModelAnswerMalformed
            | ErrorCode::CircuitOpen
            | ErrorCode::DecomposerBusy
    )
}
