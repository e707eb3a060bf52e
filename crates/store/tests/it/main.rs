//! The stores against the promises of the ports.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;
mod conformance;
mod histories;
mod postgres;
mod sqlite;
