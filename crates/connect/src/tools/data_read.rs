//! `data.read`: CSV, JSON or NDJSON into a table of the run.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader, Read as _};
use std::rc::Rc;

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use rusqlite::types::Value as SqlValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::csv_form::{CheckedCsv, separator_line};
use super::encoding::{DecodedFile, detect};
use super::format::DataFormat;
use super::table::{COLUMNS_MAX, TableHandle, TableWriter};
use super::{BuiltinTool, ToolContext, in_thread};
use crate::workspace::{failed, final_error};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadTableInput {
    /// The file, relative to the workspace.
    #[schemars(length(min = 1, max = 4096))]
    path: String,
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

/// The largest JSON file; a JSON list must be held whole, CSV and NDJSON are streamed.
const JSON_MAX_BYTES: u64 = 256 << 20;
/// The longest line of an NDJSON file and the longest record of a CSV file.
const LINE_MAX_BYTES: u64 = 16 << 20;
/// The number of rows between two looks for a cancellation.
const ROWS_BETWEEN_LOOKS: u64 = 1_000;

fn run(bench: &ToolContext, input: &ReadTableInput) -> Result<ReadTableOutput, TaskError> {
    let mut file = bench.workspace()?.open_file(&input.path)?;
    let encoding = detect(&mut file, &input.path, input.encoding.as_deref())?;
    let mut notes: Vec<String> = encoding.note.iter().cloned().collect();
    let file = DecodedFile::open(file, &encoding).map_err(|e| unreadable(input, &e))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let beginning = reader.fill_buf().map_err(|e| unreadable(input, &e))?.to_vec();
    if beginning.trim_ascii().is_empty() {
        return Err(failed(format!("`{}` is empty", input.path)));
    }
    let mut writer = match format_of(input, &beginning) {
        DataFormat::Csv | DataFormat::Auto => {
            csv_table(bench, input, reader, &beginning, &mut notes)?
        }
        DataFormat::Json => json_table(bench, input, reader)?,
        DataFormat::Ndjson => ndjson_table(bench, input, reader)?,
    };
    // The end may come after the last look.
    bench.go_on()?;
    let table =
        writer.take().map_or_else(|| Err(failed("there are no rows")), TableWriter::finish)?;
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

type File = BufReader<DecodedFile>;

fn csv_table(
    bench: &ToolContext,
    input: &ReadTableInput,
    mut reader: File,
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
    let delimiter = delimiter.or(told).unwrap_or_else(|| likely_delimiter(&beginning[begin..]));
    let since_record = Rc::new(Cell::new(0));
    let checked =
        CheckedCsv::new(reader, delimiter, first_line, since_record.clone(), LINE_MAX_BYTES);
    let mut rows =
        csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(checked);
    let broken = |e: &csv::Error| failed(format!("`{}` is no CSV: {e}", input.path));
    let header = rows.headers().map_err(|e| broken(&e))?.clone();
    let columns = column_names(&header, notes);
    require(input, &columns)?;
    let mut writer = bench.tables.create(bench, &columns)?;
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

/// The separator that the header line has most of.
fn likely_delimiter(beginning: &[u8]) -> u8 {
    let line = beginning.split(|b| *b == b'\n').next().unwrap_or_default();
    let count = |d: u8| line.iter().filter(|b| **b == d).count();
    // A comma wins where nothing else is more frequent.
    b",;\t|".iter().copied().rev().max_by_key(|d| count(*d)).unwrap_or(b',')
}

fn json_table(
    bench: &ToolContext,
    input: &ReadTableInput,
    reader: File,
) -> Result<Option<TableWriter>, TaskError> {
    let mut text = Vec::new();
    reader.take(JSON_MAX_BYTES + 1).read_to_end(&mut text).map_err(|e| unreadable(input, &e))?;
    if text.len() as u64 > JSON_MAX_BYTES {
        let limit = JSON_MAX_BYTES >> 20;
        return Err(failed(format!(
            "`{}` is larger than {limit} MiB; NDJSON has no such limit",
            input.path
        )));
    }
    let value: Value = serde_json::from_slice(&text)
        .map_err(|e| failed(format!("`{}` is no JSON: {e}", input.path)))?;
    let items = match value {
        Value::Array(items) => items,
        // The one list inside, as APIs wrap it.
        Value::Object(map) => {
            let mut lists = map.into_iter().filter(|(_, v)| v.is_array());
            match (lists.next(), lists.next()) {
                (Some((_, Value::Array(items))), None) => items,
                _ => return Err(failed(format!("`{}` must hold a list of objects", input.path))),
            }
        }
        _ => return Err(failed(format!("`{}` must hold a list of objects", input.path))),
    };
    let mut rows = RowReader::new(bench, input);
    for (i, item) in items.into_iter().enumerate() {
        rows.push(item, i as u64 + 1)?;
    }
    Ok(rows.writer)
}

fn ndjson_table(
    bench: &ToolContext,
    input: &ReadTableInput,
    mut reader: File,
) -> Result<Option<TableWriter>, TaskError> {
    let mut rows = RowReader::new(bench, input);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_MAX_BYTES).read_until(b'\n', &mut line);
        if read.map_err(|e| unreadable(input, &e))? == 0 {
            return Ok(rows.writer);
        }
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let item = serde_json::from_slice(&line)
            .map_err(|e| failed(format!("`{}` line {number} is no JSON: {e}", input.path)))?;
        rows.push(item, number)?;
    }
}

/// Objects as rows. Columns are those of the first object; a later object with others is refused,
/// because silently dropping values is worse than asking for a list of one shape.
struct RowReader<'a> {
    bench: &'a ToolContext,
    input: &'a ReadTableInput,
    writer: Option<TableWriter>,
    columns: Vec<String>,
}

impl<'a> RowReader<'a> {
    fn new(bench: &'a ToolContext, input: &'a ReadTableInput) -> RowReader<'a> {
        RowReader { bench, input, writer: None, columns: Vec::new() }
    }

    fn push(&mut self, item: Value, number: u64) -> Result<(), TaskError> {
        let Value::Object(mut object) = item else {
            return Err(failed(format!("`{}` item {number} is not an object", self.input.path)));
        };
        if self.writer.is_none() {
            self.columns = object.keys().take(COLUMNS_MAX + 1).cloned().collect();
            require(self.input, &self.columns)?;
            self.writer = Some(self.bench.tables.create(self.bench, &self.columns)?);
        }
        let values = self
            .columns
            .iter()
            .map(|c| object.shift_remove(c).map_or(SqlValue::Null, cell))
            .collect();
        if let Some(unknown) = object.keys().next() {
            let known = self.columns.join(", ");
            return Err(failed(format!(
                "`{}` item {number} has `{unknown}`, which the first one lacks (it has {known})",
                self.input.path
            )));
        }
        if number.is_multiple_of(ROWS_BETWEEN_LOOKS) {
            self.bench.go_on()?;
        }
        self.writer.as_mut().expect("it was made above").push(values)
    }
}

fn cell(value: Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::Null,
        Value::Bool(b) => SqlValue::Integer(i64::from(b)),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(integer), _) => SqlValue::Integer(integer),
            (None, Some(real)) => SqlValue::Real(real),
            (None, None) => SqlValue::Text(n.to_string()),
        },
        // Marked as a text even where it looks like a number: JSON said so.
        Value::String(s) => SqlValue::Text(s),
        nested @ (Value::Array(_) | Value::Object(_)) => SqlValue::Text(nested.to_string()),
    }
}

fn require(input: &ReadTableInput, columns: &[String]) -> Result<(), TaskError> {
    let missing: Vec<&str> = input
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
            input.path,
            missing.join("`, `"),
            columns.join(", ")
        ),
    ))
}

fn unreadable(input: &ReadTableInput, error: &std::io::Error) -> TaskError {
    failed(format!("`{}`: {error}", input.path))
}
