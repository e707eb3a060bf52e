//! Watching plans: the hub, from inside and from outside of the process that drives them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use l05_core::plan::PlanStatus;
use l05_core::validate::PlanLimits;
use l05_engine::PlanningService;
use l05_engine::keys::MasterKey;
use l05_engine::port::{Journal, PlanCatalog};
use l05_engine::rules::ServiceRules;
use l05_engine::service::{GateAnswer, PlanWatcher};
use l05_run::public_event::PublicEvent;
use serde_json::{Value, json};

use crate::faulty::FaultyStore;
use crate::workload::{Script, ScriptedTools, plan, task};

fn service<S: Journal + PlanCatalog + 'static>(store: &Arc<S>) -> PlanningService {
    let tools = Arc::new(ScriptedTools(Arc::new(Script::default())));
    // One attempt at a time, so that a plan takes many commits.
    let limits = PlanLimits { tasks_max: 1_000, complexity_max: 1e6, ..PlanLimits::default() };
    let rules = ServiceRules { in_flight_max: 2, limits, ..ServiceRules::default() };
    PlanningService::builder()
        .store(store.clone())
        .executor(tools)
        .rules(rules)
        // Whoever looks from another process verifies what the first has signed.
        .master_key(MasterKey::new([7; 32]))
        .build()
        .unwrap()
}

fn chain(tasks: usize) -> Vec<Value> {
    let ids: Vec<String> = (0..tasks).map(|i| format!("t{i}")).collect();
    let after = |i: usize| if i == 0 { vec![] } else { vec![ids[i - 1].as_str()] };
    (0..tasks).map(|i| task(&ids[i], "yield", &after(i))).collect()
}

async fn all(mut watcher: PlanWatcher) -> Vec<PublicEvent> {
    let mut seen = Vec::new();
    while let Some(event) = watcher.next().await.unwrap() {
        seen.push(event);
    }
    seen
}

#[tokio::test]
async fn many_watchers_of_one_plan_cost_one_fold_and_no_polling() {
    const WATCHERS: u32 = 40;
    let store = Arc::new(FaultyStore { slow: true, ..FaultyStore::default() });
    let service = service(&store);
    let planned = service.accept(plan(&chain(100)), false).await.unwrap();
    let id = planned.plan.id();
    service.execute(id).await.unwrap();
    let before = store.looks.load(Ordering::SeqCst);
    let mut watching = Vec::new();
    for _ in 0..WATCHERS {
        watching.push(tokio::spawn(all(service.watch(id).await.unwrap())));
    }
    service.wait(id).await.unwrap();
    let looks = store.looks.load(Ordering::SeqCst) - before;
    let told = service.events(id).await.unwrap();
    for seen in watching {
        assert_eq!(seen.await.unwrap(), told);
    }
    // Each reads what was there when it came and once more behind that; the plan had 100 commits.
    assert!(looks <= 6 * WATCHERS, "{looks} looks into the journal");
}

#[tokio::test]
async fn a_slow_watcher_catches_up_from_the_journal() {
    let store = Arc::new(FaultyStore::default());
    let service = service(&store);
    let planned = service.accept(plan(&chain(400)), false).await.unwrap();
    let id = planned.plan.id();
    service.execute(id).await.unwrap();
    let mut slow = service.watch(id).await.unwrap();
    // It has begun to follow, and then looks at nothing while 400 commits go by.
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.extend(slow.next().await.unwrap());
    }
    assert_eq!(service.wait(id).await.unwrap(), PlanStatus::Completed);
    seen.extend(all(slow).await);
    assert_eq!(seen, service.events(id).await.unwrap());
}

#[tokio::test]
async fn a_plan_is_watched_from_another_process_too() {
    let store = Arc::new(FaultyStore::default());
    let (driving, looking) = (service(&store), service(&store));
    let planned = driving.accept(plan(&chain(30)), false).await.unwrap();
    let id = planned.plan.id();
    driving.execute(id).await.unwrap();
    let watching = tokio::spawn(all(looking.watch(id).await.unwrap()));
    driving.wait(id).await.unwrap();
    assert_eq!(watching.await.unwrap(), driving.events(id).await.unwrap());
}

#[tokio::test]
async fn a_watcher_rests_while_the_run_waits_for_people() {
    let store = Arc::new(FaultyStore::default());
    let service = service(&store);
    let mut gated = task("b", "ok", &["a"]);
    gated["gate"] = json!(true);
    let planned = service.accept(plan(&[task("a", "ok", &[]), gated]), false).await.unwrap();
    let id = planned.plan.id();
    service.execute(id).await.unwrap();
    let mut watcher = service.watch(id).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = watcher.next_while_it_moves().await.unwrap() {
        seen.push(event);
    }
    assert!(watcher.standing().waits_for_people);
    assert_eq!(seen.last().unwrap().kind.name(), "task.approval_requested");
    let answer = GateAnswer { approve: true, reason: "go".to_owned(), task: None, gate: None };
    service.answer(id, answer).await.unwrap();
    while let Some(event) = watcher.next().await.unwrap() {
        seen.push(event);
    }
    assert_eq!(seen, service.events(id).await.unwrap());
}
