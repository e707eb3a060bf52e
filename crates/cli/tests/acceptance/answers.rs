//! What models answer: malformed JSON that two libraries repair alike, and recorded plans.

use std::collections::BTreeSet;

use l05_draft::decomposition::read_value;
use serde_json::{Value, json};

use crate::json_lines;
use crate::plans::batch;

/// The lines of a set that docs/answers.md leaves out, with its reasons.
fn left_out(set: &str) -> BTreeSet<usize> {
    let docs = include_str!("../../../../docs/answers.md");
    let rows = docs.lines().filter_map(|line| line.strip_prefix(&format!("| {set} | ")));
    let mut lines = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [count, _, places] = cells[..] else { panic!("a row of three cells: {row}") };
        let before = lines.len();
        for place in places.split(", ") {
            let (from, to) = place.split_once('-').unwrap_or((place, place));
            lines.extend(from.parse::<usize>().expect("a line")..=to.parse().expect("a line"));
        }
        assert_eq!(lines.len() - before, count.parse::<usize>().expect("a count"), "{row}");
    }
    lines
}

/// Equal as JSON values: `-0` and `0` are one number.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && a.as_f64() == b.as_f64())
}

#[test]
fn malformed_json_is_read_as_two_libraries_agree_that_it_is_meant() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for set in ["json_repair_pairs", "jsonrepair_js_pairs"] {
        let left_out = left_out(set);
        for (line, row) in (1..).zip(json_lines(&format!("{set}.jsonl"))) {
            if left_out.contains(&line) {
                continue;
            }
            let expected = match &row["expected"] {
                Value::String(text) => serde_json::from_str(text).expect("the expected value"),
                value => value.clone(),
            };
            let input = row["input"].as_str().expect("text");
            let read = read_value(input);
            compared += 1;
            if !read.as_ref().is_ok_and(|read| same(read, &expected)) {
                wrong.push(format!("{set} {line}: {input:?} gives {read:?}, not {expected}"));
            }
        }
    }
    println!("| JSON repair | {compared} pairs agree | wrong: {wrong:?} |");
    assert_eq!(compared, 354);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn recorded_model_plans_import() {
    let rows = json_lines("taskbench/multimedia/CodeLlama-13b.first100.jsonl");
    let lines: Vec<Value> = rows
        .iter()
        .map(|row| {
            let plan = json!({ "task_steps": row["task_steps"], "task_nodes": row["task_nodes"], "task_links": row["task_links"] });
            json!({ "id": row["id"], "answer": format!("Here is the plan:\n```json\n{plan}\n```") })
        })
        .collect();
    let imported = batch(&["import", "--format", "answer"], &lines);
    for (row, imported) in rows.iter().zip(&imported) {
        assert!(imported["error"].is_null(), "{imported}");
        let nodes = row["task_nodes"].as_array().expect("nodes");
        let tasks = imported["plan"]["tasks"].as_array().expect("tasks");
        let names: Vec<&Value> = tasks.iter().map(|task| &task["name"]).collect();
        assert_eq!(names, nodes.iter().map(|node| &node["task"]).collect::<Vec<_>>(), "{row}");
        let edges: usize =
            tasks.iter().map(|t| t["depends_on"].as_array().map_or(0, Vec::len)).sum();
        let links: BTreeSet<String> =
            row["task_links"].as_array().expect("links").iter().map(Value::to_string).collect();
        let named = |end: &Value| nodes.iter().any(|node| node["task"] == *end);
        let known = row["task_links"].as_array().expect("links").iter();
        let known = known.filter(|link| named(&link["source"]) && named(&link["target"]));
        let known: BTreeSet<String> = known.map(Value::to_string).collect();
        assert_eq!(edges, known.len(), "{row}\n{imported}");
        // A link to a node that is not there is told, never dropped in silence.
        let told = imported["warnings"].as_array().expect("warnings").len();
        assert!(told >= links.len() - known.len(), "{row}\n{imported}");
    }
    assert_eq!(rows.len(), 100);
}
