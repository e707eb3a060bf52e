//! Level 4, as far as this version goes: forbidden tools, and secrets in plain sight.

use crate::error::ErrorCode;
use crate::finding::{Finding, Level};
use crate::plan::{PlanDocument, Structure};
use serde_json::Value;

/// Names of fields that hold secrets (spec 04, 4.3).
const SECRET_NAMES: [&str; 6] = ["password", "token", "key", "secret", "api_key", "credentials"];

pub(super) fn check(
    document: &PlanDocument,
    structure: Option<&Structure>,
    errors: &mut Vec<Finding>,
    warnings: &mut Vec<Finding>,
) {
    let forbidden = &document.constraints.forbidden_tools;
    for (i, task) in document.tasks.iter().enumerate() {
        if let Some(tool) = task.tool.as_ref().filter(|tool| forbidden.contains(tool)) {
            let message = format!("task `{}` uses `{tool}`, which the goal forbids", task.task_id);
            errors.push(
                Finding::new(ErrorCode::TOOL_FORBIDDEN, Level::Security, message)
                    .task(&task.task_id)
                    .field(format!("tasks[{i}].tool")),
            );
        }
        if structure.is_none() {
            continue;
        }
        for (name, value) in &task.inputs {
            let secret_like = SECRET_NAMES.contains(&name.to_ascii_lowercase().as_str());
            let plain =
                value.as_str().is_some_and(|s| !s.starts_with("secret://") && !s.starts_with("$["));
            if secret_like && plain && *value != Value::String(String::new()) {
                let message = format!(
                    "input `{name}` of task `{}` looks like a secret in plain text",
                    task.task_id
                );
                warnings.push(
                    Finding::new(ErrorCode::SECURITY_CHECK_FAILED, Level::Security, message)
                        .task(&task.task_id)
                        .field(format!("tasks[{i}].inputs.{name}"))
                        .suggest("keep it in a secret store and write `secret://name`"),
                );
            }
        }
    }
}
