//! Level 4: forbidden and destructive tools, and secrets in plain sight. Signatures are checked
//! where signed plans are opened, sizes and depths at level 1, agent types with the agents.

use super::ValidationContext;
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::plan::{PlanDocument, PlanStructure};
use crate::secrets::{is_secret_name, looks_like_a_key};
use serde_json::json;

pub(super) fn check(
    document: &PlanDocument,
    structure: Option<&PlanStructure>,
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
        if structure.is_none() {
            continue;
        }
        for (name, value) in &task.inputs {
            let Some(text) = value.as_str().filter(|s| !s.is_empty()) else { continue };
            let named = is_secret_name(name);
            let bound = text.starts_with("secret://") || text.starts_with("$[");
            if (named && !bound) || looks_like_a_key(text) {
                let message = format!(
                    "input `{name}` of task `{}` looks like a secret in plain text",
                    task.task_id
                );
                warnings.push(
                    Finding::new(
                        ErrorCode::SecurityCheckFailed,
                        ValidationLevel::Security,
                        message,
                    )
                    .task(&task.task_id)
                    .field(format!("tasks[{i}].inputs.{name}"))
                    .suggest("keep it in a secret store and write `secret://name`"),
                );
            }
        }
    }
}
