//! The workspace comes with each call: one set of tools serves any folder, or none.

use std::path::Path;
use std::sync::Arc;

use l05::WorkspaceFolder;
use l05::{PlanResult, PlanningService, connect, read_plan};
use serde_json::{Value, json};

async fn result(folder: Option<&Path>, tasks: Value) -> PlanResult {
    let scratch = tempfile::tempdir().unwrap();
    let tools = connect::BuiltinTools::new(scratch.path().to_owned(), &[]);
    let mut builder = PlanningService::builder().executor(Arc::new(tools));
    if let Some(folder) = folder {
        builder = builder.workspace(WorkspaceFolder::new(folder));
    }
    let service = builder.build().unwrap();
    let document = read_plan(&json!({ "goal": "test", "tasks": tasks })).unwrap();
    let id = service.accept(document, false).await.unwrap().plan.id();
    service.run(id).await.unwrap()
}

#[tokio::test]
async fn the_same_tools_work_in_the_folder_of_the_call() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "here").unwrap();
    let read = json!([{ "id": "read", "tool": "fs.read", "inputs": { "path": "a.txt" } }]);
    let found = result(Some(folder.path()), read.clone()).await;
    assert_eq!(found.outputs["read"]["text"], "here");

    let none = result(None, read.clone()).await;
    let why = none.error.unwrap().message;
    assert!(why.contains("this tool needs a workspace, and there is none"), "{why}");

    let gone = folder.path().join("gone");
    let why = result(Some(&gone), read).await.error.unwrap().message;
    assert!(why.contains(&format!("the workspace `{}`", gone.display())), "{why}");
}

#[tokio::test]
async fn tools_that_touch_no_file_need_no_workspace() {
    let wait = json!([{ "id": "wait", "tool": "time.wait", "inputs": { "seconds": 0.01 } }]);
    let waited = result(None, wait).await;
    assert!(waited.error.is_none(), "{:?}", waited.error);
}
