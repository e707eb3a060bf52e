//! Ports: what the engine needs from outside, as object-safe traits.
//!
//! A method returns a boxed future, once per batch or attempt, never per event.

mod cache;
mod clock;
mod evaluator;
mod executor;
mod model;
mod store;

pub use cache::{CacheError, CacheLevel, Choice};
pub use clock::{Clock, ManualClock, SystemClock};
pub use evaluator::{Evaluator, ThreadEvaluator};
pub use executor::{
    CancelHandle, CancelSignal, Executor, ExecutorOutput, Failure, Launch, ToolCall,
    WorkspaceFinder, WorkspaceFolder, cancel_pair,
};
pub use model::{
    FinishReason, ModelAnswer, ModelError, ModelFailure, ModelGateway, ModelIdentity, ModelRequest,
    ModelRole, ModelTurn, token_count,
};
pub use store::{
    AppendRefusal, AppendResult, ClaimResult, FailedGoalsKept, GoalQuery, HistoryPage,
    HistoryQuery, Journal, LeaseRenewal, PlanCatalog, PlanSummary, PostedCommand, RemoteCommand,
    StoreError, StoredGoal, StoredPlan,
};

/// A boxed future, as the ports return them.
pub type BoxFuture<'a, T> = futures_util::future::BoxFuture<'a, T>;
