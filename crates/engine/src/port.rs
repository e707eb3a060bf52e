//! Ports: what the engine needs from outside, as object-safe traits.
//!
//! A method returns a boxed future, once per batch or attempt, never per event.

mod cache;
mod clock;
mod executor;
mod model;
mod store;

pub use cache::{CacheError, CacheLevel, Choice};
pub use clock::{Clock, ManualClock, SystemClock};
pub use executor::{CancelSignal, Canceller, Executed, Executor, Failure, ToolCall, cancel_pair};
pub use model::{
    Finish, ModelAnswer, ModelError, ModelFailure, ModelGateway, ModelIdentity, ModelRequest, Role,
    Turn,
};
pub use store::{
    AppendResult, Claim, HistoryPage, HistoryQuery, Journal, PlanCatalog, PlanSummary, Posted,
    Refusal, RemoteCommand, Renewal, StoreError, StoredPlan,
};

/// A boxed future, as the ports return them.
pub type BoxFuture<'a, T> = futures_util::future::BoxFuture<'a, T>;
