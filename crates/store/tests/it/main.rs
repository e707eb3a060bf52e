//! The stores against the promises of the ports.

mod conformance;
mod sqlite;
