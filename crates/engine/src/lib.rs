//! The engine: drives the pure core over ports.
//!
//! [`shard`] owns the runs and decides synchronously; the driver moves messages between it, the
//! journal and the executors; [`service::PlanningService`] is what surfaces call. Everything that
//! touches the world comes in through [`port`].

pub mod cache;
pub mod cost_report;
pub mod decomposer;
pub mod evaluations;
pub mod goal_record;
pub mod keys;
pub mod memory;
pub mod port;
pub mod report;
pub mod request;
pub mod rules;
pub mod service;
pub mod shard;

mod blobs;
mod driver;
mod hub;
mod observed_runs;
mod records;
mod tool_catalog;
pub mod workspaces;

pub use service::PlanningService;
