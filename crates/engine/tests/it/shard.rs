//! The shard by hand: nothing leaves before it is durable, and nothing is lost when it is not.

use std::sync::Arc;

use l05_core::catalog::ToolCatalog;
use l05_core::estimate::EstimateBasis;
use l05_core::id::{Attempt, Epoch, GoalId, PlanId, TaskIndex};
use l05_core::plan::{Plan, PlanIdentity};
use l05_core::time::Timestamp;
use l05_core::validate::{PlanLimits, ValidationContext, validate};
use l05_engine::port::{AppendRefusal, AppendResult, Executor as _};
use l05_engine::shard::{
    QueuedCommand, ReplyTicket, Shard, ShardAction, ShardInput, ShardRules, ShardTurn,
};
use l05_run::Run;
use l05_run::amounts::Usage;
use l05_run::command::{AttemptOutcome, RerunScope, RunCommand};
use l05_run::event::{RunEvent, TaskOutput};
use l05_run::record::Record;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::workload::{Script, ScriptedTools, plan, task};

const NOW: Timestamp = Timestamp(1_000);

fn proven(n: u128, tasks: &[Value]) -> Arc<Plan> {
    let catalog = ToolCatalog::new(ScriptedTools(Arc::new(Script::default())).tools()).unwrap();
    let limits = PlanLimits { tasks_max: 1_000, complexity_max: 1e6, ..PlanLimits::default() };
    let knowledge = EstimateBasis::default();
    let around =
        ValidationContext { limits, ..ValidationContext::elsewhere(&catalog, &knowledge, NOW) };
    let mut document = plan(tasks);
    document.constraints.max_parallelism = 1_000;
    let identity = PlanIdentity {
        plan_id: PlanId(Uuid::from_u128(n)),
        goal_id: GoalId::from(Uuid::nil()),
        created_at: NOW,
    };
    Arc::new(validate(document, &around).into_plan(identity, NOW, Vec::new()).unwrap())
}

fn two_steps(n: u128) -> Arc<Plan> {
    proven(n, &[task("a", "ok", &[]), task("b", "ok", &["a"])])
}

fn wide(n: u128, width: usize) -> Arc<Plan> {
    let tasks: Vec<_> = (0..width).map(|i| task(&format!("t{i}"), "ok", &[])).collect();
    proven(n, &tasks)
}

/// Which tasks of a plan start, turn by turn, until nothing more happens by itself.
fn settle(shard: &mut Shard) -> Vec<(PlanId, u32)> {
    let mut all = Vec::new();
    loop {
        let turn = shard.poll(NOW);
        all.extend(turn.actions.iter().filter_map(|action| match action {
            ShardAction::Start(assignment) => Some((assignment.plan.id(), assignment.task.0)),
            _ => None,
        }));
        if turn.append.is_empty() {
            return all;
        }
        shard.appended(Some(&vec![AppendResult::Appended; turn.append.len()]));
    }
}

fn begin(shard: &mut Shard, plan: &Arc<Plan>) -> Vec<(PlanId, u32)> {
    open(shard, plan, &[]);
    shard.handle(start(plan, 1));
    settle(shard)
}

fn command(plan: &Plan, command: RunCommand, ticket: Option<u64>) -> ShardInput {
    let mut queued = QueuedCommand::from_system(plan.id(), command, "test");
    queued.ticket = ticket.map(ReplyTicket);
    ShardInput::Command(queued)
}

fn start(plan: &Plan, ticket: u64) -> ShardInput {
    command(plan, RunCommand::start(RerunScope::Fresh, "test".into()), Some(ticket))
}

fn completed(plan: &Plan, task: u32) -> ShardInput {
    let report = RunCommand::Report {
        task: TaskIndex(task),
        attempt: Attempt(1),
        outcome: AttemptOutcome::Completed(TaskOutput::Inline(Arc::new(json!(task)))),
        usage: Some(Usage::default()),
    };
    command(plan, report, None)
}

fn open(shard: &mut Shard, plan: &Arc<Plan>, journal: &[Arc<Record>]) {
    let mut run = Run::new(plan.clone());
    for record in journal.iter().filter(|record| record.plan == plan.id()) {
        run.replay(record).unwrap();
    }
    shard.handle(ShardInput::Open { run: Box::new(run), epoch: Epoch(1) });
}

fn started(turn: &ShardTurn) -> Vec<u32> {
    turn.actions
        .iter()
        .filter_map(|action| match action {
            ShardAction::Start(assignment) => Some(assignment.task.0),
            _ => None,
        })
        .collect()
}

#[test]
fn nothing_leaves_before_the_append_and_inputs_wait() {
    let plan = two_steps(1);
    let mut shard = Shard::new(ShardRules::room(10));
    open(&mut shard, &plan, &[]);
    shard.handle(start(&plan, 7));
    let turn = shard.poll(NOW);
    assert_eq!(turn.append.len(), 1);
    assert!(turn.actions.is_empty() && turn.replies.is_empty(), "{turn:?}");
    assert!(shard.durable(plan.id()).is_none(), "no reader sees what is not durable");
    // A report that comes meanwhile is not decided.
    shard.handle(completed(&plan, 0));
    assert!(shard.poll(NOW).append.is_empty());
    shard.appended(Some(&[AppendResult::Appended]));
    let turn = shard.poll(NOW);
    assert_eq!(started(&turn), [0]);
    assert!(matches!(turn.replies[..], [(ReplyTicket(7), Ok(()))]));
    // Now it is, and the completion and what it frees are one record.
    assert_eq!(turn.append.len(), 1);
    assert_eq!(turn.append[0].events.len(), 2);
    shard.appended(Some(&[AppendResult::Appended]));
    assert_eq!(started(&shard.poll(NOW)), [1]);
}

#[test]
fn many_runs_share_a_batch() {
    let mut shard = Shard::new(ShardRules::room(100));
    let plans: Vec<_> = (0..20).map(two_steps).collect();
    for (ticket, plan) in plans.iter().enumerate() {
        open(&mut shard, plan, &[]);
        shard.handle(start(plan, ticket as u64));
    }
    let turn = shard.poll(NOW);
    assert_eq!(turn.append.len(), 20);
    // One of them has another owner by now: it alone is dropped.
    let mut results = vec![AppendResult::Appended; 20];
    results[3] = AppendResult::Refused(AppendRefusal::StaleEpoch);
    shard.appended(Some(&results));
    let turn = shard.poll(NOW);
    assert_eq!(started(&turn).len(), 19);
    assert_eq!(turn.replies.iter().filter(|(_, answer)| answer.is_err()).count(), 1);
    assert!(
        turn.actions
            .iter()
            .any(|a| matches!(a, ShardAction::StopAll(plan) if *plan == plans[3].id()))
    );
    assert!(!shard.owns(plans[3].id()));
}

#[test]
fn an_append_of_unknown_fate_loses_nothing_and_repeats_nothing() {
    // The append failed, or it was durable and only the answer was lost.
    for was_durable in [false, true] {
        let plan = two_steps(1);
        let mut shard = Shard::new(ShardRules::room(10));
        let mut journal: Vec<Arc<Record>> = Vec::new();
        let (mut starts, mut replies) = (Vec::new(), 0);
        open(&mut shard, &plan, &[]);
        shard.handle(start(&plan, 1));
        let (mut failures, mut appends) = (0, 0);
        for _ in 0..30 {
            let turn = shard.poll(NOW);
            starts.extend(started(&turn));
            replies += turn.replies.len();
            assert!(turn.replies.iter().all(|(_, answer)| answer.is_ok()), "{turn:?}");
            for id in &turn.reload {
                assert_eq!(*id, plan.id());
                open(&mut shard, &plan, &journal);
            }
            for action in &turn.actions {
                if let ShardAction::Start(assignment) = action {
                    shard.handle(completed(&plan, assignment.task.0));
                }
            }
            if turn.append.is_empty() {
                continue;
            }
            // Every other append fails.
            appends += 1;
            if appends % 2 == 1 {
                failures += 1;
                if was_durable {
                    journal.extend(turn.append);
                }
                shard.appended(None);
            } else {
                journal.extend(turn.append);
                shard.appended(Some(&[AppendResult::Appended]));
            }
        }
        assert!(failures > 0);
        assert_eq!(starts, [0, 1], "each task started once (durable: {was_durable})");
        assert_eq!(replies, 1);
        let mut run = Run::new(plan.clone());
        for record in &journal {
            run.replay(record).unwrap();
        }
        assert_eq!((run.left(), run.status().as_str()), (0, "COMPLETED"), "durable: {was_durable}");
    }
}

#[test]
fn the_process_limit_is_kept_and_room_is_handed_on() {
    let mut shard = Shard::new(ShardRules::room(3));
    let plans: Vec<_> = (0..5).map(two_steps).collect();
    for (ticket, plan) in plans.iter().enumerate() {
        open(&mut shard, plan, &[]);
        shard.handle(start(plan, ticket as u64));
    }
    let mut ended = 0;
    let mut in_flight: Vec<(PlanId, u32)> = Vec::new();
    for _ in 0..100 {
        let turn = shard.poll(NOW);
        for action in &turn.actions {
            match action {
                ShardAction::Start(a) => in_flight.push((a.plan.id(), a.task.0)),
                ShardAction::Finished { .. } => ended += 1,
                ShardAction::Resolve(_)
                | ShardAction::Expand(_)
                | ShardAction::Waiting(_)
                | ShardAction::Stop { .. }
                | ShardAction::Abandon { .. }
                | ShardAction::StopAll(_) => {}
            }
        }
        assert!(in_flight.len() <= 3, "{in_flight:?}");
        let records = turn.append.len();
        if records > 0 {
            shard.appended(Some(&vec![AppendResult::Appended; records]));
        } else if let Some((id, task)) = in_flight.pop() {
            let plan = plans.iter().find(|plan| plan.id() == id).unwrap();
            shard.handle(completed(plan, task));
        }
    }
    assert_eq!(ended, 5);
}

/// The time a process was dead is not held against the tasks it had in flight.
#[test]
fn downtime_is_no_timeout() {
    let plan = two_steps(1);
    let mut shard = Shard::new(ShardRules::room(10));
    open(&mut shard, &plan, &[]);
    shard.handle(start(&plan, 1));
    let journal = shard.poll(NOW).append;
    // Dead for a day; the new process looks around before it says what it wants.
    let later = NOW.plus_millis(86_400_000);
    let mut shard = Shard::new(ShardRules::room(10));
    open(&mut shard, &plan, &journal);
    assert!(shard.poll(later).append.is_empty());
    shard.handle(command(&plan, RunCommand::Adopt { epoch: Epoch(2), after_death: true }, Some(2)));
    let turn = shard.poll(later);
    assert!(
        matches!(
            turn.append[0].events[..],
            [RunEvent::RunAdopted { .. }, RunEvent::TaskRedispatched { .. }]
        ),
        "{:?}",
        turn.append[0].events
    );
}

#[test]
fn many_reports_at_once_do_not_lift_the_process_limit() {
    let firsts: Vec<String> = (0..40).map(|i| format!("a{i}")).collect();
    let needs: Vec<&str> = firsts.iter().map(String::as_str).collect();
    let mut tasks: Vec<_> = firsts.iter().map(|id| task(id, "ok", &[])).collect();
    tasks.extend((0..200).map(|i| task(&format!("b{i}"), "ok", &needs)));
    let plan = proven(1, &tasks);
    // One run may have nine tenths of it.
    let mut shard = Shard::new(ShardRules::room(55));
    open(&mut shard, &plan, &[]);
    shard.handle(start(&plan, 1));
    shard.poll(NOW);
    shard.appended(Some(&[AppendResult::Appended]));
    assert_eq!(started(&shard.poll(NOW)).len(), 40);
    for i in 0..40 {
        shard.handle(completed(&plan, i));
    }
    shard.poll(NOW);
    shard.appended(Some(&[AppendResult::Appended]));
    assert_eq!(started(&shard.poll(NOW)).len(), 50);
}

/// Its attempts may take hours: a tenth of the room is for those who come later.
#[test]
fn a_large_run_leaves_room_to_newcomers() {
    let (large, small) = (wide(1, 100), wide(2, 2));
    let mut shard = Shard::new(ShardRules::room(20));
    assert_eq!(begin(&mut shard, &large).len(), 18);
    assert_eq!(begin(&mut shard, &small), [(small.id(), 0), (small.id(), 1)]);
}

#[test]
fn room_that_a_large_run_gives_back_goes_to_those_who_wait() {
    let large = wide(1, 100);
    let small: Vec<_> = (2..8).map(|n| wide(n, 2)).collect();
    let mut shard = Shard::new(ShardRules::room(20));
    begin(&mut shard, &large);
    let at_once: usize = small.iter().map(|plan| begin(&mut shard, plan).len()).sum();
    assert_eq!(at_once, 2, "the tenth that was free");
    for task in 0..10 {
        shard.handle(completed(&large, task));
    }
    let next = settle(&mut shard);
    assert_eq!(next.len(), 10);
    assert!(next.iter().all(|(plan, _)| *plan != large.id()), "{next:?}");
    // All small ones have theirs: what comes free now is the large one's again.
    shard.handle(completed(&large, 10));
    assert_eq!(settle(&mut shard).len(), 1);
}

/// Two large runs share what the small one does not use, and nothing stays unused.
#[test]
fn no_room_is_idle_while_somebody_waits() {
    let plans = [wide(1, 100), wide(2, 100), wide(3, 1)];
    let mut shard = Shard::new(ShardRules::room(20));
    let mut running: Vec<_> = plans.iter().flat_map(|plan| begin(&mut shard, plan)).collect();
    for _ in 0..30 {
        let oldest = running.iter().position(|(plan, _)| *plan == plans[0].id()).unwrap();
        shard.handle(completed(&plans[0], running.remove(oldest).1));
        running.extend(settle(&mut shard));
        assert_eq!(running.len(), 20);
    }
    let has = plans.each_ref().map(|p| running.iter().filter(|(plan, _)| *plan == p.id()).count());
    assert!(has[0].abs_diff(has[1]) <= 1 && has[2] == 1, "{has:?}");
}

/// A turn is not as long as everything that a large run has to say.
#[test]
fn a_flood_of_reports_leaves_a_turn_to_others() {
    let (large, small) = (wide(1, 900), two_steps(2));
    let mut shard = Shard::new(ShardRules::room(1_000));
    begin(&mut shard, &large);
    begin(&mut shard, &small);
    for task in 0..600 {
        shard.handle(completed(&large, task));
    }
    shard.handle(completed(&small, 0));
    let turn = shard.poll(NOW);
    let events: Vec<_> = turn.append.iter().map(|r| (r.plan, r.events.len())).collect();
    assert_eq!(events, [(large.id(), 32), (small.id(), 2)]);
    shard.appended(Some(&[AppendResult::Appended; 2]));
    assert_eq!(settle(&mut shard), [(small.id(), 1)]);
    assert_eq!(shard.durable(large.id()).unwrap().left(), 300, "nothing is lost on the way");
}

/// A store whose journal and whose next place in it contradict each other is not asked for ever.
#[test]
fn a_store_that_contradicts_itself_is_given_up() {
    let plan = two_steps(1);
    let mut shard = Shard::new(ShardRules::room(10));
    open(&mut shard, &plan, &[]);
    shard.handle(start(&plan, 1));
    for _ in 0..20 {
        shard.poll(NOW);
        shard.appended(Some(&[AppendResult::Refused(AppendRefusal::WrongSequence)]));
        let turn = shard.poll(NOW);
        if turn.broken == [plan.id()] {
            return;
        }
        assert_eq!(turn.reload, [plan.id()]);
        open(&mut shard, &plan, &[]);
    }
    panic!("it is asked again and again");
}

#[test]
fn a_draining_shard_starts_nothing_new() {
    let plan = two_steps(1);
    let mut shard = Shard::new(ShardRules::room(10));
    open(&mut shard, &plan, &[]);
    shard.handle(start(&plan, 1));
    shard.poll(NOW);
    shard.appended(Some(&[AppendResult::Appended]));
    assert_eq!(started(&shard.poll(NOW)), [0]);
    shard.drain();
    shard.handle(completed(&plan, 0));
    assert_eq!(shard.poll(NOW).append[0].events.len(), 1, "the completion is kept, nothing starts");
}
