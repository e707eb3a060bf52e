//! Which processes of this data folder are alive: each holds the lock of a file of its own, which
//! goes with the process however it dies. For SQLite that is all there is; for PostgreSQL, whose
//! leases hold across machines, it spares those who start again here the wait for one to run out.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use l05_core::id::WorkerId;

/// The lock of this process, held until it ends.
pub(crate) struct WorkerLock {
    worker: WorkerId,
    folder: PathBuf,
    path: PathBuf,
    _file: File,
}

impl WorkerLock {
    pub(crate) fn take(data_folder: &Path, worker: WorkerId) -> io::Result<WorkerLock> {
        let folder = data_folder.join("workers");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        // Locked first, named after: under its name the file is never seen unlocked while we live.
        let path = lock_path(&folder, worker);
        let unnamed = path.with_extension("new");
        let file =
            File::options().read(true).write(true).create_new(true).mode(0o600).open(&unnamed)?;
        file.try_lock().map_err(io::Error::from)?;
        fs::rename(&unnamed, &path)?;
        Ok(WorkerLock { worker, folder, path, _file: file })
    }

    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for WorkerLock {
    fn drop(&mut self) {
        // The lock itself goes with the file handle; a file left behind only takes room.
        let _ = fs::remove_file(&self.path);
    }
}

/// True if the process of a worker still holds its lock.
pub(crate) fn is_alive(folder: &Path, worker: WorkerId) -> bool {
    is_locked(&lock_path(folder, worker))
}

fn is_locked(path: &Path) -> bool {
    match File::open(path) {
        // No file: it ended in order.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        // Ours for a moment, if it is free; the handle's end gives it back.
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
    }
}

/// Workers whose processes were killed.
pub(crate) fn dead(folder: &Path) -> Vec<WorkerId> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let locks = paths.filter(|path| path.extension().is_some_and(|e| e == "lock"));
    let dead = locks.filter(|path| !is_locked(path));
    dead.filter_map(|path| path.file_stem()?.to_str()?.parse().ok().map(WorkerId)).collect()
}

/// Forgets a dead worker.
pub(crate) fn bury(folder: &Path, dead: WorkerId) {
    let _ = fs::remove_file(lock_path(folder, dead));
}

fn lock_path(folder: &Path, worker: WorkerId) -> PathBuf {
    folder.join(format!("{}.lock", worker.0))
}
