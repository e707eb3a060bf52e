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
