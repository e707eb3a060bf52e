//! What an executor is told with a call.

use std::sync::Arc;

use l05_core::catalog::ToolSpec;
use l05_core::id::WorkerId;
use l05_core::plan::PlanStatus;
use l05_engine::PlanningService;
use l05_engine::keys::MasterKey;
use l05_engine::memory::MemoryStore;
use l05_engine::port::{BoxFuture, Executor, ExecutorOutput, Failure, ToolCall, WorkspaceFolder};
use serde_json::{Value, json};

use crate::workload::{plan, task};

/// Answers with what it was told; the first start of each attempt of `held` never ends.
struct Told;

impl Executor for Told {
    fn tools(&self) -> Vec<ToolSpec> {
        ["told", "held"].map(ToolSpec::bare).into()
    }

    fn execute(&self, call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        Box::pin(async move {
            if &*call.tool == "held" && call.launch.epoch.0 == 1 {
                std::future::pending::<()>().await;
            }
            let workspace = call.workspace.as_ref().map(|folder| folder.path.clone());
            let launch = [call.launch.epoch.0, call.launch.number];
            let key = call.idempotency_key();
            Ok(json!({ "workspace": workspace, "launch": launch, "key": key }).into())
        })
    }
}

fn service(store: &Arc<MemoryStore>, folder: Option<&str>) -> PlanningService {
    let builder = PlanningService::builder()
        .store(store.clone())
        .executor(Arc::new(Told))
        // One process by its name, so that the second service may go on with what the first parked.
        .worker(WorkerId(uuid::Uuid::from_u128(1)))
        .master_key(MasterKey::new([7; 32]));
    match folder {
        Some(folder) => builder.workspace(WorkspaceFolder::new(folder)).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

#[tokio::test]
async fn a_call_brings_its_workspace_and_each_start_its_launch() {
    let store = Arc::new(MemoryStore::new());
    let service_in = |folder| service(&store, folder);
    let two = plan(&[task("a", "told", &[]), task("b", "told", &["a"])]);
    for (folder, told) in [(Some("/here"), json!("/here")), (None, Value::Null)] {
        let service = service_in(folder);
        let id = service.accept(two.clone(), false).await.unwrap().plan.id();
        assert_eq!(service.run(id).await.unwrap().status, PlanStatus::Completed);
        let outputs = service.details(id).await.unwrap();
        let outputs = serde_json::to_value(outputs).unwrap();
        let launches: Vec<&Value> =
            outputs["tasks"].as_array().unwrap().iter().map(|t| &t["outputs"]["launch"]).collect();
        assert_eq!(launches, [&json!([1, 0]), &json!([1, 1])]);
        assert_eq!(outputs["tasks"][0]["outputs"]["workspace"], told);
    }
}

#[tokio::test]
async fn an_attempt_that_is_started_again_keeps_its_key_and_gets_a_launch() {
    let store = Arc::new(MemoryStore::new());
    let first = service(&store, None);
    let id = first.accept(plan(&[task("a", "held", &[])]), false).await.unwrap().plan.id();
    first.execute(id).await.unwrap();
    first.park(id).await.unwrap();
    let second = service(&store, None);
    let result = second.run(id).await.unwrap();
    let told = &result.outputs["a"];
    assert_eq!(told["key"], json!(format!("{id}/a/1")));
    assert!(told["launch"][0].as_u64().unwrap() > 1, "{told}");
}
