//! Stores behind the engine's ports: journal and plan catalogue.
//!
//! [`sqlite`] is the embedded default: one file in the data folder. The conformance suite in
//! `tests/it` runs against it and against the engine's memory store alike.

mod codec;
pub mod sqlite;

pub use sqlite::SqliteStore;
