//! The pure core of L05: goals, tasks, plans and what follows from them.
//!
//! No async, no clock, no randomness, no I/O: times, ids and seeds come in as arguments, so the
//! same input always gives the same output. `engine` drives it; everything else reads its types.
//!
//! Reading order: [`goal`], [`task`], [`plan`], [`graph`], [`validate`]. What runs plans is `l05-run`, what
//! reads drafts of them `l05-draft`.

pub mod error;
pub mod finding;
pub mod id;
pub mod time;

pub mod agent;
pub mod caller;
pub mod context;
pub mod document;
pub mod flow;
pub mod goal;
pub mod resource;
pub mod task;

pub mod condition;
pub mod evaluation;
pub mod json_path;
pub mod json_schema;
pub mod printable;
pub mod random;
pub mod reference;
pub mod secrets;
pub mod suggest;

pub mod bound_check;
pub mod catalog;
mod constraints;
pub mod estimate;
pub mod graph;
pub mod plan;
pub mod schedule;
pub mod schema;
pub mod template;
pub mod validate;

pub use error::{Error, ErrorCode};
