//! How a goal becomes a draft: by a template, by a model, or by whichever serves (spec 02, 2.2).

use std::sync::Arc;

use l05_core::finding::Finding;
use l05_core::plan::{ConsideredTemplate, PlanDecision, PlanDocument};
use l05_core::template::{Template, TemplateMatch};
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use serde_json::{Value, json};

use super::super::blocking_if_large;
use super::Planning;
use crate::decomposer::{ModelPlan, PlanningBasis, PlanningFailure};
use crate::port::BoxFuture;
use crate::request::{PlanRequest, PlanningStrategy};

/// The most near misses that an error names.
const NEAR_MISSES_MAX: usize = 3;
/// The most templates that a decision remembers.
const CONSIDERED_MAX: usize = 5;

/// A draft with how it came to be.
pub(super) struct DecomposedGoal {
    pub(super) document: PlanDocument,
    pub(super) decisions: Vec<PlanDecision>,
    /// Worth caching: what stands in for a model that failed is not.
    pub(super) keep: bool,
}

/// A template that is to be taken.
struct TemplateChoice<'s> {
    template: &'s Template,
    said: serde_json::Map<String, Value>,
    confidence: f64,
    why: String,
    /// Words of the goal that it does not use.
    ignored: Vec<String>,
}

/// All templates that fit a goal at all, best first; found once for a goal.
pub(super) type GoalMatches<'s> = Vec<TemplateMatch<'s>>;

/// The step that follows when the model fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterModel {
    /// The best template that fits at all.
    Template,
    /// Nothing: the caller holds a plan of an earlier time, which is better than that.
    Nothing,
}

impl Planning {
    pub(super) async fn decompose(
        self: &Arc<Self>,
        request: &PlanRequest,
        until: Option<Timestamp>,
        matches: &GoalMatches<'_>,
        after_model: AfterModel,
    ) -> Result<DecomposedGoal, PlanningFailure> {
        if let Some(id) = &request.template {
            let choice = self.chosen(id, matches)?;
            return Ok(self.by_template(request, &choice, matches)?);
        }
        match request.strategy {
            PlanningStrategy::Template => {
                let threshold = self.rules.template_threshold;
                let choice = best(matches, threshold)
                    .ok_or_else(|| no_template(request, matches, threshold))?;
                Ok(self.by_template(request, &choice, matches)?)
            }
            PlanningStrategy::Llm => {
                let planned = self.by_model(request, until, "the caller asked for one".to_owned());
                planned.await.map(DecomposedGoal::from)
            }
            PlanningStrategy::Hybrid => self.by_either(request, until, matches, after_model).await,
        }
    }

    /// The best template that fits well; else the model; when that fails, the best template at all.
    async fn by_either(
        self: &Arc<Self>,
        request: &PlanRequest,
        until: Option<Timestamp>,
        matches: &GoalMatches<'_>,
        after_model: AfterModel,
    ) -> Result<DecomposedGoal, PlanningFailure> {
        let threshold = self.rules.template_threshold;
        if let Some(choice) = best(matches, threshold) {
            return Ok(self.by_template(request, &choice, matches)?);
        }
        let why = match matches.first() {
            Some(nearest) => format!(
                "the nearest template, {}, fits with {:.2}, and {threshold} is wanted",
                nearest.template.id, nearest.confidence
            ),
            None => "no template fits".to_owned(),
        };
        match (self.by_model(request, until, why).await, after_model) {
            (Ok(planned), _) => Ok(planned.into()),
            (Err(failure), AfterModel::Nothing) => Err(failure),
            (Err(failure), AfterModel::Template) => self.by_fallback(request, matches, &failure),
        }
    }

    /// The best template that fits at all, in place of a model that failed.
    pub(super) fn by_fallback(
        &self,
        request: &PlanRequest,
        matches: &GoalMatches<'_>,
        failure: &PlanningFailure,
    ) -> Result<DecomposedGoal, PlanningFailure> {
        let lower = self.rules.fallback_threshold;
        let failed = &failure.error;
        let usable = |choice: &TemplateChoice<'_>| {
            let known =
                |name: &str| request.inputs.contains_key(name) || choice.said.contains_key(name);
            choice.template.parameters.iter().all(|p| !p.required || known(&p.name))
        };
        // Whoever asked for more than a template does would take its plan for an answer.
        let whole: Vec<TemplateMatch<'_>> =
            matches.iter().filter(|m| m.ignored.is_empty()).cloned().collect();
        let choice = best(&whole, lower).filter(usable);
        let Some(mut choice) = choice else {
            return Err(nothing_left(request, matches, lower, failed).into());
        };
        choice.why = format!("{} after the model failed", choice.why);
        let mut planned = self.by_template(request, &choice, matches)?;
        let taken = format!(
            "the template `{}` was taken, which fits with {:.2} only",
            choice.template.id, choice.confidence
        );
        planned.keep = false;
        // What the model took in vain was paid for all the same.
        failure.spent.note_in(&mut planned.document.metadata);
        planned.document.metadata.warnings.push(format!("{failed}; {taken}"));
        planned.decisions.push(PlanDecision::Fallback { failed: failed.to_string(), taken });
        Ok(planned)
    }

    async fn by_model(
        self: &Arc<Self>,
        request: &PlanRequest,
        until: Option<Timestamp>,
        why: String,
    ) -> Result<ModelPlan, PlanningFailure> {
        let Some(decomposer) = &self.decomposer else {
            let why = self.no_model.as_deref().unwrap_or("no model gateway is configured");
            let error = Error::new(ErrorCode::ModelDecompositionFailed, why.to_owned()).suggest(
                "start Ollama, or set model.gateway and model.url; `l05 doctor` shows what is there",
            );
            return Err(PlanningFailure::of_model(error));
        };
        let tools = self.catalog.snapshot();
        let validate = |document| -> BoxFuture<'_, Result<Vec<Finding>, Error>> {
            Box::pin(async move { Ok(self.validate(document, false).await?.errors) })
        };
        let basis = PlanningBasis {
            clock: &*self.reading.clock,
            tools: &tools.tools,
            capabilities: self.capabilities_for_agents(),
            tasks_max: self.rules.limits.tasks_max,
            count_tokens: self.observed.knowledge().count_tokens,
            validate: &validate,
        };
        decomposer.plan(&basis, request, until, why).await
    }

    /// The id of the template that fits well, if one does.
    pub(super) fn would_take<'m>(&self, matches: &'m GoalMatches<'_>) -> Option<&'m str> {
        let best = matches.first().filter(|m| m.confidence >= self.rules.template_threshold);
        best.map(|m| m.template.id.as_str())
    }

    /// The templates that fit a request's goal; none where only a model is asked.
    pub(super) async fn matches(&self, request: &PlanRequest) -> Result<GoalMatches<'_>, Error> {
        if request.strategy == PlanningStrategy::Llm && request.template.is_none() {
            return Ok(Vec::new());
        }
        let _place = self.matcher.enter(self.now()).await?;
        if !self.templates.is_ready() {
            let templates = self.templates.clone();
            blocking_if_large(true, move || templates.make_ready()).await;
        }
        Ok(self.templates.find(&request.goal.goal_text, &request.inputs))
    }

    fn by_template(
        &self,
        request: &PlanRequest,
        choice: &TemplateChoice<'_>,
        matches: &[TemplateMatch<'_>],
    ) -> Result<DecomposedGoal, Error> {
        let today = self.reading.clock.today();
        let parameters = choice.template.bind(&request.inputs, &choice.said, &today)?;
        let decision = PlanDecision::Strategy {
            asked: request.strategy.as_str().to_owned(),
            template: choice.template.id.clone(),
            why: choice.why.clone(),
            considered: matches.iter().take(CONSIDERED_MAX).map(considered).collect(),
        };
        let goal = &request.goal.goal_text;
        let mut document = choice.template.instantiate(goal, parameters, choice.confidence);
        if !choice.ignored.is_empty() {
            let words = choice.ignored.join("`, `");
            let id = &choice.template.id;
            let told = format!("the template `{id}` leaves out these words of the goal: `{words}`");
            document.metadata.warnings.push(told);
        }
        Ok(DecomposedGoal { document, decisions: vec![decision], keep: true })
    }

    /// The template that the caller names. Its parameters come from what was given and what the
    /// goal says.
    fn chosen<'s>(
        &'s self,
        id: &str,
        matches: &[TemplateMatch<'s>],
    ) -> Result<TemplateChoice<'s>, Error> {
        let template = self.named_template(id)?;
        let fit = matches.iter().find(|m| m.template.id == *id);
        let (said, confidence) = fit.map(|m| (m.said.clone(), m.confidence)).unwrap_or_default();
        let ignored = fit.map(|m| m.ignored.clone()).unwrap_or_default();
        Ok(TemplateChoice {
            template,
            said,
            confidence,
            why: "the caller named it".to_owned(),
            ignored,
        })
    }

    fn named_template(&self, id: &str) -> Result<&Template, Error> {
        let library = &self.templates;
        library.get(id).ok_or_else(|| {
            let ids = library.templates().iter().map(|t| t.id.as_str());
            let near = l05_core::suggest::nearest(id, ids);
            let hint = l05_core::suggest::did_you_mean(&near);
            Error::new(ErrorCode::NoTemplateMatches, format!("there is no template `{id}`{hint}"))
                .suggest("`l05 templates list` shows them")
        })
    }
}

impl From<ModelPlan> for DecomposedGoal {
    fn from(planned: ModelPlan) -> DecomposedGoal {
        DecomposedGoal { document: planned.document, decisions: vec![planned.decision], keep: true }
    }
}

fn best<'s>(matches: &[TemplateMatch<'s>], threshold: f64) -> Option<TemplateChoice<'s>> {
    let best = matches.first().filter(|m| m.confidence >= threshold)?;
    Some(TemplateChoice {
        template: best.template,
        said: best.said.clone(),
        confidence: best.confidence,
        why: format!(
            "it fits with {:.2}, and {threshold} is enough; no other fits better",
            best.confidence
        ),
        ignored: best.ignored.clone(),
    })
}

fn considered(m: &TemplateMatch<'_>) -> ConsideredTemplate {
    ConsideredTemplate {
        template: m.template.id.clone(),
        confidence: (m.confidence * 1e4).round() / 1e4,
        missing: m.missing.iter().map(ToString::to_string).collect(),
    }
}

/// Neither the model nor a template made a plan: what was tried, and the nearest templates.
fn nothing_left(
    request: &PlanRequest,
    matches: &[TemplateMatch<'_>],
    threshold: f64,
    model: &Error,
) -> Error {
    let mut error = no_template(request, matches, threshold);
    error.message = format!("{}; and {}", error.message, model.message);
    error.detail("model", serde_json::to_value(model).expect("errors are plain data"))
}

fn no_template(request: &PlanRequest, matches: &[TemplateMatch<'_>], threshold: f64) -> Error {
    let near: Vec<&TemplateMatch<'_>> = matches.iter().take(NEAR_MISSES_MAX).collect();
    let shown: Vec<String> = near
        .iter()
        .map(|m| {
            let missing = if m.missing.is_empty() {
                String::new()
            } else {
                format!(": `{}` missing", m.missing.join("`, `"))
            };
            let ignored = if m.ignored.is_empty() {
                String::new()
            } else {
                format!(", leaves out `{}`", m.ignored.join("`, `"))
            };
            format!("{} {:.2}{missing}{ignored}", m.template.id, m.confidence)
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
    let error = Error::new(ErrorCode::NoTemplateMatches, message)
        .detail("goal_characters", request.goal.goal_text.chars().count())
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
            "`l05 templates list` shows what can be asked; start a model gateway for the rest, or write a plan file",
        ),
    }
}
