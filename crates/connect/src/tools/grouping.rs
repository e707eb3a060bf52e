//! Questions that `data.query` makes itself: groups with their sums, and rows without doubles.

use l05_core::ErrorCode;
use l05_run::event::TaskError;

use super::column::TableColumn;
use super::table::{TABLE, TableHandle, quoted};
use crate::workspace::final_error;

/// One row per value: how many rows, and the sums of number columns, largest first. What is left out is told.
pub(super) fn grouping(
    table: &TableHandle,
    by: &[String],
    sum: Option<&[String]>,
) -> Result<(String, Vec<String>), TaskError> {
    let find = |wanted: &String| column(wanted, table);
    let groups = by.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let mut notes = Vec::new();
    let summed = match sum {
        Some(names) => names.iter().map(find).collect::<Result<Vec<_>, _>>()?,
        None => {
            let free = table.columns.iter().filter(|c| !groups.iter().any(|g| g.name == c.name));
            measures(free, &mut notes)
        }
    };
    if summed.is_empty() {
        notes.push("no column was summed up: there are the numbers of rows alone".to_owned());
    }
    if let Some(text) = summed.iter().find(|c| !c.kind.is_number()) {
        return Err(no_number(text, table));
    }
    let keys: Vec<String> = groups.iter().map(|c| quoted(&c.name)).collect();
    let mut select: Vec<String> = keys.clone();
    select.push("count(*) AS \"rows\"".to_owned());
    for column in &summed {
        let total = quoted(&format!("total_{}", column.name));
        select.push(format!("coalesce(exact_or_text({}), 0) AS {total}", quoted(&column.name)));
    }
    // By the first total, else by the number of rows; then by key, so that ties keep their order.
    let order = summed.first().map_or("\"rows\"".to_owned(), |c| {
        format!("coalesce(decimal_sum({}), '0') COLLATE decimal", quoted(&c.name))
    });
    let keys = keys.join(", ");
    let sql = format!(
        "SELECT {} FROM {TABLE} GROUP BY {keys} ORDER BY {order} DESC, {keys}",
        select.join(", ")
    );
    Ok((sql, notes))
}

/// The rows of table `t`, each once. The text of each cell decides: 1.1 and 1.10 are two.
pub(super) fn unique(table: &TableHandle) -> String {
    let texts: Vec<String> =
        table.columns.iter().map(|c| format!("{} COLLATE BINARY", quoted(&c.name))).collect();
    let row = table.row_number();
    // The table itself, because a view has no row numbers.
    format!(
        "SELECT * FROM a0.{TABLE} WHERE {row} IN (SELECT min({row}) FROM a0.{TABLE} GROUP BY {}) ORDER BY {row}",
        texts.join(", ")
    )
}

/// The columns whose sum means something; ids, years and codes have none.
fn measures<'t>(
    columns: impl Iterator<Item = &'t TableColumn>,
    notes: &mut Vec<String>,
) -> Vec<&'t TableColumn> {
    let (codes, measures): (Vec<_>, Vec<_>) =
        columns.filter(|c| c.kind.is_number()).partition(|c| is_code(&c.name));
    if !codes.is_empty() {
        let names: Vec<&str> = codes.iter().map(|c| c.name.as_str()).collect();
        notes.push(format!(
            "`{}` was not summed: the name is one of ids, dates or codes; name it in `sum` to have its sum",
            names.join("`, `")
        ));
    }
    measures
}

/// The last word of a name says what its numbers are: `customer_id`, `orderNo`, `Year`.
fn is_code(name: &str) -> bool {
    const CODES: [&str; 40] = [
        "id",
        "ids",
        "uid",
        "uuid",
        "guid",
        "pk",
        "key",
        "code",
        "no",
        "nr",
        "num",
        "number",
        "nummer",
        "index",
        "idx",
        "row",
        "line",
        "zip",
        "zipcode",
        "plz",
        "postcode",
        "postal",
        "phone",
        "tel",
        "telephone",
        "mobile",
        "fax",
        "account",
        "konto",
        "iban",
        "isbn",
        "ean",
        "sku",
        "year",
        "jahr",
        "month",
        "monat",
        "day",
        "week",
        "quarter",
    ];
    const MORE: [&str; 12] = [
        "date",
        "datum",
        "time",
        "timestamp",
        "hour",
        "version",
        "latitude",
        "longitude",
        "lat",
        "lon",
        "lng",
        "port",
    ];
    let words = words(name);
    let last = words.last().map(String::as_str).unwrap_or_default();
    // An id by its beginning, too: `id_customer`, `year_of_birth`.
    let first = words.first().map(String::as_str).unwrap_or_default();
    CODES.contains(&last) || MORE.contains(&last) || matches!(first, "id" | "year" | "zip")
}

/// The words of a name in snake, camel or kebab case, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (lower && c.is_uppercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("there is always one").extend(c.to_lowercase());
        }
        lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn column<'t>(wanted: &str, table: &'t TableHandle) -> Result<&'t TableColumn, TaskError> {
    let exact = table.columns.iter().find(|c| c.name == *wanted);
    let found =
        exact.or_else(|| table.columns.iter().find(|c| c.name.eq_ignore_ascii_case(wanted)));
    found.ok_or_else(|| {
        let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
        let near = l05_core::suggest::nearest(wanted, known.iter().copied());
        let hint = l05_core::suggest::did_you_mean(&near);
        let message =
            format!("there is no column `{wanted}`{hint}; the columns are: {}", known.join(", "));
        final_error(ErrorCode::TypeMismatch, message)
    })
}

fn no_number(column: &TableColumn, table: &TableHandle) -> TaskError {
    let numbers: Vec<&str> =
        table.columns.iter().filter(|c| c.kind.is_number()).map(|c| c.name.as_str()).collect();
    let message = format!(
        "column `{}` holds no numbers and has no sum; columns with numbers: {}",
        column.name,
        if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
    );
    final_error(ErrorCode::TypeMismatch, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_from_measures_by_their_names() {
        for name in [
            "id",
            "ID",
            "customer_id",
            "orderId",
            "year",
            "Order No",
            "zip-code",
            "id_customer",
            "unix_timestamp",
        ] {
            assert!(is_code(name), "{name}");
        }
        for name in
            ["amount", "paid", "total", "valid", "count", "keys_sold", "", "days_open", "price"]
        {
            assert!(!is_code(name), "{name}");
        }
    }
}
