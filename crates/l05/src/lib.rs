//! L05, the planning layer: a goal becomes a validated, signed plan that runs durably.
//!
//! [`embedded`] gives a service that needs no configuration, no server and no network, [`builder`] the
//! same with anything replaced or added, and [`compose`] one from a configuration, as the `l05` program
//! has it. A program that embeds the library calls [`child_main`] first.

mod child;
pub mod compose;
pub mod config;

pub use child::child_main;
pub use compose::{builder, embedded, read_plan};
pub use l05_connect as connect;
pub use l05_core as core;
pub use l05_core::caller::{Caller, CallerRole};
pub use l05_core::catalog::ToolSpec;
pub use l05_core::error::{Error, ErrorCode, ErrorKind};
pub use l05_core::goal::Goal;
pub use l05_core::id::{AgentDid, GoalId, PlanId};
pub use l05_core::plan::{Plan, PlanDocument, PlanStatus};
pub use l05_engine::PlanningService;
pub use l05_engine::port;
pub use l05_engine::port::{Executor, ExecutorOutput, Failure, ToolCall, WorkspaceFolder};
pub use l05_engine::report::{PlanResult, StatusReport};
pub use l05_engine::rules::ServiceRules;
pub use l05_engine::service::{
    GateAnswer, PlanRequest, PlanWatcher, PlannedGoal, PlanningStrategy, ServiceBuilder,
    ServiceStats,
};
pub use l05_run as run;
pub use l05_run::event::TaskError;
pub use l05_run::public_event::{EventId, PublicEvent, PublicEventKind};
pub use l05_store as store;
