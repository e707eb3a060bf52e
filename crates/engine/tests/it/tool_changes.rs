//! Tools that come and go while the service runs.

use std::sync::{Arc, Mutex};

use l05_core::catalog::ToolSpec;
use l05_core::plan::PlanStatus;
use l05_engine::PlanningService;
use l05_engine::port::{BoxFuture, Executor, ExecutorOutput, Failure, ToolCall};
use serde_json::json;

use crate::workload::{plan, task};

/// Has whichever tools the test gives it.
struct Changing(Arc<Mutex<Vec<&'static str>>>);

impl Executor for Changing {
    fn tools(&self) -> Vec<ToolSpec> {
        self.0.lock().unwrap().iter().map(|name| ToolSpec::bare(*name)).collect()
    }

    fn execute(&self, call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        Box::pin(async move { Ok(json!({ "by": call.tool }).into()) })
    }
}

#[tokio::test]
async fn a_tool_that_comes_later_is_there_for_the_plans_after_it() {
    let tools = Arc::new(Mutex::new(vec!["old"]));
    let executor = Arc::new(Changing(tools.clone()));
    let service = PlanningService::builder().executor(executor).build().unwrap();
    let document = || plan(&[task("a", "new", &[])]);
    let refused = service.accept(document(), false).await.unwrap_err();
    assert!(refused.message.contains("there is no tool `new`"), "{refused}");
    assert!(!service.refresh_tools().await.unwrap(), "nothing has changed");
    assert_eq!(service.stats().catalog_generation, 1);

    *tools.lock().unwrap() = vec!["new"];
    assert!(service.refresh_tools().await.unwrap());
    let stats = service.stats();
    assert_eq!((stats.catalog_generation, stats.tools, stats.agents), (2, 1, 1));
    let planned = service.accept(document(), false).await.unwrap();
    let result = service.run(planned.plan.id()).await.unwrap();
    assert_eq!(result.status, PlanStatus::Completed);
    assert_eq!(result.outputs["a"], json!({ "by": "new" }));
    let gone = service.accept(plan(&[task("a", "old", &[])]), false).await.unwrap_err();
    assert!(gone.message.contains("there is no tool `old`"), "{gone}");
}
