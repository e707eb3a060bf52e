//! PostgreSQL: shared by processes on several machines.
//!
//! An append is one statement over arrays, and one commit. Ownership is a lease per process: a
//! worker that has not renewed for [`LEASE`] is dead to all others, by the server's clock alone. On
//! one machine it need not come to that: the lock file of a process shows its death at once, and its
//! neighbours give its lease back for it.
//! Connections come from a pool that opens new ones when the server was away.

mod read;
mod schema;
mod write;

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use l05_core::id::{Epoch, PlanId, Sequence, WorkerId};
use l05_engine::port::{
    AppendResult, BoxFuture, ClaimResult, FailedGoalsKept, GoalQuery, HistoryPage, HistoryQuery,
    Journal, LeaseRenewal, PlanCatalog, PostedCommand, RemoteCommand, StoreError, StoredGoal,
    StoredPlan,
};
use l05_run::record::Record;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

use crate::worker::{self, WorkerLock};

/// After how long without a renewal others may take over (design: renewed every 3 s, executors
/// stopped after 6 s).
pub const LEASE: Duration = Duration::from_secs(10);

/// The longest that one answer of the server is waited for.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// The longest that a connection is waited for.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Connections of one process: the journal's own, and what callers read meanwhile.
const CONNECTIONS: u32 = 10;

/// The store of one database.
pub struct PostgresStore {
    pool: PgPool,
    lock: WorkerLock,
}

impl PostgresStore {
    /// Connects, brings the tables to the present version, and takes a lease. `url` is
    /// `postgres://user:password@host:port/database`, with the usual parameters (`sslmode`, …);
    /// `folder`, which must exist, is the data folder that processes of this machine share.
    pub async fn connect(url: &str, folder: &Path) -> Result<PostgresStore, StoreError> {
        let options = PgConnectOptions::from_str(url)
            // The parser's own words may repeat the password.
            .map_err(|_| StoreError::Unavailable("store.url is no PostgreSQL URL".to_owned()))?
            .application_name("l05")
            .options([("search_path", schema::SCHEMA), ("client_min_messages", "warning")]);
        let place = format!("{}:{}", options.get_host(), options.get_port());
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT_PATIENCE)
            .after_connect(|connection, _| Box::pin(acknowledge_after_fsync(connection)))
            .connect_with(options)
            .await
            .map_err(|error| match failed(error) {
                StoreError::Unavailable(why) => {
                    StoreError::Unavailable(format!("PostgreSQL at {place}: {why}"))
                }
                corrupt @ StoreError::Corrupt(_) => corrupt,
            })?;
        schema::migrate(&pool).await?;
        let lock = WorkerLock::take(folder, WorkerId(Uuid::now_v7()))
            .map_err(|e| StoreError::Unavailable(format!("{}: {e}", folder.display())))?;
        write::forget_dead_workers(&pool).await.map_err(failed)?;
        write::renew(&pool, lock.worker(), LEASE.as_secs_f64()).await.map_err(failed)?;
        let store = PostgresStore { pool, lock };
        store.resign_for_the_dead().await?;
        Ok(store)
    }

    /// Gives back the leases of processes that died on this machine.
    async fn resign_for_the_dead(&self) -> Result<(), StoreError> {
        for dead in worker::dead(self.lock.folder()) {
            within(write::resign(&self.pool, dead)).await?;
            worker::bury(self.lock.folder(), dead);
        }
        Ok(())
    }

    /// The identity of this process in the store.
    pub fn worker(&self) -> WorkerId {
        self.lock.worker()
    }

    /// A setting of the server as it is for this store's connections.
    pub async fn setting(&self, name: &str) -> Result<String, StoreError> {
        let asked = sqlx::query_scalar("SELECT current_setting($1)").bind(name);
        within(asked.fetch_one(&self.pool)).await
    }
}

/// A server or role whose default is to acknowledge before its disk has the commit is overruled.
async fn acknowledge_after_fsync(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('synchronous_commit', 'on', false)
         WHERE current_setting('synchronous_commit') = 'off'",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A server that neither answers nor closes the connection is an outage too. A statement that is
/// given up takes its connection with it; whether it took effect is not known.
async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_PATIENCE, work).await {
        Ok(done) => done.map_err(failed),
        Err(_) => Err(StoreError::Unavailable("PostgreSQL does not answer".to_owned())),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands the error over")]
fn failed(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::TypeNotFound { .. } => StoreError::Corrupt(error.to_string()),
        sqlx::Error::PoolTimedOut => {
            StoreError::Unavailable("no connection to PostgreSQL can be had".to_owned())
        }
        sqlx::Error::Database(ref told) if told.code().as_deref() == Some("53100") => {
            StoreError::Unavailable(format!("there is no room left for the journal ({told})"))
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

impl Journal for PostgresStore {
    fn append(
        &self,
        batch: Vec<Arc<Record>>,
    ) -> BoxFuture<'_, Result<Vec<AppendResult>, StoreError>> {
        Box::pin(async move { within(write::append(&self.pool, &batch)).await })
    }

    fn read(&self, plan: PlanId, from: Sequence) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(read::records(&self.pool, plan, from))
    }

    fn blob(&self, plan: PlanId, sha256: String) -> BoxFuture<'_, Result<Vec<u8>, StoreError>> {
        Box::pin(async move { read::blob(&self.pool, plan, &sha256).await })
    }

    fn claim(
        &self,
        plan: PlanId,
        worker: WorkerId,
    ) -> BoxFuture<'_, Result<ClaimResult, StoreError>> {
        Box::pin(async move {
            let answer = within(write::claim(&self.pool, plan, worker)).await?;
            answer.ok_or_else(|| {
                let why = "this process has lost its lease on the store and may claim nothing";
                StoreError::Unavailable(why.to_owned())
            })
        })
    }

    fn release(
        &self,
        plan: PlanId,
        worker: WorkerId,
        epoch: Epoch,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(within(write::release(&self.pool, plan, worker, epoch)))
    }

    fn renew(&self, worker: WorkerId) -> BoxFuture<'_, Result<LeaseRenewal, StoreError>> {
        Box::pin(async move {
            let renewed = within(write::renew(&self.pool, worker, LEASE.as_secs_f64())).await?;
            Ok(if renewed { LeaseRenewal::Renewed } else { LeaseRenewal::Lapsed })
        })
    }

    fn is_owned(&self, plan: PlanId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(within(read::is_owned(&self.pool, plan)))
    }

    fn resign(&self, worker: WorkerId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(within(write::resign(&self.pool, worker)))
    }

    fn unowned(&self, limit: usize) -> BoxFuture<'_, Result<Vec<PlanId>, StoreError>> {
        Box::pin(async move {
            self.resign_for_the_dead().await?;
            within(read::unowned(&self.pool, limit)).await
        })
    }

    fn post(&self, plan: PlanId, command: RemoteCommand) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { within(write::post(&self.pool, plan, &command)).await })
    }

    fn posted(&self, worker: WorkerId) -> BoxFuture<'_, Result<Vec<PostedCommand>, StoreError>> {
        Box::pin(within(read::posted(&self.pool, worker)))
    }

    fn settle_posted(&self, settled: Vec<(PlanId, u64)>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { within(write::settle_posted(&self.pool, &settled)).await })
    }
}

impl PlanCatalog for PostgresStore {
    fn put(&self, plan: StoredPlan) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { within(write::put(&self.pool, &plan)).await })
    }

    fn put_failed(
        &self,
        goal: StoredGoal,
        keep: FailedGoalsKept,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { within(write::put_failed(&self.pool, &goal, keep)).await })
    }

    fn goals(&self, query: GoalQuery) -> BoxFuture<'_, Result<Vec<StoredGoal>, StoreError>> {
        Box::pin(async move { within(read::goals(&self.pool, &query)).await })
    }

    fn get(&self, plan: PlanId) -> BoxFuture<'_, Result<Option<StoredPlan>, StoreError>> {
        Box::pin(within(read::plan(&self.pool, plan)))
    }

    fn list(&self, query: HistoryQuery) -> BoxFuture<'_, Result<HistoryPage, StoreError>> {
        Box::pin(async move { read::list(&self.pool, &query).await })
    }

    fn find(&self, prefix: String) -> BoxFuture<'_, Result<Vec<PlanId>, StoreError>> {
        Box::pin(async move { within(read::find(&self.pool, &prefix)).await })
    }
}
