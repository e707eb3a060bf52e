//! What the outside sees of a run: journal events under the names of spec 05, 5.7.
//!
//! The only place where the two are mapped. A journal event may give several public ones (a
//! cascade names each task) and they share its number.

use serde::Serialize;
use serde_json::{Value, json};

use crate::amounts::BudgetKind;
use crate::event::RunNotice;
use crate::event::{
    AfterFailure, AgentPlacement, CancelCause, CancelScope, Gate, RunEvent, TaskError, TaskOutput,
};
use crate::history::agent_of;
use crate::machine::Run;
use crate::record::Record;
use l05_core::agent::LOCAL_AGENT;
use l05_core::id::TaskIndex;
use l05_core::plan::{Plan, PlanStatus};
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;

/// One event as callers read it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublicEvent {
    /// Its number within the plan; 0 for what came before any run.
    pub seq: u64,
    /// When it was decided.
    pub time: Timestamp,
    /// `task.completed` and the like.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The task, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// What belongs to it.
    pub data: Value,
}

/// What happened to a plan before its first run.
pub fn planned(plan: &Plan) -> Vec<PublicEvent> {
    let document = plan.document();
    let created_at = plan.identity().created_at;
    let task_ids: Vec<&str> = document.tasks.iter().map(|t| t.task_id.as_str()).collect();
    let created = json!({
        "plan_id": plan.id(), "goal": document.goal, "creator_agent_id": document.agent_did,
        "task_ids": task_ids, "strategy": document.metadata.strategy,
    });
    let warnings = &document.metadata.warnings;
    let validated = json!({
        "plan_id": plan.id(), "is_valid": true, "validation_errors": [],
        "validation_warnings": warnings,
    });
    let event = |kind, time, data| PublicEvent { seq: 0, time, kind, task_id: None, data };
    vec![
        event("plan.created", created_at, created),
        event("plan.validated", document.validated_at.unwrap_or(created_at), validated),
    ]
}

/// The public events of one journal record. `run` knows what items of fan-outs are called; the
/// record has been folded into it.
pub fn project(run: &Run, record: &Record) -> Vec<PublicEvent> {
    let (plan, mut out) = (&**run.plan(), Vec::new());
    for (seq, event) in (record.first.0..).zip(&record.events) {
        EventProjection { plan, run, seq, time: record.at, out: &mut out }.event(event);
    }
    out
}

struct EventProjection<'a> {
    plan: &'a Plan,
    run: &'a Run,
    seq: u64,
    time: Timestamp,
    out: &'a mut Vec<PublicEvent>,
}

impl EventProjection<'_> {
    fn push(&mut self, kind: &'static str, task: Option<TaskIndex>, data: Value) {
        let task_id = task.map(|t| self.name(t));
        self.out.push(PublicEvent { seq: self.seq, time: self.time, kind, task_id, data });
    }

    fn name(&self, task: TaskIndex) -> String {
        self.run.name(task)
    }

    fn names(&self, tasks: &[TaskIndex]) -> Vec<String> {
        tasks.iter().map(|task| self.name(*task)).collect()
    }

    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::RunStarted { run, keep, .. } => {
                let kept = self.names(keep);
                self.push("plan.dispatched", None, json!({ "run": run, "kept": kept }));
            }
            RunEvent::RunAdopted { epoch } => {
                self.push("plan.adopted", None, json!({ "epoch": epoch.0 }));
            }
            RunEvent::EdgeDecided { edge, verdict } => {
                let edge = self.plan.graph().edge(*edge);
                let from = self.name(edge.from);
                let data = json!({ "depends_on": from, "verdict": verdict });
                self.push("task.condition_decided", Some(edge.to), data);
            }
            RunEvent::GateOpened { gate, expires_at } => {
                let data = json!({ "asked_about": asked_about(*gate), "expires_at": expires_at });
                self.push(gate_kind(*gate, "approval_requested"), gate.task(), data);
            }
            RunEvent::GateDecided { gate, approved, by, reason } => {
                let data = json!({ "asked_about": asked_about(*gate), "by": by, "reason": reason });
                let answer = if *approved { "approved" } else { "rejected" };
                self.push(gate_kind(*gate, answer), gate.task(), data);
            }
            RunEvent::MapExpanded { task, count, .. } => {
                self.push("task.expanded", Some(*task), json!({ "items": count }));
            }
            RunEvent::MapCompleted { task } => {
                let data = json!({ "agent_id": LOCAL_AGENT, "status": "COMPLETED" });
                self.push("task.completed", Some(*task), data);
            }
            RunEvent::BudgetWarned { kind, used, limit } => {
                let unit = match kind {
                    BudgetKind::Tokens => 1.0,
                    BudgetKind::Cost => 1e9,
                    BudgetKind::Time => 1e3,
                };
                let (used, limit) = (*used as f64 / unit, *limit as f64 / unit);
                let data = json!({ "kind": kind, "used": used, "limit": limit });
                self.push("budget.warning", None, data);
            }
            RunEvent::TaskDispatched { task, attempt, not_after, placed, .. } => {
                let spec = self.run.spec(*task);
                let mut data = json!({
                    "agent_id": agent_of(placed.as_deref()), "attempt": attempt, "action": spec.action,
                    "tool": spec.tool, "deadline_unix_ms": not_after.0,
                    "timeout_seconds": spec.timeout_seconds,
                });
                if let Some(placed) = placed {
                    data["score"] = json!(placed.score);
                    data["others"] = considered(placed);
                }
                self.push("task.assigned", Some(*task), data);
                // Executors in this process begin at once.
                self.push("task.started", Some(*task), json!({ "attempt": attempt }));
            }
            RunEvent::AttemptReturned { task, attempt } => {
                self.push("task.returned", Some(*task), json!({ "attempt": attempt }));
            }
            RunEvent::TaskDeferred { task, error, at } => {
                let mut data = failure(error);
                data["next_attempt_at"] = json!(at);
                self.push("task.deferred", Some(*task), data);
            }
            RunEvent::TaskRedispatched { task, attempt, placed, .. } => {
                let agent = agent_of(placed.as_deref());
                let data = json!({ "attempt": attempt, "resumed": true, "agent_id": agent });
                self.push("task.started", Some(*task), data);
            }
            RunEvent::TaskCompleted { task, attempt, output, usage } => {
                let data = json!({
                    "agent_id": self.run.agent(*task), "attempt": attempt, "status": "COMPLETED",
                    "outputs": shown(output), "actual_tokens_used": usage.tokens,
                });
                self.push("task.completed", Some(*task), data);
            }
            RunEvent::AttemptFailed { task, attempt, error, next, .. } => {
                let mut data = failure(error);
                data["attempt"] = json!(attempt);
                let kind = match next {
                    AfterFailure::Retry { at } => {
                        data["next_attempt_at"] = json!(at);
                        "task.retried"
                    }
                    AfterFailure::Final { status: TaskStatus::TimedOut } => "task.timed_out",
                    AfterFailure::Final { .. } => "task.failed",
                };
                self.push(kind, Some(*task), data);
            }
            RunEvent::TaskFailed { task, error } => {
                self.push("task.failed", Some(*task), failure(error));
            }
            RunEvent::TasksBlocked { cause, tasks } => {
                let (cause_name, blocked) = (self.name(*cause), self.names(tasks));
                let data = json!({ "cause": cause_name, "blocked_task_ids": blocked });
                self.push("cascade.failed", Some(*cause), data);
                for task in tasks {
                    self.push("task.blocked", Some(*task), json!({ "cause": cause_name }));
                }
            }
            RunEvent::TasksSkipped { cause, tasks } => {
                let cause = self.name(*cause);
                for task in tasks {
                    self.push("task.skipped", Some(*task), json!({ "cause": cause }));
                }
            }
            RunEvent::CancelRequested { scope, cause, reason, .. } => {
                let task = match scope {
                    CancelScope::Plan => None,
                    CancelScope::Task(task) => Some(*task),
                };
                let data = json!({ "cause": cancel_cause(*cause), "reason": reason });
                self.push("plan.cancel_requested", task, data);
            }
            RunEvent::TasksCancelled { tasks, abandoned } => {
                for task in tasks {
                    self.push("task.cancelled", Some(*task), json!({ "abandoned": abandoned }));
                }
            }
            RunEvent::ReportIgnored { task, attempt, why } => {
                let data = json!({ "attempt": attempt, "why": why });
                self.push("task.report_ignored", Some(*task), data);
            }
            RunEvent::Noticed { notice } => self.notice(notice),
            RunEvent::RunFinished { status, partial } => {
                let kind = match status {
                    PlanStatus::Completed => "plan.completed",
                    PlanStatus::Cancelled => "plan.cancelled",
                    PlanStatus::Failed
                    | PlanStatus::Draft
                    | PlanStatus::Validated
                    | PlanStatus::PendingApproval
                    | PlanStatus::Approved
                    | PlanStatus::Executing => "plan.failed",
                };
                let status = if *partial { "PARTIAL_FAILURE" } else { status.as_str() };
                self.push(kind, None, json!({ "status": status }));
            }
        }
    }
}

impl EventProjection<'_> {
    fn notice(&mut self, notice: &RunNotice) {
        let seconds = |millis: &u64| *millis as f64 / 1e3;
        match notice {
            RunNotice::Straggler { task, attempt, elapsed_millis, expected_millis } => {
                let data = json!({
                    "attempt": attempt, "elapsed_seconds": seconds(elapsed_millis),
                    "expected_seconds": seconds(expected_millis),
                });
                self.push("task.straggling", Some(*task), data);
            }
            RunNotice::DeadlineAtRisk { forecast, deadline } => {
                let data = json!({ "forecast_finish_at": forecast, "deadline": deadline });
                self.push("plan.deadline_at_risk", None, data);
            }
            RunNotice::Stuck { idle_millis, waiting, lacks_agents } => {
                let waits_for = if *lacks_agents { "an agent" } else { "room in its process" };
                let data = json!({
                    "idle_seconds": seconds(idle_millis), "waiting_task_ids": self.names(waiting),
                    "waits_for": waits_for,
                });
                self.push("plan.stuck", None, data);
            }
        }
    }
}

/// Who else could have done it.
fn considered(placed: &AgentPlacement) -> Value {
    let other =
        |(agent, score): &(std::sync::Arc<str>, f64)| json!({ "agent_id": agent, "score": score });
    placed.others.iter().map(other).collect()
}

fn failure(error: &TaskError) -> Value {
    json!({ "error_code": error.code, "error_message": error.message })
}

fn gate_kind(gate: Gate, what: &str) -> &'static str {
    match (gate, what) {
        (Gate::Plan, "approved") => "plan.approved",
        (Gate::Plan, "rejected") => "plan.rejected",
        (Gate::Plan, _) => "plan.approval_requested",
        (Gate::Budget, "approved") => "budget.approved",
        (Gate::Budget, "rejected") => "budget.rejected",
        (Gate::Budget, _) => "budget.approval_requested",
        (Gate::Task(_) | Gate::Recovery(_), "approved") => "task.approved",
        (Gate::Task(_) | Gate::Recovery(_), "rejected") => "task.rejected",
        (Gate::Task(_) | Gate::Recovery(_), _) => "task.approval_requested",
    }
}

/// What a gate asks, in a word.
pub fn asked_about(gate: Gate) -> &'static str {
    match gate {
        Gate::Plan => "start of the plan",
        Gate::Task(_) => "start of the task",
        Gate::Budget => "the same budget once more",
        Gate::Recovery(_) => "another try of the interrupted attempt",
    }
}

fn cancel_cause(cause: CancelCause) -> &'static str {
    match cause {
        CancelCause::Request => "request",
        CancelCause::FailFast => "fail_fast",
        CancelCause::Deadline => "deadline",
        CancelCause::Budget => "budget",
    }
}

/// Outputs in an event: small ones whole, large ones by reference.
pub fn shown(output: &TaskOutput) -> Value {
    match output {
        TaskOutput::Inline(value) => (**value).clone(),
        TaskOutput::Blob { sha256, bytes } => json!({ "ref": sha256, "bytes": bytes }),
        TaskOutput::List(parts) => {
            parts.iter().map(|part| part.as_ref().map_or(Value::Null, shown)).collect()
        }
    }
}
