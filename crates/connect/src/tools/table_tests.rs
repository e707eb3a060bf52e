//! Tables of hard values through the tools and back: every cell keeps its text, or the way is refused.
//!
//! The oracle knows the cells that it wrote, and reads what comes out with a reader of its own. `L05_TEST_TABLES` sets
//! the number of tables per property; `scripts/tables` runs 20,000 and more in release mode.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use l05_engine::port::{CancelSignal, WorkspaceFolder};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use serde_json::value::RawValue;

use super::table::TableStore;
use super::{ToolContext, data_compare, data_query, data_read, data_write};

/// A folder with a workspace and tables in it.
struct Desk {
    folder: tempfile::TempDir,
    step: u32,
}

impl Desk {
    fn new() -> Desk {
        // In memory where the machine offers it: thousands of files are made durable.
        let shared = Path::new("/dev/shm");
        let folder =
            if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        let folder = folder.unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Desk { folder, step: 0 }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("work").join(name)
    }

    fn context(&mut self) -> ToolContext {
        self.step += 1;
        ToolContext {
            folder: Some(Arc::new(WorkspaceFolder::new(self.folder.path().join("work")))),
            workspace: OnceLock::new(),
            tables: Arc::new(TableStore::new(self.folder.path().join("runs"))),
            programs: Arc::new([]),
            evaluators: None,
            cancel: CancelSignal::never(),
            key: format!("plan/task/{}", self.step),
            plan: "plan".to_owned(),
        }
    }

    fn read(&mut self, path: &str) -> Result<serde_json::Value, String> {
        let input = serde_json::from_value(json!({"path": path})).unwrap();
        let output = data_read::run(&self.context(), &input).map_err(|e| e.message)?;
        Ok(serde_json::to_value(output).unwrap()["table"].clone())
    }

    fn write(&mut self, path: &str, table: &serde_json::Value) -> Result<(), String> {
        let input = serde_json::from_value(json!({"path": path, "table": table})).unwrap();
        data_write::run(&self.context(), &input).map(|_| ()).map_err(|e| e.message)
    }

    fn unique(&mut self, table: &serde_json::Value) -> Result<serde_json::Value, String> {
        let input = json!({"table": table, "unique": true, "keep_as_table": true});
        let input = serde_json::from_value(input).unwrap();
        let output = data_query::run(&self.context(), &input).map_err(|e| e.message)?;
        Ok(serde_json::to_value(output).unwrap()["table"].clone())
    }

    fn compare(&mut self, a: &serde_json::Value, b: &serde_json::Value) -> Result<(), String> {
        let input = serde_json::from_value(json!({"left": a, "right": b})).unwrap();
        data_compare::run(&self.context(), &input).map(|_| ()).map_err(|e| e.message)
    }

    /// What the migration template does; the written bytes, where nothing refused them.
    fn migrate(&mut self, from: &str, to: &str) -> Result<Vec<u8>, String> {
        let _ = std::fs::remove_file(self.path(to));
        let source = self.read(from)?;
        self.write(to, &source)?;
        let written = std::fs::read(self.path(to)).unwrap();
        let target = self.read(to)?;
        self.compare(&source, &target)?;
        // A question that keeps its rows keeps their cells.
        let kept = self.unique(&source)?;
        let again = self.unique(&target)?;
        self.compare(&kept, &again)?;
        Ok(written)
    }
}

fn check<T: std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
    property: impl Fn(&mut Desk, &T) -> Result<bool, TestCaseError>,
) {
    let cases = std::env::var("L05_TEST_TABLES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let desk = std::cell::RefCell::new(Desk::new());
    let kept = std::cell::Cell::new(0_u32);
    let run = TestRunner::new(config).run(&strategy, |table| {
        kept.set(kept.get() + u32::from(property(&mut desk.borrow_mut(), &table)?));
        Ok(())
    });
    run.unwrap_or_else(|e| panic!("{e}"));
    let kept = kept.get();
    // Where all were refused, nothing was shown.
    assert!(kept * 3 > cases, "{kept} of {cases} tables went through");
}

fn hard_text() -> impl Strategy<Value = String> {
    let numbers = [
        "0",
        "-0",
        "1",
        "-7",
        "007",
        "9007199254740993",
        "12345678901234567890",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "1.10",
        "2.50",
        "0.30000000000000004",
        "12345678901234.123456",
        "1e3",
        "1E-7",
        "+5",
        ".5",
        "5.",
        "1e400",
        "1e999",
        "0x10",
        "1_000",
        "1.234,50",
        "1,200.50",
        "$5",
        "٣",
    ];
    let words = [
        "true",
        "null",
        "NULL",
        "NaN",
        "inf",
        "2026-01-02",
        " lead",
        "trail ",
        "a,b",
        "a;b",
        "a\tb",
        "a|b",
        "say \"hi\"",
        "\"",
        "\"\"",
        "'",
        "two\nlines",
        "cr\rhere",
        "crlf\r\nx",
        "\u{feff}x",
        "Müller",
        "日本",
        "🦀",
        "e\u{301}",
        "[1]",
        "{\"a\":1}",
        "\"x\"",
        "\\",
        "\\n",
        "#x",
        "=1+1",
        "sep=;",
        "--",
        "x'00'",
    ];
    prop_oneof![
        4 => proptest::sample::select(numbers.to_vec()).prop_map(str::to_owned),
        3 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        2 => any::<i64>().prop_map(|n| n.to_string()),
        2 => any::<f64>().prop_map(|n| n.to_string()),
        2 => "[0-9]{1,25}(\\.[0-9]{1,25})?",
        2 => "[ -~]{0,8}",
        1 => "\\PC{0,4}",
    ]
}

/// Cells of one column: most often of one kind, so that columns of numbers occur.
fn column(rows: usize) -> impl Strategy<Value = Vec<String>> {
    let whole = any::<i64>().prop_map(|n| n.to_string());
    let decimal = "-?[1-9][0-9]{0,19}\\.[0-9]{1,9}".prop_map(|s: String| s);
    prop_oneof![
        proptest::collection::vec(hard_text(), rows),
        proptest::collection::vec(prop_oneof![9 => whole, 1 => Just(String::new())], rows),
        proptest::collection::vec(prop_oneof![9 => decimal, 1 => Just(String::new())], rows),
    ]
}

fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z]{1,6}",
        1 => proptest::sample::select(&["id", "Größe", "a b", "a;b", "a,b", "sum(x)", "rows", "select", "a\"b", "x\ny", "rowid"][..]).prop_map(str::to_owned),
    ]
}

#[derive(Debug)]
struct TextTable {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn text_table() -> impl Strategy<Value = TextTable> {
    (1..5_usize, 0..6_usize).prop_flat_map(|(columns, rows)| {
        let header = proptest::collection::hash_set(header(), columns);
        let cells: Vec<_> = (0..columns).map(|_| column(rows)).collect();
        (header, cells).prop_map(move |(header, cells)| {
            let rows = (0..rows).map(|r| cells.iter().map(|c| c[r].clone()).collect()).collect();
            TextTable { header: header.into_iter().collect(), rows }
        })
    })
}

/// CSV with every field in quotes.
fn quoted_csv(table: &TextTable) -> Vec<u8> {
    let field = |text: &String| format!("\"{}\"", text.replace('"', "\"\""));
    let line = |cells: &Vec<String>| cells.iter().map(field).collect::<Vec<_>>().join(",") + "\r\n";
    std::iter::once(&table.header).chain(&table.rows).map(line).collect::<String>().into_bytes()
}

fn csv_cells(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

/// Rows of JSON as texts: the text of a string, the token of anything else, nothing for null.
fn json_cells(bytes: &[u8]) -> Vec<Vec<(String, String)>> {
    let text = std::str::from_utf8(bytes).unwrap();
    let rows: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap();
    let cell = |(key, token): (String, Box<RawValue>)| {
        let text = match token.get() {
            "null" => String::new(),
            token => serde_json::from_str(token).unwrap_or_else(|_| token.to_owned()),
        };
        (key, text)
    };
    rows.iter()
        .map(|row| {
            let row: indexed::Entries = serde_json::from_str(row.get()).unwrap();
            row.0.into_iter().map(cell).collect()
        })
        .collect()
}

/// An object's entries in their order, keys that stand twice too.
mod indexed {
    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
    use serde_json::value::RawValue;

    pub(super) struct Entries(pub(super) Vec<(String, Box<RawValue>)>);

    impl<'de> Deserialize<'de> for Entries {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Reader;
            impl<'de> Visitor<'de> for Reader {
                type Value = Entries;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                    let mut entries = Vec::new();
                    while let Some(entry) = map.next_entry()? {
                        entries.push(entry);
                    }
                    Ok(Entries(entries))
                }
            }
            deserializer.deserialize_map(Reader)
        }
    }
}

#[test]
fn cells_of_csv_go_to_csv_as_they_are() {
    check(text_table(), |desk, table| {
        std::fs::write(desk.path("a.csv"), quoted_csv(table)).unwrap();
        let Ok(written) = desk.migrate("a.csv", "b.csv") else { return Ok(false) };
        let mut wanted = vec![table.header.clone()];
        wanted.extend(table.rows.iter().cloned());
        prop_assert_eq!(csv_cells(&written), wanted);
        Ok(true)
    });
}

#[test]
fn cells_of_csv_go_to_json_as_they_are() {
    check(text_table(), |desk, table| {
        std::fs::write(desk.path("a.csv"), quoted_csv(table)).unwrap();
        let Ok(written) = desk.migrate("a.csv", "b.json") else { return Ok(false) };
        let wanted: Vec<Vec<(String, String)>> = table
            .rows
            .iter()
            .map(|row| table.header.iter().cloned().zip(row.iter().cloned()).collect())
            .collect();
        prop_assert_eq!(json_cells(&written), wanted);
        // Numbers that a reader with doubles would change are texts.
        let values: Vec<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_slice(&written).unwrap();
        for (row, value) in
            values.iter().enumerate().flat_map(|(i, row)| row.values().map(move |v| (i, v)))
        {
            if let Some(double) = value.as_f64().filter(|_| !value.is_i64()) {
                let same = table.rows[row].iter().any(|text| text.parse() == Ok(double));
                prop_assert!(same, "{} in row {}", value, row);
            }
        }
        Ok(true)
    });
}

fn json_token() -> impl Strategy<Value = String> {
    let numbers = [
        "0",
        "-0",
        "1",
        "1.0",
        "1.10",
        "9007199254740993",
        "12345678901234567890",
        "1e3",
        "1E+3",
        "1e999",
        "0.1",
        "12345678901234567890.123",
        "true",
        "false",
        "null",
        "[1, 2.50]",
        "{\"a\": [\" x \", 12345678901234567890]}",
        "\"\"",
        "\"1\"",
        "\"true\"",
        "\"\\\"\"",
        "\"a\\u0000b\"",
        "\"\\ud83e\\udd80\"",
        "[]",
        "{}",
    ];
    prop_oneof![
        3 => proptest::sample::select(numbers.to_vec()).prop_map(str::to_owned),
        2 => hard_text().prop_map(|text| serde_json::Value::from(text).to_string()),
        1 => any::<i64>().prop_map(|n| n.to_string()),
    ]
}

#[derive(Debug)]
struct TokenTable {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn token_table() -> impl Strategy<Value = TokenTable> {
    (1..4_usize, 1..6_usize).prop_flat_map(|(columns, rows)| {
        let column = |_| {
            prop_oneof![
                2 => proptest::collection::vec(json_token(), rows),
                1 => proptest::collection::vec("-?[1-9][0-9]{0,24}(\\.[0-9]{1,9})?", rows),
                1 => proptest::collection::vec(prop_oneof![Just("true".to_owned()), Just("false".to_owned())], rows),
                1 => proptest::collection::vec(hard_text().prop_map(|t| serde_json::Value::from(t).to_string()), rows),
            ]
        };
        let header = proptest::collection::hash_set(header(), columns);
        let cells: Vec<_> = (0..columns).map(column).collect();
        (header, cells).prop_map(move |(header, cells)| {
            let rows = (0..rows).map(|r| cells.iter().map(|c| c[r].clone()).collect()).collect();
            TokenTable { header: header.into_iter().collect(), rows }
        })
    })
}

fn json_text(table: &TokenTable) -> String {
    let key = |name: &String| serde_json::Value::from(name.as_str()).to_string();
    let object = |row: &Vec<String>| {
        let entries: Vec<String> = table
            .header
            .iter()
            .zip(row)
            .map(|(name, token)| format!("{}: {token}", key(name)))
            .collect();
        format!("{{ {} }}", entries.join(", "))
    };
    format!("[{}]", table.rows.iter().map(object).collect::<Vec<_>>().join(",\n"))
}

#[test]
fn tokens_of_json_go_to_json_as_they_are() {
    check(token_table(), |desk, table| {
        std::fs::write(desk.path("a.json"), json_text(table)).unwrap();
        let Ok(written) = desk.migrate("a.json", "b.json") else { return Ok(false) };
        let rows: Vec<indexed::Entries> = serde_json::from_slice(&written).unwrap();
        prop_assert_eq!(rows.len(), table.rows.len());
        for (row, wanted) in rows.iter().zip(&table.rows) {
            for ((_, token), wanted) in row.0.iter().zip(wanted) {
                let value = |t: &str| {
                    serde_json::from_str::<String>(t).map_err(|_| super::cell::compact(t))
                };
                prop_assert_eq!(value(token.get()), value(wanted));
            }
        }
        Ok(true)
    });
}

#[test]
fn tokens_of_json_go_to_csv_as_their_texts() {
    check(token_table(), |desk, table| {
        std::fs::write(desk.path("a.json"), json_text(table)).unwrap();
        let Ok(written) = desk.migrate("a.json", "b.csv") else { return Ok(true) };
        let text = |token: &String| match token.as_str() {
            "null" => String::new(),
            token => serde_json::from_str(token).unwrap_or_else(|_| super::cell::compact(token)),
        };
        let wanted: Vec<Vec<String>> =
            table.rows.iter().map(|row| row.iter().map(text).collect()).collect();
        prop_assert_eq!(&csv_cells(&written)[1..], wanted.as_slice());
        Ok(true)
    });
}

#[test]
fn questions_reach_nothing_but_their_tables() {
    let mut desk = Desk::new();
    std::fs::write(desk.path("a.csv"), "n\n1\n").unwrap();
    let table = desk.read("a.csv").unwrap();
    for sql in [
        "attach database '/etc/passwd' as x",
        "select 1; select 2",
        "create table x (y)",
        "pragma database_list",
        "select load_extension('x')",
        "select * from pragma_database_list",
        "insert into t values (2)",
        "delete from t",
        "vacuum into 'stolen.db'",
    ] {
        let input = serde_json::from_value(json!({"table": table, "sql": sql})).unwrap();
        assert!(data_query::run(&desk.context(), &input).is_err(), "{sql}");
    }
}
