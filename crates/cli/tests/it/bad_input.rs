//! Bad input, each with the code and the words it must be answered with. Never a panic.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::sandbox::{Ran, Sandbox};

/// Runs and checks exit code and what must be said; and that nothing panicked.
fn check(sandbox: &Sandbox, arguments: &[&str], code: i32, parts: &[&str]) -> Ran {
    let ran = sandbox.run(arguments);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, code, "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{arguments:?} does not say `{part}`:\n{said}");
    }
    ran
}

#[test]
fn the_command_line() {
    let sandbox = Sandbox::new();
    check(&sandbox, &["exceute", "x"], 2, &["execute"]);
    check(&sandbox, &["run"], 2, &["GOAL"]);
    check(&sandbox, &["status", "nope"], 4, &["E5002", "nope"]);
    check(
        &sandbox,
        &["status", "01990000-0000-7000-8000-000000000000"],
        4,
        &["E5002", "l05 history"],
    );
    check(
        &sandbox,
        &["history", "--set", "input.polcy=x"],
        2,
        &["E5000", "did you mean `input.policy`"],
    );
    check(&sandbox, &["history", "--set", "decomposition.max_tasks=5"], 2, &["10 to 1000000"]);
    check(&sandbox, &["errors", "E9999"], 4, &["E9999"]);
    check(&sandbox, &["tools", "show", "fs.raed"], 4, &["fs.read"]);
    check(&sandbox, &["templates", "show", "project-sumary"], 4, &["project-summary"]);
    let ran = check(&sandbox, &["statsu", "x", "--output", "json"], 2, &[]);
    assert_eq!(ran.json()["error"]["code"], "E5000");
}

#[test]
fn goals() {
    let sandbox = Sandbox::new();
    check(&sandbox, &["run", "Update the docs"], 3, &["E5004", "Update", "input.policy=prose"]);
    check(&sandbox, &["run", ""], 3, &["E5001"]);
    check(&sandbox, &["run", "x; rm -rf /", "--set", "input.policy=prose"], 3, &["E5004", "rm"]);
    check(&sandbox, &["run", "Bake a cake"], 3, &["E5105", "templates"]);
    check(
        &sandbox,
        &["run", "Bake a cake", "--strategy", "llm"],
        5,
        &["E5101", "no model gateway"],
    );
    check(
        &sandbox,
        &["run", "Convert a.csv to json", "--input", "fiel=x"],
        3,
        &["E5113", "fiel", "file"],
    );
    let goal = "Create a summary of the project status";
    check(&sandbox, &["run", goal, "--input", "commits=many"], 3, &["E5113", "commits", "integer"]);
    check(&sandbox, &["run", goal, "--deadline", "soon"], 2, &["soon", "10m"]);
    check(&sandbox, &["run", goal, "--workspace", "nowhere"], 2, &["nowhere"]);
    // The same words pass as prose, and then no template fits.
    check(&sandbox, &["run", "Update the docs", "--set", "input.policy=prose"], 3, &["E5105"]);
    check(&sandbox, &["check-goal", "Update the docs"], 3, &["refused", "Update"]);
    check(
        &sandbox,
        &["check-goal", "Update the docs", "--set", "input.policy=prose"],
        0,
        &["accepted"],
    );
}

#[test]
fn plan_files() {
    let sandbox = Sandbox::new();
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "typo",
            "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 1}, timeot_seconds: 3}",
            &["E5604", "tasks[0].timeot_seconds", "timeout_seconds"],
        ),
        ("tabs", "goal: x\ntasks:\n\t- {id: a}", &["line 3", "tab"]),
        ("empty", "", &["E5604", "empty"]),
        ("blank", "  \n\n", &["empty"]),
        ("scalar", "hello", &["mapping"]),
        ("no-tasks", "goal: x\ntasks: []", &["E5102"]),
        (
            "cycle",
            "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 1}, depends_on: [b]}\n  - {id: b, tool: time.wait, inputs: {seconds: 1}, depends_on: [a]}",
            &["E5301", "a -> b -> a"],
        ),
        (
            "self",
            "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 1}, depends_on: [a]}",
            &["E5301", "a -> a"],
        ),
        (
            "tool",
            "goal: x\ntasks:\n  - {id: a, tool: fs.raed, inputs: {path: x}}",
            &["E5605", "fs.raed", "did you mean", "fs.read"],
        ),
        (
            "input",
            "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {second: 1}}",
            &["E5405", "seconds", "E5602", "`second`"],
        ),
        (
            "type",
            "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: long}}",
            &["E5602", "seconds"],
        ),
        (
            "reference",
            "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 1}}\n  - {id: b, tool: json.select, inputs: {value: \"$[a].output.waited\", path: $}}",
            &["E5602", "never has `waited`", "waited_seconds"],
        ),
        (
            "missing",
            "goal: x\ntasks:\n  - {id: fetch, tool: time.wait, inputs: {seconds: 1}, depends_on: [fecth, gone]}",
            &["E5302", "fecth", "did you mean `fetch`", "gone"],
        ),
        (
            "twice",
            "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 1}}\n  - {id: a, tool: time.wait, inputs: {seconds: 1}}",
            &["E5303", "tasks[1]"],
        ),
        (
            "number",
            "goal: x\ninputs: {n: 9007199254740993}\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 1}}",
            &["E5604", "9007199254740993", "as a string"],
        ),
        (
            "constraint",
            "goal: x\nconstraints: {max_parallelism: 0, token_budget: -5}\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 1}}",
            &["E5604", "max_parallelism", "token_budget"],
        ),
        (
            "deadline",
            "goal: x\nconstraints: {deadline_unix_ms: 1000}\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 1}}",
            &["E5730", "1970"],
        ),
        (
            "condition",
            "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 1}}\n  - {id: b, tool: time.wait, inputs: {seconds: 1}, depends_on: [{task: a, condition: 'output.x >'}]}",
            &["E5310"],
        ),
        (
            "forbidden",
            "goal: x\nconstraints: {forbidden_tools: [time.wait]}\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 1}}",
            &["E5606", "time.wait"],
        ),
        (
            "splice",
            "goal: x\ntasks:\n  - {id: a, tool: data.read, inputs: {path: x.csv}}\n  - {id: b, tool: data.query, inputs: {table: '$[a].output.table', sql: 'select ${[a].output.rows}'}}",
            &["E5602", "run as code"],
        ),
        (
            "secret",
            "goal: x\ntasks:\n  - {id: a, tool: fs.write, inputs: {path: x, text: 'secret://token'}}",
            &["E5402", "token"],
        ),
        ("atomic", "goal: x\ntasks:\n  - {id: a, name: think}", &["E5209", "agent"]),
        ("model", "goal: x\ntasks:\n  - {id: a, prompt: think}", &["E5902", "model"]),
        (
            "id",
            "goal: x\ntasks:\n  - {id: inputs, tool: time.wait, inputs: {seconds: 1}}",
            &["E5604", "reserved"],
        ),
    ];
    for (name, text, parts) in cases {
        let file = format!("{name}.yaml");
        sandbox.write(&file, text);
        check(&sandbox, &["validate", &file], 3, parts);
        check(&sandbox, &["execute", &file], 3, &parts[..1]);
    }
    assert!(sandbox.newest_plan().is_none(), "nothing of all this was stored");
    // Several problems are one error that holds them all.
    sandbox.write("two.yaml", "goal: x\ntasks:\n  - {id: a, tool: fs.raed}\n  - {id: b, tool: time.wayt, depends_on: [c]}");
    let (code, two) = sandbox.json(&["execute", "two.yaml"]);
    assert_eq!((code, &two["error"]["code"]), (3, &"E5601".into()));
    assert_eq!(two["error"]["details"]["findings"].as_array().unwrap().len(), 3, "{two}");
    let many: String = (0..12)
        .map(|i| format!("  - {{id: t{i}, tool: time.wait, inputs: {{seconds: 0}}}}\n"))
        .collect();
    sandbox.write("many.yaml", &format!("goal: x\ntasks:\n{many}"));
    check(
        &sandbox,
        &["validate", "many.yaml", "--set", "validation.max_complexity=11"],
        3,
        &["E5112", "12"],
    );
    check(
        &sandbox,
        &["validate", "many.yaml", "--set", "decomposition.max_tasks=11"],
        3,
        &["E5102", "12"],
    );
    sandbox.write(
        "plain.yaml",
        "goal: x\ntasks:\n  - {id: a, tool: vault.write, inputs: {password: hunter2}}",
    );
    sandbox.write("catalog.json", "{\"tools\": [{\"name\": \"vault.write\"}]}");
    let plain = ["validate", "plain.yaml", "--catalog", "catalog.json"];
    check(&sandbox, &plain, 0, &["warning", "E5613", "password"]);
    check(&sandbox, &[&plain[..], &["--strict"]].concat(), 3, &["E5613"]);
    check(&sandbox, &["validate", "none.yaml"], 4, &["none.yaml"]);
    check(&sandbox, &["validate", "."], 3, &["folder"]);
    std::fs::write(sandbox.work().join("binary.yaml"), [0xff, 0xfe, 0, 1]).unwrap();
    check(&sandbox, &["validate", "binary.yaml"], 3, &["UTF-8"]);
    std::fs::File::create(sandbox.work().join("huge.yaml")).unwrap().set_len(200 << 20).unwrap();
    check(&sandbox, &["validate", "huge.yaml"], 3, &["E5006", "209715200", "max_document_mb"]);
    sandbox.write("deep.json", &"[".repeat(100_000));
    check(&sandbox, &["validate", "deep.json"], 3, &["E5604"]);
}

#[test]
fn template_files() {
    let sandbox = Sandbox::new();
    let folder =
        format!("decomposition.templates_dir={}", sandbox.work().join("templates").display());
    let list = ["templates", "list", "--set", &folder];
    check(&sandbox, &list, 3, &["E5114", "templates"]);
    sandbox.write("templates/bad.yaml", "id: bad\nversion: one\ndescription: x\nmatch: {patterns: ['(']}\ntasks: [{id: a, tool: time.wait, inputs: {seconds: '{{ n }}'}}]");
    check(
        &sandbox,
        &list,
        3,
        &["E5114", "bad.yaml", "version", "patterns[0]", "`{{ n }}` names no parameter"],
    );
    sandbox.write("templates/bad.yaml", "id: bad\n\tversion: 1");
    check(&sandbox, &list, 3, &["E5114", "line 1", "tab"]);
    // A good one adds to the library and may replace a built-in one.
    sandbox.write("templates/bad.yaml", "id: nap\nversion: 1.0.0\ndescription: Waits\nmatch: {patterns: ['take a nap(?: of (?P<seconds>[0-9.]+) seconds)?']}\nparameters: [{name: seconds, type: number, default: 0}]\nexamples: {match: [Take a nap], no_match: [Work]}\ntasks: [{id: a, tool: time.wait, inputs: {seconds: '{{ seconds }}'}}]");
    check(&sandbox, &list, 0, &["nap", "project-summary"]);
    check(&sandbox, &["templates", "test", "--set", &folder], 0, &["0 failed"]);
    let ran = check(
        &sandbox,
        &["run", "Take a nap of 0.01 seconds", "--set", &folder, "--output", "json"],
        0,
        &[],
    );
    assert_eq!(ran.json()["outputs"]["a"]["waited_seconds"], 0.01);
}

#[test]
fn a_plan_changed_after_signing_is_refused() {
    let sandbox = Sandbox::new();
    let (code, plan) = sandbox.json(&["plan", "Create a summary of the project status"]);
    assert_eq!(code, 0);
    let mut changed = plan.clone();
    changed["tasks"][6]["inputs"]["path"] = "../stolen.md".into();
    sandbox.write("changed.json", &changed.to_string());
    check(&sandbox, &["execute", "changed.json"], 3, &["E5610", "changed"]);
    sandbox.write("plan.json", &plan.to_string());
    check(&sandbox, &["execute", "plan.json", "-q"], 0, &["COMPLETED"]);
    // Without the signature it is a new plan, judged by itself: tools do not leave the workspace.
    changed.as_object_mut().unwrap().remove("signature");
    sandbox.write("unsigned.json", &changed.to_string());
    check(
        &sandbox,
        &["execute", "unsigned.json", "-q"],
        3,
        &["E5403", "leads out of the workspace"],
    );
    let required = ["execute", "unsigned.json", "--set", "security.require_signed_plans=true"];
    check(&sandbox, &required, 3, &["E5611"]);
}

#[test]
fn a_stored_plan_or_journal_that_was_changed_is_refused() {
    let sandbox = Sandbox::new();
    sandbox
        .write("plan.yaml", "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 0}}");
    check(&sandbox, &["execute", "plan.yaml", "-q"], 0, &[]);
    let id = sandbox.newest_plan().unwrap();
    check(&sandbox, &["execute", &id], 0, &["has completed; this is its result"]);
    let behind = |sql: &str| {
        let database = sandbox.data().join("l05.db");
        let connection = rusqlite::Connection::open(database).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    behind("UPDATE journal SET body = CAST(replace(CAST(body AS TEXT), 'task', 'tasl') AS BLOB)");
    check(&sandbox, &["show", &id], 5, &["E5805", "checksum", &id]);
    behind(
        "UPDATE document SET json = CAST(replace(CAST(json AS TEXT), 'time.wait', 'time.wayt') AS BLOB)",
    );
    check(&sandbox, &["show", &id], 3, &["E5610"]);
    check(&sandbox, &["history"], 0, &[&id]);
}

#[test]
fn data_folders_that_cannot_be_used() {
    let sandbox = Sandbox::new();
    sandbox
        .write("plan.yaml", "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 0}}");
    sandbox.write("file", "");
    check(&sandbox, &["history", "--data-dir", "file"], 2, &["E5000", "file"]);
    check(&sandbox, &["history"], 0, &["no plans"]);
    let key = sandbox.data().join("master.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    check(&sandbox, &["history"], 5, &["E5612", "chmod 600"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&key, "short").unwrap();
    check(&sandbox, &["history"], 5, &["E5612", "32 bytes"]);
    // Read-only for everybody but the superuser, who is made to respect it by an attribute that
    // not every file system has; a folder in /proc is read-only for all.
    check(
        &sandbox,
        &["execute", "plan.yaml", "--data-dir", "/proc/l05"],
        2,
        &["E5000", "/proc/l05"],
    );
}

#[test]
fn no_room_for_the_journal() {
    let sandbox = Sandbox::new();
    sandbox
        .write("plan.yaml", "goal: x\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 0}}");
    check(&sandbox, &["execute", "plan.yaml", "-q"], 0, &[]);
    let size = std::fs::metadata(sandbox.data().join("l05.db")).unwrap().len();
    let mut tasks = String::new();
    for i in 0..150 {
        tasks.push_str(&format!(
            "  - {{id: t{i}, tool: json.select, inputs: {{value: \"{}\", path: $}}}}\n",
            "x".repeat(9_000)
        ));
    }
    sandbox.write("large.yaml", &format!("goal: x\ntasks:\n{tasks}"));
    // The shell's file size limit stands for a full disk: the write fails in the same way.
    let kilobytes = (size / 1024).max(64) + 200;
    let script = format!("ulimit -f {kilobytes}; trap '' XFSZ; exec \"$0\" execute large.yaml -q");
    let output = Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_l05")])
        .current_dir(sandbox.work())
        .env("L05_DATA_DIR", sandbox.data())
        .output()
        .unwrap();
    let ran = Ran::from(output);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, 5, "{said}");
    assert!(said.contains("E5801") && !said.contains("panicked"), "{said}");
    // With room again everything works, and what was there still is.
    let (_, history) = sandbox.json(&["history"]);
    let kept = history["plans"].as_array().unwrap().clone();
    assert_eq!(kept.last().unwrap()["status"], "COMPLETED");
    for plan in kept.iter().filter(|plan| plan["status"] != "COMPLETED") {
        check(&sandbox, &["execute", plan["plan_id"].as_str().unwrap(), "-q"], 0, &["COMPLETED"]);
    }
}
