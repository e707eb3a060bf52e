//! What is noticed about a run, and when.

use super::*;
use crate::event::RunNotice;

/// A chain of two tasks of 10 s each, started at 1,000 ms.
fn begun(constraints: &Value) -> Bench {
    let slow = |id: &str, needs: &[&str]| with(task(id, needs), &json!({"expected_seconds": 10}));
    let tasks = [slow("a", &[]), slow("b", &["a"])];
    let mut bench = Bench::new(&json!({"goal": "x", "constraints": constraints, "tasks": tasks}));
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    bench
}

/// Looks after `seconds`, and journals what is new.
fn look(bench: &mut Bench, seconds: u64) -> Vec<RunNotice> {
    let start = Timestamp(1_000);
    bench.now = start.plus_millis(seconds * 1_000);
    let notices = bench.run.observe(bench.now, start, |_, _| Some(start));
    let decision = bench.send(RunCommand::Notice { notices });
    let told = decision.events.into_iter().map(|event| match event {
        RunEvent::Noticed { notice } => notice,
        other => panic!("{other:?}"),
    });
    told.collect()
}

#[test]
fn a_straggler_is_told_once() {
    let mut bench = begun(&json!({}));
    assert_eq!(look(&mut bench, 20), []);
    let told = look(&mut bench, 21);
    let (task, attempt) = (TaskIndex(0), Attempt(1));
    let (elapsed_millis, expected_millis) = (21_000, 10_000);
    assert_eq!(told, [RunNotice::Straggler { task, attempt, elapsed_millis, expected_millis }]);
    assert_eq!(look(&mut bench, 40), []);
    assert!(bench.refold().agrees_with(&bench.run));
}

#[test]
fn a_deadline_is_at_risk_when_the_chain_that_is_left_is_too_long() {
    let mut bench = begun(&json!({"max_execution_time_sec": 25}));
    // The first task may end at any moment, the second takes ten seconds.
    assert_eq!(look(&mut bench, 14), []);
    let told = look(&mut bench, 16);
    let (forecast, deadline) = (Timestamp(27_000), Timestamp(26_000));
    assert_eq!(told, [RunNotice::DeadlineAtRisk { forecast, deadline }]);
    assert_eq!(look(&mut bench, 17), []);
}

#[test]
fn a_run_without_room_stands_still() {
    let mut bench = begun(&json!({}));
    let first = RunCommand::Report {
        task: TaskIndex(0),
        attempt: Attempt(1),
        outcome: done(&json!(1)),
        usage: Some(Usage::default()),
    };
    // The process has no room for the second.
    bench.run.handle(first, bench.now, RunLimits::room(0)).unwrap();
    let look = |at| bench.run.observe(Timestamp(at), Timestamp(1_000), |_, _| None);
    assert_eq!(look(30_999), []);
    let told = look(31_000);
    let (waiting, lacks_agents) = (vec![TaskIndex(1)], false);
    assert_eq!(told, [RunNotice::Stuck { idle_millis: 30_000, waiting, lacks_agents }]);
}
