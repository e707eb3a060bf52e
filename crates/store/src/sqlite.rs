//! SQLite: one file in the data folder, shared by all processes of this machine.
//!
//! One thread owns the writing connection and commits what has gathered as one transaction (group
//! commit; `synchronous=FULL`, so a commit is an fsync of the WAL). Reads have a thread and a
//! connection of their own and never wait for a commit. rusqlite rather than sqlx: SQLite is a
//! synchronous library, and a thread that owns its connection is exactly the single writer that
//! the journal wants; `data.query` needs rusqlite in any case.
//!
//! Ownership: every process holds an OS lock on a file named after its worker id. A run whose
//! owner's lock can be taken has no living owner; the lock goes with the process however it dies.

mod read;
mod schema;
mod write;

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use l05_core::id::{Epoch, PlanId, Sequence, WorkerId};
use l05_engine::port::{
    AppendResult, BoxFuture, ClaimResult, FailedGoalsKept, GoalQuery, HistoryPage, HistoryQuery,
    Journal, LeaseRenewal, PlanCatalog, PostedCommand, RemoteCommand, StoreError, StoredGoal,
    StoredPlan,
};
use l05_run::record::Record;
use rusqlite::Connection;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::worker::{self, WorkerLock};

/// The file's name in the data folder.
pub const DATABASE_FILE: &str = "l05.db";

/// Settings that tests move.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteOptions {
    /// The most pages the file may have: a full disk without filling one.
    pub page_count_max: Option<u32>,
}

/// A job for a connection's thread.
type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The store of one data folder.
pub struct SqliteStore {
    writer: mpsc::Sender<Job>,
    reader: mpsc::Sender<Job>,
    lock: WorkerLock,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens or makes the store in `folder`, which must exist.
    pub fn open(folder: &Path) -> Result<SqliteStore, StoreError> {
        SqliteStore::open_with(folder, SqliteOptions::default())
    }

    /// Opens with settings.
    pub fn open_with(folder: &Path, options: SqliteOptions) -> Result<SqliteStore, StoreError> {
        let path = folder.join(DATABASE_FILE);
        let at = |e: rusqlite::Error| open_error(&path, &e);
        keep_private(&path)
            .map_err(|e| StoreError::Unavailable(format!("{}: {e}", path.display())))?;
        let mut writer = Connection::open(&path).map_err(at)?;
        schema::prepare(&mut writer).map_err(at)?;
        if let Some(pages) = options.page_count_max {
            writer.pragma_update(None, "max_page_count", pages).map_err(at)?;
        }
        let reader = Connection::open(&path).map_err(at)?;
        schema::configure(&reader).map_err(at)?;
        reader.pragma_update(None, "query_only", true).map_err(at)?;
        let lock = WorkerLock::take(folder, WorkerId(Uuid::now_v7()))
            .map_err(|e| StoreError::Unavailable(format!("{}: {e}", folder.display())))?;
        for dead in worker::dead(lock.folder()) {
            worker::bury(lock.folder(), dead);
        }
        Ok(SqliteStore {
            writer: serve("l05-journal", writer)?,
            reader: serve("l05-reader", reader)?,
            lock,
            path,
        })
    }

    /// The identity of this process in the store.
    pub fn worker(&self) -> WorkerId {
        self.lock.worker()
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn on<T: Send + 'static>(
        &self,
        thread: &mpsc::Sender<Job>,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // The caller may have gone; the work is done all the same.
            let _ = answer.send(work(connection));
        });
        let sent = thread.send(job);
        Box::pin(async move {
            let gone = || StoreError::Unavailable("the store's thread has ended".to_owned());
            sent.map_err(|_| gone())?;
            result.await.map_err(|_| gone())?
        })
    }
}

/// Runs a connection's jobs on a thread of its own until the store is dropped.
fn serve(name: &str, mut connection: Connection) -> Result<mpsc::Sender<Job>, StoreError> {
    let (sender, jobs) = mpsc::channel::<Job>();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            for job in jobs {
                job(&mut connection);
            }
        })
        .map_err(|e| StoreError::Unavailable(format!("no thread for the store: {e}")))?;
    Ok(sender)
}

/// Makes the database's file for its owner alone, before SQLite would by the umask; what SQLite puts beside it takes after
/// it. A file of an older version loses what others could do with it. A read-only one stays as it is.
fn keep_private(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && path.exists() => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(mode & 0o700))?;
    }
    Ok(())
}

fn open_error(path: &Path, error: &rusqlite::Error) -> StoreError {
    let text = format!("{}: {}", path.display(), explain(error));
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreError::Corrupt(text)
        }
        _ => StoreError::Unavailable(text),
    }
}

/// SQLite's messages for the cases that people meet, in words that say what to do.
pub(crate) fn explain(error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode as E;
    let hint = match error.sqlite_error_code() {
        Some(E::DiskFull) => "there is no room left for the journal",
        Some(E::ReadOnly) => "the data folder is read-only",
        Some(E::CannotOpen | E::PermissionDenied) => "the file cannot be opened or made",
        Some(E::DatabaseBusy | E::DatabaseLocked) => "another process keeps it locked",
        Some(E::SystemIoFailure) => "the disk refused the write",
        _ => return error.to_string(),
    };
    format!("{hint} ({error})")
}

fn failed(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreError::Corrupt(explain(error))
        }
        _ => StoreError::Unavailable(explain(error)),
    }
}

impl Journal for SqliteStore {
    fn append(
        &self,
        batch: Vec<Arc<Record>>,
    ) -> BoxFuture<'_, Result<Vec<AppendResult>, StoreError>> {
        self.on(&self.writer, move |c| write::append(c, &batch).map_err(|e| failed(&e)))
    }

    fn read(&self, plan: PlanId, from: Sequence) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.on(&self.reader, move |c| read::records(c, plan, from))
    }

    fn blob(&self, plan: PlanId, sha256: String) -> BoxFuture<'_, Result<Vec<u8>, StoreError>> {
        self.on(&self.reader, move |c| read::blob(c, plan, &sha256))
    }

    fn claim(
        &self,
        plan: PlanId,
        worker: WorkerId,
    ) -> BoxFuture<'_, Result<ClaimResult, StoreError>> {
        let locks = self.lock.folder().to_owned();
        self.on(&self.writer, move |c| {
            write::unsynced(c, |c| write::claim(c, plan, worker, &locks)).map_err(|e| failed(&e))
        })
    }

    fn release(
        &self,
        plan: PlanId,
        worker: WorkerId,
        epoch: Epoch,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.on(&self.writer, move |c| {
            write::unsynced(c, |c| write::release(c, plan, worker, epoch)).map_err(|e| failed(&e))
        })
    }

    fn renew(&self, _worker: WorkerId) -> BoxFuture<'_, Result<LeaseRenewal, StoreError>> {
        // The lock of its file says whether a worker lives.
        Box::pin(std::future::ready(Ok(LeaseRenewal::Unneeded)))
    }

    fn resign(&self, _worker: WorkerId) -> BoxFuture<'_, Result<(), StoreError>> {
        // The lock goes with the process, or with the store.
        Box::pin(std::future::ready(Ok(())))
    }

    fn unowned(&self, limit: usize) -> BoxFuture<'_, Result<Vec<PlanId>, StoreError>> {
        let locks = self.lock.folder().to_owned();
        self.on(&self.reader, move |c| {
            let is_free = |owner: Option<WorkerId>| {
                owner.is_none_or(|owner| !worker::is_alive(&locks, owner))
            };
            read::unowned(c, limit, is_free)
        })
    }

    fn is_owned(&self, plan: PlanId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let locks = self.lock.folder().to_owned();
        self.on(&self.reader, move |c| {
            let owner = read::owner(c, plan)?;
            Ok(owner.is_some_and(|owner| worker::is_alive(&locks, owner)))
        })
    }

    fn post(&self, plan: PlanId, command: RemoteCommand) -> BoxFuture<'_, Result<(), StoreError>> {
        self.on(&self.writer, move |c| write::post(c, plan, &command).map_err(|e| failed(&e)))
    }

    fn posted(&self, worker: WorkerId) -> BoxFuture<'_, Result<Vec<PostedCommand>, StoreError>> {
        self.on(&self.reader, move |c| read::posted(c, worker))
    }

    fn settle_posted(&self, settled: Vec<(PlanId, u64)>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.on(&self.writer, move |c| write::settle_posted(c, &settled).map_err(|e| failed(&e)))
    }
}

impl PlanCatalog for SqliteStore {
    fn put(&self, plan: StoredPlan) -> BoxFuture<'_, Result<(), StoreError>> {
        self.on(&self.writer, move |c| write::put(c, &plan).map_err(|e| failed(&e)))
    }

    fn put_failed(
        &self,
        goal: StoredGoal,
        keep: FailedGoalsKept,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.on(&self.writer, move |c| write::put_failed(c, &goal, keep).map_err(|e| failed(&e)))
    }

    fn goals(&self, query: GoalQuery) -> BoxFuture<'_, Result<Vec<StoredGoal>, StoreError>> {
        self.on(&self.reader, move |c| read::goals(c, &query))
    }

    fn get(&self, plan: PlanId) -> BoxFuture<'_, Result<Option<StoredPlan>, StoreError>> {
        self.on(&self.reader, move |c| read::plan(c, plan))
    }

    fn list(&self, query: HistoryQuery) -> BoxFuture<'_, Result<HistoryPage, StoreError>> {
        self.on(&self.reader, move |c| read::list(c, &query))
    }

    fn find(&self, prefix: String) -> BoxFuture<'_, Result<Vec<PlanId>, StoreError>> {
        self.on(&self.reader, move |c| read::find(c, &prefix))
    }
}
