//! Who gets what, and what becomes of it when they go.

use super::*;
use l05_core::agent::{Agent, AgentStatus};
use l05_core::schedule::RoutingStrategy;

fn agent(id: &str, version: &str, slots: u32) -> Agent {
    serde_json::from_value(json!({
        "agent_id": id, "type": "worker", "version": version, "status": "AVAILABLE",
        "capabilities": ["tool:noop"], "max_concurrent_tasks": slots, "current_load": 0,
        "capacity": {"cpu_cores": 2.0, "memory_mb": 1024}, "last_heartbeat": "1970-01-01T00:00:00Z",
    }))
    .unwrap()
}

fn crew(routing: RoutingStrategy, agents: &[(&str, &str, u32)]) -> Crew {
    let mut crew = Crew::new(routing);
    agents.iter().for_each(|(id, version, slots)| crew.put(agent(id, version, *slots)));
    crew
}

fn start(document: &Value, crew: Crew) -> Bench {
    let mut bench = Bench::new(document);
    bench.crew = Some(crew);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    bench
}

/// Who has what in flight, `task@agent`.
fn in_flight(bench: &Bench) -> String {
    let mut shown: Vec<String> = bench
        .in_flight
        .iter()
        .map(|(task, attempt)| {
            format!("{}#{}@{}", bench.run.name(*task), attempt.0, bench.run.agent(*task))
        })
        .collect();
    shown.sort();
    shown.join(" ")
}

fn lose(bench: &mut Bench, id: &str) {
    bench.crew.as_mut().unwrap().set_status(id, AgentStatus::Offline);
    bench.send(RunCommand::AgentLost { agent: id.into() });
}

fn wide(tasks: usize, extra: &Value) -> Value {
    let tasks: Vec<Value> = (0..tasks).map(|i| with(task(&format!("t{i}"), &[]), extra)).collect();
    json!({"goal": "x", "tasks": tasks})
}

#[test]
fn every_slot_is_used_and_none_twice() {
    let crew = crew(RoutingStrategy::Balanced, &[("a", "1.0.0", 2), ("b", "1.0.0", 1)]);
    let mut bench = start(&wide(5, &json!({})), crew);
    assert_eq!(in_flight(&bench), "t0#1@a t1#1@b t2#1@a");
    assert!(bench.run.lacks_agents() && !bench.run.waits_for_people());
    bench.drive();
    assert!(bench.statuses().starts_with("COMPLETED"), "{}", bench.statuses());
}

#[test]
fn strategies_choose_differently() {
    let check = |routing, expected: &str| {
        let mut crew = crew(routing, &[("a", "1.0.0", 3), ("b", "1.0.0", 3)]);
        let mut able = agent("b", "1.0.0", 3);
        able.capabilities.extend(["x".to_owned(), "y".to_owned(), "z".to_owned()]);
        crew.put(able);
        let chain =
            json!({"goal": "x", "tasks": [task("p", &[]), task("q", &[]), task("r", &["q"])]});
        let mut bench = start(&chain, crew);
        let first = in_flight(&bench);
        let q = bench.run.find("q").unwrap();
        bench.in_flight.retain(|(task, _)| *task != q);
        let attempt = Attempt(1);
        let (outcome, usage) = (done(&json!(1)), Usage::default());
        bench.send(RunCommand::Report { task: q, attempt, outcome, usage: Some(usage) });
        assert_eq!(format!("{first} | {}", in_flight(&bench)), expected, "{routing}");
    };
    check(RoutingStrategy::RoundRobin, "p#1@a q#1@b | p#1@a r#1@a");
    check(RoutingStrategy::Capability, "p#1@a q#1@a | p#1@a r#1@a");
    check(RoutingStrategy::Load, "p#1@b q#1@a | p#1@b r#1@a");
    check(RoutingStrategy::Affinity, "p#1@a q#1@a | p#1@a r#1@a");
}

#[test]
fn a_lost_agents_work_goes_to_another_under_the_same_attempt() {
    let crew = crew(RoutingStrategy::RoundRobin, &[("a", "1.0.0", 4), ("b", "1.0.0", 4)]);
    let mut bench = start(&wide(2, &json!({})), crew);
    assert_eq!(in_flight(&bench), "t0#1@a t1#1@b");
    lose(&mut bench, "a");
    assert_eq!(in_flight(&bench), "t0#1@b t1#1@b");
    assert!(bench.refold().agrees_with(&bench.run));
    bench.drive();
    assert!(bench.statuses().starts_with("COMPLETED"), "{}", bench.statuses());
}

#[test]
fn with_nobody_left_a_task_waits_and_then_fails() {
    let crew = crew(RoutingStrategy::Balanced, &[("a", "1.0.0", 4)]);
    let mut bench = start(&wide(1, &json!({})), crew);
    lose(&mut bench, "a");
    assert_eq!(in_flight(&bench), "");
    // Lost in flight: the attempt failed, and two more are tried.
    bench.drive();
    assert!(bench.statuses().starts_with("FAILED"), "{}", bench.statuses());
    assert_eq!(bench.run.error(TaskIndex(0)).unwrap().code, ErrorCode::AgentUnavailable);
    assert!(bench.refold().agrees_with(&bench.run));
}

#[test]
fn an_agent_that_comes_in_time_gets_what_was_deferred() {
    let mut away = crew(RoutingStrategy::Balanced, &[("a", "1.0.0", 4)]);
    away.set_status("a", AgentStatus::Offline);
    let mut bench = start(&wide(1, &json!({})), away);
    let deferred = |event: &RunEvent| matches!(event, RunEvent::TaskDeferred { .. });
    assert_eq!(bench.journal.iter().flat_map(|r| &r.events).filter(|e| deferred(e)).count(), 1);
    assert_eq!(bench.run.task_status(TaskIndex(0)), TaskStatus::Pending);
    bench.crew.as_mut().unwrap().set_status("a", AgentStatus::Available);
    bench.now = bench.run.wake_at().unwrap();
    bench.send(RunCommand::Wake);
    assert_eq!(in_flight(&bench), "t0#1@a");
}

#[test]
fn what_no_agent_can_do_fails_at_once_with_the_reason() {
    let check = |extra: Value, code: ErrorCode| {
        let crew = crew(RoutingStrategy::Balanced, &[("a", "1.5.0", 4)]);
        let bench = start(&wide(1, &extra), crew);
        assert_eq!(bench.run.status(), PlanStatus::Failed);
        assert_eq!(bench.run.error(TaskIndex(0)).unwrap().code, code);
    };
    check(json!({"agent_version": "^2.0"}), ErrorCode::AgentVersionMismatch);
    let large =
        json!({"resource_estimate": {"memory_mb": {"low": 4096, "expected": 4096, "high": 4096}}});
    check(large, ErrorCode::ResourcesInsufficient);
}

#[test]
fn one_kind_of_work_does_not_keep_another_waiting() {
    let mut crew = crew(RoutingStrategy::Balanced, &[("a", "1.0.0", 1), ("b", "2.0.0", 1)]);
    crew.put(agent("b", "2.0.0", 1));
    let wants = |id: &str, range: &str| with(task(id, &[]), &json!({"agent_version": range}));
    let mut tasks: Vec<Value> = (0..3).map(|i| wants(&format!("old{i}"), "^1")).collect();
    tasks.push(wants("new", "^2"));
    let bench = start(&json!({"goal": "x", "tasks": tasks}), crew);
    assert_eq!(in_flight(&bench), "new#1@b old0#1@a");
}

#[test]
fn a_retry_goes_to_somebody_else() {
    let crew = crew(RoutingStrategy::Balanced, &[("a", "1.0.0", 4), ("b", "1.0.0", 4)]);
    let mut bench = start(&wide(1, &json!({})), crew);
    let (task, attempt) = bench.in_flight.pop_front().unwrap();
    let first = bench.run.agent(task).clone();
    let (outcome, usage) = (fails(ErrorCode::AgentCrashed), Usage::default());
    bench.send(RunCommand::Report { task, attempt, outcome, usage: Some(usage) });
    bench.now = bench.run.wake_at().unwrap();
    bench.send(RunCommand::Wake);
    assert_eq!(bench.run.attempt(task), Attempt(2));
    assert_ne!(*bench.run.agent(task), first);
}
