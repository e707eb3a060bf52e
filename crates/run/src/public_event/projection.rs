//! Journal records as public events. The only place where the two are mapped.

use std::sync::Arc;

use l05_core::agent::LOCAL_AGENT;
use l05_core::id::{Attempt, TaskIndex};
use l05_core::plan::{Plan, PlanStatus};
use l05_core::secrets::masked;
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;
use serde_json::{Map, Value, json};

use super::data::{
    AgentDeferral, AgentReturn, AllowanceBreach, AnsweredGate, AttemptFailure, AttemptRetry,
    AttemptStart, AwaitedThing, BudgetUse, CancelRequest, CascadeFailure, ConditionOutcome,
    ConsideredAgent, DeadlineRisk, GateQuestion, IgnoredAttempt, ListExpansion, OpenedGate,
    PlanCreation, PlanValidation, RunAdoption, RunEnding, RunOutcome, RunResumption, RunStandstill,
    RunStart, RunSuspension, SlowAttempt, TaskAssignment, TaskCancellation, TaskCompletion,
    TaskWithoutRun,
};
use super::{EventId, PublicEvent, PublicEventKind as Kind};
use crate::amounts::{BudgetKind, Usage};
use crate::event::{
    AfterFailure, AgentPlacement, CancelScope, Gate, RunEvent, RunNotice, TaskError, TaskOutput,
};
use crate::history::{RunHistory, agent_of};
use crate::machine::Run;
use crate::record::Record;

/// The events of a plan before its first run.
pub fn planned(plan: &Plan) -> Vec<PublicEvent> {
    let document = plan.document();
    let created_at = plan.identity().created_at;
    let created = PlanCreation {
        plan_id: plan.id(),
        goal: document.goal.clone(),
        creator_agent_id: document.agent_did.clone(),
        task_ids: document.tasks.iter().map(|t| t.task_id.clone()).collect(),
        strategy: document.metadata.strategy,
    };
    let validated = PlanValidation {
        plan_id: plan.id(),
        is_valid: true,
        validation_errors: Vec::new(),
        validation_warnings: document.metadata.warnings.clone(),
    };
    let validated_at = document.validated_at.unwrap_or(created_at);
    let kinds =
        [(created_at, Kind::PlanCreated(created)), (validated_at, Kind::PlanValidated(validated))];
    let events = (0..).zip(kinds).map(|(n, (time, kind))| PublicEvent {
        id: EventId { seq: 0, n },
        time,
        task_id: None,
        kind,
    });
    events.collect()
}

/// The public events of one journal record, which has been folded into `history`.
pub fn project(history: &RunHistory, record: &Record) -> Vec<PublicEvent> {
    let mut out = Vec::new();
    for (seq, event) in (record.first.0..).zip(&record.events) {
        EventProjection { history, seq, n: 0, time: record.at, out: &mut out }.event(event);
    }
    out
}

/// One journal event on its way to public ones.
struct EventProjection<'a> {
    history: &'a RunHistory,
    seq: u64,
    n: u32,
    time: Timestamp,
    out: &'a mut Vec<PublicEvent>,
}

impl EventProjection<'_> {
    fn push(&mut self, task: Option<TaskIndex>, kind: Kind) {
        let id = EventId { seq: self.seq, n: self.n };
        self.n += 1;
        let task_id = task.map(|t| self.name(t));
        self.out.push(PublicEvent { id, time: self.time, task_id, kind });
    }

    fn run(&self) -> &Run {
        self.history.run()
    }

    fn name(&self, task: TaskIndex) -> String {
        self.run().name(task)
    }

    fn names(&self, tasks: &[TaskIndex]) -> Vec<String> {
        tasks.iter().map(|task| self.name(*task)).collect()
    }

    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::RunStarted { run, keep, by, .. } => {
                let start = RunStart { run: *run, kept: self.names(keep), by: by.clone() };
                self.push(None, Kind::PlanDispatched(start));
            }
            RunEvent::RunAdopted { epoch, .. } => {
                self.push(None, Kind::PlanAdopted(RunAdoption { epoch: epoch.0 }));
            }
            RunEvent::RunSuspended { deaths, tasks } => {
                let suspension = RunSuspension { deaths: *deaths, task_ids: self.names(tasks) };
                self.push(None, Kind::PlanSuspended(suspension));
            }
            RunEvent::RunResumed { by } => {
                self.push(None, Kind::PlanResumed(RunResumption { by: by.clone() }));
            }
            RunEvent::EdgeDecided { edge, verdict } => {
                let edge = self.run().plan().graph().edge(*edge);
                let (depends_on, to) = (self.name(edge.from), edge.to);
                let outcome = ConditionOutcome { depends_on, verdict: *verdict };
                self.push(Some(to), Kind::TaskConditionDecided(outcome));
            }
            RunEvent::GateOpened { gate, expires_at } => {
                let opened =
                    OpenedGate { asked_about: GateQuestion::of(*gate), expires_at: *expires_at };
                self.push(gate.task(), gate_opened(*gate, opened));
            }
            RunEvent::GateDecided { gate, approved, by, reason, content_digest } => {
                let answered = AnsweredGate {
                    asked_about: GateQuestion::of(*gate),
                    by: by.clone(),
                    reason: reason.clone(),
                    content_digest: content_digest.clone(),
                };
                self.push(gate.task(), gate_answered(*gate, *approved, answered));
            }
            RunEvent::MapExpanded { task, count, .. } => {
                self.push(Some(*task), Kind::TaskExpanded(ListExpansion { items: *count }));
            }
            RunEvent::MapCompleted { task } => {
                let completion = self.map_completion(*task);
                self.push(Some(*task), Kind::TaskCompleted(completion));
            }
            RunEvent::BudgetWarned { kind, used, limit } => {
                self.push(None, Kind::BudgetWarning(budget_use(*kind, *used, *limit)));
            }
            RunEvent::BudgetBreached { task, attempt, allowed, used, stops } => {
                let kinds = used.kinds().into_iter().zip(allowed.kinds());
                let over = kinds.filter(|((_, used), (_, allowed))| used > allowed);
                let over = over.map(|((kind, used), (_, limit))| budget_use(kind, used, limit));
                let breach =
                    AllowanceBreach { attempt: attempt.0, over: over.collect(), stops: *stops };
                self.push(Some(*task), Kind::BudgetBreached(breach));
            }
            RunEvent::TaskDispatched { task, attempt, not_after, placed, .. } => {
                let assignment = self.assignment(*task, *attempt, *not_after, placed.as_deref());
                self.push(Some(*task), Kind::TaskAssigned(assignment));
                // Executors in this process begin at once.
                let start = AttemptStart { attempt: attempt.0, resumed: false, agent_id: None };
                self.push(Some(*task), Kind::TaskStarted(start));
            }
            RunEvent::AttemptReturned { task, attempt } => {
                self.push(Some(*task), Kind::TaskReturned(AgentReturn { attempt: attempt.0 }));
            }
            RunEvent::TaskDeferred { task, error, at } => {
                let (error_code, error_message) = failure(error);
                let deferral = AgentDeferral { error_code, error_message, next_attempt_at: *at };
                self.push(Some(*task), Kind::TaskDeferred(deferral));
            }
            RunEvent::TaskRedispatched { task, attempt, placed, .. } => {
                let agent_id = Some(agent_of(placed.as_deref()));
                let start = AttemptStart { attempt: attempt.0, resumed: true, agent_id };
                self.push(Some(*task), Kind::TaskStarted(start));
            }
            RunEvent::TaskCompleted { task, attempt, output, usage } => {
                let completion = self.completion(*task, *attempt, output, *usage);
                self.push(Some(*task), Kind::TaskCompleted(completion));
            }
            RunEvent::AttemptFailed { task, attempt, error, next, .. } => {
                self.push(Some(*task), attempt_failed(*attempt, error, *next));
            }
            RunEvent::TaskFailed { task, error } => {
                let (error_code, error_message) = failure(error);
                let failure = AttemptFailure { error_code, error_message, attempt: None };
                self.push(Some(*task), Kind::TaskFailed(failure));
            }
            RunEvent::TasksBlocked { cause, tasks } => self.blocked(*cause, tasks),
            RunEvent::TasksSkipped { cause, tasks } => {
                let cause = self.name(*cause);
                for task in tasks {
                    let skipped = TaskWithoutRun { cause: cause.clone() };
                    self.push(Some(*task), Kind::TaskSkipped(skipped));
                }
            }
            RunEvent::CancelRequested { scope, cause, reason, by, .. } => {
                let task = match scope {
                    CancelScope::Plan => None,
                    CancelScope::Task(task) => Some(*task),
                };
                let request =
                    CancelRequest { cause: *cause, reason: reason.clone(), by: by.clone() };
                self.push(task, Kind::PlanCancelRequested(request));
            }
            RunEvent::TasksCancelled { tasks, abandoned } => {
                for task in tasks {
                    let cancelled = TaskCancellation { abandoned: *abandoned };
                    self.push(Some(*task), Kind::TaskCancelled(cancelled));
                }
            }
            RunEvent::ReportIgnored { task, attempt, why } => {
                let ignored = IgnoredAttempt { attempt: attempt.0, why: *why };
                self.push(Some(*task), Kind::TaskReportIgnored(ignored));
            }
            RunEvent::Noticed { notice } => self.notice(notice),
            RunEvent::RunFinished { status, partial } => {
                let kind = self.ending(*status, *partial);
                self.push(None, kind);
            }
        }
    }

    fn blocked(&mut self, cause: TaskIndex, tasks: &[TaskIndex]) {
        let (name, blocked_task_ids) = (self.name(cause), self.names(tasks));
        let cascade = CascadeFailure { cause: name.clone(), blocked_task_ids };
        self.push(Some(cause), Kind::CascadeFailed(cascade));
        for task in tasks {
            self.push(Some(*task), Kind::TaskBlocked(TaskWithoutRun { cause: name.clone() }));
        }
    }

    fn assignment(
        &self,
        task: TaskIndex,
        attempt: Attempt,
        not_after: Timestamp,
        placed: Option<&AgentPlacement>,
    ) -> TaskAssignment {
        let spec = self.run().spec(task);
        let inputs = match masked(&Value::Object(spec.inputs.clone())) {
            Value::Object(inputs) => inputs,
            _ => Map::new(),
        };
        TaskAssignment {
            agent_id: agent_of(placed),
            attempt: attempt.0,
            action: spec.action.clone(),
            tool: spec.tool.clone(),
            deadline_unix_ms: not_after.0,
            timeout_seconds: spec.timeout_seconds,
            score: placed.map(|placed| placed.score),
            others: placed.map(considered),
            plan_id: self.run().plan().id(),
            task_id: self.name(task),
            inputs,
            resource_quota: spec.resource_quota.clone(),
        }
    }

    fn completion(
        &self,
        task: TaskIndex,
        attempt: Attempt,
        output: &TaskOutput,
        usage: Usage,
    ) -> TaskCompletion {
        let logged = self.history.attempts(task).iter().find(|a| a.number == attempt.0);
        TaskCompletion {
            agent_id: self.run().agent(task).clone(),
            attempt: Some(attempt.0),
            status: TaskStatus::Completed,
            outputs: Some(masked(&shown(output))),
            actual_tokens_used: Some(usage.tokens),
            tokens_counted_here: usage.is_counted,
            plan_id: self.run().plan().id(),
            task_id: self.name(task),
            error_message: None,
            actual_duration_ms: logged.map(|a| self.time.millis_since(a.started_at)),
            agent_signature: None,
        }
    }

    fn map_completion(&self, task: TaskIndex) -> TaskCompletion {
        TaskCompletion {
            agent_id: LOCAL_AGENT.into(),
            attempt: None,
            status: TaskStatus::Completed,
            outputs: None,
            actual_tokens_used: None,
            tokens_counted_here: false,
            plan_id: self.run().plan().id(),
            task_id: self.name(task),
            error_message: None,
            actual_duration_ms: None,
            agent_signature: None,
        }
    }

    fn ending(&self, status: PlanStatus, partial: bool) -> Kind {
        let run = self.run();
        let of = |wanted: fn(TaskStatus) -> bool| -> Vec<String> {
            let tasks = run.in_order().filter(|task| wanted(run.task_status(*task)));
            tasks.map(|task| run.name(task)).collect()
        };
        let began = self.history.started_at.unwrap_or(self.time);
        let ending = |status| RunEnding {
            status,
            plan_id: run.plan().id(),
            completed_task_ids: of(|s| s == TaskStatus::Completed),
            failed_task_ids: of(TaskStatus::is_failure),
            cancelled_task_ids: of(|s| s == TaskStatus::Cancelled),
            actual_duration_ms: self.time.millis_since(began),
            total_tokens_used: run.spent().tokens,
            actual_cost_usd: run.spent().cost_usd,
            failure_reason: self.history.failure().map(|failure| failure.message),
        };
        match status {
            PlanStatus::Completed => Kind::PlanCompleted(ending(RunOutcome::Completed)),
            PlanStatus::Cancelled => Kind::PlanCancelled(ending(if partial {
                RunOutcome::PartialFailure
            } else {
                RunOutcome::Cancelled
            })),
            PlanStatus::Failed
            | PlanStatus::Draft
            | PlanStatus::Validated
            | PlanStatus::PendingApproval
            | PlanStatus::Approved
            | PlanStatus::Executing
            | PlanStatus::Suspended => Kind::PlanFailed(ending(if partial {
                RunOutcome::PartialFailure
            } else {
                RunOutcome::Failed
            })),
        }
    }

    fn notice(&mut self, notice: &RunNotice) {
        let seconds = |millis: &u64| *millis as f64 / 1e3;
        match notice {
            RunNotice::Straggler { task, attempt, elapsed_millis, expected_millis } => {
                let slow = SlowAttempt {
                    attempt: attempt.0,
                    elapsed_seconds: seconds(elapsed_millis),
                    expected_seconds: seconds(expected_millis),
                };
                self.push(Some(*task), Kind::TaskStraggling(slow));
            }
            RunNotice::DeadlineAtRisk { forecast, deadline } => {
                let risk = DeadlineRisk { forecast_finish_at: *forecast, deadline: *deadline };
                self.push(None, Kind::PlanDeadlineAtRisk(risk));
            }
            RunNotice::Stuck { idle_millis, waiting, lacks_agents } => {
                let waits_for =
                    if *lacks_agents { AwaitedThing::Agent } else { AwaitedThing::Room };
                let standstill = RunStandstill {
                    idle_seconds: seconds(idle_millis),
                    waiting_task_ids: self.names(waiting),
                    waits_for,
                };
                self.push(None, Kind::PlanStuck(standstill));
            }
        }
    }
}

fn attempt_failed(attempt: Attempt, error: &TaskError, next: AfterFailure) -> Kind {
    let (error_code, error_message) = failure(error);
    let attempt = attempt.0;
    match next {
        AfterFailure::Retry { at } => {
            let next_attempt_at = at;
            Kind::TaskRetried(AttemptRetry { error_code, error_message, attempt, next_attempt_at })
        }
        AfterFailure::Final { status } => {
            let attempt = Some(attempt);
            let failure = AttemptFailure { error_code, error_message, attempt };
            match status {
                TaskStatus::TimedOut => Kind::TaskTimedOut(failure),
                TaskStatus::Failed
                | TaskStatus::Pending
                | TaskStatus::Ready
                | TaskStatus::Assigned
                | TaskStatus::Executing
                | TaskStatus::Completed
                | TaskStatus::Blocked
                | TaskStatus::Skipped
                | TaskStatus::Cancelled => Kind::TaskFailed(failure),
            }
        }
    }
}

fn budget_use(kind: BudgetKind, used: u64, limit: u64) -> BudgetUse {
    BudgetUse { kind, used: kind.shown(used), limit: kind.shown(limit) }
}

/// The others who could have done it.
fn considered(placed: &AgentPlacement) -> Vec<ConsideredAgent> {
    let other = |(agent, score): &(Arc<str>, f64)| ConsideredAgent {
        agent_id: agent.clone(),
        score: *score,
    };
    placed.others.iter().map(other).collect()
}

fn failure(error: &TaskError) -> (l05_core::ErrorCode, String) {
    (error.code, error.message.clone())
}

fn gate_opened(gate: Gate, opened: OpenedGate) -> Kind {
    match gate {
        Gate::Plan => Kind::PlanApprovalRequested(opened),
        Gate::Budget => Kind::BudgetApprovalRequested(opened),
        Gate::Task(_) | Gate::Recovery(_) => Kind::TaskApprovalRequested(opened),
    }
}

fn gate_answered(gate: Gate, approved: bool, answered: AnsweredGate) -> Kind {
    match (gate, approved) {
        (Gate::Plan, true) => Kind::PlanApproved(answered),
        (Gate::Plan, false) => Kind::PlanRejected(answered),
        (Gate::Budget, true) => Kind::BudgetApproved(answered),
        (Gate::Budget, false) => Kind::BudgetRejected(answered),
        (Gate::Task(_) | Gate::Recovery(_), true) => Kind::TaskApproved(answered),
        (Gate::Task(_) | Gate::Recovery(_), false) => Kind::TaskRejected(answered),
    }
}

/// Outputs in an event: small ones whole, large ones by reference.
fn shown(output: &TaskOutput) -> Value {
    match output {
        TaskOutput::Inline(value) => (**value).clone(),
        TaskOutput::Blob { sha256, bytes } => json!({ "ref": sha256, "bytes": bytes }),
        TaskOutput::List(parts) => {
            parts.iter().map(|part| part.as_ref().map_or(Value::Null, shown)).collect()
        }
    }
}
