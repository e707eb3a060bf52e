//! DATA dependencies that name an output (`output_key`): it becomes an input of the task, under its last name, where the
//! task has no input of that name and its tool takes one. Everywhere else it must only be there when the task starts.

use serde_json::Value;

use crate::catalog::ToolCatalog;
use crate::plan::PlanDocument;
use crate::reference::{PathStep, Reference, ReferencePath};
use crate::task::{Task, TaskType};

/// Adds the inputs that DATA dependencies stand for.
pub(super) fn bind(document: &mut PlanDocument, catalog: &ToolCatalog) {
    for task in &mut document.tasks {
        let named: Vec<Reference> =
            task.dependencies.iter().filter_map(|d| d.named_output()?.ok()).collect();
        for reference in named {
            let Some(name) = last_name(&reference) else { continue };
            let text = reference.to_string();
            if !task.inputs.contains_key(name) && !uses(task, &text) && takes(task, name, catalog) {
                task.inputs.insert(name.to_owned(), Value::String(text));
            }
        }
    }
}

fn last_name(reference: &Reference) -> Option<&str> {
    let ReferencePath::Singular(steps) = &reference.path else { return None };
    match steps.last()? {
        PathStep::Name(name) => Some(name),
        PathStep::Index(_) => None,
    }
}

/// True if an input, or the prompt, has the output already.
fn uses(task: &Task, text: &str) -> bool {
    let stands = |value: &Value| value.to_string().contains(text);
    task.inputs.values().any(stands) || task.prompt.as_ref().is_some_and(|p| p.contains(text))
}

/// True if a task takes an input of that name: a tool must have it, agents take what they are given.
fn takes(task: &Task, name: &str, catalog: &ToolCatalog) -> bool {
    match task.task_type {
        TaskType::Atomic => true,
        TaskType::LlmCall | TaskType::Compound => false,
        TaskType::ToolCall => {
            let tool = task.tool.as_deref().and_then(|tool| catalog.get(tool));
            let schema = tool.and_then(|tool| tool.spec.input_schema.as_ref());
            schema
                .is_some_and(|schema| schema.get("properties").and_then(|p| p.get(name)).is_some())
        }
    }
}
