//! Plans that people and models wrote, held against their own steps: tasks, order, tools and inputs.
//! What is left out is told.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::plans::{batch, texts};
use crate::{cases, json_lines};

/// Letters and digits alone.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// A task's whole text: a long one stands in the description.
fn text_of(task: &Value) -> &str {
    let name = task["name"].as_str().expect("a name");
    let whole = task["description"].as_str().and_then(|text| text.lines().next());
    whole.filter(|_| name.ends_with('…')).unwrap_or(name)
}

fn needs(task: &Value) -> Vec<&str> {
    task["depends_on"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn tasks(imported: &Value) -> &[Value] {
    imported["plan"]["tasks"].as_array().map_or(&[], Vec::as_slice)
}

/// True if each task needs the one before it and nothing else.
fn is_chain(tasks: &[Value]) -> bool {
    let before = |at: usize| tasks[at - 1]["id"].as_str().expect("an id");
    let needed = |at: usize| if at == 0 { Vec::new() } else { vec![before(at)] };
    tasks.iter().enumerate().all(|(at, task)| needs(task) == needed(at))
}

fn cases_of(name: &str) -> Vec<Value> {
    json_lines(&format!("../cases/meaning/{name}"))
}

/// Rows as the lines of a batch of imports.
fn import(format: &str, rows: &[Value], text: &str) -> Vec<Value> {
    let line = |row: &Value| json!({"id": row["id"], "answer": row[text]});
    let lines: Vec<Value> = rows.iter().map(line).collect();
    batch(&["import", "--format", format], &lines)
}

/// Prints how many are exact, and which are not; at least these per cent have to be.
fn exact(name: &str, rows: &[Value], percent: usize, is_exact: &dyn Fn(usize) -> bool) {
    let odd: Vec<&Value> =
        (0..rows.len()).filter(|at| !is_exact(*at)).map(|at| &rows[at]["id"]).collect();
    let right = rows.len() - odd.len();
    println!("| {name} | {right} of {} exact | odd: {odd:?} |", rows.len());
    assert!(!rows.is_empty() && right * 100 >= rows.len() * percent, "{name}: {odd:?}");
}

#[test]
fn sub_steps_become_the_tasks_that_they_are() {
    let rows = cases_of("substeps_dev.jsonl");
    // The same text as a file and as a model's answer.
    for format in ["markdown", "answer"] {
        let imported = import(format, &rows, "raw");
        exact(&format!("sub-step plans, {format}"), &rows, 98, &|at| {
            let steps = rows[at]["steps"].as_array().expect("steps");
            let wanted: Vec<String> =
                steps.iter().map(|step| letters(step["text"].as_str().expect("text"))).collect();
            let found = tasks(&imported[at]);
            found.iter().map(|task| letters(text_of(task))).collect::<Vec<_>>() == wanted
                && is_chain(found)
        });
    }
}

#[test]
fn tool_usage_answers_keep_tools_inputs_and_order() {
    let rows = cases_of("tool_usage_dev.jsonl");
    let imported = import("answer", &rows, "raw");
    exact("tool-usage answers", &rows, 99, &|at| {
        let steps = rows[at]["steps"].as_array().expect("steps");
        let found = tasks(&imported[at]);
        let is_same = |(step, task): (&Value, &Value)| {
            let none = json!({});
            let inputs = task.get("inputs").unwrap_or(&none);
            let wanted = if step["inputs"].is_null() { &none } else { &step["inputs"] };
            task["tool"] == step["tool"]
                && inputs == wanted
                && letters(text_of(task)) == letters(step["text"].as_str().expect("text"))
        };
        steps.len() == found.len() && steps.iter().zip(found).all(is_same) && is_chain(found)
    });
}

#[test]
fn worfbench_workflows_have_their_nodes_and_edges() {
    let rows = json_lines("worfbench.jsonl");
    let imported = import("markdown", &rows, "gold_text");
    exact("WorFBench by meaning", &rows, 99, &|at| {
        let nodes = rows[at]["nodes"].as_object().expect("nodes");
        let found = tasks(&imported[at]);
        let short = |id: &str| id.trim_start_matches("step-").to_owned();
        let is_node = |task: &Value| {
            let wanted = nodes.get(&short(task["id"].as_str().expect("an id")));
            wanted.and_then(Value::as_str).map(letters) == Some(letters(text_of(task)))
        };
        let wanted: BTreeSet<(String, String)> = rows[at]["edges"]
            .as_array()
            .expect("edges")
            .iter()
            .map(|pair| (pair[0].as_str().expect("an end"), pair[1].as_str().expect("an end")))
            .filter(|(from, to)| *from != "START" && *to != "END")
            .map(|(from, to)| (from.to_owned(), to.to_owned()))
            .collect();
        let edges: BTreeSet<(String, String)> = found
            .iter()
            .flat_map(|task| {
                let to = short(task["id"].as_str().expect("an id"));
                needs(task).into_iter().map(move |from| (short(from), to.clone()))
            })
            .collect();
        found.len() == nodes.len() && found.iter().all(is_node) && edges == wanted
    });
}

/// `Name <- places of what it needs`, by the order of the tasks.
fn outline(imported: &Value) -> Vec<String> {
    let found = tasks(imported);
    let place = |id: &str| found.iter().position(|task| task["id"] == id).map_or(0, |at| at + 1);
    let line = |task: &Value| {
        let needs: Vec<String> = needs(task).iter().map(|id| place(id).to_string()).collect();
        format!("{} <- {}", text_of(task), needs.join(" ")).trim_end().to_owned()
    };
    found.iter().map(line).collect()
}

fn file(name: &str) -> Value {
    let text = std::fs::read_to_string(cases(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    json!({ "id": name, "text": text })
}

/// The files of `cases/markdown`, among them the shapes of spec-kit and Kiro.
const MARKDOWN: &[(&str, &[&str])] = &[
    ("num-substeps-flush.md", &["Find hotels <-", "Choose one <- 1", "Find flights <- 2"]),
    ("num-substeps-indent.md", &["Find hotels <-", "Choose one <- 1", "Find flights <- 2"]),
    (
        "parallel-then.md",
        &["Bake the cake <-", "Whip the cream in parallel with step 1 <-", "Serve <- 1 2"],
    ),
    ("p-marker-then.md", &["T001 Bake <-", "T002 [P] Whip <-", "T003 Serve <- 1 2"]),
    (
        "in-parallel-word.md",
        &["Compile the release <-", "Run the tests in parallel <-", "Publish the release <- 1 2"],
    ),
    (
        "phase-kept.md",
        &[
            "T001 Create the folders <-",
            "T002 [P] Create the model <- 1",
            "T003 Write the service <- 2",
        ],
    ),
    ("phase-strategy.md", &["T001 Create the folders <-", "T002 Write the service <- 1"]),
    (
        "optional-box.md",
        &["Create the parcel model <-", "Write unit tests for the model <- 1", "Ship <- 2"],
    ),
    ("edge-bullets.md", &["Join the tables <-", "Filter <- 1"]),
    ("edges-plural.md", &["Join the tables <-", "Filter <- 1"]),
    ("graph-line.md", &["Join the tables <-", "Filter <- 1"]),
    (
        "speckit-like.md",
        &[
            "T001 Create the folders of plan.md <-",
            "T002 [P] Configure the linter in `lint.toml` <-",
            "T003 [P] Configure the tests <-",
            "T004 Create the tables in `db/schema.sql` <- 1 2 3",
            "T005 [P] Write the clock in `src/clock.ts` <- 1 2 3",
            "T006 [P] [US1] Create the Parcel model in `src/parcel.ts` <- 4 5",
            "T007 [P] [US1] Create the Carrier model in `src/carrier.ts` <- 4 5",
            "T008 [US1] Write the service in `src/service.ts` (depends on T006, T007) <- 6 7",
            "T009 [US1] Write the endpoint in `src/api.ts` <- 8",
        ],
    ),
    (
        "kiro-like.md",
        &[
            "Set up the project <-",
            "Create the parcel model <- 1",
            "Write unit tests for the model <- 2",
            "Create the carrier model <- 3",
            "Checkpoint - all tests pass <- 4",
        ],
    ),
    (
        "07-markdown-gaps/plan.md",
        &[
            "Build <-",
            "Test (depends on 1) <- 1",
            "Lint (depends on 1) <- 1",
            "Docs (depends on 1) <- 1",
            "Ship (depends on 3 and 4) <- 2 3",
        ],
    ),
    (
        "07-markdown-gaps/tens.md",
        &["Build <-", "Test (depends on 10) <- 1", "Ship (depends on 20) <- 2"],
    ),
];

#[test]
fn markdown_plans_of_the_cases_are_read_right() {
    let rows: Vec<Value> =
        MARKDOWN.iter().map(|(name, _)| file(&format!("markdown/{name}"))).collect();
    let imported = import("markdown", &rows, "text");
    for ((name, expected), imported) in MARKDOWN.iter().zip(&imported) {
        assert_eq!(outline(imported), *expected, "{name}: {imported}");
    }
    println!(
        "| Markdown cases, spec-kit and Kiro among them | {} of {} right |",
        rows.len(),
        rows.len()
    );
}

#[test]
fn answers_of_the_cases_are_read_right() {
    let expected: &[(&str, &[&str])] = &[
        ("04-answer-reasoning-draft/answer.txt", &["a"]),
        ("04-answer-reasoning-draft/answer-channels.txt", &["a"]),
        ("04-answer-reasoning-draft/answer-example.txt", &["a"]),
        ("04-answer-reasoning-draft/answer-unopened.txt", &["a"]),
        ("04-answer-reasoning-draft/answer-refused.txt", &["E5106"]),
        (
            "08-answer-dependency-objects/answer.json",
            &["a", "b a", "c a", "d a", "e a", "f a", "g a", "h"],
        ),
        ("18-answer-json-in-a-string/answer.txt", &["a"]),
        ("18-answer-json-in-a-string/arguments.json", &["a"]),
        ("18-answer-json-in-a-string/plan-string.json", &["a"]),
        ("19-answer-missing-bracket/answer.txt", &["a", "b a"]),
        ("19-answer-missing-bracket/deps.txt", &["x", "y x", "z y"]),
        ("19-answer-missing-bracket/extra-brace.txt", &["x", "y"]),
        ("list-order.json", &["step-1", "step-2 step-1"]),
        ("param.json", &["step-1"]),
        ("stray-brace.json", &["A", "B"]),
        ("stray-bracket.json", &["A", "B"]),
    ];
    let rows: Vec<Value> =
        expected.iter().map(|(name, _)| file(&format!("answers/{name}"))).collect();
    let imported = import("answer", &rows, "text");
    for ((name, expected), imported) in expected.iter().zip(&imported) {
        let line = |task: &Value| {
            let mut words = vec![task["id"].as_str().expect("an id")];
            words.extend(needs(task));
            words.join(" ")
        };
        let mut found: Vec<String> = tasks(imported).iter().map(line).collect();
        found.extend(imported["error"]["code"].as_str().map(str::to_owned));
        assert_eq!(found, *expected, "{name}: {imported}");
    }
    let of = |name: &str| &imported[expected.iter().position(|(n, _)| *n == name).expect("a case")];
    assert_eq!(of("param.json")["plan"]["tasks"][0]["inputs"], json!({"from": "a", "to": "b"}));
    assert_eq!(of("stray-brace.json")["plan"]["tasks"][0]["inputs"], json!({"k": 1}));
    let phones = &of("19-answer-missing-bracket/answer.txt")["plan"]["tasks"][0]["inputs"];
    assert_eq!(*phones, json!({"phones": [{"no": "18"}], "sub": [{"t": "P"}], "push": "no"}));
    let told = texts(&of("08-answer-dependency-objects/answer.json")["warnings"]);
    assert!(told.iter().any(|told| told.contains("of task `h` was dropped")), "{told:?}");
    println!("| answers of the cases | {} of {} right |", rows.len(), rows.len());
}

/// The words of a text, without numbers and those that say how a plan is built.
fn words(text: &str) -> BTreeSet<String> {
    const STRUCTURE: [&str; 12] = [
        "node", "nodes", "edge", "edges", "start", "end", "graph", "step", "phase", "task",
        "tasks", "x",
    ];
    text.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| word.chars().any(char::is_alphabetic) && !STRUCTURE.contains(&&**word))
        .collect()
}

/// All texts that a value holds; keys are how it is built.
fn held(value: &Value, texts: &mut String) {
    match value {
        Value::String(text) => {
            texts.push_str(text);
            texts.push('\n');
        }
        Value::Array(items) => items.iter().for_each(|item| held(item, texts)),
        Value::Object(members) => members.values().for_each(|item| held(item, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn no_word_is_lost_without_being_told() {
    let mut plans: Vec<(String, &str, String)> = Vec::new();
    let mut add =
        |id: &Value, format, text: &str| plans.push((id.to_string(), format, text.to_owned()));
    for row in json_lines("worfbench.jsonl") {
        add(&row["id"], "markdown", row["gold_text"].as_str().expect("text"));
    }
    for row in cases_of("substeps_dev.jsonl") {
        add(&row["id"], "markdown", row["raw"].as_str().expect("text"));
    }
    for (name, _) in MARKDOWN {
        let case = file(&format!("markdown/{name}"));
        add(&case["id"], "markdown", case["text"].as_str().expect("text"));
    }
    for row in json_lines("taskbench/multimedia/CodeLlama-13b.first100.jsonl") {
        let plan = json!({"task_steps": row["task_steps"], "task_nodes": row["task_nodes"], "task_links": row["task_links"]});
        add(&row["id"], "answer", &plan.to_string());
    }
    for row in cases_of("tool_usage_dev.jsonl") {
        let steps: Vec<Value> = row["steps"].as_array().expect("steps").clone();
        add(&row["id"], "answer", &json!(steps).to_string());
    }
    let mut lost = Vec::new();
    let mut counted = 0;
    for format in ["markdown", "answer"] {
        let of_format: Vec<_> = plans.iter().filter(|(_, of, _)| *of == format).collect();
        let rows: Vec<Value> =
            of_format.iter().map(|(id, _, text)| json!({"id": id, "text": text})).collect();
        for ((id, _, text), imported) in of_format.iter().zip(import(format, &rows, "text")) {
            let mut said = String::new();
            match serde_json::from_str::<Value>(text) {
                Ok(value) => held(&value, &mut said),
                Err(_) => said.clone_from(text),
            }
            // A name that stood in a list of arguments is a key now.
            let mut kept = imported.to_string();
            held(&imported, &mut kept);
            let (said, kept) = (words(&said), words(&kept));
            counted += said.len();
            let missing: Vec<&String> = said.difference(&kept).collect();
            if !missing.is_empty() {
                lost.push(format!("{id}: {missing:?}"));
            }
        }
    }
    println!(
        "| words of {} plans | {counted} words, lost without a warning in {} | {lost:?} |",
        plans.len(),
        lost.len()
    );
    assert!(counted > 10_000 && lost.is_empty(), "{lost:#?}");
}
