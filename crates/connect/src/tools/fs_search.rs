//! `fs.search`: lines of text files that match a regular expression.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::boxed::{BoxedWork, in_box};
use super::walk::{FolderWalk, glob, is_own_report, walk};
use super::{BuiltinTool, ToolContext, decode, encode, git};
use crate::workspace::final_error;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchFilesInput {
    /// The regular expression (RE2 style, linear time).
    #[schemars(length(min = 1, max = 10_000))]
    pattern: String,
    /// The folder, relative to the workspace.
    #[serde(default = "here")]
    path: String,
    /// Only files whose path matches.
    #[serde(default)]
    glob: Option<String>,
    /// `pattern` is plain text.
    #[serde(default)]
    literal: bool,
    /// Upper and lower case are the same.
    #[serde(default)]
    ignore_case: bool,
    /// Not in Markdown files that begin as L05's own reports do.
    #[serde(default)]
    skip_reports: bool,
    /// Also files that git ignores.
    #[serde(default)]
    include_ignored: bool,
    /// At most so many matches in `matches`.
    #[serde(default = "matches_max")]
    #[schemars(range(min = 0, max = 10_000))]
    max_matches: usize,
}

fn here() -> String {
    ".".to_owned()
}

fn matches_max() -> usize {
    100
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FoundLine {
    /// The file.
    path: String,
    /// From 1.
    line: u64,
    /// The line, without white space around it, cut at 200 characters.
    text: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct SearchFilesOutput {
    /// In the order of paths and lines.
    matches: Vec<FoundLine>,
    /// Lines that match, also those not in `matches`.
    total: u64,
    /// There are more than `matches` holds.
    truncated: bool,
    /// Files looked into.
    files_searched: u64,
    /// Files that are binary or cannot be read.
    files_skipped: u64,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "fs.search",
    spec,
    start: |context, call| {
        Box::pin(async move {
            let tracked = git::tracked_but_ignored(context.workspace()?).await;
            let call = serde_json::json!({ "input": call.inputs, "tracked": tracked });
            in_box(context, &SEARCH, call).await
        })
    },
};

/// Its work. A pattern without counted repetitions, and as short as people write them, is matched in little time.
pub(super) static SEARCH: BoxedWork = BoxedWork {
    name: "fs.search",
    run: |context, call| {
        let FileSearch { input, tracked } = decode(call)?;
        encode(&run(context, &input, &tracked)?)
    },
    uses_workspace: true,
    is_small: |call| {
        let text = |name: &str| call["input"][name].as_str().unwrap_or_default();
        let short = text("pattern").len() + text("glob").len() <= PATTERN_SMALL_MAX_BYTES;
        short
            && !text("glob").contains('{')
            && (call["input"]["literal"] == true || !text("pattern").contains('{'))
    },
};

/// The longest pattern that is small.
const PATTERN_SMALL_MAX_BYTES: usize = 200;

#[derive(Deserialize)]
struct FileSearch {
    input: SearchFilesInput,
    tracked: Vec<PathBuf>,
}

fn spec(_: &[String]) -> Option<ToolSpec> {
    Some(super::spec::<SearchFilesInput, SearchFilesOutput>(
        TOOL.name,
        "Finds lines in text files of the workspace.",
        true,
    ))
}

/// The longest line looked at, in bytes; the rest of a longer one is passed over.
const LINE_MAX_BYTES: u64 = 1 << 20;
/// The most of a line that is quoted, in characters.
const QUOTE_MAX_CHARS: usize = 200;
/// Compiled size of a pattern: large enough for real ones, small enough for hostile ones.
const PATTERN_SIZE_MAX: usize = 10 << 20;

fn run(
    bench: &ToolContext,
    input: &SearchFilesInput,
    tracked: &[PathBuf],
) -> Result<SearchFilesOutput, TaskError> {
    let text = if input.literal { regex::escape(&input.pattern) } else { input.pattern.clone() };
    let regex = pattern(&text, input.ignore_case)?;
    let question = FolderWalk {
        folder: &input.path,
        glob: glob(input.glob.as_deref())?,
        ignored_too: input.include_ignored,
        tracked,
    };
    let workspace = bench.workspace()?;
    let mut walked = walk(bench, &question)?;
    walked.files.retain(|path| !(input.skip_reports && is_own_report(workspace, path)));
    let mut output = SearchFilesOutput {
        matches: Vec::new(),
        total: 0,
        truncated: false,
        files_searched: 0,
        files_skipped: walked.skipped.len() as u64,
    };
    for path in &walked.files {
        bench.go_on()?;
        let file = path.to_str().and_then(|name| workspace.open_file(name).ok());
        let searched = file.and_then(|file| {
            search(&mut BufReader::new(file), &regex, &path.to_string_lossy(), input, &mut output)
                .ok()
        });
        match searched {
            Some(true) => output.files_searched += 1,
            Some(false) | None => output.files_skipped += 1,
        }
    }
    output.truncated = output.total > output.matches.len() as u64;
    Ok(output)
}

/// Searches one file; false when it is binary.
fn search(
    reader: &mut BufReader<cap_std::fs::File>,
    regex: &Regex,
    path: &str,
    input: &SearchFilesInput,
    output: &mut SearchFilesOutput,
) -> std::io::Result<bool> {
    let beginning = reader.fill_buf()?;
    if memchr::memchr(0, beginning).is_some() {
        return Ok(false);
    }
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        if reader.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(true);
        }
        number += 1;
        if !line.ends_with(b"\n") && line.len() as u64 == LINE_MAX_BYTES {
            reader.skip_until(b'\n')?;
        }
        if !regex.is_match(&line) {
            continue;
        }
        output.total += 1;
        if output.matches.len() < input.max_matches {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim().chars().take(QUOTE_MAX_CHARS).collect();
            output.matches.push(FoundLine { path: path.to_owned(), line: number, text });
        }
    }
}

/// Compiles a pattern.
pub(super) fn pattern(text: &str, ignore_case: bool) -> Result<Regex, TaskError> {
    let built =
        RegexBuilder::new(text).case_insensitive(ignore_case).size_limit(PATTERN_SIZE_MAX).build();
    built.map_err(|e| final_error(ErrorCode::TypeMismatch, format!("`{text}` is no pattern: {e}")))
}
