//! `approve` and `reject`, and what `run` does when a plan waits for a person.

use std::io::{self, BufRead as _, IsTerminal as _};

use l05_core::Error;
use l05_core::error::ErrorKind;
use l05_core::id::PlanId;
use l05_engine::PlanningService;
use l05_engine::service::{GateAnswer, PendingApproval};
use serde_json::json;

use super::CliContext;
use super::exit::ExitStatus;
use super::output::eprint;
use super::run::open;

/// Answer what a plan waits for
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  l05 approve 0199f3c2 --reason \"looked at the query\"\n  l05 reject 0199f3c2 --task publish"
)]
pub(crate) struct AnswerArgs {
    /// The id of a plan (its beginning will do)
    id: String,
    /// The task that waits, where several things do
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// The reason; kept in the record
    #[arg(long, default_value = "")]
    reason: String,
}

pub(crate) async fn answer(
    context: &CliContext,
    args: AnswerArgs,
    approve: bool,
) -> Result<ExitStatus, Error> {
    let service = open(context, None).await?;
    let id = service.find(&args.id).await?;
    let AnswerArgs { task, reason, .. } = args;
    let answer = GateAnswer { approve, reason, task, gate: None };
    let answered = service.answer(id, answer).await?;
    service.shutdown().await;
    let word = if approve { "approved" } else { "rejected" };
    let document = json!({
        "plan_id": id, "about": answered.about, "approved": approve, "status": answered.status,
        "driven": answered.driven,
    });
    context.output.result(&document, |_| format!("{word}: {} of plan {id}", answered.about));
    if approve && !answered.driven {
        context.output.note(&format!("`l05 execute {id}` goes on"));
    }
    Ok(ExitStatus::Done)
}

/// Ways in which a run that waits for people goes on.
pub(crate) enum NextQuestion {
    /// All was answered: it may go on.
    GoOn,
    /// Somebody else has to answer.
    Wait,
}

/// Answers the open questions of a run that nobody drives: by `--yes`, or by whoever sits at the
/// terminal. `--yes` stands for the person who started the run, so it approves a plan that may
/// destroy something; it does not approve what a threshold of the configuration reserves to an
/// approver, nor the gates inside a plan.
pub(crate) async fn answer_questions(
    context: &CliContext,
    service: &PlanningService,
    id: PlanId,
    yes: bool,
) -> Result<NextQuestion, Error> {
    let open = service.open_gates(id).await?;
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    for PendingApproval { gate, about, reasons, is_reserved, .. } in &open {
        let (approve, reason) = if yes && !is_reserved {
            (true, "--yes".to_owned())
        } else if terminal {
            reasons.iter().for_each(|reason| eprint(&format!("  {reason}")));
            (asked(about).await, "asked at the terminal".to_owned())
        } else {
            tell_how(context, id, &open);
            return Ok(NextQuestion::Wait);
        };
        let gate = Some(*gate);
        let answer = GateAnswer { approve, reason, task: None, gate };
        match service.answer(id, answer).await {
            Ok(_) => {}
            // Somebody else has answered while it was asked here.
            Err(error) if error.kind() == ErrorKind::WrongState => {
                context.output.note(&format!("{about} was answered elsewhere meanwhile"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(NextQuestion::GoOn)
}

async fn asked(about: &str) -> bool {
    eprint(&format!("{about} waits for approval. Go on? [y/N]"));
    let line = || io::stdin().lock().lines().next().and_then(Result::ok).unwrap_or_default();
    let line = tokio::task::spawn_blocking(line).await.unwrap_or_default();
    matches!(line.trim(), "y" | "Y" | "yes")
}

fn tell_how(context: &CliContext, id: PlanId, open: &[PendingApproval]) {
    for PendingApproval { about, expires_at, reasons, .. } in open {
        let until = expires_at.map(|at| format!(" until {at}")).unwrap_or_default();
        context.output.note(&format!("{about} waits for approval{until}"));
        reasons.iter().for_each(|reason| context.output.note(&format!("  {reason}")));
    }
    let task = if open.len() > 1 { " --task TASK" } else { "" };
    context.output.note(&format!(
        "`l05 approve {id}{task}` and then `l05 execute {id}` goes on; `l05 reject {id}{task}` refuses"
    ));
}

/// Whoever sits here, as the system says.
pub(crate) fn person() -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| "local".to_owned())
}
