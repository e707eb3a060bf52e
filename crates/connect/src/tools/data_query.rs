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
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Batch, Connection, OpenFlags, Statement};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::table::{ColumnType, TABLE, TableHandle, quoted};
use super::{BuiltinTool, ToolContext, in_thread};
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
    /// The columns to sum up; all that hold numbers when none is named.
    #[serde(default)]
    sum: Option<Vec<String>>,
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
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "data.query",
    spec,
    start: |context, call| Box::pin(in_thread(context, call.inputs, |c, i| run(c, &i))),
};

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
/// The most tables of one question.
const TABLES_MAX: usize = 8;

fn run(bench: &ToolContext, input: &QueryInput) -> Result<QueryOutput, TaskError> {
    let tables = tables(input)?;
    let connection = connect(bench, &tables)?;
    let sql = match (&input.sql, input.group_by.is_empty()) {
        (Some(sql), true) => sql.clone(),
        (None, false) => {
            let Some(table) = &input.table else { return Err(wrong("group_by needs `table`")) };
            grouping(table, &input.group_by, input.sum.as_deref())?
        }
        (Some(_), false) => return Err(wrong("give either `sql` or `group_by`, not both")),
        (None, true) => return Err(wrong("give `sql` or `group_by`")),
    };
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
    answer(bench, input, &mut statement, parameters, &explain)
}

fn answer(
    bench: &ToolContext,
    input: &QueryInput,
    statement: &mut Statement<'_>,
    parameters: Vec<SqlValue>,
    explain: &dyn Fn(&rusqlite::Error) -> TaskError,
) -> Result<QueryOutput, TaskError> {
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut kept = input.keep_as_table.then(|| bench.tables.create(bench, &columns)).transpose()?;
    let mut output =
        QueryOutput { columns, rows: Vec::new(), row_count: 0, truncated: false, table: None };
    let mut bytes = 0;
    let mut rows =
        statement.query(rusqlite::params_from_iter(parameters)).map_err(|e| explain(&e))?;
    while let Some(row) = rows.next().map_err(|e| explain(&e))? {
        output.row_count += 1;
        if output.rows.len() < input.max_rows && bytes < ROWS_BYTES_MAX {
            let mut object = Map::new();
            for (i, name) in output.columns.iter().enumerate() {
                let value = row.get_ref(i).map_err(|e| explain(&e))?;
                bytes += name.len() + size(value);
                object.insert(name.clone(), json(value));
            }
            output.rows.push(object);
        } else if kept.is_none() {
            output.truncated = true;
        }
        if let Some(writer) = &mut kept {
            let count = output.columns.len();
            let values = (0..count).map(|i| row.get::<_, SqlValue>(i)).collect::<Result<_, _>>();
            writer.push(values.map_err(|e| explain(&e))?)?;
        }
    }
    output.truncated = output.row_count > output.rows.len() as u64;
    output.table = kept.map(super::table::TableWriter::finish).transpose()?;
    Ok(output)
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
    connection.pragma_update(None, "temp_store", "memory").map_err(|e| sql(&e))?;
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

/// One row per value: how many rows, and the sums of number columns, largest first.
fn grouping(
    table: &TableHandle,
    by: &[String],
    sum: Option<&[String]>,
) -> Result<String, TaskError> {
    let find = |wanted: &String| {
        let exact = table.columns.iter().find(|c| c.name == *wanted);
        let found =
            exact.or_else(|| table.columns.iter().find(|c| c.name.eq_ignore_ascii_case(wanted)));
        found.ok_or_else(|| no_column(wanted, table))
    };
    let groups = by.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let summed = match sum {
        Some(names) => names.iter().map(find).collect::<Result<Vec<_>, _>>()?,
        None => table
            .columns
            .iter()
            .filter(|c| c.kind != ColumnType::Text && !groups.iter().any(|g| g.name == c.name))
            .collect(),
    };
    if let Some(text) = summed.iter().find(|c| c.kind == ColumnType::Text) {
        let numbers: Vec<&str> = table
            .columns
            .iter()
            .filter(|c| c.kind != ColumnType::Text)
            .map(|c| c.name.as_str())
            .collect();
        let message = format!(
            "column `{}` holds text and has no sum; columns with numbers: {}",
            text.name,
            if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
        );
        return Err(final_error(ErrorCode::TypeMismatch, message));
    }
    let keys: Vec<String> = groups.iter().map(|c| quoted(&c.name)).collect();
    let mut select: Vec<String> = keys.clone();
    select.push("count(*) AS \"rows\"".to_owned());
    for column in &summed {
        let total = quoted(&format!("total_{}", column.name));
        select.push(format!("coalesce(sum({}), 0) AS {total}", quoted(&column.name)));
    }
    // By the first total, else by the number of rows; then by key, so that ties keep their order.
    let order =
        summed.first().map_or("\"rows\"".to_owned(), |c| quoted(&format!("total_{}", c.name)));
    let keys = keys.join(", ");
    Ok(format!(
        "SELECT {} FROM {TABLE} GROUP BY {keys} ORDER BY {order} DESC, {keys}",
        select.join(", ")
    ))
}

fn no_column(wanted: &str, table: &TableHandle) -> TaskError {
    let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
    let near = l05_core::suggest::nearest(wanted, known.iter().copied());
    let hint = l05_core::suggest::did_you_mean(&near);
    let message =
        format!("there is no column `{wanted}`{hint}; the columns are: {}", known.join(", "));
    final_error(ErrorCode::TypeMismatch, message)
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

fn wrong(message: &str) -> TaskError {
    final_error(ErrorCode::TypeMismatch, message)
}

fn parameter(value: &Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::Null,
        Value::Bool(b) => SqlValue::Integer(i64::from(*b)),
        Value::Number(n) => n
            .as_i64()
            .map_or_else(|| SqlValue::Real(n.as_f64().unwrap_or(f64::NAN)), SqlValue::Integer),
        Value::String(s) => SqlValue::Text(s.clone()),
        nested => SqlValue::Text(nested.to_string()),
    }
}

/// About how much of an answer a value takes.
fn size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
    }
}

fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        // Beyond what JSON readers keep exactly, as text.
        ValueRef::Integer(n) if n.unsigned_abs() > (1 << 53) - 1 => Value::from(n.to_string()),
        ValueRef::Integer(n) => Value::from(n),
        ValueRef::Real(f) => serde_json::Number::from_f64(f).map_or(Value::Null, Value::Number),
        ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::from(format!("<{} bytes>", bytes.len())),
    }
}
