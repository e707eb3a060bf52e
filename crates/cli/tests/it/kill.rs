//! SIGKILL at fifty seeded moments of one run: the plan finishes, and nothing completed runs again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::sandbox::{Sandbox, wait_for};

const STEPS: usize = 80;
const KILLS: usize = 50;
const SEED: u64 = 0x5eed;

/// A row of steps: a short wait, then a line in a file.
fn plan() -> String {
    let mut plan = "goal: survive\ntasks:\n".to_owned();
    for step in 0..STEPS {
        let before =
            if step == 0 { String::new() } else { format!("depends_on: [write{}], ", step - 1) };
        plan.push_str(&format!(
            "  - {{id: wait{step}, tool: time.wait, {before}inputs: {{seconds: 0.03}}}}\n"
        ));
        plan.push_str(&format!(
            "  - {{id: write{step}, tool: fs.write, depends_on: [wait{step}], \
             inputs: {{path: effects.txt, text: \"write{step}\\n\", if_exists: append}}}}\n"
        ));
    }
    plan
}

fn counts<'a>(items: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item.to_owned()).or_default() += 1;
    }
    counts
}

fn journal_rows(sandbox: &Sandbox) -> i64 {
    let database = rusqlite::Connection::open(sandbox.data().join("l05.db")).unwrap();
    database.query_row("SELECT count(*) FROM journal", [], |row| row.get(0)).unwrap()
}

#[test]
fn fifty_kills_repeat_nothing_that_completed() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", &plan());
    let mut first = sandbox.spawn(&["execute", "plan.yaml"]);
    let id = wait_for("the plan", || sandbox.newest_plan());
    first.kill();

    let mut state = SEED;
    let (mut kills, mut interrupted) = (1, 0);
    while kills < KILLS {
        let (code, status) = sandbox.json(&["status", &id]);
        assert_eq!(code, 0);
        if status["status"] == "COMPLETED" {
            break;
        }
        if status["interrupted"] == true {
            interrupted += 1;
            let hint = status["hint"].as_str().unwrap();
            assert!(hint.contains(&format!("l05 execute {id}")), "{hint}");
        }
        let before = journal_rows(&sandbox);
        // Killed as fast as it comes: the plan is not to blame for it.
        let mut child = sandbox.spawn(&["execute", &id, "--set", "execution.deaths_max=0"]);
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let draw = state >> 33;
        // Three times in four the moment lies after the takeover, else anywhere from the start on.
        if !draw.is_multiple_of(4) {
            wait_for("the takeover", || (journal_rows(&sandbox) > before).then_some(()));
        }
        // The seeded moment. Not a wait for something: the moment is the test's input.
        std::thread::sleep(Duration::from_millis((draw / 4) % 40));
        child.kill();
        kills += 1;
    }
    let (_, status) = sandbox.json(&["status", &id]);
    if status["status"] != "COMPLETED" {
        let ran = sandbox.run(&["execute", &id, "--set", "execution.deaths_max=0"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(kills, KILLS, "the run ended before its last kill");
    assert!(interrupted > KILLS / 2, "only {interrupted} of {kills} kills met a run in progress");

    let (_, events) = sandbox.json(&["events", &id]);
    let events: Vec<Value> = events["events"].as_array().unwrap().clone();
    let of = |kind: &str| {
        counts(events.iter().filter(|e| e["type"] == kind).map(|e| e["task_id"].as_str().unwrap()))
    };
    let (started, completed) = (of("task.started"), of("task.completed"));
    let effects = sandbox.read("effects.txt");
    let lines = counts(effects.lines());
    for step in 0..STEPS {
        let task = format!("write{step}");
        assert_eq!(completed[&task], 1, "{task} completed once");
        let (wrote, begun) = (lines[&task], started[&task]);
        assert!((1..=begun).contains(&wrote), "{task}: {wrote} lines for {begun} starts");
    }
    // After a task's completion is recorded it never starts again.
    let mut done = std::collections::BTreeSet::new();
    for event in &events {
        let task = event["task_id"].as_str().unwrap_or_default();
        match event["type"].as_str().unwrap() {
            "task.completed" => assert!(done.insert(task.to_owned())),
            "task.started" => assert!(!done.contains(task), "{task} ran again"),
            _ => {}
        }
    }
    let adopted = events.iter().filter(|e| e["type"] == "plan.adopted").count();
    assert!(adopted > KILLS / 2, "the history shows {adopted} takeovers");
}
