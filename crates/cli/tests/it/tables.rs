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
