//! Callers: whoever asks is on record, and nobody's act is filed under another's name.

use std::sync::Arc;

use l05_core::caller::{Caller, CallerRole};
use l05_core::catalog::ToolSpec;
use l05_core::id::{PlanId, Sequence};
use l05_engine::PlanningService;
use l05_engine::memory::MemoryStore;
use l05_engine::port::{BoxFuture, Executor, ExecutorOutput, Failure, Journal, ToolCall};
use l05_engine::service::GateAnswer;
use l05_run::event::RunEvent;
use l05_run::public_event::{PublicEvent, PublicEventKind};
use l05_run::record::Record;
use serde_json::json;
use tokio::sync::watch;

use crate::workload::{Script, ScriptedTools, plan, task};

async fn records(store: &MemoryStore, id: PlanId) -> Vec<Record> {
    store.read(id, Sequence(1)).await.unwrap()
}

fn by(events: &[PublicEvent]) -> Vec<String> {
    let by = |event: &PublicEvent| {
        let by = match &event.kind {
            PublicEventKind::PlanDispatched(start) => start.by.as_deref()?,
            PublicEventKind::TaskApproved(answer) => answer.by.as_str(),
            PublicEventKind::PlanCancelRequested(request) => request.by.as_deref()?,
            _ => return None,
        };
        Some(format!("{} {by}", event.kind.name()))
    };
    events.iter().filter_map(by).collect()
}

#[tokio::test]
async fn start_answer_cancel_and_retry_are_on_record_as_their_callers() {
    let store = Arc::new(MemoryStore::new());
    let tools = Arc::new(ScriptedTools(Arc::new(Script::default())));
    let service = PlanningService::builder().store(store.clone()).executor(tools).build().unwrap();
    let named = |id: &str| service.as_caller(Caller { id: id.into(), role: CallerRole::Operator });
    let mut gated = task("gated", "ok", &[]);
    gated["gate"] = json!(true);
    let tasks = [gated, task("long", "obeys", &["gated"])];
    let planned = service.accept(plan(&tasks), false).await.unwrap();
    let id = planned.plan.id();
    named("ann").execute(id).await.unwrap();
    let answer = GateAnswer { approve: true, reason: "fine".to_owned(), task: None, gate: None };
    named("bob").answer(id, answer).await.unwrap();
    named("cem").cancel(id, "enough").await.unwrap();
    service.wait(id).await.unwrap();
    named("dan").retry(id, Some("long")).await.unwrap();
    service.cancel(id, "enough").await.unwrap();
    service.wait(id).await.unwrap();
    assert_eq!(
        by(&service.events(id).await.unwrap()),
        [
            "plan.dispatched ann",
            "task.approved bob",
            "plan.cancel_requested cem",
            "plan.dispatched dan",
            "plan.cancel_requested local",
        ]
    );
    // The answer names the content that it is about.
    let digest = l05_core::plan::digest_hex(planned.plan.digest());
    let answered = records(&store, id).await.into_iter().flat_map(|record| record.events);
    let digests: Vec<Option<String>> = answered
        .filter_map(|event| match event {
            RunEvent::GateDecided { content_digest, .. } => Some(content_digest),
            _ => None,
        })
        .collect();
    assert_eq!(digests, [Some(digest)]);
}

/// Each attempt waits until it is let go, so that reports and a caller's act come together.
struct Held(watch::Receiver<bool>);

impl Executor for Held {
    fn tools(&self) -> Vec<ToolSpec> {
        vec![ToolSpec::bare("held")]
    }

    fn execute(&self, _: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        let mut go = self.0.clone();
        Box::pin(async move {
            let _ = go.wait_for(|go| *go).await;
            Ok(json!(null).into())
        })
    }
}

#[tokio::test]
async fn a_callers_act_is_no_record_of_a_tool() {
    let store = Arc::new(MemoryStore::new());
    let (go, held) = watch::channel(false);
    let tools = Arc::new(Held(held));
    let service = PlanningService::builder().store(store.clone()).executor(tools).build().unwrap();
    let tasks: Vec<_> = (0..6).map(|i| task(&format!("t{i}"), "held", &[])).collect();
    let planned = service.accept(plan(&tasks), false).await.unwrap();
    let id = planned.plan.id();
    service.as_caller(Caller::person("ann")).execute(id).await.unwrap();
    go.send(true).unwrap();
    let _ = service.as_caller(Caller::person("bob")).cancel_task(id, "t5", "mine").await;
    service.wait(id).await.unwrap();
    for record in records(&store, id).await {
        let callers = record.events.iter().filter_map(|event| match event {
            RunEvent::RunStarted { by, .. } | RunEvent::CancelRequested { by, .. } => by.clone(),
            _ => None,
        });
        for caller in callers {
            assert_eq!(record.actor, caller);
            let reported = |event: &RunEvent| matches!(event, RunEvent::TaskCompleted { .. });
            assert!(!record.events.iter().any(reported), "{record:?}");
        }
    }
}
