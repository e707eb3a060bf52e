//! Estimates learn from the journal, and decisions can be explained.

use std::sync::Arc;

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_core::resource::EstimateMethod;
use l05_core::time::Timestamp;
use l05_engine::PlanningService;
use l05_engine::keys::MasterKey;
use l05_engine::memory::MemoryStore;
use l05_engine::port::{BoxFuture, Executor, ExecutorOutput, Failure, ManualClock, ToolCall};
use l05_run::amounts::Usage;
use l05_run::explain::Topic;
use serde_json::json;

use crate::workload::{plan, task};

/// Takes a quarter of a second by the clock, give or take 10 %, and some 1,200 tokens.
struct SlowTool(Arc<ManualClock>);

impl Executor for SlowTool {
    fn tools(&self) -> Vec<ToolSpec> {
        vec![ToolSpec::bare("slow")]
    }

    fn execute(&self, call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        let spread = i64::from(call.plan.0.as_bytes()[15]) % 50;
        self.0.advance_millis(225 + spread);
        let usage = Usage { tokens: 1_175 + spread as u64, cost_usd: 0.012, ..Usage::default() };
        Box::pin(async move { Ok(ExecutorOutput { output: json!({ "ok": true }), usage }) })
    }
}

fn service(store: &Arc<MemoryStore>, clock: &Arc<ManualClock>) -> PlanningService {
    PlanningService::builder()
        .store(store.clone())
        // One installation: each service opens the plans of those before it.
        .master_key(MasterKey::new([7; 32]))
        .clock(clock.clone())
        .executor(Arc::new(SlowTool(clock.clone())))
        .build()
        .unwrap()
}

#[tokio::test]
async fn after_twenty_runs_the_estimate_is_what_the_next_run_takes() {
    let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
    let store = Arc::new(MemoryStore::new());
    let document = || plan(&[task("a", "slow", &[]), task("b", "slow", &["a"])]);
    let first = service(&store, &clock).estimate_cost(document()).await.unwrap();
    assert_eq!(first.method, EstimateMethod::Deterministic);
    assert_eq!((first.seconds.expected, first.tokens.expected), (2.0, 0.0), "1 s a call, unpriced");

    // Ten plans of two calls are twenty runs of the tool.
    for _ in 0..10 {
        let service = service(&store, &clock);
        let planned = service.accept(document(), false).await.unwrap();
        service.run(planned.plan.id()).await.unwrap();
    }
    let service = service(&store, &clock);
    let learned = service.estimate_cost(document()).await.unwrap();
    assert_eq!(learned.method, EstimateMethod::Historical);
    assert_eq!(learned.tasks[0].history_runs, 20);
    for _ in 0..5 {
        let planned = service.accept(document(), false).await.unwrap();
        let id = planned.plan.id();
        service.run(id).await.unwrap();
        let costs = service.cost(id).await.unwrap();
        let actual = costs.actual.unwrap();
        for (estimate, actual) in [
            (learned.seconds.expected, actual.seconds),
            (learned.tokens.expected, actual.tokens as f64),
            (learned.cost_usd.expected, actual.cost_usd),
        ] {
            assert!((estimate - actual).abs() <= 0.2 * actual, "{estimate} for {actual}");
        }
        let explained = service.explain(id, &[Topic::Estimate]).await.unwrap();
        let text = explained[0].reasoning_steps.join("\n");
        assert!(text.contains("history was used, 20 earlier runs"), "{text}");
    }
}

#[tokio::test]
async fn old_runs_are_forgotten() {
    let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
    let store = Arc::new(MemoryStore::new());
    let document = || plan(&[task("a", "slow", &[])]);
    for _ in 0..6 {
        let service = service(&store, &clock);
        let planned = service.accept(document(), false).await.unwrap();
        service.run(planned.plan.id()).await.unwrap();
    }
    let runs = |costs: l05_engine::cost_report::CostReport| costs.tasks[0].history_runs;
    assert_eq!(runs(service(&store, &clock).estimate_cost(document()).await.unwrap()), 6);
    clock.advance_millis(31 * 86_400_000);
    assert_eq!(runs(service(&store, &clock).estimate_cost(document()).await.unwrap()), 0);
}

#[tokio::test]
async fn a_plan_without_a_graph_has_no_cost() {
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let service = service(&Arc::new(MemoryStore::new()), &clock);
    let circle = plan(&[task("a", "slow", &["b"]), task("b", "slow", &["a"])]);
    let error = service.estimate_cost(circle).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::CircularDependency);
}

/// What a task promises of itself is checked when it runs.
#[tokio::test]
async fn a_task_keeps_its_own_schemas() {
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let service = service(&Arc::new(MemoryStore::new()), &clock);
    let mut promised = task("a", "slow", &[]);
    promised["retry"] = json!({ "max_retries": 0 });
    promised["output_schema"] = json!({ "type": "object", "required": ["title"] });
    let planned = service.accept(plan(&[promised]), false).await.unwrap();
    let result = service.run(planned.plan.id()).await.unwrap();
    let error = result.tasks[0].error.as_ref().unwrap();
    assert_eq!(error.code, ErrorCode::TypeMismatch);
    assert!(error.message.contains("output_schema"), "{}", error.message);

    let mut picky = task("a", "slow", &[]);
    picky["inputs"] = json!({ "n": "$[first].output.ok" });
    picky["input_schema"] = json!({ "properties": { "n": { "type": "string" } } });
    let planned = service.accept(plan(&[task("first", "slow", &[]), picky]), false).await.unwrap();
    let result = service.run(planned.plan.id()).await.unwrap();
    let error = result.tasks[1].error.as_ref().unwrap();
    assert!(error.message.contains("input_schema"), "{}", error.message);
}

/// A running plan has a forecast from its estimate.
#[tokio::test]
async fn a_running_plan_has_a_forecast() {
    struct Hanging;
    impl Executor for Hanging {
        fn tools(&self) -> Vec<ToolSpec> {
            vec![ToolSpec::bare("hang")]
        }

        fn execute(&self, _: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
            Box::pin(std::future::pending())
        }
    }
    let clock = Arc::new(ManualClock::new(Timestamp(1_000_000)));
    let builder = PlanningService::builder().clock(clock.clone()).executor(Arc::new(Hanging));
    let service = builder.build().unwrap();
    let timed = |id, needs: &[&str], seconds| {
        let mut task = task(id, "hang", needs);
        task["expected_seconds"] = json!(seconds);
        task
    };
    let document = plan(&[timed("a", &[], 10), timed("b", &["a"], 20), timed("c", &[], 5)]);
    let id = service.accept(document, false).await.unwrap().plan.id();
    assert!(service.status(id).await.unwrap().forecast.is_none(), "not yet running");
    service.execute(id).await.unwrap();
    let forecast = service.status(id).await.unwrap().forecast.unwrap();
    assert_eq!((forecast.remaining_seconds, forecast.finish_at), (30.0, Timestamp(1_030_000)));
    clock.advance_millis(4_000);
    let forecast = service.status(id).await.unwrap().forecast.unwrap();
    assert_eq!(forecast.finish_at, Timestamp(1_030_000), "a has 6 of its 10 s left");
    service.cancel(id, "enough").await.unwrap();
    service.shutdown().await;
}
