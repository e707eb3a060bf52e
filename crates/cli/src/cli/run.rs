//! `run`, `plan`, `execute`, `retry`: planning, and driving a plan to its end.

use std::path::PathBuf;
use std::time::Duration;

use l05::compose::{self, ComposedService};
use l05::config::Config;
use l05_core::caller::Caller;
use l05_core::goal::{Goal, GoalType};
use l05_core::id::{AgentDid, GoalId, PlanId};
use l05_core::plan::{Plan, PlanStatus};
use l05_core::{Error, ErrorCode};
use l05_engine::PlanningService;
use l05_engine::service::{NewBudget, PlanRequest, PlannedGoal, PlanningStrategy};
use l05_engine::workspaces::OtherWorkspaces;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::CliContext;
use super::exit::ExitStatus;
use super::follow::{follow, follow_run, result};
use super::output::{finding_line, table};
use super::plan_file::PlanFile;

/// Plan a goal and print the plan
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  l05 plan \"Create a summary of the project status\"\n  l05 plan \"Convert data.csv to json\" --output json > plan.json"
)]
pub(crate) struct PlanArgs {
    /// The goal, in words
    goal: String,
    /// A parameter of the template; may be repeated
    #[arg(long = "input", value_name = "NAME=VALUE")]
    inputs: Vec<String>,
    /// The way in which the goal becomes a plan
    #[arg(long, value_parser = ["hybrid", "template", "llm"])]
    strategy: Option<String>,
    /// Use this template, whatever the goal says
    #[arg(long, value_name = "ID")]
    template: Option<String>,
    /// The goal is large: a model may plan its parts one by one
    #[arg(long)]
    recursive: bool,
    /// One task should be enough: a plan with more is told
    #[arg(long, conflicts_with = "recursive")]
    simple: bool,
    /// The goal that this one is a part of
    #[arg(long, value_name = "GOAL_ID")]
    parent: Option<String>,
    /// A fact about the goal, kept with it (`l05 goals`); may be repeated
    #[arg(long = "goal-metadata", value_name = "NAME=VALUE")]
    goal_metadata: Vec<String>,
    /// The longest time for planning: 5s, 2m
    #[arg(long, value_name = "DURATION")]
    plan_within: Option<String>,
    /// The longest time for the run: 500ms, 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    deadline: Option<String>,
    /// The most that the run may cost, in US dollars
    #[arg(long, value_name = "USD")]
    budget_usd: Option<f64>,
    /// The most model tokens that the run may take, in and out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..(1 << 53)))]
    token_budget: Option<u64>,
    /// The most tasks at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_parallelism: Option<u32>,
    /// The folder that tools see
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
}

/// Plan a goal and execute the plan
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  l05 run \"Create a summary of the project status\"\n  l05 run \"Analyze sales by region and category\" --input file=sales.csv"
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Leave the run to a worker (`l05 worker`)
    #[arg(long, conflicts_with = "yes")]
    detach: bool,
    /// Answer the question of a plan that has to be approved with yes
    #[arg(long, short)]
    yes: bool,
}

/// Execute a plan file, or go on with a plan
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  l05 execute plan.yaml\n  l05 execute 0199f3c2")]
pub(crate) struct ExecuteArgs {
    /// A plan file, or the id of a plan (its beginning will do)
    plan: String,
    /// Leave the run to a worker (`l05 worker`)
    #[arg(long, conflicts_with = "yes")]
    detach: bool,
    /// Answer the question of a plan that has to be approved with yes
    #[arg(long, short)]
    yes: bool,
    /// Let a suspended plan go on
    #[arg(long, conflicts_with = "detach")]
    force: bool,
    /// The folder that tools see
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
}

/// Run what did not complete, or a task and all behind it, again
#[derive(Debug, clap::Args)]
pub(crate) struct RetryArgs {
    /// The id of a plan (its beginning will do)
    id: String,
    /// Run this task and everything behind it, even if it completed
    #[arg(long, value_name = "TASK")]
    from: Option<String>,
    /// Model tokens that the new run may use; without it, what earlier runs left of the plan's budget
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    token_budget: Option<u64>,
    /// US dollars that the new run may cost; without it, what earlier runs left
    #[arg(long, value_name = "USD")]
    budget_usd: Option<f64>,
    /// The folder that tools see
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
}

/// Opens the service of this context; `workspace` from the command line goes first.
pub(crate) async fn open(
    context: &CliContext,
    workspace: Option<PathBuf>,
) -> Result<PlanningService, Error> {
    // Whoever names a folder means that one; else a run goes on where it began.
    let others = match workspace {
        Some(_) => OtherWorkspaces::Refuse,
        None => OtherWorkspaces::Follow,
    };
    open_with(context, workspace, others).await
}

/// The service, with a rule for runs of other workspaces.
pub(crate) async fn open_with(
    context: &CliContext,
    workspace: Option<PathBuf>,
    others: OtherWorkspaces,
) -> Result<PlanningService, Error> {
    let mut config: Config = context.config.clone();
    if let Some(workspace) = workspace {
        config.workspace = workspace;
    }
    let ComposedService { service, key_is_new } = compose::service(&config, others).await?;
    let service = service.as_caller(Caller::person(super::approval::person()));
    if key_is_new {
        let folder = config.data_dir.display();
        context.output.note(&format!("made a data folder with a signing key of its own: {folder}"));
    }
    Ok(service)
}

pub(crate) async fn plan(context: &CliContext, args: PlanArgs) -> Result<ExitStatus, Error> {
    let request = request(context, &args)?;
    let service = open(context, args.workspace).await?;
    let planned = service.create_plan(request).await?;
    warn(context, &planned);
    let id = planned.plan.id();
    let document = service.details(id).await?;
    context.output.result(&document, |_| {
        format!("{}\n\nexecute it with: l05 execute {id}", describe(&planned.plan))
    });
    Ok(ExitStatus::Done)
}

pub(crate) async fn run(context: &CliContext, args: RunArgs) -> Result<ExitStatus, Error> {
    let RunArgs { plan: args, detach, yes } = args;
    let request = request(context, &args)?;
    let service = open(context, args.workspace).await?;
    let planned = service.create_plan(request).await?;
    warn(context, &planned);
    context.output.note(&describe(&planned.plan));
    let id = planned.plan.id();
    if detach {
        return leave(context, &service, id).await;
    }
    service.execute(id).await?;
    follow(context, &service, id, yes).await
}

pub(crate) async fn execute(context: &CliContext, args: ExecuteArgs) -> Result<ExitStatus, Error> {
    let path = PathBuf::from(&args.plan);
    let looks_like_file = path.exists() || args.plan.contains(['/', '.']);
    let service = open(context, args.workspace).await?;
    // A file without a signature is a new plan each time.
    let mut is_new = false;
    let id = if looks_like_file {
        let file = PlanFile::read(&path, context.config.text_limits)?;
        let document = file.document()?;
        is_new = document.signature.is_none();
        let accepted = service.accept(document, context.strict).await;
        let planned = accepted.map_err(|error| file.placed(error))?;
        warn(context, &planned);
        planned.plan.id()
    } else {
        service.find(&args.plan).await.map_err(|error| {
            error.suggest("name a plan file that exists, or an id of `l05 history`")
        })?
    };
    let status = service.status(id).await?.status;
    if args.force && status != PlanStatus::Suspended {
        let message = format!("plan {id} is {status}: --force lets suspended plans go on");
        return Err(Error::new(ErrorCode::PlanNotExecutable, message)
            .suggest(format!("leave --force out, or see `l05 status {id}`")));
    }
    if args.force {
        service.retry(id, None).await?;
        return follow(context, &service, id, args.yes).await;
    }
    // Whoever was interrupted between the end of a plan and its result gets the result now.
    if !is_new && status == PlanStatus::Completed {
        context.output.note("the plan has completed; this is its result");
        return result(context, &service, id).await;
    }
    if args.detach {
        return leave(context, &service, id).await;
    }
    service.execute(id).await?;
    follow(context, &service, id, args.yes).await
}

/// Begins a run that others drive.
async fn leave(
    context: &CliContext,
    service: &PlanningService,
    id: PlanId,
) -> Result<ExitStatus, Error> {
    let status = service.submit(id).await?;
    service.shutdown().await;
    let document = serde_json::json!({ "plan_id": id, "status": status });
    context.output.result(&document, |_| format!("plan {id} is {status}"));
    if status == PlanStatus::PendingApproval {
        context.output.note(&format!("`l05 approve {id}` lets workers go on with it"));
        return Ok(ExitStatus::Waiting);
    }
    context.output.note(&format!("`l05 watch {id}` follows it; `l05 worker` drives it"));
    Ok(ExitStatus::Done)
}

pub(crate) async fn retry(context: &CliContext, args: RetryArgs) -> Result<ExitStatus, Error> {
    let service = open(context, args.workspace).await?;
    let id = service.find(&args.id).await?;
    let budget = NewBudget {
        tokens: args.token_budget,
        cost_usd: args.budget_usd.map(budget_usd).transpose()?,
    };
    let before = service.run_count(id).await?;
    service.retry_with(id, args.from.as_deref(), budget).await?;
    follow_run(context, &service, id, false, before + 1).await
}

fn warn(context: &CliContext, planned: &PlannedGoal) {
    for warning in &planned.warnings {
        context.output.note(&format!("warning {}", finding_line(warning)));
    }
}

/// A plan for people: what it is and its tasks in order.
pub(crate) fn describe(plan: &Plan) -> String {
    let document = plan.document();
    let from = document.metadata.template_id.as_ref().map_or_else(String::new, |template| {
        let confidence = document.metadata.confidence.unwrap_or_default();
        format!(" (template {template}, confidence {confidence:.2})")
    });
    let order = plan.graph().order();
    let rows = order.iter().map(|index| {
        let task = plan.task(*index);
        let needs: Vec<&str> = plan
            .graph()
            .edges_in(*index)
            .iter()
            .map(|edge| plan.task(plan.graph().edge(*edge).from).task_id.as_str())
            .collect();
        let needs = if needs.is_empty() { "-".to_owned() } else { needs.join(", ") };
        let does = task.tool.clone().unwrap_or_else(|| task.task_type.to_string());
        vec![format!("  {}", task.task_id), does, needs, task.title().to_owned()]
    });
    let header = ["  TASK", "TOOL", "NEEDS", "TITLE"];
    format!("plan {}: {}{from}\n{}", plan.id(), document.goal, table(&header, rows))
}

fn request(context: &CliContext, args: &PlanArgs) -> Result<PlanRequest, Error> {
    let goal_id = GoalId::from(Uuid::now_v7());
    let mut goal = Goal::new(goal_id, AgentDid::local(), args.goal.as_str());
    goal.goal_type = match (args.simple, args.recursive) {
        (true, _) => GoalType::Simple,
        (false, true) => GoalType::Recursive,
        (false, false) => GoalType::Compound,
    };
    goal.metadata = inputs(&args.goal_metadata)?;
    if let Some(parent) = &args.parent {
        let id = GoalId::new(parent).ok_or_else(|| {
            let message =
                format!("--parent {parent}: a goal's id has 1 to 128 URL-safe characters");
            Error::new(ErrorCode::ConfigError, message)
                .suggest("`l05 goals` lists goals with their ids")
        })?;
        goal.parent_goal_id = Some(id);
    }
    if let Some(text) = &args.deadline {
        goal.constraints.max_execution_time_sec = Some(seconds("--deadline", text)?);
    }
    goal.constraints.cost_limit_usd = args.budget_usd.map(budget_usd).transpose()?;
    goal.constraints.max_token_budget = args.token_budget;
    if let Some(parallelism) = args.max_parallelism {
        goal.constraints.max_parallelism = parallelism;
    }
    let strategy = args.strategy.as_deref().and_then(PlanningStrategy::parse);
    Ok(PlanRequest {
        goal,
        strategy: strategy.unwrap_or(context.config.strategy),
        inputs: inputs(&args.inputs)?,
        template: args.template.clone(),
        within: args.plan_within.as_deref().map(planning_time).transpose()?,
        strict: context.strict,
    })
}

fn budget_usd(amount: f64) -> Result<f64, Error> {
    if !(1e-6..=1e15).contains(&amount) {
        let message = format!("--budget-usd {amount}: write an amount above 0 such as 1.50");
        return Err(Error::new(ErrorCode::ConfigError, message));
    }
    Ok(amount)
}

/// A day at most: nobody waits longer for a plan.
fn planning_time(text: &str) -> Result<Duration, Error> {
    const PLANNING_SECONDS_MAX: f64 = 86_400.0;
    Ok(Duration::from_secs_f64(seconds("--plan-within", text)?.min(PLANNING_SECONDS_MAX)))
}

fn inputs(pairs: &[String]) -> Result<Map<String, Value>, Error> {
    let mut inputs = Map::new();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            let message = format!("--input {pair}: write NAME=VALUE");
            return Err(Error::new(ErrorCode::ConfigError, message));
        };
        inputs.insert(name.trim().to_owned(), Value::from(value));
    }
    Ok(inputs)
}

/// `500ms`, `90s`, `10m`, `2h`, or seconds.
fn seconds(option: &str, text: &str) -> Result<f64, Error> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let with_unit =
        units.iter().find_map(|(name, unit)| Some((text.trim().strip_suffix(name)?, unit)));
    let (number, unit) = with_unit.unwrap_or((text.trim(), &1.0));
    let seconds = number.trim().parse::<f64>().ok().map(|n| n * unit);
    seconds.filter(|s| *s > 0.0 && s.is_finite()).ok_or_else(|| {
        let message = format!("{option} {text}: write a duration above 0 such as 90s, 10m or 2h");
        Error::new(ErrorCode::ConfigError, message)
    })
}
