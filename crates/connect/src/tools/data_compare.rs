//! `data.compare`: two tables, cell by cell, by the texts that stand in their files.

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use rusqlite::Rows;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cell::exact_text;
use super::column::TableColumn;
use super::table::{TableHandle, all_rows, open, sql};
use super::{BuiltinTool, ToolContext, in_thread};
use crate::workspace::final_error;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompareInput {
    /// The table that is held against.
    left: Option<TableHandle>,
    /// The table that is looked at.
    right: Option<TableHandle>,
    /// End with an error that names the first differences, unless the tables are equal.
    #[serde(default = "yes")]
    must_equal: bool,
}

fn yes() -> bool {
    true
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct CompareOutput {
    /// The columns have the same names, and every cell of every row has the same text.
    equal: bool,
    /// The number of rows on the left.
    left_rows: u64,
    /// The number of rows on the right.
    right_rows: u64,
    /// The number of cells that were compared.
    cells: u64,
    /// The number of cells that differ.
    different_cells: u64,
    /// The first differences, in words.
    differences: Vec<String>,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "data.compare",
    spec,
    start: |context, call| Box::pin(in_thread(context, call.inputs, |c, i| run(c, &i))),
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    let description =
        "Compares two tables of the run, row by row and cell by cell, by the texts in their files.";
    Some(super::spec::<CompareInput, CompareOutput>(TOOL.name, description, true))
}

/// The most differences that are put in words.
const DIFFERENCES_TOLD: usize = 5;
/// The longest part of a cell that is told, in characters.
const CELL_TOLD: usize = 60;

pub(super) fn run(bench: &ToolContext, input: &CompareInput) -> Result<CompareOutput, TaskError> {
    // Optional to the schema, because a question keeps a table only where it is told to.
    let (Some(left), Some(right)) = (&input.left, &input.right) else {
        let message =
            "`left` and `right` must be tables (`keep_as_table: true` keeps a question's)";
        return Err(final_error(ErrorCode::TypeMismatch, message));
    };
    let mut output = CompareOutput {
        equal: false,
        left_rows: left.rows,
        right_rows: right.rows,
        cells: 0,
        different_cells: 0,
        differences: Vec::new(),
    };
    let names = |columns: &[TableColumn]| -> Vec<String> {
        columns.iter().map(|c| c.name.clone()).collect()
    };
    let (left_names, right_names) = (names(&left.columns), names(&right.columns));
    if left_names == right_names {
        compare_rows(bench, left, right, &mut output)?;
    } else {
        let (left, right) = (left_names.join("`, `"), right_names.join("`, `"));
        output.differences.push(format!("the columns are `{right}`, not `{left}`"));
    }
    if output.left_rows != output.right_rows {
        let (left, right) = (output.left_rows, output.right_rows);
        output.differences.insert(0, format!("there are {right} rows, not {left}"));
    }
    output.equal = output.differences.is_empty();
    if input.must_equal && !output.equal {
        let told = output.differences.join("; ");
        let more = output.different_cells.saturating_sub(DIFFERENCES_TOLD as u64);
        let more = if more == 0 { String::new() } else { format!("; {more} more cells differ") };
        let message = format!("the tables are not equal: {told}{more}");
        return Err(final_error(ErrorCode::TaskFailed, message));
    }
    Ok(output)
}

fn compare_rows(
    bench: &ToolContext,
    left: &TableHandle,
    right: &TableHandle,
    output: &mut CompareOutput,
) -> Result<(), TaskError> {
    let left_file = open(&bench.tables.path(bench, left)?)?;
    let right_file = open(&bench.tables.path(bench, right)?)?;
    let (mut all_left, mut all_right) =
        (all_rows(&left_file, left)?, all_rows(&right_file, right)?);
    let mut left_rows = all_left.query([]).map_err(|e| sql(&e))?;
    let mut right_rows = all_right.query([]).map_err(|e| sql(&e))?;
    let mut number = 0;
    loop {
        number += 1;
        if number % super::data_read::ROWS_BETWEEN_LOOKS == 0 {
            bench.go_on()?;
        }
        let texts = (
            next_texts(&mut left_rows, &left.columns)?,
            next_texts(&mut right_rows, &right.columns)?,
        );
        let (Some(wanted), Some(found)) = texts else { return Ok(()) };
        output.compare_row(number, &left.columns, &wanted, &found);
    }
}

impl CompareOutput {
    fn compare_row(
        &mut self,
        number: u64,
        columns: &[TableColumn],
        wanted: &[Option<String>],
        found: &[Option<String>],
    ) {
        for (column, (wanted, found)) in columns.iter().zip(wanted.iter().zip(found)) {
            self.cells += 1;
            if wanted == found {
                continue;
            }
            self.different_cells += 1;
            if self.differences.len() < DIFFERENCES_TOLD {
                let (name, wanted, found) =
                    (&column.name, told(wanted.as_ref()), told(found.as_ref()));
                self.differences
                    .push(format!("row {number}, column `{name}`: {found}, not {wanted}"));
            }
        }
    }
}

fn next_texts(
    rows: &mut Rows<'_>,
    columns: &[TableColumn],
) -> Result<Option<Vec<Option<String>>>, TaskError> {
    let Some(row) = rows.next().map_err(|e| sql(&e))? else { return Ok(None) };
    let cell = |(i, column): (usize, &TableColumn)| {
        row.get_ref(i).map(|value| exact_text(column.kind, value)).map_err(|e| sql(&e))
    };
    columns.iter().enumerate().map(cell).collect::<Result<_, _>>().map(Some)
}

fn told(cell: Option<&String>) -> String {
    match cell {
        None => "no value".to_owned(),
        Some(text) if text.is_empty() => "an empty text".to_owned(),
        Some(text) => format!("`{}`", text.chars().take(CELL_TOLD).collect::<String>()),
    }
}
