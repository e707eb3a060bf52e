//! Documents about a run (spec 08): its result, its status, the plan with what the run added.

use std::collections::BTreeMap;

use l05_core::id::{PlanId, TaskIndex};
use l05_core::plan::{PlanStatus, digest_hex};
use l05_core::run::event::{Output, TaskError};
use l05_core::run::has_ended;
use l05_core::run::history::{AttemptLog, History};
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::costs::{self, Forecast, RunUsage};
use crate::port::{Journal, StoreError};

/// A task's line in results and status.
#[derive(Debug, Clone, Serialize)]
pub struct TaskResult {
    /// Its id.
    pub task_id: String,
    /// Its title.
    pub name: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// Every try.
    pub attempts: Vec<AttemptLog>,
    /// When the first attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<&'static str>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// What it gave; large outputs by reference, with the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Value>,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct PlanResult {
    /// The plan.
    pub plan_id: PlanId,
    /// How it ended, or where it stands.
    pub status: PlanStatus,
    /// How the plan was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<l05_core::plan::Strategy>,
    /// Whether it came from the plan cache.
    pub cache_hit: Option<&'static str>,
    /// All tasks.
    pub tasks: Vec<TaskResult>,
    /// What the leaves gave, by task.
    pub outputs: Map<String, Value>,
    /// Ids of completed tasks.
    pub completed: Vec<String>,
    /// Ids of failed, timed out and cancelled tasks.
    pub failed: Vec<String>,
    /// Ids of tasks that something else's failure kept from running.
    pub blocked: Vec<String>,
    /// Ids of tasks that were not needed.
    pub skipped: Vec<String>,
    /// FAILED, but some leaves completed.
    pub partial: bool,
    /// What it used.
    pub usage: RunUsage,
    /// What it could have used at worst.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<RunBound>,
    /// Files written, relative to the workspace.
    pub files: Vec<String>,
    /// Why it failed, when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

/// The bound of the plan, without its arithmetic.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RunBound {
    /// Model tokens.
    pub tokens: u64,
    /// US dollars.
    pub cost_usd: f64,
    /// From start to end.
    pub seconds: f64,
}

/// Where a plan stands, for people.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReport {
    /// The plan.
    pub plan_id: PlanId,
    /// What it is for.
    pub goal: String,
    /// Where it stands.
    pub status: PlanStatus,
    /// It was being run by a process that is gone.
    pub interrupted: bool,
    /// What to do about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Tasks that have ended.
    pub done: usize,
    /// All tasks.
    pub total: usize,
    /// When the first run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the last run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// How often another process took the run over.
    pub adoptions: u32,
    /// When it will probably end, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// All tasks, without outputs.
    pub tasks: Vec<TaskResult>,
}

/// How much of a large output is shown, in bytes.
const PREVIEW_BYTES: usize = 200;

/// The result document of a run.
pub(crate) async fn result(journal: &dyn Journal, history: &History) -> Result<PlanResult, Error> {
    let run = history.run();
    let plan = run.plan();
    let mut tasks = Vec::with_capacity(plan.graph().len());
    let mut files = Vec::new();
    for index in plan.graph().indices() {
        let mut line = task_line(history, index);
        if let Some(output) = run.output(index) {
            let (shown, written) = show(journal, plan.id(), output).await?;
            line.outputs = Some(shown);
            files.extend(written);
        }
        tasks.push(line);
    }
    let outputs: BTreeMap<TaskIndex, Value> = plan
        .graph()
        .leaves()
        .filter_map(|leaf| tasks[leaf.at()].outputs.clone().map(|value| (leaf, value)))
        .collect();
    let ids = |wanted: fn(TaskStatus) -> bool| -> Vec<String> {
        tasks.iter().filter(|t| wanted(t.status)).map(|t| t.task_id.clone()).collect()
    };
    Ok(PlanResult {
        plan_id: plan.id(),
        status: run.status(),
        strategy: plan.document().metadata.strategy,
        cache_hit: None,
        outputs: outputs
            .into_iter()
            .map(|(leaf, value)| (plan.task(leaf).task_id.clone(), value))
            .collect(),
        completed: ids(|s| s == TaskStatus::Completed),
        failed: ids(|s| {
            matches!(s, TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Cancelled)
        }),
        blocked: ids(|s| s == TaskStatus::Blocked),
        skipped: ids(|s| s == TaskStatus::Skipped),
        partial: run.is_partial(),
        usage: costs::actual(history).unwrap_or(RunUsage {
            tokens: 0,
            cost_usd: 0.0,
            seconds: 0.0,
        }),
        bound: plan.document().metadata.bound.as_ref().map(|bound| RunBound {
            tokens: bound.tokens,
            cost_usd: bound.cost_usd,
            seconds: bound.seconds,
        }),
        files,
        error: failure(history),
        tasks,
    })
}

/// The status document.
pub(crate) fn status(history: &History, owned: bool, now: Timestamp) -> StatusReport {
    let run = history.run();
    let plan = run.plan();
    let id = plan.id();
    let interrupted = run.status() == PlanStatus::Executing && !owned;
    let total = plan.graph().len();
    StatusReport {
        plan_id: id,
        goal: plan.document().goal.clone(),
        status: run.status(),
        interrupted,
        hint: interrupted.then(|| {
            format!("the process that ran it is gone; `l05 execute {id}` goes on, `l05 cancel {id}` ends it")
        }),
        done: plan.graph().indices().filter(|t| has_ended(run.task_status(*t))).count(),
        total,
        started_at: history.started_at,
        completed_at: history.completed_at,
        adoptions: history.adoptions,
        forecast: costs::forecast(history, now).filter(|_| owned),
        tasks: plan.graph().indices().map(|index| task_line(history, index)).collect(),
    }
}

/// The plan document with what the run added to it.
pub(crate) async fn details(journal: &dyn Journal, history: &History) -> Result<Value, Error> {
    let run = history.run();
    let plan = run.plan();
    let mut document =
        serde_json::to_value(plan.document()).expect("a plan document is plain data");
    document["status"] = json!(run.status());
    document["partial"] = json!(run.is_partial());
    document["execution_started_at"] = json!(history.started_at);
    document["execution_completed_at"] = json!(history.completed_at);
    let mut graph = Map::new();
    for index in plan.graph().indices() {
        let line = task_line(history, index);
        let task = &mut document["tasks"][index.at()];
        task["status"] = json!(line.status);
        task["retry_count"] = json!(line.attempts.len().saturating_sub(1));
        task["attempts"] = json!(line.attempts);
        task["error"] = json!(line.error);
        task["started_at"] = json!(line.started_at);
        task["completed_at"] = json!(line.completed_at);
        if let Some(output) = run.output(index) {
            task["outputs"] = show(journal, plan.id(), output).await?.0;
        }
        let needs: Vec<&str> = plan
            .graph()
            .edges_in(index)
            .iter()
            .map(|edge| plan.task(plan.graph().edge(*edge).from).task_id.as_str())
            .collect();
        graph.insert(plan.task(index).task_id.clone(), json!(needs));
    }
    document["dependency_graph"] = Value::Object(graph);
    Ok(document)
}

fn task_line(history: &History, index: TaskIndex) -> TaskResult {
    let run = history.run();
    let task = run.plan().task(index);
    let status = run.task_status(index);
    let attempts = history.attempts(index).to_vec();
    TaskResult {
        task_id: task.task_id.clone(),
        name: task.title().to_owned(),
        status,
        started_at: attempts.first().map(|a| a.started_at),
        completed_at: attempts.last().and_then(|a| a.completed_at).filter(|_| has_ended(status)),
        agent: attempts.last().map(|a| a.agent),
        error: run.error(index).filter(|_| status != TaskStatus::Completed).cloned(),
        outputs: None,
        attempts,
    }
}

/// An output as it is printed, and the files it names as written.
async fn show(
    journal: &dyn Journal,
    plan: PlanId,
    output: &Output,
) -> Result<(Value, Vec<String>), Error> {
    match output {
        Output::Inline(value) => Ok(((**value).clone(), files_in(value))),
        Output::Blob { sha256, bytes } => {
            let json = journal.blob(plan, sha256.clone()).await?;
            let intact = {
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &json);
                digest_hex(hash.as_ref()) == *sha256
            };
            if !intact {
                let error = StoreError::Corrupt(format!("output {sha256} does not match its hash"));
                return Err(error.into());
            }
            let value: Value = serde_json::from_slice(&json).map_err(|e| {
                Error::new(ErrorCode::JOURNAL_CORRUPT, format!("output {sha256}: {e}"))
            })?;
            let text = String::from_utf8_lossy(&json[..PREVIEW_BYTES.min(json.len())]).into_owned();
            Ok((json!({ "ref": sha256, "bytes": bytes, "preview": text }), files_in(&value)))
        }
    }
}

/// Tools that write say where under `files_written`.
fn files_in(output: &Value) -> Vec<String> {
    let written = output.get("files_written").and_then(Value::as_array);
    let paths = written.into_iter().flatten().filter_map(Value::as_str);
    paths.map(str::to_owned).collect()
}

/// Why the plan failed: the first task that did, and what it blocked.
fn failure(history: &History) -> Option<Error> {
    let run = history.run();
    let id = run.plan().id();
    match run.status() {
        PlanStatus::Failed => {}
        PlanStatus::Cancelled => {
            return Some(Error::new(ErrorCode::CANCELLED, "the plan was cancelled"));
        }
        PlanStatus::Draft
        | PlanStatus::Validated
        | PlanStatus::PendingApproval
        | PlanStatus::Approved
        | PlanStatus::Executing
        | PlanStatus::Completed => return None,
    }
    let tasks = run.plan().graph().indices();
    let failed: Vec<TaskIndex> = tasks
        .filter(|t| matches!(run.task_status(*t), TaskStatus::Failed | TaskStatus::TimedOut))
        .filter(|t| !run.plan().task(*t).allow_failure)
        .collect();
    let Some(first) = failed.first() else {
        return Some(Error::new(ErrorCode::DEADLINE_MISSED, "the plan did not finish in time"));
    };
    let cause = run.error(*first);
    let code = cause.map_or(ErrorCode::TASK_FAILED, |error| error.code);
    let why = cause.map_or("it failed", |error| error.message.as_str());
    let others = if failed.len() > 1 {
        format!(" ({} more failed)", failed.len() - 1)
    } else {
        String::new()
    };
    let name = &run.plan().task(*first).task_id;
    Some(
        Error::new(code, format!("task `{name}` failed: {why}{others}"))
            .detail("task", name.as_str())
            .suggest(format!(
                "`l05 show {id}` has every attempt; `l05 retry {id}` runs what did not complete"
            )),
    )
}
