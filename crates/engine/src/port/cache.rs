//! A shared level of the plan cache.

use std::time::Duration;

use super::BoxFuture;

/// Keeps bytes for a while. Never needed for correctness: whoever reads checks what it gets, and
/// whatever fails here only costs time.
pub trait CacheLevel: Send + Sync {
    /// Gives the bytes under a key, if they are still there.
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Vec<u8>>, CacheError>>;

    /// Keeps a value for that long.
    fn put(
        &self,
        key: &str,
        value: Vec<u8>,
        keep: Duration,
    ) -> BoxFuture<'_, Result<(), CacheError>>;

    /// Forgets one value.
    fn remove(&self, key: &str) -> BoxFuture<'_, Result<(), CacheError>>;

    /// Forgets all values that `which` chooses; how many those were.
    fn remove_if(&self, which: Choice) -> BoxFuture<'_, Result<usize, CacheError>>;

    /// Asks whether it is there.
    fn ping(&self) -> BoxFuture<'_, Result<(), CacheError>>;
}

/// Chooses values by their bytes.
pub type Choice = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The reason for which a shared level did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CacheError(pub String);
