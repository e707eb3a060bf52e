//! The documents that commands print, whole, as snapshots: what programs read must keep its form.

use serde_json::Value;

use crate::sandbox::Sandbox;

const PLAN: &str = "\
goal: Wait, then say so
inputs: { seconds: 0, items: [1, 2] }
constraints: { max_token_budget: 1000 }
tasks:
  - { id: wait, tool: time.wait, inputs: { seconds: '$[inputs].seconds' } }
  - { id: list, tool: json.select, depends_on: [wait], for_each: { in: '$[inputs].items', max_items: 3 }, inputs: { value: { a: '$[item]' }, path: $.a } }
  - { id: bad, tool: fs.read, allow_failure: true, inputs: { path: gone.txt } }
  - { id: say, tool: fs.write, depends_on: [list, bad], inputs: { path: said.txt, text: done } }
";

/// Puts a word in the place of what differs from run to run: ids, times, durations, hashes.
fn steady(value: &mut Value) {
    match value {
        Value::String(text) => *text = steady_text(text),
        Value::Array(items) => items.iter_mut().for_each(steady),
        Value::Object(fields) => {
            for (key, value) in fields {
                let measured = ["seconds", "key_id"];
                match value {
                    Value::Number(_) if measured.contains(&key.as_str()) => *value = "<n>".into(),
                    Value::Number(_) if key.ends_with("_ms") => *value = "<n>".into(),
                    Value::String(_) if measured.contains(&key.as_str()) => *value = "<key>".into(),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_)
                    | Value::Object(_) => steady(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn steady_text(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(['`', ' ', ';', ',']) {
        let bare = word.trim_end_matches(['`', ' ', ';', ',']);
        let rest = &word[bare.len()..];
        let is_time = bare.len() >= 20 && bare.ends_with('Z') && bare.as_bytes()[10] == b'T';
        let is_id = bare.len() == 36 && bare.bytes().filter(|b| *b == b'-').count() == 4;
        let is_mac = bare.len() == 44 && bare.ends_with('=');
        let steady = if is_time {
            "<time>"
        } else if is_id {
            "<id>"
        } else if is_mac {
            "<mac>"
        } else {
            bare
        };
        out.push_str(steady);
        out.push_str(rest);
    }
    out
}

#[test]
fn every_document_that_a_command_prints_keeps_its_form() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", PLAN);
    let mut documents = Vec::new();
    let mut pin = |name: &'static str, args: &[&str]| {
        let (code, mut document) = sandbox.json(args);
        steady(&mut document);
        documents.push((name, code, document));
    };
    pin("validate", &["validate", "plan.yaml"]);
    pin("cost", &["cost", "plan.yaml"]);
    // One task at a time, so that events come in one order.
    pin("execute", &["execute", "plan.yaml", "--set", "execution.max_in_flight=1"]);
    let id = sandbox.newest_plan().unwrap();
    for command in ["status", "show", "events", "explain"] {
        pin(command, &[command, &id]);
    }
    pin("history", &["history"]);
    pin("retry", &["retry", &id]);
    pin("run", &["run", "List all csv files"]);
    pin("refused", &["run", "Update the docs"]);
    pin("unknown", &["status", "01a203c7"]);
    for (name, code, document) in documents {
        insta::assert_json_snapshot!(name, (code, document));
    }
}
