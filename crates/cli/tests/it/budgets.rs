//! Budgets and quotas from the command line, against a model that reports what it likes.

use serde_json::{Value, json};

use crate::sandbox::{Ran, Sandbox};
use crate::scripted::OpenAiDouble;

fn usage(input: u64, output: u64) -> Value {
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

fn run(sandbox: &Sandbox, model: &OpenAiDouble, arguments: &[&str]) -> Ran {
    let options = model.options();
    let options = options.iter().map(String::as_str);
    sandbox.run(&arguments.iter().copied().chain(options).collect::<Vec<_>>())
}

fn ask(extra: &Value) -> Value {
    let mut task = json!({"id": "ask", "prompt": "Say hello", "retry": {"max_retries": 0}});
    task.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    task
}

/// Executes a plan over a double; how it ended, and the result.
fn execute(plan: &Value, model: &OpenAiDouble) -> (i32, Value) {
    let sandbox = Sandbox::new();
    sandbox.write("plan.json", &plan.to_string());
    sandbox.write("big.txt", &"word ".repeat(40_000));
    let ran = run(&sandbox, model, &["execute", "plan.json", "--output", "json"]);
    (ran.code, ran.json())
}

#[test]
fn a_prompt_that_does_not_fit_is_not_sent() {
    let model = OpenAiDouble::reporting(usage(25_000, 10));
    let plan = json!({"goal": "x", "constraints": {"token_budget": 11_000}, "tasks": [
        {"id": "r", "tool": "fs.read", "inputs": {"path": "big.txt", "max_bytes": 300_000}},
        ask(&json!({"prompt": "Shorten: ${[r].output.text}"})),
        {"id": "rest", "tool": "json.select", "inputs": {"value": 1, "path": "$"}},
    ]});
    let (code, result) = execute(&plan, &model);
    assert_eq!(
        (code, &result["status"], &result["error"]["code"]),
        (1, &json!("FAILED"), &json!("E5121"))
    );
    assert_eq!(result["completed"], json!(["r", "rest"]), "the rest goes on");
    assert_eq!(result["usage"]["tokens"], 0);
    assert!(model.asked().is_empty(), "nothing was asked");
}

#[test]
fn a_call_carries_what_its_task_may_use_and_a_report_beyond_it_stops_the_plan() {
    let quota = json!({"resource_quota": {"tokens_in": 100, "tokens_out": 70}});
    let plan = json!({"goal": "x", "constraints": {"token_budget": 500}, "tasks": [
        ask(&quota), {"id": "after", "tool": "time.wait", "inputs": {"seconds": 0}, "depends_on": ["ask"]},
    ]});
    let model = OpenAiDouble::reporting(usage(90, 70));
    let (code, result) = execute(&plan, &model);
    assert_eq!((code, &result["usage"]["tokens"]), (0, &json!(160)), "{result}");
    assert_eq!(model.asked()[0]["max_tokens"], 70);

    let model = OpenAiDouble::reporting(usage(90, 71));
    let (code, result) = execute(&plan, &model);
    assert_eq!((code, &result["error"]["code"]), (1, &json!("E5121")), "{result}");
    assert_eq!(result["outputs"]["ask"]["response"], "hello", "what was paid for is kept");
    assert_eq!(result["cancelled"], json!(["after"]), "nothing further starts: {result}");
}

#[test]
fn a_last_task_over_the_budget_fails_the_plan_or_asks() {
    let plan = |on_budget: &str| json!({"goal": "x", "on_budget": on_budget, "constraints": {"token_budget": 11_000}, "tasks": [ask(&json!({}))]});
    let model = OpenAiDouble::reporting(usage(30_000, 3_000));
    let (code, result) = execute(&plan("fail"), &model);
    assert_eq!(
        (code, &result["status"], &result["error"]["code"]),
        (1, &json!("FAILED"), &json!("E5121"))
    );
    assert_eq!(result["outputs"]["ask"]["response"], "hello");

    let sandbox = Sandbox::new();
    sandbox.write("plan.json", &plan("ask").to_string());
    let ran = run(&sandbox, &model, &["execute", "plan.json", "--output", "json"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    let id = ran.json()["plan_id"].as_str().unwrap().to_owned();
    let answered = run(&sandbox, &model, &["approve", &id, "--reason", "worth it"]);
    assert_eq!(answered.code, 0, "{answered:?}");
    let ran = run(&sandbox, &model, &["execute", &id, "--output", "json"]);
    assert_eq!((ran.code, &ran.json()["status"]), (0, &json!("COMPLETED")), "{ran:?}");
}

#[test]
fn a_usage_that_cannot_be_right_is_counted_and_told() {
    let plan = json!({"goal": "x", "tasks": [ask(&json!({"prompt": "one two three"}))]});
    for garbled in [
        Value::Null,
        json!({}),
        json!("many"),
        usage(0, 0),
        json!({"prompt_tokens": "12", "completion_tokens": -3}),
        json!({"prompt_tokens": 12.5, "completion_tokens": null}),
    ] {
        let (code, result) = execute(&plan, &OpenAiDouble::reporting(garbled.clone()));
        let usage = &result["usage"];
        assert_eq!((code, &usage["counted_attempts"]), (0, &json!(1)), "{garbled}: {result}");
        assert!(usage["tokens"].as_u64().unwrap() > 10, "{garbled}: {usage}");
        assert!(usage["cost_usd"].as_f64().unwrap() > 0.0, "{garbled}: {usage}");
    }
    let (_, result) = execute(&plan, &OpenAiDouble::reporting(usage(12, 3)));
    assert_eq!(result["usage"]["tokens"], 15);
    assert_eq!(
        result["usage"]["counted_attempts"],
        Value::Null,
        "a report that can be right is believed"
    );
}

#[test]
fn the_model_that_a_task_asks_for_is_asked_and_priced_or_the_plan_is_refused() {
    let sandbox = Sandbox::new();
    let prices = "[prices.models]\ncheap = { input = 0.01, output = 0.01 }\nfake = { input = 100.0, output = 100.0 }\n";
    sandbox.write("l05.toml", prices);
    let plan = |model: &str| {
        let task = ask(&json!({"metadata": {"model": model}}));
        json!({"goal": "x", "constraints": {"cost_limit_usd": 1.0}, "tasks": [task]}).to_string()
    };
    sandbox.write("cheap.json", &plan("cheap"));
    sandbox.write("fake.json", &plan("fake"));
    let model = OpenAiDouble::reporting(usage(200, 300));
    let refused = run(&sandbox, &model, &["execute", "cheap.json", "--output", "json"]);
    assert_eq!(
        (refused.code, &refused.json()["error"]["code"]),
        (3, &json!("E5902")),
        "{refused:?}"
    );
    assert_eq!(run(&sandbox, &model, &["validate", "cheap.json"]).code, 3);
    assert!(model.asked().is_empty());
    let ran = run(&sandbox, &model, &["execute", "fake.json", "--output", "json"]);
    let result = ran.json();
    assert_eq!((ran.code, &result["usage"]["cost_usd"]), (0, &json!(0.05)), "{ran:?}");
    assert_eq!(model.asked()[0]["model"], "fake");
    assert!(model.asked()[0]["max_tokens"].as_u64().unwrap() <= 4_096);
}

#[test]
fn a_plan_with_model_calls_is_validated_as_it_would_be_executed() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.json", &json!({"goal": "x", "tasks": [ask(&json!({}))]}).to_string());
    let model = OpenAiDouble::reporting(usage(1, 1));
    assert_eq!(run(&sandbox, &model, &["validate", "plan.json"]).code, 0);
    let (code, verdict) = sandbox.json(&["validate", "plan.json"]);
    assert_eq!((code, &verdict["errors"][0]["code"]), (3, &json!("E5902")));
    let strict = ["--strict", "plan", "Research signing keys in the files", "--budget-usd", "0.02"];
    let ran = run(&sandbox, &model, &strict);
    assert!(ran.code == 3 && ran.stderr.contains("E5121"), "{ran:?}");
}

#[test]
fn a_retry_has_what_is_left_or_a_budget_of_its_own() {
    let sandbox = Sandbox::new();
    let plan = json!({"goal": "x", "constraints": {"token_budget": 11_000}, "tasks": [
        ask(&json!({})), {"id": "f", "tool": "fs.read", "inputs": {"path": "later.txt"}},
        ask(&json!({"id": "again", "depends_on": ["f"]})),
    ]});
    sandbox.write("plan.json", &plan.to_string());
    let model = OpenAiDouble::reporting(usage(2_000, 500));
    let ran = run(&sandbox, &model, &["execute", "plan.json", "--output", "json"]);
    let id = ran.json()["plan_id"].as_str().unwrap().to_owned();
    assert_eq!(ran.code, 1);
    sandbox.write("later.txt", "here");
    // 2,500 are spent, 10,000 more may be taken: 11,000 do not suffice.
    let ran = run(&sandbox, &model, &["retry", &id, "--output", "json"]);
    assert_eq!((ran.code, &ran.json()["error"]["code"]), (1, &json!("E5121")), "{ran:?}");
    let ran = run(&sandbox, &model, &["retry", &id, "--token-budget", "10000", "--output", "json"]);
    assert_eq!((ran.code, &ran.json()["status"]), (0, &json!("COMPLETED")), "{ran:?}");
    assert_eq!(ran.json()["usage"]["tokens"], 5_000);
}

/// Field by field: a limit that nobody keeps is refused, or told.
#[test]
fn limits_are_kept_or_refused() {
    let wait = |extra: &Value| {
        let mut task = json!({"id": "a", "tool": "time.wait", "inputs": {"seconds": 1}});
        task.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        task
    };
    let range = |n: f64| json!({"low": n, "expected": n, "high": n});
    let estimate =
        json!({"resource_estimate": {"cpu_cores": range(2.0), "memory_mb": range(500.0)}});
    for (plan, code, field) in [
        (
            json!({"tasks": [ask(&json!({"metadata": {"model": 5}}))]}),
            "E5604",
            "tasks[0].metadata.model",
        ),
        (
            json!({"tasks": [wait(&json!({"resource_quota": {"execution_seconds": 0.01}}))]}),
            "E5121",
            "tasks[0].inputs",
        ),
        (
            json!({"tasks": [wait(&json!({"resource_quota": {"memory_mb": 10}}))]}),
            "E5604",
            "tasks[0].resource_quota.memory_mb",
        ),
        (
            json!({"tasks": [wait(&json!({"resource_quota": {"cpu_cores": 1}}))]}),
            "E5604",
            "tasks[0].resource_quota.cpu_cores",
        ),
        (
            json!({"tasks": [wait(&json!({"resource_quota": {"tokens_in": 1}}))]}),
            "E5604",
            "tasks[0].resource_quota.tokens_in",
        ),
        (
            json!({"tasks": [wait(&json!({"resource_quota": {"cost_usd": 0.01}}))]}),
            "E5604",
            "tasks[0].resource_quota.cost_usd",
        ),
        (
            json!({"tasks": [wait(&json!({"resource_quota": {"cost_usd": -1}}))]}),
            "E5604",
            "tasks[0].resource_quota.cost_usd",
        ),
        (
            json!({"tasks": [wait(&json!({"resource_quota": {"max_parallel_tasks": 1}}))]}),
            "E5604",
            "tasks[0].resource_quota.max_parallel_tasks",
        ),
        (
            json!({"resource_budget": {"cpu_cores": 0.1}, "tasks": [wait(&estimate)]}),
            "E5502",
            "tasks[0].resource_estimate.cpu_cores",
        ),
        (
            json!({"resource_budget": {"memory_mb": 1}, "tasks": [wait(&estimate)]}),
            "E5502",
            "tasks[0].resource_estimate.memory_mb",
        ),
        (
            json!({"resource_budget": {"execution_seconds": 0.5}, "tasks": [wait(&json!({}))]}),
            "E5730",
            "resource_budget.execution_seconds",
        ),
        (
            json!({"resource_budget": {"tokens_in": 0}, "tasks": [wait(&json!({}))]}),
            "E5604",
            "resource_budget.tokens_in",
        ),
    ] {
        let (_, verdict) = validated(&plan);
        let found = verdict["errors"].as_array().unwrap();
        let named =
            found.iter().any(|f| (&f["code"], &f["field"]) == (&json!(code), &json!(field)));
        assert!(named, "{plan}: {verdict}");
    }
    for (plan, field) in [
        (json!({"preferred_agents": ["nobody"], "tasks": [wait(&json!({}))]}), "preferred_agents"),
        (
            json!({"constraints": {"additional_constraints": {"region": "eu"}}, "tasks": [wait(&json!({}))]}),
            "constraints.additional_constraints.region",
        ),
        (json!({"tasks": [wait(&json!({"timeout_seconds": 0.5}))]}), "tasks[0].inputs"),
        (
            json!({"inputs": {"api_key": "hunter2hunter2"}, "tasks": [wait(&json!({}))]}),
            "inputs.api_key",
        ),
        (
            json!({"tasks": [{"id": "n", "tool": "json.select", "inputs": {"path": "$",
            "value": {"list": [{"password": "hunter2hunter2"}]}}}]}),
            "tasks[0].inputs.value.list[0].password",
        ),
    ] {
        let (code, verdict) = validated(&plan);
        let found = verdict["warnings"].as_array().unwrap();
        assert!(code == 0 && found.iter().any(|f| f["field"] == json!(field)), "{plan}: {verdict}");
    }
}

fn validated(plan: &Value) -> (i32, Value) {
    let mut plan = plan.clone();
    plan["goal"] = json!("x");
    let sandbox = Sandbox::new();
    sandbox.write("plan.json", &plan.to_string());
    sandbox.json(&["validate", "plan.json"])
}

#[test]
fn a_plan_whose_metadata_asks_for_approval_waits() {
    let sandbox = Sandbox::new();
    let plan = json!({"goal": "x", "metadata": {"requires_approval": true}, "tasks": [
        {"id": "a", "tool": "time.wait", "inputs": {"seconds": 0}}]});
    sandbox.write("plan.json", &plan.to_string());
    let (code, result) = sandbox.json(&["execute", "plan.json"]);
    assert_eq!((code, &result["status"]), (6, &json!("PENDING_APPROVAL")));
}

#[test]
fn tools_that_nothing_runs_are_refused_before_the_start() {
    let sandbox = Sandbox::new();
    let catalog = json!({"tools": [{"name": "ext.do", "input_schema": {"type": "object"}}]});
    sandbox.write("catalog.json", &catalog.to_string());
    sandbox.write(
        "plan.json",
        &json!({"goal": "x", "tasks": [{"id": "a", "tool": "ext.do"}]}).to_string(),
    );
    let (code, result) = sandbox.json(&["--catalog", "catalog.json", "execute", "plan.json"]);
    assert_eq!((code, &result["error"]["code"]), (3, &json!("E5902")), "{result}");
    assert_eq!(sandbox.json(&["--catalog", "catalog.json", "validate", "plan.json"]).0, 0);
}

/// An attempt that took too long may have done its work: where that cannot be repeated without harm, a
/// person is asked, as after a crash.
#[test]
fn a_timed_out_attempt_asks_where_its_task_says_so() {
    let sandbox = Sandbox::new();
    let plan = json!({"goal": "x", "tasks": [{"id": "p", "tool": "process.run",
        "inputs": {"program": "sleep", "args": ["5"]}, "timeout_seconds": 0.3, "on_recovery": "ask",
        "retry": {"max_retries": 2, "base_seconds": 0.1}}]});
    sandbox.write("plan.json", &plan.to_string());
    let programs = ["--set", "tools.programs=sleep"];
    let (code, result) = sandbox.json(&[&programs[..], &["execute", "plan.json"]].concat());
    assert_eq!(code, 6, "{result}");
    let id = result["plan_id"].as_str().unwrap();
    assert_eq!(sandbox.run(&["reject", id, "--reason", "no"]).code, 0);
    let (_, status) = sandbox.json(&["status", id]);
    assert_eq!(status["status"], "FAILED", "{status}");
}

/// Figures of what can be counted stand beside the errors.
#[test]
fn a_plan_in_a_circle_has_figures() {
    let needs = |id: &str, other: &str| json!({"id": id, "tool": "time.wait", "inputs": {"seconds": 0}, "depends_on": [other]});
    let (code, verdict) = validated(&json!({"tasks": [needs("a", "b"), needs("b", "a")]}));
    assert_eq!((code, &verdict["errors"][0]["code"]), (3, &json!("E5301")));
    assert_eq!((&verdict["stats"]["tasks"], &verdict["stats"]["edges"]), (&json!(2), &json!(2)));
    assert_eq!(verdict["stats"]["longest_path"], Value::Null);
}
