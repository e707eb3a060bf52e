//! Planning: from a goal, or a document, to a signed, stored plan.

mod cached;
mod strategy;

use std::collections::HashMap;
use std::sync::Arc;

use l05_core::agent::{Agent, LOCAL_AGENT_TYPE};
use l05_core::evaluation::EvaluationAnswers;
use l05_core::finding::{Finding, findings_error};
use l05_core::goal::{Goal, GoalType, input};
use l05_core::id::{GoalId, PlanId};
use l05_core::plan::{DocumentReading, Plan, PlanDecision, PlanDocument, PlanIdentity, Strategy};
use l05_core::task::{Task, TaskType};
use l05_core::template::TemplateLibrary;
use l05_core::time::Timestamp;
use l05_core::validate::{
    ExecutorFinding, KnownAgents, Validation, ValidationContext, examine, literal_calls,
};
use l05_core::{Error, ErrorCode};
use tokio::sync::watch;
use uuid::Uuid;

use super::blocking_if_large;
use super::reading::Reading;
use super::recent::RecentPlans;
use crate::cache::{CacheEntry, CacheInvalidation, CacheReport, PlanCache};
use crate::cost_report::CostReport;
use crate::decomposer::ModelDecomposer;
use crate::decomposer::bulkhead::Bulkhead;
use crate::evaluations::{EvaluationPort, validate_in_rounds};
use crate::goal_record::{GoalRecord, PlanningTimes};
use crate::observed_runs::{ObservedRuns, PLANS_MAX, RefreshDue, TASKS_MAX, absorb};
use crate::port::{FailedGoalsKept, StoredGoal, StoredPlan};
use crate::request::PlanRequest;
use crate::rules::ServiceRules;
use crate::tool_catalog::{CatalogHandle, CatalogSnapshot};
use l05_core::estimate::{EstimateBasis, RunExperience};
use strategy::DecomposedGoal;

/// From here on, checking a plan would hold up the runs of this process: some 5 ms.
const TASKS_LARGE: usize = 1_000;

/// A plan that is ready to be executed.
#[derive(Clone, Debug)]
pub struct PlannedGoal {
    /// The plan, validated, signed and stored.
    pub plan: Arc<Plan>,
    /// Doubts that should be looked at.
    pub warnings: Vec<Finding>,
}

/// The part of a service that makes plans.
pub(super) struct Planning {
    pub(super) reading: Arc<Reading>,
    pub(super) rules: Arc<ServiceRules>,
    pub(super) catalog: Arc<CatalogHandle>,
    pub(super) templates: Arc<TemplateLibrary>,
    /// For each template the digest of everything in it.
    pub(super) template_digests: HashMap<String, String>,
    /// The digest of limits and prices.
    pub(super) rules_digest: String,
    pub(super) observed: ObservedRuns,
    pub(super) decomposer: Option<Arc<ModelDecomposer>>,
    /// The reason for which there is no model, for whoever asks for one.
    pub(super) no_model: Option<String>,
    pub(super) cache: Arc<PlanCache>,
    pub(super) evaluations: EvaluationPort,
    pub(super) matcher: Bulkhead,
    pub(super) validator: Bulkhead,
    pub(super) recent: Arc<RecentPlans>,
    /// The agents that are there, as of the last change.
    pub(super) agents: watch::Receiver<Arc<[Agent]>>,
}

const DAY_MILLIS: i64 = 86_400_000;
/// The most goals without a plan that a store keeps, and the days for which it keeps them.
const FAILED_GOALS_MAX: u32 = 1_000;
const FAILED_GOALS_DAYS: i64 = 30;

/// The author of inputs that stand in a plan as they are.
#[derive(Clone, Copy)]
enum LiteralsOf {
    /// A template of this service: they were looked at when it was written, and what its parameters bring is no
    /// literal.
    Template,
    /// A model, or whoever hands a plan in.
    Anybody,
}

/// Findings of a document's executors about what stands in it.
async fn executor_findings(
    document: &PlanDocument,
    catalog: &CatalogSnapshot,
) -> Vec<ExecutorFinding> {
    let mut findings = Vec::new();
    for call in literal_calls(document) {
        let Some(executor) = catalog.executor(call.tool) else { continue };
        let problems = executor.check(call, None).await;
        findings.extend(problems.into_iter().filter_map(|p| call.finding(document, p)));
    }
    findings
}

impl Planning {
    fn now(&self) -> Timestamp {
        self.reading.now()
    }

    fn agents(&self) -> Arc<[Agent]> {
        self.agents.borrow().clone()
    }

    /// A goal becomes a plan: checked, decomposed, validated, signed, stored.
    pub(super) async fn create_plan(
        self: &Arc<Self>,
        mut request: PlanRequest,
    ) -> Result<PlannedGoal, Error> {
        let now = self.now();
        if request.goal.created_at.0 == 0 {
            request.goal.created_at = now;
        }
        input::check(&request.goal.goal_text, self.rules.policy).map_err(|refusal| {
            tracing::info!(
                characters = request.goal.goal_text.chars().count(),
                "a goal was refused by the input policy"
            );
            refusal.into_error()
        })?;
        self.cache.check_required()?;
        let planned = if self.cache.is_on() && !self.cache.is_lost() {
            self.create_cached(&request, now).await
        } else {
            self.create_uncached(&request, now).await
        };
        match planned {
            Ok(planned) => Ok(planned),
            Err(failure) => {
                self.keep_failed(&request.goal, &failure.error).await;
                Err(failure.error)
            }
        }
    }

    /// Keeps a goal of which no plan came. Whoever asked has the error; a store that is away adds nothing to it.
    async fn keep_failed(&self, goal: &Goal, error: &Error) {
        let now = self.now();
        let since = Timestamp(now.0 - FAILED_GOALS_DAYS * DAY_MILLIS);
        let keep = FailedGoalsKept { count: FAILED_GOALS_MAX, since };
        let record = GoalRecord::failed(goal, error, now).stored(goal.created_at);
        if let Err(error) = self.reading.plans.put_failed(record, keep).await {
            tracing::warn!(%error, "a goal that could not be planned is not kept");
        }
    }

    /// Validates a document on all levels, with estimates from earlier runs.
    pub(super) async fn validate(
        self: &Arc<Self>,
        document: PlanDocument,
        strict: bool,
    ) -> Result<Validation, Error> {
        self.validate_from(document, strict, LiteralsOf::Anybody).await
    }

    async fn validate_from(
        self: &Arc<Self>,
        document: PlanDocument,
        strict: bool,
        literals: LiteralsOf,
    ) -> Result<Validation, Error> {
        let _place = self.validator.enter(self.now()).await?;
        let knowledge = self.knowledge().await;
        let (agents, catalog) = (self.agents(), self.catalog.snapshot());
        let is_large = document.tasks.len() > TASKS_LARGE;
        let models = self.models_for(&document).await;
        let of_executors = match literals {
            LiteralsOf::Template => Vec::new(),
            LiteralsOf::Anybody => executor_findings(&document, &catalog).await,
        };
        let of_executors: Arc<[ExecutorFinding]> = of_executors.into();
        let reading = DocumentReading { document, findings: Vec::new() };
        let look = |reading, answers: Arc<EvaluationAnswers>| {
            let (planning, catalog, agents) = (self.clone(), catalog.clone(), agents.clone());
            let (models, knowledge) = (models.clone(), knowledge.clone());
            let of_executors = of_executors.clone();
            blocking_if_large(is_large, move || {
                let around = ValidationContext {
                    catalog: &catalog.tools,
                    agents: KnownAgents::Registered(&agents),
                    models: models.as_deref(),
                    knowledge: &knowledge,
                    limits: planning.rules.limits,
                    now: planning.now(),
                    of_executors: &of_executors,
                    strict,
                };
                examine(reading, &around, &answers)
            })
        };
        Ok(validate_in_rounds(self.evaluations.evaluator(), reading, look).await)
    }

    /// The gateway's models, where a task asks for one beside its own; nobody else has to wait for them.
    async fn models_for(&self, document: &PlanDocument) -> Option<Arc<[String]>> {
        let decomposer = self.decomposer.as_ref()?;
        let own = decomposer.identity.model.as_str();
        let names = |task: &Task| {
            task.task_type == TaskType::LlmCall && task.model().is_some_and(|model| model != own)
        };
        if document.tasks.iter().any(names) { decomposer.models(self.now()).await } else { None }
    }

    pub(super) async fn estimate_cost(
        self: &Arc<Self>,
        document: PlanDocument,
    ) -> Result<CostReport, Error> {
        let validation = self.validate(document.clone(), false).await?;
        match validation.figures {
            Some(figures) => Ok(CostReport::of(&document, figures.estimate, figures.bound)),
            None => Err(findings_error(ErrorCode::PlanInvalid, &validation.errors)),
        }
    }

    /// A plan that somebody hands in. Signed: it must be as it was signed, and keeps its identity.
    /// Unsigned: it is validated and signed as a new plan.
    pub(super) async fn accept(
        self: &Arc<Self>,
        mut document: PlanDocument,
        strict: bool,
    ) -> Result<PlannedGoal, Error> {
        if document.signature.is_some() {
            return self.accept_signed(document).await;
        }
        if self.rules.require_signed_plans {
            return Err(Error::new(
                ErrorCode::SignatureMissing,
                "the plan has no signature, and security.require_signed_plans is on",
            ));
        }
        document.metadata.strategy.get_or_insert(Strategy::Manual);
        let identity = PlanIdentity {
            plan_id: PlanId(Uuid::now_v7()),
            goal_id: document.goal_id.take().unwrap_or_else(|| GoalId::from(Uuid::now_v7())),
            created_at: self.now(),
        };
        let literals = LiteralsOf::Anybody;
        let made = (Vec::new(), literals, None);
        Ok(self.prove_and_store(document, identity, strict, made).await?.0)
    }

    async fn accept_signed(self: &Arc<Self>, document: PlanDocument) -> Result<PlannedGoal, Error> {
        let plan = self.reading.keys.open(document)?;
        if self.reading.plans.get(plan.id()).await?.is_none() {
            // Valid when it was signed; the tools of today decide about today.
            let validation = self.validate(plan.document().clone(), false).await?;
            if !validation.is_valid() {
                return Err(findings_error(ErrorCode::PlanInvalid, &validation.errors));
            }
            self.store(&plan, None).await?;
        }
        Ok(PlannedGoal { plan: Arc::new(plan), warnings: Vec::new() })
    }

    /// Proves and stores a decomposed goal: a new entry of the cache.
    async fn finish(
        self: &Arc<Self>,
        request: &PlanRequest,
        now: Timestamp,
        decomposed: DecomposedGoal,
    ) -> Result<Arc<CacheEntry>, Error> {
        let DecomposedGoal { mut document, decisions, keep } = decomposed;
        request.put_into(&mut document);
        let agents = self.agents();
        let identity = identity(request, now);
        let literals = match document.metadata.strategy {
            Some(Strategy::Template) => LiteralsOf::Template,
            _ => LiteralsOf::Anybody,
        };
        let asked = Some((&request.goal, self.now()));
        let made = (decisions, literals, asked);
        let (planned, content) =
            self.prove_and_store(document, identity, request.strict, made).await?;
        let PlannedGoal { plan, warnings } = planned;
        let (made_at, is_shared) = (now, false);
        Ok(Arc::new(CacheEntry { plan, content, warnings, made_at, agents, is_shared, keep }))
    }

    async fn prove_and_store(
        self: &Arc<Self>,
        mut document: PlanDocument,
        identity: PlanIdentity,
        strict: bool,
        (decisions, literals, asked): (Vec<PlanDecision>, LiteralsOf, Option<(&Goal, Timestamp)>),
    ) -> Result<(PlannedGoal, Arc<[u8]>), Error> {
        let began = self.now();
        if let Some((goal, decomposed)) = asked {
            let metadata = &mut document.metadata;
            metadata.decomposition_latency_ms = Some(decomposed.millis_since(goal.created_at));
            if goal.goal_type == GoalType::Simple && document.tasks.len() > 1 {
                let count = document.tasks.len();
                metadata.warnings.push(format!(
                    "the goal was called SIMPLE, for which one task is enough; its plan has {count}"
                ));
            }
        }
        let mut validation = self.validate_from(document, strict, literals).await?;
        validation.took(self.now().millis_since(began));
        let warnings = validation.warnings.clone();
        let plan = validation
            .into_plan(identity, self.now(), decisions)
            .map_err(|failed| findings_error(ErrorCode::PlanInvalid, &failed.errors))?;
        let mut plan = self.reading.keys.sign(plan);
        let record = asked.map(|(goal, decomposed)| {
            let times = PlanningTimes { asked: goal.created_at, decomposed, validated: self.now() };
            GoalRecord::of_plan(goal, &plan, times).stored(goal.created_at)
        });
        self.store(&plan, record).await?;
        let content = plan.take_text();
        let plan = Arc::new(plan);
        self.recent.keep(&plan);
        Ok((PlannedGoal { plan, warnings }, content))
    }

    async fn store(&self, plan: &Plan, asked: Option<StoredGoal>) -> Result<(), Error> {
        let stored = StoredPlan {
            asked,
            plan_id: plan.id(),
            goal: plan.goal().to_owned(),
            created_at: plan.identity().created_at,
            document: plan.written(),
        };
        Ok(self.reading.plans.put(stored).await?)
    }

    /// The basis of estimates, with the latest experience.
    async fn knowledge(self: &Arc<Self>) -> Arc<EstimateBasis> {
        match self.observed.due(self.now()) {
            RefreshDue::No => {}
            RefreshDue::Now => self.read_experience().await,
            RefreshDue::Soon => {
                let planning = self.clone();
                tokio::spawn(async move { planning.read_experience().await });
            }
        }
        self.observed.knowledge()
    }

    async fn read_experience(&self) {
        match self.experience().await {
            Ok(experience) => self.observed.replace(experience),
            // Estimates work without; the store's own users will hear of it.
            Err(error) => tracing::warn!(%error, "earlier runs could not be read"),
        }
    }

    async fn experience(&self) -> Result<RunExperience, Error> {
        let mut experience = RunExperience::default();
        let from = Timestamp(self.now().0 - i64::from(self.rules.experience_days) * DAY_MILLIS);
        let mut plans = self.reading.newest_plans(PLANS_MAX).await?;
        // Oldest first: the latest observations are those that stay.
        plans.reverse();
        for summary in plans.into_iter().filter(|summary| summary.created_at >= from) {
            let Ok(plan) = self.reading.load(summary.plan_id).await else { continue };
            if plan.graph().len() > TASKS_MAX {
                continue;
            }
            let records = self.reading.all_records(summary.plan_id).await?;
            absorb(&mut experience, &plan, &records);
        }
        experience.forget_before(from);
        Ok(experience)
    }

    /// Capabilities of agents beside tools and models: what tasks without a tool are given to.
    fn capabilities_for_agents(&self) -> Vec<String> {
        let agents = self.agents();
        let others = agents.iter().filter(|agent| agent.agent_type != LOCAL_AGENT_TYPE);
        let able = others.flat_map(|agent| agent.capabilities.iter().cloned());
        let mut capabilities: Vec<String> = able.filter(|c| !c.starts_with("tool:")).collect();
        capabilities.sort();
        capabilities.dedup();
        capabilities
    }

    pub(super) fn cache_report(&self) -> CacheReport {
        self.cache.report()
    }

    pub(super) async fn invalidate(&self, what: &CacheInvalidation) -> Result<usize, Error> {
        self.cache.invalidate(what).await.map_err(|error| {
            Error::new(ErrorCode::CacheUnavailable, format!("the shared plan cache: {error}"))
        })
    }
}

fn identity(request: &PlanRequest, now: Timestamp) -> PlanIdentity {
    PlanIdentity {
        plan_id: PlanId(Uuid::now_v7()),
        goal_id: request.goal.goal_id.clone(),
        created_at: now,
    }
}
