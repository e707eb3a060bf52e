//! While one process runs a plan, others look on and cancel.

use crate::sandbox::{Running, Sandbox, wait_for};

const LONG: &str = "goal: wait long\ntasks:\n  - {id: short, tool: time.wait, inputs: {seconds: 0.05}}\n  - {id: long, tool: time.wait, depends_on: [short], inputs: {seconds: 600}, timeout_seconds: 900}\n";

/// A process that has come to the long task of its plan.
fn in_the_long_task(sandbox: &Sandbox) -> (Running, String) {
    sandbox.write("plan.yaml", LONG);
    let owner = sandbox.spawn(&["execute", "plan.yaml"]);
    let id = wait_for("the plan", || sandbox.newest_plan());
    wait_for("the long task", || {
        let (_, status) = sandbox.json(&["status", &id]);
        (status["tasks"][1]["status"] == "EXECUTING").then_some(())
    });
    (owner, id)
}

#[test]
fn status_events_watch_and_cancel_from_elsewhere() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", LONG);
    let log = std::fs::File::create(sandbox.work().join("owner.json")).unwrap();
    let owner = sandbox.spawn_to(&["execute", "plan.yaml", "--output", "json"], log);
    let id = wait_for("the plan", || sandbox.newest_plan());
    wait_for("the long task", || {
        let (_, status) = sandbox.json(&["status", &id]);
        (status["tasks"][1]["status"] == "EXECUTING").then_some(())
    });
    let (code, status) = sandbox.json(&["status", &id[..13]]);
    assert_eq!(
        (code, &status["status"], &status["interrupted"]),
        (0, &"EXECUTING".into(), &false.into())
    );
    let (_, events) = sandbox.json(&["events", &id]);
    let kinds: Vec<&str> =
        events["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert!(kinds.starts_with(&["plan.created", "plan.validated", "plan.dispatched"]), "{kinds:?}");

    let held = sandbox.run(&["execute", &id]);
    assert_eq!(held.code, 5, "{held:?}");
    assert!(held.stderr.contains("E5803") && held.stderr.contains("another process"), "{held:?}");

    let watcher = std::thread::scope(|scope| {
        let watching = scope.spawn(|| sandbox.run(&["watch", &id]));
        let cancelled = sandbox.run(&["cancel", &id, "--reason", "enough"]);
        assert_eq!(cancelled.code, 0, "{cancelled:?}");
        assert!(cancelled.stdout.contains("CANCELLED"), "{}", cancelled.stdout);
        watching.join().unwrap()
    });
    assert_eq!(watcher.code, 1);
    assert!(watcher.stdout.contains("plan.cancelled"), "{}", watcher.stdout);
    assert_eq!(owner.wait(), 1, "the owner's run ended CANCELLED");
    let result: serde_json::Value = serde_json::from_str(&sandbox.read("owner.json")).unwrap();
    assert_eq!(
        (&result["status"], &result["error"]["code"]),
        (&"CANCELLED".into(), &"E5240".into())
    );
    let again = sandbox.run(&["cancel", &id]);
    assert_eq!(again.code, 3, "{again:?}");
    assert!(again.stderr.contains("E5202"), "{}", again.stderr);
}

#[test]
fn a_task_that_takes_much_longer_than_expected_is_told() {
    let sandbox = Sandbox::new();
    let plan = "goal: slow\nconstraints: {deadline_seconds: 600}\ntasks:\n  \
                - {id: slow, tool: time.wait, inputs: {seconds: 3}, expected_seconds: 0.1}\n";
    sandbox.write("plan.yaml", plan);
    let ran = sandbox.run(&["execute", "plan.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("slow     slow: ") && ran.stderr.contains("0.1 s were expected"),
        "{ran:?}"
    );
    let id = sandbox.newest_plan().unwrap();
    let (_, events) = sandbox.json(&["events", &id]);
    let told = events["events"].as_array().unwrap().iter();
    assert_eq!(told.filter(|event| event["type"] == "task.straggling").count(), 1, "{events}");
    let explained = sandbox.run(&["explain", &id, "retry"]);
    assert!(explained.stdout.contains("Attempt 1 of `slow` had taken"), "{explained:?}");
}

/// Each task has its line with its time, those too that end together with others.
#[test]
fn progress_tells_every_task() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "goal: x\ntasks:
  - {id: slow, tool: time.wait, inputs: {seconds: 0.4}}
  - {id: a, tool: fs.read, inputs: {path: nothing.txt}, retry: {max_retries: 0}}
  - {id: b, tool: time.wait, depends_on: [a], inputs: {seconds: 0}}
  - {id: c, tool: time.wait, depends_on: [b], inputs: {seconds: 0}}
",
    );
    let ran = sandbox.run(&["execute", "plan.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for line in
        ["[1/4] failed a in 0.", "[2/4] blocked b", "[3/4] blocked c", "[4/4] completed slow in 0."]
    {
        assert!(ran.stderr.contains(line), "{line}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("completed slow in 0.0 s"), "{}", ran.stderr);
}

/// What waits with nothing in flight ends at once, and that is the last that is told.
#[test]
fn a_waiting_plan_that_is_cancelled_ends_with_that() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "goal: x\ntasks:\n  - {id: ask, tool: human.approve, inputs: {question: 'go?'}}\n",
    );
    assert_eq!(sandbox.run(&["execute", "plan.yaml"]).code, 6);
    let id = sandbox.newest_plan().unwrap();
    assert_eq!(sandbox.run(&["cancel", &id]).code, 0);
    let (_, events) = sandbox.json(&["events", &id]);
    assert_eq!(
        events["events"].as_array().unwrap().last().unwrap()["type"],
        "plan.cancelled",
        "{events}"
    );
}

#[test]
fn an_interrupted_plan_can_be_cancelled() {
    let sandbox = Sandbox::new();
    let (mut owner, id) = in_the_long_task(&sandbox);
    owner.kill();
    let status = sandbox.run(&["status", &id]);
    assert!(
        status.stdout.contains("INTERRUPTED")
            && status.stdout.contains(&format!("l05 execute {id}"))
    );
    let cancelled = sandbox.run(&["cancel", &id]);
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    let (_, status) = sandbox.json(&["status", &id]);
    assert_eq!(status["status"], "CANCELLED");
}

#[test]
fn two_runs_at_once_on_one_data_folder_both_work() {
    let sandbox = Sandbox::new();
    sandbox.write("sub/a.txt", "one\n");
    let runs: Vec<_> =
        (0..4).map(|_| sandbox.spawn(&["run", "Create a summary of the project status"])).collect();
    for run in runs {
        assert_eq!(run.wait(), 0);
    }
    let reports = std::fs::read_dir(sandbox.work()).unwrap().flatten();
    let reports =
        reports.filter(|e| e.file_name().to_string_lossy().starts_with("project-status")).count();
    assert_eq!(reports, 4, "each wrote a report of its own");
}

/// What another process asked of a run is not lost when the owner dies before it has acted.
#[test]
fn a_cancellation_outlives_the_owner_that_did_not_hear_it() {
    let sandbox = Sandbox::new();
    let (mut owner, id) = in_the_long_task(&sandbox);
    let signal = |name: &str| {
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args([name, &owner.id().to_string()]).status().unwrap().success());
    };
    // It hears nothing any more, and is still alive for the store.
    signal("-STOP");
    let mut asking = sandbox.spawn(&["cancel", &id, "--reason", "enough"]);
    let database = rusqlite::Connection::open(sandbox.data().join("l05.db")).unwrap();
    wait_for("the request", || {
        let asked: i64 =
            database.query_row("SELECT count(*) FROM posted", [], |row| row.get(0)).unwrap();
        (asked > 0).then_some(())
    });
    // Whoever asked would see to it as long as it lives.
    asking.kill();
    owner.kill();
    let next = sandbox.run(&["execute", &id]);
    assert_eq!(next.code, 1, "{next:?}");
    let (_, status) = sandbox.json(&["status", &id]);
    assert_eq!(status["status"], "CANCELLED", "{status}");
}
