//! Work of tools that runs in an evaluator process where there is one.
//!
//! A tool that evaluates text which somebody wrote names a [`BoxedWork`]: a function over inputs, without the plan, the
//! run or anything else of this process. What is provably small is done in a thread; without evaluator processes
//! everything is.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use l05_core::ErrorCode;
use l05_core::evaluation::EvaluationFailure;
use l05_engine::port::{CancelSignal, WorkspaceFolder};
use l05_run::event::TaskError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::table::TableStore;
use super::{ToolContext, data_query, fs_search, json_select, text_render};
use crate::workspace::{Workspace, final_error};

/// The name of such work for [`crate::evaluator::EvaluatorPool::run`].
pub(crate) const TOOL_WORK: &str = "tool";

/// The longest time that a piece of work may take, whatever the attempt's own limit is.
const WORK_TIME_MAX: Duration = Duration::from_secs(3_600);

/// A function that an evaluator process can call.
pub(super) struct BoxedWork {
    pub(super) name: &'static str,
    pub(super) run: fn(&ToolContext, Value) -> Result<Value, TaskError>,
    /// True if it works in the run's folder.
    pub(super) uses_workspace: bool,
    /// True if the inputs take little time and memory, whatever they hold.
    pub(super) is_small: fn(&Value) -> bool,
}

/// All of it.
static WORK: [&BoxedWork; 5] = [
    &data_query::QUERY,
    &data_query::SQL_CHECK,
    &fs_search::SEARCH,
    &json_select::SELECT,
    &text_render::RENDER,
];

/// A call on its way to an evaluator process.
#[derive(Serialize, Deserialize)]
struct BoxedCall {
    work: String,
    inputs: Value,
    workspace: Option<BoxedFolder>,
    tables: PathBuf,
    key: String,
    plan: String,
}

/// A folder that this process has opened: the other end must open the same one.
#[derive(Serialize, Deserialize)]
struct BoxedFolder {
    path: PathBuf,
    private: Option<PathBuf>,
    identity: (u64, u64),
}

impl BoxedFolder {
    fn of(context: &ToolContext) -> Result<BoxedFolder, TaskError> {
        let workspace = context.workspace()?;
        let identity = workspace.identity().map_err(|error| no_folder(&error.to_string()))?;
        let private = context.folder.as_deref().and_then(|folder| folder.private.as_deref());
        let private = private.and_then(|private| private.canonicalize().ok());
        Ok(BoxedFolder { path: workspace.path().to_owned(), private, identity })
    }

    fn open(self) -> Result<(Arc<WorkspaceFolder>, Workspace), TaskError> {
        let folder = WorkspaceFolder { path: self.path, private: self.private };
        let opened = Workspace::open(&folder).and_then(|w| Ok((w.identity()?, w)));
        match opened {
            Ok((identity, workspace)) if identity == self.identity => {
                Ok((Arc::new(folder), workspace))
            }
            Ok(_) => Err(no_folder("another folder has taken its place")),
            Err(error) => Err(no_folder(&error.to_string())),
        }
    }
}

fn no_folder(why: &str) -> TaskError {
    final_error(ErrorCode::AccessDenied, format!("the workspace cannot be opened: {why}"))
}

/// Does a tool's work: in an evaluator process, unless it is small or there is none. Whoever stops the attempt ends the
/// process.
pub(super) async fn in_box(
    mut context: ToolContext,
    work: &'static BoxedWork,
    inputs: Value,
) -> Result<Value, TaskError> {
    let Some(pool) = context.evaluators.clone().filter(|_| !(work.is_small)(&inputs)) else {
        let done = tokio::task::spawn_blocking(move || (work.run)(&context, inputs));
        return done.await.unwrap_or_else(|error| {
            let message = format!("the tool crashed: {error}");
            Err(TaskError::new(ErrorCode::AgentCrashed, message))
        });
    };
    let call = BoxedCall {
        work: work.name.to_owned(),
        inputs,
        workspace: work.uses_workspace.then(|| BoxedFolder::of(&context)).transpose()?,
        // The other end stands in another folder.
        tables: std::path::absolute(context.tables.folder())
            .map_err(|error| no_folder(&error.to_string()))?,
        key: context.key.clone(),
        plan: context.plan.clone(),
    };
    let call = serde_json::to_vec(&call).map_err(|error| {
        final_error(ErrorCode::TypeMismatch, format!("the inputs are no JSON: {error}"))
    })?;
    let answer = tokio::select! {
        answer = pool.run(TOOL_WORK, &call, WORK_TIME_MAX) => answer,
        () = context.cancel.cancelled() => {
            return Err(final_error(ErrorCode::Cancelled, "the attempt was told to stop"));
        }
    };
    match answer {
        Ok(bytes) => read_answer(&bytes),
        Err(failure @ EvaluationFailure::Unavailable(_)) => {
            Err(TaskError::new(ErrorCode::TaskFailed, failure.to_string()))
        }
        Err(failure) => Err(final_error(ErrorCode::TaskFailed, failure.to_string())),
    }
}

fn read_answer(bytes: &[u8]) -> Result<Value, TaskError> {
    let answer: Result<Result<Value, TaskError>, _> = serde_json::from_slice(bytes);
    answer.unwrap_or_else(|error| {
        let message = format!("an evaluator process answers nonsense: {error}");
        Err(TaskError::new(ErrorCode::AgentCrashed, message))
    })
}

/// The other end: does a call, in an evaluator process.
pub(crate) fn answer(call: &[u8]) -> Vec<u8> {
    let done = serde_json::from_slice::<BoxedCall>(call)
        .map_err(|error| {
            final_error(ErrorCode::TypeMismatch, format!("an unreadable call: {error}"))
        })
        .and_then(run);
    serde_json::to_vec(&done).expect("values and errors have a text")
}

fn run(call: BoxedCall) -> Result<Value, TaskError> {
    let BoxedCall { work, inputs, workspace, tables, key, plan } = call;
    let work = WORK.iter().find(|known| known.name == work).ok_or_else(|| {
        final_error(ErrorCode::ToolUnknown, format!("an evaluator process knows no `{work}`"))
    })?;
    let (folder, workspace) = workspace.map(BoxedFolder::open).transpose()?.unzip();
    let context = ToolContext {
        folder,
        workspace: workspace.map_or_else(OnceLock::new, |workspace| OnceLock::from(Ok(workspace))),
        tables: Arc::new(TableStore::new(tables)),
        programs: Arc::new([]),
        evaluators: None,
        cancel: CancelSignal::never(),
        key,
        plan,
    };
    (work.run)(&context, inputs)
}
