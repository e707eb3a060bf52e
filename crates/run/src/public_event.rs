//! Public events: what callers read of a plan and its runs, under the names of spec 05, 5.7.
//!
//! A journal event may give several public ones (a cascade names each task): they share its number and
//! have ids of their own. [`data`] holds what each kind says, [`project`] makes them of journal records.
//! Streams, `explain` and progress match the kind; programs read the JSON that is written here and
//! nowhere else.

pub mod data;
mod projection;

use std::fmt;
use std::str::FromStr;

use l05_core::time::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Value;

use data::{
    AgentDeferral, AgentReturn, AnsweredGate, AttemptFailure, AttemptRetry, AttemptStart,
    BudgetUse, CancelRequest, CascadeFailure, ConditionOutcome, DeadlineRisk, IgnoredAttempt,
    ListExpansion, OpenedGate, PlanCreation, PlanValidation, RunAdoption, RunEnding, RunStandstill,
    RunStart, SlowAttempt, TaskAssignment, TaskCancellation, TaskCompletion, TaskWithoutRun,
};
pub use projection::{planned, project};

/// The id of a public event: unique and ordered in its plan, and the same whenever it is told.
///
/// `seq.n`: the number of the journal event that it comes from (0: planning, before any run), and its
/// place among the public events of that one. A new kind of projection is told behind those that are
/// there, so that a place never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The number of the journal event.
    pub seq: u64,
    /// The place among what that journal event says, from 0.
    pub n: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.n)
    }
}

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<EventId, NoEventId> {
        let parse = || {
            let (seq, n) = text.split_once('.')?;
            Some(EventId { seq: seq.parse().ok()?, n: n.parse().ok()? })
        };
        parse().ok_or_else(|| NoEventId(text.to_owned()))
    }
}

/// A text that is no [`EventId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no event id; one is written `12.0`")]
pub struct NoEventId(String);

/// One event as callers read it.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicEvent {
    /// The event's own name; `id.seq` is the number of its journal event.
    pub id: EventId,
    /// The time of the decision.
    pub time: Timestamp,
    /// The task, where it is about one.
    pub task_id: Option<String>,
    /// The kind, with what belongs to it.
    pub kind: PublicEventKind,
}

impl PublicEvent {
    /// The data as callers read them.
    pub fn data(&self) -> Value {
        serde_json::to_value(EventData(&self.kind)).expect("events are plain data")
    }
}

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

            fn schemas(generator: &mut SchemaGenerator) -> Vec<Schema> {
                vec![$(json_schema!({
                    "properties": {
                        "type": { "const": $name },
                        "data": generator.subschema_for::<$data>(),
                    },
                }),)*]
            }
        }

        impl Serialize for EventData<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 { $(PublicEventKind::$variant(data) => data.serialize(serializer),)* }
            }
        }
    };
}

/// The data of an event without its kind's name.
struct EventData<'e>(&'e PublicEventKind);

kinds! {
    /// A plan was made.
    "plan.created" PlanCreated(PlanCreation),
    /// The plan passed validation.
    "plan.validated" PlanValidated(PlanValidation),
    /// A run of the plan began.
    "plan.dispatched" PlanDispatched(RunStart),
    /// Another process goes on with the run.
    "plan.adopted" PlanAdopted(RunAdoption),
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
    /// The run ended well.
    "plan.completed" PlanCompleted(RunEnding),
    /// The run failed.
    "plan.failed" PlanFailed(RunEnding),
    /// The run was cancelled.
    "plan.cancelled" PlanCancelled(RunEnding),
}

/// The one form in which programs read events.
impl Serialize for PublicEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let fields = if self.task_id.is_some() { 6 } else { 5 };
        let mut out = serializer.serialize_struct("PublicEvent", fields)?;
        out.serialize_field("id", &self.id.to_string())?;
        out.serialize_field("seq", &self.id.seq)?;
        out.serialize_field("time", &self.time)?;
        out.serialize_field("type", self.kind.name())?;
        if let Some(task_id) = &self.task_id {
            out.serialize_field("task_id", task_id)?;
        }
        out.serialize_field("data", &EventData(&self.kind))?;
        out.end()
    }
}

impl JsonSchema for PublicEvent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PublicEvent".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<Timestamp>();
        let kinds = PublicEventKind::schemas(generator);
        json_schema!({
            "type": "object",
            "required": ["id", "seq", "time", "type", "data"],
            "properties": {
                "id": { "type": "string", "pattern": "^[0-9]+\\.[0-9]+$",
                    "description": "Unique and ordered in its plan; the same whenever it is told." },
                "seq": { "type": "integer", "minimum": 0,
                    "description": "The number of its journal event; 0 before any run." },
                "time": time,
                "type": { "enum": PublicEventKind::NAMES },
                "task_id": { "type": "string" },
                "data": { "type": "object" },
            },
            "oneOf": kinds,
        })
    }
}

/// The JSON Schema of public events.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(PublicEvent).to_value();
    schema["title"] = "L05 event".into();
    schema
}

/// A gate's question, in a word.
pub fn asked_about(gate: crate::event::Gate) -> &'static str {
    data::GateQuestion::of(gate).as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_by_number_and_read_as_they_are_written() {
        let ids = ["0.0", "0.1", "2.0", "10.0", "10.2", "10.11"];
        let read: Vec<EventId> = ids.iter().map(|id| id.parse().expect("an id")).collect();
        assert!(read.is_sorted());
        assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), ids);
        for text in ["", "1", "1.", ".1", "1.2.3", "a.0", "-1.0"] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }
}
