//! Validation, rule by rule: a plan with one fault and what must be said of it.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

fn wait(id: &str) -> Value {
    json!({"id": id, "tool": "time.wait", "inputs": {"seconds": 0}})
}

fn with(mut value: Value, extra: &Value) -> Value {
    for (key, item) in extra.as_object().unwrap() {
        value[key] = item.clone();
    }
    value
}

fn verdict(sandbox: &Sandbox, plan: &Value) -> Value {
    sandbox.write("plan.json", &plan.to_string());
    sandbox.json(&["validate", "plan.json"]).1
}

#[test]
fn each_fault_is_found_and_nothing_else() {
    let sandbox = Sandbox::new();
    let list = json!({"id": "list", "tool": "fs.list"});
    let select = |value: &str| json!({"id": "s", "tool": "json.select", "inputs": {"value": value, "path": "$"}});
    // (code, a word of the message, tasks, the plan's other fields)
    let cases: Vec<(&str, &str, Value, Value)> = vec![
        ("E5604", "100001 characters", json!([wait("a")]), json!({"goal": "x".repeat(100_001)})),
        ("E5604", "control character", json!([wait("a")]), json!({"goal": "a\u{7}b"})),
        ("E5604", "UUID", json!([wait("a")]), json!({"plan_id": "nope"})),
        ("E5604", "1 to 10", json!([wait("a")]), json!({"priority": 11})),
        ("E5604", "must be text", json!([wait("a")]), json!({"metadata": {"tags": [1]}})),
        ("E5604", "twice", json!([wait("a")]), json!({"name": "y"})),
        ("E5604", "must be a mapping", json!(["a"]), json!({})),
        (
            "E5604",
            "is missing; every task",
            json!([{"tool": "time.wait", "inputs": {"seconds": 0}}]),
            json!({}),
        ),
        ("E5604", "a TOOL_CALL task has one", json!([{"id": "a", "type": "tool_call"}]), json!({})),
        (
            "E5604",
            "no semver range",
            json!([with(wait("a"), &json!({"agent_version": "new"}))]),
            json!({}),
        ),
        (
            "E5604",
            "not a JSON Schema",
            json!([with(wait("a"), &json!({"output_schema": {"type": 5}}))]),
            json!({}),
        ),
        (
            "E5602",
            "for_each",
            json!([with(wait("a"), &json!({"for_each": {"in": "$[inputs].x"}}))]),
            json!({"inputs": {"x": "no list"}}),
        ),
        ("E5604", "which references use", json!([wait("a[0]")]), json!({})),
        ("E5604", "white space", json!([wait(" a")]), json!({})),
        ("E5604", "129 characters", json!([wait(&"n".repeat(129))]), json!({})),
        (
            "E5604",
            "none of ALL, ANY",
            json!([with(wait("a"), &json!({"join": "some"}))]),
            json!({}),
        ),
        (
            "E5604",
            "0 to 5",
            json!([with(wait("a"), &json!({"retry": {"max_retries": 9}}))]),
            json!({}),
        ),
        (
            "E5604",
            "CONDITIONAL dependency has one",
            json!([
                wait("a"),
                with(wait("b"), &json!({"depends_on": [{"task": "a", "type": "conditional"}]}))
            ]),
            json!({}),
        ),
        (
            "E5604",
            "CONDITIONAL dependencies only",
            json!([
                wait("a"),
                with(
                    wait("b"),
                    &json!({"depends_on": [{"task": "a", "type": "data", "condition": "true"}]})
                )
            ]),
            json!({}),
        ),
        (
            "E5604",
            "a dependency names a task",
            json!([with(wait("b"), &json!({"depends_on": [{"type": "blocking"}]}))]),
            json!({}),
        ),
        (
            "E5604",
            "task id or a mapping",
            json!([with(wait("b"), &json!({"depends_on": [true]}))]),
            json!({}),
        ),
        (
            "E5604",
            "unknown field `cores`",
            json!([with(wait("a"), &json!({"resource_quota": {"cores": 1}}))]),
            json!({}),
        ),
        ("E5604", "inside a for_each", json!([select("$[item]")]), json!({})),
        ("E5605", "there is no tool", json!([{"id": "a", "tool": "t".repeat(100)}]), json!({})),
        ("E5102", "0 tasks", json!([]), json!({})),
        ("E5100", "not decomposed", json!([{"id": "a", "goal": "more"}]), json!({})),
        ("E5902", "gpu", json!([with(wait("a"), &json!({"needs": ["gpu"]}))]), json!({})),
        (
            "E5902",
            "fs.raed",
            json!([with(wait("a"), &json!({"needs": ["tool:fs.raed"]}))]),
            json!({}),
        ),
        ("E5405", "no input `y`", json!([select("$[inputs].y")]), json!({"inputs": {"x": 1}})),
        ("E5602", "allow_failure", json!([wait("a"), select("$[a].error")]), json!({})),
        (
            "E5602",
            "never has `paths`",
            json!([list, select("$[list].output.files[0].paths")]),
            json!({}),
        ),
        ("E5602", "never has `x`", json!([list, select("$[list].output.files.x")]), json!({})),
        ("E5602", "never has `[0]`", json!([list, select("$[list].output.totals[0]")]), json!({})),
        (
            "E5602",
            "never has `deep`",
            json!([list, select("$[list].output.folder.deep")]),
            json!({}),
        ),
        (
            "E5602",
            "refuses this input",
            json!([{"id": "a", "tool": "fs.read", "inputs": {"path": "x", "max_bytes": 0}}]),
            json!({}),
        ),
        (
            "E5602",
            "refuses this input",
            json!([{"id": "a", "tool": "fs.read", "inputs": {"first_of": ["a", 5]}}]),
            json!({}),
        ),
        // Bound late beside it, wrong all the same.
        (
            "E5602",
            "refuses this input",
            json!([list, {"id": "a", "tool": "fs.read", "inputs": {"first_of": ["$[list].output.folder", 5]}}]),
            json!({}),
        ),
    ];
    for (code, word, tasks, extra) in cases {
        let plan = with(json!({"goal": "x", "tasks": tasks}), &extra);
        let verdict = verdict(&sandbox, &plan);
        let errors = verdict["errors"].as_array().unwrap();
        let text = verdict.to_string();
        assert_eq!(verdict["valid"], false, "{code} {word}");
        assert_eq!(errors.len(), 1, "{code} {word}: {text:.2000}");
        let message = format!("{} {}", errors[0]["field"], errors[0]["message"]);
        assert_eq!(errors[0]["code"], code, "{word}: {message:.500}");
        assert!(message.contains(word), "{code} does not say `{word}`: {message:.500}");
    }
}

#[test]
fn what_is_right_is_left_alone() {
    let sandbox = Sandbox::new();
    let list = json!({"id": "list", "tool": "fs.list"});
    let select = |value: Value| json!({"id": "s", "tool": "json.select", "inputs": {"value": value, "path": "$.a"}});
    for tasks in [
        json!([list, select(json!("$[list].output.files[0].path"))]),
        json!([
            list,
            select(
                json!({"deep": ["$[list].output.totals", {"x": "a ${[list].output.folder} b"}]})
            )
        ]),
        json!([list, select(json!("$[list].output.files[?@.bytes > 10].path"))]),
        json!([list, {"id": "a", "tool": "fs.read", "inputs": {"first_of": ["$[list].output.folder", "b"], "max_bytes": 10}}]),
        json!([{"id": 1, "tool": "time.wait", "inputs": {"seconds": "$[inputs].n"}}, {"id": 2, "tool": "time.wait", "depends_on": [1], "inputs": {"seconds": 0}}]),
        json!([with(wait("a"), &json!({"allow_failure": true})), select(json!("$[a].error"))]),
        json!([with(
            wait("a"),
            &json!({"needs": ["tool:fs.read"], "resource_estimate": {"memory_mb": {"low": 1, "expected": 2, "high": 3}}})
        )]),
        json!([wait("ünïcödé & spaces/(1)")]),
    ] {
        let verdict = verdict(&sandbox, &json!({"goal": "x", "inputs": {"n": 0}, "tasks": tasks}));
        assert_eq!(verdict["valid"], true, "{tasks}: {verdict}");
    }
    // The plan's own inputs are known: they are checked as if they stood there.
    let plan = json!({"goal": "x", "inputs": {"n": "long"}, "tasks": [
        {"id": "a", "tool": "time.wait", "inputs": {"seconds": "$[inputs].n"}}]});
    assert_eq!(verdict(&sandbox, &plan)["errors"][0]["code"], "E5602");
    // A value that nests too deep, a text that is too long.
    let deep = (0..70).fold(json!(1), |inner, _| json!([inner]));
    let plan = json!({"goal": "x", "inputs": {"deep": deep, "long": "x".repeat(1_100_000)}, "tasks": [wait("a")]});
    let text = verdict(&sandbox, &plan).to_string();
    assert!(text.contains("nests deeper") && text.contains("1100000 bytes"), "{text:.500}");
}

#[test]
fn templates_by_name() {
    let sandbox = Sandbox::new();
    let run = |arguments: &[&str]| sandbox.json(&[&["plan"], arguments].concat());
    let (code, plan) =
        run(&["anything at all", "--template", "project-summary", "--input", "commits=3"]);
    assert_eq!((code, &plan["inputs"]["commits"]), (0, &json!(3)), "{plan}");
    let (code, error) = run(&["anything", "--template", "project-sumary"]);
    assert_eq!((code, &error["error"]["code"]), (3, &json!("E5105")));
    assert!(error["error"]["message"].as_str().unwrap().contains("project-summary"));
    let (code, plan) = run(&[
        "Analyze sales by a and b",
        "--template",
        "analysis-by-dimension",
        "--input",
        "file=x.csv",
        "--input",
        "measure=n, m",
        "--strategy",
        "template",
        "--deadline",
        "2h",
        "--max-parallelism",
        "3",
    ]);
    assert_eq!((code, &plan["inputs"]["measure"]), (0, &json!(["n", "m"])), "{plan}");
    assert_eq!(
        plan["constraints"],
        json!({"max_execution_time_sec": 7200.0, "max_parallelism": 3})
    );
    let (code, error) = run(&["summary of the moon project"]);
    assert_eq!((code, &error["error"]["code"]), (3, &json!("E5105")));
    assert!(error["error"]["details"]["nearest"][0]["confidence"].as_f64().unwrap() < 0.85);
}
