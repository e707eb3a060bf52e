//! Planning through the cache: copies of what was planned before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use l05_core::finding::{Finding, ValidationLevel};
use l05_core::plan::{CacheHit, CachedCopy, PlanDocument};
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use l05_draft::decomposition::prompt_version;

use super::strategy::{AfterModel, GoalMatches};
use super::{PlannedGoal, Planning, identity};
use crate::cache::{
    CacheCounters, CacheEntry, CacheKey, FoundEntry, RequestShape, UnusableEntry, age, cache_key,
};
use crate::decomposer::{FailureCause, PlanningFailure};
use crate::goal_record::{GoalRecord, PlanningTimes};
use crate::request::{PlanRequest, PlanningStrategy};

/// The answer of the cache to a request.
enum Lookup {
    /// The plan was made for this request just now.
    Made(Arc<CacheEntry>),
    /// The plan was made before, or for another caller: this request gets a copy.
    Found(Arc<CacheEntry>, CacheHit),
    /// The model gave none; there is one that is past its time.
    Stale(Arc<CacheEntry>, PlanningFailure),
}

impl Planning {
    pub(super) async fn create_cached(
        self: &Arc<Self>,
        request: &PlanRequest,
        now: Timestamp,
    ) -> Result<PlannedGoal, PlanningFailure> {
        let matches = self.matches(request).await?;
        let key = self.cache_key(request, &matches);
        if let Some(entry) = self.cache.look(&key).await
            && let Some(planned) = self.copy(&key, &entry, request, CacheHit::L1).await?
        {
            return Ok(planned);
        }
        match self.look_up(key, request, now, &matches).await? {
            Lookup::Made(entry) => Ok(planned(&entry)),
            Lookup::Found(entry, hit) => match self.copy(&key, &entry, request, hit).await? {
                Some(planned) => Ok(planned),
                // It stopped fitting between two looks.
                None => self.make(request, now, &matches, AfterModel::Template).await,
            },
            Lookup::Stale(entry, failure) => {
                let copied = self.copy(&key, &entry, request, CacheHit::Stale).await?;
                let Some(mut planned) = copied else {
                    return self.make_without_model(request, now, &matches, failure).await;
                };
                CacheCounters::count(&self.cache.counters.stale_hits);
                let PlanningFailure { error, .. } = failure;
                let message = format!("{error}; a plan of an earlier time was taken");
                let warning = Finding::new(error.code, ValidationLevel::Feasibility, message);
                planned.warnings.push(warning);
                Ok(planned)
            }
        }
    }

    /// Plans without any cache, which is told where one is configured.
    pub(super) async fn create_uncached(
        self: &Arc<Self>,
        request: &PlanRequest,
        now: Timestamp,
    ) -> Result<PlannedGoal, PlanningFailure> {
        let matches = self.matches(request).await?;
        let mut planned = self.make(request, now, &matches, AfterModel::Template).await?;
        if self.cache.is_lost() {
            CacheCounters::count(&self.cache.counters.uncached);
            tracing::warn!("a goal is planned without any cache");
            let message = "the plan cache cannot be reached: the goal was planned afresh";
            let (code, level) = (ErrorCode::CacheUnavailable, ValidationLevel::Feasibility);
            planned.warnings.push(Finding::new(code, level, message));
        }
        Ok(planned)
    }

    /// Looks in both levels, else plans; of many callers one does, and the others get what it made.
    async fn look_up(
        self: &Arc<Self>,
        key: CacheKey,
        request: &PlanRequest,
        now: Timestamp,
        matches: &GoalMatches<'_>,
    ) -> Result<Lookup, PlanningFailure> {
        let stale = self.cache.stale(&key).await;
        let after_model = if stale.is_some() { AfterModel::Nothing } else { AfterModel::Template };
        let is_mine = AtomicBool::new(false);
        let make = Box::pin(async {
            is_mine.store(true, Ordering::Relaxed);
            self.find_shared_or_make(key, request, now, matches, after_model).await
        });
        let until = request.until(now);
        let found = within(until, now, self.cache.find_or_make(key, make)).await;
        let failure = match found {
            Ok(FoundEntry::Made(entry)) if entry.is_shared => {
                return Ok(Lookup::Found(entry, CacheHit::L2));
            }
            Ok(FoundEntry::Made(entry)) => return Ok(Lookup::Made(entry)),
            Ok(FoundEntry::Entry(entry)) => return Ok(Lookup::Found(entry, CacheHit::L1)),
            Err(failure) => failure,
        };
        // It ran out of another's time; this caller has its own.
        let failure = if failure.cause == FailureCause::OutOfTime && !is_mine.into_inner() {
            match self.make_entry(request, self.now(), matches, after_model).await {
                Ok(entry) => return Ok(Lookup::Made(entry)),
                Err(failure) => failure,
            }
        } else {
            failure
        };
        match stale {
            Some(entry) if failure.is_of_model() => Ok(Lookup::Stale(entry, failure)),
            _ => Err(failure),
        }
    }

    async fn find_shared_or_make(
        self: &Arc<Self>,
        key: CacheKey,
        request: &PlanRequest,
        now: Timestamp,
        matches: &GoalMatches<'_>,
        after_model: AfterModel,
    ) -> Result<Arc<CacheEntry>, PlanningFailure> {
        if let Some(entry) = self.shared(&key, request.strict).await? {
            return Ok(Arc::new(entry));
        }
        let entry = self.make_entry(request, now, matches, after_model).await?;
        self.cache.share(&key, &entry).await;
        Ok(entry)
    }

    async fn make_entry(
        self: &Arc<Self>,
        request: &PlanRequest,
        now: Timestamp,
        matches: &GoalMatches<'_>,
        after_model: AfterModel,
    ) -> Result<Arc<CacheEntry>, PlanningFailure> {
        let until = request.until(now);
        let decomposed = self.decompose(request, until, matches, after_model).await?;
        Ok(self.finish(request, now, decomposed).await?)
    }

    async fn make(
        self: &Arc<Self>,
        request: &PlanRequest,
        now: Timestamp,
        matches: &GoalMatches<'_>,
        after_model: AfterModel,
    ) -> Result<PlannedGoal, PlanningFailure> {
        Ok(planned(&*self.make_entry(request, now, matches, after_model).await?))
    }

    /// The plan of a template that fits less well, after the model failed and the plan that was held
    /// for that case turned out to be of no use.
    async fn make_without_model(
        self: &Arc<Self>,
        request: &PlanRequest,
        now: Timestamp,
        matches: &GoalMatches<'_>,
        failure: PlanningFailure,
    ) -> Result<PlannedGoal, PlanningFailure> {
        match request.strategy {
            PlanningStrategy::Hybrid => {
                let decomposed = self.by_fallback(request, matches, &failure)?;
                Ok(planned(&*self.finish(request, now, decomposed).await?))
            }
            PlanningStrategy::Llm | PlanningStrategy::Template => Err(failure),
        }
    }

    /// The shared level's entry: its tag, its plan's signature, and today's tools, agents and limits
    /// are checked before anybody sees it.
    async fn shared(
        self: &Arc<Self>,
        key: &CacheKey,
        strict: bool,
    ) -> Result<Option<CacheEntry>, Error> {
        let cache = &self.cache;
        let Some(shared) = cache.shared_entry(key).await else { return Ok(None) };
        let opened = PlanDocument::read(&shared.plan).ok().map(|d| self.reading.keys.open(d));
        let Some(Ok(mut plan)) = opened else {
            cache.drop_unusable(key, UnusableEntry::Corrupt).await;
            return Ok(None);
        };
        let agents = self.agents();
        let validation = self.validate(plan.document().clone(), strict).await?;
        if !validation.is_valid() {
            cache.drop_outdated(key).await;
            return Ok(None);
        }
        CacheCounters::count(&cache.counters.l2_hits);
        let content = plan.take_text();
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
        self: &Arc<Self>,
        key: &CacheKey,
        entry: &CacheEntry,
        request: &PlanRequest,
        hit: CacheHit,
    ) -> Result<Option<PlannedGoal>, Error> {
        let now = self.now();
        let agents = self.agents();
        let is_checked = Arc::ptr_eq(&agents, &entry.agents)
            && request.goal.constraints.deadline_unix_ms.is_none();
        if !is_checked {
            let validation = self.validate(entry.plan.document().clone(), request.strict).await?;
            if !validation.is_valid() {
                self.cache.drop_outdated(key).await;
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
                self.cache.renew(*key, Arc::new(renewed)).await;
            }
        }
        let goal = &request.goal;
        let cached = CachedCopy { hit, age_seconds: age(entry, now) };
        let identity = identity(request, now);
        let alike =
            entry.plan.is_asked_alike(goal.agent_did.as_str(), &goal.goal_text, goal.priority);
        let plan = if alike {
            entry.plan.copy_as(identity, now, cached, entry.content.clone())
        } else {
            let (agent_did, text) = (goal.agent_did.clone(), goal.goal_text.clone());
            let mut other = entry.plan.with_requester(agent_did, text, goal.priority);
            let content = other.take_text();
            other.copy_as(identity, now, cached, content)
        };
        let mut plan = self.reading.keys.sign(plan);
        let times = PlanningTimes { asked: goal.created_at, decomposed: now, validated: now };
        let record = GoalRecord::of_plan(goal, &plan, times).stored(goal.created_at);
        self.store(&plan, Some(record)).await?;
        plan.take_text();
        let plan = Arc::new(plan);
        self.recent.keep(&plan);
        Ok(Some(PlannedGoal { plan, warnings: entry.warnings.clone() }))
    }

    /// Everything that shapes the plan of a request.
    fn cache_key(&self, request: &PlanRequest, matches: &GoalMatches<'_>) -> CacheKey {
        let template = match (&request.template, request.strategy) {
            (Some(id), _) => Some(id.as_str()),
            (None, PlanningStrategy::Llm) => None,
            (None, PlanningStrategy::Template | PlanningStrategy::Hybrid) => {
                self.would_take(matches)
            }
        };
        let version = |id| self.template_digests.get(id).map_or("", String::as_str);
        let model = self.decomposer.as_ref().filter(|_| template.is_none()).map(|d| &d.identity);
        let today = self.reading.clock.today();
        let tools = self.catalog.snapshot();
        let shape = RequestShape {
            strategy: request.strategy.as_str(),
            goal_type: request.goal.goal_type.as_str(),
            template: template.map(|id| (id, version(id))),
            model: model.map(|m| (m.provider, m.address.as_str(), m.model.as_str())),
            prompt_version: prompt_version(),
            constraints: &request.goal.constraints,
            inputs: &request.inputs,
            strict: request.strict,
            place: (&tools.digest, &self.rules_digest),
            today: &today,
        };
        cache_key(self.cache.key(), &request.goal.goal_text, &shape)
    }
}

fn planned(entry: &CacheEntry) -> PlannedGoal {
    PlannedGoal { plan: entry.plan.clone(), warnings: entry.warnings.clone() }
}

/// Waits no longer than the caller wants to wait, whoever makes the plan.
async fn within<T>(
    until: Option<Timestamp>,
    now: Timestamp,
    work: impl Future<Output = Result<T, PlanningFailure>>,
) -> Result<T, PlanningFailure> {
    let Some(until) = until else { return work.await };
    let left = Duration::from_millis(u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0));
    tokio::time::timeout(left, work).await.unwrap_or_else(|_| {
        let message = "there was no plan within the time that the caller has";
        let error = Error::new(ErrorCode::ModelDecompositionFailed, message);
        Err(PlanningFailure::of_model(error))
    })
}
