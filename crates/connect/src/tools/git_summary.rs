//! `git.summary`: recent commits and authors.

use std::collections::HashMap;

use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::git::{GitError, GitRepository, git};
use super::{BuiltinTool, ToolContext, decode, encode};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitSummaryInput {
    /// The folder, relative to the workspace.
    #[serde(default)]
    path: Option<String>,
    /// The most commits to list.
    #[serde(default = "commits_max")]
    #[schemars(range(min = 0, max = 1_000))]
    max_commits: usize,
}

fn commits_max() -> usize {
    10
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct CommitEntry {
    /// Abbreviated.
    hash: String,
    /// The author.
    author: String,
    /// The time, RFC 3339.
    date: String,
    /// The first line of the message.
    subject: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AuthorEntry {
    /// The name in the commits.
    name: String,
    /// The number of commits.
    commits: u64,
}

#[derive(Serialize, JsonSchema, Default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct GitSummaryOutput {
    /// True if the folder belongs to a repository with commits.
    repository: bool,
    /// The reason for which there is nothing to tell.
    reason: String,
    /// The folder of the repository, where that lies above the workspace: its history is of more than the workspace.
    above: String,
    /// The branch; empty when none is checked out.
    branch: String,
    /// The number of commits of the branch.
    total_commits: u64,
    /// Newest first.
    commits: Vec<CommitEntry>,
    /// Most commits first, over the last 100,000 commits.
    authors: Vec<AuthorEntry>,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "git.summary",
    spec,
    start: |context, call| {
        Box::pin(async move { encode(&run(&context, &decode(call.inputs)?).await?) })
    },
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    let description = "Tells recent commits and authors of the git repository of the workspace.";
    Some(super::spec::<GitSummaryInput, GitSummaryOutput>(TOOL.name, description, true))
}

/// The range of commits over which authors are counted.
const COUNTED_COMMITS: &str = "--max-count=100000";
/// The most authors that are listed.
const AUTHORS_MAX: usize = 20;
/// The longest subject or name quoted, in characters.
const QUOTE_MAX_CHARS: usize = 200;

async fn run(bench: &ToolContext, input: &GitSummaryInput) -> Result<GitSummaryOutput, TaskError> {
    let path = input.path.as_deref().unwrap_or(".");
    let workspace = bench.workspace()?;
    workspace.metadata(path)?;
    let told = match GitRepository::of(workspace, path).await {
        Ok(repository) => summary(&repository, input.max_commits).await,
        Err(error) => Err(error),
    };
    match told {
        Ok(output) => Ok(output),
        // No git and no repository are answers, not failures.
        Err(error) => {
            Ok(GitSummaryOutput { reason: error.to_string(), ..GitSummaryOutput::default() })
        }
    }
}

async fn summary(folder: &GitRepository, max_commits: usize) -> Result<GitSummaryOutput, GitError> {
    let inside = git(folder, &["rev-parse", "--is-inside-work-tree"]).await?;
    if inside.trim_ascii() != b"true" {
        return Err(GitError::Failed("not inside a work tree".to_owned()));
    }
    if git(folder, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await.is_err() {
        return Err(GitError::Failed("the repository has no commits yet".to_owned()));
    }
    let branch =
        git(folder, &["symbolic-ref", "--short", "--quiet", "HEAD"]).await.unwrap_or_default();
    let total = git(folder, &["rev-list", "--count", "HEAD"]).await?;
    let count = format!("--max-count={max_commits}");
    let log = [
        "log",
        &count,
        "--no-show-signature",
        "--no-ext-diff",
        "--no-textconv",
        "--date=iso-strict",
    ];
    let log = [&log[..], &["--format=%h%x1f%an%x1f%ad%x1f%s%x1e", "HEAD", "--"]].concat();
    let log = git(folder, &log).await?;
    let names = ["log", COUNTED_COMMITS, "--no-show-signature", "--format=%an", "HEAD", "--"];
    let names = git(folder, &names).await?;
    Ok(GitSummaryOutput {
        repository: true,
        reason: String::new(),
        above: folder.above.as_deref().map(|above| above.display().to_string()).unwrap_or_default(),
        branch: text(&branch),
        total_commits: text(&total).parse().unwrap_or(0),
        commits: String::from_utf8_lossy(&log).split('\x1e').filter_map(commit).collect(),
        authors: authors(&String::from_utf8_lossy(&names)),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn commit(line: &str) -> Option<CommitEntry> {
    let mut fields = line.trim().split('\x1f').map(cut);
    Some(CommitEntry {
        hash: fields.next().filter(|hash| !hash.is_empty())?,
        author: fields.next()?,
        date: fields.next()?,
        subject: fields.next()?,
    })
}

fn authors(names: &str) -> Vec<AuthorEntry> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for name in names.lines().map(str::trim).filter(|name| !name.is_empty()) {
        *counts.entry(name).or_default() += 1;
    }
    let mut authors: Vec<AuthorEntry> = counts
        .into_iter()
        .map(|(name, commits)| AuthorEntry { name: cut(name), commits })
        .collect();
    authors.sort_by(|a, b| b.commits.cmp(&a.commits).then_with(|| a.name.cmp(&b.name)));
    authors.truncate(AUTHORS_MAX);
    authors
}

fn cut(text: &str) -> String {
    text.chars().take(QUOTE_MAX_CHARS).collect()
}
