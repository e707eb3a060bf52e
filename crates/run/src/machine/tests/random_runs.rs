//! Random plans under random moves: every life ends, and its journal tells it.

use super::*;

#[derive(Clone, Debug)]
enum Move {
    /// Answer the n-th attempt in flight.
    Answer(usize, u8),
    /// Time passes.
    Tick(u64),
    /// The owner dies and another takes over.
    Crash,
    Cancel(Option<u8>),
    /// A person answers the n-th open gate.
    Decide(u8, bool),
    /// A stray report.
    Stray(u8, u8),
    Retry,
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => (any::<usize>(), any::<u8>()).prop_map(|(n, o)| Move::Answer(n, o)),
        3 => (0u64..40_000).prop_map(Move::Tick),
        1 => Just(Move::Crash),
        1 => proptest::option::of(any::<u8>()).prop_map(Move::Cancel),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(n, yes)| Move::Decide(n, yes)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(t, a)| Move::Stray(t, a)),
        1 => Just(Move::Retry),
    ]
}

fn any_plan() -> impl Strategy<Value = Value> {
    let one = (any::<u8>(), any::<u32>(), 0u8..3, any::<bool>());
    (proptest::collection::vec(one, 1..9), any::<bool>(), 1u32..4).prop_map(|(shape, fast, width)| {
        let tasks: Vec<Value> = shape
            .iter()
            .enumerate()
            .map(|(i, (flags, edges, retries, any_join))| {
                let needs: Vec<Value> = (0..i)
                    .filter(|j| edges >> (j * 2) & 1 == 1)
                    .map(|j| match edges >> (j * 2 + 1) & 1 {
                        1 => json!({"task": format!("t{j}"), "condition": "status == 'COMPLETED'"}),
                        _ => json!(format!("t{j}")),
                    })
                    .collect();
                let recovery = ["fail", "ask", "rerun", "rerun"][usize::from(flags >> 2 & 3)];
                let mut task = json!({"id": format!("t{i}"), "tool": "noop", "depends_on": needs,
                    "join": if *any_join { "any" } else { "all" }, "allow_failure": flags & 3 == 0,
                    "on_recovery": recovery, "gate": flags >> 4 & 3 == 0,
                    "resource_estimate": {"tokens_out": {"low": 0, "expected": 0, "high": 10}},
                    "timeout_seconds": 5, "retry": {"max_retries": retries}});
                task["cancel_others"] = json!(*any_join && edges >> 30 == 1);
                if flags >> 6 == 0 {
                    task["for_each"] = json!({"in": "$[inputs].list", "max_items": 3});
                }
                task
            })
            .collect();
        let budget = 30 + 20 * u64::from(width);
        json!({"goal": "x", "tasks": tasks, "on_failure": if fast { "fail_fast" } else { "continue" },
            "inputs": {"list": [1, 2]}, "on_budget": if width == 2 { "ask" } else { "fail" },
            "constraints": {"max_parallelism": width, "deadline_seconds": 300, "token_budget": budget,
                "require_approval": width == 3}})
    })
}

/// Slow recounts of what the machine keeps as counters.
pub(super) fn check_counters(run: &Run) {
    let phase = |wanted| run.tasks.iter().filter(|t| t.phase == wanted).count() as u32;
    assert_eq!(run.running, phase(TaskPhase::InFlight));
    assert_eq!(run.mapping, phase(TaskPhase::Mapping));
    assert_eq!(
        run.left,
        run.all_tasks().filter(|t| !run.task_status(*t).has_ended()).count() as u32
    );
    let reserved = run.reservations.values().map(|share| share.tokens).sum::<u64>();
    assert_eq!(run.account.reserved.tokens, reserved);
    let charged = run.account.spent.tokens.saturating_add(reserved);
    assert!(charged <= run.account.allowed().tokens, "{:?}", run.account);
    assert_eq!(run.cancelling, run.tasks.iter().filter(|t| t.cancelling).count() as u32);
    assert!(run.running <= run.parallelism());
    for (index, state) in run.plan.graph().indices().zip(&run.tasks) {
        let needs = state.needs;
        let total = needs.waiting + needs.satisfied + needs.skipped + needs.failed;
        if !state.status.has_ended() {
            assert_eq!(total as usize, run.plan.graph().edges_in(index).len(), "{index:?}");
        }
        if state.phase == TaskPhase::InFlight {
            assert_eq!(
                needs.fate(run.join(index)),
                DependencyFate::Run,
                "runs although its needs are not met"
            );
        }
    }
}

fn play(document: &Value, moves: &[Move]) -> Bench {
    let mut bench = Bench::new(document);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    let tasks = bench.run.plan.graph().len();
    for (step, one) in moves.iter().enumerate() {
        let verdict = match step % 3 {
            0 => Ok(ConditionVerdict::Satisfied),
            1 => Ok(ConditionVerdict::Unsatisfied),
            _ => Err(TaskError::last(ErrorCode::DependencyInvalid, String::new())),
        };
        for i in 0..tasks {
            let list = match step % 4 {
                0 => Err(TaskError::last(ErrorCode::ReferenceUnresolved, String::new())),
                1 => Ok(json!([])),
                2 => Ok(json!([1, 2, 3])),
                _ => Ok(json!([1, 2, 3, 4])),
            };
            bench.lists.insert(format!("t{i}"), list);
            bench.verdicts.insert(format!("t{i}"), verdict.clone());
        }
        match one {
            Move::Answer(n, outcome) if !bench.in_flight.is_empty() => {
                let at = n % bench.in_flight.len();
                let (task, attempt) = bench.in_flight.remove(at).unwrap();
                bench.usage =
                    Usage { tokens: u64::from(outcome % 11), cost_usd: 0.0, ..Usage::default() };
                let outcome = match outcome % 5 {
                    0 => fails(ErrorCode::TaskFailed),
                    1 => fails(ErrorCode::InputMissing),
                    _ => done(&json!({"ok": true, "by": attempt.0})),
                };
                bench.report(task, attempt, outcome);
            }
            Move::Answer(..) => {}
            Move::Tick(millis) => {
                bench.now = bench.now.plus_millis(*millis);
                bench.send(RunCommand::Wake);
            }
            Move::Crash => {
                bench.run = bench.refold();
                bench.in_flight.clear();
                let epoch = Epoch(bench.run.epoch.0 + 1);
                bench.send(RunCommand::Adopt { epoch, after_death: false });
            }
            Move::Cancel(task) => {
                let scope = match task {
                    Some(t) => CancelScope::Task(TaskIndex(u32::from(*t) % tasks as u32)),
                    None => CancelScope::Plan,
                };
                let command =
                    RunCommand::Cancel { scope, reason: String::new(), by: "test".into() };
                let mut probe = bench.refold();
                if probe.handle(command.clone(), bench.now, RunLimits::room(9)).is_ok() {
                    bench.send(command);
                }
            }
            Move::Decide(n, approve) => bench.answer(usize::from(*n), *approve),
            Move::Stray(task, attempt) => {
                let task = TaskIndex(u32::from(*task) % tasks as u32);
                bench.report(task, Attempt(u16::from(attempt % 4)), done(&json!("stray")));
            }
            Move::Retry => {
                if matches!(bench.run.status, PlanStatus::Failed | PlanStatus::Cancelled) {
                    bench.send(RunCommand::start(RerunScope::Failed, "test".into()));
                }
            }
        }
        check_counters(&bench.run);
    }
    bench.drive();
    bench
}

/// No task of a run is dispatched before what it needs, completed twice, or started after its end.
fn check_order(bench: &Bench) {
    let mut completed = vec![false; bench.run.tasks.len()];
    for event in bench.journal.iter().flat_map(|record| &record.events) {
        match event {
            RunEvent::RunStarted { keep, .. } => {
                completed.fill(false);
                keep.iter().for_each(|task| completed[task.at()] = true);
            }
            RunEvent::TaskDispatched { task, .. } => {
                assert!(!completed[task.at()], "a completed task runs again");
                if task.at() >= bench.run.plan.graph().len() {
                    continue;
                }
                let needs = bench.run.plan.graph().edges_in(*task);
                let all = bench.run.join(*task) == Join::All;
                for edge in needs.iter().filter(|_| all) {
                    let from = bench.run.plan.graph().edge(*edge).from;
                    assert!(completed[from.at()] || bench.run.plan.task(from).allow_failure);
                }
            }
            RunEvent::MapCompleted { task } | RunEvent::TaskCompleted { task, .. } => {
                assert!(!std::mem::replace(&mut completed[task.at()], true), "completed twice");
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_life_ends_and_its_journal_tells_it(
        document in any_plan(),
        moves in proptest::collection::vec(any_move(), 0..40),
    ) {
        let bench = play(&document, &moves);
        // Never stuck: with answers and time the plan ends.
        prop_assert!(bench.run.status.has_ended(), "{}", bench.statuses());
        // A plan that was refused or cancelled before it ran has nothing to end.
        prop_assert!(bench.run.left == 0 || bench.run.number() == 0);
        check_counters(&bench.run);
        check_order(&bench);
        // The fold of the journal is the live state; twice is once.
        let mut folded = bench.refold();
        prop_assert!(folded.agrees_with(&bench.run));
        for record in &bench.journal {
            folded.replay(record).unwrap();
        }
        prop_assert!(folded.agrees_with(&bench.run));
    }
}
