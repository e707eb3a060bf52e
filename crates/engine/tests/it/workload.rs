//! Plans and executors for tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_core::plan::PlanDocument;
use l05_engine::port::{BoxFuture, Executor, ExecutorOutput, Failure, ToolCall};
use l05_run::amounts::Usage;
use l05_run::event::TaskError;
use serde_json::{Value, json};

/// Tools whose behaviour the inputs say; counts every call by task.
#[derive(Default)]
pub(crate) struct Script {
    calls: Mutex<HashMap<String, usize>>,
    running: Mutex<(usize, usize)>,
}

impl Script {
    pub(crate) fn calls(&self, task: &str) -> usize {
        self.calls.lock().unwrap().get(task).copied().unwrap_or(0)
    }

    /// The most calls that were running at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.running.lock().unwrap().1
    }

    fn begin(&self, task: &str) -> usize {
        let mut running = self.running.lock().unwrap();
        running.0 += 1;
        running.1 = running.1.max(running.0);
        let mut calls = self.calls.lock().unwrap();
        let count = calls.entry(task.to_owned()).or_default();
        *count += 1;
        *count
    }
}

/// The executor over a script that the test looks at.
pub(crate) struct ScriptedTools(pub(crate) Arc<Script>);

impl Executor for ScriptedTools {
    fn tools(&self) -> Vec<ToolSpec> {
        let tool = |name: &str| ToolSpec::bare(name);
        ["ok", "fail_once", "fail", "hang", "panic", "yield", "deep", "large", "costly", "obeys"]
            .map(tool)
            .into()
    }

    fn execute(&self, mut call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        let script = self.0.clone();
        let task = call.task_id.to_string();
        let count = script.begin(&task);
        Box::pin(async move {
            let failed = |is_final| {
                let message = "scripted".to_owned();
                Err(Failure::from(TaskError {
                    is_final,
                    ..TaskError::new(ErrorCode::TaskFailed, message)
                }))
            };
            if &*call.tool == "costly" {
                let usage = Usage { tokens: 100, cost_usd: 0.5, ..Usage::default() };
                return Ok(ExecutorOutput { output: json!({ "wrong": count }), usage });
            }
            let result = match &*call.tool {
                "fail_once" if count == 1 => failed(false),
                "fail" => failed(true),
                "deep" => Ok((0..120).fold(Value::Null, |inner, _| json!([inner]))),
                "large" => Ok(json!({ "text": "x".repeat(100_000), "list": [1, 2] })),
                "hang" => std::future::pending().await,
                "obeys" => {
                    call.cancel.cancelled().await;
                    failed(true)
                }
                "panic" => panic!("scripted"),
                "yield" => {
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                    Ok(json!({ "task": task }))
                }
                _ => Ok(json!({ "task": task, "inputs": call.inputs })),
            };
            script.running.lock().unwrap().0 -= 1;
            result.map(ExecutorOutput::from)
        })
    }
}

pub(crate) fn task(id: &str, tool: &str, needs: &[&str]) -> Value {
    json!({ "id": id, "tool": tool, "depends_on": needs, "retry": { "base_seconds": 0.01 } })
}

pub(crate) fn plan(tasks: &[Value]) -> PlanDocument {
    PlanDocument::read(&json!({ "goal": "test", "tasks": tasks })).expect("the test's plan reads")
}
