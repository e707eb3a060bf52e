//! Tables of a run: rows on disk, a handle in the plan.
//!
//! A table is a SQLite file of its own under the run's folder; what travels between tasks is the
//! handle. The folder is chosen by the plan that asks, never by the handle, so a handle from
//! elsewhere opens nothing.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;

use l05_core::ErrorCode;
use l05_run::event::TaskError;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OpenFlags};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ToolContext;
use crate::workspace::{failed, final_error};

/// The name of the one table in a file.
pub(super) const TABLE: &str = "t";
/// The most columns of a table.
pub(super) const COLUMNS_MAX: usize = 1_000;

/// The largest table, in SQLite pages of 4 KiB: 2 GiB, half of it for the rows as they come.
const PAGES_MAX: u32 = 524_288;

/// A handle that stands for a table in inputs and outputs.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct TableHandle {
    /// The table's id in the run.
    pub(super) table_id: String,
    /// The number of rows.
    pub(super) rows: u64,
    /// The table's columns.
    pub(super) columns: Vec<TableColumn>,
}

/// A column's name and type.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct TableColumn {
    /// As the data has it.
    pub(super) name: String,
    /// `integer`, `real` or `text`.
    #[serde(rename = "type")]
    pub(super) kind: ColumnType,
}

/// The type that all values of a column have.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum ColumnType {
    Integer,
    Real,
    Text,
}

/// The folder with the tables of all runs.
pub(crate) struct TableStore {
    folder: PathBuf,
}

impl TableStore {
    pub(crate) fn new(folder: PathBuf) -> TableStore {
        TableStore { folder }
    }

    /// Begins a table for the attempt at hand. The same attempt again begins it anew.
    pub(super) fn create(
        &self,
        bench: &ToolContext,
        columns: &[String],
    ) -> Result<TableWriter, TaskError> {
        check_columns(columns)?;
        let mut hasher = DefaultHasher::new();
        bench.key.hash(&mut hasher);
        let id = format!("{:016x}", hasher.finish());
        let folder = self.folder.join(&bench.plan);
        fs::create_dir_all(&folder).map_err(|e| cannot(&e))?;
        let path = folder.join(format!("{id}.db"));
        let partial = folder.join(format!("{id}.partial"));
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(cannot(&error));
            }
            _ => {}
        }
        let connection = Connection::open(&partial).map_err(|e| sql(&e))?;
        // Written once, read when whole: no journal is needed, only the sync at the end.
        connection
            .execute_batch(&format!("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA max_page_count = {PAGES_MAX}; BEGIN"))
            .map_err(|e| sql(&e))?;
        let list: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        connection
            .execute_batch(&format!("CREATE TABLE staging ({})", list.join(", ")))
            .map_err(|e| sql(&e))?;
        let kinds = vec![None; columns.len()];
        Ok(TableWriter {
            connection: Some(connection),
            partial,
            path,
            id,
            columns: columns.to_vec(),
            kinds,
            rows: 0,
        })
    }

    /// Finds a handle's file, for the plan that asks.
    pub(super) fn path(
        &self,
        bench: &ToolContext,
        handle: &TableHandle,
    ) -> Result<PathBuf, TaskError> {
        let id = &handle.table_id;
        let well_formed = id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
        let path = self.folder.join(&bench.plan).join(format!("{id}.db"));
        if well_formed && path.is_file() {
            return Ok(path);
        }
        Err(final_error(ErrorCode::ReferenceUnresolved, format!("this run has no table `{id}`")))
    }
}

fn check_columns(columns: &[String]) -> Result<(), TaskError> {
    if columns.is_empty() || columns.len() > COLUMNS_MAX {
        let message =
            format!("the data has {} columns; 1 to {COLUMNS_MAX} are read", columns.len());
        return Err(failed(message));
    }
    let mut seen = std::collections::HashSet::new();
    for name in columns {
        // SQLite compares names without case.
        if !seen.insert(name.to_lowercase()) {
            return Err(failed(format!("two columns are called `{name}`")));
        }
    }
    Ok(())
}

/// An identifier in SQL, whatever characters it has.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\"").replace('\0', ""))
}

/// A table being written. Dropped before it is finished, it leaves nothing behind.
pub(super) struct TableWriter {
    connection: Option<Connection>,
    partial: PathBuf,
    path: PathBuf,
    id: String,
    columns: Vec<String>,
    kinds: Vec<Option<ColumnType>>,
    rows: u64,
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        self.connection = None;
        // Finished tables have another name by now.
        let _ = fs::remove_file(&self.partial);
    }
}

impl TableWriter {
    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("only `finish` and `drop` take it")
    }

    /// Adds a row of texts; an empty text is no value. What a column is, all its values decide.
    pub(super) fn push_texts<'t>(
        &mut self,
        cells: impl Iterator<Item = &'t str>,
    ) -> Result<(), TaskError> {
        let values: Vec<SqlValue> = cells
            .map(
                |cell| {
                    if cell.is_empty() { SqlValue::Null } else { SqlValue::Text(cell.to_owned()) }
                },
            )
            .collect();
        self.push(values)
    }

    /// Adds a row. Missing cells are no value.
    pub(super) fn push(&mut self, mut values: Vec<SqlValue>) -> Result<(), TaskError> {
        if values.len() > self.columns.len() {
            return Err(failed(format!(
                "row {} has {} values for {} columns",
                self.rows + 1,
                values.len(),
                self.columns.len()
            )));
        }
        values.resize(self.columns.len(), SqlValue::Null);
        for (kind, value) in self.kinds.iter_mut().zip(&values) {
            *kind = widen(*kind, value);
        }
        let marks = vec!["?"; values.len()].join(", ");
        let mut insert = self
            .connection()
            .prepare_cached(&format!("INSERT INTO staging VALUES ({marks})"))
            .map_err(|e| sql(&e))?;
        insert.execute(rusqlite::params_from_iter(values)).map_err(|e| sql(&e))?;
        drop(insert);
        self.rows += 1;
        Ok(())
    }

    /// Gives every column its type, makes the file durable and hands out the handle.
    pub(super) fn finish(mut self) -> Result<TableHandle, TaskError> {
        let columns: Vec<TableColumn> = self
            .columns
            .iter()
            .zip(&self.kinds)
            .map(|(name, kind)| TableColumn {
                name: name.clone(),
                kind: kind.unwrap_or(ColumnType::Text),
            })
            .collect();
        let casts: Vec<String> = columns
            .iter()
            .map(|column| {
                let name = quoted(&column.name);
                match column.kind {
                    ColumnType::Integer => format!("CAST({name} AS INTEGER) AS {name}"),
                    ColumnType::Real => format!("CAST({name} AS REAL) AS {name}"),
                    ColumnType::Text => format!("CAST({name} AS TEXT) AS {name}"),
                }
            })
            .collect();
        let create = format!(
            "CREATE TABLE {TABLE} AS SELECT {} FROM staging; DROP TABLE staging; COMMIT",
            casts.join(", ")
        );
        self.connection().execute_batch(&create).map_err(|e| sql(&e))?;
        if let Some(connection) = self.connection.take() {
            connection.close().map_err(|(_, e)| sql(&e))?;
        }
        let file = fs::File::open(&self.partial).map_err(|e| cannot(&e))?;
        file.sync_all().map_err(|e| cannot(&e))?;
        fs::rename(&self.partial, &self.path).map_err(|e| cannot(&e))?;
        Ok(TableHandle { table_id: self.id.clone(), rows: self.rows, columns })
    }
}

/// The narrowest type that holds what a column held so far and this value too.
fn widen(kind: Option<ColumnType>, value: &SqlValue) -> Option<ColumnType> {
    let own = match value {
        SqlValue::Null => return kind,
        SqlValue::Integer(_) => ColumnType::Integer,
        SqlValue::Real(_) => ColumnType::Real,
        SqlValue::Text(text) => text_kind(text),
        SqlValue::Blob(_) => ColumnType::Text,
    };
    Some(match (kind, own) {
        (None, own) => own,
        (Some(ColumnType::Text), _) | (_, ColumnType::Text) => ColumnType::Text,
        (Some(ColumnType::Real), _) | (_, ColumnType::Real) => ColumnType::Real,
        (Some(ColumnType::Integer), ColumnType::Integer) => ColumnType::Integer,
    })
}

/// `12` is a number and `012` is a text (a code that would lose its zero).
fn text_kind(text: &str) -> ColumnType {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let padded = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    if padded || digits.is_empty() || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return ColumnType::Text;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) && text.parse::<i64>().is_ok() {
        return ColumnType::Integer;
    }
    if text.parse::<f64>().is_ok_and(f64::is_finite) { ColumnType::Real } else { ColumnType::Text }
}

/// Opens a finished table for reading alone.
pub(super) fn open(path: &std::path::Path) -> Result<Connection, TaskError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|e| sql(&e))
}

pub(super) fn sql(error: &rusqlite::Error) -> TaskError {
    failed(format!("the table cannot be used: {error}"))
}

fn cannot(error: &std::io::Error) -> TaskError {
    failed(format!("the table cannot be kept: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_what_all_their_values_are() {
        let kind = |cells: &[&str]| {
            cells.iter().fold(None, |kind, cell| widen(kind, &SqlValue::Text((*cell).to_owned())))
        };
        assert_eq!(kind(&["1", "-2"]), Some(ColumnType::Integer));
        assert_eq!(kind(&["1", "2.5", "1e3"]), Some(ColumnType::Real));
        assert_eq!(kind(&["01234", "12345"]), Some(ColumnType::Text), "codes keep their zeros");
        assert_eq!(kind(&["1", "n/a"]), Some(ColumnType::Text));
        assert_eq!(kind(&["inf", "nan"]), Some(ColumnType::Text));
        assert_eq!(kind(&["99999999999999999999"]), Some(ColumnType::Real));
        assert_eq!(kind(&[]), None);
    }
}
