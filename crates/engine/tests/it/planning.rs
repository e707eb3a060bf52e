//! Planning through the cache, the circuit breaker and the bulkheads, with a model that is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_core::goal::Goal;
use l05_core::id::{AgentDid, GoalId};
use l05_core::plan::CacheHit;
use l05_core::time::Timestamp;
use l05_engine::PlanningService;
use l05_engine::cache::{CacheInvalidation, CacheRules};
use l05_engine::decomposer::BulkheadSizes;
use l05_engine::decomposer::bulkhead::BulkheadSize;
use l05_engine::port::{
    BoxFuture, Executor, ExecutorOutput, Failure, FinishReason, ManualClock, ModelAnswer,
    ModelError, ModelFailure, ModelGateway, ModelIdentity, ModelRequest, ToolCall,
};
use l05_engine::rules::ServiceRules;
use l05_engine::service::{PlanRequest, PlannedGoal, PlanningStrategy, ServiceBuilder};
use serde_json::json;

/// A model that says the same plan each time, after a while.
struct Counted {
    name: &'static str,
    calls: AtomicUsize,
    broken: AtomicBool,
    takes: Duration,
}

impl Counted {
    fn new(name: &'static str) -> Arc<Counted> {
        let takes = Duration::from_millis(20);
        Arc::new(Counted {
            name,
            calls: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            takes,
        })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl ModelGateway for Counted {
    fn identity(&self) -> ModelIdentity {
        let (address, model) = ("http://127.0.0.1:1".to_owned(), self.name.to_owned());
        ModelIdentity { provider: "counted", address, model, is_local: false }
    }

    fn infer(&self, _: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, ModelError>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.takes).await;
            if self.broken.load(Ordering::SeqCst) {
                let (kind, message) = (ModelFailure::Unavailable, "503".to_owned());
                return Err(ModelError { kind, message, retry_after: None });
            }
            let plan = json!({"tasks": [{"id": "a", "name": "A", "tool": "nothing", "inputs": {}, "depends_on": []}]});
            Ok(ModelAnswer {
                text: plan.to_string(),
                model: self.name.to_owned(),
                input_tokens: Some(10),
                output_tokens: Some(5),
                finish: FinishReason::Stop,
            })
        })
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<String>, ModelError>> {
        Box::pin(async { Ok(vec![self.name.to_owned()]) })
    }
}

struct Nothing(&'static str);

impl Executor for Nothing {
    fn tools(&self) -> Vec<ToolSpec> {
        vec![ToolSpec::bare(self.0)]
    }

    fn execute(&self, _: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        Box::pin(async { Ok(json!({}).into()) })
    }
}

fn cached(cache: CacheRules) -> ServiceRules {
    ServiceRules { cache, ..ServiceRules::default() }
}

fn builder(model: &Arc<Counted>) -> ServiceBuilder {
    PlanningService::builder().executor(Arc::new(Nothing("nothing"))).model(model.clone())
}

fn goal(text: &str) -> Goal {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let id = GoalId::new(format!("g{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
    Goal::new(id, AgentDid::local(), text)
}

fn hit(planned: &PlannedGoal) -> Option<CacheHit> {
    planned.plan.document().cached.map(|cached| cached.hit)
}

#[tokio::test]
async fn a_hundred_callers_of_one_goal_ask_the_model_once() {
    let model = Counted::new("m");
    let service = builder(&model).build().unwrap();
    let callers = (0..100).map(|_| {
        let service = service.clone();
        tokio::spawn(async move { service.create_plan(goal("bake a cake")).await.unwrap() })
    });
    let planned = futures_util::future::join_all(callers.collect::<Vec<_>>()).await;
    let planned: Vec<PlannedGoal> = planned.into_iter().map(Result::unwrap).collect();
    assert_eq!(model.calls(), 1);
    let ids: std::collections::HashSet<_> = planned.iter().map(|p| p.plan.id()).collect();
    assert_eq!(ids.len(), 100);
    assert_eq!(planned.iter().filter(|p| hit(p).is_none()).count(), 1);
    // Each has a signature of its own, of the same content.
    let signatures: std::collections::HashSet<_> =
        planned.iter().map(|p| p.plan.document().signature.clone().unwrap().value).collect();
    assert_eq!(signatures.len(), 100);
    for one in &planned[..3] {
        service.load(one.plan.id()).await.unwrap();
        assert_eq!(one.plan.digest(), planned[3].plan.digest());
    }
}

#[tokio::test]
async fn whatever_shapes_the_plan_is_planned_on_its_own() {
    let model = Counted::new("m");
    let service = builder(&model).build().unwrap();
    let long = "word ".repeat(300);
    let mut budget = goal("bake a cake");
    budget.constraints.max_token_budget = Some(9_000);
    let mut llm = PlanRequest::from(goal("bake a cake"));
    llm.strategy = PlanningStrategy::Llm;
    let mut inputs = PlanRequest::from(goal("bake a cake"));
    inputs.inputs.insert("size".to_owned(), json!(3));
    let requests: Vec<PlanRequest> = vec![
        goal("bake a cake").into(),
        goal(&format!("{long}one")).into(),
        goal(&format!("{long}two")).into(),
        budget.into(),
        llm,
        inputs,
    ];
    for (n, request) in (1..).zip(&requests) {
        assert_eq!(hit(&service.create_plan(request.clone()).await.unwrap()), None);
        assert_eq!(model.calls(), n);
    }
    for request in requests {
        assert_eq!(hit(&service.create_plan(request).await.unwrap()), Some(CacheHit::L1));
    }
    assert_eq!(model.calls(), 6);
    // Who asks, and how urgently, shapes no plan, but is in it.
    let mut other = goal("bake a cake");
    (other.agent_did, other.priority) = (AgentDid::new("somebody").unwrap(), 9);
    let copied = service.create_plan(other).await.unwrap();
    let document = copied.plan.document();
    assert_eq!((document.agent_did.as_str(), document.priority), ("somebody", 9));
    assert_eq!(hit(&copied), Some(CacheHit::L1));
    service.load(copied.plan.id()).await.unwrap();
    // A second copy is checked as the first one was.
    assert_eq!(service.stats().cache.l1_hits, 7);
    service.invalidate(&CacheInvalidation::Model("m".to_owned())).await.unwrap();
    assert_eq!(hit(&service.create_plan(goal("bake a cake")).await.unwrap()), None);
}

#[tokio::test]
async fn a_plan_of_an_earlier_time_stands_in_for_a_model_that_fails() {
    let model = Counted::new("m");
    let rules = CacheRules { l1_fresh: Duration::from_millis(100), ..CacheRules::default() };
    let service = builder(&model).rules(cached(rules)).build().unwrap();
    let first = service.create_plan(goal("bake a cake")).await.unwrap();
    assert_eq!(hit(&first), None);
    model.broken.store(true, Ordering::SeqCst);
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let planned = service.create_plan(goal("bake a cake")).await.unwrap();
            match hit(&planned) {
                Some(CacheHit::L1) => tokio::task::yield_now().await,
                Some(CacheHit::Stale) => {
                    assert!(planned.warnings.iter().any(|w| w.message.contains("earlier time")));
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await
    .unwrap();
    let unknown = service.create_plan(goal("fry an egg")).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NoTemplateMatches);
    assert!(service.stats().cache.stale_hits >= 1);
}

#[tokio::test]
async fn a_gateway_that_fails_five_times_is_left_alone_until_its_trial() {
    let model = Counted::new("m");
    model.broken.store(true, Ordering::SeqCst);
    let clock = Arc::new(ManualClock::new(Timestamp(1_000_000)));
    let service =
        builder(&model).rules(cached(CacheRules::off())).clock(clock.clone()).build().unwrap();
    let ask = || async {
        let mut request = PlanRequest::from(goal("bake a cake"));
        request.strategy = PlanningStrategy::Llm;
        service.create_plan(request).await.map_err(|error| error.code)
    };
    for _ in 0..5 {
        assert_eq!(ask().await.err(), Some(ErrorCode::ModelDecompositionFailed));
    }
    // E5110, without a call.
    assert_eq!(ask().await.err(), Some(ErrorCode::CircuitOpen));
    assert_eq!(model.calls(), 5);
    clock.advance_millis(60_000);
    model.broken.store(false, Ordering::SeqCst);
    assert!(ask().await.is_ok() && ask().await.is_ok());
    assert_eq!(model.calls(), 7);
}

#[tokio::test]
async fn little_time_and_full_queues_are_refused_before_calling() {
    let model = Counted::new("m");
    let service = builder(&model).rules(cached(CacheRules::off())).build().unwrap();
    let mut request = PlanRequest::from(goal("bake a cake"));
    request.strategy = PlanningStrategy::Llm;
    request.within = Some(Duration::from_millis(900));
    let error = service.create_plan(request.clone()).await.unwrap_err();
    assert!(error.message.contains("less than 1 s"), "{error}");
    assert_eq!(model.calls(), 0);

    // E5109: one place, one in the queue.
    request.within = None;
    let decomposer = BulkheadSize { places: 1, queue: 1 };
    let sizes = BulkheadSizes { decomposer, ..BulkheadSizes::default() };
    let service = builder(&model)
        .rules(ServiceRules { bulkheads: sizes, ..cached(CacheRules::off()) })
        .build()
        .unwrap();
    let asked = (0..3).map(|_| service.create_plan(request.clone()));
    let answers = futures_util::future::join_all(asked).await;
    let refused: Vec<ErrorCode> =
        answers.iter().filter_map(|a| a.as_ref().err().map(|e| e.code)).collect();
    assert_eq!(refused, [ErrorCode::DecomposerBusy]);
    assert_eq!(model.calls(), 2);
}

#[tokio::test]
async fn tools_of_today_decide_about_plans_of_yesterday() {
    let model = Counted::new("m");
    let other = PlanningService::builder()
        .executor(Arc::new(Nothing("something_else")))
        .model(model.clone())
        .build()
        .unwrap();
    // The model still speaks of a tool that is gone: E5106 after three rounds, not a plan.
    let mut request = PlanRequest::from(goal("bake a cake"));
    request.strategy = PlanningStrategy::Llm;
    let error = other.create_plan(request).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ModelAnswerMalformed);
    assert_eq!(model.calls(), 3);
}
