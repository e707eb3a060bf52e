//! Texts that look as if they were to hold a task's output and do not: references inside other text without
//! their braces, and the placeholders of other engines. They stay as they are, so somebody is told.

use serde_json::Value;

use crate::catalog::ToolCatalog;
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::id::TaskIndex;
use crate::json_schema::LITERAL_KEYWORD;
use crate::plan::{PlanDocument, PlanStructure};
use crate::reference::{InputBinding, TextPiece};
use crate::task::Task;

/// Words that other engines put before a task's name, or behind it.
const OTHER_WORDS: [&str; 8] =
    ["tasks", "steps", "task", "step", "nodes", "outputs", "output", "results"];

pub(super) fn check(
    document: &PlanDocument,
    structure: &PlanStructure,
    catalog: &ToolCatalog,
    warnings: &mut Vec<Finding>,
) {
    for (i, task) in document.tasks.iter().enumerate() {
        let bindings = structure.bindings(TaskIndex(i as u32));
        let inputs = bindings.inputs.iter().filter(|(name, _)| !is_program(task, name, catalog));
        let named = inputs.map(|(name, binding)| (Some(name), binding));
        let prompt = bindings.prompt.iter().map(|prompt| (None, prompt));
        for (name, binding) in named.chain(prompt) {
            let mut found = None;
            each_text(binding, &mut |text| {
                found = found.take().or_else(|| near_reference(text, document, structure));
            });
            let Some(NearReference { written, meant }) = found else { continue };
            let field = name.map_or("prompt".to_owned(), |name| format!("inputs.{name}"));
            let message = format!(
                "`{written}` in `{field}` of task `{}` is no reference and stays as it is",
                task.task_id
            );
            warnings.push(
                Finding::new(ErrorCode::ReferenceUnresolved, ValidationLevel::Semantic, message)
                    .task(&task.task_id)
                    .field(format!("tasks[{i}].{field}"))
                    .suggest(format!("write `{meant}` to have the value there")),
            );
        }
    }
}

struct NearReference {
    written: String,
    meant: String,
}

/// An input that is a program has placeholders of its own.
fn is_program(task: &Task, input: &str, catalog: &ToolCatalog) -> bool {
    let tool = task.tool.as_deref().and_then(|name| catalog.get(name));
    let schema =
        tool.and_then(|tool| tool.spec.input_schema.as_ref()?.get("properties")?.get(input));
    schema.is_some_and(|schema| schema.get(LITERAL_KEYWORD) == Some(&Value::Bool(true)))
}

/// Every text that is passed on as it is written.
fn each_text(binding: &InputBinding, visit: &mut dyn FnMut(&str)) {
    match binding {
        InputBinding::Literal(value) => each_literal(value, visit),
        InputBinding::Text(pieces) => {
            for piece in pieces {
                match piece {
                    TextPiece::Text(text) => visit(text),
                    TextPiece::Reference(_) => {}
                }
            }
        }
        InputBinding::List(items) => items.iter().for_each(|item| each_text(item, visit)),
        InputBinding::Map(entries) => entries.iter().for_each(|(_, item)| each_text(item, visit)),
        InputBinding::Whole(_) | InputBinding::Secret(_) => {}
    }
}

fn each_literal(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| each_literal(item, visit)),
        Value::Object(map) => map.values().for_each(|item| each_literal(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The first place of a text that names a task of the plan as a reference would.
fn near_reference(
    text: &str,
    document: &PlanDocument,
    structure: &PlanStructure,
) -> Option<NearReference> {
    let is_task = |id: &str| structure.index_of(id).is_some();
    let is_input = |name: &str| document.inputs.contains_key(name);
    // `… $[a].output.x …`: the form of a whole value inside other text.
    // At the beginning it was written as `$$[`, on purpose.
    for (at, _) in text.match_indices("$[").filter(|(at, _)| *at > 0) {
        let rest = &text[at + 2..];
        let Some((id, behind)) = rest.split_once(']') else { continue };
        let path: String =
            behind.chars().take_while(|c| c.is_alphanumeric() || "._-[]".contains(*c)).collect();
        let path = path.trim_end_matches(['.', '-']);
        let known = is_task(id) && (path.starts_with(".output") || path.starts_with(".error"));
        if known || (id == "inputs" && path.starts_with('.')) {
            let written = format!("$[{id}]{path}");
            let meant = format!("${{[{id}]{path}}}");
            return Some(NearReference { written, meant });
        }
    }
    // `{{ a.output.x }}`, `${a.output.x}`, `${{ tasks.a.output }}`, `<a.output>`.
    for (open, close) in [("${{", "}}"), ("{{", "}}"), ("${", "}"), ("{", "}"), ("<", ">")] {
        for (at, _) in text.match_indices(open) {
            let rest = &text[at + open.len()..];
            // So was `$${[`.
            if rest.starts_with('[') {
                continue;
            }
            let Some(end) = rest.find(close) else { continue };
            let inside = rest[..end].trim();
            let mut words = inside
                .split(['.', '[', ']'])
                .map(|w| w.trim_matches(['\'', '"']))
                .filter(|w| !w.is_empty());
            let Some(first) = words.next() else { continue };
            let (id, next) = if OTHER_WORDS.contains(&first) && !is_task(first) {
                (words.next().unwrap_or_default(), words.next())
            } else {
                (first, words.next())
            };
            let written = format!("{open}{}{close}", &rest[..end]);
            if first == "inputs" && next.is_some_and(is_input) {
                let name = next.unwrap_or_default();
                return Some(NearReference { written, meant: format!("${{[inputs].{name}}}") });
            }
            // A task's name alone is a word; with a word of an engine before or behind it is meant.
            let meant =
                OTHER_WORDS.contains(&first) || next.is_some_and(|w| OTHER_WORDS.contains(&w));
            if is_task(id) && meant {
                let path: Vec<&str> = words.collect();
                let path =
                    if path.is_empty() { String::new() } else { format!(".{}", path.join(".")) };
                return Some(NearReference { written, meant: format!("${{[{id}].output{path}}}") });
            }
        }
    }
    None
}
