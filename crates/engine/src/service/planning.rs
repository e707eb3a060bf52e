//! From a goal to a signed, stored plan.

use std::sync::Arc;
use std::time::Duration;

use l05_core::finding::{Finding, findings_error};
use l05_core::goal::{Goal, input};
use l05_core::id::{GoalId, PlanId};
use l05_core::plan::PlanDecision;
use l05_core::plan::{Plan, PlanDocument, PlanIdentity};
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::PlanningService;
use super::strategy::DecomposedGoal;
use crate::cache::CacheEntry;
use crate::port::StoredPlan;

/// How a goal is to be decomposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PlanningStrategy {
    /// From a template or not at all.
    Template,
    /// By a model or not at all.
    Llm,
    /// The best template that fits well, else a model.
    #[default]
    Hybrid,
}

impl PlanningStrategy {
    /// Reads the word of a command line or a request.
    pub fn parse(word: &str) -> Option<PlanningStrategy> {
        match word.to_ascii_lowercase().as_str() {
            "template" => Some(PlanningStrategy::Template),
            "llm" => Some(PlanningStrategy::Llm),
            "hybrid" => Some(PlanningStrategy::Hybrid),
            _ => None,
        }
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            PlanningStrategy::Template => "template",
            PlanningStrategy::Llm => "llm",
            PlanningStrategy::Hybrid => "hybrid",
        }
    }
}

/// A goal with how to plan it.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// What is wanted.
    pub goal: Goal,
    /// How to decompose it.
    pub strategy: PlanningStrategy,
    /// Parameters the caller knows.
    pub inputs: Map<String, Value>,
    /// Use this template, whatever the goal says.
    pub template: Option<String>,
    /// How long planning may take; none: as long as its parts may.
    pub within: Option<Duration>,
}

impl From<Goal> for PlanRequest {
    fn from(goal: Goal) -> PlanRequest {
        let strategy = PlanningStrategy::default();
        PlanRequest { goal, strategy, inputs: Map::new(), template: None, within: None }
    }
}

/// A plan that is ready to be executed.
#[derive(Clone, Debug)]
pub struct PlannedGoal {
    /// The plan, validated, signed and stored.
    pub plan: Arc<Plan>,
    /// What should be looked at.
    pub warnings: Vec<Finding>,
}

impl PlanningService {
    /// A goal becomes a plan: checked, decomposed, validated, signed, stored.
    pub async fn create_plan(&self, request: impl Into<PlanRequest>) -> Result<PlannedGoal, Error> {
        let mut request = request.into();
        let now = self.inner.clock.now();
        if request.goal.created_at.0 == 0 {
            request.goal.created_at = now;
        }
        input::check(&request.goal.goal_text, self.inner.policy).map_err(|refusal| {
            tracing::info!(
                characters = request.goal.goal_text.chars().count(),
                "a goal was refused by the input policy"
            );
            refusal.into_error()
        })?;
        let cache = &self.inner.cache;
        cache.check_required()?;
        if !cache.is_on() || cache.is_lost() {
            let made = self.make(&request, now, false).await?;
            let mut warnings = made.warnings.clone();
            if cache.is_lost() {
                warnings.push(self.without_cache());
            }
            return Ok(PlannedGoal { plan: made.plan.clone(), warnings });
        }
        self.create_cached(&request, now).await
    }

    /// Plans, proves and stores: a new entry of the cache.
    pub(super) async fn make(
        &self,
        request: &PlanRequest,
        now: Timestamp,
        stale_is_held: bool,
    ) -> Result<Arc<CacheEntry>, Error> {
        let until = planning_ends(request, now);
        let DecomposedGoal { mut document, decisions, keep } =
            self.decompose(request, until, stale_is_held).await?;
        self.put_request(&mut document, request);
        let agents = self.inner.driver.agents();
        let identity = self.identity(request, now);
        let (planned, content) = self.prove_and_store(document, identity, false, decisions).await?;
        let PlannedGoal { plan, warnings } = planned;
        let entry =
            CacheEntry { plan, content, warnings, made_at: now, agents, is_shared: false, keep };
        Ok(Arc::new(entry))
    }

    pub(super) fn identity(&self, request: &PlanRequest, now: Timestamp) -> PlanIdentity {
        PlanIdentity {
            plan_id: PlanId(Uuid::now_v7()),
            goal_id: request.goal.goal_id.clone(),
            created_at: now,
        }
    }

    /// What the request says of the plan beside its tasks: nothing else may say it.
    pub(crate) fn put_request(&self, document: &mut PlanDocument, request: &PlanRequest) {
        document.agent_did = request.goal.agent_did.clone();
        document.priority = request.goal.priority;
        document.constraints = request.goal.constraints.clone();
    }

    /// A plan that somebody hands in. Signed: it must be as it was signed, and keeps its identity.
    /// Unsigned: it is validated and signed as a new plan.
    pub async fn accept(&self, document: PlanDocument, strict: bool) -> Result<PlannedGoal, Error> {
        if document.signature.is_some() {
            return self.accept_signed(document).await;
        }
        if self.inner.require_signed {
            return Err(Error::new(
                ErrorCode::SignatureMissing,
                "the plan has no signature, and security.require_signed_plans is on",
            ));
        }
        let mut document = document;
        document.metadata.strategy.get_or_insert(l05_core::plan::Strategy::Manual);
        let identity = PlanIdentity {
            plan_id: PlanId(Uuid::now_v7()),
            goal_id: document.goal_id.take().unwrap_or_else(|| GoalId::from(Uuid::now_v7())),
            created_at: self.inner.clock.now(),
        };
        Ok(self.prove_and_store(document, identity, strict, Vec::new()).await?.0)
    }

    async fn accept_signed(&self, document: PlanDocument) -> Result<PlannedGoal, Error> {
        let plan = self.inner.keys.open(document)?;
        if self.inner.plans.get(plan.id()).await?.is_none() {
            // Valid when it was signed; the tools of today decide about today.
            let validation = self.validate(plan.document().clone(), false).await?;
            if !validation.is_valid() {
                return Err(findings_error(ErrorCode::PlanInvalid, &validation.errors));
            }
            self.store(&plan).await?;
        }
        Ok(PlannedGoal { plan: Arc::new(plan), warnings: Vec::new() })
    }

    async fn prove_and_store(
        &self,
        document: PlanDocument,
        identity: PlanIdentity,
        strict: bool,
        decisions: Vec<PlanDecision>,
    ) -> Result<(PlannedGoal, Arc<[u8]>), Error> {
        let validation = self.validate(document, strict).await?;
        let warnings = validation.warnings.clone();
        let plan = validation
            .into_plan(identity, self.inner.clock.now(), decisions)
            .map_err(|failed| findings_error(ErrorCode::PlanInvalid, &failed.errors))?;
        let mut plan = self.inner.keys.sign(plan);
        self.store(&plan).await?;
        let content = plan.take_content();
        let plan = Arc::new(plan);
        self.inner.recent.keep(&plan);
        Ok((PlannedGoal { plan, warnings }, content))
    }

    pub(super) async fn store(&self, plan: &Plan) -> Result<(), Error> {
        let stored = StoredPlan {
            plan_id: plan.id(),
            goal: plan.content().goal.clone(),
            created_at: plan.identity().created_at,
            document: plan.written(),
        };
        Ok(self.inner.plans.put(stored).await?)
    }
}

/// When a plan has to be there: by the caller's word, or because its deadline is over.
pub(super) fn planning_ends(request: &PlanRequest, now: Timestamp) -> Option<Timestamp> {
    let millis = |within: Duration| i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
    let said = request.within.map(|within| Timestamp(now.0.saturating_add(millis(within))));
    let deadline = request.goal.constraints.deadline_unix_ms.map(Timestamp);
    said.into_iter().chain(deadline).min()
}
