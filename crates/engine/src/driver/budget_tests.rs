//! Budgets under attack: random plans of model calls, run by the machine and the meter that the service uses,
//! with a model double that keeps to `max_tokens` and lies about what it used, and a process that dies.

use std::sync::Arc;
use std::time::Duration;

use l05_core::bound_check::bound_problems;
use l05_core::catalog::ToolCatalog;
use l05_core::error::ErrorCode;
use l05_core::estimate::{EstimateBasis, ModelPrice};
use l05_core::id::{Attempt, Epoch, GoalId, PlanId, TaskIndex};
use l05_core::plan::{Plan, PlanDocument, PlanIdentity, PlanStatus};
use l05_core::random::splitmix64;
use l05_core::time::Timestamp;
use l05_core::validate::{ValidationContext, validate};
use l05_run::Run;
use l05_run::command::{AttemptOutcome, RerunScope, RunCommand, RunEffect, RunLimits};
use l05_run::event::{Gate, RunEvent, TaskError, TaskOutput};
use serde_json::{Value, json};

use crate::decomposer::ModelMeter;
use crate::port::{FinishReason, ModelAnswer, ModelRequest, ModelRole, ModelTurn};

const PLANS: u64 = 10_000;
const NOW: Timestamp = Timestamp(1_000_000);
const MODEL: &str = "double";

/// Four bytes are a token: the double's tokenizer, which the meter knows.
fn tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = splitmix64(self.0);
        self.0 % n.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn basis() -> EstimateBasis {
    let mut basis = EstimateBasis { count_tokens: tokens, ..EstimateBasis::default() };
    basis.tokenizer_of = |model| (model == MODEL).then_some(tokens as fn(&str) -> u64);
    basis.default_model = Some(MODEL.to_owned());
    basis.tokens_per_task_max = 2_000;
    let price = ModelPrice { input_usd_per_million: 3.0, output_usd_per_million: 15.0 };
    basis.prices.models.insert(MODEL.to_owned(), price);
    basis
}

/// Model calls with and without quotas, retries, fan-outs and references.
fn any_document(chance: &mut Chance) -> Value {
    let count = 1 + chance.below(5);
    let mut tasks = Vec::new();
    for i in 0..count {
        let before: Vec<String> =
            (0..i).filter(|_| chance.one_in(2)).map(|j| format!("t{j}")).collect();
        let mut task = json!({
            "id": format!("t{i}"), "prompt": "x".repeat(1 + chance.below(400) as usize),
            "depends_on": before, "retry": {"max_retries": chance.below(4), "base_seconds": 0.0},
            "allow_failure": chance.one_in(3),
            "on_recovery": (["rerun", "fail", "rerun"])[chance.below(3) as usize],
        });
        if chance.one_in(2) {
            let mut quota = json!({});
            if chance.one_in(2) {
                quota["tokens_in"] = json!(150 + chance.below(400));
            }
            if chance.one_in(2) {
                quota["tokens_out"] = json!(1 + chance.below(400));
            }
            if chance.one_in(4) {
                quota["cost_usd"] = json!(0.02 + chance.below(100) as f64 / 1e4);
            }
            task["resource_quota"] = quota;
        }
        if chance.one_in(4) {
            task["for_each"] = json!({"in": "$[inputs].list", "max_items": 3});
        }
        tasks.push(task);
    }
    json!({"goal": "x", "tasks": tasks, "inputs": {"list": [1, 2]},
        "on_budget": if chance.one_in(4) { "ask" } else { "fail" },
        "constraints": {"max_parallelism": 1 + chance.below(4)}})
}

fn plan(document: &Value, basis: &EstimateBasis) -> Option<Plan> {
    let document = PlanDocument::read(document).expect("the plan reads");
    let catalog = ToolCatalog::new([]).expect("no schemas");
    let around = ValidationContext::elsewhere(&catalog, basis, NOW);
    let validation = validate(document, &around);
    let identity = PlanIdentity {
        plan_id: PlanId(uuid::Uuid::nil()),
        goal_id: GoalId::new("g").expect("a goal id"),
        created_at: NOW,
    };
    // A prompt that does not even fit into its quota is refused before anything runs.
    validation.into_plan(identity, NOW, Vec::new()).ok()
}

/// One life of a plan, with what the double really took.
struct Life<'b> {
    meter: &'b ModelMeter,
    run: Run,
    chance: &'b mut Chance,
    epoch: u64,
    in_flight: Vec<(TaskIndex, Attempt)>,
    took_tokens: u64,
    took_usd: f64,
    /// The double takes more than it was told, once.
    breaks_out: bool,
    started_after_breach: u64,
    breached: bool,
}

impl<'b> Life<'b> {
    fn new(meter: &'b ModelMeter, plan: Plan, chance: &'b mut Chance) -> Life<'b> {
        Life {
            meter,
            run: Run::new(Arc::new(plan)),
            chance,
            epoch: 1,
            in_flight: Vec::new(),
            took_tokens: 0,
            took_usd: 0.0,
            breaks_out: false,
            started_after_breach: 0,
            breached: false,
        }
    }

    fn send(&mut self, command: RunCommand) {
        let Ok(decision) = self.run.handle(command, NOW, RunLimits::room(8)) else { return };
        let stops =
            |event: &RunEvent| matches!(event, RunEvent::BudgetBreached { stops: true, .. });
        self.breached |= decision.events.iter().any(stops);
        for effect in decision.effects {
            match effect {
                RunEffect::Dispatch { task, attempt } => {
                    self.started_after_breach += u64::from(self.breached);
                    self.in_flight.push((task, attempt));
                }
                RunEffect::Stop { task, .. } | RunEffect::Abandon { task, .. } => {
                    self.in_flight.retain(|(other, _)| *other != task);
                }
                RunEffect::Expand { task } => {
                    let items = Ok((TaskOutput::Inline(Arc::new(json!([1, 2]))), 2));
                    self.send(RunCommand::Expanded { task, items });
                }
                RunEffect::Resolve { .. } | RunEffect::Finished => {}
            }
        }
    }

    fn open_gate(&self) -> Option<Gate> {
        self.run.open_gates().next().map(|open| open.gate)
    }

    fn live(&mut self) {
        self.send(RunCommand::start(RerunScope::Fresh, "test".into()));
        let mut rounds = 0;
        while !self.run.status().has_ended() && rounds < 500 {
            rounds += 1;
            if self.chance.one_in(9) {
                self.crash();
            } else if let Some(gate) = self.open_gate() {
                let (by, reason) = ("eve".to_owned(), String::new());
                // More budget would be another promise: here it is always refused.
                self.send(RunCommand::AnswerGate { gate, approve: false, by, reason });
            } else if self.in_flight.is_empty() {
                self.send(RunCommand::Wake);
            } else {
                let at = self.chance.below(self.in_flight.len() as u64) as usize;
                let (task, attempt) = self.in_flight.swap_remove(at);
                self.call(task, attempt);
            }
        }
    }

    /// The process dies with its calls: some of them had been made, and were paid for.
    fn crash(&mut self) {
        for (task, _) in std::mem::take(&mut self.in_flight) {
            if self.chance.one_in(2) {
                // A call that does not fit was not made.
                let _ = self.double(task);
            }
        }
        self.epoch += 1;
        self.send(RunCommand::Adopt { epoch: Epoch(self.epoch), after_death: false });
    }

    fn call(&mut self, task: TaskIndex, attempt: Attempt) {
        let (outcome, usage) = match self.double(task) {
            Err(message) => {
                let code = ErrorCode::BudgetExceeded;
                let error = TaskError::last(code, message);
                (AttemptOutcome::Failed(error), Some(l05_run::amounts::Usage::default()))
            }
            Ok((request, answer)) => {
                let used = self.meter.usage(&request, &answer).into();
                match self.chance.below(5) {
                    0 => {
                        let message = "scripted".to_owned();
                        let code = ErrorCode::TaskFailed;
                        let error = TaskError::new(code, message);
                        (AttemptOutcome::Failed(error), Some(used))
                    }
                    // The answer is lost on its way: nobody knows what it took.
                    1 => {
                        let message = "scripted".to_owned();
                        let code = ErrorCode::TaskFailed;
                        let error = TaskError::new(code, message);
                        (AttemptOutcome::Failed(error), None)
                    }
                    _ => {
                        let output = TaskOutput::Inline(Arc::new(json!({"response": "ok"})));
                        (AttemptOutcome::Completed(output), Some(used))
                    }
                }
            }
        };
        self.send(RunCommand::Report { task, attempt, outcome, usage });
    }

    /// The model: reads the prompt, however far it has grown, keeps to the limit of its answer, and reports
    /// what it likes.
    fn double(&mut self, task: TaskIndex) -> Result<(ModelRequest, ModelAnswer), String> {
        let grown = if self.chance.one_in(3) { self.chance.below(12_000) } else { 0 };
        let text = format!(
            "{}{}",
            self.run.spec(task).prompt.clone().unwrap(),
            "y".repeat(grown as usize)
        );
        let mut request = ModelRequest {
            model: None,
            system: String::new(),
            turns: vec![ModelTurn { role: ModelRole::User, text }],
            schema: None,
            temperature: 0.0,
            tokens_max: 4_096,
            within: Duration::from_secs(5),
            agent_did: String::new(),
            idempotency_key: None,
        };
        let allowance = self.run.plan().allowance(self.run.origin(task));
        let limit = self.meter.answer_limit(&request, &allowance).map_err(|exceeded| exceeded.0)?;
        request.tokens_max = limit;
        let output = self.chance.below(u64::from(limit) + 1);
        let input = tokens(&request.turns[0].text) + self.chance.below(13);
        let (mut input_told, mut output_told) = match self.chance.below(6) {
            0 => (None, None),
            1 => (Some(0), Some(0)),
            2 => (Some(1), Some(1)),
            3 => (None, Some(output)),
            4 => (Some(input / 2), None),
            _ => (Some(input), Some(output)),
        };
        let mut output_took = output;
        if self.breaks_out && self.chance.one_in(2) {
            output_took = output + 50_000;
            (input_told, output_told) = (Some(input), Some(output_took));
        }
        // Hidden reasoning is what nobody here can count: the double has none beside what it shows.
        let text = "z".repeat(4 * output as usize);
        self.took_tokens += input + output_took;
        self.took_usd += 3.0 * input as f64 / 1e6 + 15.0 * output_took as f64 / 1e6;
        let answer = ModelAnswer {
            text,
            model: MODEL.to_owned(),
            input_tokens: input_told,
            output_tokens: output_told,
            finish: FinishReason::Stop,
        };
        Ok((request, answer))
    }
}

/// The budget of each plan is its signed bound: so the bound is never exceeded, whatever happens.
#[test]
fn no_plan_takes_more_than_its_signed_bound() {
    let basis = basis();
    let meter = ModelMeter::new(&basis, MODEL);
    let (mut completed, mut refused, mut crashed) = (0, 0, 0);
    for seed in 0..PLANS {
        let mut chance = Chance(splitmix64(seed));
        let mut document = any_document(&mut chance);
        let Some(first) = plan(&document, &basis) else {
            refused += 1;
            continue;
        };
        let bound = first.document().metadata.bound.clone().expect("each plan has one");
        assert_eq!(bound_problems(first.document()), Vec::<String>::new(), "seed {seed}");
        document["constraints"]["token_budget"] = json!(bound.tokens);
        document["constraints"]["cost_limit_usd"] = json!(bound.cost_usd);
        let bounded = plan(&document, &basis).expect("its bound is enough for a plan");
        let mut life = Life::new(&meter, bounded, &mut chance);
        life.live();
        assert!(life.run.status().has_ended(), "seed {seed}: {:?}", life.run.status());
        let (took, usd) = (life.took_tokens, life.took_usd);
        assert!(took <= bound.tokens, "seed {seed}: {took} of {}", bound.tokens);
        assert!(usd <= bound.cost_usd + 1e-9, "seed {seed}: {usd} of {}", bound.cost_usd);
        completed += u64::from(life.run.status() == PlanStatus::Completed);
        crashed += u64::from(life.epoch > 1);
    }
    // The test means nothing where nothing runs.
    assert!(
        completed > PLANS / 10 && refused < PLANS / 3 && crashed > PLANS / 4,
        "{completed} {refused} {crashed}"
    );
}

/// A double that takes more than it was told: told as a breach, charged, and nothing further starts.
#[test]
fn a_breach_is_the_last_thing_that_starts() {
    let basis = basis();
    let meter = ModelMeter::new(&basis, MODEL);
    let mut breaches = 0;
    for seed in 0..1_000 {
        let mut chance = Chance(splitmix64(!seed));
        let mut document = any_document(&mut chance);
        document["constraints"]["token_budget"] = json!(1_000_000);
        document["on_budget"] = json!("fail");
        let Some(bounded) = plan(&document, &basis) else { continue };
        let mut life = Life::new(&meter, bounded, &mut chance);
        life.breaks_out = true;
        life.live();
        if life.breached {
            breaches += 1;
            assert_eq!(life.run.status(), PlanStatus::Failed, "seed {seed}");
            assert_eq!(life.started_after_breach, 0, "seed {seed}");
            let why = life.run.why().expect("a failed plan says why");
            assert_eq!(why.code, ErrorCode::BudgetExceeded, "seed {seed}");
            assert!(life.run.charged().tokens >= 50_000, "seed {seed}");
        }
    }
    assert!(breaches > 200, "{breaches}");
}
