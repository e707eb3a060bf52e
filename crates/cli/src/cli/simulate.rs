//! `l05 simulate`: how long a plan takes on so many agents. Nothing is run.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::path::{Path, PathBuf};

use l05::compose;
use l05_core::agent::AgentAssignment;
use l05_core::document::{DocumentFormat, TextLimits, parse};
use l05_core::estimate::EstimateBasis;
use l05_core::finding::{Finding, findings_error};
use l05_core::plan::{PlanDocument, PlanStructure};
use l05_core::schedule::{
    RoutingStrategy, Schedule, ScheduleJob, ScheduleWorker, WorkerPool, gantt, read_workers,
    schedule,
};
use l05_core::{Error, ErrorCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::CliContext;
use super::batch::{self, BatchArgs};
use super::exit::ExitStatus;
use super::plan_file::{is_file, read_text};
use super::run::open;

/// Schedule a plan on agents without running it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  l05 simulate plan.yaml --agents 4\n  l05 simulate plan.yaml --agents unlimited --output json\n  l05 simulate plan.yaml --agents agents.yaml --routing balanced\n  l05 simulate --batch - --agents 2 < plans.ndjson"
)]
pub(crate) struct SimulateArgs {
    /// A plan file, or the id of a plan (its beginning will do)
    plan: Option<String>,
    /// A number of equal agents, `unlimited`, or a YAML file of unlike ones (id, speed,
    /// max_concurrent_tasks, capabilities, cost_per_hour); without it the plan's max_parallelism
    #[arg(long, value_name = "N|unlimited|FILE")]
    agents: Option<String>,
    /// The rule by which tasks find their agents among unlike ones
    #[arg(long, value_parser = routing_words(), default_value = "balanced")]
    routing: RoutingStrategy,
    /// The seed of the search, for a schedule that can be had again
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    batch: BatchArgs,
}

fn routing_words() -> impl TypedValueParser<Value = RoutingStrategy> {
    PossibleValuesParser::new(RoutingStrategy::WORDS.iter().copied())
        .map(|word| RoutingStrategy::parse(&word).expect("the parser takes no other word"))
}

/// The printed report.
#[derive(Serialize)]
struct SimulationReport {
    agents: Value,
    makespan_seconds: f64,
    lower_bound_seconds: f64,
    gap: f64,
    critical_path_seconds: f64,
    work_seconds: f64,
    schedule: Vec<SimulatedTask>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    assignments: Vec<AgentAssignment>,
    #[serde(skip)]
    drawing: String,
}

#[derive(Serialize)]
struct SimulatedTask {
    task: String,
    agent: Value,
    start: f64,
    finish: f64,
}

pub(crate) async fn simulate(
    context: &CliContext,
    args: SimulateArgs,
) -> Result<ExitStatus, Error> {
    let pool = args.agents.as_deref().map(|text| pool(text, context)).transpose()?;
    let routing = args.routing;
    let simulator =
        PlanSimulator { pool, routing, seed: args.seed, ground: compose::ground(&context.config)? };
    let Some(plan) = args.batch.single(&args.plan, "a plan")? else {
        return batch::run(context.config.text_limits.to_look_at(), |mut line| {
            let agents = line.shift_remove("agents");
            simulator.line(&batch::document(line, "plan"), agents.as_ref())
        });
    };
    let document = if is_file(plan) {
        read(Path::new(plan), context.config.text_limits.to_look_at())?
    } else {
        let service = open(context, None).await?;
        let id = service.find(plan).await?;
        service.load(id).await?.document().clone()
    };
    let simulation = simulator.simulate(&document, simulator.pool.as_ref())?;
    context.output.result(&simulation, text);
    Ok(ExitStatus::Done)
}

/// A plan document of which only ids, dependencies and durations matter.
fn read(path: &Path, limits: TextLimits) -> Result<PlanDocument, Error> {
    let name = path.display().to_string();
    let text = read_text(path, limits)?;
    let value = parse(&text, DocumentFormat::detect(&name, &text), limits)
        .map_err(|e| e.into_error(&name))?;
    document(value).map_err(|error| error.detail("document", name))
}

fn document(mut value: Value) -> Result<PlanDocument, Error> {
    if let Value::Object(map) = &mut value
        && !["goal", "goal_text", "name"].iter().any(|key| map.contains_key(*key))
    {
        map.insert("goal".to_owned(), json!("simulation"));
    }
    PlanDocument::read(&value)
        .map_err(|findings| findings_error(ErrorCode::PlanMalformed, &findings))
}

/// `4`, `unlimited`, or a file.
fn pool(text: &str, context: &CliContext) -> Result<WorkerPool, Error> {
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(WorkerPool::Unlimited);
    }
    if let Ok(count) = text.parse::<u32>() {
        let wrong =
            || Error::new(ErrorCode::ConfigError, "--agents 0: at least one agent is needed");
        return if count == 0 { Err(wrong()) } else { Ok(WorkerPool::Equal(count)) };
    }
    let limits = context.config.text_limits.to_look_at();
    let path = PathBuf::from(text);
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') && !path.exists() {
        let message = format!("--agents {text}: write a whole number from 1 to {}", u32::MAX);
        return Err(Error::new(ErrorCode::ConfigError, message));
    }
    let text = read_text(&path, limits)
        .map_err(|e| e.suggest("--agents takes a number, `unlimited` or a YAML file"))?;
    let name = path.display().to_string();
    let value = parse(&text, DocumentFormat::detect(&name, &text), limits)
        .map_err(|e| e.into_error(&name))?;
    read_workers(&value)
        .map(WorkerPool::Unlike)
        .map_err(|findings| findings_error(ErrorCode::PlanMalformed, &findings))
}

struct PlanSimulator {
    pool: Option<WorkerPool>,
    routing: RoutingStrategy,
    seed: u64,
    ground: compose::ServiceGround,
}

impl PlanSimulator {
    fn line(&self, plan: &Value, agents: Option<&Value>) -> Result<Value, Error> {
        let own = match agents {
            None => None,
            Some(Value::String(word)) if word.eq_ignore_ascii_case("unlimited") => {
                Some(WorkerPool::Unlimited)
            }
            Some(Value::Number(n))
                if n.as_u64().is_some_and(|n| (1..=u64::from(u32::MAX)).contains(&n)) =>
            {
                Some(WorkerPool::Equal(n.as_u64().unwrap_or(1) as u32))
            }
            Some(other) => Some(WorkerPool::Unlike(
                read_workers(other)
                    .map_err(|findings| findings_error(ErrorCode::PlanMalformed, &findings))?,
            )),
        };
        let document = document(plan.clone())?;
        let simulation = self.simulate(&document, own.as_ref().or(self.pool.as_ref()))?;
        Ok(serde_json::to_value(simulation).expect("results are plain data"))
    }

    fn simulate(
        &self,
        document: &PlanDocument,
        pool: Option<&WorkerPool>,
    ) -> Result<SimulationReport, Error> {
        let structure = structure(document)?;
        let knowledge: &EstimateBasis = self.ground.knowledge();
        let estimate = knowledge.estimate(document, &structure, &self.ground.catalog);
        let at_once = document.parallelism();
        let tasks = estimate.tasks.iter();
        let seconds: Vec<f64> = tasks.map(|t| t.seconds_of_all(at_once).expected).collect();
        let own = WorkerPool::Equal(document.parallelism());
        let pool = pool.unwrap_or(&own);
        let needs = needs(document, pool);
        let job = ScheduleJob { graph: structure.graph(), seconds: &seconds, needs: &needs };
        let found = schedule(&job, pool, self.routing, self.seed).map_err(|stuck| {
            let (first, wanted) = &stuck.tasks[0];
            let id = &document.tasks[*first as usize].task_id;
            let message =
                format!("{stuck}; the first is `{id}`, which needs `{}`", wanted.join("`, `"));
            Error::new(ErrorCode::CapabilityMismatch, message)
        })?;
        Ok(result(document, pool, found))
    }
}

/// Only what makes a graph: a bad input or a bad condition is not simulate's business.
fn structure(document: &PlanDocument) -> Result<PlanStructure, Error> {
    let mut findings = Vec::new();
    let structure = PlanStructure::build(document, &mut findings);
    let shape = |finding: &Finding| {
        [
            ErrorCode::CircularDependency,
            ErrorCode::UnresolvableDependency,
            ErrorCode::DuplicateTaskId,
        ]
        .contains(&finding.code)
    };
    findings.retain(shape);
    if document.tasks.is_empty() {
        return Err(Error::new(ErrorCode::PlanSizeInvalid, "the plan has no task"));
    }
    structure
        .filter(|_| findings.is_empty())
        .ok_or_else(|| findings_error(ErrorCode::PlanInvalid, &findings))
}

/// The capabilities that each task asks of an unlike agent. Tools count where agents say which they
/// have.
fn needs(document: &PlanDocument, pool: &WorkerPool) -> Vec<Vec<String>> {
    let WorkerPool::Unlike(workers) = pool else { return Vec::new() };
    let by_tool = workers.iter().flat_map(|w| &w.capabilities).any(|c| c.starts_with("tool:"));
    let of = |task: &l05_core::task::Task| {
        let mut needs = task.capability_requirements.clone();
        let tool = task.tool.as_ref().filter(|_| by_tool).map(|tool| format!("tool:{tool}"));
        needs.extend(tool.filter(|tool| !task.capability_requirements.contains(tool)));
        needs
    };
    document.tasks.iter().map(of).collect()
}

fn result(document: &PlanDocument, pool: &WorkerPool, mut found: Schedule) -> SimulationReport {
    let task_name = |index: usize| document.tasks[index].task_id.clone();
    let workers: &[ScheduleWorker] = match pool {
        WorkerPool::Unlike(workers) => workers,
        WorkerPool::Unlimited | WorkerPool::Equal(_) => &[],
    };
    let agent_name = |worker: u32| {
        workers.get(worker as usize).map_or_else(|| format!("{}", worker + 1), |w| w.id.clone())
    };
    for assignment in &mut found.assignments {
        let index: usize = assignment.task_id.parse().expect("schedules name tasks by index");
        assignment.task_id = task_name(index);
    }
    let hours = |worker: usize| -> f64 {
        let own = found.slots.iter().filter(|slot| slot.worker as usize == worker);
        own.map(|slot| (slot.finish - slot.start) / 3600.0).sum()
    };
    let cost: f64 = workers.iter().enumerate().map(|(i, w)| w.cost_per_hour * hours(i)).sum();
    SimulationReport {
        agents: match pool {
            WorkerPool::Unlimited => json!("unlimited"),
            WorkerPool::Equal(count) => json!(count),
            WorkerPool::Unlike(workers) => json!(workers.len()),
        },
        makespan_seconds: found.makespan,
        lower_bound_seconds: found.lower_bound,
        gap: found.gap(),
        critical_path_seconds: found.critical_path,
        work_seconds: found.work,
        schedule: found
            .slots
            .iter()
            .map(|slot| SimulatedTask {
                task: task_name(slot.task.at()),
                agent: workers
                    .get(slot.worker as usize)
                    .map_or_else(|| json!(slot.worker + 1), |worker| json!(worker.id)),
                start: slot.start,
                finish: slot.finish,
            })
            .collect(),
        cost_usd: (!workers.is_empty()).then_some(cost),
        drawing: gantt(&found, task_name, agent_name),
        assignments: found.assignments,
    }
}

fn text(simulation: &SimulationReport) -> String {
    let mut text = simulation.drawing.clone();
    let agents =
        simulation.agents.as_str().map_or_else(|| simulation.agents.to_string(), str::to_owned);
    text.push_str(&format!(
        "\n{} s on {agents} agents; no schedule is shorter than {} s (gap {:.2} %)\ncritical path {} s, work {} s",
        simulation.makespan_seconds,
        simulation.lower_bound_seconds,
        simulation.gap * 100.0,
        simulation.critical_path_seconds,
        simulation.work_seconds
    ));
    if let Some(cost) = simulation.cost_usd.filter(|cost| *cost > 0.0) {
        text.push_str(&format!(", cost ${cost:.4}"));
    }
    for assignment in simulation.assignments.iter().take(ASSIGNMENTS_MAX) {
        let Some(other) = assignment.alternatives.first() else { continue };
        text.push_str(&format!(
            "\n`{}` went to {} because it ends first there; {} would have been chosen if it were {:.2} times as fast",
            assignment.task_id,
            assignment.chosen.agent_id,
            other.agent_id,
            (assignment.chosen.score / other.score.max(1e-9)).max(1.0)
        ));
    }
    text
}

/// The most assignments that are explained on a terminal.
const ASSIGNMENTS_MAX: usize = 20;
