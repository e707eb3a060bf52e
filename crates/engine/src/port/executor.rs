//! Whatever does the work of a task.

use std::path::PathBuf;
use std::sync::Arc;

use l05_core::catalog::ToolSpec;
use l05_core::id::{Attempt, Epoch, PlanId};
use l05_core::plan::AttemptAllowance;
use l05_core::time::Timestamp;
use l05_core::validate::{InputProblem, LiteralCall};
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

    /// Looks at a call's inputs that stand in the plan, before anything runs: text in a language that the tool
    /// knows, paths. `workspace`: the folder that the plan is to run in, where the caller wants to know what is there.
    fn check<'a>(
        &'a self,
        _call: LiteralCall<'a>,
        _workspace: Option<&'a WorkspaceFolder>,
    ) -> BoxFuture<'a, Vec<InputProblem>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Runs one attempt. Called at least once per attempt: after a crash the same attempt comes
    /// again with the same key. An executor that can stop watches `call.cancel` and then returns
    /// whatever it likes; the outcome no longer counts.
    fn execute(&self, call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>>;
}

/// An attempt's output, and its use.
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

/// The reason for which an attempt failed, and its use all the same.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The reason.
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
    /// The task in words, where no tool says it; the prompt of an LLM_CALL.
    pub instructions: Option<Arc<str>>,
    /// JSON Schema that the task wants its output to fit, beside the tool's own.
    pub output_schema: Option<Value>,
    /// The task's inputs, references resolved.
    pub inputs: Value,
    /// The plan.
    pub plan: PlanId,
    /// The task's id.
    pub task_id: Arc<str>,
    /// The number of the attempt.
    pub attempt: Attempt,
    /// The start of the attempt that this is; an attempt that is given out again has another one under
    /// the same number and key.
    pub launch: Launch,
    /// The time at which the attempt times out.
    pub not_after: Timestamp,
    /// The model that the task asks for.
    pub model: Option<Arc<str>>,
    /// The most that the attempt may use.
    pub allowance: AttemptAllowance,
    /// The person's answer, where one was asked before the start.
    pub answer: Option<GateApproval>,
    /// The folder to work in; none: tools that need one fail.
    pub workspace: Option<Arc<WorkspaceFolder>>,
    /// Fires when the work should stop.
    pub cancel: CancelSignal,
}

impl ToolCall {
    /// `plan_id/task_id/attempt`: the same for every repetition of the attempt.
    pub fn idempotency_key(&self) -> String {
        l05_core::context::idempotency_key(self.plan, &self.task_id, self.attempt)
    }
}

/// One start of an attempt's executor: an attempt that was given to a second agent has two, and what
/// the first still says does not count. Ordered within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Launch {
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The number of the start, among those of this owner.
    pub number: u64,
}

/// A folder that tools work in, and cannot leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceFolder {
    /// The folder.
    pub path: PathBuf,
    /// A folder that may lie inside and that tools do not see: the one with the journal and the key.
    pub private: Option<PathBuf>,
}

/// Finds the folders that runs belong to.
pub trait WorkspaceFinder: Send + Sync {
    /// The folder of an identity; an error says in words why it is not here.
    fn find(&self, identity: &str) -> Result<WorkspaceFolder, String>;

    /// An identity in words for people.
    fn describe(&self, identity: &str) -> String;
}

impl WorkspaceFolder {
    /// A folder without a private one.
    pub fn new(path: impl Into<PathBuf>) -> WorkspaceFolder {
        WorkspaceFolder { path: path.into(), private: None }
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

    /// True if the executor is to stop; for work in a thread, which asks now and then.
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
