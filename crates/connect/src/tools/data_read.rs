//! `data.read`: CSV, JSON or NDJSON into a table of the run.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader};
use std::rc::Rc;

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::column::CellSource;
use super::csv_form::{CheckedCsv, likely_delimiter, separator_line};
use super::encoding::{DecodedFile, detect};
use super::format::DataFormat;
use super::json_rows::{json_table, ndjson_table};
use super::number_style::NumberStyle;
use super::table::{NumberReading, TableHandle, TableWriter};
use super::{BuiltinTool, ToolContext, in_thread};
use crate::workspace::{failed, final_error};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadTableInput {
    /// The file, relative to the workspace.
    #[schemars(length(min = 1, max = 4096))]
    pub(super) path: String,
    /// The format of the file; `auto` goes by its name, then by its first character.
    #[serde(default)]
    format: DataFormat,
    /// The character between CSV columns; found out when it is not given.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1))]
    delimiter: Option<String>,
    /// The encoding of the file (`utf-8`, `windows-1252`, `utf-16le`, …); without it UTF-8, what the file's mark says, or
    /// windows-1252 where the bytes are no UTF-8, which is then told.
    #[serde(default)]
    #[schemars(length(min = 1, max = 40))]
    encoding: Option<String>,
    /// How numbers are written in the file, where they are not plain ones such as `1234.50`: a language (`de`, `en-US`) or
    /// `auto`, which takes what is unmistakable and tells it. Without it such numbers stay texts, which is told.
    #[serde(default)]
    #[schemars(length(min = 2, max = 20))]
    locale: Option<String>,
    /// Columns that must be there; an error names those that are.
    #[serde(default)]
    require_columns: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ReadTableOutput {
    /// The table, for `data.query` and `data.write`.
    table: TableHandle,
    /// The number of rows.
    rows: u64,
    /// Names of the columns.
    columns: Vec<String>,
    /// Sentences about what was taken for what, where the file left it open.
    notes: Vec<String>,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "data.read",
    spec,
    start: |context, call| Box::pin(in_thread(context, call.inputs, |c, i| run(c, &i))),
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    let description = "Reads a CSV, JSON or NDJSON file of the workspace into a table of the run.";
    Some(super::spec::<ReadTableInput, ReadTableOutput>(TOOL.name, description, true))
}

/// The longest line of an NDJSON file and the longest record of a CSV file.
pub(super) const LINE_MAX_BYTES: u64 = 16 << 20;
/// The number of rows between two looks for a cancellation.
pub(super) const ROWS_BETWEEN_LOOKS: u64 = 1_000;

pub(super) fn run(
    bench: &ToolContext,
    input: &ReadTableInput,
) -> Result<ReadTableOutput, TaskError> {
    let reading = input.number_reading()?;
    let mut file = bench.workspace()?.open_file(&input.path)?;
    let encoding = detect(&mut file, &input.path, input.encoding.as_deref())?;
    let mut notes: Vec<String> = encoding.note.iter().cloned().collect();
    let file = DecodedFile::open(file, &encoding).map_err(|e| unreadable(input, &e))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let beginning = reader.fill_buf().map_err(|e| unreadable(input, &e))?.to_vec();
    if beginning.trim_ascii().is_empty() {
        return Err(failed(format!("`{}` is empty", input.path)));
    }
    let writer = match format_of(input, &beginning) {
        DataFormat::Csv | DataFormat::Auto => {
            csv_table(bench, input, reader, &beginning, &mut notes)?
        }
        DataFormat::Json => json_table(bench, input, reader, &mut notes)?,
        DataFormat::Ndjson => ndjson_table(bench, input, reader, &mut notes)?,
    };
    // The end may come after the last look.
    bench.go_on()?;
    let writer = writer.ok_or_else(|| failed(format!("`{}` holds no rows", input.path)))?;
    let finished = writer.finish(reading)?;
    notes.extend(finished.notes);
    let table = finished.handle;
    let columns: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    Ok(ReadTableOutput { rows: table.rows, columns, table, notes })
}

fn format_of(input: &ReadTableInput, beginning: &[u8]) -> DataFormat {
    if input.format != DataFormat::Auto {
        return input.format;
    }
    DataFormat::of_name(&input.path).unwrap_or_else(|| match beginning.trim_ascii_start().first() {
        Some(b'[') => DataFormat::Json,
        Some(b'{') => DataFormat::Ndjson,
        _ => DataFormat::Csv,
    })
}

/// A file's text, decoded.
pub(super) type TableFile = BufReader<DecodedFile>;

fn csv_table(
    bench: &ToolContext,
    input: &ReadTableInput,
    mut reader: TableFile,
    beginning: &[u8],
    notes: &mut Vec<String>,
) -> Result<Option<TableWriter>, TaskError> {
    let (mut begin, mut told) = (0, None);
    if let Some((separator, length)) = separator_line(beginning) {
        reader.consume(length);
        (begin, told) = (length, Some(separator));
    }
    let first_line = 1 + u64::from(begin > 0);
    let delimiter = input.delimiter.as_ref().and_then(|d| d.bytes().next());
    let tabs = input.path.to_ascii_lowercase().ends_with(".tsv");
    let usual = if tabs { b'\t' } else { b',' };
    let delimiter =
        delimiter.or(told).unwrap_or_else(|| likely_delimiter(&beginning[begin..], usual));
    let since_record = Rc::new(Cell::new(0));
    let checked =
        CheckedCsv::new(reader, delimiter, first_line, since_record.clone(), LINE_MAX_BYTES);
    let mut rows =
        csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(checked);
    let broken = |e: &csv::Error| failed(format!("`{}` is no CSV: {e}", input.path));
    let header = rows.headers().map_err(|e| broken(&e))?.clone();
    let columns = column_names(&header, notes);
    input.require(&columns)?;
    let mut writer = bench.tables.create(bench, &columns, CellSource::Texts)?;
    let mut row = csv::StringRecord::new();
    let mut count = 0;
    while rows.read_record(&mut row).map_err(|e| broken(&e))? {
        if row.len() != columns.len() {
            let line = row.position().map_or(0, csv::Position::line) + first_line - 1;
            let (has, wanted) = (row.len(), columns.len());
            return Err(failed(format!(
                "`{}` line {line} has {has} values for {wanted} columns",
                input.path
            )));
        }
        writer.push_texts(row.iter())?;
        since_record.set(0);
        count += 1;
        if count % ROWS_BETWEEN_LOOKS == 0 {
            bench.go_on()?;
        }
    }
    Ok(Some(writer))
}

/// The names of the header; what is changed about them is told.
fn column_names(header: &csv::StringRecord, notes: &mut Vec<String>) -> Vec<String> {
    let mut names = Vec::with_capacity(header.len());
    for (i, written) in header.iter().enumerate() {
        let name = written.trim();
        if name.is_empty() {
            notes.push(format!("column {} has no name: it is called `column_{0}`", i + 1));
            names.push(format!("column_{}", i + 1));
            continue;
        }
        if name != written {
            notes.push(format!("the white space around the name of column `{name}` was dropped"));
        }
        names.push(name.to_owned());
    }
    names
}

impl ReadTableInput {
    fn number_reading(&self) -> Result<NumberReading, TaskError> {
        match self.locale.as_deref() {
            None => Ok(NumberReading::Plain),
            Some("auto") => Ok(NumberReading::Unmistakable),
            Some(tag) => NumberStyle::of_locale(tag).map(NumberReading::Style).ok_or_else(|| {
                let message = format!(
                    "`locale`: the numbers of `{tag}` are not known; `en` is 1,234.50, `de` is 1.234,50"
                );
                final_error(ErrorCode::TypeMismatch, message)
            }),
        }
    }

    /// Refuses a file that lacks a column that must be there.
    pub(super) fn require(&self, columns: &[String]) -> Result<(), TaskError> {
        let missing: Vec<&str> = self
            .require_columns
            .iter()
            .filter(|wanted| !columns.iter().any(|c| c.eq_ignore_ascii_case(wanted)))
            .map(String::as_str)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(final_error(
            ErrorCode::TypeMismatch,
            format!(
                "`{}` has no column `{}`; its columns are: {}",
                self.path,
                missing.join("`, `"),
                columns.join(", ")
            ),
        ))
    }
}

fn unreadable(input: &ReadTableInput, error: &std::io::Error) -> TaskError {
    failed(format!("`{}`: {error}", input.path))
}
