//! `data.write`: a table or rows into a file; never over one.

use std::io::{self, Write};

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use schemars::JsonSchema;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::cell::{json_token, plain_text, survives_json};
use super::column::{ColumnType, TableColumn};
use super::csv_form::separator_line;
use super::data_read::ROWS_BETWEEN_LOOKS;
use super::format::DataFormat;
use super::fs_write::WriteConflict;
use super::table::{TableHandle, all_rows, open, sql};
use super::{BuiltinTool, ToolContext, in_thread};
use crate::workspace::{failed, final_error};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriteTableInput {
    /// The path, relative to the workspace.
    #[schemars(length(min = 1, max = 4096))]
    path: String,
    /// A table of the run.
    #[serde(default)]
    table: Option<TableHandle>,
    /// Rows, when there is no table.
    #[serde(default)]
    rows: Option<Vec<Map<String, Value>>>,
    /// The format to write; `auto` goes by the file's name.
    #[serde(default)]
    format: DataFormat,
    /// The rule for a file that is there already.
    #[serde(default)]
    if_exists: WriteConflict,
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct WriteTableOutput {
    /// The path of the written file.
    #[schemars(length(min = 1, max = 4096))]
    path: String,
    /// The number of rows.
    rows: u64,
    /// The length in bytes.
    bytes: usize,
    /// The written path once more, in the field that every writing tool has.
    files_written: Vec<String>,
    /// Sentences about what the format does not tell apart.
    notes: Vec<String>,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "data.write",
    spec,
    start: |context, call| Box::pin(in_thread(context, call.inputs, |c, i| run(c, &i))),
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    let description = "Writes a table or rows to a CSV, JSON or NDJSON file; never overwrites one.";
    Some(super::spec::<WriteTableInput, WriteTableOutput>(TOOL.name, description, false))
}

/// The largest file written, in bytes; it is put together in memory.
const FILE_BYTES_MAX: usize = 512 << 20;

pub(super) fn run(
    bench: &ToolContext,
    input: &WriteTableInput,
) -> Result<WriteTableOutput, TaskError> {
    let mut file = BoundedBytes(Vec::new());
    let mut notes = Vec::new();
    let format = format_of(input)?;
    let rows = match (&input.table, &input.rows) {
        (Some(table), None) => {
            let mut rows = TableRows { bench, table };
            match format {
                DataFormat::Csv => rows.csv(input, &mut file, &mut notes)?,
                DataFormat::Json | DataFormat::Auto => rows.json(&mut file)?,
                DataFormat::Ndjson => rows.ndjson(&mut file)?,
            }
            table.rows
        }
        (None, Some(rows)) => {
            match format {
                DataFormat::Csv => given_csv(input, rows, &mut file)?,
                DataFormat::Json | DataFormat::Auto => given_json(rows, &mut file)?,
                DataFormat::Ndjson => given_ndjson(rows, &mut file)?,
            }
            rows.len() as u64
        }
        _ => {
            let message = "give either `table` or `rows`";
            return Err(final_error(ErrorCode::TypeMismatch, message));
        }
    };
    let bytes = file.0;
    let path = bench.workspace()?.write(&input.path, &bytes, input.if_exists.into())?;
    let files_written = vec![path.clone()];
    Ok(WriteTableOutput { files_written, path, rows, bytes: bytes.len(), notes })
}

/// A file that is put together, and that ends with an error where it would be too large.
struct BoundedBytes(Vec<u8>);

impl Write for BoundedBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > FILE_BYTES_MAX {
            let limit = FILE_BYTES_MAX >> 20;
            return Err(io::Error::other(format!("the file would be larger than {limit} MiB")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn format_of(input: &WriteTableInput) -> Result<DataFormat, TaskError> {
    if input.format != DataFormat::Auto {
        return Ok(input.format);
    }
    DataFormat::of_name(&input.path).ok_or_else(|| {
        let message = format!("`{}` does not say its format; give `format`", input.path);
        final_error(ErrorCode::TypeMismatch, message)
    })
}

/// The rows of a table of the run.
struct TableRows<'a> {
    bench: &'a ToolContext,
    table: &'a TableHandle,
}

impl TableRows<'_> {
    fn each(
        &self,
        mut take: impl FnMut(u64, &rusqlite::Row<'_>) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let connection = open(&self.bench.tables.path(self.bench, self.table)?)?;
        let mut statement = all_rows(&connection, self.table)?;
        let mut rows = statement.query([]).map_err(|e| sql(&e))?;
        let mut number = 0;
        while let Some(row) = rows.next().map_err(|e| sql(&e))? {
            number += 1;
            if number % ROWS_BETWEEN_LOOKS == 0 {
                self.bench.go_on()?;
            }
            take(number, row)?;
        }
        Ok(())
    }

    fn csv(
        &mut self,
        input: &WriteTableInput,
        file: &mut BoundedBytes,
        notes: &mut Vec<String>,
    ) -> Result<(), TaskError> {
        let columns = &self.table.columns;
        let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        let mut writer = csv_writer(input, &names, file)?;
        let mut empty_texts = vec![0_u64; names.len()];
        self.each(|number, row| {
            for (i, column) in columns.iter().enumerate() {
                let value = row.get_ref(i).map_err(|e| sql(&e))?;
                let text = plain_text(column.kind, value);
                let is_null = matches!(value, rusqlite::types::ValueRef::Null);
                empty_texts[i] += u64::from(text.is_empty() && !is_null);
                check_text(&text, number, &column.name)?;
                writer.write_field(text).map_err(|e| no_csv(&e))?;
            }
            writer.write_record(None::<&[u8]>).map_err(|e| no_csv(&e))
        })?;
        for (name, count) in names.iter().zip(empty_texts).filter(|(_, count)| *count > 0) {
            notes.push(format!(
                "{count} empty texts of `{name}` are written as no value: CSV does not tell them apart"
            ));
        }
        writer.flush().map_err(|e| failed(format!("the CSV cannot be written: {e}")))
    }

    /// The columns whose numbers are written as texts, because most readers would round one of them.
    fn as_texts(&self) -> Result<Vec<bool>, TaskError> {
        let columns = &self.table.columns;
        let mut as_texts = vec![false; columns.len()];
        if columns.iter().any(|c| c.kind == ColumnType::Decimal) {
            self.each(|_, row| {
                for (i, column) in columns.iter().enumerate() {
                    if column.kind == ColumnType::Decimal {
                        as_texts[i] |= !survives_json(row.get_ref(i).map_err(|e| sql(&e))?);
                    }
                }
                Ok(())
            })?;
        }
        Ok(as_texts)
    }

    fn json(&mut self, file: &mut BoundedBytes) -> Result<(), TaskError> {
        let as_texts = self.as_texts()?;
        let mut serializer = serde_json::Serializer::pretty(&mut *file);
        let mut list = serializer.serialize_seq(None).map_err(|e| no_json(&e))?;
        self.each(|_, row| {
            let row = self.tokens(row, &as_texts)?;
            list.serialize_element(&row).map_err(|e| no_json(&e))
        })?;
        SerializeSeq::end(list).map_err(|e| no_json(&e))?;
        end_line(file)
    }

    fn ndjson(&mut self, file: &mut BoundedBytes) -> Result<(), TaskError> {
        let as_texts = self.as_texts()?;
        self.each(|_, row| {
            let row = self.tokens(row, &as_texts)?;
            serde_json::to_writer(&mut *file, &row).map_err(|e| no_json(&e))?;
            end_line(file)
        })
    }

    fn tokens(
        &self,
        row: &rusqlite::Row<'_>,
        as_texts: &[bool],
    ) -> Result<TokenRow<'_>, TaskError> {
        let token = |(i, column): (usize, &TableColumn)| {
            let value = row.get_ref(i).map_err(|e| sql(&e))?;
            RawValue::from_string(json_token(column.kind, value, as_texts[i]))
                .map_err(|e| no_json(&e))
        };
        let columns = &self.table.columns;
        let tokens = columns.iter().enumerate().map(token).collect::<Result<_, _>>()?;
        Ok(TokenRow { columns, tokens })
    }
}

/// A row whose values are tokens already.
struct TokenRow<'t> {
    columns: &'t [TableColumn],
    tokens: Vec<Box<RawValue>>,
}

impl Serialize for TokenRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, token) in self.columns.iter().zip(&self.tokens) {
            map.serialize_entry(&column.name, token)?;
        }
        SerializeMap::end(map)
    }
}

/// Begins a CSV file that `data.read` reads again as it is.
fn csv_writer<'f>(
    input: &WriteTableInput,
    names: &[&str],
    file: &'f mut BoundedBytes,
) -> Result<csv::Writer<&'f mut BoundedBytes>, TaskError> {
    for name in names {
        let is_separator_line =
            names.len() == 1 && separator_line(format!("{name}\n").as_bytes()).is_some();
        let is_cut = name.trim() != *name || name.is_empty() || name.starts_with('\u{feff}');
        if is_cut || is_separator_line {
            let message = format!("column {name:?} has no name that a CSV file keeps: rename it");
            return Err(failed(message));
        }
        check_text(name, 0, name)?;
    }
    let tabs = input.path.to_ascii_lowercase().ends_with(".tsv");
    let delimiter = if tabs { b'\t' } else { b',' };
    // In quotes where a reader would take the name for several, or for a line that names a separator.
    let odd = names.iter().any(|name| name.contains([',', ';', '\t', '|', '=']));
    let style = if odd { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
    let mut header =
        csv::WriterBuilder::new().delimiter(delimiter).quote_style(style).from_writer(&mut *file);
    header.write_record(names).map_err(|e| no_csv(&e))?;
    header.flush().map_err(|e| failed(format!("the CSV cannot be written: {e}")))?;
    drop(header);
    Ok(csv::WriterBuilder::new().delimiter(delimiter).flexible(true).from_writer(file))
}

fn check_text(text: &str, row: u64, column: &str) -> Result<(), TaskError> {
    if text.contains('\0') {
        return Err(failed(format!(
            "row {row}, column {column:?} holds a NUL character, which no CSV file keeps"
        )));
    }
    Ok(())
}

fn given_csv(
    input: &WriteTableInput,
    rows: &[Map<String, Value>],
    file: &mut BoundedBytes,
) -> Result<(), TaskError> {
    let mut columns: Vec<&str> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for key in rows.iter().flat_map(Map::keys) {
        if seen.insert(key) {
            columns.push(key);
        }
    }
    let mut writer = csv_writer(input, &columns, file)?;
    for (i, row) in rows.iter().enumerate() {
        for column in &columns {
            let text = match row.get(*column) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(s)) => s.clone(),
                Some(other) => other.to_string(),
            };
            check_text(&text, i as u64 + 1, column)?;
            writer.write_field(text).map_err(|e| no_csv(&e))?;
        }
        writer.write_record(None::<&[u8]>).map_err(|e| no_csv(&e))?;
    }
    writer.flush().map_err(|e| failed(format!("the CSV cannot be written: {e}")))
}

fn given_json(rows: &[Map<String, Value>], file: &mut BoundedBytes) -> Result<(), TaskError> {
    serde_json::to_writer_pretty(&mut *file, rows).map_err(|e| no_json(&e))?;
    end_line(file)
}

fn given_ndjson(rows: &[Map<String, Value>], file: &mut BoundedBytes) -> Result<(), TaskError> {
    for row in rows {
        serde_json::to_writer(&mut *file, row).map_err(|e| no_json(&e))?;
        end_line(file)?;
    }
    Ok(())
}

fn end_line(file: &mut BoundedBytes) -> Result<(), TaskError> {
    file.write_all(b"\n").map_err(|e| failed(e.to_string()))
}

fn no_csv(error: &csv::Error) -> TaskError {
    failed(format!("the CSV cannot be written: {error}"))
}

fn no_json(error: &serde_json::Error) -> TaskError {
    failed(format!("the JSON cannot be written: {error}"))
}
