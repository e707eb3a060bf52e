//! `fs.list`: files with sizes, and what they sum up to.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use l05_core::catalog::ToolSpec;
use l05_core::time::Timestamp;
use l05_run::event::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::walk::{FolderWalk, SkippedPaths, glob, is_own_report, walk};
use super::{BuiltinTool, ToolContext, git, in_thread, language};
use crate::workspace::Workspace;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListFilesInput {
    /// The folder, relative to the workspace.
    #[serde(default = "here")]
    path: String,
    /// Only files whose path matches: `*.csv`, `src/**/*.rs`.
    #[serde(default)]
    glob: Option<String>,
    /// Not files whose path matches.
    #[serde(default)]
    exclude: Option<String>,
    /// Not Markdown files that begin as L05's own reports do.
    #[serde(default)]
    skip_reports: bool,
    /// Also files that git ignores.
    #[serde(default)]
    include_ignored: bool,
    /// Count newline characters of text files.
    #[serde(default)]
    count_lines: bool,
    /// At most so many files in `files`; the sums are over all.
    #[serde(default = "entries_max")]
    #[schemars(range(min = 0, max = 100_000))]
    max_entries: usize,
    /// The number of largest and of newest files to name.
    #[serde(default = "top")]
    #[schemars(range(min = 0, max = 1_000))]
    top: usize,
}

fn here() -> String {
    ".".to_owned()
}

fn entries_max() -> usize {
    1_000
}

fn top() -> usize {
    10
}

#[derive(Serialize, JsonSchema, Clone)]
#[schemars(deny_unknown_fields)]
pub(crate) struct FileEntry {
    /// Relative to the workspace.
    #[schemars(length(min = 1, max = 4096))]
    path: String,
    /// Size.
    bytes: u64,
    /// Newline characters; 0 for binary files and where they were not counted.
    lines: u64,
    /// By its name; `Binary` when its beginning holds a NUL byte and lines are counted.
    language: String,
    /// RFC 3339.
    modified: String,
}

#[derive(Serialize, JsonSchema, Default, Clone)]
#[schemars(deny_unknown_fields)]
struct LanguageSum {
    /// The language.
    language: String,
    /// The number of files.
    files: u64,
    /// Their sizes.
    bytes: u64,
    /// Their newline characters.
    lines: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ListFilesOutput {
    /// The folder's own name.
    folder: String,
    /// Files in the order of their paths.
    files: Vec<FileEntry>,
    /// There are more files than `files` holds.
    truncated: bool,
    /// Over all files.
    totals: ListTotals,
    /// By language, most lines first.
    by_language: Vec<LanguageSum>,
    /// Largest first.
    largest: Vec<FileEntry>,
    /// Last modified first.
    newest: Vec<FileEntry>,
    /// Files and folders that could not be read, at most a hundred.
    skipped: Vec<SkippedPaths>,
    /// The number of entries that could not be read.
    skipped_count: usize,
}

#[derive(Serialize, JsonSchema, Default)]
#[schemars(deny_unknown_fields)]
struct ListTotals {
    /// The number of files.
    files: u64,
    /// Their sizes.
    bytes: u64,
    /// Their newline characters.
    lines: u64,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "fs.list",
    spec,
    start: |context, call| {
        Box::pin(async move {
            let tracked = git::tracked_but_ignored(context.workspace()?).await;
            in_thread(context, call.inputs, move |c, i| run(c, &i, &tracked)).await
        })
    },
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    let description =
        "Lists files of the workspace that git does not ignore, with sums by language.";
    Some(super::spec::<ListFilesInput, ListFilesOutput>(TOOL.name, description, true))
}

/// The most skipped files that are named.
const SKIPPED_MAX: usize = 100;

fn run(
    bench: &ToolContext,
    input: &ListFilesInput,
    tracked: &[PathBuf],
) -> Result<ListFilesOutput, TaskError> {
    let matcher = glob(input.glob.as_deref())?;
    let question = FolderWalk {
        folder: &input.path,
        glob: matcher,
        ignored_too: input.include_ignored,
        tracked,
    };
    let workspace = bench.workspace()?;
    let excluded = glob(input.exclude.as_deref())?;
    let mut walked = walk(bench, &question)?;
    walked.files.retain(|path| {
        let is_excluded = excluded.as_ref().is_some_and(|glob| glob.is_match(path));
        let is_report = input.skip_reports && is_own_report(workspace, path);
        !is_excluded && !is_report
    });
    let mut skipped = walked.skipped;
    let mut totals = ListTotals::default();
    let mut sums: BTreeMap<String, LanguageSum> = BTreeMap::new();
    let mut entries = Vec::with_capacity(walked.files.len());
    let mut buffer = vec![0u8; 1 << 16];
    for path in &walked.files {
        bench.go_on()?;
        match look(workspace, path, input.count_lines, &mut buffer) {
            Ok(Some(entry)) => {
                totals.files += 1;
                totals.bytes += entry.bytes;
                totals.lines += entry.lines;
                let sum = sums.entry(entry.language.clone()).or_default();
                sum.files += 1;
                sum.bytes += entry.bytes;
                sum.lines += entry.lines;
                entries.push(entry);
            }
            // Gone since the walk, or tracked and deleted.
            Ok(None) => {}
            Err(reason) => {
                skipped.push(SkippedPaths { path: path.to_string_lossy().into_owned(), reason });
            }
        }
    }
    let mut by_language: Vec<LanguageSum> =
        sums.into_iter().map(|(language, sum)| LanguageSum { language, ..sum }).collect();
    by_language.sort_by(|a, b| {
        b.lines.cmp(&a.lines).then(b.bytes.cmp(&a.bytes)).then_with(|| a.language.cmp(&b.language))
    });
    let largest = first(&entries, input.top, |a, b| b.bytes.cmp(&a.bytes));
    let newest = first(&entries, input.top, |a, b| b.modified.cmp(&a.modified));
    let skipped_count = skipped.len();
    skipped.truncate(SKIPPED_MAX);
    let truncated = entries.len() > input.max_entries;
    entries.truncate(input.max_entries);
    let folder = Path::new(&input.path).file_name().map(|n| n.to_string_lossy().into_owned());
    Ok(ListFilesOutput {
        folder: folder.unwrap_or_else(|| workspace.name()),
        files: entries,
        truncated,
        totals,
        by_language,
        largest,
        newest,
        skipped,
        skipped_count,
    })
}

fn first(
    entries: &[FileEntry],
    top: usize,
    order: impl Fn(&FileEntry, &FileEntry) -> std::cmp::Ordering,
) -> Vec<FileEntry> {
    let mut refs: Vec<&FileEntry> = entries.iter().collect();
    refs.sort_by(|a, b| order(a, b).then_with(|| a.path.cmp(&b.path)));
    refs.into_iter().take(top).cloned().collect()
}

/// One file's line; `Ok(None)` when it is not there or no regular file any more.
fn look(
    workspace: &Workspace,
    path: &Path,
    count_lines: bool,
    buffer: &mut [u8],
) -> Result<Option<FileEntry>, String> {
    let shown = path.to_string_lossy().into_owned();
    let Some(name) = path.to_str() else {
        return Err("its name is not UTF-8".to_owned());
    };
    let Some(metadata) = workspace.probe(name).filter(cap_std::fs::Metadata::is_file) else {
        return Ok(None);
    };
    let mut language = language::of(path).to_owned();
    let mut lines = 0;
    if count_lines {
        let file = workspace.open_file(name).map_err(|e| e.message)?;
        match newlines(file, buffer).map_err(|e| e.to_string())? {
            Some(count) => lines = count,
            None => "Binary".clone_into(&mut language),
        }
    }
    let modified = metadata.modified().ok().map(cap_std::time::SystemTime::into_std);
    let modified = modified
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_millis()).ok());
    let modified = Timestamp(modified.unwrap_or(0)).to_string();
    Ok(Some(FileEntry { path: shown, bytes: metadata.len(), lines, language, modified }))
}

/// Newline characters of a text; `None` for a binary file, known by a NUL in its beginning, as
/// git knows it.
fn newlines(mut file: impl Read, buffer: &mut [u8]) -> std::io::Result<Option<u64>> {
    let mut count = 0;
    let mut beginning = true;
    loop {
        let read = file.read(buffer)?;
        if read == 0 {
            return Ok(Some(count));
        }
        let bytes = &buffer[..read];
        if std::mem::replace(&mut beginning, false)
            && memchr::memchr(0, &bytes[..read.min(8_000)]).is_some()
        {
            return Ok(None);
        }
        count += memchr::memchr_iter(b'\n', bytes).count() as u64;
    }
}
