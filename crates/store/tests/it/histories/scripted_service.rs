//! The service whose histories are recorded: tools that do what their names say, and a model that spends too much.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_engine::PlanningService;
use l05_engine::keys::MasterKey;
use l05_engine::port::{
    BoxFuture, Executor, ExecutorOutput, Failure, FinishReason, ModelAnswer, ModelError,
    ModelGateway, ModelIdentity, ModelRequest, ToolCall, WorkspaceFinder, WorkspaceFolder,
};
use l05_engine::rules::ServiceRules;
use l05_engine::workspaces::OtherWorkspaces;
use l05_run::amounts::Usage;
use l05_run::event::TaskError;
use l05_store::SqliteStore;
use serde_json::json;

/// Tools that do what their names say.
pub(super) struct Tools;

impl Executor for Tools {
    fn tools(&self) -> Vec<ToolSpec> {
        let names =
            ["ok", "fail", "fail_once", "limited_once", "hang", "slow", "large", "costly", "obeys"];
        let in_folder = ToolSpec { uses_workspace: true, ..ToolSpec::bare("in_folder") };
        names.map(ToolSpec::bare).into_iter().chain([in_folder]).collect()
    }

    fn execute(&self, mut call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        Box::pin(async move {
            let failed = |is_final| {
                let (code, message) = (ErrorCode::TaskFailed, "scripted".to_owned());
                Err(Failure::from(TaskError { is_final, ..TaskError::new(code, message) }))
            };
            match &*call.tool {
                "fail" => failed(true),
                "fail_once" if call.attempt.0 == 1 => failed(false),
                "limited_once" if call.attempt.0 == 1 => {
                    let error = TaskError::new(ErrorCode::TaskFailed, "come again");
                    Err(TaskError { retry_after_millis: Some(20), ..error }.into())
                }
                "obeys" => {
                    call.cancel.cancelled().await;
                    failed(true)
                }
                "hang" => std::future::pending().await,
                "slow" => {
                    tokio::time::sleep(Duration::from_millis(2_200)).await;
                    Ok(json!({"ok": true}).into())
                }
                "large" => Ok(json!({"text": "x".repeat(70_000)}).into()),
                "costly" => {
                    let usage = Usage { tokens: 80, cost_usd: 0.001, ..Usage::default() };
                    Ok(ExecutorOutput { output: json!({"ok": true}), usage })
                }
                _ => Ok(json!({"by": call.task_id, "inputs": call.inputs}).into()),
            }
        })
    }
}

/// A model that reports more tokens than it may use.
struct Spender;

impl ModelGateway for Spender {
    fn identity(&self) -> ModelIdentity {
        let (address, model) = ("test".to_owned(), "spender".to_owned());
        ModelIdentity { provider: "openai", address, model, is_local: true }
    }

    fn infer(&self, _: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, ModelError>> {
        Box::pin(async {
            Ok(ModelAnswer {
                text: "hello".to_owned(),
                model: "spender".to_owned(),
                input_tokens: Some(11_500),
                output_tokens: None,
                finish: FinishReason::Stop,
            })
        })
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<String>, ModelError>> {
        Box::pin(async { Ok(vec!["spender".to_owned()]) })
    }
}

/// One folder that is called `here`.
struct OneFolder;

impl WorkspaceFinder for OneFolder {
    fn find(&self, identity: &str) -> Result<WorkspaceFolder, String> {
        Err(format!("there is no `{identity}`"))
    }

    fn describe(&self, identity: &str) -> String {
        identity.to_owned()
    }
}

pub(super) fn service(folder: &Path) -> PlanningService {
    let store = Arc::new(SqliteStore::open(folder).unwrap());
    PlanningService::builder()
        .worker(store.worker())
        .store(store)
        .executor(Arc::new(Tools))
        .bind_runs("here", Arc::new(OneFolder), OtherWorkspaces::Refuse)
        .model(Arc::new(Spender))
        .master_key(MasterKey::new([7; 32]))
        .rules(ServiceRules { heartbeat: Duration::from_millis(100), ..ServiceRules::default() })
        .build()
        .unwrap()
}
