//! The documents of spec 08: what is printed is what the schemas promise.

use serde_json::Value;

use crate::sandbox::Sandbox;

fn schema(sandbox: &Sandbox, name: &str) -> jsonschema::Validator {
    let (code, schema) = sandbox.json(&["schema", name]);
    assert_eq!(code, 0);
    jsonschema::options().build(&schema).unwrap()
}

#[test]
fn printed_plans_fit_the_schema_and_are_plan_files() {
    let sandbox = Sandbox::new();
    sandbox.write("sales.csv", "region,category,amount\nN,A,1\n");
    let validator = schema(&sandbox, "plan");
    for goal in [
        "Create a summary of the project status",
        "Analyze sales.csv by region and category",
        "Convert sales.csv to json",
        "Clean sales.csv",
        "Find region in the files",
        "List all csv files",
    ] {
        let (code, plan) = sandbox.json(&["plan", goal]);
        assert_eq!(code, 0, "{goal}: {plan}");
        let problems: Vec<String> =
            validator.iter_errors(&plan).map(|e| format!("{e} at {}", e.instance_path())).collect();
        assert_eq!(problems, Vec::<String>::new(), "{goal}");
        sandbox.write("plan.json", &plan.to_string());
        let (code, verdict) = sandbox.json(&["validate", "plan.json"]);
        assert_eq!((code, &verdict["valid"]), (0, &true.into()), "{goal}: {verdict}");
        // Every one of the library runs for real.
        let (code, result) = sandbox.json(&["execute", "plan.json"]);
        assert_eq!((code, &result["status"]), (0, &"COMPLETED".into()), "{goal}: {result}");
        // And with what the run added it is still a plan file.
        let (_, shown) = sandbox.json(&["show", result["plan_id"].as_str().unwrap()]);
        let problems: Vec<String> = validator
            .iter_errors(&shown)
            .map(|e| format!("{e} at {}", e.instance_path()))
            .collect();
        assert_eq!(problems, Vec::<String>::new(), "{goal}");
        sandbox.write("shown.json", &shown.to_string());
        assert_eq!(sandbox.json(&["validate", "shown.json"]).0, 0, "{goal}");
    }
}

#[test]
fn embedded_templates_fit_their_schema_and_their_examples() {
    let sandbox = Sandbox::new();
    let validator = schema(&sandbox, "template");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../connect/templates");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let value: Value = l05_core::document::parse(
            &text,
            l05_core::document::DocumentFormat::Yaml,
            Default::default(),
        )
        .unwrap();
        let problems: Vec<String> = validator
            .iter_errors(&value)
            .map(|e| format!("{e} at {}", e.instance_path()))
            .collect();
        assert_eq!(problems, Vec::<String>::new());
        count += 1;
    }
    let (code, tested) = sandbox.json(&["templates", "test"]);
    assert_eq!((code, &tested["failures"]), (0, &serde_json::json!([])));
    assert!(tested["tried"].as_u64().unwrap() as usize >= 4 * count);
    let (_, list) = sandbox.json(&["templates", "list"]);
    assert_eq!(list.as_array().unwrap().len(), count);
}

#[test]
fn the_lists_are_whole() {
    let sandbox = Sandbox::new();
    let (_, errors) = sandbox.json(&["errors"]);
    for row in errors.as_array().unwrap() {
        for field in
            ["code", "name", "category", "message", "retryable", "grpc", "http", "suggestion"]
        {
            assert!(!row[field].is_null(), "{row} lacks {field}");
        }
    }
    let (_, tools) = sandbox.json(&["tools", "list"]);
    let names: Vec<&str> =
        tools["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "data.compare",
            "data.query",
            "data.read",
            "data.write",
            "fail",
            "fs.list",
            "fs.read",
            "fs.search",
            "fs.write",
            "git.summary",
            "human.approve",
            "json.select",
            "text.render",
            "time.wait",
        ]
    );
    let (_, config) = sandbox.json(&["config", "show"]);
    assert_eq!(config["store.data_dir"]["origin"], "L05_DATA_DIR");
    assert_eq!(sandbox.json(&["config", "check"]).0, 0);
    let (_, keys) = sandbox.json(&["config", "keys"]);
    assert_eq!(keys.as_array().unwrap().len(), config.as_object().unwrap().len());
    let validator = schema(&sandbox, "config");
    assert!(validator.is_valid(&serde_json::json!({"input": {"policy": "prose"}})));
    assert!(!validator.is_valid(&serde_json::json!({"input": {"policy": "lax"}})));
}

#[test]
fn other_forms_of_output() {
    let sandbox = Sandbox::new();
    let yaml = sandbox.run(&["check-goal", "hello", "--output", "yaml"]);
    assert_eq!(yaml.stdout, "accepted: true\npolicy: strict\n");
    sandbox.write("plan.yaml", "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 0}}\n  - {id: \"b c\", tool: time.wait, depends_on: [{task: a, condition: 'true'}], inputs: {seconds: 0}}\n");
    let draw = |format: &str| sandbox.run(&["graph", "plan.yaml", "--format", format]).stdout;
    assert_eq!(draw("ascii"), "a\n  b c  <- a\n");
    assert_eq!(draw("mermaid"), "flowchart TD\n  t0[\"a\"]\n  t1[\"b c\"]\n  t0 -.-> t1\n");
    assert!(draw("dot").contains("t0 -> t1 [style=dashed];"));
    let quiet = sandbox.run(&["execute", "plan.yaml", "--quiet"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    let id = sandbox.newest_plan().unwrap();
    for command in ["status", "show", "events", "watch"] {
        assert_eq!(sandbox.run(&[command, &id]).code, 0, "{command}");
    }
    assert_eq!(sandbox.run(&["retry", &id]).code, 3);
    assert_eq!(sandbox.run(&["retry", &id, "--from", "b c", "-q"]).code, 0);
    let (_, shown) = sandbox.json(&["show", &id]);
    assert_eq!(shown["tasks"][1]["attempts"].as_array().unwrap().len(), 2, "attempt numbers go on");
    assert!(sandbox.run(&["completions", "bash"]).stdout.contains("l05"));
}

/// What spec 01 says of a plan and its tasks stands in what is printed of them.
#[test]
fn printed_plans_tell_graph_agents_times_and_approval() {
    let sandbox = Sandbox::new();
    let (_, plan) = sandbox.json(&["plan", "Create a summary of the project status"]);
    let tasks = plan["tasks"].as_array().unwrap();
    assert_eq!(plan["dependency_graph"].as_object().unwrap().len(), tasks.len(), "{plan}");
    assert_eq!(plan["approval_status"], "NOT_REQUIRED");
    let text = "goal: x\nconstraints: { require_approval: true }\ntasks:\n  - { id: a, tool: time.wait, inputs: { seconds: 0 } }\n";
    sandbox.write("plan.yaml", text);
    let (code, result) = sandbox.json(&["execute", "plan.yaml"]);
    assert_eq!(code, 6);
    let id = result["plan_id"].as_str().unwrap();
    assert_eq!(sandbox.json(&["show", id]).1["approval_status"], "PENDING");
    assert_eq!(sandbox.run(&["approve", id, "--reason", "looks right"]).code, 0);
    assert_eq!(sandbox.run(&["execute", id]).code, 0);
    let (_, shown) = sandbox.json(&["show", id]);
    assert_eq!(shown["approval_status"], "APPROVED", "{shown}");
    assert!(shown["approval_rationale"].as_str().unwrap().ends_with("looks right"), "{shown}");
    let task = &shown["tasks"][0];
    assert_eq!(
        (&task["assigned_agent"], &task["created_at"]),
        (&"local".into(), &shown["created_at"])
    );
}

/// A run that was left to workers is not one whose process died.
#[test]
fn a_run_that_nobody_has_begun_waits() {
    let sandbox = Sandbox::new();
    let text = "goal: x\ntasks:\n  - { id: a, tool: time.wait, inputs: { seconds: 0 } }\n";
    sandbox.write("plan.yaml", text);
    let (code, submitted) = sandbox.json(&["execute", "plan.yaml", "--detach"]);
    assert_eq!(code, 0);
    let id = submitted["plan_id"].as_str().unwrap();
    let (_, status) = sandbox.json(&["status", id]);
    let told = (&status["interrupted"], &status["waits_for_worker"]);
    assert_eq!(told, (&false.into(), &true.into()), "{status}");
    let shown = sandbox.run(&["status", id]);
    assert!(shown.stdout.contains("WAITING") && shown.stdout.contains("l05 worker"), "{shown:?}");
    assert_eq!(sandbox.run(&["execute", id]).code, 0);
    assert_eq!(sandbox.json(&["status", id]).1["status"], "COMPLETED");
}
