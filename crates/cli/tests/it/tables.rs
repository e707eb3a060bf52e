//! Tables as people have them: encodings, quotes, rows of another length. What is taken for something is told, what
//! fits into nothing is refused with its line.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// Reads a file as a table; how it ended, the rows, and what was told.
fn read(bytes: &[u8], extra: &Value) -> (i32, Value, Value) {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.work().join("t.csv"), bytes).unwrap();
    let mut inputs = json!({"path": "t.csv"});
    inputs.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let plan = json!({"goal": "x", "tasks": [
        {"id": "r", "tool": "data.read", "inputs": inputs},
        {"id": "q", "tool": "data.query", "inputs": {"table": "$[r].output.table", "sql": "select * from t"}},
    ]});
    sandbox.write("plan.json", &plan.to_string());
    let (code, result) = sandbox.json(&["execute", "plan.json"]);
    let told = if code == 0 { result["notes"].clone() } else { result["error"]["message"].clone() };
    (code, result["outputs"]["q"]["rows"].clone(), told)
}

#[test]
fn encodings_are_read_and_told() {
    let rows = json!([{"name": "Müller", "city": "Köln"}]);
    let text = "name,city\nMüller,Köln\n";
    let utf16 = |mark: &[u8]| -> Vec<u8> {
        mark.iter().copied().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
    };
    let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
    for (bytes, extra, told) in [
        (text.as_bytes().to_vec(), json!({}), None),
        ([b"\xef\xbb\xbf", text.as_bytes()].concat(), json!({}), None),
        (latin.clone(), json!({}), Some("no UTF-8 (byte 11): it was read as windows-1252")),
        (latin.clone(), json!({"encoding": "latin1"}), None),
        (utf16(b"\xff\xfe"), json!({}), Some("UTF-16LE")),
        (utf16(b""), json!({"encoding": "utf-16le"}), None),
    ] {
        let (code, found, notes) = read(&bytes, &extra);
        assert_eq!((code, &found), (0, &rows), "{extra}: {notes}");
        match told {
            None => assert_eq!(notes, Value::Null),
            Some(told) => assert!(notes[0].as_str().unwrap().contains(told), "{notes}"),
        }
    }
    let (code, _, told) = read(&utf16(b""), &json!({}));
    assert!(code == 1 && told.as_str().unwrap().contains("line 1 holds a NUL byte"), "{told}");
    let (code, _, told) = read(&latin, &json!({"encoding": "utf-8"}));
    assert!(code == 1 && told.as_str().unwrap().contains("byte 11 is no UTF-8"), "{told}");
}

#[test]
fn what_is_no_table_is_refused_with_its_line() {
    for (text, told) in [
        ("a,b,c\n1,2,3\n1,2,3,4\n", "line 3 has 4 values for 3 columns"),
        ("a,b,c\n1,2,3\n1,2\n", "line 3 has 2 values for 3 columns"),
        ("a,b\n1,\"x\n2,3\n", "the quote that line 2 opens is never closed"),
        ("a,b\n1,\"x\"y\n", "line 2: text stands behind the quote"),
        ("a,b\n1,x\0y\n", "line 2 holds a NUL byte"),
        ("sep=;\na;b\n1;2;3\n", "line 3 has 3 values for 2 columns"),
    ] {
        let (code, _, message) = read(text.as_bytes(), &json!({}));
        assert!(code == 1 && message.as_str().unwrap().contains(told), "{text:?}: {message}");
    }
}

#[test]
fn usual_forms_are_read() {
    for (text, rows) in [
        ("sep=;\na;b\n1;\"x;y\"\n", json!([{"a": 1, "b": "x;y"}])),
        ("a,b\r\n1,\"say \"\"hi\"\"\"\r\n", json!([{"a": 1, "b": "say \"hi\""}])),
        ("a,b\n\"two\nlines\",2\n", json!([{"a": "two\nlines", "b": 2}])),
        ("a\tb\n1\tx\n", json!([{"a": 1, "b": "x"}])),
    ] {
        let (code, found, told) = read(text.as_bytes(), &json!({}));
        assert_eq!((code, &found), (0, &rows), "{text:?}: {told}");
    }
    let (code, rows, notes) = read(b" a ,\n1,2\n", &json!({}));
    assert_eq!((code, rows), (0, json!([{"a": 1, "column_2": 2}])));
    assert_eq!(notes.as_array().unwrap().len(), 2, "{notes}");
}

/// Runs a goal in a folder with the files; how it ended, its answer and notes, and the files that it wrote.
fn run(files: &[(&str, &str)], arguments: &[&str]) -> (i32, Value, Vec<String>) {
    let sandbox = Sandbox::new();
    for (name, text) in files {
        sandbox.write(name, text);
    }
    let (code, result) = sandbox.json(arguments);
    let written = result["files"].as_array().cloned().unwrap_or_default();
    let read = |path: &Value| std::fs::read_to_string(sandbox.work().join(path.as_str().unwrap()));
    let texts = written.iter().map(|path| read(path).unwrap()).collect();
    (code, result, texts)
}

#[test]
fn digits_stay_as_they_are_in_every_tool() {
    let accounts = "account,currency\n12345678901234567890,EUR\n12345678901234567891,EUR\n12345678901234567892,EUR\n";
    let numbers = "id,a,b,c\n9007199254740993,9007199254740993,1.10,12345678901234.123456\n2,1.5,2.50,0.30000000000000004\n";
    for text in [
        accounts,
        numbers,
        "id\n9007199254740993\n12345678901234567890\n",
        "zip,phone\n01234,+49 170\n00007,0049\n",
    ] {
        let (code, result, written) = run(&[("a.csv", text)], &["run", "Clean a.csv"]);
        assert_eq!((code, written), (0, vec![text.to_owned()]), "{result}");
        let (code, result, _) = run(&[("a.csv", text)], &["run", "Migrate a.csv to b.json"]);
        assert_eq!(code, 0, "{result}");
        let answer = result["answer"].as_str().unwrap_or_default().to_owned() + &result.to_string();
        assert!(answer.contains("Read back and compared: each of"), "{result}");
        let (code, result, written) = run(&[("a.csv", text)], &["run", "Convert a.csv to json"]);
        assert_eq!(code, 0, "{result}");
        for cell in text.lines().skip(1).flat_map(|line| line.split(',')) {
            assert!(written[0].contains(cell), "{cell} in {}", written[0]);
        }
        // And back again.
        let (_, _, again) = run(&[("b.json", &written[0])], &["run", "Convert b.json to csv"]);
        assert_eq!(again, [text.to_owned()]);
    }
    let json = "[{\"id\":9007199254740993,\"x\":1},{\"id\":1.50,\"x\":\"1\"},{\"id\":12345678901234567890,\"x\":true}]";
    let (code, result, written) = run(&[("a.json", json)], &["run", "Migrate a.json to b.ndjson"]);
    assert_eq!(code, 0, "{result}");
    assert_eq!(written[0], json[1..json.len() - 1].replace("},{", "}\n{") + "\n");
    // CSV has no types: the text 1 and the number 1 would be the same.
    let (code, result, _) = run(&[("a.json", json)], &["run", "Migrate a.json to b.csv"]);
    let why = result["error"]["message"].as_str().unwrap();
    assert!(code == 1 && why.contains("row 2, column `x`: `1`, not `\"1\"`"), "{why}");
}

#[test]
fn rows_hold_numbers_where_numbers_keep_the_text() {
    let (_, rows, _) = read(b"a,b,c\n1.5,1.50,9007199254740993\n2.25,2,1\n", &json!({}));
    assert_eq!(
        rows,
        json!([{"a": 1.5, "b": "1.50", "c": "9007199254740993"}, {"a": 2.25, "b": "2", "c": "1"}])
    );
}

/// The result of one question to a table.
fn asked(text: &str, read: &Value, query: &Value) -> (i32, Value) {
    let sandbox = Sandbox::new();
    sandbox.write("t.csv", text);
    let (mut reading, mut question) =
        (json!({"path": "t.csv"}), json!({"table": "$[r].output.table"}));
    reading.as_object_mut().unwrap().extend(read.as_object().unwrap().clone());
    question.as_object_mut().unwrap().extend(query.as_object().unwrap().clone());
    let plan = json!({"goal": "x", "tasks": [
        {"id": "r", "tool": "data.read", "inputs": reading},
        {"id": "q", "tool": "data.query", "inputs": question},
    ]});
    sandbox.write("plan.json", &plan.to_string());
    let (code, result) = sandbox.json(&["execute", "plan.json"]);
    let found = if code == 0 {
        result["outputs"]["q"]["rows"].clone()
    } else {
        result["error"]["message"].clone()
    };
    (code, found)
}

#[test]
fn sums_are_exact_or_refused() {
    for (text, sql, expected) in [
        (
            "x\n0.1\n0.2\n",
            "select sum(x) as s, avg(x) as a, total(x) as t from t",
            json!([{"s": 0.3, "a": 0.15, "t": 0.3}]),
        ),
        (
            "x\n1\n\n2\n",
            "select sum(x) as s, avg(x) as a, count(x) as n from t",
            json!([{"s": 3, "a": 1.5, "n": 2}]),
        ),
        (
            "x,y\n1,\n2,\n",
            "select sum(y) as s, total(y) as t from t",
            json!([{"s": null, "t": 0.0}]),
        ),
        (
            "x\n12345678901234567890\n1\n",
            "select decimal_sum(x) as s from t",
            json!([{"s": "12345678901234567891"}]),
        ),
        (
            "x\n1.10\n1.1\n10\n9\n",
            "select x from t where x > 1.1 order by x",
            json!([{"x": 9}, {"x": 10}]),
        ),
        (
            "x\n1.10\n1.1\n",
            "select count(distinct x) as n, max(x) as m from t",
            json!([{"n": 1, "m": "1.10"}]),
        ),
        (
            "g,x\na,0.1\na,0.2\nb,1\n",
            "select g, sum(x) over (order by g rows between 1 preceding and current row) as s from t",
            json!([{"g": "a", "s": 0.1}, {"g": "a", "s": 0.3}, {"g": "b", "s": 1.2}]),
        ),
    ] {
        let (code, found) = asked(text, &json!({}), &json!({"sql": sql}));
        assert_eq!((code, &found), (0, &expected), "{sql}");
    }
    let long = "x\n12345678901234567890\n1\n";
    for (text, sql, told) in [
        (
            "x\n\"1.234,50\"\n2\n",
            "select sum(x) from t",
            "sum() of a text that is no number: `1.234,50`",
        ),
        ("x\n5\nunknown\n", "select avg(x) from t", "avg() of a text that is no number: `unknown`"),
        ("x\n5\nunknown\n", "select total(x) from t", "total() of a text that is no number"),
        (long, "select sum(x) from t", "decimal_sum() gives all as a text"),
    ] {
        let (code, found) = asked(text, &json!({}), &json!({"sql": sql}));
        assert!(code == 1 && found.as_str().unwrap().contains(told), "{sql}: {found}");
    }
    let (code, found) = asked(long, &json!({}), &json!({"group_by": ["x"], "sum": ["x"]}));
    assert_eq!((code, &found[0]["total_x"]), (0, &json!("12345678901234567890")), "{found}");
}

#[test]
fn numbers_of_a_locale_are_read_where_it_is_given_or_unmistakable() {
    let german =
        "region;category;amount;qty\nNord;A;1.234,50;1.000\nNord;B;2,50;2.000\nSüd;A;10,00;3.000\n";
    let by_region = json!({"group_by": ["region"]});
    let sums = json!([
        {"region": "Nord", "rows": 2, "total_amount": 1237.0, "total_qty": 3000},
        {"region": "Süd", "rows": 1, "total_amount": 10.0, "total_qty": 3000},
    ]);
    for locale in ["auto", "de", "de_DE"] {
        let (code, found) = asked(german, &json!({"locale": locale}), &by_region);
        assert_eq!((code, &found), (0, &sums), "{locale}");
    }
    let (code, found) = asked(
        "a\n\"$1,200.50\"\n$5\n",
        &json!({"locale": "auto"}),
        &json!({"sql": "select sum(a) as s from t"}),
    );
    assert_eq!((code, found), (0, json!([{"s": 1205.5}])));
    let (code, found) =
        asked("a\n1\n", &json!({"locale": "tlh"}), &json!({"sql": "select a from t"}));
    assert!(
        code == 1 && found.as_str().unwrap().contains("`locale`: the numbers of `tlh`"),
        "{found}"
    );

    // Without a locale the text stays, and that is told.
    let (_, rows, notes) = read(german.as_bytes(), &json!({}));
    assert_eq!(rows[0]["amount"], "1.234,50");
    assert_eq!(
        notes,
        json!([
            "`amount` is no number in 3 of 3 rows, for instance `1.234,50` (row 1): it is kept as text and not summed"
        ])
    );
}

#[test]
fn an_analysis_says_what_it_did_not_sum() {
    let goal = ["run", "Analyze sales by region and category", "--input", "file=s.csv"];
    let (code, result, report) =
        run(&[("s.csv", "region,category,amount\nN,A,5\nN,B,unknown\nS,A,3\n")], &goal);
    assert_eq!(code, 0, "{result}");
    let told = "`amount` is no number in 1 of 3 rows, for instance `unknown` (row 2)";
    assert!(result["notes"].to_string().contains(told), "{result}");
    // Both breakdowns have nothing to sum up, which is said once.
    assert_eq!(result["notes"].as_array().unwrap().len(), 2, "{result}");
    assert!(report[0].contains("no number in 1 of 3 rows"), "{}", report[0]);

    let (code, result, report) = run(
        &[("s.csv", "region;category;amount\nNord;A;1.234,50\nNord;B;2,50\nSüd;A;10,00\n")],
        &goal,
    );
    assert_eq!(code, 0, "{result}");
    assert!(report[0].contains("| Nord | 2 | 1,237 |"), "{}", report[0]);
    assert!(
        report[0].contains("`1.234,50` is 1234.50") || report[0].contains("1234"),
        "{}",
        report[0]
    );

    let (code, result, report) = run(
        &[("s.csv", "region,category,order_id,year,amount\nN,A,1,2020,5\nS,A,2,2021,3\n")],
        &goal,
    );
    assert_eq!(code, 0, "{result}");
    assert!(
        report[0].contains("total_amount") || report[0].contains("total\\_amount"),
        "{}",
        report[0]
    );
    assert!(
        !report[0].contains("total_order") && !report[0].contains("total\\_order"),
        "{}",
        report[0]
    );
    assert!(result["notes"].to_string().contains("`order_id`, `year` was not summed"), "{result}");
}
