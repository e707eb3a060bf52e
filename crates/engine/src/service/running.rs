//! Running: taking runs up and ending them, who may, and what the driver is told.
//!
//! Between a claim and its run's place in the driver nothing may break off: a living process would
//! own what it does not drive, and nobody else could go on with it. So that part is done in a task of
//! its own, which a caller that gives up does not take along.

mod agents;
mod answers;
mod probation;
mod starts;

use std::collections::HashSet;
use std::sync::Arc;

use l05_core::agent::{Agent, AgentCapacity, MODEL_CAPABILITY};
use l05_core::caller::Caller;
use l05_core::error::ErrorKind;
use l05_core::id::{Epoch, PlanId, WorkerId};
use l05_core::plan::{Plan, PlanStatus};
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use l05_run::command::{NewBudget, OwnWorkspace, RerunScope, RunCommand};
use l05_run::event::{Actor, CancelScope};

use super::builder::local_agent;
use super::reading::{Reading, no_task, run_task, unknown};
use super::recent::RecentPlans;
use crate::driver::{RunDriver, RunEnd, release};
use crate::port::{ClaimResult, Journal, RemoteCommand};
use crate::records::fold;
use crate::records::{NotedCommand, RecordWriter};
use crate::report::PlanResult;
use crate::tool_catalog::CatalogSnapshot;
use crate::workspaces::RunWorkspaces;

pub use answers::{AnswerOutcome, GateAnswer, PendingApproval};
pub(super) use probation::Probation;
use probation::is_suspect;
pub(super) use starts::RunStarts;

/// The reason for which a run is taken up.
#[derive(Debug, Clone, Copy)]
enum DriveReason {
    /// Somebody wants the plan run.
    Execute,
    /// Nobody drives it and it is to go on.
    Adopt,
    /// A new run of a plan that ended.
    Rerun(RerunScope, NewBudget),
}

/// The plans that [`PlanningService::adopt`](super::PlanningService::adopt) took up.
#[derive(Debug, Default)]
pub struct AdoptedPlans {
    /// Plans that go on here.
    pub plans: Vec<PlanId>,
    /// Plans that cannot be gone on with.
    pub refused: Vec<(PlanId, Error)>,
}

/// Properties of this process as an agent, apart from its tools.
pub(super) struct LocalAgentRules {
    pub(super) capacity: AgentCapacity,
    pub(super) in_flight_max: u32,
    pub(super) has_model: bool,
}

impl LocalAgentRules {
    pub(super) fn agent(&self, tools: &CatalogSnapshot, now: Timestamp) -> Agent {
        let mut local = local_agent(&tools.tools, self.capacity, now);
        // A catalogue from a file may name tools that nothing here runs.
        local.capabilities.retain(|capability| {
            capability.strip_prefix("tool:").is_none_or(|tool| tools.executor(tool).is_some())
        });
        local.max_concurrent_tasks = self.in_flight_max;
        if self.has_model {
            local.capabilities.push(MODEL_CAPABILITY.to_owned());
        }
        local
    }
}

/// The part of a service that runs plans.
pub(super) struct Running {
    pub(super) reading: Arc<Reading>,
    pub(super) driver: RunDriver,
    pub(super) writer: RecordWriter,
    pub(super) worker: WorkerId,
    pub(super) local_agent: LocalAgentRules,
    pub(super) answer_within_millis: Option<u64>,
    pub(super) recent: Arc<RecentPlans>,
    pub(super) starting: RunStarts,
    pub(super) probation: Probation,
    pub(super) workspaces: RunWorkspaces,
    pub(super) own_workspace: Option<Arc<OwnWorkspace>>,
}

impl Running {
    fn journal(&self) -> &Arc<dyn Journal> {
        &self.reading.journal
    }

    /// Makes this process an agent with these tools.
    pub(super) fn local_agent(&self, tools: &CatalogSnapshot) -> Agent {
        self.local_agent.agent(tools, self.reading.now())
    }

    /// Starts a plan, or goes on with one whose process is gone. Returns when the start is durable.
    pub(super) async fn execute(self: &Arc<Self>, id: PlanId, by: &Caller) -> Result<(), Error> {
        self.drive(id, DriveReason::Execute, by).await
    }

    pub(super) async fn retry(
        self: &Arc<Self>,
        id: PlanId,
        from_task: Option<&str>,
        budget: NewBudget,
        by: &Caller,
    ) -> Result<(), Error> {
        let plan = self.reading.load(id).await?;
        let from = match from_task {
            None => RerunScope::Failed,
            Some(name) => {
                let task = plan.structure().index_of(name);
                RerunScope::From(task.ok_or_else(|| no_task(&plan, name))?)
            }
        };
        self.drive(id, DriveReason::Rerun(from, budget), by).await
    }

    pub(super) async fn adopt(
        self: &Arc<Self>,
        limit: usize,
        refused: &HashSet<PlanId>,
        by: &Caller,
    ) -> Result<AdoptedPlans, Error> {
        let mut adopted = AdoptedPlans::default();
        let unowned = self.journal().unowned(limit + refused.len()).await?;
        self.review_probation().await;
        for plan in unowned.into_iter().filter(|plan| !refused.contains(plan)).take(limit) {
            if self.is_to_wait(plan).await {
                continue;
            }
            match self.drive(plan, DriveReason::Adopt, by).await {
                Ok(()) => adopted.plans.push(plan),
                Err(error) => match error.kind() {
                    // Somebody else was quicker, or it ended meanwhile.
                    ErrorKind::Conflict => {}
                    // The plan is not to blame.
                    ErrorKind::Unavailable => {
                        return if adopted.plans.is_empty() { Err(error) } else { Ok(adopted) };
                    }
                    ErrorKind::Usage
                    | ErrorKind::Refused
                    | ErrorKind::NotFound
                    | ErrorKind::WrongState
                    | ErrorKind::Damaged
                    | ErrorKind::Cancelled => adopted.refused.push((plan, error)),
                },
            }
        }
        Ok(adopted)
    }

    /// True if a run may have taken its last owners down while another is on probation for the same; else, where it may
    /// have, its own probation begins.
    async fn is_to_wait(&self, id: PlanId) -> bool {
        // What cannot be read is told when it is taken up.
        let Ok(plan) = self.reading.load(id).await else { return false };
        let Ok(run) = fold(&**self.journal(), plan).await else { return false };
        if !is_suspect(&run) {
            return false;
        }
        if self.probation.current().is_some_and(|other| other != id) {
            return true;
        }
        self.probation.begin(id);
        false
    }

    /// Ends the probation of a run that has shown life, or that nobody drives here any more.
    async fn review_probation(&self) {
        let Some(id) = self.probation.current() else { return self.probation.end() };
        let run = async {
            let plan = self.reading.load(id).await.ok()?;
            fold(&**self.journal(), plan).await.ok()
        };
        let is_driven = self.driver.is_driven(id).await.unwrap_or(false);
        if !is_driven || run.await.is_none_or(|run| !is_suspect(&run)) {
            self.probation.end();
        }
    }

    pub(super) async fn submit(
        self: &Arc<Self>,
        id: PlanId,
        by: &Caller,
    ) -> Result<PlanStatus, Error> {
        let (running, caller) = (self.clone(), by.id.clone());
        detached(async move {
            let plan = running.reading.load(id).await?;
            let _turn = running.starting.turn(id).await;
            let status = fold(&**running.journal(), plan.clone()).await?.status();
            if status == PlanStatus::Executing || running.driver.is_driven(id).await? {
                return Ok(status);
            }
            let Ownership { epoch, .. } = running.claim(id).await?;
            let start = RunCommand::start(RerunScope::Fresh, caller.clone());
            let noted = running.note(plan.clone(), epoch, start, caller).await;
            running.give_back(id, epoch).await;
            noted?;
            Ok(fold(&**running.journal(), plan).await?.status())
        })
        .await
    }

    async fn drive(
        self: &Arc<Self>,
        id: PlanId,
        how: DriveReason,
        by: &Caller,
    ) -> Result<(), Error> {
        let plan = match self.recent.take(id) {
            Some(plan) => plan,
            None => self.reading.load(id).await?,
        };
        let (running, caller) = (self.clone(), by.id.clone());
        detached(async move {
            let _turn = running.starting.turn(id).await;
            if running.driver.is_driven(id).await? {
                let message = format!("plan {id} is being run by this process already");
                return Err(Error::new(ErrorCode::PlanNotExecutable, message));
            }
            let owned = running.claim(id).await?;
            let epoch = owned.epoch;
            let begun = async {
                let run = fold(&**running.journal(), plan).await?;
                running.workspaces.check(id, &run)?;
                let command = begin(id, run.status(), how, owned, &caller)?;
                running.driver.open(run, epoch, [command], caller).await
            };
            let begun = begun.await;
            if begun.is_err() {
                running.give_back(id, epoch).await;
            }
            begun
        })
        .await
    }

    /// Ends a plan, or one task of it. When another process drives it, that process is told.
    pub(super) async fn cancel(
        self: &Arc<Self>,
        id: PlanId,
        task: Option<&str>,
        reason: &str,
        by: &Caller,
    ) -> Result<(), Error> {
        let (running, reason, caller) = (self.clone(), reason.to_owned(), by.id.clone());
        let task = task.map(str::to_owned);
        detached(async move { running.end(id, task, reason, caller).await }).await
    }

    async fn end(
        self: &Arc<Self>,
        id: PlanId,
        task: Option<String>,
        reason: String,
        caller: Actor,
    ) -> Result<(), Error> {
        let history = self.reading.read_history(id).await?;
        let scope = match &task {
            None => CancelScope::Plan,
            Some(name) => CancelScope::Task(run_task(history.run(), name)?),
        };
        let cancel = RunCommand::Cancel { scope, reason: reason.clone(), by: caller.clone() };
        let _turn = self.starting.turn(id).await;
        if self.driver.is_driven(id).await? {
            return self.driver.command(id, cancel, caller).await;
        }
        let epoch = match self.journal().claim(id, self.worker).await? {
            ClaimResult::Granted { epoch, .. } => epoch,
            ClaimResult::UnknownPlan => return Err(unknown(&id.to_string())),
            ClaimResult::Held => {
                let by = Some(caller.to_string());
                let command = RemoteCommand::Cancel { reason, task, by };
                return Ok(self.journal().post(id, command).await?);
            }
        };
        let plan = history.run().plan().clone();
        if task.is_some() {
            let noted = self.note(plan, epoch, cancel, caller).await;
            self.give_back(id, epoch).await;
            return noted;
        }
        let ended = async {
            let run = fold(&**self.journal(), plan).await?;
            // What was in flight died with its process; adopting says so and ends the run. With
            // nothing in flight the cancellation ends it.
            let interrupted = matches!(run.status(), PlanStatus::Executing | PlanStatus::Suspended)
                && run.running() > 0;
            let adopt = interrupted.then_some(RunCommand::Adopt { epoch, after_death: false });
            let commands = std::iter::once(cancel).chain(adopt);
            self.driver.open(run, epoch, commands, caller).await
        };
        let ended = ended.await;
        if ended.is_err() {
            self.give_back(id, epoch).await;
        }
        ended
    }

    /// Waits for the end of a run that this process drives, or until nothing happens to it before
    /// a person answers: its status tells which.
    pub(super) async fn wait(&self, id: PlanId) -> Result<PlanStatus, Error> {
        match self.driver.wait(id).await? {
            RunEnd::Finished(status) => Ok(status),
            RunEnd::Waiting => Ok(self.reading.status(id).await?.status),
            RunEnd::Paused(error) => {
                // It may have ended before anybody asked.
                let status = self.reading.status(id).await?.status;
                if status.is_at_rest() { Ok(status) } else { Err(error) }
            }
        }
    }

    /// Starts a plan and waits for its result.
    pub(super) async fn run(
        self: &Arc<Self>,
        id: PlanId,
        by: &Caller,
    ) -> Result<PlanResult, Error> {
        self.execute(id, by).await?;
        self.wait(id).await?;
        self.reading.result(id).await
    }

    pub(super) async fn shutdown(&self) {
        self.driver.stop().await;
        if let Err(error) = self.journal().resign(self.worker).await {
            tracing::debug!(%error, "the lease was not given back; it runs out");
        }
    }

    /// Journals what a command says of a run that nobody drives, under an ownership just claimed.
    async fn note(
        &self,
        plan: Arc<Plan>,
        epoch: Epoch,
        command: RunCommand,
        caller: Actor,
    ) -> Result<(), Error> {
        let (at, answer_within_millis) = (self.reading.now(), self.answer_within_millis);
        let workspace = self.own_workspace.clone();
        let noted =
            NotedCommand { plan, epoch, command, caller, at, answer_within_millis, workspace };
        self.writer.note(noted).await
    }

    /// Gives up an ownership; where the store refuses, beside what else is done.
    async fn give_back(&self, id: PlanId, epoch: Epoch) {
        let (journal, worker) = (self.journal().clone(), self.worker);
        if journal.release(id, worker, epoch).await.is_err() {
            tokio::spawn(async move { release(&*journal, id, worker, epoch).await });
        }
    }

    async fn claim(&self, id: PlanId) -> Result<Ownership, Error> {
        match self.journal().claim(id, self.worker).await? {
            ClaimResult::Granted { epoch, after_death } => Ok(Ownership { epoch, after_death }),
            ClaimResult::UnknownPlan => Err(unknown(&id.to_string())),
            ClaimResult::Held => Err(Error::new(
                ErrorCode::VersionConflict,
                format!("plan {id} is being run by another process"),
            )
            .suggest(format!("`l05 watch {id}` follows it"))),
        }
    }
}

/// An ownership that was just claimed.
#[derive(Clone, Copy)]
struct Ownership {
    epoch: Epoch,
    /// The last owner died.
    after_death: bool,
}

/// The commands for a run that is taken up.
fn begin(
    id: PlanId,
    status: PlanStatus,
    how: DriveReason,
    owned: Ownership,
    caller: &Actor,
) -> Result<RunCommand, Error> {
    let Ownership { epoch, after_death } = owned;
    Ok(match (status, how) {
        // It waits in the journal; somebody here may want to see the answer come.
        (PlanStatus::Executing | PlanStatus::PendingApproval, DriveReason::Execute)
        | (PlanStatus::Executing, DriveReason::Adopt) => RunCommand::Adopt { epoch, after_death },
        // A part of the plan, or another budget, is for what has ended.
        (PlanStatus::Suspended, DriveReason::Rerun(RerunScope::Failed, budget))
            if budget == NewBudget::default() =>
        {
            RunCommand::Resume { epoch, by: caller.clone() }
        }
        (PlanStatus::Executing, DriveReason::Rerun(..)) => {
            let message = format!("plan {id} was interrupted, it has not ended");
            return Err(Error::new(ErrorCode::PlanNotExecutable, message)
                .suggest(format!("`l05 execute {id}` goes on")));
        }
        (PlanStatus::Approved, DriveReason::Adopt) | (_, DriveReason::Execute) => {
            RunCommand::start(RerunScope::Fresh, caller.clone())
        }
        (status, DriveReason::Adopt) => {
            let message = format!("plan {id} is {status} by now");
            return Err(Error::new(ErrorCode::VersionConflict, message));
        }
        (_, DriveReason::Rerun(from, budget)) => {
            RunCommand::Start { from, budget, by: caller.clone() }
        }
    })
}

/// Work that goes on when its caller gives up.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::new(ErrorCode::PlanNotExecutable, "the service has shut down")),
        },
    }
}
