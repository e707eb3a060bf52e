//! The engine through its public face: the shard by hand, the service over faulty parts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod callers;
mod calls;
mod estimates;
mod faulty;
mod planning;
mod service;
mod shard;
mod tool_changes;
mod watching;
mod workload;
