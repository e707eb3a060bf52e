//! Resident memory: of live tasks, and of the program while it answers batches.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{self, Stdio};
use std::sync::Arc;

use l05_core::catalog::ToolCatalog;
use l05_core::estimate::EstimateBasis;
use l05_core::id::{GoalId, PlanId};
use l05_core::plan::{Plan, PlanIdentity};
use l05_core::time::Timestamp;
use l05_core::validate::{PlanLimits, ValidationContext, validate};
use l05_engine::port::Executor as _;
use l05_run::Run;
use l05_run::command::{AttemptOutcome, RerunScope, RunCommand, RunEffect, RunLimits};
use l05_run::event::TaskOutput;
use serde_json::json;

use crate::measure::BenchRun;
use crate::workload::{NoopExecutor, fan, layered, typed};

pub(crate) fn run(bench: &BenchRun) {
    per_task(bench);
    run_per_task(bench);
    batches(bench);
}

/// The memory of a run beside its plan, by its number of tasks: each in flight once and done.
fn run_per_task(bench: &BenchRun) {
    const TASKS: usize = 10_000;
    if !bench.wants("rss/run_per_task_bytes") {
        return;
    }
    let plan = Arc::new(wide_plan());
    let mut kept = Vec::new();
    let samples = (0..crate::measure::SAMPLES_MIN).map(|_| {
        let before = resident("VmRSS", "self");
        for _ in 0..10 {
            let mut run = Run::new(plan.clone());
            let start = RunCommand::start(RerunScope::Fresh, "bench".into());
            let all = run.handle(start, Timestamp(1), RunLimits::room(u32::MAX));
            for effect in all.expect("it has not run").effects {
                let RunEffect::Dispatch { task, attempt } = effect else { continue };
                let outcome = AttemptOutcome::Completed(TaskOutput::Inline(Arc::new(json!(true))));
                let report = RunCommand::Report { task, attempt, outcome, usage: None };
                let done = run.handle(report, Timestamp(2), RunLimits::room(u32::MAX));
                done.expect("a report is always taken");
            }
            kept.push(run);
        }
        (resident("VmRSS", "self") - before) * 1024.0 / (10 * TASKS) as f64
    });
    bench.report("rss/run_per_task_bytes", "bytes", samples.collect());
}

/// 10,000 tasks, 1,000 at once.
fn wide_plan() -> Plan {
    let catalog = ToolCatalog::new(NoopExecutor.tools()).expect("no schemas, no problem");
    let knowledge = EstimateBasis::default();
    let limits = PlanLimits { tasks_max: 1_000_000, complexity_max: 1e9, ..PlanLimits::default() };
    let around = ValidationContext {
        limits,
        ..ValidationContext::elsewhere(&catalog, &knowledge, Timestamp(0))
    };
    let goal_id = GoalId::new("bench").expect("URL-safe");
    let plan_id = PlanId(uuid::Uuid::from_u128(1));
    let identity = PlanIdentity { plan_id, goal_id, created_at: Timestamp(0) };
    let plan = validate(fan(9_998, 1_000), &around).into_plan(identity, Timestamp(0), Vec::new());
    plan.expect("the bench plan is valid")
}

/// A plan with its run, held in memory, by its number of tasks.
fn per_task(bench: &BenchRun) {
    if !bench.wants("rss/per_task_bytes") {
        return;
    }
    let catalog = ToolCatalog::new(NoopExecutor.tools()).expect("no schemas, no problem");
    let knowledge = EstimateBasis::default();
    let limits = PlanLimits { tasks_max: 1_000_000, complexity_max: 1e9, ..PlanLimits::default() };
    let around = ValidationContext {
        limits,
        ..ValidationContext::elsewhere(&catalog, &knowledge, Timestamp(0))
    };
    let mut kept = Vec::new();
    let samples = (0..crate::measure::SAMPLES_MIN as u128).map(|n| {
        let before = resident("VmRSS", "self");
        let document = layered(100, 100, 42);
        let goal_id = GoalId::new("bench").expect("URL-safe");
        let plan_id = PlanId(uuid::Uuid::from_u128(n));
        let identity = PlanIdentity { plan_id, goal_id, created_at: Timestamp(0) };
        let plan = validate(document, &around).into_plan(identity, Timestamp(0), Vec::new());
        kept.push(Run::new(Arc::new(plan.expect("the bench plan is valid"))));
        (resident("VmRSS", "self") - before) * 1024.0 / 10_000.0
    });
    bench.report("rss/per_task_bytes", "bytes", samples.collect());
}

/// The peak of `l05 validate --batch -` after so many plans of 40 tasks.
fn batches(bench: &BenchRun) {
    for plans in [100u32, 1_000, 10_000] {
        let name = format!("rss/batch_{plans}_mb");
        if !bench.wants(&name) {
            continue;
        }
        let Ok(program) = std::env::current_exe().map(|exe| exe.with_file_name("l05")) else {
            return;
        };
        let child = process::Command::new(program)
            .args(["validate", "--batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprint("rss/batch: build the program first (cargo build --release)");
            return;
        };
        let mut stdin = child.stdin.take().expect("a pipe");
        let mut answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = format!("{}\n", json!({ "id": 1, "plan": typed(40) }));
        let writer = std::thread::spawn(move || {
            for _ in 0..plans {
                stdin.write_all(line.as_bytes()).expect("the program reads");
            }
            stdin
        });
        for _ in 0..plans {
            answers.next().expect("an answer a line").expect("UTF-8");
        }
        // Every answer is here, and the program still waits for lines: its peak can be read.
        let peak = resident("VmHWM", &child.id().to_string());
        drop(writer.join().expect("the writer ends"));
        child.wait().expect("the program ends");
        bench.report(&name, "MB", vec![peak / 1024.0]);
    }
}

/// A line of `/proc/<process>/status`, in KiB; 0 where there is none.
fn resident(field: &str, process: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0.0)
}

fn eprint(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
