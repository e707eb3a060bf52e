//! Level 1: ids, names, ranges, sizes, schemas.

use serde_json::Value;

use super::{PlanLimits, ValidationContext, ValidationStats, names};
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::goal::INTEGER_MAX;
use crate::json_schema::compile_schema;
use crate::plan::{GOAL_MAX_CHARS, PlanDocument};
use crate::reference::RESERVED_IDS;
use crate::reference::Reference;
use crate::task::{Join, Task, TaskType};

/// The longest task id and tool name, in characters.
const NAME_MAX_CHARS: usize = 128;
/// The depth to which values in a plan may nest.
const VALUE_DEPTH_MAX: usize = 64;
/// The longest text in a plan, in bytes; larger things are files.
const TEXT_MAX_BYTES: usize = 1 << 20;

pub(super) fn check(
    document: &PlanDocument,
    around: &ValidationContext<'_>,
    errors: &mut Vec<Finding>,
) {
    check_size(document, around.limits, errors);
    check_label(&document.goal, errors);
    errors.extend(document.constraints.check(around.now));
    for (name, value) in &document.inputs {
        check_value(value, &format!("inputs.{name}"), None, errors);
    }
    for (i, task) in document.tasks.iter().enumerate() {
        check_task(task, i, errors);
    }
    names::check(document, errors);
}

fn check_size(document: &PlanDocument, limits: PlanLimits, errors: &mut Vec<Finding>) {
    let written = document.tasks.len();
    // A list that stands in the plan counts as it is.
    let known = |list: &str| {
        let list = Reference::parse(list).ok()?;
        Some(document.known_list(&list)?.len() as u64)
    };
    let items = document.tasks.iter().filter_map(|task| task.for_each.as_ref());
    let items = items.map(|each| known(&each.list).unwrap_or(u64::MAX).min(each.max_items));
    let items: u64 = items.sum();
    let tasks = written.saturating_add(usize::try_from(items).unwrap_or(usize::MAX));
    if tasks == 0 || tasks > limits.tasks_max {
        let counted = match items {
            0 => String::new(),
            _ => format!(" ({written} written out, and {items} items of for_each)"),
        };
        let message =
            format!("the plan has {tasks} tasks{counted}; 1 to {} are allowed", limits.tasks_max);
        errors.push(
            Finding::new(ErrorCode::PlanSizeInvalid, ValidationLevel::Syntax, message)
                .field("tasks")
                .detail("tasks", tasks)
                .detail("tasks_max", limits.tasks_max),
        );
    }
}

/// The complexity score, which needs the graph.
pub(super) fn check_complexity(
    stats: &ValidationStats,
    limits: PlanLimits,
    errors: &mut Vec<Finding>,
) {
    let complexity_max = limits.complexity_max;
    if stats.complexity > complexity_max {
        let message =
            format!("the complexity score is {}; the limit is {complexity_max}", stats.complexity);
        errors.push(
            Finding::new(ErrorCode::PlanTooComplex, ValidationLevel::Syntax, message)
                .detail("complexity", stats.complexity)
                .detail("complexity_max", complexity_max),
        );
    }
}

fn check_label(goal: &str, errors: &mut Vec<Finding>) {
    let malformed = |message: String| {
        Finding::new(ErrorCode::PlanMalformed, ValidationLevel::Syntax, message).field("goal")
    };
    let chars = goal.chars().count();
    if goal.trim().is_empty() || chars > GOAL_MAX_CHARS {
        errors
            .push(malformed(format!("has {chars} characters; 1 to {GOAL_MAX_CHARS} are allowed")));
    }
    if let Some(control) = goal.chars().find(|c| c.is_control() && !"\n\r\t".contains(*c)) {
        errors.push(malformed(format!("has the control character {}", control.escape_unicode())));
    }
}

fn check_task(task: &Task, i: usize, errors: &mut Vec<Finding>) {
    let mut report = |field: &str, message: String| {
        errors.push(
            Finding::new(ErrorCode::PlanMalformed, ValidationLevel::Syntax, message)
                .task(&task.task_id)
                .field(format!("tasks[{i}].{field}")),
        );
    };
    if let Some(message) = id_problem(&task.task_id) {
        report("task_id", message);
    }
    if task.cancel_others && task.join != Join::Any {
        let message = "does nothing without `join: any`: all others are needed".to_owned();
        report("cancel_others", message);
    }
    if let Some(message) = task.tool.as_deref().and_then(tool_problem) {
        report("tool", message);
    }
    let required = match task.task_type {
        TaskType::ToolCall if task.tool.is_none() => Some("tool"),
        TaskType::LlmCall if task.prompt.is_none() => Some("prompt"),
        TaskType::Compound if task.goal.is_none() => Some("goal"),
        TaskType::ToolCall | TaskType::LlmCall | TaskType::Compound | TaskType::Atomic => None,
    };
    if let Some(field) = required {
        report(field, format!("is missing; a {} task has one", task.task_type));
    }
    let model = task.metadata.get("model").filter(|_| task.task_type == TaskType::LlmCall);
    if model.is_some_and(|model| !model.is_string()) {
        report("metadata.model", "must be the name of a model, in text".to_owned());
    }
    if let Some(range) = &task.agent_version_constraint
        && let Err(error) = semver::VersionReq::parse(range)
    {
        report("agent_version_constraint", format!("`{range}` is no semver range: {error}"));
    }
    for (field, schema) in
        [("input_schema", &task.input_schema), ("output_schema", &task.output_schema)]
    {
        if let Some(Err(why)) = schema.as_ref().map(compile_schema) {
            report(field, format!("is not a JSON Schema: {why}"));
        }
    }
    for (name, value) in &task.inputs {
        check_value(value, &format!("tasks[{i}].inputs.{name}"), Some(&task.task_id), errors);
    }
}

fn id_problem(id: &str) -> Option<String> {
    if RESERVED_IDS.contains(&id) {
        return Some(format!("`{id}` is reserved: references use it for something else"));
    }
    let chars = id.chars().count();
    if chars == 0 || chars > NAME_MAX_CHARS {
        return Some(format!("has {chars} characters; 1 to {NAME_MAX_CHARS} are allowed"));
    }
    let bad = id.chars().find(|c| c.is_control() || "[]{}$\"'`".contains(*c));
    if let Some(c) = bad {
        return Some(format!("has the character `{}`, which references use", c.escape_debug()));
    }
    if let Some(c) = names::invisible(id) {
        return Some(format!("has the invisible character U+{:04X}", u32::from(c)));
    }
    (id.trim() != id).then(|| "begins or ends with white space".to_owned())
}

fn tool_problem(tool: &str) -> Option<String> {
    let chars = tool.chars().count();
    if chars == 0 || chars > NAME_MAX_CHARS {
        return Some(format!("has {chars} characters; 1 to {NAME_MAX_CHARS} are allowed"));
    }
    let control = tool.chars().find(|c| c.is_control())?;
    Some(format!("has the control character {}", control.escape_unicode()))
}

/// Numbers that JSON readers keep exactly, texts of bounded length, bounded depth.
fn check_value(value: &Value, path: &str, task: Option<&str>, errors: &mut Vec<Finding>) {
    let mut report = |path: &str, message: String, suggestion: &str| {
        let mut finding = Finding::new(ErrorCode::PlanMalformed, ValidationLevel::Syntax, message)
            .field(path)
            .suggest(suggestion);
        finding.task = task.map(str::to_owned);
        errors.push(finding);
    };
    // An explicit stack: the depth limit is a finding, not a stack overflow.
    let mut stack = vec![(value, path.to_owned(), 0usize)];
    while let Some((value, path, depth)) = stack.pop() {
        if depth > VALUE_DEPTH_MAX {
            report(&path, format!("nests deeper than {VALUE_DEPTH_MAX}"), "pass deep data by file");
            return;
        }
        match value {
            Value::Number(number) if is_inexact(number) => {
                report(
                    &path,
                    format!("{number} is beyond what JSON readers keep exactly"),
                    "write it as a string",
                );
            }
            Value::String(text) if text.len() > TEXT_MAX_BYTES => {
                let message =
                    format!("is {} bytes long; at most {TEXT_MAX_BYTES} are allowed", text.len());
                report(&path, message, "pass large data by file");
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                stack.extend(items.map(|(i, item)| (item, format!("{path}[{i}]"), depth + 1)));
            }
            Value::Object(map) => {
                stack.extend(map.iter().map(|(key, v)| (v, format!("{path}.{key}"), depth + 1)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn is_inexact(number: &serde_json::Number) -> bool {
    match (number.as_u64(), number.as_i64()) {
        (Some(n), _) => n > INTEGER_MAX,
        (None, Some(n)) => n.unsigned_abs() > INTEGER_MAX,
        // A float without a fraction beyond 2^53 was written as an integer that did not fit.
        (None, None) => {
            number.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() > INTEGER_MAX as f64)
        }
    }
}
