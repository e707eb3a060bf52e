//! Documents about a run (spec 08): its result, its status, the plan with what the run added.

use std::sync::Arc;

use l05_core::id::{PlanId, TaskIndex};
use l05_core::plan::{PlanStatus, digest_hex};
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use l05_run::Run;
use l05_run::event::{TaskError, TaskOutput};
use l05_run::history::{AttemptLog, PlanApproval, RunHistory};
use l05_run::public_event::asked_about;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cost_report::{self, RunForecast, RunUsage};
use crate::port::{Journal, StoreError};

/// A task's line in results and status.
#[derive(Debug, Clone, Serialize)]
pub struct TaskResult {
    /// The task's id.
    pub task_id: String,
    /// The task's title.
    pub name: String,
    /// The present status.
    pub status: TaskStatus,
    /// The thing it waits for, when that is a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<&'static str>,
    /// Every try.
    pub attempts: Vec<AttemptLog>,
    /// The time at which the first attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The time at which it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// The agent that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Arc<str>>,
    /// The reason for which it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// Outputs; large outputs by reference, with the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Value>,
}

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct PlanResult {
    /// The plan.
    pub plan_id: PlanId,
    /// The status at its end, or the present one.
    pub status: PlanStatus,
    /// The strategy that made the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<l05_core::plan::Strategy>,
    /// The level of the plan cache that it came from.
    pub cache_hit: Option<&'static str>,
    /// All tasks.
    pub tasks: Vec<TaskResult>,
    /// Outputs of the leaves, by task.
    pub outputs: Map<String, Value>,
    /// Ids of completed tasks.
    pub completed: Vec<String>,
    /// Ids of failed and timed out tasks.
    pub failed: Vec<String>,
    /// Ids of cancelled tasks.
    pub cancelled: Vec<String>,
    /// Ids of tasks that something else's failure kept from running.
    pub blocked: Vec<String>,
    /// Ids of tasks that were not needed.
    pub skipped: Vec<String>,
    /// FAILED, but some leaves completed.
    pub partial: bool,
    /// The amounts used.
    pub usage: RunUsage,
    /// Questions that wait for a person's answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<OpenQuestion>,
    /// The amounts it could have used at worst.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<RunBound>,
    /// Files written, relative to the workspace.
    pub files: Vec<String>,
    /// Sentences of tools about what they took for what, where their input left it open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The reason for which it failed, when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

/// Something that waits for a person.
#[derive(Debug, Clone, Serialize)]
pub struct OpenQuestion {
    /// The question.
    pub asked_about: &'static str,
    /// The task, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The time from which no answer counts as a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
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

/// The status of a plan, for people.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReport {
    /// The plan.
    pub plan_id: PlanId,
    /// The goal.
    pub goal: String,
    /// The present status.
    pub status: PlanStatus,
    /// The process that ran it is gone.
    pub interrupted: bool,
    /// The run was left to workers, and none has begun it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub waits_for_worker: bool,
    /// Questions that wait for a person's answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<OpenQuestion>,
    /// The reason for which it is SUSPENDED.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspension: Option<PlanSuspension>,
    /// Advice on those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Tasks that have ended.
    pub done: usize,
    /// All tasks.
    pub total: usize,
    /// The time at which the first run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The time at which the last run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// The number of times that another process took the run over.
    pub adoptions: u32,
    /// The probable end, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<RunForecast>,
    /// All tasks, without outputs.
    pub tasks: Vec<TaskResult>,
}

/// The most of a large output that is shown, in bytes.
const PREVIEW_BYTES: usize = 200;

/// The result document of a run.
pub(crate) async fn result(
    journal: &dyn Journal,
    history: &RunHistory,
) -> Result<PlanResult, Error> {
    let run = history.run();
    let plan = run.plan();
    let mut tasks = Vec::with_capacity(plan.graph().len());
    let (mut files, mut notes) = (Vec::new(), Vec::new());
    for index in run.in_order() {
        let mut line = task_line(history, index);
        if let Some(output) = run.output(index) {
            let (shown, mentions) = show(journal, plan.id(), output).await?;
            line.outputs = Some(shown);
            files.extend(mentions.files);
            // Tasks over one table say the same of it.
            let fresh = mentions.notes.into_iter().filter(|note| !notes.contains(note));
            notes.extend(fresh.collect::<Vec<_>>());
        }
        tasks.push(line);
    }
    let mut outputs = Map::new();
    // The leaves; where the run did not get so far, whatever it got to.
    let completed = |task: &TaskIndex| run.task_status(*task) == TaskStatus::Completed;
    let is_last = |task: &TaskIndex| {
        let mut dependents = plan.graph().edges_out(*task).iter();
        !dependents.any(|edge| completed(&plan.graph().edge(*edge).to))
    };
    for last in plan.graph().indices().filter(completed).filter(is_last) {
        let name = &plan.task(last).task_id;
        let line = tasks.iter().find(|line| line.task_id == *name);
        let output = line.and_then(|line| line.outputs.clone());
        outputs.extend(output.map(|value| (name.clone(), value)));
    }
    let ids = |wanted: fn(TaskStatus) -> bool| -> Vec<String> {
        tasks.iter().filter(|t| wanted(t.status)).map(|t| t.task_id.clone()).collect()
    };
    Ok(PlanResult {
        plan_id: plan.id(),
        status: run.status(),
        strategy: plan.document().metadata.strategy,
        cache_hit: plan.document().cached.map(|cached| cached.hit.as_str()),
        outputs,
        completed: ids(|s| s == TaskStatus::Completed),
        failed: ids(TaskStatus::is_failure),
        cancelled: ids(|s| s == TaskStatus::Cancelled),
        blocked: ids(|s| s == TaskStatus::Blocked),
        skipped: ids(|s| s == TaskStatus::Skipped),
        partial: run.is_partial(),
        usage: cost_report::actual(history).unwrap_or(RunUsage {
            tokens: 0,
            cost_usd: 0.0,
            seconds: 0.0,
            counted_attempts: 0,
        }),
        waiting_for: waiting(run),
        bound: plan.document().metadata.bound.as_ref().map(|bound| RunBound {
            tokens: bound.tokens,
            cost_usd: bound.cost_usd,
            seconds: bound.seconds,
        }),
        files,
        notes,
        error: failure(history),
        tasks,
    })
}

/// The reason for which a plan was taken out of execution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanSuspension {
    /// Processes that died in a row.
    pub deaths: u16,
    /// Ids of the tasks that were in flight each time.
    pub task_ids: Vec<String>,
}

fn suspension(run: &Run) -> Option<PlanSuspension> {
    let task_ids: Vec<String> =
        run.suspended_tasks().into_iter().map(|task| run.name(task).to_string()).collect();
    let deaths = run.deaths();
    (run.status() == PlanStatus::Suspended).then_some(PlanSuspension { deaths, task_ids })
}

/// The status document.
pub(crate) fn status(history: &RunHistory, owned: bool, now: Timestamp) -> StatusReport {
    let run = history.run();
    let plan = run.plan();
    let id = plan.id();
    let waits = run.waits_for_people();
    let is_left = run.status() == PlanStatus::Executing && !owned && !waits;
    let interrupted = is_left && history.is_begun;
    let waits_for_worker = is_left && !history.is_begun;
    let tasks: Vec<TaskIndex> = run.in_order().collect();
    StatusReport {
        plan_id: id,
        goal: plan.document().goal.clone(),
        status: run.status(),
        interrupted,
        waits_for_worker,
        waiting_for: waiting(run),
        suspension: suspension(run),
        hint: hint(run, interrupted, waits_for_worker),
        done: tasks.iter().filter(|t| run.task_status(**t).has_ended()).count(),
        total: tasks.len(),
        started_at: history.started_at,
        completed_at: history.completed_at,
        adoptions: history.adoptions,
        forecast: cost_report::forecast(history, now).filter(|_| owned),
        tasks: tasks.into_iter().map(|index| task_line(history, index)).collect(),
    }
}

fn hint(run: &Run, interrupted: bool, waits_for_worker: bool) -> Option<String> {
    let id = run.plan().id();
    if waits_for_worker {
        return Some(format!(
            "nobody has begun it: `l05 worker` takes it up, `l05 execute {id}` runs it here"
        ));
    }
    if interrupted {
        return Some(format!(
            "the process that ran it is gone; `l05 execute {id}` goes on, `l05 cancel {id}` ends it"
        ));
    }
    if run.status() == PlanStatus::Suspended {
        return Some(format!("`l05 retry {id}` lets it go on, `l05 cancel {id}` ends it"));
    }
    if run.open_gates().next().is_some() {
        return Some(format!("`l05 approve {id}` or `l05 reject {id}` answers"));
    }
    (run.status() == PlanStatus::Approved).then(|| format!("`l05 execute {id}` starts it"))
}

fn waiting(run: &Run) -> Vec<OpenQuestion> {
    let open = run.open_gates().map(|open| OpenQuestion {
        asked_about: asked_about(open.gate),
        task_id: open.gate.task().map(|task| run.name(task)),
        expires_at: open.expires_at,
    });
    open.collect()
}

/// The plan document with what the run added to it.
pub(crate) async fn details(journal: &dyn Journal, history: &RunHistory) -> Result<Value, Error> {
    let run = history.run();
    let plan = run.plan();
    let mut document =
        serde_json::to_value(plan.document()).expect("a plan document is plain data");
    document["status"] = json!(run.status());
    document["partial"] = json!(run.is_partial());
    let (approval, rationale) = approval(history);
    document["approval_status"] = json!(approval);
    if let Some(rationale) = rationale {
        document["approval_rationale"] = json!(rationale);
    }
    document["execution_started_at"] = json!(history.started_at);
    document["execution_completed_at"] = json!(history.completed_at);
    let mut graph = Map::new();
    for index in plan.graph().indices() {
        let line = task_line(history, index);
        let task = &mut document["tasks"][index.at()];
        task["status"] = json!(line.status);
        task["created_at"] = json!(plan.identity().created_at);
        if let Some(agent) = &line.agent {
            task["assigned_agent"] = json!(agent);
        }
        task["retry_count"] = json!(line.attempts.len().saturating_sub(1));
        task["attempts"] = json!(line.attempts);
        task["error"] = json!(line.error);
        task["started_at"] = json!(line.started_at);
        task["completed_at"] = json!(line.completed_at);
        if let Some(output) = run.output(index) {
            task["outputs"] = show(journal, plan.id(), output).await?.0;
        }
        if let Some(waiting_for) = line.waiting_for {
            task["waiting_for"] = json!(waiting_for);
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

/// The stand of the question whether the plan may run, with the answer in words.
fn approval(history: &RunHistory) -> (&'static str, Option<String>) {
    let needed = history.run().plan().document().metadata.requires_approval;
    match &history.approval {
        Some(PlanApproval { approved, by, reason }) => {
            let status = if *approved { "APPROVED" } else { "REJECTED" };
            (status, Some(format!("{by}: {reason}")))
        }
        None if needed => ("PENDING", None),
        None => ("NOT_REQUIRED", None),
    }
}

fn task_line(history: &RunHistory, index: TaskIndex) -> TaskResult {
    let run = history.run();
    let task = run.spec(index);
    let is_item = run.origin(index) != index;
    let status = run.task_status(index);
    let attempts = history.attempts(index).to_vec();
    TaskResult {
        task_id: run.name(index),
        name: if is_item { run.name(index) } else { task.title().to_owned() },
        waiting_for: run.is_at_gate(index).then_some("approval"),
        status,
        started_at: attempts.first().map(|a| a.started_at),
        completed_at: attempts.last().and_then(|a| a.completed_at).filter(|_| status.has_ended()),
        agent: attempts.last().map(|a| a.agent.clone()),
        error: run.error(index).filter(|_| status != TaskStatus::Completed).cloned(),
        outputs: None,
        attempts,
    }
}

/// Things that tools say in fields which all of them share.
#[derive(Default)]
struct Mentions {
    /// Files that were written (`files_written`).
    files: Vec<String>,
    /// Sentences for people about how the work was done (`notes`).
    notes: Vec<String>,
}

/// An output as it is printed, and what it mentions.
async fn show(
    journal: &dyn Journal,
    plan: PlanId,
    output: &TaskOutput,
) -> Result<(Value, Mentions), Error> {
    match output {
        TaskOutput::List(parts) => {
            let mut values = Vec::with_capacity(parts.len());
            for part in parts.iter() {
                let Some(part) = part else {
                    values.push(Value::Null);
                    continue;
                };
                // Which files were written, the items have said.
                values.push(Box::pin(show(journal, plan, part)).await?.0);
            }
            Ok((Value::Array(values), Mentions::default()))
        }
        TaskOutput::Inline(value) => Ok(((**value).clone(), Mentions::of(value))),
        TaskOutput::Blob { sha256, bytes } => {
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
                Error::new(ErrorCode::JournalCorrupt, format!("output {sha256}: {e}"))
            })?;
            let text = String::from_utf8_lossy(&json[..PREVIEW_BYTES.min(json.len())]).into_owned();
            Ok((json!({ "ref": sha256, "bytes": bytes, "preview": text }), Mentions::of(&value)))
        }
    }
}

impl Mentions {
    fn of(output: &Value) -> Mentions {
        let texts = |field: &str| -> Vec<String> {
            let list = output.get(field).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Mentions { files: texts("files_written"), notes: texts("notes") }
    }
}

/// The cause of a failed run, with what to do about it.
fn failure(history: &RunHistory) -> Option<Error> {
    let failure = history.failure()?;
    let error = Error::new(failure.code, failure.message);
    let id = history.run().plan().id();
    Some(match failure.task {
        Some(task) => error.detail("task", task).suggest(format!(
            "`l05 show {id}` has every attempt; `l05 retry {id}` runs what did not complete"
        )),
        None => error,
    })
}
