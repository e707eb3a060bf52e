//! `l05 import`: a plan that was written for people, as a plan file.

use std::path::PathBuf;

use clap::ValueEnum;
use l05_core::{Error, ErrorCode};
use l05_draft::decomposition::{ReadingMode, answer_text, read_answer};
use l05_draft::import::{ImportedPlan, read_markdown};
use serde_json::Value;

use super::CliContext;
use super::batch::{self, BatchArgs};
use super::exit::ExitStatus;
use super::plan_file::{read_bytes, read_text};

/// Read a plan that was written for people
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  l05 import plan.md --format markdown --output json\n  l05 import answer.txt --format answer > plan.yaml\n  l05 import --format answer --batch - < answers.ndjson"
)]
pub(crate) struct ImportArgs {
    /// The file
    file: Option<PathBuf>,
    /// The format of the file
    #[arg(long, value_enum, default_value_t)]
    format: ImportFormat,
    /// Keep a step of unknown shape, described by its text (--format answer)
    #[arg(long)]
    lenient: bool,
    #[command(flatten)]
    batch: BatchArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
enum ImportFormat {
    /// Numbered, checkbox or bulleted steps; also `Node:` and `Edge:` lists
    #[default]
    Markdown,
    /// A model's raw answer
    Answer,
}

pub(crate) fn import(context: &CliContext, args: &ImportArgs) -> Result<ExitStatus, Error> {
    let limits = context.config.text_limits.to_look_at();
    if args.lenient && args.format != ImportFormat::Answer {
        let message = "--lenient belongs to --format answer";
        return Err(Error::new(ErrorCode::ConfigError, message)
            .suggest("leave it out: a list in Markdown has steps of one shape"));
    }
    let read = |text: &str| match args.format {
        ImportFormat::Markdown => read_markdown(text),
        ImportFormat::Answer => read_answer(text, ReadingMode { lenient: args.lenient }),
    };
    let Some(file) = args.batch.single(&args.file, "a file")? else {
        return batch::run(limits, |line| {
            let names = ["answer", "text", "markdown"];
            let Some(text) = names.iter().find_map(|name| line.get(*name)?.as_str()) else {
                let message = "the line has no text under `answer`";
                return Err(Error::new(ErrorCode::PlanMalformed, message)
                    .suggest("write {\"id\": 1, \"answer\": \"1. …\"}"));
            };
            Ok(serde_json::to_value(read(text)?).expect("results are plain data"))
        });
    };
    let imported = match args.format {
        ImportFormat::Markdown => read(&read_text(file, limits)?)?,
        // A model's answer may be anything, and says in its error what it is.
        ImportFormat::Answer => read(&answer_text(&read_bytes(file, limits)?))?,
    };
    context.output.result(&imported, text);
    Ok(ExitStatus::Done)
}

/// A plan file that can be kept, with what was understood and what was not as comments.
fn text(imported: &ImportedPlan) -> String {
    let mut text = String::new();
    let comments = [("understood", &imported.repairs), ("not understood", &imported.warnings)];
    for (what, lines) in comments {
        for line in lines {
            let line = line.strip_prefix("not understood: ").unwrap_or(line).replace('\n', " ");
            text.push_str(&format!("# {what}: {line}\n"));
        }
    }
    let plan: &Value = &imported.plan;
    text.push_str(&serde_saphyr::to_string(plan).expect("plans are plain data"));
    text
}
