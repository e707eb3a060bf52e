//! What is kept of a goal: what was asked, the steps of planning with their times, and its events.
//!
//! Written with the plan, in one transaction; of a goal that became no plan by itself, bounded in number and age.

use l05_core::Error;
use l05_core::goal::{Goal, GoalStatus};
use l05_core::id::PlanId;
use l05_core::plan::Plan;
use l05_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::port::StoredGoal;

/// A goal with what planning made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalRecord {
    /// The goal's id.
    pub goal_id: String,
    /// The requester.
    pub agent_did: String,
    /// The goal, in the requester's words.
    pub goal_text: String,
    /// SIMPLE, COMPOUND or RECURSIVE.
    pub goal_type: String,
    /// 1 (low) to 10 (high).
    pub priority: u8,
    /// The goal that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_goal_id: Option<String>,
    /// The requester's own data.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// The present status.
    pub status: GoalStatus,
    /// The statuses it had, with the time of each.
    pub history: Vec<GoalStep>,
    /// The plan, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<PlanId>,
    /// The events of planning, in their order.
    pub events: Vec<PlanningEvent>,
    /// The reason for which there is no plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// A status with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalStep {
    /// The status.
    pub status: GoalStatus,
    /// The time, RFC 3339.
    pub at: String,
}

/// An event of planning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanningEvent {
    /// `plan.created`, `plan.decomposed` or `plan.validated`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The time, RFC 3339.
    pub time: String,
    /// Milliseconds since the event before, or since the request.
    pub took_ms: u64,
    /// The facts.
    pub data: Value,
}

/// The times of a planning that led to a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanningTimes {
    pub(crate) asked: Timestamp,
    pub(crate) decomposed: Timestamp,
    pub(crate) validated: Timestamp,
}

impl GoalRecord {
    fn asked(goal: &Goal) -> GoalRecord {
        let step = |status, at: Timestamp| GoalStep { status, at: at.to_string() };
        GoalRecord {
            goal_id: goal.goal_id.as_str().to_owned(),
            agent_did: goal.agent_did.as_str().to_owned(),
            goal_text: goal.goal_text.clone(),
            goal_type: goal.goal_type.as_str().to_owned(),
            priority: goal.priority,
            parent_goal_id: goal.parent_goal_id.as_ref().map(|id| id.as_str().to_owned()),
            metadata: goal.metadata.clone(),
            status: GoalStatus::Decomposing,
            history: vec![
                step(GoalStatus::Pending, goal.created_at),
                step(GoalStatus::Decomposing, goal.created_at),
            ],
            plan_id: None,
            events: Vec::new(),
            error: None,
        }
    }

    fn end(&mut self, status: GoalStatus, at: Timestamp) {
        self.status = status;
        self.history.push(GoalStep { status, at: at.to_string() });
    }

    /// The record of a goal that became a plan.
    pub(crate) fn of_plan(goal: &Goal, plan: &Plan, times: PlanningTimes) -> GoalRecord {
        let mut record = GoalRecord::asked(goal);
        record.end(GoalStatus::Ready, times.validated);
        record.plan_id = Some(plan.id());
        let document = plan.document();
        let metadata = &document.metadata;
        let event = |kind: &str, from: Timestamp, at: Timestamp, data: Value| PlanningEvent {
            kind: kind.to_owned(),
            time: at.to_string(),
            took_ms: at.millis_since(from),
            data,
        };
        let PlanningTimes { asked, decomposed, validated } = times;
        let tasks: Vec<&str> = document.tasks.iter().map(|task| task.task_id.as_str()).collect();
        let made = json!({
            "strategy": metadata.strategy,
            "template_id": metadata.template_id,
            "model": metadata.model,
            "cache_hit": document.cached.as_ref().map(|copy| copy.hit.as_str()),
            "tasks": tasks.len(),
        });
        let checked = json!({ "is_valid": true, "validation_errors": [], "validation_warnings": metadata.warnings });
        record.events = vec![
            event(
                "plan.created",
                asked,
                asked,
                json!({ "goal": goal.goal_text, "task_ids": tasks }),
            ),
            event("plan.decomposed", asked, decomposed, made),
            event("plan.validated", decomposed, validated, checked),
        ];
        record
    }

    /// The record of a goal that became none.
    pub(crate) fn failed(goal: &Goal, error: &Error, at: Timestamp) -> GoalRecord {
        let mut record = GoalRecord::asked(goal);
        record.end(GoalStatus::Failed, at);
        let error = serde_json::to_value(error).expect("errors are plain data");
        record.events = vec![PlanningEvent {
            kind: "plan.decomposed".to_owned(),
            time: at.to_string(),
            took_ms: at.millis_since(goal.created_at),
            data: json!({ "error": error["code"] }),
        }];
        record.error = Some(error);
        record
    }

    /// As it is kept.
    pub(crate) fn stored(&self, created_at: Timestamp) -> StoredGoal {
        StoredGoal {
            goal_id: self.goal_id.clone(),
            parent: self.parent_goal_id.clone(),
            plan: self.plan_id,
            status: self.status,
            created_at,
            record: serde_json::to_vec(self).expect("a record is plain data"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records as they were written once; every later version reads them, and writes them alike.
    #[test]
    fn records_of_earlier_versions_are_read() {
        let ready = r#"{"goal_id":"g-1","agent_did":"local","goal_text":"List all md files","goal_type":"COMPOUND","priority":5,"metadata":{"ticket":"42"},"status":"READY","history":[{"status":"PENDING","at":"2026-11-27T00:00:00.000Z"},{"status":"DECOMPOSING","at":"2026-11-27T00:00:00.000Z"},{"status":"READY","at":"2026-11-27T00:00:00.004Z"}],"plan_id":"01a21a46-2af0-7423-9a31-1d8eeb5ce672","events":[{"type":"plan.created","time":"2026-11-27T00:00:00.000Z","took_ms":0,"data":{"goal":"List all md files","task_ids":["files"]}},{"type":"plan.decomposed","time":"2026-11-27T00:00:00.002Z","took_ms":2,"data":{"strategy":"template"}},{"type":"plan.validated","time":"2026-11-27T00:00:00.004Z","took_ms":2,"data":{"is_valid":true}}]}"#;
        let failed = r#"{"goal_id":"g-2","agent_did":"local","goal_text":"Bake a cake","goal_type":"RECURSIVE","priority":1,"parent_goal_id":"g-1","status":"FAILED","history":[{"status":"FAILED","at":"2026-11-27T00:00:00.001Z"}],"events":[{"type":"plan.decomposed","time":"2026-11-27T00:00:00.001Z","took_ms":1,"data":{"error":"E5105"}}],"error":{"code":"E5105","message":"no template fits this goal"}}"#;
        for text in [ready, failed] {
            let record: GoalRecord = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), text);
        }
    }
}
