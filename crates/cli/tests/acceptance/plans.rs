//! Third-party plans and workflows through the program's own batch modes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{data, json, json_lines};

/// Lines through `l05 … --batch -`.
pub(crate) fn batch(arguments: &[&str], lines: &[Value]) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_l05"))
        .args(arguments)
        .args(["--batch", "-"])
        .current_dir(folder.path())
        .env("L05_DATA_DIR", folder.path().join("data"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("the writer ends").expect("all lines are read");
    assert!(output.status.success(), "{output:?}");
    let answers = String::from_utf8(output.stdout).expect("UTF-8");
    let answers: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.len(), lines.len());
    for (line, answer) in lines.iter().zip(&answers) {
        assert_eq!(line["id"], answer["id"], "answers come in order");
    }
    answers
}

pub(crate) fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A recorded plan as a plan file: one task a node, each link a dependency. A tool that is used
/// twice gives two tasks; a link from it to itself leads from the first to the second.
fn recorded_plan(row: &Value) -> Value {
    let nodes = row["task_nodes"].as_array().expect("nodes");
    let places = |tool: &Value| -> Vec<usize> {
        (0..nodes.len()).filter(|at| nodes[*at]["task"] == *tool).collect()
    };
    let mut needs: Vec<BTreeSet<String>> = vec![BTreeSet::new(); nodes.len()];
    for link in row["task_links"].as_array().expect("links") {
        let (from, to) = (places(&link["source"]), places(&link["target"]));
        let ends =
            if from == to { from.first().zip(to.get(1)) } else { from.first().zip(to.first()) };
        if let Some((from, to)) = ends {
            needs[*to].insert(format!("n{from}"));
        }
    }
    let tasks: Vec<Value> = nodes
        .iter()
        .zip(needs)
        .enumerate()
        .map(|(i, (node, needs))| json!({"id": format!("n{i}"), "tool": node["task"], "depends_on": needs}))
        .collect();
    json!({"goal": row["user_request"], "tasks": tasks})
}

fn catalogue(folder: &str) -> tempfile::NamedTempFile {
    let described = json(&format!("{folder}/tool_desc.json"));
    let tools: Vec<Value> = described["nodes"]
        .as_array()
        .expect("tools")
        .iter()
        .map(|tool| {
            json!({"name": tool["id"], "description": tool["desc"],
                "accepts": texts(&tool["input-type"]), "produces": texts(&tool["output-type"])})
        })
        .collect();
    let mut file = tempfile::Builder::new().suffix(".json").tempfile().expect("a file");
    write!(file, "{}", json!({ "tools": tools })).expect("it is writable");
    file
}

#[test]
fn restbench_gold_plans_validate() {
    let catalogue = catalogue("restbench_tmdb");
    let rows = json_lines("restbench_tmdb/gold.jsonl");
    let lines: Vec<Value> =
        rows.iter().map(|row| json!({"id": row["id"], "plan": recorded_plan(row)})).collect();
    let path = catalogue.path().to_str().expect("UTF-8");
    let answers = batch(&["validate", "--catalog", path], &lines);
    let refused: Vec<&Value> = answers.iter().filter(|answer| answer["valid"] != true).collect();
    println!(
        "| restbench | {} of {} gold plans validate |",
        answers.len() - refused.len(),
        answers.len()
    );
    assert_eq!(answers.len(), 100);
    assert!(refused.is_empty(), "{refused:?}");
}

/// The counts of a few lines that know nothing of ours.
fn counted_from_the_catalogue(rows: &[Value]) -> (usize, usize) {
    let described = json("taskbench/multimedia/tool_desc.json");
    let tools: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = described["nodes"]
        .as_array()
        .expect("tools")
        .iter()
        .map(|t| {
            let kinds = |key: &str| texts(&t[key]).into_iter().collect();
            (t["id"].as_str().expect("an id"), (kinds("input-type"), kinds("output-type")))
        })
        .collect();
    let (mut invented, mut mistyped) = (0, 0);
    for row in rows {
        let nodes = row["task_nodes"].as_array().expect("nodes");
        invented += nodes
            .iter()
            .filter(|n| !tools.contains_key(n["task"].as_str().expect("a name")))
            .count();
        for link in row["task_links"].as_array().expect("links") {
            let ends = [&link["source"], &link["target"]]
                .map(|end| tools.get(end.as_str().expect("a name")));
            if let [Some((_, gives)), Some((takes, _))] = ends {
                mistyped += usize::from(gives.is_disjoint(takes));
            }
        }
    }
    (invented, mistyped)
}

#[test]
fn taskbench_inventions_and_mistyped_links_are_counted() {
    let catalogue = catalogue("taskbench/multimedia");
    let rows = json_lines("taskbench/multimedia/CodeLlama-13b.first100.jsonl");
    let lines: Vec<Value> =
        rows.iter().map(|row| json!({"id": row["id"], "plan": recorded_plan(row)})).collect();
    let path = catalogue.path().to_str().expect("UTF-8");
    let answers = batch(&["validate", "--catalog", path], &lines);
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for error in answers.iter().flat_map(|answer| answer["errors"].as_array().expect("errors")) {
        *codes.entry(error["code"].as_str().expect("a code")).or_default() += 1;
    }
    let (invented, mistyped) = counted_from_the_catalogue(&rows);
    let found = |code| codes.get(code).copied().unwrap_or(0);
    println!(
        "| taskbench | 100 recorded plans | invented tools {} (counted {invented}) | mistyped links {} (counted {mistyped}) | all codes {codes:?} |",
        found("E5605"),
        found("E5602")
    );
    assert_eq!((found("E5605"), found("E5602")), (invented, mistyped));
    assert!(invented > 0 && mistyped > 0);
}

#[test]
fn worfbench_workflows_parse_to_acyclic_plans() {
    let rows = json_lines("worfbench.jsonl");
    let lines: Vec<Value> =
        rows.iter().map(|row| json!({"id": row["id"], "answer": row["gold_text"]})).collect();
    let imported = batch(&["import", "--format", "markdown"], &lines);
    // As a model's answer they are the same.
    assert_eq!(batch(&["import", "--format", "answer"], &lines), imported);
    let plans: Vec<Value> = imported
        .iter()
        .map(|answer| {
            assert!(answer["error"].is_null(), "{answer}");
            json!({"id": answer["id"], "plan": answer["plan"]})
        })
        .collect();
    let verdicts = batch(&["validate", "--set", "decomposition.max_tasks=1000"], &plans);
    let mut odd = Vec::new();
    for ((row, imported), verdict) in rows.iter().zip(&imported).zip(&verdicts) {
        // ATOMIC steps are for agents, of which there are none here: that is all there may be.
        let codes: BTreeSet<&str> = verdict["errors"]
            .as_array()
            .expect("errors")
            .iter()
            .filter_map(|e| e["code"].as_str())
            .collect();
        assert!(codes.iter().all(|code| *code == "E5209"), "{verdict}");
        let wanted: BTreeSet<(String, String)> = row["edges"]
            .as_array()
            .expect("edges")
            .iter()
            .map(|pair| {
                (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned())
            })
            .filter(|(from, to)| from != "START" && to != "END")
            .collect();
        let tasks = imported["plan"]["tasks"].as_array().expect("tasks");
        let short = |id: &Value| id.as_str().unwrap().trim_start_matches("step-").to_owned();
        let found: BTreeSet<(String, String)> = tasks
            .iter()
            .flat_map(|task| {
                let needs = task["depends_on"].as_array().into_iter().flatten();
                needs.map(|need| (short(need), short(&task["id"]))).collect::<Vec<_>>()
            })
            .collect();
        let nodes = row["nodes"].as_object().expect("nodes").len();
        if found != wanted || tasks.len() != nodes {
            odd.push(format!(
                "{}: {} of {nodes} nodes, {} of {} edges, {}",
                row["id"],
                tasks.len(),
                found.len(),
                wanted.len(),
                imported["warnings"]
            ));
        }
    }
    println!("| worfbench | {} workflows parse to acyclic plans | odd: {odd:?} |", rows.len());
    assert_eq!(rows.len(), 430);
    assert!(odd.iter().all(|line| line.contains("wikihow-261")) && odd.len() <= 1, "{odd:?}");
    assert!(data("worfbench.jsonl").exists());
}

#[test]
fn asynchow_makespans_are_the_gold_times() {
    let rows = json_lines("asynchow.jsonl");
    let mut lines = Vec::new();
    for row in &rows {
        for bound in ["seconds_min", "seconds_max"] {
            let seconds = row[bound].as_object().expect("durations");
            let tasks: Vec<Value> = seconds
                .iter()
                .map(|(id, seconds)| {
                    let needs: BTreeSet<&str> = row["edges"]
                        .as_array()
                        .expect("edges")
                        .iter()
                        .filter(|edge| edge[1] == json!(id) && edge[0] != "START")
                        .filter_map(|edge| edge[0].as_str())
                        .collect();
                    json!({"id": id, "depends_on": needs, "expected_seconds": seconds})
                })
                .collect();
            lines.push(json!({"id": format!("{} {bound}", row["id"]), "plan": {"tasks": tasks}}));
        }
    }
    let answers = batch(&["simulate", "--agents", "unlimited"], &lines);
    let mut equal = 0;
    for (row, pair) in rows.iter().zip(answers.chunks(2)) {
        let gold = row["gold_time_s"].as_array().expect("gold");
        let same = |answer: &Value, gold: &Value| {
            let (ours, gold) =
                (answer["makespan_seconds"].as_f64(), gold.as_f64().expect("seconds"));
            ours.is_some_and(|ours| (ours - gold).abs() <= 1e-6 * gold.max(1.0))
        };
        let fits = same(&pair[0], &gold[0]) && same(&pair[1], &gold[1]);
        equal += usize::from(fits);
        assert!(
            fits,
            "{}: {} {} for {gold:?}",
            row["id"], pair[0]["makespan_seconds"], pair[1]["makespan_seconds"]
        );
    }
    println!("| asynchow | {equal} of {} makespans equal the gold time |", rows.len());
    assert_eq!(equal, 400);
}
