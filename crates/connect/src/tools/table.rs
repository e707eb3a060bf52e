//! Tables of a run: rows on disk, a handle in the plan.
//!
//! A table is a SQLite file of its own under the run's folder; what travels between tasks is the
//! handle. The folder is chosen by the plan that asks, never by the handle, so a handle from
//! elsewhere opens nothing.

use std::fs::{self, DirBuilder};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use l05_core::ErrorCode;
use l05_run::event::TaskError;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, OpenFlags, Row, Statement};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ToolContext;
use super::cell;
use super::column::{CellSource, ColumnFacts, ColumnType, TableColumn};
use super::number::double_text;
use super::number_style::NumberStyle;
use super::sums::{DECIMAL_COLLATION, add_collation};
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

/// The folder with the tables of all runs.
pub(crate) struct TableStore {
    folder: PathBuf,
}

impl TableStore {
    pub(crate) fn new(folder: PathBuf) -> TableStore {
        TableStore { folder }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins a table for the attempt at hand. The same attempt again begins it anew.
    pub(super) fn create(
        &self,
        bench: &ToolContext,
        columns: &[String],
        source: CellSource,
    ) -> Result<TableWriter, TaskError> {
        check_columns(columns)?;
        let mut hasher = DefaultHasher::new();
        bench.key.hash(&mut hasher);
        let id = format!("{:016x}", hasher.finish());
        let folder = self.folder.join(&bench.plan);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| cannot(&e))?;
        let path = folder.join(format!("{id}.db"));
        let partial = folder.join(format!("{id}.partial"));
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(cannot(&error));
            }
            _ => {}
        }
        // For its owner alone, before SQLite would make it by the umask.
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .map_err(|e| cannot(&e))?;
        let connection = Connection::open(&partial).map_err(|e| sql(&e))?;
        add_collation(&connection).map_err(|e| sql(&e))?;
        add_conversions(&connection).map_err(|e| sql(&e))?;
        // Written once, read when whole: no journal is needed, only the sync at the end.
        connection
            .execute_batch(&format!("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA max_page_count = {PAGES_MAX}; BEGIN"))
            .map_err(|e| sql(&e))?;
        // Without a type, SQLite keeps what comes as it is.
        let list: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        connection
            .execute_batch(&format!("CREATE TABLE staging ({})", list.join(", ")))
            .map_err(|e| sql(&e))?;
        Ok(TableWriter {
            connection: Some(connection),
            partial,
            path,
            id,
            source,
            facts: vec![ColumnFacts::default(); columns.len()],
            columns: columns.to_vec(),
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
        if name.contains('\0') {
            return Err(failed(format!("the name of column {name:?} holds a NUL character")));
        }
        // SQLite compares names without case.
        if !seen.insert(name.to_ascii_lowercase()) {
            let message = format!("two columns are called `{name}` (upper and lower case are one)");
            return Err(failed(message));
        }
    }
    if row_number(columns.iter().map(String::as_str)).is_none() {
        return Err(failed(
            "columns called `rowid`, `oid` and `_rowid_` at once are too many".to_owned(),
        ));
    }
    Ok(())
}

/// A name by which SQLite gives rows their number, and that no column has.
fn row_number<'c>(columns: impl Iterator<Item = &'c str>) -> Option<&'static str> {
    let columns: Vec<&str> = columns.collect();
    ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(|n| !columns.iter().any(|c| c.eq_ignore_ascii_case(n)))
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
    source: CellSource,
    columns: Vec<String>,
    facts: Vec<ColumnFacts>,
    rows: u64,
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        self.connection = None;
        // Finished tables have another name by now.
        let _ = fs::remove_file(&self.partial);
    }
}

/// A table that was finished, with what its values left open.
pub(super) struct FinishedTable {
    pub(super) handle: TableHandle,
    pub(super) notes: Vec<String>,
}

/// The styles of numbers that a reader may turn into plain ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberReading {
    /// None: texts stay texts.
    Plain,
    /// Those that leave no doubt.
    Unmistakable,
    /// This one.
    Style(NumberStyle),
}

impl TableWriter {
    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("only `finish` and `drop` take it")
    }

    /// Adds a row of texts; an empty text is no value.
    pub(super) fn push_texts<'t>(
        &mut self,
        cells: impl Iterator<Item = &'t str>,
    ) -> Result<(), TaskError> {
        let row = self.rows + 1;
        let mut values: Vec<Option<&str>> = Vec::with_capacity(self.columns.len());
        for (cell, facts) in cells.zip(&mut self.facts) {
            if !cell.is_empty() {
                facts.text(cell, row);
            }
            values.push((!cell.is_empty()).then_some(cell));
        }
        self.insert(values)
    }

    /// Adds a row of JSON tokens, one for each column; none is no value.
    pub(super) fn push_tokens(&mut self, tokens: &[Option<&str>]) -> Result<(), TaskError> {
        let present = tokens.iter().map(|token| token.filter(|token| *token != "null"));
        for (facts, token) in self.facts.iter_mut().zip(present.clone()) {
            if let Some(token) = token {
                facts.token(token);
            }
        }
        self.insert(present.collect::<Vec<_>>())
    }

    /// Says which types the values of a question have, where they are columns of tables.
    pub(super) fn declare(&mut self, kinds: &[Option<ColumnType>]) {
        for (facts, kind) in self.facts.iter_mut().zip(kinds) {
            facts.declared = *kind;
        }
    }

    /// Adds a row of a question's answer.
    pub(super) fn push_values(&mut self, row: &Row<'_>) -> Result<(), TaskError> {
        let mut values = Vec::with_capacity(self.columns.len());
        for (i, facts) in self.facts.iter_mut().enumerate() {
            let value = row.get_ref(i).map_err(|e| sql(&e))?;
            if matches!(value, ValueRef::Blob(_)) && facts.declared != Some(ColumnType::Mixed) {
                let name = &self.columns[i];
                return Err(failed(format!(
                    "column `{name}` holds bytes; hex() makes a text of them"
                )));
            }
            facts.value(value);
            values.push(
                SqlValue::try_from(value)
                    .map_err(|e| failed(format!("column `{}`: {e}", self.columns[i])))?,
            );
        }
        self.insert(values)
    }

    fn insert<V: rusqlite::ToSql>(&mut self, values: Vec<V>) -> Result<(), TaskError> {
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
    pub(super) fn finish(mut self, reading: NumberReading) -> Result<FinishedTable, TaskError> {
        let mut notes = Vec::new();
        let styles = self.styles(reading, &mut notes);
        let mut columns = Vec::with_capacity(self.columns.len());
        let (mut declared, mut converted) = (Vec::new(), Vec::new());
        for ((name, facts), style) in self.columns.iter().zip(&self.facts).zip(&styles) {
            let kind = match style {
                Some(_) => ColumnType::Decimal,
                None => facts.kind(self.source),
            };
            if style.is_none() && self.source == CellSource::Texts {
                notes.extend(facts.told(name, kind));
            }
            declared.push(declaration(name, kind));
            converted.push(conversion(name, self.source, kind, *style));
            columns.push(TableColumn { name: name.clone(), kind });
        }
        let create = format!(
            "CREATE TABLE {TABLE} ({}); INSERT INTO {TABLE} SELECT {} FROM staging ORDER BY {}; DROP TABLE staging; COMMIT",
            declared.join(", "),
            converted.join(", "),
            row_number(self.columns.iter().map(String::as_str)).expect("checked at the beginning"),
        );
        self.connection().execute_batch(&create).map_err(|e| sql(&e))?;
        if let Some(connection) = self.connection.take() {
            connection.close().map_err(|(_, e)| sql(&e))?;
        }
        let file = fs::File::open(&self.partial).map_err(|e| cannot(&e))?;
        file.sync_all().map_err(|e| cannot(&e))?;
        fs::rename(&self.partial, &self.path).map_err(|e| cannot(&e))?;
        let handle = TableHandle { table_id: self.id.clone(), rows: self.rows, columns };
        Ok(FinishedTable { handle, notes })
    }

    /// The style in which each column's texts are turned into plain numbers; each is told.
    fn styles(&self, reading: NumberReading, notes: &mut Vec<String>) -> Vec<Option<NumberStyle>> {
        // The style of a file is that of the columns that leave no doubt, if they agree.
        let mut sure: Vec<_> =
            self.facts.iter().filter_map(ColumnFacts::unmistakable_style).collect();
        sure.dedup();
        let file = if let [one] = sure.as_slice() { Some(*one) } else { None };
        let style = |facts: &ColumnFacts| match reading {
            _ if self.source != CellSource::Texts => None,
            NumberReading::Plain => None,
            NumberReading::Unmistakable => facts.style(file),
            NumberReading::Style(style) => facts.reads_in(style).then_some(style),
        };
        let styles: Vec<Option<NumberStyle>> = self.facts.iter().map(style).collect();
        for ((name, facts), style) in self.columns.iter().zip(&self.facts).zip(&styles) {
            if let Some(style) = style {
                notes.push(facts.restyled(name, *style));
            }
        }
        styles
    }
}

fn declaration(name: &str, kind: ColumnType) -> String {
    let collation = match kind {
        ColumnType::Decimal | ColumnType::Number => format!(" COLLATE {DECIMAL_COLLATION}"),
        _ => String::new(),
    };
    format!("{} {}{collation}", quoted(name), kind.declared())
}

/// The SQL that makes a column's value of what was staged.
fn conversion(
    name: &str,
    source: CellSource,
    kind: ColumnType,
    style: Option<NumberStyle>,
) -> String {
    let name = quoted(name);
    match (source, kind, style) {
        (CellSource::Texts, _, Some(NumberStyle::Point)) => format!("plain_number({name}, 0)"),
        (CellSource::Texts, _, Some(NumberStyle::Comma)) => format!("plain_number({name}, 1)"),
        (CellSource::Texts | CellSource::Tokens, ColumnType::Integer, _) => {
            format!("CAST({name} AS INTEGER)")
        }
        (CellSource::Tokens, ColumnType::Boolean, _) => format!("{name} = 'true'"),
        (CellSource::Tokens, ColumnType::Text, _) => format!("token_text({name})"),
        (CellSource::Tokens, ColumnType::Mixed, _) => format!("token_value({name})"),
        (CellSource::Values, ColumnType::Decimal | ColumnType::Number | ColumnType::Text, _) => {
            format!("value_text({name})")
        }
        (CellSource::Values, ColumnType::Mixed, _) => format!("mixed_value({name})"),
        (_, _, _) => name,
    }
}

/// The functions that [`conversion`] calls.
fn add_conversions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("plain_number", 2, flags, |context| {
        let Some(text) = context.get::<Option<String>>(0)? else { return Ok(None) };
        let comma = context.get::<bool>(1)?;
        let style = if comma { NumberStyle::Comma } else { NumberStyle::Point };
        Ok(Some(style.read(&text).expect("all texts of the column were read").plain))
    })?;
    connection.create_scalar_function("token_text", 1, flags, |context| {
        let token = context.get::<Option<String>>(0)?;
        Ok(token.map(|token| cell::string_of(&token).expect("all tokens are strings")))
    })?;
    connection.create_scalar_function("token_value", 1, flags, |context| {
        let token = context.get::<Option<String>>(0)?;
        Ok(token.map_or(SqlValue::Null, |token| cell::mixed(&token)))
    })?;
    connection.create_scalar_function("value_text", 1, flags, |context| {
        Ok(match context.get::<SqlValue>(0)? {
            SqlValue::Integer(n) => SqlValue::Text(n.to_string()),
            SqlValue::Real(double) => {
                SqlValue::Text(double_text(double).unwrap_or_else(|| double.to_string()))
            }
            other => other,
        })
    })?;
    connection.create_scalar_function("mixed_value", 1, flags, |context| {
        Ok(match context.get::<SqlValue>(0)? {
            SqlValue::Real(double) => match double_text(double) {
                Some(token) => SqlValue::Blob(token.into_bytes()),
                None => SqlValue::Text(double.to_string()),
            },
            other => other,
        })
    })
}

/// Opens a finished table for reading alone.
pub(super) fn open(path: &Path) -> Result<Connection, TaskError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| sql(&e))?;
    add_collation(&connection).map_err(|e| sql(&e))?;
    Ok(connection)
}

/// All rows of an open table, in their order.
pub(super) fn all_rows<'c>(
    connection: &'c Connection,
    table: &TableHandle,
) -> Result<Statement<'c>, TaskError> {
    let order = table.row_number();
    connection.prepare(&format!("SELECT * FROM {TABLE} ORDER BY {order}")).map_err(|e| sql(&e))
}

impl TableHandle {
    /// The name by which SQLite gives the rows their number.
    pub(super) fn row_number(&self) -> &'static str {
        row_number(self.columns.iter().map(|c| c.name.as_str())).unwrap_or("rowid")
    }
}

pub(super) fn sql(error: &rusqlite::Error) -> TaskError {
    failed(format!("the table cannot be used: {error}"))
}

fn cannot(error: &std::io::Error) -> TaskError {
    failed(format!("the table cannot be kept: {error}"))
}
