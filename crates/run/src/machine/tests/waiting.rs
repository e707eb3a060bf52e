//! Fan-outs, gates and budgets.

use super::random_runs::check_counters;
use super::*;

fn statuses_of(document: &Value, prepare: impl FnOnce(Bench) -> Bench) -> (String, Bench) {
    let bench = prepare(Bench::new(document)).run_to_end();
    (bench.statuses(), bench)
}

fn fan_out(extra: &Value) -> Value {
    let map = with(
        json!({"id": "map", "tool": "noop", "for_each": {"in": "$[list].output.items", "max_items": 3}}),
        extra,
    );
    json!({"goal": "x", "tasks": [task("list", &[]), map, task("after", &["map"])]})
}

fn last_output(bench: &Bench, name: &str) -> Option<TaskOutput> {
    bench.run.output(bench.run.find(name).unwrap()).cloned()
}

fn events_of(bench: &Bench, wanted: fn(&RunEvent) -> bool) -> usize {
    bench.journal.iter().flat_map(|record| &record.events).filter(|e| wanted(e)).count()
}

#[test]
fn items_run_at_once_and_their_results_stand_in_order() {
    let (statuses, bench) = statuses_of(&fan_out(&json!({})), |bench| {
        bench
            .script("map[0]", [done(&json!("a"))])
            .script("map[1]", [fails(ErrorCode::TaskFailed), done(&json!("b"))])
    });
    assert_eq!(
        statuses,
        "COMPLETED list:COMPLETED map:COMPLETED after:COMPLETED map[0]:COMPLETED map[1]:COMPLETED"
    );
    let text = |s: &str| Some(TaskOutput::Inline(Arc::new(json!(s))));
    assert_eq!(last_output(&bench, "map"), Some(TaskOutput::List([text("a"), text("b")].into())));
    assert_eq!(bench.run.map_item(bench.run.find("map[1]").unwrap()).unwrap().index, 1);
}

#[test]
fn an_empty_list_is_done_at_once_and_a_long_one_refused() {
    let with_list = |list: Value| {
        statuses_of(&fan_out(&json!({})), |mut bench| {
            bench.lists.insert("map".to_owned(), Ok(list));
            bench
        })
    };
    let (statuses, bench) = with_list(json!([]));
    assert_eq!(statuses, "COMPLETED list:COMPLETED map:COMPLETED after:COMPLETED");
    assert_eq!(last_output(&bench, "map"), Some(TaskOutput::List([].into())));
    let (statuses, bench) = with_list(json!([1, 2, 3, 4]));
    assert_eq!(statuses, "FAILED list:COMPLETED map:FAILED after:BLOCKED");
    let error = bench.run.error(TaskIndex(1)).unwrap();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    assert!(error.message.contains("4 items, and max_items is 3"), "{}", error.message);
}

#[test]
fn a_failed_item_fails_the_list_unless_it_may() {
    let script = |bench: Bench| bench.script("map[0]", [fails(ErrorCode::InputMissing)]);
    let (statuses, bench) = statuses_of(&fan_out(&json!({})), script);
    assert_eq!(
        statuses,
        "FAILED list:COMPLETED map:FAILED after:BLOCKED map[0]:FAILED map[1]:COMPLETED"
    );
    let error = bench.run.error(TaskIndex(1)).unwrap();
    assert_eq!(error.code, ErrorCode::InputMissing);
    assert!(error.message.starts_with("1 of 2 items failed; map[0]: "), "{}", error.message);
    let (statuses, bench) = statuses_of(&fan_out(&json!({"allow_failure": true})), script);
    assert_eq!(
        statuses,
        "COMPLETED list:COMPLETED map:COMPLETED after:COMPLETED map[0]:FAILED map[1]:COMPLETED"
    );
    let Some(TaskOutput::List(parts)) = last_output(&bench, "map") else { panic!("no list") };
    assert_eq!((parts[0].is_none(), parts[1].is_some()), (true, true));
}

#[test]
fn a_retry_keeps_the_list_and_the_items_that_completed() {
    let (_, mut bench) = statuses_of(&fan_out(&json!({})), |bench| {
        bench.script("map[1]", [fails(ErrorCode::InputMissing)])
    });
    bench.dispatched.clear();
    bench.send(RunCommand::start(RerunScope::Failed, "test".into()));
    bench.drive();
    assert_eq!(
        bench.statuses(),
        "COMPLETED list:COMPLETED map:COMPLETED after:COMPLETED map[0]:COMPLETED map[1]:COMPLETED"
    );
    let again: Vec<_> = bench.dispatched.iter().map(|(name, n)| format!("{name}/{n}")).collect();
    assert_eq!(again, ["map[1]/2", "after/1"]);
    // From the list on: three items now, and the first two go on counting.
    bench.lists.insert("map".to_owned(), Ok(json!([7, 8, 9])));
    bench.dispatched.clear();
    bench.send(RunCommand::start(RerunScope::From(TaskIndex(0)), "test".into()));
    bench.drive();
    let again: Vec<_> = bench.dispatched.iter().map(|(name, n)| format!("{name}/{n}")).collect();
    assert_eq!(again, ["list/2", "map[0]/2", "map[1]/3", "map[2]/1", "after/2"]);
    check_counters(&bench.run);
}

#[test]
fn a_plan_waits_for_approval_and_a_refusal_ends_it() {
    let document =
        json!({"goal": "x", "tasks": [task("a", &[])], "constraints": {"require_approval": true}});
    let mut bench = Bench::new(&document);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    assert_eq!(bench.statuses(), "PENDING_APPROVAL a:PENDING");
    assert!(bench.run.waits_for_people());
    let again = RunCommand::start(RerunScope::Fresh, "test".into());
    let refused = bench.run.handle(again, bench.now, RunLimits::room(1)).unwrap_err();
    assert!(refused.message.contains("waits for approval"), "{refused}");
    bench.answer(0, false);
    assert_eq!(bench.statuses(), "FAILED a:PENDING");
    let why = bench.run.why().unwrap();
    assert_eq!(why.message, "eve refused the plan: because");
    assert_eq!(why.code, ErrorCode::ApprovalRefused);
    // Asked again, by somebody's wish.
    bench.send(RunCommand::start(RerunScope::Failed, "test".into()));
    assert_eq!(bench.statuses(), "PENDING_APPROVAL a:PENDING");
    bench.answer(0, true);
    bench.drive();
    assert_eq!(bench.statuses(), "COMPLETED a:COMPLETED");
}

#[test]
fn a_task_waits_for_a_person_and_holds_nothing_up() {
    let tasks = [with(task("a", &[]), &json!({"gate": true})), task("b", &[]), task("c", &["a"])];
    let document = json!({"goal": "x", "tasks": tasks, "constraints": {"max_parallelism": 1}});
    let mut bench = Bench::new(&document);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    // No slot is held: b runs although one task at once is allowed.
    assert_eq!(bench.statuses(), "EXECUTING a:EXECUTING b:EXECUTING c:PENDING");
    assert!(bench.run.is_at_gate(TaskIndex(0)) && !bench.run.waits_for_people());
    bench.report(TaskIndex(1), Attempt(1), done(&json!(1)));
    assert!(bench.run.waits_for_people());
    // Days pass and processes come and go.
    bench.now = bench.now.plus_millis(5 * 86_400_000);
    bench.run = bench.refold();
    bench.send(RunCommand::Adopt { epoch: Epoch(2), after_death: false });
    assert!(bench.run.waits_for_people());
    bench.answer(0, true);
    assert_eq!(bench.statuses(), "EXECUTING a:EXECUTING b:COMPLETED c:PENDING");
    assert_eq!(bench.run.answer(TaskIndex(0)).unwrap().by, "eve");
    bench.in_flight.clear();
    bench.report(TaskIndex(0), Attempt(1), done(&json!(1)));
    bench.report(TaskIndex(2), Attempt(1), done(&json!(1)));
    assert_eq!(bench.statuses(), "COMPLETED a:COMPLETED b:COMPLETED c:COMPLETED");
}

#[test]
fn a_refused_task_blocks_what_needs_it_and_time_refuses_too() {
    let tasks = [with(task("a", &[]), &json!({"gate": true})), task("b", &["a"]), task("c", &[])];
    let document = json!({"goal": "x", "tasks": tasks});
    let mut bench = Bench::new(&document);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    bench.answer(0, false);
    bench.drive();
    assert_eq!(bench.statuses(), "FAILED (partial) a:FAILED b:BLOCKED c:COMPLETED");

    let mut run = Run::new(plan(&document));
    let terms = RunLimits { answer_within_millis: Some(60_000), ..RunLimits::room(9) };
    run.handle(RunCommand::start(RerunScope::Fresh, "test".into()), Timestamp(0), terms).unwrap();
    assert_eq!(run.open_gates().next().unwrap().expires_at, Some(Timestamp(60_000)));
    let late = RunCommand::AnswerGate {
        gate: Gate::Task(TaskIndex(0)),
        approve: true,
        by: "eve".to_owned(),
        reason: String::new(),
    };
    assert!(run.handle(late, Timestamp(60_000), terms).is_err(), "too late");
    run.handle(RunCommand::Wake, Timestamp(60_000), terms).unwrap();
    assert_eq!(run.task_status(TaskIndex(1)), TaskStatus::Blocked);
    assert!(run.error(TaskIndex(0)).unwrap().message.contains("nobody answered"));
}

#[test]
fn an_answer_can_be_noted_by_a_process_that_does_not_drive_the_run() {
    let tasks = [with(task("a", &[]), &json!({"gate": true})), task("b", &["a"])];
    let mut bench = Bench::new(&json!({"goal": "x", "tasks": tasks}));
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    let answer = |approve| RunCommand::AnswerGate {
        gate: Gate::Task(TaskIndex(0)),
        approve,
        by: "eve".to_owned(),
        reason: String::new(),
    };
    let events = bench.refold().note(answer(true), bench.now, None, None).unwrap();
    assert!(
        matches!(events[..], [RunEvent::GateDecided { .. }]),
        "nothing is dispatched: {events:?}"
    );
    // A refusal ends what it ends.
    let mut refused = bench.refold();
    refused.note(answer(false), bench.now, None, None).unwrap();
    assert_eq!(refused.status(), PlanStatus::Failed);
}

fn costly(id: &str, needs: &[&str]) -> Value {
    let estimate = json!({"tokens_out": {"low": 1, "expected": 40, "high": 100}});
    with(task(id, needs), &json!({"resource_estimate": estimate}))
}

#[test]
fn what_would_break_the_budget_is_not_started() {
    let tasks = [costly("a", &[]), costly("b", &[]), costly("c", &[]), task("free", &[])];
    let document = json!({"goal": "x", "tasks": tasks, "constraints": {"token_budget": 220}});
    let mut bench = Bench::new(&document);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    // Two reserve 100 each; the third waits for what they give back.
    assert_eq!((bench.run.running(), bench.run.reserved().tokens), (2, 200));
    assert!(!bench.run.wants_room(), "the process has room; nobody else is to give way for it");
    bench.usage = Usage { tokens: 90, cost_usd: 0.0, ..Usage::default() };
    let (task, attempt) = bench.in_flight.pop_front().unwrap();
    bench.report(task, attempt, done(&json!(1)));
    assert_eq!(bench.run.reserved().tokens, 100);
    bench.usage = Usage { tokens: 90, cost_usd: 0.0, ..Usage::default() };
    let (task, attempt) = bench.in_flight.pop_front().unwrap();
    bench.report(task, attempt, done(&json!(1)));
    // 180 are spent, which is worth a warning; 40 are left, and the third may take 100.
    assert_eq!(events_of(&bench, |e| matches!(e, RunEvent::BudgetWarned { used: 180, .. })), 1);
    assert_eq!(bench.run.why().unwrap().code, ErrorCode::BudgetExceeded);
    let why = &bench.run.why().unwrap().message;
    assert_eq!(why, "task `c` may take 100 tokens, and 40 of the plan's budget are left");
    bench.drive();
    assert_eq!(
        bench.statuses(),
        "FAILED (partial) a:COMPLETED b:COMPLETED c:CANCELLED free:CANCELLED"
    );
}

/// What a call used that broke off or crashed nobody knows: it may have been all that was reserved.
#[test]
fn a_failure_without_a_usage_keeps_what_it_had_reserved() {
    let document =
        json!({"goal": "x", "tasks": [costly("a", &[])], "constraints": {"token_budget": 350}});
    let mut bench = Bench::new(&document);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    let (task, attempt) = bench.in_flight.pop_front().unwrap();
    let outcome = fails(ErrorCode::ModelAnswerMalformed);
    bench.send(RunCommand::Report { task, attempt, outcome, usage: None });
    assert_eq!((bench.run.reserved().tokens, bench.run.charged().tokens), (0, 100));
    assert_eq!(bench.run.spent().tokens, 0, "what is known is told apart from what may be");
}

#[test]
fn a_person_may_grant_the_budget_again() {
    let tasks = [costly("a", &[]), costly("b", &["a"])];
    let document = json!({"goal": "x", "tasks": tasks, "on_budget": "ask", "constraints": {"token_budget": 110}});
    let mut bench = Bench::new(&document);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    bench.usage = Usage { tokens: 100, cost_usd: 0.0, ..Usage::default() };
    let (task, attempt) = bench.in_flight.pop_front().unwrap();
    bench.report(task, attempt, done(&json!(1)));
    assert!(bench.run.waits_for_people());
    bench.answer(0, true);
    bench.drive();
    assert_eq!(bench.statuses(), "COMPLETED a:COMPLETED b:COMPLETED");
    assert_eq!(bench.run.allowed().tokens, 220);
}

#[test]
fn what_a_lost_attempt_used_counts_as_all_it_had_reserved() {
    let document =
        json!({"goal": "x", "tasks": [costly("a", &[])], "constraints": {"token_budget": 350}});
    let mut bench = Bench::new(&document);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    for (crash, charged) in [(1, 100), (2, 200)] {
        bench.run = bench.refold();
        bench.send(RunCommand::Adopt { epoch: Epoch(crash), after_death: false });
        assert_eq!((bench.run.charged().tokens, bench.run.reserved().tokens), (charged, 100));
    }
    bench.run = bench.refold();
    bench.send(RunCommand::Adopt { epoch: Epoch(3), after_death: false });
    assert_eq!(bench.run.error(TaskIndex(0)).unwrap().code, ErrorCode::BudgetExceeded);
    assert_eq!(bench.statuses(), "FAILED a:FAILED");
}

#[test]
fn a_person_decides_about_an_interrupted_attempt() {
    let document =
        json!({"goal": "x", "tasks": [with(task("a", &[]), &json!({"on_recovery": "ask"}))]});
    let crashed = |tools: &BTreeSet<String>| {
        let mut bench = Bench::new(&document);
        bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
        bench.run = bench.refold();
        bench.in_flight.clear();
        let terms = RunLimits { idempotent_tools: tools, ..RunLimits::room(9) };
        let decision = bench.run.handle(
            RunCommand::Adopt { epoch: Epoch(2), after_death: false },
            bench.now,
            terms,
        );
        (decision.unwrap(), bench)
    };
    // A tool that may be called twice needs nobody's word.
    let (decision, _) = crashed(&std::iter::once("noop".to_owned()).collect());
    assert!(matches!(decision.events[1], RunEvent::TaskRedispatched { .. }), "{decision:?}");
    let (_, mut bench) = crashed(&BTreeSet::new());
    assert!(bench.run.waits_for_people());
    bench.answer(0, true);
    assert_eq!(bench.dispatched, [("a".to_owned(), 1), ("a".to_owned(), 1)], "the same attempt");
    let (_, mut bench) = crashed(&BTreeSet::new());
    bench.answer(0, false);
    assert_eq!(bench.statuses(), "FAILED a:FAILED");
}

#[test]
fn a_cancelled_fan_out_leaves_nothing_running() {
    let mut bench = Bench::new(&fan_out(&json!({})));
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    let (task, attempt) = bench.in_flight.pop_front().unwrap();
    bench.report(task, attempt, done(&json!(1)));
    let map = bench.run.find("map").unwrap();
    bench.send(RunCommand::Cancel {
        scope: CancelScope::Task(map),
        reason: "enough".to_owned(),
        by: "test".into(),
    });
    bench.drive();
    assert_eq!(
        bench.statuses(),
        "FAILED list:COMPLETED map:CANCELLED after:BLOCKED map[0]:CANCELLED map[1]:CANCELLED"
    );
}

#[test]
fn four_fifths_of_the_time_are_told() {
    let document =
        json!({"goal": "x", "tasks": [task("a", &[])], "constraints": {"deadline_seconds": 10}});
    let mut bench = Bench::new(&document).script("a", [AttemptOutcome::Stopped]);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    bench.drive();
    assert_eq!(
        events_of(&bench, |e| matches!(
            e,
            RunEvent::BudgetWarned { used: 8_000, limit: 10_000, .. }
        )),
        1
    );
}
