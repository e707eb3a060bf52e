//! What a plan takes: `plan` with limits, `cost`, `explain`, `simulate`, from the command line.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const GOAL: &str = "Create a summary of the project status";

fn refused(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let (code, answer) = sandbox.json(arguments);
    assert_eq!(code, 3, "{answer}");
    answer["error"].clone()
}

fn finding<'e>(error: &'e Value, code: &str) -> &'e Value {
    let findings = error["details"]["findings"].as_array().unwrap();
    findings.iter().find(|f| f["code"] == code).unwrap_or_else(|| panic!("no {code}: {error}"))
}

/// Too dear: names the tasks, the smallest budget that would do, and that budget does.
#[test]
fn an_unaffordable_plan_says_what_would_do() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "l05.toml",
        "[prices.tools]\n\"fs.list\" = 0.008\n\"git.summary\" = 0.007\n\"fs.read\" = 0.0001\n",
    );
    let error = refused(&sandbox, &["plan", GOAL, "--budget-usd", "0.01"]);
    assert_eq!(error["code"], "E5121");
    let found = finding(&error, "E5121");
    let conflict = &found["details"]["conflict"];
    assert_eq!(conflict["constraints"], json!(["cost_limit_usd"]));
    assert_eq!(conflict["tasks"], json!(["files", "git"]), "the two dear ones, neither alone");
    let suggestion = found["suggestion"].as_str().unwrap();
    assert!(suggestion.contains("--budget-usd 0.0152"), "{suggestion}");
    let (code, plan) = sandbox.json(&["plan", GOAL, "--budget-usd", "0.0152"]);
    assert_eq!(code, 0, "{plan}");
    // At worst every call is tried four times: told, and refused where warnings are errors.
    let ran = sandbox.run(&["plan", GOAL, "--budget-usd", "0.0152"]);
    assert!(ran.stderr.contains("at worst it takes"), "{}", ran.stderr);
}

#[test]
fn a_deadline_that_cannot_be_kept_names_the_chain() {
    let sandbox = Sandbox::new();
    let error = refused(&sandbox, &["plan", GOAL, "--deadline", "1ms"]);
    let found = finding(&error, "E5730");
    assert_eq!(found["details"]["conflict"]["constraints"], json!(["max_execution_time_sec"]));
    assert!(found["suggestion"].as_str().unwrap().contains("--deadline 0.15s"), "{found}");
    assert_eq!(sandbox.json(&["plan", GOAL, "--deadline", "0.15s"]).0, 0);
    // At one task at a time it is the work, not the chain, that does not fit.
    let plan = json!({"goal": "x", "constraints": {"deadline_seconds": 5, "max_parallelism": 1}, "tasks": [
        {"id": "a", "tool": "time.wait", "inputs": {"seconds": 0}, "expected_seconds": 3},
        {"id": "b", "tool": "time.wait", "inputs": {"seconds": 0}, "expected_seconds": 4},
    ]});
    sandbox.write("plan.json", &plan.to_string());
    let (code, verdict) = sandbox.json(&["validate", "plan.json"]);
    assert_eq!((code, &verdict["errors"][0]["code"]), (3, &json!("E5730")));
    assert_eq!(
        verdict["errors"][0]["details"]["conflict"]["constraints"],
        json!(["max_execution_time_sec", "max_parallelism"])
    );
}

#[test]
fn what_nobody_can_do_is_named() {
    let sandbox = Sandbox::new();
    let validate = |task: Value, extra: Value| {
        let mut plan = json!({"goal": "x", "tasks": [task]});
        plan.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        sandbox.write("plan.json", &plan.to_string());
        let (code, verdict) = sandbox.json(&["validate", "plan.json"]);
        assert_eq!(code, 3, "{verdict}");
        assert_eq!(verdict["errors"].as_array().unwrap().len(), 1, "{verdict}");
        verdict["errors"][0].clone()
    };
    let wait = |extra: Value| {
        let mut task = json!({"id": "a", "tool": "time.wait", "inputs": {"seconds": 0}});
        task.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        task
    };
    let none = json!({});
    let cases = [
        ("E5902", wait(json!({"needs": ["gpu"]})), none.clone(), "gpu"),
        ("E5211", wait(json!({"agent_version": "^99.0"})), none.clone(), "^99.0"),
        (
            "E5603",
            wait(none.clone()),
            json!({"constraints": {"allowed_agent_types": ["remote"]}}),
            "remote",
        ),
        (
            "E5502",
            wait(
                json!({"resource_estimate": {"memory_mb": {"low": 1, "expected": 99999999, "high": 99999999}}}),
            ),
            none.clone(),
            "MB",
        ),
        ("E5209", json!({"id": "a", "type": "atomic"}), none.clone(), "none is registered"),
        ("E5902", json!({"id": "a", "prompt": "hello"}), none.clone(), "no model gateway"),
        (
            "E5121",
            wait(
                json!({"resource_estimate": {"tokens_in": {"low": 1, "expected": 150, "high": 200}}}),
            ),
            json!({"constraints": {"token_budget": 100}}),
            "150 tokens",
        ),
        (
            "E5121",
            wait(
                json!({"resource_estimate": {"tokens_in": {"low": 1, "expected": 10500, "high": 20000}}}),
            ),
            none.clone(),
            "one task may take 10000",
        ),
    ];
    for (code, task, extra, word) in cases {
        let error = validate(task.clone(), extra);
        assert_eq!(error["code"], code, "{task}: {error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
}

#[test]
fn cost_and_explain_retell_what_was_recorded() {
    let sandbox = Sandbox::new();
    sandbox.write("a.txt", "one\n");
    for _ in 0..5 {
        assert_eq!(sandbox.run(&["run", GOAL]).code, 0);
    }
    let id = sandbox.newest_plan().unwrap();
    let (code, costs) = sandbox.json(&["cost", &id]);
    assert_eq!(code, 0, "{costs}");
    assert_eq!(costs["method"], "hybrid", "five runs: half history, half guess");
    assert_eq!(costs["tasks"][0]["history_runs"], 5);
    for figure in ["low", "expected", "high", "bound"] {
        assert!(costs["seconds"][figure].as_f64().unwrap() > 0.0, "{costs}");
    }
    assert!(costs["actual"]["seconds"].is_number());
    let (_, explained) = sandbox.json(&["explain", &id]);
    let topics: Vec<&str> = explained["explanations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["decision"].as_str().unwrap())
        .collect();
    assert_eq!(
        topics,
        ["decomposition", "validation", "assignment", "scheduling", "estimate", "retry"]
    );
    let (_, one) = sandbox.json(&["explain", &id, "decomposition"]);
    assert!(one["explanations"][0]["explanation"].as_str().unwrap().contains("project-summary"));
    assert_eq!(sandbox.run(&["explain", &id, "nothing"]).code, 2);
    assert_eq!(sandbox.run(&["explain", "ffffffff"]).code, 4);
    // A retry is told from the journal.
    sandbox.write("fail.yaml", "goal: x\ntasks:\n  - {id: a, tool: fs.read, inputs: {path: none.txt}, retry: {max_retries: 0}}\n  - {id: b, tool: time.wait, depends_on: [a], inputs: {seconds: 0}}\n");
    assert_eq!(sandbox.run(&["execute", "fail.yaml"]).code, 1);
    let id = sandbox.newest_plan().unwrap();
    let (_, told) = sandbox.json(&["explain", &id, "retry"]);
    let text = told["explanations"][0]["reasoning_steps"].to_string();
    assert!(text.contains("`a` failed for good") && text.contains("blocked"), "{text}");
}

#[test]
fn plans_are_simulated_on_agents() {
    let sandbox = Sandbox::new();
    // No goal, no tool: only the shape and the durations count.
    let plan = json!({"tasks": [
        {"id": "a", "expected_seconds": 1}, {"id": "b", "expected_seconds": 4, "depends_on": ["a"]},
        {"id": "c", "expected_seconds": 4, "depends_on": ["a"]}, {"id": "d", "expected_seconds": 0, "depends_on": ["b", "c"]},
    ]});
    sandbox.write("plan.json", &plan.to_string());
    let makespan = |agents: &str| {
        let (code, answer) = sandbox.json(&["simulate", "plan.json", "--agents", agents]);
        assert_eq!(code, 0, "{answer}");
        answer["makespan_seconds"].as_f64().unwrap()
    };
    assert_eq!((makespan("1"), makespan("2"), makespan("unlimited")), (9.0, 5.0, 5.0));
    sandbox.write(
        "agents.yaml",
        "agents:\n  - {id: slow}\n  - {id: fast, speed: 4, cost_per_hour: 3600}\n",
    );
    let (_, answer) = sandbox.json(&["simulate", "plan.json", "--agents", "agents.yaml"]);
    assert_eq!(answer["makespan_seconds"], 2.25, "all on the fast one: {answer}");
    assert_eq!((&answer["agents"], &answer["cost_usd"]), (&json!(2), &json!(2.25)));
    assert_eq!(answer["assignments"][0]["chosen"]["agent_id"], "fast");
    let text = sandbox.run(&["simulate", "plan.json", "--agents", "2"]).stdout;
    let bars: Vec<&str> =
        text.lines().take(4).map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(bars, ["a", "b", "c", "d"], "{text}");
    assert!(
        text.contains("5 s on 2 agents; no schedule is shorter than 5 s (gap 0.00 %)"),
        "{text}"
    );
    // What is wrong is said with its code.
    for (agents, code) in [("0", 2), ("none.yaml", 4)] {
        assert_eq!(sandbox.run(&["simulate", "plan.json", "--agents", agents]).code, code);
    }
    sandbox.write("bad.yaml", "agents:\n  - {id: a, speed: 0}\n  - {id: a, colour: red}\n");
    let ran = sandbox.run(&["simulate", "plan.json", "--agents", "bad.yaml"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("speed") && ran.stderr.contains("colour"), "{}", ran.stderr);
    sandbox.write("gpu.yaml", "agents:\n  - {id: a, capabilities: [cpu]}\n");
    let needy = json!({"tasks": [{"id": "a", "needs": ["gpu"]}]});
    sandbox.write("needy.json", &needy.to_string());
    let (code, answer) = sandbox.json(&["simulate", "needy.json", "--agents", "gpu.yaml"]);
    assert_eq!((code, &answer["error"]["code"]), (3, &json!("E5902")));
}

#[test]
fn the_graph_is_analysed() {
    let sandbox = Sandbox::new();
    let wait = |id: &str, seconds: u32, needs: &[&str]| json!({"id": id, "tool": "time.wait", "inputs": {"seconds": 0}, "expected_seconds": seconds, "depends_on": needs});
    let tasks = [
        wait("a", 1, &[]),
        wait("b", 4, &["a"]),
        wait("c", 2, &["a"]),
        wait("d", 1, &["b", "c", "a"]),
    ];
    sandbox.write("plan.json", &json!({"goal": "x", "tasks": tasks}).to_string());
    let (code, graph) = sandbox.json(&["graph", "plan.json"]);
    assert_eq!(code, 0, "{graph}");
    let short: Vec<Value> = graph["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| json!([t["task"], t["level"], t["earliest_start"], t["latest_start"], t["slack"]]))
        .collect();
    assert_eq!(
        json!(short),
        json!([
            ["a", 0, 0.0, 0.0, 0.0],
            ["b", 1, 1.0, 1.0, 0.0],
            ["c", 1, 1.0, 3.0, 2.0],
            ["d", 2, 5.0, 5.0, 0.0]
        ])
    );
    assert_eq!(graph["redundant"], json!([{"from": "a", "to": "d"}]), "b and c imply it");
}

#[test]
fn destructive_tools_and_plain_keys_are_warned_of() {
    let sandbox = Sandbox::new();
    sandbox.write("tools.json", "{\"tools\": [{\"name\": \"erase\", \"destructive\": true}]}");
    let plan = json!({"goal": "x", "tasks": [
        {"id": "a", "tool": "erase", "inputs": {"header": "ghp_16C7e42F292c6912E7710c838347Ae178B4a"}}]});
    sandbox.write("plan.json", &plan.to_string());
    let validate = ["validate", "plan.json", "--catalog", "tools.json"];
    let (_, asked) = sandbox.json(&validate);
    assert_eq!(asked["warnings"].as_array().unwrap().len(), 1, "somebody is asked: {asked}");
    let unasked = [&validate[..], &["--set", "approvals.destructive=false"]].concat();
    let (code, verdict) = sandbox.json(&unasked);
    assert_eq!(code, 0, "{verdict}");
    let codes: Vec<&Value> =
        verdict["warnings"].as_array().unwrap().iter().map(|w| &w["code"]).collect();
    assert_eq!(codes, ["E5613", "E5613"], "{verdict}");
    assert_eq!(sandbox.run(&[&validate[..], &["--strict"]].concat()).code, 3);
}

#[test]
fn batches_answer_line_by_line_in_order() {
    let sandbox = Sandbox::new();
    let wait = json!({"id": "a", "tool": "time.wait", "inputs": {"seconds": 0}});
    let lines = [
        json!({"id": 1, "plan": {"goal": "x", "tasks": [wait]}}).to_string(),
        "not json".to_owned(),
        json!({"id": "inline", "goal": "x", "tasks": []}).to_string(),
        "[1]".to_owned(),
        String::new(),
        json!({"id": null, "plan": {"goal": "x", "tasks": [{"id": "a", "tool": "none"}]}})
            .to_string(),
    ];
    let answers = sandbox.batch(&["validate"], &lines.join("\n"));
    let short: Vec<Value> = answers
        .iter()
        .map(|a| json!([a["id"], a["valid"], a["error"]["code"], a["errors"][0]["code"]]))
        .collect();
    assert_eq!(
        json!(short),
        json!([
            [1, true, null, null],
            [null, null, "E5604", null],
            ["inline", false, null, "E5102"],
            [null, null, "E5604", null],
            [null, false, null, "E5605"],
        ])
    );
    let goals = sandbox.batch(&["check-goal"], "{\"id\": 7, \"goal\": \"x; rm\"}\n{\"id\": 8}\n");
    assert_eq!((&goals[0]["accepted"], &goals[0]["code"]), (&json!(false), &json!("E5004")));
    assert_eq!((&goals[1]["id"], &goals[1]["error"]["code"]), (&json!(8), &json!("E5001")));
    let simulated = sandbox.batch(
        &["simulate", "--agents", "1"],
        "{\"id\": 1, \"tasks\": [{\"id\": \"a\", \"expected_seconds\": 2}, {\"id\": \"b\", \"expected_seconds\": 2}]}\n{\"id\": 2, \"agents\": 2, \"tasks\": [{\"id\": \"a\", \"expected_seconds\": 2}, {\"id\": \"b\", \"expected_seconds\": 2}]}\n{\"id\": 3, \"tasks\": [{\"id\": \"a\", \"depends_on\": [\"a\"]}]}\n",
    );
    assert_eq!(
        (&simulated[0]["makespan_seconds"], &simulated[1]["makespan_seconds"]),
        (&json!(4.0), &json!(2.0))
    );
    assert_eq!(simulated[2]["error"]["code"], "E5301");
    let imported = sandbox.batch(
        &["import"],
        "{\"id\": 1, \"answer\": \"1. a\\n2. b\"}\n{\"id\": 2, \"answer\": \"words\"}\n",
    );
    assert_eq!(imported[0]["plan"]["tasks"][1]["depends_on"], json!(["step-1"]));
    assert_eq!(imported[1]["error"]["code"], "E5604");
    assert_eq!(sandbox.run(&["validate"]).code, 2, "neither a file nor a batch");
    assert_eq!(sandbox.run(&["validate", "x.yaml", "--batch", "-"]).code, 2);
}

/// Many lines, more than any queue holds, come back in order.
#[test]
fn a_long_batch_keeps_its_order() {
    let sandbox = Sandbox::new();
    let lines: String = (0..5_000)
        .map(|i| format!("{{\"id\": {i}, \"goal\": \"{}\"}}\n", "words ".repeat(i % 50 + 1)))
        .collect();
    let answers = sandbox.batch(&["check-goal"], &lines);
    assert_eq!(answers.len(), 5_000);
    assert!(answers.iter().enumerate().all(|(i, answer)| answer["id"] == i));
}

#[test]
fn markdown_plans_become_plan_files() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.md", "# Ship it\n\n1. Build `app.py`\n2. Test (in parallel with step 1)\n3. Release, depends on 1 and 2\n\nSee the wiki.\n");
    let ran = sandbox.run(&["import", "plan.md", "--format", "markdown"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for line in [
        "# understood: step 2 runs beside 1",
        "# not understood: the paragraph \"See the wiki.\"",
        "goal: Ship it",
    ] {
        assert!(ran.stdout.lines().any(|l| l == line), "{line}\n{}", ran.stdout);
    }
    // What is printed is a plan file.
    sandbox.write("plan.yaml", &ran.stdout);
    let (_, verdict) = sandbox.json(&["validate", "plan.yaml"]);
    assert_eq!((&verdict["stats"]["tasks"], &verdict["stats"]["edges"]), (&json!(3), &json!(2)));
}

/// A model's raw text becomes a plan file; what is none is refused with what it is instead.
#[test]
fn answers_of_models_become_plan_files() {
    let sandbox = Sandbox::new();
    let answer = "Sure:\n```json\n{'steps': [{'name': 'List', 'tool': 'fs.list', 'args': {'path': '.',}}, \
        {'name': 'Tell', 'tool': 'text.render', 'after': 1, 'args': {'template': 'x', 'data': {'n': '$[1].output.totals'}}}]\n```\nBye.";
    sandbox.write("answer.txt", answer);
    let ran = sandbox.run(&["import", "answer.txt", "--format", "answer"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("# understood: trailing commas were left out"), "{}", ran.stdout);
    sandbox.write("plan.yaml", &ran.stdout);
    let (code, verdict) = sandbox.json(&["validate", "plan.yaml"]);
    assert_eq!((code, &verdict["stats"]["edges"]), (0, &json!(1)), "{verdict}");
    let odd = json!({ "steps": [{ "name": "a" }, 7] });
    let first = json!({"id": 1, "answer": odd.to_string()}).to_string();
    let lines = format!("{first}\n{}\n", json!({"id": 2, "answer": "I can't."}));
    let refused = sandbox.batch(&["import", "--format", "answer"], &lines);
    assert_eq!(refused[0]["error"]["code"], "E5106");
    assert_eq!(refused[1]["error"]["code"], "E5106");
    let kept = sandbox.batch(&["import", "--format", "answer", "--lenient"], &format!("{first}\n"));
    assert_eq!(kept[0]["plan"]["tasks"][1]["name"], "7");
}

/// A misfit is shown by a value, and a conversion or a promise mends it.
#[test]
fn a_misfit_names_a_value() {
    let sandbox = Sandbox::new();
    let plan = |value: &str, schema: Value| {
        json!({"goal": "x", "tasks": [
            {"id": "list", "tool": "fs.list", "output_schema": schema},
            {"id": "wait", "tool": "time.wait", "inputs": {"seconds": value}},
        ]})
    };
    let check = |plan: &Value| {
        sandbox.write("plan.json", &plan.to_string());
        sandbox.json(&["validate", "plan.json"]).1
    };
    let folder = json!({"type": "object", "required": ["folder", "count"], "properties": {
        "folder": {"type": "string"}, "count": {"type": "integer", "minimum": 0, "maximum": 10}}});
    let verdict = check(&plan("$[list].output.folder", folder.clone()));
    let error = &verdict["errors"][0];
    assert_eq!(error["code"], "E5602");
    assert!(error["message"].as_str().unwrap().contains("can give `\""), "{error}");
    assert_eq!(error["details"]["from"], "list");
    assert!(error["details"]["witness"].is_string());
    let verdict = check(&plan("$[list].output.count", folder));
    assert_eq!(verdict["valid"], true, "{verdict}");
    assert_eq!(verdict["warnings"], json!([]));
}
