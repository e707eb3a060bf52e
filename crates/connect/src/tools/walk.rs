//! Walking the workspace: which files there are, without those that git ignores.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use globset::{Glob, GlobMatcher};
use ignore::WalkBuilder;
use l05_core::ErrorCode;
use l05_run::event::TaskError;
use schemars::JsonSchema;
use serde::Serialize;

use super::ToolContext;
use crate::workspace::{Workspace, failed, final_error};

/// A file that could not be looked at.
#[derive(Serialize, JsonSchema, Clone)]
#[schemars(deny_unknown_fields)]
pub(super) struct SkippedPaths {
    /// The path that was skipped.
    pub(super) path: String,
    /// The reason.
    pub(super) reason: String,
}

/// A folder to walk, with its filters.
pub(super) struct FolderWalk<'a> {
    /// Relative to the workspace.
    pub(super) folder: &'a str,
    pub(super) glob: Option<GlobMatcher>,
    pub(super) ignored_too: bool,
    /// Tracked by git although a pattern ignores them.
    pub(super) tracked: &'a [PathBuf],
}

/// The relative paths of regular files, in order, and what could not be entered.
pub(super) struct WalkedFile {
    pub(super) files: Vec<PathBuf>,
    pub(super) skipped: Vec<SkippedPaths>,
}

/// A glob over relative paths; `*` also crosses folders where the glob has no slash.
pub(super) fn glob(pattern: Option<&str>) -> Result<Option<GlobMatcher>, TaskError> {
    let Some(pattern) = pattern.filter(|p| !p.is_empty()) else { return Ok(None) };
    let braces = pattern.matches('{').count();
    if pattern.len() > GLOB_MAX_BYTES || braces > GLOB_BRACES_MAX {
        let message = format!(
            "the glob is longer than {GLOB_MAX_BYTES} bytes or has more than {GLOB_BRACES_MAX} braces"
        );
        return Err(final_error(ErrorCode::TypeMismatch, message));
    }
    let anywhere = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
    match Glob::new(&anywhere) {
        Ok(glob) => Ok(Some(glob.compile_matcher())),
        Err(error) => {
            let message = format!("`{pattern}` is no glob: {}", error.kind());
            Err(final_error(ErrorCode::TypeMismatch, message))
        }
    }
}

/// The longest glob and its most braces: alternatives multiply when they are compiled.
const GLOB_MAX_BYTES: usize = 1_000;
const GLOB_BRACES_MAX: usize = 8;
/// The most files that one walk may give; past it the walk fails rather than fills the memory.
const FILES_MAX: usize = 2_000_000;

pub(super) fn walk(bench: &ToolContext, walk: &FolderWalk<'_>) -> Result<WalkedFile, TaskError> {
    // Refuses what leaves the workspace, and says so before anything is walked.
    let workspace = bench.workspace()?;
    let metadata = workspace.metadata(walk.folder)?;
    if !metadata.is_dir() {
        return Err(failed(format!("`{}` is not a folder", walk.folder)));
    }
    let root = workspace.path();
    let start = root.join(walk.folder);
    let mut files = BTreeSet::new();
    let mut skipped = Vec::new();
    let odd_folders = Arc::new(Mutex::new(Vec::new()));
    // git's rules are read by the walker itself: nothing but a small regular file may stand there.
    let obey = !walk.ignored_too && start.ancestors().all(rules_are_plain);
    let mut builder = WalkBuilder::new(&start);
    builder
        .hidden(false)
        .follow_links(false)
        .ignore(false)
        .git_ignore(obey)
        .git_global(obey)
        .git_exclude(obey)
        .parents(obey);
    let (odd, inner, depth) = (odd_folders.clone(), workspace.clone(), start.clone());
    builder.filter_entry(move |entry| {
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        let inside = entry.path().strip_prefix(inner.path()).unwrap_or(entry.path());
        if is_folder && (entry.file_name() == ".git" || inner.is_private(inside)) {
            return false;
        }
        if is_folder && obey && entry.path() != depth && !rules_are_plain(entry.path()) {
            odd.lock().expect("no code panics while it holds this lock").push(inside.to_owned());
            return false;
        }
        entry.file_name() != ".git"
    });
    for entry in builder.build() {
        bench.go_on()?;
        match entry {
            Ok(entry) => {
                let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
                if is_file && let Ok(relative) = entry.path().strip_prefix(root) {
                    files.insert(relative.to_owned());
                }
            }
            Err(error) => {
                let skip = skip(root, &error);
                // A folder that was swapped for a link meanwhile may have led elsewhere.
                if skip.path.is_empty() || workspace.holds(Path::new(&skip.path)) {
                    skipped.push(skip);
                }
            }
        }
        if files.len() > FILES_MAX {
            return Err(failed(format!("there are more than {FILES_MAX} files")));
        }
    }
    let odd = std::mem::take(&mut *odd_folders.lock().expect("the walk is over"));
    skipped.extend(odd.into_iter().map(|path| SkippedPaths {
        path: path.to_string_lossy().into_owned(),
        reason: "its .gitignore is not a small regular file".to_owned(),
    }));
    let folder = Path::new(walk.folder.trim_start_matches("./").trim_end_matches('/'));
    let inside = |path: &&PathBuf| walk.folder == "." || path.starts_with(folder);
    files.extend(walk.tracked.iter().filter(inside).cloned());
    let wanted = |path: &PathBuf| walk.glob.as_ref().is_none_or(|glob| glob.is_match(path));
    Ok(WalkedFile { files: files.into_iter().filter(wanted).collect(), skipped })
}

/// The beginning of reports that the built-in templates write; Markdown shows nothing of it.
const REPORT_MARK: &[u8] = b"<!-- report of l05 -->";

/// True if a file is a report of an earlier run: what it quotes would be counted again.
pub(super) fn is_own_report(workspace: &Workspace, path: &Path) -> bool {
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("md")) {
        return false;
    }
    let beginning = path.to_str().and_then(|path| workspace.read(path, 64).ok());
    beginning.is_some_and(|(bytes, _)| bytes.starts_with(REPORT_MARK))
}

/// The largest `.gitignore` that is obeyed, in bytes.
const RULES_BYTES_MAX: u64 = 1 << 20;

/// True if a folder's `.gitignore` can be read without waiting for ever or filling the memory.
fn rules_are_plain(folder: &Path) -> bool {
    match std::fs::symlink_metadata(folder.join(".gitignore")) {
        Ok(metadata) => metadata.is_file() && metadata.len() <= RULES_BYTES_MAX,
        Err(_) => true,
    }
}

fn skip(root: &Path, error: &ignore::Error) -> SkippedPaths {
    let (path, reason) = place(error);
    let path = path.map(|p| p.strip_prefix(root).unwrap_or(p).to_string_lossy().into_owned());
    SkippedPaths { path: path.unwrap_or_default(), reason }
}

fn place(error: &ignore::Error) -> (Option<&Path>, String) {
    match error {
        ignore::Error::WithPath { path, err } => (Some(path), place(err).1),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            place(err)
        }
        ignore::Error::Io(error) => (None, error.to_string()),
        other => (None, other.to_string()),
    }
}
