//! Which processes are alive: each holds the lock of a file of its own.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use l05_core::id::WorkerId;

/// This process's lock, held until it ends.
pub(super) struct WorkerLock {
    worker: WorkerId,
    folder: PathBuf,
    path: PathBuf,
    _file: File,
}

impl WorkerLock {
    pub(super) fn take(data_folder: &Path, worker: WorkerId) -> io::Result<WorkerLock> {
        let folder = data_folder.join("workers");
        fs::create_dir_all(&folder)?;
        remove_dead(&folder);
        // Locked first, named after: under its name the file is never seen unlocked while we live.
        let path = lock_path(&folder, worker);
        let unnamed = path.with_extension("new");
        let file = File::create_new(&unnamed)?;
        file.try_lock().map_err(io::Error::from)?;
        fs::rename(&unnamed, &path)?;
        Ok(WorkerLock { worker, folder, path, _file: file })
    }

    pub(super) fn worker(&self) -> WorkerId {
        self.worker
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for WorkerLock {
    fn drop(&mut self) {
        // The lock itself goes with the file handle; a file left behind only takes room.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the process of a worker still holds its lock.
pub(super) fn is_alive(folder: &Path, worker: WorkerId) -> bool {
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

/// Files of processes that were killed.
fn remove_dead(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|e| e == "lock") && !is_locked(&path) {
            let _ = fs::remove_file(path);
        }
    }
}

fn lock_path(folder: &Path, worker: WorkerId) -> PathBuf {
    folder.join(format!("{}.lock", worker.0))
}
