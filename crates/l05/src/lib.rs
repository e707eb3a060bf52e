//! L05, the planning layer: a goal becomes a validated, signed plan that runs durably.
//!
//! [`embedded`] gives a service that needs no configuration, no server and no network;
//! [`compose`] builds one from a configuration, as the `l05` program does.

pub mod compose;
pub mod config;

pub use compose::embedded;
pub use l05_core as core;
pub use l05_engine::PlanningService;
