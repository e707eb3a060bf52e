//! Random plans with everything a plan can have: conditions, fan-outs, gates, budgets, deadlines.

use std::sync::Arc;

use l05_core::catalog::{ToolCatalog, ToolSpec};
use l05_core::estimate::EstimateBasis;
use l05_core::id::{GoalId, PlanId};
use l05_core::plan::{Plan, PlanDocument, PlanIdentity};
use l05_core::time::Timestamp;
use l05_core::validate::{ValidationContext, validate};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::chance::Chance;

/// The most that one attempt may use; the budgets of plans are near a few of it.
const ATTEMPT_TOKENS: u64 = 10;

pub(crate) fn any_plan(chance: &mut Chance, number: usize) -> Arc<Plan> {
    let count = 1 + chance.below(7);
    let tasks: Vec<Value> = (0..count).map(|at| any_task(chance, at)).collect();
    let mut constraints = json!({
        "max_parallelism": 1 + chance.below(3), "require_approval": chance.one_in(6),
    });
    if chance.one_in(2) {
        constraints["token_budget"] = json!(ATTEMPT_TOKENS * (1 + chance.below(12) as u64));
    }
    if chance.one_in(4) {
        constraints["deadline_seconds"] = json!(20 + chance.below(100));
    }
    let document = json!({
        "goal": "x", "tasks": tasks, "inputs": {"list": [1, 2]}, "constraints": constraints,
        "on_failure": chance.pick(&["continue", "continue", "fail_fast"]),
        "on_budget": chance.pick(&["fail", "ask"]),
    });
    checked(&document, number)
}

fn any_task(chance: &mut Chance, at: usize) -> Value {
    let needs: Vec<Value> = (0..at)
        .filter_map(|before| match chance.below(5) {
            0 => Some(json!(format!("t{before}"))),
            1 => Some(json!({"task": format!("t{before}"), "condition": "status == 'COMPLETED'"})),
            _ => None,
        })
        .collect();
    let mut task = json!({
        "id": format!("t{at}"), "tool": "noop", "depends_on": needs,
        "join": chance.pick(&["all", "all", "any"]), "allow_failure": chance.one_in(5),
        "on_recovery": chance.pick(&["rerun", "rerun", "rerun", "ask", "fail"]),
        "gate": chance.one_in(8), "timeout_seconds": 5,
        "retry": {"max_retries": chance.below(3)},
        "resource_estimate": {"tokens_out": {"low": 0, "expected": 0, "high": ATTEMPT_TOKENS}},
    });
    if chance.one_in(6) {
        task["for_each"] = json!({"in": "$[inputs].list", "max_items": 3});
    }
    task
}

fn checked(document: &Value, number: usize) -> Arc<Plan> {
    let catalog = ToolCatalog::new([ToolSpec::bare("noop")]).unwrap();
    let knowledge = EstimateBasis::default();
    let around = ValidationContext::elsewhere(&catalog, &knowledge, Timestamp(0));
    let identity = PlanIdentity {
        plan_id: PlanId(Uuid::from_u128(number as u128)),
        goal_id: GoalId::from(Uuid::nil()),
        created_at: Timestamp(0),
    };
    let validation = validate(PlanDocument::read(document).unwrap(), &around);
    Arc::new(validation.into_plan(identity, Timestamp(0), Vec::new()).unwrap())
}
