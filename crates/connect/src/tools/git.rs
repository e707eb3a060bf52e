//! Running git so that a hostile repository runs nothing.
//!
//! Fixed arguments, no pager, no hooks, no fsmonitor, no external diff or textconv, no signature
//! programs, no network, no lazy fetching, no configuration of the machine or the user, and an
//! environment of our own. Only commands that read the history or the index.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
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
    /// The program, by its absolute path.
    program: PathBuf,
    /// The repository's own folder, where it lies above the workspace.
    pub(super) above: Option<PathBuf>,
}

impl GitRepository {
    /// The repository that a folder of the workspace belongs to, if its data are where they seem to
    /// be. A `.git` that is a file or a link, or a common directory elsewhere, could name any
    /// repository of this machine, so worktrees and submodules are left out with it.
    pub(super) async fn of(workspace: &Workspace, path: &str) -> Result<GitRepository, GitError> {
        let (workspace, path) = (workspace.clone(), path.to_owned());
        // Looks at every file of the repository's data.
        let found = tokio::task::spawn_blocking(move || GitRepository::find(&workspace, &path));
        found.await.unwrap_or_else(|error| Err(GitError::Failed(error.to_string())))
    }

    fn find(workspace: &Workspace, path: &str) -> Result<GitRepository, GitError> {
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
            if let Some(link) = leads_out(&data) {
                let why = format!("the repository's data lead out of it (`.git/{link}`)");
                return Err(GitError::Failed(why));
            }
            let program = program(workspace.path()).ok_or(GitError::Missing)?;
            let is_above = !ancestor.starts_with(workspace.path());
            let above = is_above.then(|| ancestor.to_owned());
            return Ok(GitRepository { folder, program, above });
        }
        Err(GitError::Failed("not a git repository".to_owned()))
    }
}

/// The most entries of a repository's data that are looked at; one with more is not read.
const ENTRIES_MAX: usize = 500_000;

/// The first of a repository's data that lies elsewhere: borrowed objects, or a link that leads out.
fn leads_out(data: &Path) -> Option<String> {
    for borrowed in ["objects/info/alternates", "objects/info/http-alternates"] {
        if std::fs::symlink_metadata(data.join(borrowed)).is_ok() {
            return Some(borrowed.to_owned());
        }
    }
    let real = data.canonicalize().ok()?;
    let (mut folders, mut seen) = (vec![data.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let shown = || path.strip_prefix(data).unwrap_or(&path).display().to_string();
            seen += 1;
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(path);
            } else if seen > ENTRIES_MAX {
                return Some(format!("{} and more than {ENTRIES_MAX} others", shown()));
            } else if kind.is_symlink()
                && !path.canonicalize().is_ok_and(|to| to.starts_with(&real))
            {
                return Some(shown());
            }
        }
    }
    None
}

/// Git by its absolute path: of the folders in `PATH` those that are absolute and outside of the workspace, whose files
/// anybody may have put there.
fn program(workspace: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
    let is_trusted = |folder: &PathBuf| folder.is_absolute() && !folder.starts_with(workspace);
    let places = std::env::split_paths(&path).filter(is_trusted);
    places.map(|folder| folder.join("git")).find(|program| program.is_file())
}

/// The folders of programs where nothing says otherwise.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs a git command and gives what it prints.
pub(super) async fn git(
    repository: &GitRepository,
    arguments: &[&str],
) -> Result<Vec<u8>, GitError> {
    let mut command = Command::new(&repository.program);
    command
        .current_dir(format!("/proc/self/fd/{}", repository.folder.as_fd().as_raw_fd()))
        .env_clear()
        // Git finds its own parts by where it lies.
        .env("PATH", PATH_DEFAULT)
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
    let Ok(repository) = GitRepository::of(workspace, ".").await else { return Vec::new() };
    let arguments = ["ls-files", "-z", "--cached", "--ignored", "--exclude-standard"];
    let Ok(output) = git(&repository, &arguments).await else { return Vec::new() };
    output
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| std::str::from_utf8(name).ok())
        .map(PathBuf::from)
        .collect()
}
