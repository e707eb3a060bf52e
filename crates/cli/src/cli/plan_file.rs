//! Plan files: reading them from disk, and `l05 validate`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use l05::compose;
use l05_core::document::{DocumentFormat, TextLimits, parse};
use l05_core::finding::{Finding, findings_error};
use l05_core::plan::{DocumentReading, PlanDocument};
use l05_core::task::TaskType;
use l05_core::validate::ValidationStats;
use l05_core::{Error, ErrorCode};
use serde::Serialize;

use super::CliContext;
use super::batch::{self, BatchArgs};
use super::exit::ExitStatus;
use super::output::{finding_line, place_findings};

/// Check a plan file
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  l05 validate plan.yaml\n  l05 validate plan.json --output json --catalog tools.json\n  l05 validate --batch - < plans.ndjson"
)]
pub(crate) struct ValidateArgs {
    /// The plan file (YAML or JSON)
    file: Option<PathBuf>,
    #[command(flatten)]
    batch: BatchArgs,
}

#[derive(Serialize)]
struct PlanVerdict<'v> {
    valid: bool,
    errors: &'v [Finding],
    warnings: &'v [Finding],
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<&'v ValidationStats>,
}

/// Reads the text of a file within limits. Never waits on a pipe, never reads a folder.
pub(crate) fn read_text(path: &Path, limits: TextLimits) -> Result<String, Error> {
    String::from_utf8(read_bytes(path, limits)?).map_err(|e| {
        let at = e.utf8_error().valid_up_to() + 1;
        unreadable(&path.display().to_string(), format!("it is not UTF-8 (byte {at})"))
    })
}

fn unreadable(name: &str, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::PlanMalformed, format!("{name}: {why}"))
        .detail("document", name)
        .suggest("name a plan file (YAML or JSON)")
}

/// Reads a file as bytes, whatever they are.
pub(crate) fn read_bytes(path: &Path, limits: TextLimits) -> Result<Vec<u8>, Error> {
    let name = path.display().to_string();
    let unreadable = |why: String| unreadable(&name, why);
    let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorCode::PlanNotFound, format!("there is no file `{name}`"))
                .suggest("name a plan file (YAML or JSON)")
        }
        _ => unreadable(e.to_string()),
    })?;
    if metadata.is_dir() {
        return Err(unreadable("it is a folder".to_owned()));
    }
    let too_long = |bytes: usize| {
        l05_core::document::DocumentError::TooLong { bytes, bytes_max: limits.bytes_max }
            .into_error(&name)
    };
    if metadata.len() > limits.bytes_max as u64 {
        return Err(too_long(usize::try_from(metadata.len()).unwrap_or(usize::MAX)));
    }
    let file = std::fs::File::open(path).map_err(|e| unreadable(e.to_string()))?;
    let mut bytes = Vec::new();
    file.take(limits.bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| unreadable(e.to_string()))?;
    if bytes.len() > limits.bytes_max {
        return Err(too_long(bytes.len()));
    }
    Ok(bytes)
}

/// A plan's file, read as far as it can be.
pub(crate) struct PlanFile {
    name: String,
    text: String,
    format: DocumentFormat,
    /// Err: the file holds no mapping.
    reading: Result<DocumentReading, Vec<Finding>>,
}

impl PlanFile {
    /// Reads a file; an error is about the file or its format, not about the plan.
    pub(crate) fn read(path: &Path, limits: TextLimits) -> Result<PlanFile, Error> {
        let name = path.display().to_string();
        let text = read_text(path, limits)?;
        let format = DocumentFormat::detect(&name, &text);
        let value = parse(&text, format, limits).map_err(|e| e.into_error(&name))?;
        Ok(PlanFile { reading: PlanDocument::read_partial(&value), name, text, format })
    }

    /// The document; all problems of its form at once, with their places.
    pub(crate) fn document(&self) -> Result<PlanDocument, Error> {
        let mut findings = match &self.reading {
            Ok(DocumentReading { document, findings }) if findings.is_empty() => {
                return Ok(document.clone());
            }
            Ok(DocumentReading { findings, .. }) | Err(findings) => findings.clone(),
        };
        mark(&mut findings, &self.text, self.format);
        Err(findings_error(ErrorCode::PlanMalformed, &findings)
            .detail("document", self.name.as_str()))
    }

    /// Gives the findings of an error about this file's plan their places in it.
    pub(crate) fn placed(&self, mut error: Error) -> Error {
        if let Some(places) = PlanDocument::places(&self.text, self.format) {
            place_findings(&mut error, &places);
        }
        error.detail("document", self.name.as_str())
    }
}

/// Gives findings their places in a text.
fn mark(findings: &mut [Finding], text: &str, format: DocumentFormat) {
    if findings.is_empty() {
        return;
    }
    let Some(places) = PlanDocument::places(text, format) else { return };
    findings.iter_mut().for_each(|finding| places.mark(finding));
    findings.sort_by_key(|finding| (finding.line, finding.column));
}

pub(crate) async fn validate(
    context: &CliContext,
    args: ValidateArgs,
) -> Result<ExitStatus, Error> {
    let mut ground = compose::ground(&context.config)?;
    let strict = context.strict;
    let Some(file) = args.batch.single(&args.file, "a plan file")? else {
        ground.find_model(&context.config, false).await?;
        let runtime = tokio::runtime::Handle::current();
        return batch::run(context.config.text_limits, |line| {
            let reading = PlanDocument::read_partial(&batch::document(line, "plan"));
            let verdict = |verdict: &PlanVerdict<'_>| {
                serde_json::to_value(verdict).expect("results are plain data")
            };
            Ok(runtime.block_on(check(reading, &ground, strict, |_| {}, verdict)))
        });
    };
    let PlanFile { text, format, reading, .. } = PlanFile::read(file, context.config.text_limits)?;
    let tasks = reading.as_ref().map_or(&[][..], |reading| &reading.document.tasks);
    let mut calls = tasks.iter().filter(|task| task.task_type == TaskType::LlmCall).peekable();
    if calls.peek().is_some() {
        let names_one = calls.any(|task| task.model().is_some());
        ground.find_model(&context.config, names_one).await?;
    }
    let place = |findings: &mut [Finding]| mark(findings, &text, format);
    let tell = |verdict: &PlanVerdict<'_>| {
        print(context, verdict);
        verdict.valid
    };
    let valid = check(reading, &ground, strict, place, tell).await;
    Ok(if valid { ExitStatus::Done } else { ExitStatus::Refused })
}

/// All that is wrong with a document, with its form and on the four levels.
async fn check<T>(
    reading: Result<DocumentReading, Vec<Finding>>,
    ground: &compose::ServiceGround,
    strict: bool,
    place: impl Fn(&mut [Finding]),
    tell: impl FnOnce(&PlanVerdict<'_>) -> T,
) -> T {
    match reading {
        Err(mut errors) => {
            place(&mut errors);
            tell(&PlanVerdict { valid: false, errors: &errors, warnings: &[], stats: None })
        }
        Ok(reading) => {
            let mut checked = ground.validate(reading, strict).await;
            place(&mut checked.errors);
            place(&mut checked.warnings);
            tell(&PlanVerdict {
                valid: checked.is_valid(),
                errors: &checked.errors,
                warnings: &checked.warnings,
                stats: Some(&checked.stats),
            })
        }
    }
}

/// True if an argument names a file, not a plan's id.
pub(crate) fn is_file(argument: &str) -> bool {
    Path::new(argument).exists() || argument.contains(['/', '.'])
}

fn print(context: &CliContext, verdict: &PlanVerdict<'_>) {
    context.output.result(verdict, |verdict| {
        let mut lines = Vec::new();
        lines.extend(verdict.errors.iter().map(|f| format!("error  {}", finding_line(f))));
        lines.extend(verdict.warnings.iter().map(|f| format!("warning {}", finding_line(f))));
        let shape = verdict.stats.map_or_else(String::new, |stats| {
            let shape = stats.longest_path.zip(stats.width);
            let shape = shape.map_or_else(String::new, |(longest_path, width)| {
                format!(", longest path {longest_path}, width {width}")
            });
            format!(" ({} tasks, {} dependencies{shape})", stats.tasks, stats.edges)
        });
        lines.push(if verdict.valid {
            format!("valid{shape}")
        } else {
            format!("not valid: {} errors{shape}", verdict.errors.len())
        });
        lines.join("\n")
    });
}
