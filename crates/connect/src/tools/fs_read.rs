//! `fs.read`: the beginning or the whole of a text file.

use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BuiltinTool, ToolContext, in_thread};
use crate::workspace::{Workspace, failed};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadFileInput {
    /// The file, relative to the workspace.
    #[serde(default)]
    path: Option<String>,
    /// The first of these that exists, whatever the case of its name, instead of `path`.
    #[serde(default)]
    first_of: Vec<String>,
    /// No file is no error but `found: false`.
    #[serde(default)]
    optional: bool,
    /// At most so many bytes.
    #[serde(default = "bytes_max")]
    #[schemars(range(min = 1, max = 67_108_864))]
    max_bytes: u64,
    /// At most so many lines.
    #[serde(default)]
    #[schemars(range(min = 1))]
    max_lines: Option<usize>,
}

/// 1 MiB: more text than a report quotes, less than hurts.
fn bytes_max() -> u64 {
    1 << 20
}

#[derive(Serialize, JsonSchema, Default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ReadFileOutput {
    /// True if there was a file.
    found: bool,
    /// The path.
    path: String,
    /// The file's text; bytes that are no UTF-8 are replaced.
    text: String,
    /// The number of bytes of the file that are in `text`.
    bytes: usize,
    /// There is more.
    truncated: bool,
    /// The first paragraph of prose: for Markdown, behind the title.
    first_paragraph: String,
    /// The first heading, for Markdown, or first line.
    title: String,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "fs.read",
    spec,
    start: |context, call| Box::pin(in_thread(context, call.inputs, |c, i| run(c, &i))),
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    Some(super::spec::<ReadFileInput, ReadFileOutput>(
        TOOL.name,
        "Reads a text file of the workspace.",
        true,
    ))
}

fn run(bench: &ToolContext, input: &ReadFileInput) -> Result<ReadFileOutput, TaskError> {
    let workspace = bench.workspace()?;
    let Some(path) = choose(workspace, input) else {
        if input.optional {
            return Ok(ReadFileOutput::default());
        }
        let wanted = input.path.clone().unwrap_or_else(|| input.first_of.join(", "));
        return Err(failed(format!("there is no file `{wanted}`")));
    };
    let (bytes, mut truncated) = match workspace.read(&path, input.max_bytes) {
        Ok(read) => read,
        Err(error) if input.optional => {
            return Ok(ReadFileOutput { path, text: error.message, ..ReadFileOutput::default() });
        }
        Err(error) => return Err(error),
    };
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if let Some(lines) = input.max_lines
        && let Some((end, _)) = text.match_indices('\n').nth(lines - 1)
        && end + 1 < text.len()
    {
        text.truncate(end + 1);
        truncated = true;
    }
    Ok(ReadFileOutput {
        found: true,
        bytes: text.len(),
        truncated,
        first_paragraph: first_paragraph(&text),
        title: title(&text),
        text,
        path,
    })
}

fn choose(workspace: &Workspace, input: &ReadFileInput) -> Option<String> {
    if let Some(path) = &input.path {
        let missing = input.optional && workspace.metadata(path).is_err();
        return (!missing).then(|| path.clone());
    }
    for wanted in &input.first_of {
        let (folder, name) = wanted.rsplit_once('/').unwrap_or(("", wanted));
        let Ok(mut names) = workspace.names_in(folder) else { continue };
        names.sort();
        if let Some(found) = names.into_iter().find(|n| n.eq_ignore_ascii_case(name)) {
            let join = if folder.is_empty() { found } else { format!("{folder}/{found}") };
            return Some(join);
        }
    }
    None
}

/// The longest paragraph or title quoted, in characters.
const QUOTE_MAX_CHARS: usize = 600;

fn title(text: &str) -> String {
    let heading = text.lines().find(|line| line.starts_with('#'));
    let line = heading.or_else(|| text.lines().find(|line| !line.trim().is_empty()));
    line.unwrap_or_default().trim_start_matches('#').trim().chars().take(QUOTE_MAX_CHARS).collect()
}

/// The first run of lines that is prose: no heading, badge, rule, list marker or markup.
fn first_paragraph(text: &str) -> String {
    let mut paragraph: Vec<&str> = Vec::new();
    let mut fenced = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let decoration = line.is_empty()
            || fenced
            || line.starts_with(['#', '<', '=', '|', '>', '`'])
            || line.starts_with("[![")
            || line.starts_with("![")
            || line.starts_with("---")
            || line.starts_with("***");
        if !decoration {
            paragraph.push(line);
        } else if !paragraph.is_empty() {
            break;
        }
    }
    paragraph.join(" ").chars().take(QUOTE_MAX_CHARS).collect()
}
