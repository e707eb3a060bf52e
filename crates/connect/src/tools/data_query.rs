//! `data.query`: one question to tables of the run, in memory, nothing else reachable.
//!
//! Either SQL, which must stand in the plan as it is, with values passed as parameters; or a
//! grouping by columns that are named as data and quoted here.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Batch, Connection, OpenFlags, Row, Statement};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::boxed::{BoxedWork, in_box};
use super::cell::answered;
use super::column::{CellSource, ColumnType};
use super::grouping::{grouping, unique};
use super::sums::{add_collation, add_sums};
use super::table::{NumberReading, TABLE, TableHandle, TableWriter, quoted};
use super::{BuiltinTool, ToolContext, decode, encode};
use crate::workspace::{failed, final_error};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryInput {
    /// The table that SQL calls `t`.
    #[serde(default)]
    table: Option<TableHandle>,
    /// Tables under names of their own.
    #[serde(default)]
    tables: Map<String, Value>,
    /// One SELECT statement (SQLite's dialect).
    #[serde(default)]
    #[schemars(length(max = 100_000), extend("x-l05-literal" = true))]
    sql: Option<String>,
    /// Values for `?1`, `?2`, … in `sql`.
    #[serde(default)]
    parameters: Vec<Value>,
    /// Instead of SQL: one row per value of these columns of `table`.
    #[serde(default)]
    group_by: Vec<String>,
    /// The columns to sum up; without it all that hold numbers, but for ids, years and other codes.
    #[serde(default)]
    sum: Option<Vec<String>>,
    /// Instead of SQL: the rows of `table`, each once, in their order. Rows are the same where every cell has the same text.
    #[serde(default)]
    unique: bool,
    /// At most so many rows in `rows`.
    #[serde(default = "rows_max")]
    #[schemars(range(min = 1, max = 100_000))]
    max_rows: usize,
    /// Keep the whole result as a table of the run, too.
    #[serde(default)]
    keep_as_table: bool,
}

fn rows_max() -> usize {
    1_000
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct QueryOutput {
    /// Names of the result's columns.
    columns: Vec<String>,
    /// The rows, as objects.
    rows: Vec<Map<String, Value>>,
    /// The question's number of rows.
    row_count: u64,
    /// There are more than `rows` holds.
    truncated: bool,
    /// The result as a table, when it was asked for.
    table: Option<TableHandle>,
    /// Sentences about what was left out.
    notes: Vec<String>,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "data.query",
    spec,
    start: |context, call| Box::pin(in_box(context, &QUERY, call.inputs)),
};

/// Its work. Groupings are SQL of our own.
pub(super) static QUERY: BoxedWork = BoxedWork {
    name: "data.query",
    run: |context, inputs| encode(&run(context, &decode(inputs)?)?),
    uses_workspace: false,
    is_small: |inputs| inputs["sql"].is_null(),
};

/// Whether `sql` is a question to tables of the names in `tables`: the problem, or null. SQLite unfolds what a
/// question names, which may double with each name.
pub(super) static SQL_CHECK: BoxedWork = BoxedWork {
    name: "sql.check",
    run: |_, inputs| {
        let SqlCheck { sql, tables } = decode(inputs)?;
        let names: Vec<&str> = tables.iter().map(String::as_str).collect();
        encode(&sql_problem(&sql, &names))
    },
    uses_workspace: false,
    is_small: |_| false,
};

#[derive(Deserialize)]
struct SqlCheck {
    sql: String,
    tables: Vec<String>,
}

fn spec(_: &[String]) -> Option<ToolSpec> {
    let description = "Asks one SQL question, or a grouping, of tables of the run.";
    Some(super::spec::<QueryInput, QueryOutput>(TOOL.name, description, true))
}

/// The longest time that one question may take.
const QUERY_TIME_MAX: Duration = Duration::from_secs(120);
/// Steps of SQLite's machine between two looks at the clock and the cancellation.
const STEPS_BETWEEN_LOOKS: i32 = 100_000;
/// The longest value a question may build, in bytes.
const VALUE_BYTES_MAX: i32 = 16 << 20;
/// About how many bytes the rows of an answer may have; larger answers are tables.
const ROWS_BYTES_MAX: usize = 16 << 20;
/// SQLite reads no further than a NUL.
const NUL_IN_SQL: &str = "`sql` holds a NUL character, at which SQLite would end it";
/// The most tables of one question.
const TABLES_MAX: usize = 8;

pub(super) fn run(bench: &ToolContext, input: &QueryInput) -> Result<QueryOutput, TaskError> {
    let tables = tables(input)?;
    let connection = connect(bench, &tables)?;
    let (sql, notes) = question(input)?;
    guard(bench, &connection)?;
    let mut batch = Batch::new(&connection, &sql);
    let explain = |e: &rusqlite::Error| explain(e, &tables, bench);
    let Some(mut statement) = batch.next().map_err(|e| explain(&e))? else {
        return Err(wrong("`sql` holds no statement"));
    };
    if let Ok(Some(_)) | Err(_) = batch.next() {
        return Err(wrong("`sql` must be one statement"));
    }
    if !statement.readonly() || statement.column_count() == 0 {
        return Err(wrong("`sql` must be a question (SELECT)"));
    }
    let parameters: Vec<SqlValue> = input.parameters.iter().map(parameter).collect();
    let mut output = answer(bench, input, &mut statement, parameters, &explain)?;
    output.notes = notes;
    Ok(output)
}

/// The SQL that is asked for, and what is to be told about it.
fn question(input: &QueryInput) -> Result<(String, Vec<String>), TaskError> {
    let ways = [input.sql.is_some(), !input.group_by.is_empty(), input.unique];
    if ways.iter().filter(|way| **way).count() != 1 {
        return Err(wrong("give one of `sql`, `group_by` and `unique`"));
    }
    if input.sum.is_some() && input.group_by.is_empty() {
        return Err(wrong("`sum` belongs to `group_by`"));
    }
    if let Some(sql) = &input.sql {
        if sql.contains('\0') {
            return Err(wrong(NUL_IN_SQL));
        }
        return Ok((sql.clone(), Vec::new()));
    }
    let Some(table) = &input.table else {
        return Err(wrong("`group_by` and `unique` need `table`"));
    };
    if input.unique {
        return Ok((unique(table), Vec::new()));
    }
    grouping(table, &input.group_by, input.sum.as_deref())
}

fn answer(
    bench: &ToolContext,
    input: &QueryInput,
    statement: &mut Statement<'_>,
    parameters: Vec<SqlValue>,
    explain: &dyn Fn(&rusqlite::Error) -> TaskError,
) -> Result<QueryOutput, TaskError> {
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let kinds: Vec<Option<ColumnType>> = statement
        .columns()
        .iter()
        .map(|column| column.decl_type().and_then(ColumnType::of_declared))
        .collect();
    let mut kept = kept_table(bench, input, &columns, &kinds)?;
    let mut answer = AnswerRows::new(&columns, kinds);
    let mut row_count = 0;
    let mut rows =
        statement.query(rusqlite::params_from_iter(parameters)).map_err(|e| explain(&e))?;
    while let Some(row) = rows.next().map_err(|e| explain(&e))? {
        row_count += 1;
        if answer.rows.len() < input.max_rows && answer.bytes < ROWS_BYTES_MAX {
            answer.push(row).map_err(|e| explain(&e))?;
        }
        if let Some(writer) = &mut kept {
            writer.push_values(row)?;
        }
    }
    let table = kept.map(|writer| writer.finish(NumberReading::Plain)).transpose()?;
    let rows = answer.finish();
    Ok(QueryOutput {
        columns,
        row_count,
        truncated: row_count > rows.len() as u64,
        rows,
        table: table.map(|table| table.handle),
        notes: Vec::new(),
    })
}

fn kept_table(
    bench: &ToolContext,
    input: &QueryInput,
    columns: &[String],
    kinds: &[Option<ColumnType>],
) -> Result<Option<TableWriter>, TaskError> {
    if !input.keep_as_table {
        return Ok(None);
    }
    let mut writer = bench.tables.create(bench, columns, CellSource::Values)?;
    writer.declare(kinds);
    Ok(Some(writer))
}

/// The rows of an answer, held until it is known which columns are numbers to JSON.
struct AnswerRows<'c> {
    columns: &'c [String],
    kinds: Vec<Option<ColumnType>>,
    /// All values of the column so far are as they were written.
    survive: Vec<bool>,
    rows: Vec<Map<String, Value>>,
    bytes: usize,
}

impl<'c> AnswerRows<'c> {
    fn new(columns: &'c [String], kinds: Vec<Option<ColumnType>>) -> AnswerRows<'c> {
        AnswerRows { columns, survive: vec![true; kinds.len()], kinds, rows: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let mut object = Map::new();
        for (i, name) in self.columns.iter().enumerate() {
            let value = row.get_ref(i)?;
            let (value, survives) = answered(self.kinds[i], value);
            self.survive[i] &= survives;
            self.bytes += name.len() + value.as_str().map_or(8, str::len);
            object.insert(name.clone(), value);
        }
        self.rows.push(object);
        Ok(())
    }

    /// The rows. A column of which one number had to stay a text has texts for all.
    fn finish(mut self) -> Vec<Map<String, Value>> {
        let texts = self.columns.iter().zip(&self.survive).filter(|(_, survives)| !**survives);
        for (name, _) in texts {
            for value in self.rows.iter_mut().filter_map(|row| row.get_mut(name)) {
                if let Value::Number(number) = value {
                    *value = Value::from(number.to_string());
                }
            }
        }
        self.rows
    }
}

struct NamedTable {
    name: String,
    handle: TableHandle,
}

fn tables(input: &QueryInput) -> Result<Vec<NamedTable>, TaskError> {
    let mut named = Vec::new();
    if let Some(handle) = &input.table {
        named.push(NamedTable { name: TABLE.to_owned(), handle: handle.clone() });
    }
    for (name, value) in &input.tables {
        let handle = serde_json::from_value(value.clone())
            .map_err(|_| wrong(&format!("`tables.{name}` is not a table of data.read")))?;
        named.push(NamedTable { name: name.clone(), handle });
    }
    match named.len() {
        0 => Err(wrong("give `table` or `tables`")),
        1..=TABLES_MAX => Ok(named),
        more => Err(wrong(&format!("{more} tables are too many; at most {TABLES_MAX}"))),
    }
}

/// A database in memory that sees the tables under their names, read-only.
fn connect(bench: &ToolContext, tables: &[NamedTable]) -> Result<Connection, TaskError> {
    let sql = super::table::sql;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_in_memory_with_flags(flags).map_err(|e| sql(&e))?;
    // First of all: changing it drops whatever is temporary, the views below included.
    // Files, so that sorting takes no more memory than SQLite's cache.
    connection.pragma_update(None, "temp_store", "file").map_err(|e| sql(&e))?;
    add_collation(&connection).map_err(|e| sql(&e))?;
    add_sums(&connection).map_err(|e| sql(&e))?;
    for (i, table) in tables.iter().enumerate() {
        let path: PathBuf = bench.tables.path(bench, &table.handle)?;
        let uri = format!("file:{}?mode=ro&immutable=1", uri_path(&path));
        connection.execute(&format!("ATTACH ?1 AS a{i}"), [uri]).map_err(|e| sql(&e))?;
        let view =
            format!("CREATE TEMP VIEW {} AS SELECT * FROM a{i}.{TABLE}", quoted(&table.name));
        connection.execute_batch(&view).map_err(|e| sql(&e))?;
    }
    Ok(connection)
}

/// Limits the memory of SQLite in the whole process.
pub(crate) fn limit_sqlite_heap(bytes: u64) {
    if let Ok(connection) = Connection::open_in_memory() {
        // A refusal leaves the process's own limit.
        let _ = connection.pragma_update(None, "hard_heap_limit", bytes.cast_signed());
    }
}

/// Percent-encoding of what means something in a SQLite URI.
fn uri_path(path: &std::path::Path) -> String {
    let text = path.to_string_lossy();
    text.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

/// From here on the connection only reads, within time and size.
fn guard(bench: &ToolContext, connection: &Connection) -> Result<(), TaskError> {
    let sql = super::table::sql;
    let limits = [
        (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 1_000),
    ];
    for (limit, value) in limits {
        connection.set_limit(limit, value).map_err(|e| sql(&e))?;
    }
    connection.authorizer(Some(authorize)).map_err(|e| sql(&e))?;
    let (cancel, end) = (bench.cancel.clone(), Instant::now() + QUERY_TIME_MAX);
    let stop = move || cancel.is_cancelled() || Instant::now() >= end;
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(stop)).map_err(|e| sql(&e))
}

fn authorize(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => {
            Authorization::Allow
        }
        AuthAction::Function { function_name } => {
            let forbidden = ["load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"];
            if forbidden.iter().any(|name| function_name.eq_ignore_ascii_case(name)) {
                Authorization::Deny
            } else {
                Authorization::Allow
            }
        }
        _ => Authorization::Deny,
    }
}

fn explain(error: &rusqlite::Error, tables: &[NamedTable], bench: &ToolContext) -> TaskError {
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) {
        return match bench.go_on() {
            Err(cancelled) => cancelled,
            Ok(()) => {
                failed(format!("the question took longer than {} s", QUERY_TIME_MAX.as_secs()))
            }
        };
    }
    let mut message = format!("the question fails: {error}");
    if message.contains("no such column") {
        for table in tables {
            let columns: Vec<&str> = table.handle.columns.iter().map(|c| c.name.as_str()).collect();
            message.push_str(&format!(
                "; table `{}` has the columns: {}",
                table.name,
                columns.join(", ")
            ));
        }
    }
    final_error(ErrorCode::TaskFailed, message)
}

/// The reason for which a text is no question to tables of these names; their columns are not known yet.
fn sql_problem(sql: &str, tables: &[&str]) -> Option<String> {
    if sql.contains('\0') {
        return Some(NUL_IN_SQL.to_owned());
    }
    let connection = Connection::open_in_memory().ok()?;
    add_collation(&connection).and_then(|()| add_sums(&connection)).ok()?;
    for name in tables {
        connection.execute_batch(&format!("CREATE TABLE {} (x)", quoted(name))).ok()?;
    }
    connection.authorizer(Some(authorize)).ok()?;
    let mut batch = Batch::new(&connection, sql);
    let first = match batch.next() {
        Ok(Some(statement)) => statement,
        Ok(None) => return Some("`sql` holds no statement".to_owned()),
        Err(error) => return sql_error(&error, tables),
    };
    if !first.readonly() || first.column_count() == 0 {
        return Some("`sql` must be a question (SELECT)".to_owned());
    }
    let more = matches!(batch.next(), Ok(Some(_)) | Err(_));
    more.then(|| "`sql` must be one statement".to_owned())
}

/// SQLite tells a slip of syntax from a name that is not there by its text alone.
fn sql_error(error: &rusqlite::Error, tables: &[&str]) -> Option<String> {
    let denied = Some(rusqlite::ErrorCode::AuthorizationForStatementDenied);
    if error.sqlite_error_code() == denied {
        return Some("`sql` must be a question (SELECT)".to_owned());
    }
    let (msg, offset) = match error {
        rusqlite::Error::SqlInputError { msg, offset, .. } => (msg, *offset),
        rusqlite::Error::SqliteFailure(_, Some(msg)) => (msg, -1),
        _ => return None,
    };
    if msg.starts_with("no such column") {
        return None;
    }
    let place = if offset >= 0 { format!(" (character {})", offset + 1) } else { String::new() };
    let known = match tables {
        _ if !msg.starts_with("no such table") => String::new(),
        [] => "; give `table` or `tables`".to_owned(),
        tables => format!("; the tables are: {}", tables.join(", ")),
    };
    Some(format!("`sql` is no question of SQLite: {msg}{place}{known}"))
}

pub(super) fn wrong(message: &str) -> TaskError {
    final_error(ErrorCode::TypeMismatch, message)
}

fn parameter(value: &Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::Null,
        Value::Bool(b) => SqlValue::Integer(i64::from(*b)),
        // Beyond 64 bits as a text, which a column of numbers compares by its value.
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(integer), _) => SqlValue::Integer(integer),
            (None, Some(_)) => SqlValue::Text(n.to_string()),
            (None, None) => SqlValue::Real(n.as_f64().unwrap_or(f64::INFINITY)),
        },
        Value::String(s) => SqlValue::Text(s.clone()),
        nested => SqlValue::Text(nested.to_string()),
    }
}
