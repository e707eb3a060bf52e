//! Agents beside the process: who gets what, and who is missed.

use std::sync::Arc;
use std::time::Duration;

use l05_core::ErrorCode;
use l05_core::agent::{Agent, AgentStatus};
use l05_core::catalog::ToolSpec;
use l05_core::plan::{PlanDocument, PlanStatus};
use l05_core::time::Timestamp;
use l05_engine::PlanningService;
use l05_engine::port::{BoxFuture, Executor, ExecutorOutput, Failure, ManualClock, ToolCall};
use l05_engine::rules::ServiceRules;
use l05_run::public_event::PublicEvent;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::faulty::FaultyStore;
use crate::workload::{Script, ScriptedTools, plan, task};

const HEARTBEAT: Duration = Duration::from_millis(40);

fn agent(id: &str, capabilities: &[&str]) -> Agent {
    serde_json::from_value(json!({
        "agent_id": id, "type": "worker", "version": "1.2.0", "status": "AVAILABLE",
        "capabilities": capabilities, "max_concurrent_tasks": 4, "current_load": 0,
        "capacity": {"cpu_cores": 2.0, "memory_mb": 1024}, "last_heartbeat": "1970-01-01T00:00:00Z",
    }))
    .unwrap()
}

/// Answers at once, or never; tells of each call.
struct Hands {
    answers: bool,
    called: mpsc::UnboundedSender<(String, String)>,
}

impl Executor for Hands {
    fn tools(&self) -> Vec<ToolSpec> {
        Vec::new()
    }

    fn execute(&self, call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        self.called
            .send((call.idempotency_key(), call.instructions.unwrap_or_default().to_string()))
            .unwrap();
        let answers = self.answers;
        Box::pin(async move {
            if !answers {
                std::future::pending::<()>().await;
            }
            Ok(json!({"by": "an agent"}).into())
        })
    }
}

type Calls = mpsc::UnboundedReceiver<(String, String)>;

fn hands(answers: bool) -> (Arc<Hands>, Calls) {
    let (called, calls) = mpsc::unbounded_channel();
    (Arc::new(Hands { answers, called }), calls)
}

fn service() -> PlanningService {
    let tools = Arc::new(ScriptedTools(Arc::new(Script::default())));
    let rules = ServiceRules { heartbeat: HEARTBEAT, ..ServiceRules::default() };
    PlanningService::builder().executor(tools).rules(rules).build().unwrap()
}

fn atomic() -> PlanDocument {
    let document = json!({"goal": "think", "tasks": [
        {"id": "think", "type": "atomic", "description": "Think about it", "needs": ["lang:en"],
         "retry": {"base_seconds": 0.01}},
        {"id": "note", "tool": "ok", "inputs": {"by": "$[think].output.by"}},
    ]});
    PlanDocument::read(&document).unwrap()
}

/// Keeps an agent alive as long as it is held.
fn keep_alive(service: &PlanningService, id: &str) -> tokio::task::JoinHandle<()> {
    let (service, id) = (service.clone(), id.to_owned());
    tokio::spawn(async move {
        let mut beat = tokio::time::interval(HEARTBEAT / 2);
        loop {
            beat.tick().await;
            if service.heartbeat(&id, Some(10)).await.is_err() {
                return;
            }
        }
    })
}

async fn status_of(service: &PlanningService, id: &str) -> Option<AgentStatus> {
    let agents = service.agents().await.unwrap();
    agents.iter().find(|agent| agent.agent_id == id).map(|agent| agent.status)
}

#[tokio::test]
async fn an_atomic_task_is_done_by_an_agent() {
    let service = service();
    let refused = service.accept(atomic(), false).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoAgents, "{refused}");
    let (thinker, mut calls) = hands(true);
    service.register_agent(agent("did:key:thinker", &["lang:en"]), thinker).await.unwrap();
    let _alive = keep_alive(&service, "did:key:thinker");
    // Registered is what the driver has heard of.
    service.agents().await.unwrap();
    let planned = service.accept(atomic(), false).await.unwrap();
    let id = planned.plan.id();
    let result = service.run(id).await.unwrap();
    assert_eq!(result.status, PlanStatus::Completed, "{result:?}");
    assert_eq!(result.tasks[0].agent.as_deref(), Some("did:key:thinker"));
    assert_eq!(result.tasks[1].agent.as_deref(), Some("local"));
    let (key, instructions) = calls.recv().await.unwrap();
    assert_eq!((key, instructions.as_str()), (format!("{id}/think/1"), "Think about it"));
    let events = service.events(id).await.unwrap();
    let assigned: Vec<Value> =
        events.iter().filter(|e| e.kind.name() == "task.assigned").map(PublicEvent::data).collect();
    assert_eq!(assigned[0]["agent_id"], "did:key:thinker");
    assert!(assigned[0]["score"].as_f64().unwrap() > 0.0);
}

/// One that falls silent is given up, and its task goes to the other under the same key.
#[tokio::test]
async fn what_a_silent_agent_had_goes_to_another() {
    let service = service();
    let (first, mut first_calls) = hands(false);
    service.register_agent(agent("did:key:first", &["lang:en"]), first).await.unwrap();
    service.agents().await.unwrap();
    let planned = service.accept(atomic(), false).await.unwrap();
    service.execute(planned.plan.id()).await.unwrap();
    let (first_key, _) = first_calls.recv().await.unwrap();
    let (second, mut second_calls) = hands(true);
    service.register_agent(agent("did:key:second", &["lang:en"]), second).await.unwrap();
    let _alive = keep_alive(&service, "did:key:second");
    let status = service.wait(planned.plan.id()).await.unwrap();
    assert_eq!(status, PlanStatus::Completed);
    assert_eq!(second_calls.recv().await.unwrap().0, first_key, "the same attempt");
    assert_eq!(status_of(&service, "did:key:first").await, Some(AgentStatus::Offline));
    // Heard of again, it takes work again.
    service.heartbeat("did:key:first", None).await.unwrap();
    assert_eq!(status_of(&service, "did:key:first").await, Some(AgentStatus::Available));
}

/// Whenever the agent leaves, this process does the task once, in its own name.
#[tokio::test]
async fn what_was_placed_on_an_agent_that_leaves_is_not_begun_here_in_its_name() {
    for yields in 0..160 {
        let script = Arc::new(Script::default());
        let store = Arc::new(FaultyStore { slow: true, ..FaultyStore::default() });
        let tools = Arc::new(ScriptedTools(script.clone()));
        let builder = PlanningService::builder().store(store).executor(tools);
        let service = builder.build().unwrap();
        let (hands, _calls) = hands(false);
        service.register_agent(agent("did:key:a", &["tool:ok"]), hands).await.unwrap();
        let id = service.accept(plan(&[task("t", "ok", &[]), task("u", "ok", &[])]), false);
        let id = id.await.unwrap().plan.id();
        let leave = async {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            service.remove_agent("did:key:a").await
        };
        let (executed, left) = tokio::join!(service.execute(id), leave);
        executed.and(left).unwrap();
        assert_eq!(service.wait(id).await.unwrap(), PlanStatus::Completed);
        assert_eq!((script.calls("t"), script.calls("u")), (1, 1), "after {yields} yields");
    }
}

#[tokio::test]
async fn who_drains_goes_on_draining_after_a_silence() {
    let service = service();
    service.register_agent(agent("did:key:a", &["lang:en"]), hands(true).0).await.unwrap();
    service.drain_agent("did:key:a").await.unwrap();
    let silent = async {
        while status_of(&service, "did:key:a").await != Some(AgentStatus::Offline) {
            tokio::time::sleep(HEARTBEAT / 4).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), silent).await.expect("it is given up");
    service.heartbeat("did:key:a", None).await.unwrap();
    assert_eq!(status_of(&service, "did:key:a").await, Some(AgentStatus::Draining));
}

/// Agents that come under a new name each time do not pile up.
#[tokio::test]
async fn who_was_silent_for_a_day_is_forgotten_when_another_comes() {
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let service = PlanningService::builder().clock(clock.clone()).build().unwrap();
    let register = async |id: &str| {
        service.register_agent(agent(id, &["lang:en"]), hands(true).0).await.unwrap();
    };
    let names = async || {
        let agents = service.agents().await.unwrap();
        let names = agents.into_iter().map(|agent| agent.agent_id);
        names.filter(|id| id.starts_with("did:")).collect::<Vec<_>>()
    };
    register("did:key:a").await;
    clock.advance_millis(23 * 3_600_000);
    register("did:key:b").await;
    assert_eq!(names().await, ["did:key:a", "did:key:b"]);
    clock.advance_millis(2 * 3_600_000);
    register("did:key:c").await;
    assert_eq!(names().await, ["did:key:b", "did:key:c"]);
    let unknown = service.heartbeat("did:key:a", None).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::AgentUnknown, "it registers anew");
}

#[tokio::test]
async fn who_drains_ends_what_it_has_and_who_leaves_does_not() {
    let service = service();
    let (hands, mut calls) = hands(false);
    service.register_agent(agent("did:key:a", &["lang:en"]), hands).await.unwrap();
    let _alive = keep_alive(&service, "did:key:a");
    service.agents().await.unwrap();
    let planned = service.accept(atomic(), false).await.unwrap();
    service.execute(planned.plan.id()).await.unwrap();
    calls.recv().await.unwrap();
    service.drain_agent("did:key:a").await.unwrap();
    assert_eq!(status_of(&service, "did:key:a").await, Some(AgentStatus::Draining));
    let refused = service.accept(atomic(), false).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::AgentUnavailable, "INT-007: {refused}");
    let running = service.status(planned.plan.id()).await.unwrap();
    assert_eq!(running.tasks[0].status.to_string(), "EXECUTING");
    service.remove_agent("did:key:a").await.unwrap();
    assert_eq!(service.wait(planned.plan.id()).await.unwrap(), PlanStatus::Failed);
    let result = service.result(planned.plan.id()).await.unwrap();
    let error = result.tasks[0].error.as_ref().unwrap();
    assert_eq!(error.code, ErrorCode::AgentUnavailable, "nobody is left: {error:?}");
}

#[tokio::test]
async fn agents_that_make_no_sense_are_refused() {
    let service = service();
    let check = async |id: &str, code: ErrorCode| {
        let (hands, _) = hands(true);
        let refused = service.register_agent(agent(id, &[]), hands).await.unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    };
    check("", ErrorCode::PlanMalformed).await;
    check("local", ErrorCode::PlanMalformed).await;
    check("a\nb", ErrorCode::PlanMalformed).await;
    let unknown = service.heartbeat("locl", None).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::AgentUnknown);
}

/// INT-009 at run time: tools of the process count as its agent's, of its version.
#[tokio::test]
async fn tools_go_to_agents_that_have_them_too() {
    let service = service();
    let (hands, mut calls) = hands(true);
    service.register_agent(agent("did:key:a", &["tool:ok"]), hands).await.unwrap();
    let _alive = keep_alive(&service, "did:key:a");
    service.agents().await.unwrap();
    let wants = |range: &str| {
        let mut task = task("t", "ok", &[]);
        task["agent_version"] = json!(range);
        plan(&[task])
    };
    let planned = service.accept(wants("^1.2"), false).await.unwrap();
    assert_eq!(service.run(planned.plan.id()).await.unwrap().status, PlanStatus::Completed);
    assert!(calls.try_recv().is_ok(), "the only one of that version");
    let refused = service.accept(wants("^2"), false).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::AgentVersionMismatch, "{refused}");
}
