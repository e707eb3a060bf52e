//! `process.run`: what may run, and what becomes of it.

use std::os::unix::fs::PermissionsExt as _;

use crate::sandbox::{Sandbox, wait_for};

fn script(sandbox: &Sandbox, text: &str) -> String {
    let path = sandbox.write("script", &format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn plan(program: &str, more: &str) -> String {
    format!(
        "goal: run it\ntasks:\n  - {{id: it, tool: process.run, retry: {{max_retries: 0}}, \
         inputs: {{program: \"{program}\"{more}}}}}\n"
    )
}

#[test]
fn no_program_is_run_unless_the_configuration_names_it() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", &plan("cat", ""));
    let off = sandbox.run(&["validate", "plan.yaml"]);
    assert!(off.code == 3 && off.stdout.contains("E5605"), "{off:?}");
    let other = sandbox.run(&["execute", "plan.yaml", "--set", "tools.programs=cut"]);
    assert_eq!(other.code, 1, "{other:?}");
    assert!(
        other.stderr.contains("`cat` is none of tools.programs; did you mean `cut`"),
        "{other:?}"
    );
    let path = sandbox.run(&["execute", "plan.yaml", "--set", "tools.programs=bin/cat"]);
    assert_eq!(path.code, 2, "a relative path is no program: {path:?}");
}

#[test]
fn a_program_gets_its_arguments_input_and_key_and_nothing_else() {
    let sandbox = Sandbox::new();
    let script = script(&sandbox, "cat; echo \"[$1]\"; env | sort; echo oops >&2; exit 3");
    let inputs = ", args: [\"$(id); `id`\"], stdin: \"in\\n\", accept: [3]";
    sandbox.write("plan.yaml", &plan(&script, inputs));
    let set = format!("tools.programs={script}");
    let (code, result) = sandbox.json(&["execute", "plan.yaml", "--set", &set]);
    assert_eq!(code, 0, "{result}");
    let output = &result["outputs"]["it"];
    let id = result["plan_id"].as_str().unwrap();
    let text = output["stdout"].as_str().unwrap();
    assert!(text.starts_with("in\n[$(id); `id`]\n"), "{text}");
    assert!(text.contains(&format!("L05_IDEMPOTENCY_KEY={id}/it/1\n")), "{text}");
    assert!(!text.contains("L05_DATA_DIR") && !text.contains("HOME="), "{text}");
    assert_eq!((&output["exit_code"], &output["stderr"]), (&3.into(), &"oops\n".into()));

    sandbox.write("plan.yaml", &plan(&script, ""));
    let failed = sandbox.run(&["execute", "plan.yaml", "--set", &set]);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("ended with exit code 3: oops"), "{failed:?}");
}

#[test]
fn a_timeout_ends_the_program_and_its_children() {
    let sandbox = Sandbox::new();
    let script = script(&sandbox, "sleep 300 & echo $! > child; wait");
    let plan = plan(&script, "").replace("retry:", "timeout_seconds: 0.5, retry:");
    sandbox.write("plan.yaml", &plan);
    let ran = sandbox.run(&["execute", "plan.yaml", "--set", &format!("tools.programs={script}")]);
    assert!(ran.code == 1 && ran.stdout.contains("E5220"), "{ran:?}");
    let child = sandbox.read("child");
    let state = format!("/proc/{}/stat", child.trim());
    // A killed child that nobody has reaped yet shows as a zombie.
    wait_for("the child's end", || {
        let alive = std::fs::read_to_string(&state).is_ok_and(|stat| !stat.contains(") Z "));
        (!alive).then_some(())
    });
}

#[test]
fn what_a_program_leaves_running_does_not_hold_its_task() {
    let sandbox = Sandbox::new();
    // One child stays in the group and ends with it; one leaves it and keeps the pipe.
    let script = script(&sandbox, "sleep 300 & setsid sleep 5 & echo $$ done");
    sandbox.write("plan.yaml", &plan(&script, ""));
    let set = format!("tools.programs={script}");
    let (code, result) = sandbox.json(&["execute", "plan.yaml", "--set", &set]);
    assert_eq!(code, 0, "{result}");
    assert!(result["outputs"]["it"]["stdout"].as_str().unwrap().ends_with(" done\n"), "{result}");
    assert!(result["usage"]["seconds"].as_f64().unwrap() < 4.0, "{result}");
}
