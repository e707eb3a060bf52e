//! `l05 cost` and `l05 explain`: what a plan takes, and why it is as it is.

use std::path::Path;

use l05_core::{Error, ErrorCode};
use l05_engine::cost_report::{CostFigure, CostReport};
use l05_run::explain::{Explanation, Topic};
use serde::Serialize;

use super::CliContext;
use super::exit::ExitStatus;
use super::output::table;
use super::plan_file::{PlanFile, is_file};
use super::run::open;

/// Show what a plan takes: low, expected, high, and at worst
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  l05 cost plan.yaml\n  l05 cost 0199f3c2 --output json")]
pub(crate) struct CostArgs {
    /// A plan file, or the id of a plan (its beginning will do)
    plan: String,
}

/// Tell why a plan is as it is, and what happened to it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  l05 explain 0199f3c2\n  l05 explain 0199f3c2 scheduling")]
pub(crate) struct ExplainArgs {
    /// The id of a plan (its beginning will do)
    id: String,
    /// One decision; without it all
    #[arg(value_parser = ["decomposition", "validation", "assignment", "scheduling", "estimate", "retry"])]
    decision: Option<String>,
}

pub(crate) async fn cost(context: &CliContext, args: CostArgs) -> Result<ExitStatus, Error> {
    let service = open(context, None).await?;
    let costs = if is_file(&args.plan) {
        let file = PlanFile::read(Path::new(&args.plan), context.config.text_limits)?;
        let costs = service.estimate_cost(file.document()?).await;
        costs.map_err(|error| file.placed(error))?
    } else {
        service.cost(service.find(&args.plan).await?).await?
    };
    context.output.result(&costs, cost_text);
    Ok(ExitStatus::Done)
}

fn cost_text(costs: &CostReport) -> String {
    let rows = costs.tasks.iter().flat_map(|task| {
        let method = match task.history_runs {
            0 => task.method.to_string(),
            runs => format!("{} ({runs} runs)", task.method),
        };
        let seconds = row(&task.task, "seconds", task.seconds, method);
        let others = [("tokens", task.tokens), ("US dollars", task.cost_usd)];
        let others = others.into_iter().filter(|(_, f)| f.high > 0.0 || f.bound > 0.0);
        let others = others.map(|(unit, figure)| row("", unit, figure, String::new()));
        std::iter::once(seconds).chain(others).collect::<Vec<_>>()
    });
    let totals = [
        row("plan", "seconds", costs.seconds, costs.method.to_string()),
        row("", "tokens", costs.tokens, String::new()),
        row("", "US dollars", costs.cost_usd, String::new()),
    ];
    let header = ["TASK", "UNIT", "LOW", "EXPECTED", "HIGH", "AT WORST", "ESTIMATED FROM"];
    let mut text = table(&header, rows.chain(totals));
    let used = costs.tasks.iter().filter(|task| task.history_runs > 0).count();
    text.push_str(&format!(
        "\nconfidence {:.2}; history was used for {used} of {} tasks",
        costs.confidence,
        costs.tasks.len()
    ));
    if let Some(actual) = costs.actual {
        text.push_str(&format!(
            "\nits runs took {} s, {} tokens and ${}",
            actual.seconds, actual.tokens, actual.cost_usd
        ));
    }
    text
}

fn row(task: &str, unit: &str, figure: CostFigure, method: String) -> Vec<String> {
    let numbers = [figure.low, figure.expected, figure.high, figure.bound];
    let mut row = vec![task.to_owned(), unit.to_owned()];
    row.extend(numbers.map(|number| format!("{}", (number * 1e6).round() / 1e6)));
    row.push(method);
    row
}

/// All explanations of a plan.
#[derive(Serialize)]
struct ExplainDocument {
    plan_id: l05_core::id::PlanId,
    explanations: Vec<Explanation>,
}

pub(crate) async fn explain(context: &CliContext, args: ExplainArgs) -> Result<ExitStatus, Error> {
    let topics = match &args.decision {
        None => Topic::EVERY.to_vec(),
        Some(word) => vec![Topic::parse(word).ok_or_else(|| {
            Error::new(ErrorCode::ConfigError, format!("`{word}` is no decision"))
        })?],
    };
    let service = open(context, None).await?;
    let plan_id = service.find(&args.id).await?;
    let explanations = service.explain(plan_id, &topics).await?;
    context.output.result(&ExplainDocument { plan_id, explanations }, |explained| {
        let mut lines = Vec::new();
        for part in &explained.explanations {
            lines.push(format!("{} (confidence: {})", part.decision, part.confidence));
            lines.extend(part.reasoning_steps.iter().map(|step| format!("  {step}")));
        }
        lines.join("\n")
    });
    Ok(ExitStatus::Done)
}
