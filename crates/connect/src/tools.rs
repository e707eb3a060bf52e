//! The built-in tools.
//!
//! Each tool is a file: an input type, an output type (their JSON Schemas are generated, so what
//! is validated is what is read), and a function. [`BuiltinTools`] is the executor over them.

mod boxed;
mod cell;
mod column;
mod csv_form;
mod data_compare;
mod data_query;
mod data_read;
mod data_write;
mod encoding;
mod fail;
mod format;
mod fs_list;
mod fs_read;
mod fs_search;
mod fs_write;
mod git;
mod git_summary;
mod grouping;
mod human_approve;
mod json_rows;
mod json_select;
mod language;
mod literals;
mod markdown;
mod number;
mod number_style;
mod process_run;
mod sums;
mod table;
#[cfg(test)]
mod table_tests;
mod template_shape;
mod text_render;
mod time_wait;
mod walk;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_core::validate::{InputProblem, LiteralCall};
use l05_engine::port::{
    BoxFuture, CancelSignal, Executor, ExecutorOutput, Failure, ToolCall, WorkspaceFolder,
};
use l05_run::event::TaskError;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::evaluator::EvaluatorPool;
use crate::workspace::{Workspace, final_error};
pub(crate) use boxed::{TOOL_WORK, answer as answer_tool_work};
pub(crate) use data_query::limit_sqlite_heap;
use table::TableStore;

/// The workspace, stores and limits that tools work with.
#[derive(Clone)]
pub(crate) struct ToolContext {
    folder: Option<Arc<WorkspaceFolder>>,
    /// Opened when the tool first asks for it: many never do, and others ask in a thread of their own.
    workspace: OnceLock<Result<Workspace, TaskError>>,
    pub(crate) tables: Arc<TableStore>,
    pub(crate) programs: Arc<[String]>,
    evaluators: Option<Arc<EvaluatorPool>>,
    pub(crate) cancel: CancelSignal,
    /// `plan/task/attempt`.
    pub(crate) key: String,
    pub(crate) plan: String,
}

impl ToolContext {
    /// The workspace; an error where the call has none, or one that is not there.
    pub(crate) fn workspace(&self) -> Result<&Workspace, TaskError> {
        let opened = self.workspace.get_or_init(|| opened(self.folder.as_deref()));
        opened.as_ref().map_err(TaskError::clone)
    }

    /// For loops over much work: ends them when the attempt is told to stop.
    pub(crate) fn go_on(&self) -> Result<(), TaskError> {
        if self.cancel.is_cancelled() {
            return Err(final_error(ErrorCode::Cancelled, "the attempt was told to stop"));
        }
        Ok(())
    }
}

/// The tools, over the workspace that each call brings.
pub struct BuiltinTools {
    tables: Arc<TableStore>,
    programs: Arc<[String]>,
    evaluators: Option<Arc<EvaluatorPool>>,
}

impl BuiltinTools {
    /// Tools that keep the tables of runs under `scratch`, and run no program but `programs`: names, or
    /// absolute paths.
    pub fn new(scratch: PathBuf, programs: &[String]) -> BuiltinTools {
        let tables = Arc::new(TableStore::new(scratch));
        BuiltinTools { tables, programs: programs.into(), evaluators: None }
    }

    /// Templates, SQL, paths and patterns that are not provably small are evaluated in these processes. Without them,
    /// threads of this process do it, and only the static limits bound what that takes.
    #[must_use]
    pub fn with_evaluators(mut self, evaluators: Option<Arc<EvaluatorPool>>) -> BuiltinTools {
        self.evaluators = evaluators;
        self
    }
}

impl Executor for BuiltinTools {
    fn tools(&self) -> Vec<ToolSpec> {
        specs(&self.programs)
    }

    fn check<'a>(
        &'a self,
        call: LiteralCall<'a>,
        workspace: Option<&'a WorkspaceFolder>,
    ) -> BoxFuture<'a, Vec<InputProblem>> {
        Box::pin(async move {
            // One that cannot be opened is told when the run begins.
            let workspace = workspace.and_then(|folder| Workspace::open(folder).ok());
            literals::check(&call, workspace.as_ref(), self.bare_context()).await
        })
    }

    fn execute(&self, call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        let output = self.output(call);
        Box::pin(async { Ok(output.await?.into()) })
    }
}

impl BuiltinTools {
    /// For work outside a run, which has no folder, no plan and nobody who stops it.
    fn bare_context(&self) -> ToolContext {
        ToolContext {
            folder: None,
            workspace: OnceLock::new(),
            tables: self.tables.clone(),
            programs: self.programs.clone(),
            evaluators: self.evaluators.clone(),
            cancel: CancelSignal::never(),
            key: String::new(),
            plan: String::new(),
        }
    }

    fn output(&self, call: ToolCall) -> ToolFuture {
        let context = ToolContext {
            folder: call.workspace.clone(),
            workspace: OnceLock::new(),
            tables: self.tables.clone(),
            programs: self.programs.clone(),
            evaluators: self.evaluators.clone(),
            cancel: call.cancel.clone(),
            key: call.idempotency_key(),
            plan: call.plan.to_string(),
        };
        match TOOLS.iter().find(|tool| tool.name == &*call.tool) {
            Some(tool) => (tool.start)(context, call),
            None => {
                let message = format!("there is no tool `{}`", call.tool);
                Box::pin(async { Err(final_error(ErrorCode::ToolUnknown, message)) })
            }
        }
    }
}

fn opened(folder: Option<&WorkspaceFolder>) -> Result<Workspace, TaskError> {
    let folder = folder.ok_or_else(|| {
        final_error(ErrorCode::AccessDenied, "this tool needs a workspace, and there is none")
    })?;
    Workspace::open(folder).map_err(|error| {
        let message = format!("the workspace `{}`: {error}", folder.path.display());
        final_error(ErrorCode::TaskFailed, message)
    })
}

/// A built-in tool. Each module has one; one that is not listed in [`TOOLS`] is unused code to the
/// compiler.
struct BuiltinTool {
    name: &'static str,
    /// Makes the tool's description, given the programs that are allowed; none: it is not there.
    spec: fn(&[String]) -> Option<ToolSpec>,
    start: fn(ToolContext, ToolCall) -> ToolFuture,
}

type ToolFuture = BoxFuture<'static, Result<Value, TaskError>>;

/// All built-in tools.
static TOOLS: &[BuiltinTool] = &[
    data_compare::TOOL,
    data_query::TOOL,
    data_read::TOOL,
    data_write::TOOL,
    fail::TOOL,
    fs_list::TOOL,
    fs_read::TOOL,
    fs_search::TOOL,
    fs_write::TOOL,
    git_summary::TOOL,
    human_approve::TOOL,
    json_select::TOOL,
    process_run::TOOL,
    text_render::TOOL,
    time_wait::TOOL,
];

/// The specifications of the built-in tools; `process.run` is there if any program is allowed.
pub fn specs(programs: &[String]) -> Vec<ToolSpec> {
    let specs = TOOLS.iter().filter_map(|tool| (tool.spec)(programs));
    specs
        .map(|spec| ToolSpec { uses_workspace: !ANYWHERE.contains(&&*spec.name), ..spec })
        .collect()
}

/// Tools that touch no file of the workspace.
const ANYWHERE: [&str; 6] =
    ["data.compare", "data.query", "fail", "human.approve", "json.select", "time.wait"];

/// A tool that only looks, or that does the same when it is called again.
fn spec<I: JsonSchema, O: JsonSchema>(name: &str, description: &str, idempotent: bool) -> ToolSpec {
    ToolSpec {
        description: description.to_owned(),
        input_schema: Some(schema::<I>()),
        output_schema: Some(schema::<O>()),
        idempotent,
        // Files of usual size take milliseconds; earlier runs tell more.
        expected_seconds: Some(0.05),
        ..ToolSpec::bare(name)
    }
}

/// Without `$ref`, so that paths into it can be followed by looking.
fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

async fn in_thread<I, O>(
    bench: ToolContext,
    inputs: Value,
    work: impl FnOnce(&ToolContext, I) -> Result<O, TaskError> + Send + 'static,
) -> Result<Value, TaskError>
where
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
{
    let work = move || encode(&work(&bench, decode(inputs)?)?);
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let message = format!("the tool crashed: {error}");
        Err(TaskError::new(ErrorCode::AgentCrashed, message))
    })
}

fn decode<I: DeserializeOwned>(inputs: Value) -> Result<I, TaskError> {
    serde_json::from_value(inputs)
        .map_err(|e| final_error(ErrorCode::TypeMismatch, format!("the inputs do not fit: {e}")))
}

fn encode<O: Serialize>(output: &O) -> Result<Value, TaskError> {
    serde_json::to_value(output)
        .map_err(|e| final_error(ErrorCode::TypeMismatch, format!("the output is no JSON: {e}")))
}
