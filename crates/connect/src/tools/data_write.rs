//! `data.write`: a table or rows into a file; never over one.

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use rusqlite::types::ValueRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::format::DataFormat;
use super::fs_write::WriteConflict;
use super::table::{TABLE, TableHandle, open, sql};
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
    rows: usize,
    /// The length in bytes.
    bytes: usize,
    /// The written path once more, in the field that every writing tool has.
    files_written: Vec<String>,
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

fn run(bench: &ToolContext, input: &WriteTableInput) -> Result<WriteTableOutput, TaskError> {
    let rows = match (&input.table, &input.rows) {
        (Some(table), None) => table_rows(bench, table)?,
        (None, Some(rows)) => rows.clone(),
        _ => {
            let message = "give either `table` or `rows`";
            return Err(final_error(ErrorCode::TypeMismatch, message));
        }
    };
    let bytes = match format_of(input)? {
        DataFormat::Csv => csv_bytes(input, &rows)?,
        DataFormat::Json | DataFormat::Auto => json_bytes(&rows),
        DataFormat::Ndjson => ndjson_bytes(&rows),
    };
    if bytes.len() > FILE_BYTES_MAX {
        return Err(failed(format!(
            "the file would have {} bytes; at most {FILE_BYTES_MAX}",
            bytes.len()
        )));
    }
    let path = bench.workspace()?.write(&input.path, &bytes, input.if_exists.into())?;
    Ok(WriteTableOutput {
        files_written: vec![path.clone()],
        path,
        rows: rows.len(),
        bytes: bytes.len(),
    })
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

fn table_rows(
    bench: &ToolContext,
    table: &TableHandle,
) -> Result<Vec<Map<String, Value>>, TaskError> {
    let connection = open(&bench.tables.path(bench, table)?)?;
    let mut statement = connection
        .prepare(&format!("SELECT * FROM {TABLE} ORDER BY rowid"))
        .map_err(|e| sql(&e))?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut found = Vec::new();
    let mut rows = statement.query([]).map_err(|e| sql(&e))?;
    while let Some(row) = rows.next().map_err(|e| sql(&e))? {
        let mut object = Map::new();
        for (i, name) in columns.iter().enumerate() {
            let value = match row.get_ref(i).map_err(|e| sql(&e))? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(n) => Value::from(n),
                ValueRef::Real(f) => Value::from(f),
                ValueRef::Text(text) | ValueRef::Blob(text) => {
                    Value::from(String::from_utf8_lossy(text).into_owned())
                }
            };
            object.insert(name.clone(), value);
        }
        found.push(object);
    }
    Ok(found)
}

fn csv_bytes(input: &WriteTableInput, rows: &[Map<String, Value>]) -> Result<Vec<u8>, TaskError> {
    let mut columns: Vec<&str> = match &input.table {
        Some(table) => table.columns.iter().map(|c| c.name.as_str()).collect(),
        None => Vec::new(),
    };
    for key in rows.iter().flat_map(Map::keys) {
        if input.table.is_none() && !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    let tabs = input.path.to_ascii_lowercase().ends_with(".tsv");
    let delimiter = if tabs { b'\t' } else { b',' };
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    let broken = |e: &csv::Error| failed(format!("the CSV cannot be written: {e}"));
    writer.write_record(&columns).map_err(|e| broken(&e))?;
    for row in rows {
        let cells = columns.iter().map(|column| match row.get(*column) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(s)) => s.clone(),
            Some(other) => other.to_string(),
        });
        writer.write_record(cells).map_err(|e| broken(&e))?;
    }
    writer.into_inner().map_err(|e| failed(format!("the CSV cannot be written: {}", e.error())))
}

fn json_bytes(rows: &[Map<String, Value>]) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(rows).expect("rows are JSON");
    bytes.push(b'\n');
    bytes
}

fn ndjson_bytes(rows: &[Map<String, Value>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, row).expect("rows are JSON");
        bytes.push(b'\n');
    }
    bytes
}
