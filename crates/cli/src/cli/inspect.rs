//! Looking at plans and runs: `status`, `watch`, `show`, `events`, `history`; and `cancel`.

use l05_core::plan::PlanStatus;
use l05_core::{Error, ErrorCode};
use l05_engine::port::HistoryQuery;
use l05_engine::report::StatusReport;
use l05_run::public_event::PublicEvent;
use serde_json::{Value, json};

use super::CliContext;
use super::exit::ExitStatus;
use super::output::{OutputFormat, print, print_json, table};
use super::run::open;

/// A plan
#[derive(Debug, clap::Args)]
pub(crate) struct IdArgs {
    /// The id of a plan (its beginning will do)
    id: String,
}

/// List plans, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// Only plans of this status
    #[arg(long)]
    status: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Older than this plan: the `next` of the page before
    #[arg(long, value_name = "ID")]
    before: Option<String>,
}

/// End a plan
#[derive(Debug, clap::Args)]
pub(crate) struct CancelArgs {
    /// The id of a plan (its beginning will do)
    id: String,
    /// The reason; kept in the record
    #[arg(long, default_value = "cancelled from the command line")]
    reason: String,
    /// Only this task; what needs it is blocked
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
}

pub(crate) async fn status(context: &CliContext, args: IdArgs) -> Result<ExitStatus, Error> {
    let service = open(context, None).await?;
    let report = service.status(service.find(&args.id).await?).await?;
    context.output.result(&report, status_text);
    Ok(ExitStatus::Done)
}

fn status_text(report: &StatusReport) -> String {
    let state = match (report.interrupted, report.waits_for_worker) {
        (true, _) => "INTERRUPTED",
        (false, true) => "WAITING",
        (false, false) => report.status.as_str(),
    };
    let mut text = format!(
        "plan {}: {}\n{state}, {} of {} tasks done",
        report.plan_id, report.goal, report.done, report.total
    );
    for waiting in &report.waiting_for {
        let task = waiting.task_id.as_ref().map(|t| format!(" `{t}`")).unwrap_or_default();
        let until = waiting.expires_at.map(|at| format!(" until {at}")).unwrap_or_default();
        text.push_str(&format!("\nwaiting for a person: {}{task}{until}", waiting.asked_about));
    }
    if report.adoptions > 0 {
        text.push_str(&format!(", taken over {} times", report.adoptions));
    }
    let rows = report.tasks.iter().map(|task| {
        let error = task.error.as_ref().map(|e| format!("{}: {}", e.code, e.message));
        let attempts = task.attempts.len().to_string();
        vec![
            format!("  {}", task.task_id),
            task.status.to_string(),
            attempts,
            error.unwrap_or_default(),
        ]
    });
    text.push('\n');
    text.push_str(&table(&["  TASK", "STATUS", "ATTEMPTS", "ERROR"], rows));
    if let Some(forecast) = &report.forecast {
        let end = forecast.finish_at;
        text.push_str(&format!(
            "\nexpected to end in {:.1} s, at {end}",
            forecast.remaining_seconds
        ));
    }
    if let Some(suspension) = &report.suspension {
        let (deaths, tasks) = (suspension.deaths, suspension.task_ids.join("`, `"));
        text.push_str(&format!(
            "\nsuspended: {deaths} processes died in a row with `{tasks}` in flight"
        ));
    }
    if let Some(hint) = &report.hint {
        text.push_str(&format!("\nhint: {hint}"));
    }
    text
}

pub(crate) async fn watch(context: &CliContext, args: IdArgs) -> Result<ExitStatus, Error> {
    let service = open(context, None).await?;
    let id = service.find(&args.id).await?;
    let mut watcher = service.watch(id).await?;
    while let Some(event) = watcher.next().await? {
        // A line an event, at once: a reader on the other end of a pipe sees it when it happens.
        match context.output.format {
            OutputFormat::Table => print(&event_line(&event)),
            OutputFormat::Json => {
                print_json(&serde_json::to_string(&event).expect("events are plain data"));
            }
            OutputFormat::Yaml => context.output.result(&[event], |_| String::new()),
        }
    }
    match watcher.standing().status {
        PlanStatus::Completed => Ok(ExitStatus::Done),
        PlanStatus::Failed | PlanStatus::Cancelled => Ok(ExitStatus::PlanFailed),
        PlanStatus::Executing => {
            let waits = watcher.standing().waits_for_people;
            let why = if waits { "it waits for a person" } else { "nobody drives it" };
            context.output.note(&format!("{why}; `l05 status {id}` says how to go on"));
            Ok(ExitStatus::Done)
        }
        PlanStatus::Suspended => {
            context
                .output
                .note(&format!("it is suspended; `l05 status {id}` says why and how to go on"));
            Ok(ExitStatus::PlanFailed)
        }
        PlanStatus::Draft
        | PlanStatus::Validated
        | PlanStatus::PendingApproval
        | PlanStatus::Approved => {
            context.output.note(&format!("not started; `l05 execute {id}` starts it"));
            Ok(ExitStatus::Done)
        }
    }
}

pub(crate) async fn show(context: &CliContext, args: IdArgs) -> Result<ExitStatus, Error> {
    let service = open(context, None).await?;
    let id = service.find(&args.id).await?;
    let details = service.details(id).await?;
    context.output.result(&details, show_text);
    Ok(ExitStatus::Done)
}

fn show_text(plan: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut lines = vec![
        format!("plan {}: {}", text(&plan["plan_id"]), text(&plan["goal"])),
        format!(
            "{}, made {}, started {}, ended {}",
            text(&plan["status"]),
            text(&plan["created_at"]),
            text(&plan["execution_started_at"]),
            text(&plan["execution_completed_at"])
        ),
    ];
    if let Some(template) = plan["metadata"]["template_id"].as_str() {
        let version = text(&plan["metadata"]["template_version"]);
        lines.push(format!("from template {template} {version}"));
    }
    lines.push(format!("signed with {}", text(&plan["signature"]["key_id"])));
    if !plan["inputs"].is_null() {
        lines.push(format!("inputs {}", shorten(&plan["inputs"].to_string())));
    }
    for task in plan["tasks"].as_array().into_iter().flatten() {
        let what = task["tool"].as_str().or(task["task_type"].as_str()).unwrap_or_default();
        lines.push(format!("\n{} ({what}): {}", text(&task["task_id"]), text(&task["status"])));
        lines.push(format!("  inputs  {}", shorten(&task["inputs"].to_string())));
        if !task["outputs"].is_null() {
            lines.push(format!("  outputs {}", shorten(&task["outputs"].to_string())));
        }
        for attempt in task["attempts"].as_array().into_iter().flatten() {
            let error = attempt["error"]["message"].as_str();
            let error = error.map(|e| format!(": {e}")).unwrap_or_default();
            lines.push(format!(
                "  attempt {} on {}: {} from {} to {}{error}",
                attempt["number"],
                text(&attempt["agent"]),
                text(&attempt["result"]),
                text(&attempt["started_at"]),
                text(&attempt["completed_at"])
            ));
        }
    }
    lines.push("\neverything, in full: --output json".to_owned());
    lines.join("\n")
}

/// The most of a value that a line for people shows, in characters.
const SHOWN_MAX_CHARS: usize = 160;

pub(crate) fn shorten(text: &str) -> String {
    if text.chars().count() <= SHOWN_MAX_CHARS {
        return text.to_owned();
    }
    text.chars().take(SHOWN_MAX_CHARS).chain(['…']).collect()
}

pub(crate) async fn events(context: &CliContext, args: IdArgs) -> Result<ExitStatus, Error> {
    let service = open(context, None).await?;
    let id = service.find(&args.id).await?;
    let events = service.events(id).await?;
    context.output.result(&json!({ "events": events }), |_| {
        events.iter().map(event_line).collect::<Vec<_>>().join("\n")
    });
    Ok(ExitStatus::Done)
}

fn event_line(event: &PublicEvent) -> String {
    let task = event.task_id.as_deref().unwrap_or_default();
    let data = shorten(&event.data().to_string());
    format!("{:>5} {} {:<22} {task} {data}", event.id.seq, event.time, event.kind.name())
}

pub(crate) async fn history(context: &CliContext, args: HistoryArgs) -> Result<ExitStatus, Error> {
    let status = args.status.map(|word| parse_status(&word)).transpose()?;
    let service = open(context, None).await?;
    let before = match &args.before {
        Some(id) => Some(service.find(id).await?),
        None => None,
    };
    let query = HistoryQuery { status, limit: args.limit as usize, before };
    let page = service.history(query).await?;
    let mut document = json!({ "plans": page.plans });
    if let Some(next) = page.next {
        document["next"] = json!(next);
    }
    context.output.result(&document, |_| {
        if page.plans.is_empty() {
            return "no plans yet; `l05 run \"…\"` makes one".to_owned();
        }
        let rows = page.plans.iter().map(|plan| {
            vec![
                plan.plan_id.to_string(),
                plan.status.to_string(),
                plan.created_at.to_string(),
                shorten(&plan.goal),
            ]
        });
        let mut text = table(&["PLAN", "STATUS", "MADE", "GOAL"], rows);
        if let Some(next) = page.next {
            text.push_str(&format!("\nmore with: --before {next}"));
        }
        text
    });
    Ok(ExitStatus::Done)
}

fn parse_status(word: &str) -> Result<PlanStatus, Error> {
    serde_json::from_value(Value::from(word))
        .map_err(|e| Error::new(ErrorCode::ConfigError, format!("--status {word}: {e}")))
}

pub(crate) async fn cancel(context: &CliContext, args: CancelArgs) -> Result<ExitStatus, Error> {
    let service = open(context, None).await?;
    let id = service.find(&args.id).await?;
    if let Some(task) = &args.task {
        service.cancel_task(id, task, &args.reason).await?;
        service.shutdown().await;
        let report = service.status(id).await?;
        context.output.result(&report, status_text);
        return Ok(ExitStatus::Done);
    }
    let report = loop {
        service.cancel(id, &args.reason).await?;
        // Whoever drives it, its journal tells when it has ended.
        let mut watcher = service.watch(id).await?;
        while watcher.next().await?.is_some() {}
        let report = service.status(id).await?;
        // Its owner died before it read the command: then the run is ours to end.
        if !report.interrupted && !report.waits_for_worker {
            break report;
        }
    };
    service.shutdown().await;
    context.output.result(&report, status_text);
    Ok(ExitStatus::Done)
}
