//! `l05 goals`: what was asked, and what planning made of it; also where no plan came of it.

use l05_core::Error;
use l05_core::goal::GoalStatus;
use l05_engine::goal_record::GoalRecord;
use l05_engine::port::GoalQuery;
use serde_json::json;

use super::CliContext;
use super::exit::ExitStatus;
use super::output::table;
use super::run::open;

/// List goals, newest first, or show what planning made of one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  l05 goals\n  l05 goals --status FAILED\n  l05 goals 0199f3c2-… --output json"
)]
pub(crate) struct GoalsArgs {
    /// The id of a goal: all its plannings, with their steps and events
    id: Option<String>,
    /// Only goals with this outcome
    #[arg(long, value_parser = ["READY", "FAILED"], ignore_case = true)]
    status: Option<String>,
    /// Only parts of this goal
    #[arg(long, value_name = "GOAL_ID")]
    parent: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub(crate) async fn goals(context: &CliContext, args: GoalsArgs) -> Result<ExitStatus, Error> {
    let service = open(context, None).await?;
    let shows_one = args.id.is_some();
    let query = GoalQuery {
        goal_id: args.id,
        parent: args.parent,
        status: args.status.and_then(|word| GoalStatus::parse(&word.to_uppercase())),
        limit: args.limit as usize,
    };
    let goals = service.goals(query).await?;
    service.shutdown().await;
    context.output.result(&json!({ "goals": goals }), |_| match goals.as_slice() {
        [] => "no goals".to_owned(),
        some if shows_one => some.iter().map(planning).collect::<Vec<_>>().join("\n\n"),
        some => {
            let rows = some.iter().map(|goal| {
                let plan = goal.plan_id.map(|plan| plan.to_string()).unwrap_or_default();
                vec![goal.goal_id.clone(), goal.status.to_string(), plan, shorten(&goal.goal_text)]
            });
            table(&["GOAL", "STATUS", "PLAN", "TEXT"], rows)
        }
    });
    Ok(ExitStatus::Done)
}

/// One planning: the steps of its goal and its events.
fn planning(goal: &GoalRecord) -> String {
    let mut lines = vec![format!("{} {}", goal.goal_id, shorten(&goal.goal_text))];
    lines.extend(goal.parent_goal_id.iter().map(|parent| format!("part of {parent}")));
    lines.extend(goal.metadata.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.extend(goal.history.iter().map(|step| format!("{} {}", step.at, step.status)));
    lines.extend(goal.events.iter().map(|event| {
        format!(
            "{} {} after {} ms {}",
            event.time,
            event.kind,
            event.took_ms,
            shorten(&event.data.to_string())
        )
    }));
    lines.extend(goal.plan_id.map(|plan| format!("plan {plan}")));
    lines.extend(goal.error.iter().map(|error| {
        format!(
            "{}: {}",
            error["code"].as_str().unwrap_or_default(),
            error["message"].as_str().unwrap_or_default()
        )
    }));
    lines.join("\n")
}

fn shorten(text: &str) -> String {
    const SHOWN_MAX: usize = 100;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}
