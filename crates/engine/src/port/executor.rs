//! Whatever does the work of a task.

use std::sync::Arc;

use l05_core::catalog::ToolSpec;
use l05_core::id::{Attempt, PlanId};
use l05_core::time::Timestamp;
use l05_run::amounts::Usage;
use l05_run::event::TaskError;
use l05_run::machine::GateApproval;
use serde_json::Value;
use tokio::sync::watch;

use super::BoxFuture;

/// Runs tools.
pub trait Executor: Send + Sync {
    /// The tools it has.
    fn tools(&self) -> Vec<ToolSpec>;

    /// Runs one attempt. Called at least once per attempt: after a crash the same attempt comes
    /// again with the same key. An executor that can stop watches `call.cancel` and then returns
    /// whatever it likes; the outcome no longer counts.
    fn execute(&self, call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>>;
}

/// What an attempt gave, and what it used.
#[derive(Debug, Clone)]
pub struct ExecutorOutput {
    /// The output.
    pub output: Value,
    /// Model tokens and money; estimates learn from it.
    pub usage: Usage,
}

impl From<Value> for ExecutorOutput {
    /// An output that used nothing that is counted.
    fn from(output: Value) -> ExecutorOutput {
        ExecutorOutput { output, usage: Usage::default() }
    }
}

/// Why an attempt failed, and what it used all the same.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Why.
    pub error: TaskError,
    /// Model tokens and money; `None`: nobody knows, and all that was reserved for it counts.
    pub usage: Option<Usage>,
}

impl From<TaskError> for Failure {
    /// The failure of something that uses nothing that is counted.
    fn from(error: TaskError) -> Failure {
        Failure { error, usage: Some(Usage::default()) }
    }
}

/// One attempt of one task, with everything resolved.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// The tool; empty for a task that an agent does in its own way.
    pub tool: Arc<str>,
    /// What the task is, in words, where no tool says it; the prompt of an LLM_CALL.
    pub instructions: Option<Arc<str>>,
    /// JSON Schema that the task wants its output to fit, beside the tool's own.
    pub output_schema: Option<Value>,
    /// Its inputs, references resolved.
    pub inputs: Value,
    /// The plan.
    pub plan: PlanId,
    /// The task's id.
    pub task_id: Arc<str>,
    /// Which attempt.
    pub attempt: Attempt,
    /// When the attempt times out.
    pub not_after: Timestamp,
    /// What a person said, where one was asked before the start.
    pub answer: Option<GateApproval>,
    /// Fires when the work should stop.
    pub cancel: CancelSignal,
}

impl ToolCall {
    /// `plan_id/task_id/attempt`: the same for every repetition of the attempt.
    pub fn idempotency_key(&self) -> String {
        l05_core::context::idempotency_key(self.plan, &self.task_id, self.attempt)
    }
}

/// Tells an executor to stop.
#[derive(Debug)]
pub struct CancelHandle(watch::Sender<bool>);

/// Hears it.
#[derive(Debug, Clone)]
pub struct CancelSignal(watch::Receiver<bool>);

/// A connected pair.
pub fn cancel_pair() -> (CancelHandle, CancelSignal) {
    let (sender, receiver) = watch::channel(false);
    (CancelHandle(sender), CancelSignal(receiver))
}

impl CancelHandle {
    /// Tells it.
    pub fn cancel(&self) {
        // Nobody listening any more is the best case.
        let _ = self.0.send(true);
    }
}

impl CancelSignal {
    /// A signal that never comes, for calls outside a run.
    pub fn never() -> CancelSignal {
        CancelSignal(watch::channel(false).1)
    }

    /// Whether to stop; for work in a thread, which asks now and then.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until told to stop; for ever when nobody can tell any more.
    pub async fn cancelled(&mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
