//! Plans that wait for people, across processes: nothing runs before the answer, whoever gives it.

use std::io::Write as _;

use serde_json::json;

use crate::sandbox::{Running, Sandbox, wait_for};

const GATED: &str = "goal: publish\ntasks:
  - {id: write, tool: fs.write, inputs: {path: draft.txt, text: hello}}
  - {id: ask, tool: human.approve, depends_on: [write], inputs: {question: 'publish it?'}}
  - {id: publish, tool: fs.write, depends_on: [ask], inputs: {path: public.txt, text: 'by ${[ask].output.by}'}}
";

#[test]
fn a_gate_waits_in_the_journal_and_goes_on_in_another_process() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", GATED);
    let ran = sandbox.run(&["execute", "plan.yaml"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    let id = sandbox.newest_plan().unwrap();
    assert!(ran.stderr.contains(&format!("l05 approve {id}")), "{}", ran.stderr);
    assert_eq!(sandbox.read("draft.txt"), "hello");
    assert!(!sandbox.work().join("public.txt").exists());

    let (_, status) = sandbox.json(&["status", &id]);
    assert_eq!(status["waiting_for"][0]["task_id"], "ask", "{status}");
    assert_eq!(status["tasks"][1]["waiting_for"], "approval", "{status}");
    assert_eq!(status["interrupted"], false, "waiting for a person is no crash");
    // Asked once more, it still waits, and what completed is not run again.
    assert_eq!(sandbox.run(&["execute", &id]).code, 6);

    let wrong = sandbox.run(&["approve", &id, "--task", "write"]);
    assert_eq!(wrong.code, 3, "{wrong:?}");
    assert!(wrong.stderr.contains("waits for no approval"), "{wrong:?}");
    let approved = sandbox.run(&["approve", &id, "--reason", "read it"]);
    assert_eq!(approved.code, 0, "{approved:?}");
    assert!(!sandbox.work().join("public.txt").exists(), "an answer alone runs nothing");
    let ran = sandbox.run(&["execute", &id]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(sandbox.read("public.txt").starts_with("by "));

    let (_, shown) = sandbox.json(&["show", &id]);
    assert_eq!(shown["tasks"][1]["outputs"]["reason"], "read it", "{shown}");
    assert_eq!(shown["tasks"][0]["attempts"].as_array().unwrap().len(), 1, "{shown}");
    let again = sandbox.run(&["approve", &id]);
    assert_eq!(again.code, 3, "nothing waits any more: {again:?}");
}

#[test]
fn a_refusal_fails_the_task_and_a_retry_asks_again() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", GATED);
    assert_eq!(sandbox.run(&["execute", "plan.yaml"]).code, 6);
    let id = sandbox.newest_plan().unwrap();
    assert_eq!(sandbox.run(&["reject", &id, "--reason", "typo"]).code, 0);
    let (code, result) = sandbox.json(&["execute", &id]);
    assert_eq!((code, &result["error"]["code"]), (3, &"E5204".into()), "{result}");
    let (_, status) = sandbox.json(&["status", &id]);
    assert_eq!(status["status"], "FAILED", "{status}");
    assert_eq!(status["tasks"][1]["error"]["code"], "E5241", "{status}");
    assert_eq!(status["tasks"][2]["status"], "BLOCKED", "{status}");
    let retried = sandbox.run(&["retry", &id]);
    assert_eq!(retried.code, 6, "it is asked again: {retried:?}");
    assert_eq!(sandbox.run(&["approve", &id]).code, 0);
    assert_eq!(sandbox.run(&["execute", &id]).code, 0);
}

#[test]
fn a_plan_that_has_to_be_approved_starts_nothing_before() {
    let sandbox = Sandbox::new();
    let plan = json!({"goal": "x", "constraints": {"require_approval": true}, "tasks": [
        {"id": "a", "tool": "fs.write", "inputs": {"path": "made.txt", "text": "x"}}]});
    sandbox.write("plan.json", &plan.to_string());
    let ran = sandbox.run(&["execute", "plan.json"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stderr.contains("the goal asks for it"), "{ran:?}");
    assert!(!sandbox.work().join("made.txt").exists());
    let id = sandbox.newest_plan().unwrap();
    let (_, status) = sandbox.json(&["status", &id]);
    assert_eq!(status["status"], "PENDING_APPROVAL", "{status}");
    assert_eq!(sandbox.run(&["approve", &id]).code, 0);
    assert_eq!(sandbox.run(&["execute", &id]).code, 0);
    assert_eq!(sandbox.read("made.txt"), "x");

    // `--yes` stands for whoever starts the run, not for an approver of the configuration's.
    std::fs::remove_file(sandbox.work().join("made.txt")).unwrap();
    assert_eq!(sandbox.run(&["execute", "plan.json", "--yes"]).code, 0);
    let reserved = ["execute", "plan.json", "--yes", "--set", "approvals.complexity_over=0.5"];
    let ran = sandbox.run(&reserved);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stderr.contains("approvals.complexity_over"), "{ran:?}");
    let id = sandbox.newest_plan().unwrap();
    assert_eq!(sandbox.run(&["reject", &id]).code, 0);
    let (_, status) = sandbox.json(&["status", &id]);
    assert_eq!(status["status"], "FAILED", "{status}");
}

#[test]
fn a_fan_out_gives_its_results_in_order() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "goal: many\ntasks:
  - {id: list, tool: json.select, inputs: {value: [{n: 3}, {n: 1}, {n: 2}], path: '$$[*].n'}}
  - {id: each, tool: json.select, for_each: {in: '$[list].output.matches', max_items: 10}, inputs: {value: {n: '$[item]', at: '$[index]'}, path: '$'}}
  - {id: all, tool: json.select, inputs: {value: '$[each].output', path: '$$[*].matches[0].n'}}
",
    );
    let (code, result) = sandbox.json(&["execute", "plan.yaml"]);
    assert_eq!(code, 0, "{result}");
    assert_eq!(result["outputs"]["all"]["matches"], json!([3, 1, 2]), "{result}");
    let id = sandbox.newest_plan().unwrap();
    let (_, status) = sandbox.json(&["status", &id]);
    let names: Vec<&str> = status["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["task_id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["list", "each", "each[0]", "each[1]", "each[2]", "all"]);
}

/// A worker that takes the run up as soon as it is let go of changes nothing for whoever waits here.
#[test]
fn waiting_ends_beside_a_worker_too() {
    let sandbox = Sandbox::new();
    let worker = sandbox.spawn(&["worker"]);
    for n in 0..6 {
        let gated =
            GATED.replace("draft", &format!("draft{n}")).replace("public", &format!("p{n}"));
        sandbox.write("plan.yaml", &gated);
        assert_eq!(sandbox.run(&["execute", "plan.yaml"]).code, 6);
    }
    drop(worker);
}

/// Ctrl-C at the question is no answer.
#[test]
fn a_question_that_is_left_stays_open() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", GATED);
    let log = std::fs::File::create(sandbox.work().join("terminal.log")).unwrap();
    let mut child = sandbox.in_terminal("execute plan.yaml").stdout(log).spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let terminal = Running::of(child);
    wait_for("the question", || sandbox.read("terminal.log").contains("Go on?").then_some(()));
    keys.write_all(b"\x03").unwrap();
    assert_eq!(terminal.wait(), 130, "{}", sandbox.read("terminal.log"));
    assert!(sandbox.read("terminal.log").contains("the question stays open"));
    let id = sandbox.newest_plan().unwrap();
    let (_, status) = sandbox.json(&["status", &id]);
    assert_eq!(status["waiting_for"][0]["task_id"], "ask", "{status}");
}

/// At a terminal, while the question stands there, somebody answers it elsewhere and a worker takes
/// the run up: the terminal follows it to its end.
#[test]
fn a_question_that_was_answered_elsewhere_is_followed_to_the_end() {
    let sandbox = Sandbox::new();
    let slow = "  - {id: rest, tool: time.wait, depends_on: [publish], inputs: {seconds: 4}}\n";
    sandbox.write("plan.yaml", &format!("{GATED}{slow}"));
    let log = std::fs::File::create(sandbox.work().join("terminal.log")).unwrap();
    let mut child = sandbox.in_terminal("execute plan.yaml").stdout(log).spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let terminal = Running::of(child);
    wait_for("the question", || sandbox.read("terminal.log").contains("Go on?").then_some(()));
    let id = sandbox.newest_plan().unwrap();
    assert_eq!(sandbox.run(&["approve", &id]).code, 0);
    let worker = sandbox.spawn(&["worker"]);
    wait_for("the worker", || sandbox.work().join("public.txt").exists().then_some(()));
    keys.write_all(b"y\n").unwrap();
    assert_eq!(terminal.wait(), 0, "{}", sandbox.read("terminal.log"));
    let shown = sandbox.read("terminal.log");
    assert!(shown.contains("was answered elsewhere meanwhile"), "{shown}");
    assert!(shown.contains("is being run by another process; following it"), "{shown}");
    assert!(shown.contains("COMPLETED in "), "{shown}");
    drop(worker);
}
