//! What is kept: the journal of runs and the catalogue of plans.

use std::sync::Arc;

use l05_core::goal::GoalStatus;
use l05_core::id::{Epoch, PlanId, Sequence, WorkerId};
use l05_core::plan::PlanStatus;
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use l05_run::event::Gate;
use l05_run::record::Record;

use super::BoxFuture;

/// Reasons for which a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, or has no room: trying again later may help.
    #[error("{0}")]
    Unavailable(String),
    /// Something in it cannot be read.
    #[error("{0}")]
    Corrupt(String),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        match error {
            StoreError::Unavailable(why) => Error::new(ErrorCode::StorageFailed, why).suggest(
                "see that the data folder is writable and has room; nothing was acknowledged",
            ),
            StoreError::Corrupt(why) => Error::new(ErrorCode::JournalCorrupt, why),
        }
    }
}

/// The outcome of one record of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendResult {
    /// The record is durable.
    Appended,
    /// The record left no trace.
    Refused(AppendRefusal),
}

/// Reasons for which one record was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendRefusal {
    /// Another owner has taken the run.
    StaleEpoch,
    /// The journal does not end where the record begins.
    WrongSequence,
    /// There is no such plan.
    UnknownPlan,
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimResult {
    /// The caller owns the run.
    Granted {
        /// The epoch of the ownership.
        epoch: Epoch,
        /// Another process owned it and did not give it up.
        after_death: bool,
    },
    /// A living process owns it.
    Held,
    /// There is no such plan.
    UnknownPlan,
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRenewal {
    /// The lease runs from now on.
    Renewed,
    /// The lease had run out; a new one runs from now on, and what the worker owned before may have
    /// been taken over.
    Lapsed,
    /// The store knows by itself who lives; there are no leases.
    Unneeded,
}

/// A request to the owner of a run from a process that does not own it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteCommand {
    /// End the plan, or one task.
    Cancel {
        /// The reason.
        reason: String,
        /// The task's name; none: the plan.
        #[serde(default)]
        task: Option<String>,
        /// The caller; processes of older versions do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A person's answer.
    Decide {
        /// The question's gate.
        gate: Gate,
        /// The answer.
        approve: bool,
        /// The person.
        by: String,
        /// The person's reason.
        reason: String,
    },
}

/// A request that waits for a run's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostedCommand {
    /// The position among the run's requests.
    pub position: u64,
    /// The plan.
    pub plan: PlanId,
    /// The request.
    pub command: RemoteCommand,
}

/// The journal of runs.
pub trait Journal: Send + Sync {
    /// Appends a batch, at most one record per plan. When this returns `Ok`, each `Appended`
    /// record is fsynced and each `Refused` one left no trace and took no other down. `Err`:
    /// nothing is known of any of them; the caller reads the journal again before it goes on.
    fn append(
        &self,
        batch: Vec<Arc<Record>>,
    ) -> BoxFuture<'_, Result<Vec<AppendResult>, StoreError>>;

    /// Records of a plan whose events reach `from` or later, in order, at most a page of them.
    /// Empty: there are no more. A torn or damaged record is [`StoreError::Corrupt`], unless
    /// nothing follows it: then it was never acknowledged and is left out.
    fn read(&self, plan: PlanId, from: Sequence) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// A large output's JSON text.
    fn blob(&self, plan: PlanId, sha256: String) -> BoxFuture<'_, Result<Vec<u8>, StoreError>>;

    /// Makes `worker` the owner of a plan's run, unless a living process owns it. Each grant has
    /// a higher epoch; appends under the old one are refused from then on. The append that ends a
    /// run ends the ownership too.
    fn claim(
        &self,
        plan: PlanId,
        worker: WorkerId,
    ) -> BoxFuture<'_, Result<ClaimResult, StoreError>>;

    /// Gives up the ownership of this epoch, so that another may claim at once. A newer claim, by
    /// the same worker too, is not touched.
    fn release(
        &self,
        plan: PlanId,
        worker: WorkerId,
        epoch: Epoch,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Tells the store that `worker` lives. Where ownership is a lease, the lease begins anew when
    /// this is asked; a worker that is not heard of for ten seconds may be taken for dead.
    fn renew(&self, worker: WorkerId) -> BoxFuture<'_, Result<LeaseRenewal, StoreError>>;

    /// `worker` leaves: what it owned is free at once.
    fn resign(&self, worker: WorkerId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Runs that were to go on and that no living process owns, at most `limit`: interrupted ones,
    /// handed over ones, and plans that were approved after their process had gone.
    fn unowned(&self, limit: usize) -> BoxFuture<'_, Result<Vec<PlanId>, StoreError>>;

    /// True if a living process owns the run.
    fn is_owned(&self, plan: PlanId) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Leaves a command for whoever owns the run.
    fn post(&self, plan: PlanId, command: RemoteCommand) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The commands left for runs that `worker` owns, oldest first. They stay until they are settled,
    /// or until their run ends.
    fn posted(&self, worker: WorkerId) -> BoxFuture<'_, Result<Vec<PostedCommand>, StoreError>>;

    /// Forgets commands that had their effect, or can have none.
    fn settle_posted(&self, settled: Vec<(PlanId, u64)>) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// A plan as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPlan {
    /// The plan's identity.
    pub plan_id: PlanId,
    /// The goal; shown in lists.
    pub goal: String,
    /// The time at which it was made.
    pub created_at: Timestamp,
    /// The signed document's JSON text.
    pub document: Vec<u8>,
    /// The goal that it was made for, kept with it; none where the plan was handed in, and when it is read.
    pub asked: Option<StoredGoal>,
}

/// A goal as it is kept: once for each time that it was planned.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredGoal {
    /// The goal's id.
    pub goal_id: String,
    /// The goal that it is a part of.
    pub parent: Option<String>,
    /// The plan; none where planning failed.
    pub plan: Option<PlanId>,
    /// READY or FAILED.
    pub status: GoalStatus,
    /// The time of the request.
    pub created_at: Timestamp,
    /// What was asked and what planning made of it, as JSON text.
    pub record: Vec<u8>,
}

/// The failed plannings that a store keeps; plans' goals stay as long as their plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedGoalsKept {
    /// At most so many, the newest.
    pub count: u32,
    /// None of before.
    pub since: Timestamp,
}

/// Filters for a list of goals.
#[derive(Debug, Clone, Default)]
pub struct GoalQuery {
    /// Only plannings of this goal.
    pub goal_id: Option<String>,
    /// Only parts of this goal.
    pub parent: Option<String>,
    /// Only these.
    pub status: Option<GoalStatus>,
    /// At most so many, newest first.
    pub limit: usize,
}

/// A line of `history`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PlanSummary {
    /// The plan's identity.
    pub plan_id: PlanId,
    /// The goal.
    pub goal: String,
    /// The status, by its journal.
    pub status: PlanStatus,
    /// The time at which it was made.
    pub created_at: Timestamp,
}

/// Filters for a list of plans.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// Only these.
    pub status: Option<PlanStatus>,
    /// At most so many.
    pub limit: usize,
    /// Older than this plan: the `next` of the page before.
    pub before: Option<PlanId>,
}

/// A page of plans, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryPage {
    /// The plans.
    pub plans: Vec<PlanSummary>,
    /// The start of the next page.
    pub next: Option<PlanId>,
}

/// The plans themselves.
pub trait PlanCatalog: Send + Sync {
    /// Keeps a plan and the goal it was made for, both or none. When this returns, they are durable.
    fn put(&self, plan: StoredPlan) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps a goal of which no plan came, and forgets the oldest of those.
    fn put_failed(
        &self,
        goal: StoredGoal,
        keep: FailedGoalsKept,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Goals, newest first.
    fn goals(&self, query: GoalQuery) -> BoxFuture<'_, Result<Vec<StoredGoal>, StoreError>>;

    /// A plan's document.
    fn get(&self, plan: PlanId) -> BoxFuture<'_, Result<Option<StoredPlan>, StoreError>>;

    /// Plans, newest first.
    fn list(&self, query: HistoryQuery) -> BoxFuture<'_, Result<HistoryPage, StoreError>>;

    /// Full ids that begin with `prefix`, at most two: what people type is shortened.
    fn find(&self, prefix: String) -> BoxFuture<'_, Result<Vec<PlanId>, StoreError>>;
}
