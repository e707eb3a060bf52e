//! Stores behind the engine's ports: journal, plan catalogue, shared plan cache.
//!
//! [`sqlite`] is the embedded default: one file in the data folder. [`postgres`] is shared by
//! processes on several machines. The conformance suite in `tests/it` runs against both and against
//! the engine's memory store alike. [`redis`] is the level of the plan cache that processes share.

pub mod postgres;
pub mod redis;
pub mod sqlite;
#[cfg(feature = "test-support")]
pub mod test_support;
mod worker;

pub use postgres::PostgresStore;
pub use redis::RedisCache;
pub use sqlite::SqliteStore;
