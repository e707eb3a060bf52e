//! Evaluator processes: small evaluations a second, the first one of a process, and what comes of work whose processes
//! are killed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use l05_connect::evaluation_work::PooledEvaluator;
use l05_connect::evaluator::EvaluatorPool;
use l05_core::evaluation::{Evaluation, EvaluationAnswer, EvaluationFailure};
use l05_core::task::TaskStatus;
use l05_engine::port::Evaluator as _;
use serde_json::json;

use crate::measure::{BenchRun, SAMPLES_MIN};

/// Evaluations that are asked for at once.
const AT_ONCE: usize = 64;
const WITHIN: Duration = Duration::from_secs(5);

pub(crate) fn run(bench: &BenchRun) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    if bench.wants("box/small_evaluations") {
        let evaluator = evaluator();
        let samples = (0..SAMPLES_MIN).map(|_| runtime.block_on(rate(&evaluator, 20_000)));
        bench.report("box/small_evaluations", "1/s", samples.collect());
    }
    if bench.wants("box/first_evaluation") {
        let samples = (0..SAMPLES_MIN).map(|_| {
            let begun = Instant::now();
            runtime.block_on(rate(&evaluator(), 1));
            begun.elapsed().as_secs_f64() * 1e3
        });
        bench.report("box/first_evaluation", "ms", samples.collect());
    }
    if bench.wants("box/killed") {
        let killed = runtime.block_on(killed(1_000));
        bench.report("box/killed_answered", "evaluations", vec![killed.answered as f64]);
        bench.report("box/killed_failed", "evaluations", vec![killed.failed as f64]);
    }
}

fn evaluator() -> Arc<PooledEvaluator> {
    Arc::new(PooledEvaluator(Arc::new(EvaluatorPool::new(PathBuf::from("/proc/self/exe")))))
}

/// A condition with a loop: the smallest of what is not evaluated in place.
fn small() -> Evaluation {
    Evaluation::Condition {
        condition: "outputs.list.exists(x, x == 3)".to_owned(),
        outputs: json!({ "list": [1, 2, 3] }),
        inputs: json!({}),
        status: TaskStatus::Completed,
    }
}

/// Does `count` small evaluations, and gives their number a second.
async fn rate(evaluator: &Arc<PooledEvaluator>, count: usize) -> f64 {
    let begun = Instant::now();
    let lanes = AT_ONCE.min(count);
    let tasks: Vec<_> = (0..lanes)
        .map(|_| {
            let evaluator = evaluator.clone();
            tokio::spawn(async move {
                for _ in 0..count / lanes {
                    let answer = evaluator.evaluate(small(), WITHIN).await;
                    assert_eq!(answer, Ok(EvaluationAnswer::Verdict(Ok(true))));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("each is answered");
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

struct KilledWork {
    answered: usize,
    failed: usize,
}

/// Kills evaluators `times` under load. Each evaluation ends once: with its right answer, or as one whose process died.
async fn killed(times: usize) -> KilledWork {
    let evaluator = evaluator();
    let (answered, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stop = Arc::new(AtomicUsize::new(0));
    let lanes: Vec<_> = (0..8)
        .map(|_| {
            let (evaluator, stop) = (evaluator.clone(), stop.clone());
            let (answered, failed) = (answered.clone(), failed.clone());
            tokio::spawn(async move {
                while stop.load(Ordering::Relaxed) == 0 {
                    match evaluator.evaluate(small(), WITHIN).await {
                        Ok(EvaluationAnswer::Verdict(Ok(true))) => &answered,
                        Err(EvaluationFailure::Died { .. }) => &failed,
                        other => panic!("{other:?}"),
                    }
                    .fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut left = times;
    while left > 0 {
        // One at a time, so that there is somebody left to do its work again.
        if let Some(pid) = children().into_iter().nth(left % 4) {
            let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            left = left.saturating_sub(usize::from(killed.is_ok()));
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    stop.store(1, Ordering::Relaxed);
    for lane in lanes {
        lane.await.expect("a lane ends");
    }
    KilledWork {
        answered: answered.load(Ordering::Relaxed),
        failed: failed.load(Ordering::Relaxed),
    }
}

/// The children of this process.
fn children() -> Vec<rustix::process::Pid> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let ids: Vec<i32> = lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
        .collect();
    ids.into_iter().filter_map(rustix::process::Pid::from_raw).collect()
}
