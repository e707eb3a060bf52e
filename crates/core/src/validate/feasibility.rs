//! Level 3, as far as this version goes: something must be there that can do each task.

use crate::catalog::Catalog;
use crate::error::ErrorCode;
use crate::finding::{Finding, Level};
use crate::id::TaskIndex;
use crate::plan::{PlanDocument, Structure};
use crate::task::TaskType;

pub(super) fn check(
    document: &PlanDocument,
    structure: Option<&Structure>,
    catalog: &Catalog,
    errors: &mut Vec<Finding>,
) {
    for (i, task) in document.tasks.iter().enumerate() {
        let report = |code, message: String, suggestion: &str| {
            Finding::new(code, Level::Feasibility, message)
                .task(&task.task_id)
                .field(format!("tasks[{i}]"))
                .suggest(suggestion)
        };
        match task.task_type {
            TaskType::ToolCall => {}
            TaskType::Atomic => errors.push(report(
                ErrorCode::NO_AGENTS,
                format!("task `{}` is for an agent, and none is registered", task.task_id),
                "name a tool for it: this version runs tool calls only",
            )),
            TaskType::LlmCall => errors.push(report(
                ErrorCode::CAPABILITY_MISMATCH,
                format!(
                    "task `{}` needs a model, and no model gateway is configured",
                    task.task_id
                ),
                "use a tool instead: this version runs tool calls only",
            )),
            TaskType::Compound => errors.push(report(
                ErrorCode::DECOMPOSITION_FAILED,
                format!("compound task `{}` is not decomposed", task.task_id),
                "write out its steps: this version decomposes by template only",
            )),
        }
        // The tools themselves are the only capabilities there are; one that exists is present.
        let known_tool = task.tool.as_deref().is_none_or(|tool| catalog.get(tool).is_some());
        let missing: Vec<&str> = task
            .capability_requirements
            .iter()
            .map(String::as_str)
            .filter(|need| {
                need.strip_prefix("tool:").is_none_or(|tool| catalog.get(tool).is_none())
            })
            .collect();
        if known_tool && !missing.is_empty() {
            errors.push(
                report(
                    ErrorCode::CAPABILITY_MISMATCH,
                    format!("nothing here can do `{}`", missing.join("`, `")),
                    "drop the requirement: this version has its built-in tools only",
                )
                .detail("missing", missing),
            );
        }
        check_secrets(i, structure, errors);
    }
}

fn check_secrets(i: usize, structure: Option<&Structure>, errors: &mut Vec<Finding>) {
    let Some(structure) = structure else { return };
    for binding in structure.bindings(TaskIndex(i as u32)).all() {
        binding.for_each_secret(&mut |name| {
            errors.push(
                Finding::new(
                    ErrorCode::SECRET_NOT_FOUND,
                    Level::Feasibility,
                    format!("the secret `{name}` does not exist: no secret store is configured"),
                )
                .field(format!("tasks[{i}].inputs"))
                .suggest("this version has no secret store"),
            );
        });
    }
}
