//! The kinds of public events in one table, and the data of each: plain structures, written as they
//! stand here. A new kind is a row and its structure.

use std::sync::Arc;

use l05_core::ErrorCode;
use l05_core::choices;
use l05_core::id::{AgentDid, PlanId};
use l05_core::plan::Strategy;
use l05_core::resource::ResourceConstraints;
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::amounts::BudgetKind;
use crate::event::{Actor, CancelCause, ConditionVerdict, Gate, IgnoredReport};

/// Declares the kinds of public events: written name, variant, data.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:literal $variant:ident($data:ty),)*) => {
        /// The kinds of public events, each with its data.
        #[derive(Clone, Debug, PartialEq)]
        pub enum PublicEventKind {
            $($(#[$doc])* $variant($data),)*
        }

        impl PublicEventKind {
            /// The written names of all kinds.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The written name: `task.completed` and the like.
            pub fn name(&self) -> &'static str {
                match self { $(PublicEventKind::$variant(_) => $name,)* }
            }

            pub(super) fn schemas(generator: &mut SchemaGenerator) -> Vec<Schema> {
                vec![$(json_schema!({
                    "properties": {
                        "type": { "const": $name },
                        "data": generator.subschema_for::<$data>(),
                    },
                }),)*]
            }
        }

        impl Serialize for KindData<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 { $(PublicEventKind::$variant(data) => data.serialize(serializer),)* }
            }
        }
    };
}

/// The data of an event without its kind's name.
pub(super) struct KindData<'e>(pub(super) &'e PublicEventKind);

kinds! {
    /// A plan was made.
    "plan.created" PlanCreated(PlanCreation),
    /// The plan passed validation.
    "plan.validated" PlanValidated(PlanValidation),
    /// A run of the plan began.
    "plan.dispatched" PlanDispatched(RunStart),
    /// Another process goes on with the run.
    "plan.adopted" PlanAdopted(RunAdoption),
    /// The run was taken out of execution: whoever took it up died of it.
    "plan.suspended" PlanSuspended(RunSuspension),
    /// Somebody lets a suspended run go on.
    "plan.resumed" PlanResumed(RunResumption),
    /// A condition was evaluated.
    "task.condition_decided" TaskConditionDecided(ConditionOutcome),
    /// Somebody is asked whether the plan may run.
    "plan.approval_requested" PlanApprovalRequested(OpenedGate),
    /// The plan may run.
    "plan.approved" PlanApproved(AnsweredGate),
    /// The plan may not run.
    "plan.rejected" PlanRejected(AnsweredGate),
    /// Somebody is asked for more budget.
    "budget.approval_requested" BudgetApprovalRequested(OpenedGate),
    /// There is more budget.
    "budget.approved" BudgetApproved(AnsweredGate),
    /// There is no more budget.
    "budget.rejected" BudgetRejected(AnsweredGate),
    /// Somebody is asked whether a task may start, or an attempt be repeated.
    "task.approval_requested" TaskApprovalRequested(OpenedGate),
    /// The task may start.
    "task.approved" TaskApproved(AnsweredGate),
    /// The task may not start.
    "task.rejected" TaskRejected(AnsweredGate),
    /// The list of a fan-out is known.
    "task.expanded" TaskExpanded(ListExpansion),
    /// An attempt was given to an agent.
    "task.assigned" TaskAssigned(TaskAssignment),
    /// An attempt began.
    "task.started" TaskStarted(AttemptStart),
    /// The agent of an attempt is gone; the attempt goes elsewhere.
    "task.returned" TaskReturned(AgentReturn),
    /// Nobody is there for a task; it is tried again later.
    "task.deferred" TaskDeferred(AgentDeferral),
    /// A task completed.
    "task.completed" TaskCompleted(TaskCompletion),
    /// An attempt failed and is repeated.
    "task.retried" TaskRetried(AttemptRetry),
    /// A task took too long, for good.
    "task.timed_out" TaskTimedOut(AttemptFailure),
    /// A task failed for good.
    "task.failed" TaskFailed(AttemptFailure),
    /// Tasks can never start, because one that they need failed.
    "cascade.failed" CascadeFailed(CascadeFailure),
    /// A task can never start.
    "task.blocked" TaskBlocked(TaskWithoutRun),
    /// A task is not needed.
    "task.skipped" TaskSkipped(TaskWithoutRun),
    /// The end of the plan, or of a task, was asked for.
    "plan.cancel_requested" PlanCancelRequested(CancelRequest),
    /// A task ended because of a cancellation.
    "task.cancelled" TaskCancelled(TaskCancellation),
    /// A report does not count.
    "task.report_ignored" TaskReportIgnored(IgnoredAttempt),
    /// An attempt takes much longer than expected.
    "task.straggling" TaskStraggling(SlowAttempt),
    /// The plan will probably miss its deadline.
    "plan.deadline_at_risk" PlanDeadlineAtRisk(DeadlineRisk),
    /// Nothing moves.
    "plan.stuck" PlanStuck(RunStandstill),
    /// Most of a budget is used.
    "budget.warning" BudgetWarning(BudgetUse),
    /// An attempt used more than it was told it may.
    "budget.breached" BudgetBreached(AllowanceBreach),
    /// The run ended well.
    "plan.completed" PlanCompleted(RunEnding),
    /// The run failed.
    "plan.failed" PlanFailed(RunEnding),
    /// The run was cancelled.
    "plan.cancelled" PlanCancelled(RunEnding),
}

/// Data of `plan.created`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PlanCreation {
    /// The plan.
    pub plan_id: PlanId,
    /// The goal, in the words of whoever asked.
    pub goal: String,
    /// The requester.
    pub creator_agent_id: AgentDid,
    /// Ids of all tasks.
    pub task_ids: Vec<String>,
    /// The way in which the goal was decomposed.
    pub strategy: Option<Strategy>,
}

/// Data of `plan.validated`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PlanValidation {
    /// The plan.
    pub plan_id: PlanId,
    /// True: plans that are not valid are never stored.
    pub is_valid: bool,
    /// Empty.
    pub validation_errors: Vec<String>,
    /// Doubts that do not stand in the way.
    pub validation_warnings: Vec<String>,
}

/// Data of `plan.dispatched`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunStart {
    /// The number of the run, from 1.
    pub run: u16,
    /// Tasks that stay completed from an earlier run.
    pub kept: Vec<String>,
    /// The caller who started it; not known of runs by older versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
}

/// Data of `plan.adopted`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunAdoption {
    /// The new owner's epoch.
    pub epoch: u64,
}

/// Data of `plan.suspended`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunSuspension {
    /// The number of owners that died in a row.
    pub deaths: u16,
    /// Ids of the tasks that were in flight each time.
    pub task_ids: Vec<String>,
}

/// Data of `plan.resumed`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunResumption {
    /// The caller.
    pub by: Actor,
}

/// Data of `task.condition_decided`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ConditionOutcome {
    /// The task at the other end of the dependency.
    pub depends_on: String,
    /// The outcome.
    pub verdict: ConditionVerdict,
}

choices! {
    /// The question of a gate.
    pub enum GateQuestion {
        /// The start of the plan.
        PlanStart = "start of the plan",
        /// The start of a task.
        TaskStart = "start of the task",
        /// More budget for the plan.
        MoreBudget = "the same budget once more",
        /// The repetition of an interrupted attempt.
        AnotherTry = "another try of the interrupted attempt",
    }
}

impl GateQuestion {
    /// The question of a gate.
    pub fn of(gate: Gate) -> GateQuestion {
        match gate {
            Gate::Plan => GateQuestion::PlanStart,
            Gate::Task(_) => GateQuestion::TaskStart,
            Gate::Budget => GateQuestion::MoreBudget,
            Gate::Recovery(_) => GateQuestion::AnotherTry,
        }
    }
}

/// Data of `plan.approval_requested`, `task.approval_requested`, `budget.approval_requested`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OpenedGate {
    /// The question.
    pub asked_about: GateQuestion,
    /// From then on no answer counts as a refusal.
    pub expires_at: Option<Timestamp>,
}

/// Data of `plan.approved`, `plan.rejected` and the same of tasks and budgets.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AnsweredGate {
    /// The question.
    pub asked_about: GateQuestion,
    /// The caller who answered; `system` when the time was over.
    pub by: String,
    /// The caller's reason.
    pub reason: String,
    /// SHA-256 of the plan's content that the answer is about; not known of answers to older versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<String>,
}

/// Data of `task.expanded`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ListExpansion {
    /// The length of the list.
    pub items: u32,
}

/// Data of `task.assigned`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TaskAssignment {
    /// The agent that got it.
    pub agent_id: Arc<str>,
    /// The number of the attempt, from 1.
    pub attempt: u16,
    /// The task's verb phrase.
    pub action: String,
    /// The tool.
    pub tool: Option<String>,
    /// The attempt times out then; milliseconds since 1970.
    pub deadline_unix_ms: i64,
    /// The longest time that an attempt may take, in seconds.
    pub timeout_seconds: f64,
    /// The agent's fit, 0 to 1, where there was a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The best of the others, where there was a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<Vec<ConsideredAgent>>,
    /// The plan.
    pub plan_id: PlanId,
    /// The task.
    pub task_id: String,
    /// The inputs as the plan writes them, what looks like a secret masked.
    pub inputs: Map<String, Value>,
    /// The most that the task may use.
    pub resource_quota: Option<ResourceConstraints>,
}

/// An agent that could have done it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ConsideredAgent {
    /// The agent.
    pub agent_id: Arc<str>,
    /// The fit, 0 to 1.
    pub score: f64,
}

/// Data of `task.started`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AttemptStart {
    /// The number of the attempt, from 1.
    pub attempt: u16,
    /// An attempt that was in flight when its owner died began once more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// The agent that has it, where it began once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Arc<str>>,
}

/// Data of `task.returned`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AgentReturn {
    /// The number of the attempt.
    pub attempt: u16,
}

/// Data of `task.deferred`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AgentDeferral {
    /// The code.
    #[schemars(with = "String")]
    pub error_code: ErrorCode,
    /// The cause in words.
    pub error_message: String,
    /// Not tried again before.
    pub next_attempt_at: Timestamp,
}

/// Data of `task.completed`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TaskCompletion {
    /// The agent that did it.
    pub agent_id: Arc<str>,
    /// The number of the attempt; a fan-out has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u16>,
    /// COMPLETED.
    pub status: TaskStatus,
    /// The result: a small one whole, a large one by reference; what looks like a secret is masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Value>,
    /// Model tokens, in and out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual_tokens_used: Option<u64>,
    /// The executor reported no tokens that can be right: they were counted here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub tokens_counted_here: bool,
    /// The plan.
    pub plan_id: PlanId,
    /// The task.
    pub task_id: String,
    /// Null: it completed.
    pub error_message: Option<String>,
    /// From the last start of the attempt to its end, in milliseconds; null for a fan-out.
    pub actual_duration_ms: Option<u64>,
    /// The agent's signature of its report; null for agents of this process.
    pub agent_signature: Option<String>,
}

/// Data of `task.retried`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AttemptRetry {
    /// The code.
    #[schemars(with = "String")]
    pub error_code: ErrorCode,
    /// The cause in words.
    pub error_message: String,
    /// The number of the attempt that failed.
    pub attempt: u16,
    /// Not tried again before.
    pub next_attempt_at: Timestamp,
}

/// Data of `task.failed` and `task.timed_out`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AttemptFailure {
    /// The code.
    #[schemars(with = "String")]
    pub error_code: ErrorCode,
    /// The cause in words.
    pub error_message: String,
    /// The number of the attempt, where one failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u16>,
}

/// Data of `cascade.failed`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CascadeFailure {
    /// The task that failed.
    pub cause: String,
    /// All that it blocks, directly and through others.
    pub blocked_task_ids: Vec<String>,
}

/// Data of `task.blocked` and `task.skipped`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TaskWithoutRun {
    /// The task that made it so.
    pub cause: String,
}

/// Data of `plan.cancel_requested`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CancelRequest {
    /// A caller's request, or a policy.
    pub cause: CancelCause,
    /// The cause in words.
    pub reason: String,
    /// The caller, where one asked; not known of requests to older versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
}

/// Data of `task.cancelled`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TaskCancellation {
    /// The executor was still running and has been given up.
    pub abandoned: bool,
}

/// Data of `task.report_ignored`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct IgnoredAttempt {
    /// The attempt that the report names.
    pub attempt: u16,
    /// The reason for which it does not count.
    pub why: IgnoredReport,
}

/// Data of `task.straggling`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SlowAttempt {
    /// The number of the attempt.
    pub attempt: u16,
    /// Seconds so far.
    pub elapsed_seconds: f64,
    /// Seconds that were expected.
    pub expected_seconds: f64,
}

/// Data of `plan.deadline_at_risk`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DeadlineRisk {
    /// The earliest end.
    pub forecast_finish_at: Timestamp,
    /// The end that is wanted.
    pub deadline: Timestamp,
}

choices! {
    /// The thing that a run that stands still waits for.
    pub enum AwaitedThing {
        /// An agent that is free.
        Agent = "an agent",
        /// Room in its process.
        Room = "room in its process",
    }
}

/// Data of `plan.stuck`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunStandstill {
    /// Seconds without any movement.
    pub idle_seconds: f64,
    /// Tasks that could start, the first of them.
    pub waiting_task_ids: Vec<String>,
    /// The thing that they wait for.
    pub waits_for: AwaitedThing,
}

/// Data of `budget.warning`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct BudgetUse {
    /// The quantity.
    pub kind: BudgetKind,
    /// The part that is used: tokens, US dollars or seconds.
    pub used: f64,
    /// The whole, in the same unit.
    pub limit: f64,
}

/// Data of `budget.breached`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AllowanceBreach {
    /// The number of the attempt.
    pub attempt: u16,
    /// Each quantity of which it used more than it was told, with what it was told.
    pub over: Vec<BudgetUse>,
    /// True if nothing further starts: the plan has a budget, or the task a quota.
    pub stops: bool,
}

choices! {
    /// The end of a run.
    pub enum RunOutcome {
        /// All went well.
        Completed = "COMPLETED",
        /// The run failed, but some leaves completed.
        PartialFailure = "PARTIAL_FAILURE",
        /// The run failed.
        Failed = "FAILED",
        /// The run was cancelled.
        Cancelled = "CANCELLED",
    }
}

/// Data of `plan.completed`, `plan.failed` and `plan.cancelled`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunEnding {
    /// The end.
    pub status: RunOutcome,
    /// The plan.
    pub plan_id: PlanId,
    /// Ids of completed tasks, items of fan-outs included.
    pub completed_task_ids: Vec<String>,
    /// Ids of failed and timed out tasks.
    pub failed_task_ids: Vec<String>,
    /// Ids of cancelled tasks.
    pub cancelled_task_ids: Vec<String>,
    /// From the start of the first run to the end of this one, in milliseconds.
    pub actual_duration_ms: u64,
    /// Model tokens of all runs, in and out.
    pub total_tokens_used: u64,
    /// US dollars of all runs.
    pub actual_cost_usd: f64,
    /// The cause of the failure; null for a plan that completed.
    pub failure_reason: Option<String>,
}
