//! Rounds: ask, read, check, and ask again with everything that is wrong.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, try_join_all};
use l05_core::catalog::{ToolCatalog, ToolSpec};
use l05_core::finding::{Finding, ValidationLevel};
use l05_core::goal::GoalType;
use l05_core::plan::PlanDocument;
use l05_core::plan::{ModelRound, PlanDecision};
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use l05_draft::decomposition::{
    AnswerForm, AnswerSchema, DraftPlan, PromptFacts, ReadingMode, answer_schema, goal_prompt,
    prompt_version, read_draft, repair_prompt, system_prompt,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::ModelDecomposer;
use super::account::PlanningAccount;
use super::call::{CallFailure, CallPurpose, TIME_LEFT_MIN};
use super::failure::PlanningFailure;
use super::metering::CallUsage;
use crate::port::{Clock, FinishReason, ModelAnswer, ModelRequest, ModelRole, ModelTurn};
use crate::request::PlanRequest;

/// The name of the schema, and of the tool that hands a plan in.
const SCHEMA_NAME: &str = "plan";

/// The plan that a model made of a goal.
pub(crate) struct ModelPlan {
    pub(crate) document: PlanDocument,
    pub(crate) decision: PlanDecision,
}

/// Checks a draft as a plan; everything that is wrong with it.
type ValidateDraft<'s> =
    dyn Fn(PlanDocument) -> BoxFuture<'s, Result<Vec<Finding>, Error>> + Send + Sync + 's;

/// Facts of this place that models are told and that their plans are checked by.
pub(crate) struct PlanningBasis<'s> {
    pub(crate) clock: &'s dyn Clock,
    pub(crate) tools: &'s ToolCatalog,
    /// Capabilities of agents beside tools and models.
    pub(crate) capabilities: Vec<String>,
    pub(crate) tasks_max: usize,
    pub(crate) count_tokens: fn(&str) -> u64,
    pub(crate) validate: &'s ValidateDraft<'s>,
}

/// One goal's way through the rounds, with what is counted over all its parts.
struct PlanningRounds<'r, 's> {
    basis: &'r PlanningBasis<'s>,
    decomposer: &'r ModelDecomposer,
    request: &'r PlanRequest,
    until: Option<Timestamp>,
    /// The use of all calls, and parts that were begun: what the goal's limits bound is the whole.
    account: PlanningAccount,
    parts: AtomicUsize,
    /// The depth of the deepest part.
    deepest: AtomicU32,
    /// Calls at once, over all parts.
    turns: Semaphore,
}

/// The most times that one call is made again because the gateway asks for it.
const RETRIES_MAX: u32 = 3;
/// The longest that planning waits for a gateway that asks to come again.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Calls that one goal may have under way.
const CALLS_AT_ONCE: usize = 4;

/// A part of the goal: the whole at depth 0.
#[derive(Clone, Copy)]
struct GoalPart<'p> {
    goal: &'p str,
    depth: u32,
}

/// An answer's words.
struct AnswerText {
    text: String,
    finish: FinishReason,
}

/// What a model is asked, and how it has to answer.
struct PlanQuestion {
    system: String,
    form: AnswerSchema,
    /// Tools that were not told: there was no room.
    left_out: usize,
}

#[derive(Default)]
struct CountedRounds {
    rounds: Vec<ModelRound>,
    model: Option<String>,
    left_out: usize,
}

impl ModelDecomposer {
    /// A plan by the model, not yet proven valid for good: the caller validates what it gets.
    pub(crate) async fn plan(
        &self,
        basis: &PlanningBasis<'_>,
        request: &PlanRequest,
        until: Option<Timestamp>,
        why: String,
    ) -> Result<ModelPlan, PlanningFailure> {
        let decomposer = self;
        let place = decomposer.bulkhead.enter(basis.clock.now()).await;
        let _place = place.map_err(PlanningFailure::of_model)?;
        let planning = PlanningRounds {
            basis,
            decomposer,
            request,
            until,
            account: PlanningAccount::new(&request.goal.constraints),
            parts: AtomicUsize::new(0),
            deepest: AtomicU32::new(0),
            turns: Semaphore::new(CALLS_AT_ONCE),
        };
        let goal = request.goal.goal_text.as_str();
        let planned = planning.part(GoalPart { goal, depth: 0 }).await;
        let spent = planning.account.spent();
        let planned = planned.map_err(|failure| PlanningFailure { spent, ..failure });
        let (draft, counted) = planned?;
        let mut document = planning
            .document(&draft)
            .map_err(|findings| planning.unusable(&findings, counted.rounds.len()))
            .map_err(|failure| PlanningFailure { spent, ..failure })?;
        let model = counted.model.unwrap_or_else(|| decomposer.identity.model.clone());
        let metadata = &mut document.metadata;
        metadata.strategy = Some(l05_core::plan::Strategy::Llm);
        metadata.provider = Some(decomposer.identity.provider.to_owned());
        metadata.model = Some(model.clone());
        metadata.prompt_version = Some(prompt_version());
        spent.note_in(metadata);
        metadata.nesting = Some(planning.deepest.into_inner()).filter(|depth| *depth > 0);
        metadata.warnings.extend(draft.repairs.iter().chain(&draft.warnings).cloned());
        if counted.left_out > 0 {
            metadata.warnings.push(format!(
                "the model was not told of {} tools: there was no room for them (decomposition.tool_tokens)",
                counted.left_out
            ));
        }
        let decision = PlanDecision::Model {
            asked: request.strategy.as_str().to_owned(),
            gateway: decomposer.identity.provider.to_owned(),
            model,
            prompt_version: prompt_version(),
            why,
            rounds: counted.rounds,
        };
        Ok(ModelPlan { document, decision })
    }
}

impl PlanningRounds<'_, '_> {
    /// A draft for one part, with the parts within it planned and joined.
    fn part<'a>(
        &'a self,
        part: GoalPart<'a>,
    ) -> BoxFuture<'a, Result<(DraftPlan, CountedRounds), PlanningFailure>> {
        Box::pin(async move {
            let mut counted = CountedRounds::default();
            let mut turns = vec![self.first_turn(part)];
            loop {
                let AnswerText { text: answer, finish } = self.ask(&turns, &mut counted).await?;
                let read = match finish {
                    FinishReason::Stop => self.read(&answer, part, &mut counted).await?,
                    // What is left of it may look like a plan and is none.
                    FinishReason::Length => {
                        Err(vec![malformed("your answer was cut off: make it shorter")])
                    }
                };
                let findings = match read {
                    Ok(draft) => return Ok((draft, counted)),
                    Err(findings) => findings,
                };
                if let Some(round) = counted.rounds.last_mut() {
                    round.problems = findings.iter().map(told).collect();
                }
                // Each part has rounds of its own.
                let asked = turns.len() / 2;
                if asked >= self.decomposer.rules.repair_rounds as usize {
                    return Err(self.unusable(&findings, asked + 1));
                }
                turns.push(ModelTurn { role: ModelRole::Assistant, text: answer });
                turns.push(ModelTurn { role: ModelRole::User, text: repair_prompt(&findings) });
            }
        })
    }

    fn is_recursive(&self) -> bool {
        self.request.goal.goal_type == GoalType::Recursive
    }

    fn first_turn(&self, part: GoalPart<'_>) -> ModelTurn {
        let whole = self.request.goal.goal_text.as_str();
        let parent = (part.depth > 0).then_some(whole);
        ModelTurn {
            role: ModelRole::User,
            text: goal_prompt(part.goal, &self.request.inputs, parent),
        }
    }

    /// One answer of the model; what it takes is counted.
    async fn ask(
        &self,
        turns: &[ModelTurn],
        counted: &mut CountedRounds,
    ) -> Result<AnswerText, PlanningFailure> {
        let rules = &self.decomposer.rules;
        let _turn = self.turns.acquire().await.expect("nobody closes it");
        let PlanQuestion { system, form, left_out } = self.question(turns);
        counted.left_out = left_out;
        let mut request = ModelRequest {
            model: None,
            system,
            turns: turns.to_vec(),
            schema: Some((SCHEMA_NAME, form.schema)),
            temperature: 0.0,
            tokens_max: form.tokens_max,
            within: rules.call_within,
            agent_did: self.request.goal.agent_did.as_str().to_owned(),
            idempotency_key: None,
        };
        let meter = &self.decomposer.meter;
        let reserved = self.account.reserve(meter, &mut request).map_err(|message| {
            let error = self.decomposer.error(ErrorCode::BudgetExceeded, message);
            PlanningFailure::of_model(error)
        })?;
        let answer = self.patiently(&request).await;
        let used = answer.as_ref().ok().map(|answer| meter.usage(&request, answer));
        let is_free = answer.as_ref().is_err_and(|failure| failure.kind.is_free());
        self.account.settle(reserved, used, is_free);
        let answer = answer?;
        let CallUsage { input_tokens, output_tokens, .. } = meter.usage(&request, &answer);
        counted.rounds.push(ModelRound { input_tokens, output_tokens, problems: Vec::new() });
        counted.model.get_or_insert(answer.model);
        Ok(AnswerText { text: answer.text, finish: answer.finish })
    }

    /// Asks, and comes again when the gateway says so and the caller's time allows it.
    async fn patiently(&self, request: &ModelRequest) -> Result<ModelAnswer, CallFailure> {
        let clock = self.basis.clock;
        let mut again = 0;
        loop {
            let left = self.until.map(|until| {
                Duration::from_millis(u64::try_from(until.0 - clock.now().0).unwrap_or(0))
            });
            let answer = self.decomposer.call(clock, request, left, CallPurpose::Plan).await;
            let Err(failure) = &answer else { return answer };
            let wait = failure.retry_after.filter(|wait| {
                *wait <= RETRY_AFTER_MAX
                    && left.is_none_or(|left| *wait + TIME_LEFT_MIN < left)
                    && again < RETRIES_MAX
            });
            let Some(wait) = wait.filter(|_| failure.kind.is_asked_again()) else { return answer };
            tracing::info!(seconds = wait.as_secs_f64(), "the gateway asks to come again later");
            tokio::time::sleep(wait).await;
            again += 1;
        }
    }

    /// Tells the model about this place, and the form that it is held to. The goal has no word in it.
    fn question(&self, turns: &[ModelTurn]) -> PlanQuestion {
        let basis = self.basis;
        let constraints = &self.request.goal.constraints;
        let forbidden = &constraints.forbidden_tools;
        let usable = |name: &str| !forbidden.iter().any(|tool| tool == name);
        let tools = basis.tools.iter().map(|tool| &tool.spec).filter(|spec| usable(&spec.name));
        let mut limits = Vec::new();
        if let Some(seconds) = constraints.max_execution_time_sec {
            limits.push(format!("The run may take {seconds} seconds."));
        }
        limits.push(format!("At most {} tasks run at once.", constraints.max_parallelism));
        let form_of = |tools: &[&ToolSpec]| {
            answer_schema(&AnswerForm {
                tools,
                agents: !basis.capabilities.is_empty(),
                compound: self.is_recursive(),
                tasks_max: basis.tasks_max,
                tokens_max: self.decomposer.rules.answer_tokens_max,
                by_place: self.is_by_place(),
            })
        };
        let told = PromptFacts {
            tools: tools.collect(),
            capabilities: basis.capabilities.clone(),
            tasks_max: form_of(&[]).tasks_max,
            limits,
            compound: self.is_recursive(),
            by_place: self.is_by_place(),
            tokens_max: self.decomposer.rules.tool_tokens_max,
            count_tokens: basis.count_tokens,
        };
        let goal = turns.first().map_or("", |turn| turn.text.as_str());
        let prompt = system_prompt(&told, goal);
        let form = form_of(&prompt.tools);
        PlanQuestion { system: prompt.text, form, left_out: prompt.left_out }
    }

    /// Servers on this machine hold small models to the letter of a schema: the more it says, the
    /// better their plans. Parts need names of their own.
    fn is_by_place(&self) -> bool {
        self.decomposer.identity.is_local && !self.is_recursive()
    }

    /// An answer as a draft that passes validation, or everything that is wrong with it.
    async fn read(
        &self,
        answer: &str,
        part: GoalPart<'_>,
        counted: &mut CountedRounds,
    ) -> Result<Result<DraftPlan, Vec<Finding>>, PlanningFailure> {
        let mut draft = match read_draft(answer, ReadingMode::default()) {
            Ok(draft) => draft,
            Err(error) => return Ok(Err(vec![malformed(&error.message)])),
        };
        // A plan of which a part was lost means something else: the model writes it again.
        if !draft.lost.is_empty() {
            return Ok(Err(draft.lost.iter().map(|what| malformed(what)).collect()));
        }
        draft.state_implied();
        // A model says what is to be done, and nothing about who may do it or what it may cost.
        draft.fields.retain(|name, _| name == "on_failure");
        draft.goal = Some(part.goal.to_owned());
        let parts: Vec<(String, String)> = draft
            .steps
            .iter()
            .filter(|step| self.is_recursive() && step.is_compound())
            .map(|step| (step.id.clone(), sub_goal(&step.fields)))
            .collect();
        let findings = self.check(&draft, &parts).await?;
        if !findings.is_empty() {
            return Ok(Err(findings));
        }
        if parts.is_empty() {
            return Ok(Ok(draft));
        }
        self.join(draft, parts, part.depth, counted).await
    }

    /// Plans all parts at once and puts them in their places.
    async fn join(
        &self,
        mut draft: DraftPlan,
        parts: Vec<(String, String)>,
        depth: u32,
        counted: &mut CountedRounds,
    ) -> Result<Result<DraftPlan, Vec<Finding>>, PlanningFailure> {
        let depth = depth + 1;
        if depth >= self.decomposer.rules.depth_max {
            let message = format!("the goal's parts nest deeper than {depth}");
            return Err(Error::new(ErrorCode::PlanTooDeep, message)
                .detail("max_depth", self.decomposer.rules.depth_max)
                .into());
        }
        // Each part is a task at the least: more of them than tasks are allowed need not be planned.
        let begun = parts.len() + self.parts.fetch_add(parts.len(), Ordering::Relaxed);
        let tasks_max = self.basis.tasks_max;
        if begun > tasks_max {
            let message = format!("the goal has {begun} parts by now; at most {tasks_max} tasks");
            return Err(Error::new(ErrorCode::PlanSizeInvalid, message)
                .detail("parts", begun)
                .detail("tasks_max", tasks_max)
                .into());
        }
        self.deepest.fetch_max(depth, Ordering::Relaxed);
        let referenced = draft.referenced();
        let planned = parts.iter().map(|(_, goal)| self.part(GoalPart { goal, depth }));
        for ((id, _), (sub, sub_counted)) in parts.iter().zip(try_join_all(planned).await?) {
            counted.rounds.extend(sub_counted.rounds);
            if let Err(why) = draft.splice(id, sub, referenced.contains(id)) {
                return Ok(Err(vec![
                    Finding::new(ErrorCode::ReferenceUnresolved, ValidationLevel::Semantic, why)
                        .task(id),
                ]));
            }
            let tasks = draft.steps.len();
            if tasks > tasks_max {
                let message = format!("the plan has {tasks} tasks by now; at most {tasks_max}");
                return Err(Error::new(ErrorCode::PlanSizeInvalid, message)
                    .detail("tasks", tasks)
                    .detail("tasks_max", tasks_max)
                    .into());
            }
        }
        draft.state_implied();
        let findings = self.check(&draft, &[]).await?;
        Ok(if findings.is_empty() { Ok(draft) } else { Err(findings) })
    }

    fn document(&self, draft: &DraftPlan) -> Result<PlanDocument, Vec<Finding>> {
        let mut document = PlanDocument::read(&draft.plan_file())?;
        document.goal.clone_from(&self.request.goal.goal_text);
        document.inputs = self.request.inputs.clone();
        self.request.put_into(&mut document);
        Ok(document)
    }

    /// Validates a plan, but for parts that are to be planned yet.
    async fn check(
        &self,
        draft: &DraftPlan,
        parts: &[(String, String)],
    ) -> Result<Vec<Finding>, Error> {
        let document = match self.document(draft) {
            Ok(document) => document,
            Err(findings) => return Ok(findings),
        };
        let mut findings = (self.basis.validate)(document).await?;
        findings.retain(|finding| {
            !finding.is_unplanned_part
                || !parts.iter().any(|(id, _)| finding.task.as_ref() == Some(id))
        });
        Ok(findings)
    }

    fn unusable(&self, findings: &[Finding], rounds: usize) -> PlanningFailure {
        let first = findings.first().map(told).unwrap_or_default();
        let message = format!(
            "{} gave no plan that can be used in {rounds} rounds; {} problems are left, the first: {first}",
            self.decomposer.identity.shown(),
            findings.len()
        );
        let list = serde_json::to_value(findings).expect("findings are plain data");
        let error = self
            .decomposer
            .error(ErrorCode::ModelAnswerMalformed, message)
            .detail("rounds", rounds)
            .detail("findings", list)
            .suggest("try another model, put the goal in simpler words, or write a plan file");
        PlanningFailure::of_model(error)
    }
}

fn malformed(message: &str) -> Finding {
    Finding::new(ErrorCode::ModelAnswerMalformed, ValidationLevel::Syntax, message)
}

/// A finding in one line.
fn told(finding: &Finding) -> String {
    match &finding.task {
        Some(task) => format!("{} `{task}`: {}", finding.code, finding.message),
        None => format!("{} {}", finding.code, finding.message),
    }
}

/// The goal of a part, in its own words.
fn sub_goal(fields: &serde_json::Map<String, Value>) -> String {
    let text = ["goal", "description", "name"].iter().find_map(|name| fields.get(*name)?.as_str());
    text.unwrap_or_default().to_owned()
}
