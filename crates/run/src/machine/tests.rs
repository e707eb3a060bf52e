//! The machine against scenarios, a table and random lives.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::transition::{CHANGES, next_status};
use super::*;
use crate::amounts::Usage;
use crate::command::{AttemptOutcome, RerunScope, RunCommand, RunDecision, RunEffect, RunLimits};
use crate::event::TaskOutput;
use crate::event::{CancelScope, ConditionVerdict, RunEvent, TaskError};
use crate::placement::Crew;
use crate::record::Record;
use l05_core::ErrorCode;
use l05_core::catalog::{ToolCatalog, ToolSpec};
use l05_core::estimate::EstimateBasis;
use l05_core::id::{Epoch, GoalId, PlanId};
use l05_core::plan::{PlanDocument, PlanIdentity};
use l05_core::validate::{ValidationContext, validate};

fn plan(document: &Value) -> Arc<Plan> {
    let noop = ToolSpec::bare("noop");
    let catalog = ToolCatalog::new([noop]).unwrap();
    let knowledge = EstimateBasis::default();
    let around = ValidationContext::elsewhere(&catalog, &knowledge, Timestamp(0));
    let document = PlanDocument::read(document).expect("the test's plan reads");
    let identity = PlanIdentity {
        plan_id: PlanId(Uuid::nil()),
        goal_id: GoalId::from(Uuid::nil()),
        created_at: Timestamp(0),
    };
    let validation = validate(document, &around);
    Arc::new(
        validation.into_plan(identity, Timestamp(0), Vec::new()).expect("the test's plan is valid"),
    )
}

/// A run with scripted executors: everything a driver does, without any waiting.
struct Bench {
    run: Run,
    now: Timestamp,
    journal: Vec<Record>,
    in_flight: VecDeque<(TaskIndex, Attempt)>,
    dispatched: Vec<(String, u16)>,
    script: BTreeMap<String, VecDeque<AttemptOutcome>>,
    verdicts: BTreeMap<String, Result<ConditionVerdict, TaskError>>,
    lists: BTreeMap<String, Result<Value, TaskError>>,
    usage: Usage,
    crew: Option<Crew>,
    finished: bool,
}

fn fails(code: ErrorCode) -> AttemptOutcome {
    AttemptOutcome::Failed(TaskError::new(code, "scripted"))
}

fn done(value: &Value) -> AttemptOutcome {
    AttemptOutcome::Completed(TaskOutput::Inline(Arc::new(value.clone())))
}

impl Bench {
    fn new(document: &Value) -> Bench {
        Bench {
            run: Run::new(plan(document)),
            now: Timestamp(1_000),
            journal: Vec::new(),
            in_flight: VecDeque::new(),
            dispatched: Vec::new(),
            script: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            lists: BTreeMap::new(),
            usage: Usage::default(),
            crew: None,
            finished: false,
        }
    }

    fn script(mut self, task: &str, outcomes: impl IntoIterator<Item = AttemptOutcome>) -> Bench {
        self.script.insert(task.to_owned(), outcomes.into_iter().collect());
        self
    }

    fn send(&mut self, command: RunCommand) -> RunDecision {
        let first = Sequence(self.run.sequence.0 + 1);
        let decision = self
            .run
            .handle(
                command,
                self.now,
                RunLimits { crew: self.crew.as_ref(), ..RunLimits::room(u32::MAX) },
            )
            .expect("the command is allowed");
        self.journal.push(Record {
            plan: self.run.plan.id(),
            first,
            epoch: self.run.epoch,
            at: self.now,
            actor: "test".into(),
            events: decision.events.clone(),
            blobs: vec![],
        });
        for effect in &decision.effects {
            match effect {
                RunEffect::Dispatch { task, attempt } => {
                    self.in_flight.push_back((*task, *attempt));
                    let name = self.run.name(*task);
                    self.dispatched.push((name, attempt.0));
                }
                RunEffect::Stop { task, attempt } | RunEffect::Abandon { task, attempt } => {
                    self.in_flight.retain(|(t, a)| (t, a) != (task, attempt));
                }
                RunEffect::Resolve { .. } | RunEffect::Expand { .. } => {}
                RunEffect::Finished => self.finished = true,
            }
        }
        let questions: Vec<_> = decision
            .effects
            .iter()
            .filter_map(|effect| match effect {
                RunEffect::Resolve { task, edges } => Some((*task, edges.clone())),
                RunEffect::Dispatch { .. }
                | RunEffect::Expand { .. }
                | RunEffect::Stop { .. }
                | RunEffect::Abandon { .. }
                | RunEffect::Finished => None,
            })
            .collect();
        let lists: Vec<_> = decision
            .effects
            .iter()
            .filter_map(|effect| match effect {
                RunEffect::Expand { task } => Some(*task),
                _ => None,
            })
            .collect();
        for task in lists {
            let name = self.run.name(task);
            let items = self.lists.get(&name).cloned().unwrap_or_else(|| Ok(json!([1, 2])));
            let items = items.map(|list| {
                let count = list.as_array().map_or(0, Vec::len) as u32;
                (TaskOutput::Inline(Arc::new(list)), count)
            });
            self.send(RunCommand::Expanded { task, items });
        }
        for (task, edges) in questions {
            let name = self.run.plan.task(task).task_id.clone();
            let verdict =
                self.verdicts.get(&name).cloned().unwrap_or(Ok(ConditionVerdict::Satisfied));
            let edges = edges.into_iter().map(|edge| (edge, verdict.clone())).collect();
            self.send(RunCommand::Resolved { task, edges });
        }
        decision
    }

    fn report(&mut self, task: TaskIndex, attempt: Attempt, outcome: AttemptOutcome) {
        let usage = std::mem::take(&mut self.usage);
        self.send(RunCommand::Report { task, attempt, outcome, usage: Some(usage) });
    }

    /// A person answers the n-th open gate, if one is open.
    fn answer(&mut self, n: usize, approve: bool) {
        let gates: Vec<Gate> = self.run.open_gates().map(|open| open.gate).collect();
        if gates.is_empty() {
            return;
        }
        let gate = gates[n % gates.len()];
        let (by, reason) = ("eve".to_owned(), "because".to_owned());
        self.send(RunCommand::AnswerGate { gate, approve, by, reason });
        if self.run.status == PlanStatus::Approved {
            self.send(RunCommand::start(RerunScope::Fresh, "test".into()));
        }
    }

    /// Answers executors in order and lets time pass until nothing moves.
    fn drive(&mut self) {
        for _ in 0..10_000 {
            if let Some((task, attempt)) = self.in_flight.pop_front() {
                let name = self.run.name(task);
                let scripted = self.script.get_mut(&name).and_then(VecDeque::pop_front);
                match scripted.unwrap_or_else(|| done(&json!({"ok": true}))) {
                    // Never answers: its timeout must.
                    AttemptOutcome::Stopped => {}
                    outcome => self.report(task, attempt, outcome),
                }
            } else if self.run.waits_for_people() {
                self.answer(0, true);
            } else if let Some(at) = self.run.wake_at() {
                self.now = self.now.max(at);
                self.send(RunCommand::Wake);
            } else {
                return;
            }
        }
        panic!("the run does not come to rest");
    }

    fn run_to_end(mut self) -> Bench {
        self.send(RunCommand::start(RerunScope::Fresh, "test".into()));
        self.drive();
        self
    }

    fn statuses(&self) -> String {
        let told = |task| format!("{}:{}", self.run.name(task), self.run.task_status(task));
        let list: Vec<String> = self.run.all_tasks().map(told).collect();
        format!(
            "{}{} {}",
            self.run.status,
            if self.run.partial { " (partial)" } else { "" },
            list.join(" ")
        )
    }

    fn refold(&self) -> Run {
        let mut run = Run::new(self.run.plan.clone());
        for record in &self.journal {
            run.replay(record).expect("no gap");
        }
        run
    }
}

fn task(id: &str, needs: &[&str]) -> Value {
    json!({"id": id, "tool": "noop", "depends_on": needs})
}

fn with(mut task: Value, extra: &Value) -> Value {
    for (key, value) in extra.as_object().unwrap() {
        task[key] = value.clone();
    }
    task
}

#[test]
fn chains_and_diamonds_complete_in_order() {
    let tasks = [task("a", &[]), task("b", &["a"]), task("c", &["a"]), task("d", &["b", "c"])];
    let bench = Bench::new(&json!({"goal": "x", "tasks": tasks})).run_to_end();
    assert_eq!(bench.statuses(), "COMPLETED a:COMPLETED b:COMPLETED c:COMPLETED d:COMPLETED");
    assert!(bench.finished);
    assert_eq!(bench.dispatched.iter().map(|(t, _)| t.as_str()).collect::<String>(), "abcd");
    // A completion and the dispatches it frees are one record.
    assert_eq!(bench.journal[1].events.len(), 3);
}

#[test]
fn failures_block_what_needs_them_and_nothing_else() {
    let tasks =
        [task("a", &[]), task("b", &["a"]), task("c", &["b"]), task("d", &["c"]), task("e", &[])];
    let bench = Bench::new(&json!({"goal": "x", "tasks": tasks}))
        .script("a", [fails(ErrorCode::InputMissing)])
        .run_to_end();
    assert_eq!(
        bench.statuses(),
        "FAILED (partial) a:FAILED b:BLOCKED c:BLOCKED d:BLOCKED e:COMPLETED"
    );
    let cascade = bench.journal.iter().flat_map(|r| &r.events).find_map(|e| match e {
        RunEvent::TasksBlocked { cause, tasks } => Some((*cause, tasks.len())),
        _ => None,
    });
    assert_eq!(cascade, Some((TaskIndex(0), 3)), "one event names the whole list");
}

#[test]
fn retries_wait_and_are_counted() {
    let tasks = [task("a", &[])];
    let once = Bench::new(&json!({"goal": "x", "tasks": tasks}))
        .script("a", [fails(ErrorCode::TaskFailed)])
        .run_to_end();
    assert_eq!(once.statuses(), "COMPLETED a:COMPLETED");
    assert_eq!(once.dispatched, [("a".to_owned(), 1), ("a".to_owned(), 2)]);
    let always = std::iter::repeat_n(fails(ErrorCode::TaskFailed), 9);
    let never = Bench::new(&json!({"goal": "x", "tasks": tasks})).script("a", always).run_to_end();
    assert_eq!(never.statuses(), "FAILED a:FAILED");
    assert_eq!(never.dispatched.len(), 4, "one attempt and three retries");
}

#[test]
fn silence_times_out() {
    let document = json!({"goal": "x", "tasks": [with(task("a", &[]), &json!({"timeout_seconds": 2, "retry": {"max_retries": 0}}))]});
    let bench = Bench::new(&document).script("a", [AttemptOutcome::Stopped]).run_to_end();
    assert_eq!(bench.statuses(), "FAILED a:TIMED_OUT");
    assert_eq!(bench.now, Timestamp(3_000), "exactly when its time was over");
}

#[test]
fn conditions_skip_and_errors_in_them_fail() {
    let conditional = json!({"id": "b", "tool": "noop", "depends_on": [{"task": "a", "condition": "outputs.ok"}]});
    let document = json!({"goal": "x", "tasks": [task("a", &[]), conditional, task("c", &["b"]),
        with(task("d", &["b", "a"]), &json!({"join": "any"}))]});
    let with_verdict = |verdict| {
        let mut bench = Bench::new(&document);
        bench.verdicts.insert("b".to_owned(), verdict);
        bench.run_to_end().statuses()
    };
    assert_eq!(
        with_verdict(Ok(ConditionVerdict::Satisfied)),
        "COMPLETED a:COMPLETED b:COMPLETED c:COMPLETED d:COMPLETED"
    );
    assert_eq!(
        with_verdict(Ok(ConditionVerdict::Unsatisfied)),
        "COMPLETED a:COMPLETED b:SKIPPED c:SKIPPED d:COMPLETED"
    );
    let error = TaskError::last(ErrorCode::DependencyInvalid, String::new());
    assert_eq!(
        with_verdict(Err(error)),
        "FAILED (partial) a:COMPLETED b:FAILED c:BLOCKED d:COMPLETED"
    );
}

#[test]
fn allowed_failures_do_not_block() {
    let document = json!({"goal": "x", "tasks": [with(task("a", &[]), &json!({"allow_failure": true})), task("b", &["a"])]});
    let bench = Bench::new(&document).script("a", [fails(ErrorCode::InputMissing)]).run_to_end();
    assert_eq!(bench.statuses(), "COMPLETED a:FAILED b:COMPLETED");
}

#[test]
fn join_any_is_blocked_or_skipped_only_by_all() {
    let any = |needs: &[&str]| with(task("z", needs), &json!({"join": "any"}));
    let document =
        json!({"goal": "x", "tasks": [task("a", &[]), task("b", &[]), any(&["a", "b"])]});
    let run = |a: bool, b: bool| {
        let mut bench = Bench::new(&document);
        for (name, ok) in [("a", a), ("b", b)] {
            if !ok {
                bench = bench.script(name, [fails(ErrorCode::InputMissing)]);
            }
        }
        bench.run_to_end().statuses()
    };
    assert_eq!(run(true, true), "COMPLETED a:COMPLETED b:COMPLETED z:COMPLETED");
    assert_eq!(run(false, true), "FAILED (partial) a:FAILED b:COMPLETED z:COMPLETED");
    assert_eq!(run(false, false), "FAILED a:FAILED b:FAILED z:BLOCKED");
}

#[test]
fn cancel_ends_what_runs_with_its_executors_or_with_the_grace() {
    let document = json!({"goal": "x", "tasks": [task("a", &[]), task("b", &["a"])]});
    let cancel = || RunCommand::Cancel {
        scope: CancelScope::Plan,
        reason: "enough".to_owned(),
        by: "test".into(),
    };
    // The executor obeys.
    let mut bench = Bench::new(&document);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    bench.send(cancel());
    assert_eq!(bench.statuses(), "EXECUTING a:EXECUTING b:CANCELLED");
    bench.report(TaskIndex(0), Attempt(1), AttemptOutcome::Stopped);
    assert_eq!(bench.statuses(), "CANCELLED a:CANCELLED b:CANCELLED");
    // The executor does not; what it says later is recorded and ignored.
    let mut bench = Bench::new(&document);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    bench.send(cancel());
    bench.drive();
    assert_eq!(
        (bench.statuses().as_str(), bench.now),
        ("CANCELLED a:CANCELLED b:CANCELLED", Timestamp(11_000))
    );
    bench.report(TaskIndex(0), Attempt(1), done(&json!(1)));
    assert!(matches!(bench.journal.last().unwrap().events[..], [RunEvent::ReportIgnored { .. }]));
    // Before any run.
    let mut bench = Bench::new(&document);
    bench.send(cancel());
    assert_eq!(bench.statuses(), "CANCELLED a:CANCELLED b:CANCELLED");
    let again = bench.run.handle(cancel(), bench.now, RunLimits::room(1)).unwrap_err();
    assert_eq!(again.code, ErrorCode::StateTransitionInvalid);
}

#[test]
fn fail_fast_cancels_the_rest() {
    let document = json!({"goal": "x", "on_failure": "fail_fast", "tasks": [task("a", &[]), task("b", &[]), task("c", &["b"])]});
    let bench = Bench::new(&document)
        .script("a", [fails(ErrorCode::InputMissing)])
        .script("b", [AttemptOutcome::Stopped])
        .run_to_end();
    assert_eq!(bench.statuses(), "FAILED a:FAILED b:CANCELLED c:CANCELLED");
}

#[test]
fn the_deadline_ends_the_plan() {
    let document = json!({"goal": "x", "constraints": {"deadline_seconds": 5}, "tasks": [task("a", &[]), task("b", &["a"])]});
    let bench = Bench::new(&document).script("a", [AttemptOutcome::Stopped]).run_to_end();
    assert_eq!(bench.statuses(), "FAILED a:TIMED_OUT b:BLOCKED");
    assert_eq!(bench.now, Timestamp(6_000));
    assert_eq!(bench.run.error(TaskIndex(0)).unwrap().code, ErrorCode::DeadlineMissed);
}

#[test]
fn retry_keeps_what_completed_and_from_runs_a_part_again() {
    let document =
        json!({"goal": "x", "tasks": [task("a", &[]), task("b", &["a"]), task("c", &["b"])]});
    let mut bench =
        Bench::new(&document).script("b", [fails(ErrorCode::InputMissing)]).run_to_end();
    assert_eq!(bench.statuses(), "FAILED a:COMPLETED b:FAILED c:BLOCKED");
    bench.send(RunCommand::start(RerunScope::Failed, "test".into()));
    bench.drive();
    assert_eq!(bench.statuses(), "COMPLETED a:COMPLETED b:COMPLETED c:COMPLETED");
    let names =
        |bench: &Bench| bench.dispatched.iter().map(|(t, a)| format!("{t}{a}")).collect::<Vec<_>>();
    assert_eq!(names(&bench), ["a1", "b1", "b2", "c1"]);
    bench.send(RunCommand::start(RerunScope::From(TaskIndex(2)), "test".into()));
    bench.drive();
    assert_eq!(names(&bench)[4..], ["c2"]);
    for refused in [RerunScope::Fresh, RerunScope::Failed] {
        let rejected = bench
            .run
            .handle(RunCommand::start(refused, "test".into()), bench.now, RunLimits::room(1))
            .unwrap_err();
        assert_eq!(rejected.code, ErrorCode::PlanNotExecutable);
    }
}

#[test]
fn a_new_owner_gives_out_again_what_was_in_flight() {
    let document = json!({"goal": "x", "tasks": [task("a", &[]), task("b", &["a"]), with(task("c", &[]), &json!({"on_recovery": "fail"}))]});
    let mut bench = Bench::new(&document);
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    bench.run = bench.refold();
    bench.in_flight.clear();
    bench.send(RunCommand::Adopt { epoch: Epoch(2), after_death: true });
    bench.drive();
    assert_eq!(bench.statuses(), "FAILED (partial) a:COMPLETED b:COMPLETED c:FAILED");
    assert_eq!(
        bench.dispatched.iter().filter(|(t, a)| t == "a" && *a == 1).count(),
        2,
        "the same attempt"
    );
}

#[test]
fn reports_count_once() {
    let mut bench = Bench::new(&json!({"goal": "x", "tasks": [task("a", &[]), task("b", &["a"])]}));
    bench.send(RunCommand::start(RerunScope::Fresh, "test".into()));
    let report = |value: Value| RunCommand::Report {
        task: TaskIndex(0),
        attempt: Attempt(1),
        outcome: done(&value),
        usage: Some(Usage::default()),
    };
    bench.send(report(json!(1)));
    assert_eq!(bench.send(report(json!(1))), RunDecision::default(), "the same again is no event");
    let conflict = bench.send(report(json!(2)));
    assert!(matches!(
        conflict.events[..],
        [RunEvent::ReportIgnored { why: crate::event::IgnoredReport::Conflict, .. }]
    ));
    assert_eq!(bench.run.output(TaskIndex(0)), Some(&TaskOutput::Inline(Arc::new(json!(1)))));
}

#[test]
fn a_lost_attempt_is_repeated_only_where_the_policy_says_so() {
    let once = |policy: &str| {
        let quick = json!({"timeout_seconds": 1, "on_recovery": policy});
        let document = json!({"goal": "x", "tasks": [with(task("a", &[]), &quick)]});
        Bench::new(&document).script("a", [AttemptOutcome::Stopped]).run_to_end()
    };
    assert_eq!(once("rerun").statuses(), "COMPLETED a:COMPLETED");
    let failed = once("fail");
    assert_eq!((failed.statuses().as_str(), failed.dispatched.len()), ("FAILED a:TIMED_OUT", 1));
}

/// A condition that no longer matters must not hide one that does when the plan runs again.
#[test]
fn a_retry_asks_for_every_condition_again() {
    let conditional = |from: &str| json!({"task": from, "condition": "outputs.ok"});
    let document = json!({"goal": "x", "tasks": [
        task("x", &[]), task("p", &[]), task("q", &[]), task("r", &[]),
        {"id": "t", "tool": "noop", "join": "any", "depends_on": ["x", conditional("p")]},
        {"id": "u", "tool": "noop", "depends_on": [conditional("q"), "r"]},
    ]});
    let mut bench =
        Bench::new(&document).script("r", [fails(ErrorCode::InputMissing)]).run_to_end();
    assert!(bench.statuses().ends_with("u:BLOCKED"), "{}", bench.statuses());
    bench.send(RunCommand::start(RerunScope::Failed, "test".into()));
    bench.drive();
    assert!(bench.statuses().starts_with("COMPLETED"), "{}", bench.statuses());
}

#[test]
fn the_transition_table() {
    use l05_core::document::choice::ClosedChoice as _;
    let mut table = String::new();
    for (name, status) in TaskStatus::ALL {
        for change in CHANGES {
            if let Some(next) = next_status(*status, change) {
                table.push_str(&format!("{name} + {change:?} -> {next}\n"));
            }
        }
    }
    insta::assert_snapshot!(table);
}

// Random lives.

#[test]
fn a_gap_in_the_journal_is_told() {
    let bench = Bench::new(&json!({"goal": "x", "tasks": [task("a", &[])]})).run_to_end();
    let mut run = Run::new(bench.run.plan.clone());
    assert_eq!(run.replay(&bench.journal[1]).unwrap_err().missing, 1);
}

#[test]
fn room_is_kept_and_asked_for() {
    let tasks: Vec<Value> = (0..5).map(|i| task(&format!("t{i}"), &[])).collect();
    let mut run = Run::new(plan(&json!({"goal": "x", "tasks": tasks})));
    let now = Timestamp(0);
    let count = |decision: &RunDecision| {
        decision.effects.iter().filter(|e| matches!(e, RunEffect::Dispatch { .. })).count()
    };
    let started = run
        .handle(RunCommand::start(RerunScope::Fresh, "test".into()), now, RunLimits::room(2))
        .unwrap();
    assert_eq!((count(&started), run.wants_room()), (2, true));
    assert_eq!(count(&run.handle(RunCommand::Wake, now, RunLimits::room(9)).unwrap()), 3);
    assert!(!run.wants_room());
}

mod agents;
mod monitor;
mod public;
mod random_runs;
mod waiting;
