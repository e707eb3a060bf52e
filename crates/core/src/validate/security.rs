//! Level 4: forbidden and destructive tools, and secrets in plain sight. Signatures are checked
//! where signed plans are opened, sizes and depths at level 1, agent types with the agents.

use super::ValidationContext;
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::plan::PlanDocument;
use crate::secrets::{is_secret_name, looks_like_a_key};
use serde_json::{Value, json};

pub(super) fn check(
    document: &PlanDocument,
    around: &ValidationContext<'_>,
    errors: &mut Vec<Finding>,
    warnings: &mut Vec<Finding>,
) {
    let catalog = around.catalog;
    let forbidden = &document.constraints.forbidden_tools;
    for (i, task) in document.tasks.iter().enumerate() {
        if let Some(tool) = task.tool.as_ref().filter(|tool| forbidden.contains(tool)) {
            let message = format!("task `{}` uses `{tool}`, which the goal forbids", task.task_id);
            errors.push(
                Finding::new(ErrorCode::ToolForbidden, ValidationLevel::Security, message)
                    .task(&task.task_id)
                    .field(format!("tasks[{i}].tool"))
                    .detail("conflict", json!({
                        "constraints": ["forbidden_tools"], "tasks": [task.task_id], "tools": [tool],
                    })),
            );
        }
        let known = task.tool.as_deref().and_then(|tool| catalog.get(tool));
        let asked = task.asks_first() || around.limits.approval.destructive;
        let unasked = known.filter(|_| !asked);
        if let Some(tool) = unasked.filter(|tool| tool.spec.destructive) {
            let message = format!(
                "task `{}` uses `{}`, which may destroy what was there, and nobody is asked",
                task.task_id, tool.spec.name
            );
            warnings.push(
                Finding::new(ErrorCode::SecurityCheckFailed, ValidationLevel::Security, message)
                    .task(&task.task_id)
                    .field(format!("tasks[{i}].tool"))
                    .suggest("give the task `gate: true`, or turn approvals.destructive on"),
            );
        }
        for (name, value) in &task.inputs {
            let whose = format!("task `{}`", task.task_id);
            let place = format!("tasks[{i}].inputs.{name}");
            find_secrets(name, value, &place, &whose, &mut |warning| {
                warnings.push(warning.task(&task.task_id));
            });
        }
    }
    for (name, value) in &document.inputs {
        let place = format!("inputs.{name}");
        find_secrets(name, value, &place, "the plan", &mut |warning| warnings.push(warning));
    }
}

/// Tells each text that its name or its look gives away as a secret, at any depth. `name` is that of the
/// value, or of the list that it stands in.
fn find_secrets(
    name: &str,
    value: &Value,
    place: &str,
    whose: &str,
    tell: &mut dyn FnMut(Finding),
) {
    match value {
        Value::String(text) if !text.is_empty() => {
            let bound = text.starts_with("secret://") || text.starts_with("$[");
            if (is_secret_name(name) && !bound) || looks_like_a_key(text) {
                let message =
                    format!("input `{name}` of {whose} looks like a secret in plain text");
                tell(
                    Finding::new(
                        ErrorCode::SecurityCheckFailed,
                        ValidationLevel::Security,
                        message,
                    )
                    .field(place)
                    .suggest("keep it in a secret store and write `secret://name`"),
                );
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                find_secrets(name, item, &format!("{place}[{i}]"), whose, tell);
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                find_secrets(name, value, &format!("{place}.{name}"), whose, tell);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
