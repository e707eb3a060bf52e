//! What is printed: the result to stdout, everything else to stderr.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use l05_core::document::DocumentPlaces;
use l05_core::printable::{printable, printable_json};
use l05_core::{Error, finding::Finding};
use serde::Serialize;

/// The form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub(crate) enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// The streams that output goes to, and its form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CliOutput {
    pub(crate) format: OutputFormat,
    pub(crate) quiet: bool,
    pub(crate) progress: bool,
}

impl CliOutput {
    /// Prints a result: the document, or its form for people.
    pub(crate) fn result<T: Serialize>(&self, document: &T, table: impl FnOnce(&T) -> String) {
        match self.format {
            OutputFormat::Table => print(&table(document)),
            OutputFormat::Json => {
                print_json(
                    &serde_json::to_string_pretty(document).expect("results are plain data"),
                );
            }
            OutputFormat::Yaml => {
                let yaml = serde_saphyr::to_string(document).expect("results are plain data");
                match printable(&yaml) {
                    Cow::Borrowed(yaml) => print(yaml),
                    // JSON is YAML, too, and has an escape for every character.
                    Cow::Owned(_) => print_json(
                        &serde_json::to_string_pretty(document).expect("results are plain data"),
                    ),
                }
            }
        }
    }

    /// A line about what goes on; not with `--quiet`.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            eprint(text);
        }
    }

    /// Prints an error: for people one line with code and cause and one with what to do.
    pub(crate) fn error(&self, error: &Error) {
        match self.format {
            OutputFormat::Table => {
                eprint(&format!("error: {error}"));
                for finding in
                    findings_of(error).iter().skip(usize::from(findings_of(error).len() == 1))
                {
                    eprint(&format!("  {finding}"));
                }
                eprint(&format!("hint: {}", error.suggestion()));
            }
            OutputFormat::Json | OutputFormat::Yaml => {
                self.result(&serde_json::json!({ "error": error }), |_| String::new());
            }
        }
    }

    /// True if bars may be drawn.
    pub(crate) fn draws_bars(&self) -> bool {
        self.progress && !self.quiet && io::stderr().is_terminal()
    }
}

/// Gives the findings inside an error about a plan their places in its text.
pub(super) fn place_findings(error: &mut Error, places: &DocumentPlaces<'_>) {
    let list = error.details.get_mut("findings").and_then(serde_json::Value::as_array_mut);
    for finding in list.into_iter().flatten().filter_map(serde_json::Value::as_object_mut) {
        let field = finding.get("field").and_then(serde_json::Value::as_str);
        let Some(place) = field.map(|field| places.find(field)) else { continue };
        finding.insert("field".to_owned(), place.written.into());
        finding.insert("line".to_owned(), place.line.into());
        finding.insert("column".to_owned(), place.column.into());
    }
}

/// The single problems inside an error that stands for several.
fn findings_of(error: &Error) -> Vec<String> {
    let list = error.details.get("findings").and_then(serde_json::Value::as_array);
    let shown = |finding: &serde_json::Value| {
        let text =
            |key: &str| finding.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let place = [text("task"), text("field")].into_iter().filter(|s| !s.is_empty());
        let place = place.collect::<Vec<_>>().join(" ");
        let number = |key: &str| finding.get(key).and_then(serde_json::Value::as_u64);
        let at = number("line").zip(number("column"));
        let at = at.map(|(line, column)| format!("{line}:{column} ")).unwrap_or_default();
        format!("{} {at}{place}: {}", text("code"), text("message"))
    };
    list.into_iter().flatten().map(shown).collect()
}

/// A finding in one line.
pub(crate) fn finding_line(finding: &Finding) -> String {
    let place = [finding.task.as_deref(), finding.field.as_deref()];
    let place = place.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let place = if place.is_empty() { String::new() } else { format!(" [{place}]") };
    let place = match finding.line.zip(finding.column) {
        Some((line, column)) => format!(" {line}:{column}{place}"),
        None => place,
    };
    format!("{}{place}: {}\n       hint: {}", finding.code, finding.message, finding.suggestion)
}

/// A table without frames: columns aligned, the last one wrapped to the terminal.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !io::stdout().is_terminal() {
        table.set_width(200);
    }
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    for row in rows {
        // Before the columns are measured.
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    // The library pads every cell by a space, the first column too.
    let text = table.to_string();
    let lines = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

/// Text for people to stdout; what others wrote in it steers no terminal.
pub(crate) fn print(text: &str) {
    write_out(&printable(text));
}

/// JSON to stdout.
pub(crate) fn print_json(json: &str) {
    write_out(&printable_json(json));
}

/// To stdout. A reader that went away (`| head`) ends the program quietly, as it does others.
fn write_out(text: &str) {
    let mut out = io::stdout().lock();
    let newline = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    if write!(out, "{text}{newline}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// To stderr, as far as anybody listens.
pub(crate) fn eprint(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}
