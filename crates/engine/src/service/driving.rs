//! Taking runs up and ending them: who may, and what the driver is told.
//!
//! Between a claim and its run's place in the driver nothing may break off: a living process would
//! own what it does not drive, and nobody else could go on with it. So that part is done in a task of
//! its own, which a caller that gives up does not take along.

use std::collections::HashSet;

use l05_core::id::{Epoch, PlanId};
use l05_core::plan::PlanStatus;
use l05_core::error::ErrorKind;
use l05_core::{Error, ErrorCode};
use l05_run::command::{RerunScope, RunCommand};
use l05_run::event::CancelScope;
use tokio::sync::oneshot;

use super::{AdoptedPlans, PlanningService, no_task, run_task, unknown};
use crate::driver::{DriverMessage, fold, release};
use crate::port::{ClaimResult, RemoteCommand};

/// Why a run is taken up.
#[derive(Debug, Clone, Copy)]
enum DriveReason {
    /// Somebody wants the plan run.
    Execute,
    /// Nobody drives it and it is to go on.
    Adopt,
    /// A new run of a plan that ended.
    Rerun(RerunScope),
}

impl PlanningService {
    /// Starts a plan, or goes on with one whose process is gone. Returns when the start is durable.
    pub async fn execute(&self, id: PlanId) -> Result<(), Error> {
        self.drive(id, DriveReason::Execute).await
    }

    /// A new run of a plan that ended: of what did not complete, or of a task and all behind it.
    pub async fn retry(&self, id: PlanId, from_task: Option<&str>) -> Result<(), Error> {
        let plan = self.load(id).await?;
        let from = match from_task {
            None => RerunScope::Failed,
            Some(name) => {
                let task = plan.structure().index_of(name);
                RerunScope::From(task.ok_or_else(|| no_task(&plan, name))?)
            }
        };
        self.drive(id, DriveReason::Rerun(from)).await
    }

    /// Ends a plan. When another process drives it, that process is told.
    pub async fn cancel(&self, id: PlanId, reason: &str) -> Result<(), Error> {
        self.cancel_scope(id, None, reason).await
    }

    /// Ends one task of a running plan; what needs it is blocked. Items of fan-outs are `map[3]`.
    pub async fn cancel_task(&self, id: PlanId, task: &str, reason: &str) -> Result<(), Error> {
        self.cancel_scope(id, Some(task), reason).await
    }

    /// Goes on with runs that no living process drives, at most `limit` of them but for those that
    /// are `refused`: what cannot be gone on with comes back with its error, and its caller leaves
    /// it out for a while.
    pub async fn adopt(
        &self,
        limit: usize,
        refused: &HashSet<PlanId>,
    ) -> Result<AdoptedPlans, Error> {
        let mut adopted = AdoptedPlans::default();
        let unowned = self.inner.journal.unowned(limit + refused.len()).await?;
        for plan in unowned.into_iter().filter(|plan| !refused.contains(plan)).take(limit) {
            match self.drive(plan, DriveReason::Adopt).await {
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

    /// Begins a run without driving it: its start is durable, and whoever adopts it goes on. A plan
    /// that has to be approved waits for that first; one that was interrupted is left as it is.
    pub async fn submit(&self, id: PlanId) -> Result<PlanStatus, Error> {
        let service = self.clone();
        detached(async move {
            let plan = service.load(id).await?;
            let _turn = service.inner.starting.turn(id).await;
            let status = fold(&*service.inner.journal, plan.clone()).await?.status();
            if status == PlanStatus::Executing || service.is_driven(id).await? {
                return Ok(status);
            }
            let epoch = service.claim(id).await?;
            let start = RunCommand::Start { from: RerunScope::Fresh };
            let noted = service.note(plan.clone(), epoch, start).await;
            service.give_back(id, epoch).await;
            noted?;
            Ok(fold(&*service.inner.journal, plan).await?.status())
        })
        .await
    }

    async fn drive(&self, id: PlanId, how: DriveReason) -> Result<(), Error> {
        let plan = match self.inner.recent.take(id) {
            Some(plan) => plan,
            None => self.load(id).await?,
        };
        let service = self.clone();
        detached(async move {
            let _turn = service.inner.starting.turn(id).await;
            if service.is_driven(id).await? {
                let message = format!("plan {id} is being run by this process already");
                return Err(Error::new(ErrorCode::PlanNotExecutable, message));
            }
            let epoch = service.claim(id).await?;
            let begun = async {
                let run = fold(&*service.inner.journal, plan).await?;
                let command = begin(id, run.status(), how, epoch)?;
                service.inner.driver.open(run, epoch, [command]).await
            };
            let begun = begun.await;
            if begun.is_err() {
                service.give_back(id, epoch).await;
            }
            begun
        })
        .await
    }

    async fn cancel_scope(
        &self,
        id: PlanId,
        task: Option<&str>,
        reason: &str,
    ) -> Result<(), Error> {
        let (service, reason) = (self.clone(), reason.to_owned());
        let task = task.map(str::to_owned);
        detached(async move { service.end(id, task, reason).await }).await
    }

    async fn end(&self, id: PlanId, task: Option<String>, reason: String) -> Result<(), Error> {
        let history = self.read_history(id).await?;
        let scope = match &task {
            None => CancelScope::Plan,
            Some(name) => CancelScope::Task(run_task(history.run(), name)?),
        };
        let cancel = RunCommand::Cancel { scope, reason: reason.clone() };
        let _turn = self.inner.starting.turn(id).await;
        if self.is_driven(id).await? {
            return self.inner.driver.command(id, cancel, super::local()).await;
        }
        let epoch = match self.inner.journal.claim(id, self.inner.worker).await? {
            ClaimResult::Granted(epoch) => epoch,
            ClaimResult::UnknownPlan => return Err(unknown(&id.to_string())),
            ClaimResult::Held => {
                let command = RemoteCommand::Cancel { reason, task };
                return Ok(self.inner.journal.post(id, command).await?);
            }
        };
        let plan = history.run().plan().clone();
        if task.is_some() {
            let noted = self.note(plan, epoch, cancel).await;
            self.give_back(id, epoch).await;
            return noted;
        }
        let ended = async {
            let run = fold(&*self.inner.journal, plan).await?;
            // What was in flight died with its process; adopting says so and ends the run. With
            // nothing in flight the cancellation ends it.
            let interrupted = run.status() == PlanStatus::Executing && run.running() > 0;
            let adopt = interrupted.then_some(RunCommand::Adopt { epoch });
            self.inner.driver.open(run, epoch, std::iter::once(cancel).chain(adopt)).await
        };
        let ended = ended.await;
        if ended.is_err() {
            self.give_back(id, epoch).await;
        }
        ended
    }

    pub(super) async fn is_driven(&self, id: PlanId) -> Result<bool, Error> {
        let (reply, answer) = oneshot::channel();
        self.inner.driver.send(DriverMessage::IsDriven { plan: id, reply }).await?;
        Ok(answer.await.unwrap_or(false))
    }

    /// Gives up an ownership; where the store refuses, beside what else is done.
    pub(super) async fn give_back(&self, id: PlanId, epoch: Epoch) {
        let (journal, worker) = (self.inner.journal.clone(), self.inner.worker);
        if journal.release(id, worker, epoch).await.is_err() {
            tokio::spawn(async move { release(&*journal, id, worker, epoch).await });
        }
    }

    async fn claim(&self, id: PlanId) -> Result<Epoch, Error> {
        match self.inner.journal.claim(id, self.inner.worker).await? {
            ClaimResult::Granted(epoch) => Ok(epoch),
            ClaimResult::UnknownPlan => Err(unknown(&id.to_string())),
            ClaimResult::Held => Err(Error::new(
                ErrorCode::VersionConflict,
                format!("plan {id} is being run by another process"),
            )
            .suggest(format!("`l05 watch {id}` follows it"))),
        }
    }
}

/// What a run is told when it is taken up.
fn begin(
    id: PlanId,
    status: PlanStatus,
    how: DriveReason,
    epoch: Epoch,
) -> Result<RunCommand, Error> {
    Ok(match (status, how) {
        // It waits in the journal; somebody here may want to see the answer come.
        (PlanStatus::Executing | PlanStatus::PendingApproval, DriveReason::Execute)
        | (PlanStatus::Executing, DriveReason::Adopt) => RunCommand::Adopt { epoch },
        (PlanStatus::Executing, DriveReason::Rerun(_)) => {
            let message = format!("plan {id} was interrupted, it has not ended");
            return Err(Error::new(ErrorCode::PlanNotExecutable, message)
                .suggest(format!("`l05 execute {id}` goes on")));
        }
        (PlanStatus::Approved, DriveReason::Adopt) | (_, DriveReason::Execute) => {
            RunCommand::Start { from: RerunScope::Fresh }
        }
        (status, DriveReason::Adopt) => {
            let message = format!("plan {id} is {status} by now");
            return Err(Error::new(ErrorCode::VersionConflict, message));
        }
        (_, DriveReason::Rerun(from)) => RunCommand::Start { from },
    })
}

/// Work that goes on when its caller gives up.
pub(super) async fn detached<T: Send + 'static>(
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
