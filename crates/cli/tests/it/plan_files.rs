//! Plan files as people write them: conditions, anchors, near misses, names that look alike, lists that are known.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

fn validated(name: &str, text: &str) -> (i32, Value) {
    let sandbox = Sandbox::new();
    sandbox.write(name, text);
    sandbox.json(&["validate", name])
}

/// The warnings of a plan of these tasks, as field and message.
fn warnings(tasks: &Value) -> Vec<(String, String)> {
    let plan = json!({"goal": "x", "inputs": {"file": "a.txt"}, "tasks": tasks});
    let (code, verdict) = validated("plan.json", &plan.to_string());
    assert_eq!(code, 0, "{verdict}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let warnings = verdict["warnings"].as_array().unwrap().iter();
    warnings.map(|w| (text(&w["field"]), text(&w["message"]))).collect()
}

#[test]
fn conditions_count_with_whole_numbers() {
    let plan = |condition: &str| {
        json!({"goal": "x", "inputs": {"x": 5, "neg": -5, "y": 8}, "tasks": [
            {"id": "a", "tool": "json.select", "inputs": {"value": [1, 2], "path": "$"}},
            {"id": "b", "tool": "json.select", "inputs": {"value": 1, "path": "$"},
                "depends_on": [{"task": "a", "condition": condition}]}]})
        .to_string()
    };
    for condition in [
        "outputs.count % 2 == 1",
        "inputs.x + 1 == 6",
        "inputs.x - inputs.y < 0",
        "inputs.neg + inputs.y == 3",
        "-inputs.x < 0",
        "outputs.count - 1 == 0",
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("plan.json", &plan(condition));
        let (code, result) = sandbox.json(&["execute", "plan.json"]);
        assert_eq!((code, &result["completed"]), (0, &json!(["a", "b"])), "{condition}: {result}");
    }
}

#[test]
fn a_condition_that_can_never_hold_is_told() {
    let plan = |condition: &str, allow_failure: bool| {
        json!([
            {"id": "a", "tool": "time.wait", "inputs": {"seconds": 0}, "allow_failure": allow_failure},
            {"id": "b", "tool": "time.wait", "inputs": {"seconds": 0},
                "depends_on": [{"task": "a", "condition": condition}]},
        ])
    };
    for (condition, allow_failure, is_told) in [
        ("status == 'FAILED'", false, true),
        ("status == 'SKIPPED'", true, true),
        ("status == 'FAILED'", true, false),
        ("status == 'COMPLETED'", false, false),
        ("inputs.file == 'b.txt'", false, true),
        ("outputs.waited_seconds > 1.0", false, false),
    ] {
        let told = warnings(&plan(condition, allow_failure));
        let found = told.iter().any(|(_, message)| message.contains("can never hold"));
        assert_eq!(found, is_told, "{condition} {allow_failure}: {told:?}");
    }
}

#[test]
fn anchors_and_merge_keys_are_ordinary() {
    let plan = "goal: shared defaults\ntasks:\n  - &d\n    id: t0\n    tool: json.select\n    timeout_seconds: 30\n    \
        retry: { max_retries: 2, base_seconds: 1, multiplier: 2, jitter: 0.1, cap_seconds: 10 }\n    \
        inputs: { path: \"$\", value: 1 }\n  - { <<: *d, id: t1 }\n  - { <<: *d, id: t2 }\n";
    let (code, verdict) = validated("plan.yaml", plan);
    assert_eq!((code, &verdict["stats"]["tasks"]), (0, &json!(3)), "{verdict}");
}

#[test]
fn near_misses_of_references_are_told() {
    let task = |text: &str| {
        json!([
            {"id": "a", "tool": "json.select", "inputs": {"value": 41, "path": "$"}},
            {"id": "w", "tool": "fs.write", "depends_on": ["a"], "inputs": {"path": "out.txt", "text": text}},
        ])
    };
    for (text, meant) in [
        ("Total: $[a].output.first", "${[a].output.first}"),
        ("{{ a.output.first }}", "${[a].output.first}"),
        ("x ${a.output.first} y", "${[a].output.first}"),
        ("${{ tasks.a.output }}", "${[a].output}"),
        ("file $[inputs].file", "${[inputs].file}"),
        ("{{ inputs.file }}", "${[inputs].file}"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write(
            "plan.json",
            &json!({"goal": "x", "inputs": {"file": "f"}, "tasks": task(text)}).to_string(),
        );
        let (_, verdict) = sandbox.json(&["validate", "plan.json"]);
        let found = verdict["warnings"].as_array().unwrap().iter().any(|w| {
            w["field"] == "tasks[1].inputs.text"
                && w["suggestion"].as_str().unwrap().contains(meant)
        });
        assert!(found, "{text}: {verdict}");
    }
    for text in [
        "a.output is a name",
        "{{ b.output }}",
        "costs $[5]",
        "{a}",
        "total ${[a].output.first}",
        "$$[a].output",
        "so $${[a].output} stays",
    ] {
        let told = warnings(&task(text));
        assert!(
            told.iter().all(|(_, message)| !message.contains("no reference")),
            "{text}: {told:?}"
        );
    }
}

#[test]
fn ids_that_look_alike_are_refused() {
    let plan = |ids: &[&str]| {
        let wait = |id: &&str| json!({"id": id, "tool": "time.wait", "inputs": {"seconds": 0}});
        json!({"goal": "g", "tasks": ids.iter().map(wait).collect::<Vec<_>>()}).to_string()
    };
    for (ids, told) in [
        (&["a\u{200b}", "a"][..], "U+200B"),
        (&["x\u{202e}y"][..], "U+202E"),
        (&["caf\u{e9}", "cafe\u{301}"][..], "looks like"),
        (&["p\u{430}y", "pay"][..], "looks like"),
    ] {
        let (code, verdict) = validated("plan.json", &plan(ids));
        assert_eq!((code, &verdict["errors"][0]["code"]), (3, &json!("E5604")), "{ids:?}");
        assert!(verdict["errors"].to_string().contains(told), "{ids:?}: {verdict}");
    }
    for ids in [&["l", "1", "I"][..], &["münchen", "köln"][..], &["步骤一", "步骤二"][..]] {
        assert_eq!(validated("plan.json", &plan(ids)).0, 0, "{ids:?}");
    }
}

#[test]
fn lists_that_stand_in_the_plan_count_as_they_are() {
    let each = |id: &str| json!({"id": id, "tool": "time.wait", "inputs": {"seconds": 2}, "for_each": {"in": "$[inputs].xs"}});
    let plan = json!({"goal": "x", "inputs": {"xs": [1, 2, 3]}, "constraints": {"max_parallelism": 2},
        "tasks": [each("a"), each("b"), each("c")]});
    let sandbox = Sandbox::new();
    sandbox.write("plan.json", &plan.to_string());
    let (code, verdict) = sandbox.json(&["validate", "plan.json"]);
    assert_eq!(code, 0, "303 tasks would be too many: {verdict}");
    let (_, cost) = sandbox.json(&["cost", "plan.json"]);
    assert_eq!(cost["tasks"][0]["bound"]["items"], 3, "{cost}");
    // Three items, two at once: 4 s a task, three tasks on two agents.
    let (_, simulated) = sandbox.json(&["simulate", "plan.json", "--agents", "2"]);
    assert_eq!(simulated["makespan_seconds"], 8.0, "{simulated}");
}

#[test]
fn an_agent_without_the_capability_is_no_candidate() {
    let sandbox = Sandbox::new();
    let task = |id: &str, need: &str| json!({"id": id, "tool": "time.wait", "inputs": {"seconds": 0}, "expected_seconds": 4, "needs": [need]});
    let plan = |tasks: &[Value]| json!({"goal": "s", "tasks": tasks}).to_string();
    sandbox.write(
        "agents.yaml",
        "agents:\n  - { id: gpu, speed: 0.1, capabilities: [gpu] }\n  - { id: cpu, speed: 2 }\n",
    );
    sandbox.write("plan.json", &plan(&[task("b", "gpu"), task("c", "tpu")]));
    let ran = sandbox.run(&["simulate", "plan.json", "--agents", "agents.yaml"]);
    assert!(ran.code == 3 && ran.stderr.contains("`c`, which needs `tpu`"), "{ran:?}");
    sandbox.write("plan.json", &plan(&[task("b", "gpu")]));
    let (_, simulated) = sandbox.json(&["simulate", "plan.json", "--agents", "agents.yaml"]);
    assert_eq!(simulated["schedule"][0]["agent"], "gpu", "{simulated}");
}

#[test]
fn a_retry_shows_its_own_run() {
    let sandbox = Sandbox::new();
    let plan = json!({"goal": "read later", "tasks": [
        {"id": "a", "tool": "fs.write", "inputs": {"path": "r.txt", "text": "hi"}},
        {"id": "f", "tool": "fs.read", "depends_on": ["a"], "inputs": {"path": "later.txt"}},
        {"id": "g", "tool": "json.select", "inputs": {"value": "$[f].output.text", "path": "$"}},
    ]});
    sandbox.write("plan.json", &plan.to_string());
    assert_eq!(sandbox.run(&["execute", "plan.json"]).code, 1);
    sandbox.write("later.txt", "x");
    let id = sandbox.newest_plan().unwrap();
    let ran = sandbox.run(&["retry", &id]);
    let lines: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with('[')).collect();
    let heads: Vec<String> =
        lines.iter().map(|l| l.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(heads, ["[1/2] completed f", "[2/2] completed g"], "{ran:?}");
}

#[test]
fn fail_fast_tells_failed_and_cancelled_apart() {
    let sandbox = Sandbox::new();
    let plan = json!({"goal": "x", "on_failure": "fail_fast", "tasks": [
        {"id": "b", "tool": "time.wait", "inputs": {"seconds": 5}},
        {"id": "c", "tool": "fs.read", "inputs": {"path": "no-such-file.txt"}},
        {"id": "d", "tool": "time.wait", "inputs": {"seconds": 0}, "depends_on": ["b"]},
    ]});
    sandbox.write("plan.json", &plan.to_string());
    let (code, result) = sandbox.json(&["execute", "plan.json"]);
    assert_eq!((code, &result["failed"]), (1, &json!(["c"])), "{result}");
    assert_eq!(result["cancelled"], json!(["b", "d"]));
}

#[test]
fn templates_of_text_name_what_is_missing_and_leave_null_out() {
    let sandbox = Sandbox::new();
    let render = |template: &str| {
        json!({"goal": "x", "inputs": {"d": {"x": null}}, "tasks": [{"id": "a", "tool": "text.render",
            "inputs": {"template": template, "data": "$[inputs].d", "format": "text"}}]}).to_string()
    };
    sandbox.write("null.json", &render("value: {{ x }}"));
    let (_, result) = sandbox.json(&["execute", "null.json"]);
    assert_eq!(result["outputs"]["a"]["text"], "value: ");
    sandbox.write("missing.json", &render("{{ data.m }}"));
    let (code, result) = sandbox.json(&["execute", "missing.json"]);
    let message = result["error"]["message"].as_str().unwrap();
    assert!(code == 1 && message.contains("`data.m` is not in the data, which has x"), "{message}");
}

#[test]
fn a_tool_that_produces_nothing_feeds_nobody() {
    let sandbox = Sandbox::new();
    let catalog = |produces: &Value| {
        let mut sink = json!({"name": "sink"});
        if !produces.is_null() {
            sink["produces"] = produces.clone();
        }
        json!({"tools": [sink, {"name": "viewer", "accepts": ["image"]}]}).to_string()
    };
    let plan = json!({"goal": "x", "tasks": [{"id": "a", "tool": "sink"}, {"id": "b", "tool": "viewer", "depends_on": ["a"]}]});
    sandbox.write("plan.json", &plan.to_string());
    for (produces, code) in [(json!([]), 3), (json!(["image"]), 0), (Value::Null, 0)] {
        sandbox.write("catalog.json", &catalog(&produces));
        let (exit, verdict) = sandbox.json(&["--catalog", "catalog.json", "validate", "plan.json"]);
        assert_eq!(exit, code, "{produces}: {verdict}");
    }
}

/// One pass tells what is wrong with the form, the meaning, the texts in other languages and the paths, each with its
/// place in the file and under the name that stands there.
#[test]
fn all_levels_are_told_at_once_with_their_places() {
    let sandbox = Sandbox::new();
    let text = r#"goal: A plan with ten errors
version: "banana"
constraints: { max_parallelism: -1, deadline: 600, token_budget: 10 }
tasks:
  - id: a b
    tool: data.raed
    inputs: { path: x.csv }
  - id: read
    tool: data.read
    inputs: { file: x.csv }
  - id: read
    tool: data.read
    inputs: { path: 42 }
  - id: q
    tool: data.query
    depends_on: [reed, w]
    inputs: { table: "$[read].output.tabel", sql: "selec * form t" }
  - id: w
    tool: data.write
    depends_on: [{ task: q, condition: "outputs.row_count >" }]
    inputs: { path: ../../etc/passwd, rows: "$[q].output.row_count" }
    timeout_seconds: "five"
  - id: n
    retries: 3
    for_each: list
  - id: m
    tool: text.render
    inputs: { template: "{% for %}", write_to: { path: /etc/x } }
  - { id: s, tool: fs.search, inputs: { pattern: "(" } }
  - { id: r, tool: fs.read, inputs: { path: gone.txt } }
  - { id: two, tool: data.query, inputs: { table: "$[read].output.table", sql: "select 1; drop table t" } }
  - { id: del, tool: data.query, inputs: { table: "$[read].output.table", sql: "delete from t" } }
  - { id: tab, tool: data.query, inputs: { table: "$[read].output.table", sql: "select * from sales" } }
"#;
    sandbox.write("plan.yaml", text);
    let (code, verdict) = sandbox.json(&["validate", "plan.yaml"]);
    assert_eq!(code, 3);
    let found = |list: &str| -> Vec<(u64, u64, String, String)> {
        let findings = verdict[list].as_array().unwrap().iter();
        let place = |f: &Value| {
            let text = |key: &str| f[key].as_str().unwrap_or_default().to_owned();
            (
                f["line"].as_u64().unwrap(),
                f["column"].as_u64().unwrap(),
                text("code"),
                text("field"),
            )
        };
        findings.map(place).collect()
    };
    let expected = [
        (2, 1, "E5604", "version"),
        (3, 16, "E5604", "constraints.max_parallelism"),
        (3, 37, "E5604", "constraints.deadline"),
        (6, 5, "E5605", "tasks[0].tool"),
        (10, 5, "E5602", "tasks[1].inputs"),
        (10, 5, "E5405", "tasks[1].inputs.path"),
        (11, 5, "E5303", "tasks[2].id"),
        (13, 15, "E5602", "tasks[2].inputs.path"),
        (16, 5, "E5301", "tasks[3].depends_on"),
        (16, 18, "E5302", "tasks[3].depends_on[0]"),
        (17, 15, "E5602", "tasks[3].inputs.table"),
        (17, 46, "E5602", "tasks[3].inputs.sql"),
        (20, 29, "E5310", "tasks[4].depends_on[0].condition"),
        (21, 15, "E5403", "tasks[4].inputs.path"),
        (21, 39, "E5602", "tasks[4].inputs.rows"),
        (22, 5, "E5604", "tasks[4].timeout_seconds"),
        (23, 5, "E5209", "tasks[5]"),
        (24, 5, "E5604", "tasks[5].retries"),
        (25, 5, "E5604", "tasks[5].for_each"),
        (28, 15, "E5602", "tasks[6].inputs.template"),
        (28, 50, "E5403", "tasks[6].inputs.write_to.path"),
        (29, 41, "E5602", "tasks[7].inputs.pattern"),
        (31, 75, "E5602", "tasks[9].inputs.sql"),
        (32, 75, "E5602", "tasks[10].inputs.sql"),
        (33, 75, "E5602", "tasks[11].inputs.sql"),
    ];
    let expected: Vec<_> =
        expected.map(|(l, c, code, f)| (l, c, code.to_owned(), f.to_owned())).to_vec();
    assert_eq!(found("errors"), expected);
    assert_eq!(
        found("warnings"),
        [(30, 39, "E5710".to_owned(), "tasks[8].inputs.path".to_owned())]
    );
    let told = verdict.to_string();
    for words in [
        "something is missing at its end (column 20)",
        "near \\\"selec\\\": syntax error",
        "`sql` must be one statement",
        "`sql` must be a question (SELECT)",
        "no such table: sales; the tables are: t",
        "there is no `gone.txt` in the workspace",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // A plan that is run is told as precisely.
    let one = "goal: x\nconstraints: { token_budget: 10, deadline_seconds: 1 }\ntasks:\n  - { id: a, prompt: \"write a long story\" }\n  - { id: w, tool: time.wait, inputs: { seconds: 30 } }\n";
    sandbox.write("one.yaml", one);
    let (_, refused) = sandbox.json(&["execute", "one.yaml"]);
    let findings = refused["error"]["details"]["findings"].to_string();
    assert!(
        findings.contains("\"field\":\"constraints.token_budget\",\"line\":2,\"column\":16")
            || findings.contains("token_budget allows 10 tokens"),
        "{refused}"
    );
    assert!(findings.contains("deadline_seconds allows 1 s"), "{refused}");
    assert!(!findings.contains("max_execution_time_sec allows"), "{refused}");
}

#[test]
fn a_list_longer_than_its_limit_is_refused() {
    let sandbox = Sandbox::new();
    let plan = "goal: x\ninputs: { list: [1, 2, 3] }\ntasks:\n  - { id: a, tool: time.wait, for_each: { in: '$[inputs].list', max_items: 2 }, inputs: { seconds: 0 } }\n";
    sandbox.write("plan.yaml", plan);
    let (code, verdict) = sandbox.json(&["validate", "plan.yaml"]);
    assert_eq!((code, &verdict["errors"][0]["code"]), (3, &json!("E5510")), "{verdict}");
}

#[test]
fn a_task_that_goes_on_ends_what_it_no_longer_needs() {
    let sandbox = Sandbox::new();
    let plan = |key: &str| {
        format!("goal: first answer wins\ntasks:
  - {{ id: fast, tool: time.wait, inputs: {{ seconds: 0.1 }} }}
  - {{ id: slow, tool: time.wait, inputs: {{ seconds: 120 }} }}
  - {{ id: later, tool: time.wait, inputs: {{ seconds: 0 }}, depends_on: [slow] }}
  - {{ id: kept, tool: time.wait, inputs: {{ seconds: 0.8 }} }}
  - {{ id: first, tool: time.wait, inputs: {{ seconds: 0 }}, depends_on: [fast, later, kept], {key} }}
  - {{ id: other, tool: time.wait, inputs: {{ seconds: 0 }}, depends_on: [kept] }}\n")
    };
    sandbox.write("plan.yaml", &plan("join: any, cancel_others: true"));
    let (code, result) = sandbox.json(&["execute", "plan.yaml"]);
    assert_eq!((code, &result["status"]), (0, &json!("COMPLETED")), "{result}");
    assert_eq!(result["cancelled"], json!(["slow"]), "{result}");
    assert_eq!(result["skipped"], json!(["later"]), "{result}");
    assert_eq!(result["completed"], json!(["fast", "kept", "first", "other"]), "{result}");
    let id = result["plan_id"].as_str().unwrap();
    let events = sandbox.run(&["events", id]).stdout;
    assert!(
        events.contains("not_needed") && events.contains("`first` went on without it"),
        "{events}"
    );

    sandbox.write("plan.yaml", &plan("cancel_others: true"));
    let (code, verdict) = sandbox.json(&["validate", "plan.yaml"]);
    assert!(
        code == 3 && verdict["errors"][0]["message"].as_str().unwrap().contains("join: any"),
        "{verdict}"
    );
}
