//! `worker`: drives whatever run nobody drives. Several workers on one store share the work, and one
//! goes on with what another left when it died.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use l05_core::Error;
use l05_core::id::PlanId;
use l05_engine::PlanningService;
use l05_engine::workspaces::OtherWorkspaces;
use serde_json::json;
use tokio::time::Instant;

use super::CliContext;
use super::exit::ExitStatus;
use super::follow::told_to_stop;
use super::output::table;
use super::run::{open, open_with};

/// The interval at which runs that nobody drives are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The pause before a run that was refused is tried once more.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// Runs adopted at one look; the rest comes at the next, or goes to other workers.
const ADOPT_MAX: usize = 1_000;

/// Drive runs that no living process drives, until told to stop
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  l05 execute plan.yaml --detach\n  l05 worker\n  l05 worker --until-idle"
)]
pub(crate) struct WorkerArgs {
    /// End when nothing is left to drive
    #[arg(long)]
    until_idle: bool,
    /// The folder whose runs are driven, beside those that need none; `all`: every folder of this machine
    #[arg(long, value_name = "DIR|all")]
    workspace: Option<PathBuf>,
}

pub(crate) async fn worker(context: &CliContext, args: WorkerArgs) -> Result<ExitStatus, Error> {
    let all = args.workspace.as_ref().is_some_and(|workspace| workspace.as_os_str() == "all");
    let (workspace, others) = match args.workspace {
        Some(_) if all => (None, OtherWorkspaces::Follow),
        own => (own, OtherWorkspaces::Refuse),
    };
    let service = open_with(context, workspace, others).await?;
    let id = service.worker().0;
    context.output.note(&format!("worker {id} drives what nobody drives"));
    let mut work = WorkLoop { context, service, refused: HashMap::new(), adopted: 0 };
    tokio::select! {
        () = work.go_on(args.until_idle) => {}
        () = told_to_stop() => context.output.note("stopping; others go on with what is cut off"),
    }
    work.service.shutdown().await;
    let adopted = work.adopted;
    let document = json!({ "worker": id, "adopted": adopted });
    context.output.result(&document, |_| format!("drove {adopted} runs"));
    Ok(ExitStatus::Done)
}

/// The agents of a process of this configuration. Others register with a process that runs, through
/// the library.
pub(crate) async fn agents(context: &CliContext) -> Result<ExitStatus, Error> {
    let service = open(context, None).await?;
    let agents = service.agents().await?;
    service.shutdown().await;
    context.output.result(&json!({ "agents": agents }), |_| {
        let rows = agents.iter().map(|agent| {
            vec![
                agent.agent_id.clone(),
                agent.agent_type.clone(),
                agent.version.to_string(),
                agent.status.to_string(),
                format!("{} %", agent.current_load),
                agent.max_concurrent_tasks.to_string(),
                agent.capabilities.join(" "),
            ]
        });
        table(&["AGENT", "TYPE", "VERSION", "STATUS", "LOAD", "AT ONCE", "CAPABILITIES"], rows)
    });
    Ok(ExitStatus::Done)
}

struct WorkLoop<'a> {
    context: &'a CliContext,
    service: PlanningService,
    refused: HashMap<PlanId, Instant>,
    adopted: usize,
}

impl WorkLoop<'_> {
    async fn go_on(&mut self, until_idle: bool) {
        loop {
            let plans = self.look().await;
            match (until_idle, plans) {
                (true, Some(plans)) if plans.is_empty() => return,
                (true, Some(plans)) => {
                    for plan in plans {
                        // How it ended is in its journal.
                        let ended = self.service.wait(plan).await;
                        tracing::debug!(%plan, ?ended, "a run is over or waits");
                    }
                }
                (true, None) | (false, _) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Adopts what there is; none while the store cannot be asked.
    async fn look(&mut self) -> Option<Vec<PlanId>> {
        self.refused.retain(|_, until| Instant::now() < *until);
        let skip: HashSet<PlanId> = self.refused.keys().copied().collect();
        let adopted = match self.service.adopt(ADOPT_MAX, &skip).await {
            Ok(adopted) => adopted,
            Err(error) => {
                tracing::warn!(%error, "runs that nobody drives cannot be looked for");
                return None;
            }
        };
        for (plan, error) in adopted.refused {
            self.context.output.note(&format!("plan {plan} is left alone for now: {error}"));
            self.refused.insert(plan, Instant::now() + REFUSED_FOR);
        }
        self.adopted += adopted.plans.len();
        Some(adopted.plans)
    }
}
