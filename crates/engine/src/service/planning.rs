//! From a goal to a signed, stored plan.

use std::sync::Arc;

use l05_core::explain::{ConsideredTemplate, Decision};
use l05_core::finding::{Finding, findings_error};
use l05_core::goal::{Goal, input};
use l05_core::id::{GoalId, PlanId};
use l05_core::plan::{Identity, Plan, PlanDocument};
use l05_core::template::{Match, Template};
use l05_core::{Error, ErrorCode};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::PlanningService;
use crate::port::StoredPlan;

/// How a goal is to be decomposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// From a template or not at all.
    Template,
    /// By a model or not at all.
    Llm,
    /// The best template that fits well, else a model.
    #[default]
    Hybrid,
}

impl Strategy {
    /// Reads the word of a command line or a request.
    pub fn parse(word: &str) -> Option<Strategy> {
        match word.to_ascii_lowercase().as_str() {
            "template" => Some(Strategy::Template),
            "llm" => Some(Strategy::Llm),
            "hybrid" => Some(Strategy::Hybrid),
            _ => None,
        }
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::Template => "template",
            Strategy::Llm => "llm",
            Strategy::Hybrid => "hybrid",
        }
    }
}

/// A goal with how to plan it.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// What is wanted.
    pub goal: Goal,
    /// How to decompose it.
    pub strategy: Strategy,
    /// Parameters the caller knows.
    pub inputs: Map<String, Value>,
    /// Use this template, whatever the goal says.
    pub template: Option<String>,
}

impl From<Goal> for PlanRequest {
    fn from(goal: Goal) -> PlanRequest {
        let strategy = Strategy::default();
        PlanRequest { goal, strategy, inputs: Map::new(), template: None }
    }
}

/// A plan that is ready to be executed.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan, validated, signed and stored.
    pub plan: Arc<Plan>,
    /// What should be looked at.
    pub warnings: Vec<Finding>,
}

/// What a stored document has beside its content: identity, status, times, signature.
const TEXT_SLACK: usize = 1_024;
/// How many near misses an error names.
const NEAR_MISSES_MAX: usize = 3;

impl PlanningService {
    /// A goal becomes a plan: checked, decomposed, validated, signed, stored.
    pub async fn create_plan(&self, request: impl Into<PlanRequest>) -> Result<Planned, Error> {
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
        let (mut document, decision) = self.decompose(&request)?;
        document.agent_did = request.goal.agent_did.clone();
        document.priority = request.goal.priority;
        document.constraints = request.goal.constraints.clone();
        let identity = Identity {
            plan_id: PlanId(Uuid::now_v7()),
            goal_id: request.goal.goal_id,
            created_at: now,
        };
        self.prove_and_store(document, identity, false, vec![decision]).await
    }

    /// A plan that somebody hands in. Signed: it must be as it was signed, and keeps its identity.
    /// Unsigned: it is validated and signed as a new plan.
    pub async fn accept(&self, document: PlanDocument, strict: bool) -> Result<Planned, Error> {
        if document.signature.is_some() {
            return self.accept_signed(document).await;
        }
        if self.inner.require_signed {
            return Err(Error::new(
                ErrorCode::SIGNATURE_MISSING,
                "the plan has no signature, and security.require_signed_plans is on",
            ));
        }
        let mut document = document;
        document.metadata.strategy.get_or_insert(l05_core::plan::Strategy::Manual);
        let identity = Identity {
            plan_id: PlanId(Uuid::now_v7()),
            goal_id: document.goal_id.take().unwrap_or_else(|| GoalId::from(Uuid::now_v7())),
            created_at: self.inner.clock.now(),
        };
        self.prove_and_store(document, identity, strict, Vec::new()).await
    }

    async fn accept_signed(&self, document: PlanDocument) -> Result<Planned, Error> {
        let plan = self.inner.keys.open(document)?;
        if self.inner.plans.get(plan.id()).await?.is_none() {
            // Valid when it was signed; the tools of today decide about today.
            let validation = self.validate(plan.document().clone(), false).await;
            if !validation.is_valid() {
                return Err(findings_error(ErrorCode::PLAN_INVALID, &validation.errors));
            }
            self.store(&plan).await?;
        }
        Ok(Planned { plan: Arc::new(plan), warnings: Vec::new() })
    }

    async fn prove_and_store(
        &self,
        document: PlanDocument,
        identity: Identity,
        strict: bool,
        decisions: Vec<Decision>,
    ) -> Result<Planned, Error> {
        let validation = self.validate(document, strict).await;
        let warnings = validation.warnings.clone();
        let plan = validation
            .into_plan(identity, self.inner.clock.now(), decisions)
            .map_err(|failed| findings_error(ErrorCode::PLAN_INVALID, &failed.errors))?;
        let plan = self.inner.keys.sign(plan);
        self.store(&plan).await?;
        let plan = Arc::new(plan);
        self.inner.recent.keep(&plan);
        Ok(Planned { plan, warnings })
    }

    async fn store(&self, plan: &Plan) -> Result<(), Error> {
        // Made once in the right size: it is kept as it is.
        let mut document = Vec::with_capacity(plan.text_bytes() + TEXT_SLACK);
        serde_json::to_writer(&mut document, plan.document()).expect("a plan is plain data");
        document.shrink_to_fit();
        let stored = StoredPlan {
            plan_id: plan.id(),
            goal: plan.document().goal.clone(),
            created_at: plan.identity().created_at,
            document,
        };
        Ok(self.inner.plans.put(stored).await?)
    }

    fn decompose(&self, request: &PlanRequest) -> Result<(PlanDocument, Decision), Error> {
        let goal = &request.goal.goal_text;
        let today = self.inner.clock.today();
        if request.template.is_none() && request.strategy == Strategy::Llm {
            return Err(Error::new(
                ErrorCode::MODEL_DECOMPOSITION_FAILED,
                "no model gateway is configured: this version plans from templates only",
            )
            .suggest("use --strategy template, or write a plan file for `l05 execute`"));
        }
        let matches = self.inner.templates.find(goal, &request.inputs);
        let (template, said, confidence, why) = match &request.template {
            Some(id) => {
                // Its parameters come from what was given and what the goal says.
                let template = self.named_template(id)?;
                let fit = matches.iter().find(|m| m.template.id == *id);
                let (said, confidence) =
                    fit.map(|m| (m.said.clone(), m.confidence)).unwrap_or_default();
                (template, said, confidence, "the caller named it".to_owned())
            }
            None => {
                let threshold = self.inner.template_threshold;
                let best = matches.first().filter(|m| m.confidence >= threshold);
                let Some(best) = best else { return Err(no_template(goal, &matches, threshold)) };
                let why = format!(
                    "it fits with {:.2}, and {threshold} is enough; no other fits better",
                    best.confidence
                );
                (best.template, best.said.clone(), best.confidence, why)
            }
        };
        let parameters = template.bind(&request.inputs, &said, &today)?;
        let considered = matches.iter().take(CONSIDERED_MAX).map(considered).collect();
        let decision = Decision::Strategy {
            asked: request.strategy.as_str().to_owned(),
            template: template.id.clone(),
            why,
            considered,
        };
        Ok((template.instantiate(goal, parameters, confidence), decision))
    }

    fn named_template(&self, id: &str) -> Result<&Template, Error> {
        let library = &self.inner.templates;
        library.get(id).ok_or_else(|| {
            let ids = library.templates().iter().map(|t| t.id.as_str());
            let near = l05_core::suggest::nearest(id, ids);
            let hint = l05_core::suggest::did_you_mean(&near);
            Error::new(ErrorCode::NO_TEMPLATE_MATCHES, format!("there is no template `{id}`{hint}"))
                .suggest("`l05 templates list` shows them")
        })
    }
}

/// How many templates a decision remembers.
const CONSIDERED_MAX: usize = 5;

fn considered(m: &Match<'_>) -> ConsideredTemplate {
    ConsideredTemplate {
        template: m.template.id.clone(),
        confidence: (m.confidence * 1e4).round() / 1e4,
        missing: m.missing.iter().map(ToString::to_string).collect(),
    }
}

fn no_template(goal: &str, matches: &[Match<'_>], threshold: f64) -> Error {
    let near: Vec<&Match<'_>> = matches.iter().take(NEAR_MISSES_MAX).collect();
    let shown: Vec<String> = near
        .iter()
        .map(|m| {
            let missing = if m.missing.is_empty() {
                String::new()
            } else {
                format!(": `{}` missing", m.missing.join("`, `"))
            };
            format!("{} {:.2}{missing}", m.template.id, m.confidence)
        })
        .collect();
    let message = if shown.is_empty() {
        "no template fits this goal".to_owned()
    } else {
        format!("no template fits well enough ({threshold}); the nearest: {}", shown.join(", "))
    };
    let details: Vec<Value> = near
        .iter()
        .map(|m| json!({ "template": m.template.id, "confidence": m.confidence, "missing": m.missing }))
        .collect();
    let error = Error::new(ErrorCode::NO_TEMPLATE_MATCHES, message)
        .detail("goal_characters", goal.chars().count())
        .detail("nearest", details);
    match near.first() {
        Some(best) if !best.missing.is_empty() => {
            let missing: Vec<String> =
                best.missing.iter().map(|name| format!("--input {name}=…")).collect();
            error.suggest(format!("for {}, give {}", best.template.id, missing.join(" ")))
        }
        Some(best) => error.suggest(format!(
            "name it with --template {}, or see what `l05 templates show {0}` understands",
            best.template.id
        )),
        None => error.suggest(
            "`l05 templates list` shows what can be asked; or write a plan file for `l05 execute`",
        ),
    }
}
