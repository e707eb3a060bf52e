//! Planning by a model, from the command line to the result.

use serde_json::{Value, json};

use crate::sandbox::{Ran, Sandbox};
use crate::scripted::{OpenAiDouble, ScriptedModel};

const GOAL: &str = "Note how many lines the notes have";

fn run(sandbox: &Sandbox, model: &ScriptedModel, arguments: &[&str]) -> Ran {
    let options = model.options();
    let all: Vec<&str> =
        arguments.iter().copied().chain(options.iter().map(String::as_str)).collect();
    sandbox.run(&all)
}

fn plan(tool: &str) -> String {
    json!({"tasks": [
        {"id": "look", "name": "Count", "tool": tool, "inputs": {"path": ".", "glob": "*.txt", "count_lines": true}, "depends_on": []},
        {"id": "note", "name": "Note", "tool": "fs.write",
            "inputs": {"path": "count.md", "text": "lines: ${[look].output.totals.lines}"}, "depends_on": []},
    ]})
    .to_string()
}

/// Free text, a plan with an invented tool, a repair round, and a run with the built-in tools.
#[test]
fn a_free_goal_runs_after_a_repair_round() {
    let sandbox = Sandbox::new();
    sandbox.write("notes.txt", "one\ntwo\nthree\n");
    let fenced = format!("Here is the plan:\n```json\n{}\n```\nGood luck!", plan("fs.list"));
    let model = ScriptedModel::saying(&[plan("fs.count_lines"), fenced]);
    let ran = run(&sandbox, &model, &["run", GOAL, "--yes", "--output", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let result = ran.json();
    assert_eq!((&result["status"], &result["strategy"]), (&json!("COMPLETED"), &json!("llm")));
    assert_eq!(sandbox.read("count.md"), "lines: 3");

    let asked = model.asked();
    assert_eq!(asked.len(), 2);
    let repair =
        asked[1]["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    assert!(repair.contains("E5605") && repair.contains("fs.count_lines"), "{repair}");
    let shapes = asked[0]["format"]["$defs"]["task1"]["anyOf"].as_array().unwrap();
    let tools: Vec<&Value> = shapes.iter().map(|one| &one["properties"]["tool"]["const"]).collect();
    assert!(tools.contains(&&json!("fs.list")), "{tools:?}");

    let id = result["plan_id"].as_str().unwrap();
    let (_, shown) = sandbox.json(&["show", id]);
    let metadata = &shown["metadata"];
    assert_eq!(
        (&metadata["model"], &metadata["provider"], &metadata["decomposition_tokens"]),
        (&json!("scripted:1b"), &json!("ollama"), &json!(240))
    );
    // The edge that only a reference told was added and reported.
    assert!(
        metadata["warnings"].to_string().contains("`note` uses the output of `look`"),
        "{metadata}"
    );
    let (_, told) = sandbox.json(&["explain", id, "decomposition"]);
    assert!(told.to_string().contains("Answer 1 was sent back: E5605"), "{told}");
}

/// A model that never gives a plan: the error holds what is wrong; a template is taken where one
/// fits at all, with a warning.
#[test]
fn what_cannot_be_used_is_told_and_a_template_steps_in() {
    let sandbox = Sandbox::new();
    let model = ScriptedModel::saying(&["I am afraid I cannot do that.".to_owned()]);
    let ran = run(&sandbox, &model, &["plan", GOAL, "--strategy", "llm", "--output", "json"]);
    let error = &ran.json()["error"];
    assert_eq!((ran.code, &error["code"]), (3, &json!("E5106")), "{ran:?}");
    assert_eq!(error["details"]["rounds"], 3);
    assert_eq!(model.asked().len(), 3);

    let ran = run(&sandbox, &model, &["plan", "Bake a cake", "--output", "json"]);
    let error = ran.json()["error"].clone();
    assert_eq!(error["code"], "E5105", "{error}");
    assert_eq!(error["details"]["model"]["code"], "E5106", "{error}");

    let near = "Please give me a project status summary report";
    let ran = run(&sandbox, &model, &["plan", near, "--output", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let metadata = ran.json()["metadata"].clone();
    assert_eq!(metadata["template_id"], "project-summary");
    assert!(metadata["warnings"].to_string().contains("E5106"), "{metadata}");
}

/// With the server down: E5101 with address and cause; hybrid takes the best template, or says
/// which are nearest.
#[test]
fn a_server_that_is_down_is_named() {
    let sandbox = Sandbox::new();
    let down = [
        "--set",
        "model.gateway=ollama",
        "--set",
        "model.name=m",
        "--set",
        "model.url=http://127.0.0.1:9",
    ];
    let plan = |arguments: &[&str]| -> (i32, Value) {
        let ran = sandbox.run(&[arguments, &down, &["--output", "json"]].concat());
        (ran.code, ran.json())
    };
    let (code, answer) = plan(&["plan", GOAL, "--strategy", "llm"]);
    assert_eq!((code, &answer["error"]["code"]), (5, &json!("E5101")), "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("127.0.0.1:9") && message.contains("refused"), "{message}");
    let (code, answer) = plan(&["plan", "Please give me a project status summary report"]);
    assert_eq!(
        (code, &answer["metadata"]["template_id"]),
        (0, &json!("project-summary")),
        "{answer}"
    );
    assert!(answer["metadata"]["warnings"].to_string().contains("E5101"), "{answer}");
    let (code, answer) = plan(&["plan", "Convert everything to a nice format"]);
    assert_eq!((code, &answer["error"]["code"]), (3, &json!("E5105")), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("format-conversion"), "{answer}");
    let (code, doctor) = plan(&["doctor"]);
    assert_eq!(code, 5, "{doctor}");
}

/// LLM_CALL tasks go through the same gateway; their answers are read by their schema.
#[test]
fn tasks_can_ask_the_model() {
    let sandbox = Sandbox::new();
    let file = json!({"goal": "ask", "tasks": [
        {"id": "name", "prompt": "Name a colour", "output_schema": {"type": "object", "required": ["colour"], "properties": {"colour": {"type": "string"}}}},
        {"id": "praise", "prompt": "Praise ${[name].output.colour}", "inputs": {"loud": true}},
    ]});
    sandbox.write("plan.json", &file.to_string());
    let model = ScriptedModel::start(|_, request| {
        let said = request["messages"][1]["content"].as_str().unwrap().to_owned();
        if said.starts_with("Name") {
            "```json\n{'colour': 'blue',}\n```".to_owned()
        } else {
            format!("You said: {said}")
        }
    });
    let ran = run(&sandbox, &model, &["execute", "plan.json", "--output", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let result = ran.json();
    assert_eq!(
        result["outputs"]["praise"]["response"],
        "You said: Praise blue\n\nData:\n{\"loud\":true}"
    );
    assert_eq!(result["usage"]["tokens"], 240);
    assert_eq!(model.asked()[0]["format"]["required"], json!(["colour"]));
    // Without a model it is refused before anything runs.
    let (code, answer) = sandbox.json(&["execute", "plan.json"]);
    assert_eq!((code, &answer["error"]["code"]), (3, &json!("E5601")), "{answer}");
}

/// Parts of a large goal are planned on their own and joined.
#[test]
fn parts_of_a_recursive_goal_are_planned_and_joined() {
    let sandbox = Sandbox::new();
    sandbox.write("notes.txt", "one\n");
    let model = ScriptedModel::start(|_, request| {
        let said = request["messages"][1]["content"].as_str().unwrap();
        let goal = said.split("BEGIN GOAL\n").nth(1).unwrap().lines().next().unwrap();
        match goal {
            "\"Count lines\"" => json!({"output": "$[list].output.totals", "tasks": [
                {"id": "list", "name": "List", "tool": "fs.list", "inputs": {"path": ".", "count_lines": true}, "depends_on": []}]}),
            _ => json!({"tasks": [
                {"id": "count", "name": "Count", "goal": "Count lines", "depends_on": []},
                {"id": "note", "name": "Note", "tool": "fs.write", "inputs": {"path": "n.md", "text": "${[count].output.lines}"}, "depends_on": ["count"]}]}),
        }
        .to_string()
    });
    let ran = run(&sandbox, &model, &["run", GOAL, "--recursive", "--yes", "--output", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let tasks = ran.json()["tasks"].clone();
    let ids: Vec<&str> =
        tasks.as_array().unwrap().iter().map(|t| t["task_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["count.list", "note"]);
    assert_eq!(sandbox.read("n.md"), "1");

    // A goal whose parts never end is stopped.
    let endless = ScriptedModel::start(|n, _| {
        json!({"tasks": [{"id": "more", "name": "More", "goal": format!("part {n}"), "depends_on": []}]}).to_string()
    });
    let ran = run(
        &sandbox,
        &endless,
        &[
            "plan",
            GOAL,
            "--recursive",
            "--output",
            "json",
            "--set",
            "decomposition.max_depth=4",
            "--strategy",
            "llm",
        ],
    );
    assert_eq!(ran.json()["error"]["code"], "E5103", "{ran:?}");
}

/// However wide its parts are, a goal begins no more of them than a plan may have tasks.
#[test]
fn parts_are_bounded_and_times_are_read_with_care() {
    let sandbox = Sandbox::new();
    let wide = ScriptedModel::start(|n, _| {
        let part = |k: usize| json!({"id": format!("p{k}"), "name": "Part", "goal": format!("part {n} {k}"), "depends_on": []});
        json!({"tasks": (0..15).map(part).collect::<Vec<_>>()}).to_string()
    });
    let ran = run(
        &sandbox,
        &wide,
        &["plan", GOAL, "--recursive", "--output", "json", "--strategy", "llm"],
    );
    assert_eq!(ran.json()["error"]["code"], "E5102", "{ran:?}");
    assert!(wide.asked().len() < 250, "{}", wide.asked().len());

    for (within, code) in [("1e30s", 3), ("soon", 2)] {
        let ran = sandbox.run(&["plan", "Bake a cake", "--plan-within", within]);
        assert_eq!(ran.code, code, "{within}: {ran:?}");
    }
    // What an address holds beside the address is never repeated.
    for url in ["htps://u:canary@h", "http://u:canary@127.0.0.1:9"] {
        let set = format!("model.url={url}");
        for arguments in [&["doctor"][..], &["config", "show"], &["plan", "Bake a cake"]] {
            let ran =
                sandbox.run(&[arguments, &["--set", "model.gateway=auto", "--set", &set]].concat());
            assert!(!format!("{ran:?}").contains("canary"), "{url}: {ran:?}");
        }
    }
    let required =
        ["--set", "cache.l2_required=true", "--set", "cache.l2_redis_endpoint=redis://127.0.0.1:9"];
    let ran = sandbox.run(&[&["plan", "Bake a cake"], &required[..]].concat());
    assert!(ran.stderr.contains("E5008"), "{ran:?}");
}

/// `doctor` says what was found, with the models there.
#[test]
fn doctor_names_the_gateway_and_its_models() {
    let sandbox = Sandbox::new();
    let model = ScriptedModel::saying(&[String::new()]);
    let ran = run(&sandbox, &model, &["doctor", "--output", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let answer = ran.json();
    assert_eq!(answer["model"]["models"], json!(["scripted:1b"]));
    assert!(answer["model"]["why"].as_str().unwrap().contains("nothing is configured"), "{answer}");
    let (code, answer) = sandbox.json(&["doctor"]);
    assert_eq!((code, &answer["checks"][3]["state"]), (0, &json!("absent")), "{answer}");
}

/// A task with a form, whose answers are these.
fn ask_with_form(sandbox: &Sandbox, answers: &[&str]) -> (ScriptedModel, Ran) {
    sandbox.write(
        "ask.yaml",
        "goal: ask\ntasks:\n  - {id: q, prompt: Give a plan, retry: {max_retries: 0}, output_schema: {type: object, required: [tasks], properties: {tasks: {type: array}}}}\n",
    );
    let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let model = ScriptedModel::saying(&answers);
    let ran = run(sandbox, &model, &["execute", "ask.yaml", "--output", "json"]);
    (model, ran)
}

#[test]
fn reasoning_and_wrappings_are_no_part_of_a_tasks_answer() {
    let sandbox = Sandbox::new();
    for answer in [
        r#"<think>hm {"x":1}</think>{"tasks":[]}"#,
        r#""{\"tasks\":[]}""#,
        "Here you are:\n```json\n{\"tasks\": []}\n```",
    ] {
        let (model, ran) = ask_with_form(&sandbox, &[answer]);
        assert_eq!(ran.code, 0, "{answer}: {ran:?}");
        assert_eq!(ran.json()["outputs"]["q"], json!({"tasks": []}), "{answer}");
        assert_eq!(model.asked().len(), 1);
    }
    sandbox.write("free.yaml", "goal: ask\ntasks:\n  - {id: q, prompt: Say hello}\n");
    let model = ScriptedModel::saying(&["<think>hm</think>\nhello".to_owned()]);
    let ran = run(&sandbox, &model, &["execute", "free.yaml", "--output", "json"]);
    assert_eq!(ran.json()["outputs"]["q"], json!({"response": "hello"}), "{ran:?}");
}

#[test]
fn an_answer_that_breaks_its_form_goes_back_with_what_is_wrong() {
    let sandbox = Sandbox::new();
    let (model, ran) = ask_with_form(&sandbox, &[r#"{"tasks": 1}"#, r#"{"tasks": []}"#]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let asked = model.asked();
    assert_eq!(asked.len(), 2);
    let turns = asked[1]["messages"].as_array().unwrap();
    let told = turns.last().unwrap()["content"].as_str().unwrap();
    assert!(told.contains("breaks the task's output_schema") && told.contains("tasks"), "{told}");
    // One that breaks off is no answer, however often it comes; nothing of it is kept.
    let (model, ran) = ask_with_form(&sandbox, &[r#"{"tasks": ["one, "#]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(model.asked().len(), 3);
    let error = &ran.json()["tasks"][0]["error"];
    assert!(error.to_string().contains("cut off"), "{error}");
}

#[test]
fn a_draft_that_breaks_off_never_runs() {
    let sandbox = Sandbox::new();
    let cut = r#"{"tasks": [{"id": "b", "tool": "fs.write", "inputs": {"path": "report.txt", "text": "line one, "#;
    let model = ScriptedModel::saying(&[cut.to_owned()]);
    let ran = run(&sandbox, &model, &["run", GOAL, "--yes", "--strategy", "llm"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("cut off"), "{ran:?}");
    assert!(!sandbox.work().join("report.txt").exists());
}

fn run_with(sandbox: &Sandbox, model: &OpenAiDouble, arguments: &[&str]) -> Ran {
    let options = model.options();
    let all: Vec<&str> =
        arguments.iter().copied().chain(options.iter().map(String::as_str)).collect();
    sandbox.run(&all)
}

/// The case of `cases/gateways/15-retry-after`.
#[test]
fn a_task_comes_again_when_the_gateway_says_so() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "ask.yaml",
        "goal: ask\ntasks:\n  - { id: q, prompt: Say hi, retry: { max_retries: 1, base_seconds: 0.1 } }\n",
    );
    let limited = json!({"error": {"message": "slow down", "code": "rate_limit_exceeded"}});
    let good = json!({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]});
    let model = OpenAiDouble::replying(&[
        ("429 Too Many Requests", "retry-after: 2\r\n", limited),
        ("200 OK", "", good),
    ]);
    let ran = run_with(&sandbox, &model, &["execute", "ask.yaml", "--output", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(model.asked().len(), 2);
    // The wait that the journal tells, whatever else the machine did meanwhile.
    let id = ran.json()["plan_id"].as_str().unwrap().to_owned();
    let (_, events) = sandbox.json(&["events", &id]);
    let mut events = events["events"].as_array().unwrap().iter();
    let retried = events.find(|event| event["data"].get("next_attempt_at").is_some()).unwrap();
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let wait = time(&retried["data"]["next_attempt_at"]).duration_since(time(&retried["time"]));
    assert!((2.0..2.5).contains(&wait.as_secs_f64()), "{retried}");
    // An account that has nothing left is not asked again.
    let empty = json!({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}});
    let model = OpenAiDouble::replying(&[("429 Too Many Requests", "", empty)]);
    let ran = run_with(&sandbox, &model, &["execute", "ask.yaml", "--output", "json"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(model.asked().len(), 1);
    assert!(ran.stdout.contains("exceeded your current quota"), "{ran:?}");
}

#[test]
fn doctor_tells_a_missing_name() {
    let sandbox = Sandbox::new();
    let model = OpenAiDouble::replying(&[("200 OK", "", json!({}))]);
    let url = format!("model.url={}", model.url);
    let ran = sandbox.run(&["doctor", "--set", "model.gateway=openai", "--set", &url]);
    assert!(ran.stdout.contains("model.name is not set"), "{ran:?}");
}
