//! Redis: the level of the plan cache that processes share.
//!
//! Values are opaque here; whoever reads them checks who wrote them. A server that is away answers
//! at once with an error, while the client connects again in the background.

use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike as _, KeysInterface as _};
use fred::types::config::{Config, ReconnectPolicy};
use fred::types::scan::ScanType;
use fred::types::{Builder, Expiration};
use futures_util::StreamExt as _;
use l05_engine::port::{BoxFuture, CacheError, CacheLevel, Choice, StoreError};

/// The beginning of all keys.
const PREFIX: &str = "l05:plan:1:";
/// The longest time that a connection may take (spec 02, 2.5).
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The waits between tries to connect again, in milliseconds: from, to, and how they grow.
const RECONNECT: (u32, u32, u32) = (100, 5_000, 2);
/// Keys of one page when all are looked through.
const PAGE: u32 = 500;

/// A Redis server.
pub struct RedisCache {
    client: Client,
    /// Ends the client's task with the value.
    _connection: fred::types::ConnectHandle,
}

impl RedisCache {
    /// `redis://` or `rediss://` with host, port, and user and password where there are some. A
    /// server that is away is no error: it is asked again and again in the background.
    pub fn connect(url: &str) -> Result<RedisCache, StoreError> {
        // The parser's own words may repeat the password.
        let mut config = Config::from_url(url)
            .map_err(|_| StoreError::Unavailable("this is no Redis URL".to_owned()))?;
        config.fail_fast = true;
        let client = Builder::from_config(config)
            .with_connection_config(|connection| {
                connection.connection_timeout = CONNECT_WITHIN;
                connection.internal_command_timeout = CONNECT_WITHIN;
                connection.max_command_attempts = 1;
            })
            .with_performance_config(|performance| {
                performance.default_command_timeout = CONNECT_WITHIN;
            })
            .set_policy(ReconnectPolicy::new_exponential(0, RECONNECT.0, RECONNECT.1, RECONNECT.2))
            .build()
            .map_err(|error| StoreError::Unavailable(error.details().to_owned()))?;
        let connection = client.connect();
        Ok(RedisCache { client, _connection: connection })
    }

    /// Waits until the server answers and stores a value, or gives up.
    pub async fn answers(&self, within: Duration) -> Result<(), CacheError> {
        match tokio::time::timeout(within, self.client.wait_for_connect()).await {
            Ok(Ok(())) => self.stores().await,
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(CacheError(format!("no answer within {within:?}"))),
        }
    }

    /// Puts a value and takes it away again: a server that is full, or a replica, answers and keeps
    /// nothing.
    async fn stores(&self) -> Result<(), CacheError> {
        const PROBE_KEPT_FOR: Duration = Duration::from_secs(10);
        let key = format!("probe:{}", std::process::id());
        let told =
            |error: CacheError| CacheError(format!("it answers and cannot store: {}", error.0));
        self.ping().await?;
        self.put(&key, b"probe".to_vec(), PROBE_KEPT_FOR).await.map_err(told)?;
        self.remove(&key).await.map_err(told)
    }
}

impl RedisCache {
    /// A value up to the size that an entry may have, and a byte more where it is larger: nobody here wrote that, and
    /// no tag fits it. A missing value reads as an empty one.
    async fn bounded(
        &self,
        key: impl Into<fred::types::Key> + Send,
    ) -> Result<Option<Vec<u8>>, CacheError> {
        let value: Vec<u8> =
            self.client.getrange(key, 0, ENTRY_BYTES_MAX).await.map_err(|e| failed(&e))?;
        Ok(Some(value).filter(|value| !value.is_empty()))
    }
}

/// The largest entry that is read, in bytes: some times the largest plan that is cached.
const ENTRY_BYTES_MAX: usize = 8 << 20;

fn failed(error: &fred::error::Error) -> CacheError {
    CacheError(error.details().to_owned())
}

fn named(key: &str) -> String {
    format!("{PREFIX}{key}")
}

impl CacheLevel for RedisCache {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Vec<u8>>, CacheError>> {
        let key = named(key);
        Box::pin(async move { self.bounded(key).await })
    }

    fn put(
        &self,
        key: &str,
        value: Vec<u8>,
        keep: Duration,
    ) -> BoxFuture<'_, Result<(), CacheError>> {
        let key = named(key);
        let expire = Expiration::EX(i64::try_from(keep.as_secs()).unwrap_or(i64::MAX).max(1));
        Box::pin(async move {
            let put = self.client.set(key, value.as_slice(), Some(expire), None, false);
            put.await.map_err(|e| failed(&e))
        })
    }

    fn remove(&self, key: &str) -> BoxFuture<'_, Result<(), CacheError>> {
        let key = named(key);
        Box::pin(async move { self.client.del::<(), _>(key).await.map_err(|e| failed(&e)) })
    }

    fn remove_if(&self, which: Choice) -> BoxFuture<'_, Result<usize, CacheError>> {
        Box::pin(async move {
            let mut pages = std::pin::pin!(self.client.scan_buffered(
                format!("{PREFIX}*"),
                Some(PAGE),
                Some(ScanType::String)
            ));
            let mut removed = 0;
            while let Some(key) = pages.next().await {
                let key = key.map_err(|e| failed(&e))?;
                let value: Option<Vec<u8>> = self.bounded(key.clone()).await?;
                if value.is_some_and(|value| which(&value)) {
                    removed += self.client.del::<usize, _>(key).await.map_err(|e| failed(&e))?;
                }
            }
            Ok(removed)
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), CacheError>> {
        Box::pin(async move { self.client.ping::<()>(None).await.map_err(|e| failed(&e)) })
    }
}
