//! Running git so that a hostile repository runs nothing.
//!
//! Fixed arguments, no pager, no hooks, no fsmonitor, no external diff or textconv, no signature
//! programs, no network, no lazy fetching, no configuration of the machine or the user, and an
//! environment of our own. Only commands that read the history or the index.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use cap_std::fs::Dir;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::workspace::Workspace;

/// The longest time that one git command may take.
const GIT_TIMEOUT: Duration = Duration::from_secs(20);
/// The most of its output that is read, in bytes.
const OUTPUT_MAX: u64 = 32 << 20;

/// Reasons for which git gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    #[error("git is not installed")]
    Missing,
    #[error("git took longer than {} s", GIT_TIMEOUT.as_secs())]
    Timeout,
    #[error("{0}")]
    Failed(String),
}

/// A folder whose repository may be read.
pub(super) struct GitRepository {
    /// Held open: git starts in this folder, whatever its name leads to by then.
    folder: Dir,
}

impl GitRepository {
    /// The repository that a folder of the workspace belongs to, if its data are where they seem to
    /// be. A `.git` that is a file or a link, or a common directory elsewhere, could name any
    /// repository of this machine, so worktrees and submodules are left out with it.
    pub(super) fn of(workspace: &Workspace, path: &str) -> Result<GitRepository, GitError> {
        let folder = workspace.folder(path).map_err(|e| GitError::Failed(e.message))?;
        let real = workspace.path().join(path);
        let real = real.canonicalize().map_err(|e| GitError::Failed(e.to_string()))?;
        for ancestor in real.ancestors() {
            let data = ancestor.join(".git");
            let Ok(metadata) = std::fs::symlink_metadata(&data) else { continue };
            let elsewhere = !metadata.is_dir() || data.join("commondir").exists();
            if elsewhere {
                let why = "the repository's data lie elsewhere (a worktree, submodule or link)";
                return Err(GitError::Failed(why.to_owned()));
            }
            return Ok(GitRepository { folder });
        }
        Err(GitError::Failed("not a git repository".to_owned()))
    }
}

/// Runs a git command and gives what it prints.
pub(super) async fn git(
    repository: &GitRepository,
    arguments: &[&str],
) -> Result<Vec<u8>, GitError> {
    let mut command = Command::new("git");
    command
        .current_dir(format!("/proc/self/fd/{}", repository.folder.as_fd().as_raw_fd()))
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_ALLOW_PROTOCOL", "")
        .args(["--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(["-c", "diff.external=", "-c", "log.showSignature=false"])
        .args([
            "-c",
            "core.sshCommand=false",
            "-c",
            "credential.helper=",
            "-c",
            "protocol.allow=never",
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => GitError::Missing,
        _ => GitError::Failed(error.to_string()),
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let read_out = async {
            if let Some(stdout) = stdout {
                stdout.take(OUTPUT_MAX).read_to_end(&mut out).await?;
            }
            Ok::<(), std::io::Error>(())
        };
        let read_err = async {
            if let Some(stderr) = stderr {
                stderr.take(1 << 16).read_to_end(&mut err).await?;
            }
            Ok::<(), std::io::Error>(())
        };
        tokio::try_join!(read_out, read_err)?;
        // A command whose output was cut would wait for a reader for ever.
        let _ = child.start_kill();
        Ok::<_, std::io::Error>((child.wait().await?, out, err))
    };
    let (status, out, err) = tokio::time::timeout(GIT_TIMEOUT, work)
        .await
        .map_err(|_| GitError::Timeout)?
        .map_err(|e| GitError::Failed(e.to_string()))?;
    let cut = out.len() as u64 == OUTPUT_MAX;
    if status.success() || cut || (status.code().is_none() && err.is_empty()) {
        return Ok(out);
    }
    let message = String::from_utf8_lossy(&err);
    let first = message.lines().next().unwrap_or("git failed").trim_start_matches("fatal: ");
    Err(GitError::Failed(first.to_owned()))
}

/// Files that git tracks although a pattern ignores them, relative to `folder`. None where there
/// is no git or no repository: then nothing is tracked.
pub(super) async fn tracked_but_ignored(workspace: &Workspace) -> Vec<PathBuf> {
    let Ok(repository) = GitRepository::of(workspace, ".") else { return Vec::new() };
    let arguments = ["ls-files", "-z", "--cached", "--ignored", "--exclude-standard"];
    let Ok(output) = git(&repository, &arguments).await else { return Vec::new() };
    output
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| std::str::from_utf8(name).ok())
        .map(PathBuf::from)
        .collect()
}
