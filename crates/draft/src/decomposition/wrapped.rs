//! Plans within something else: a tool call's arguments, a JSON text within a text. Called by `answer`.

use serde_json::{Map, Value};

use super::found_steps::{count, is_list_name, plain};
use super::json;
use super::json_notes::{JsonNotes, JsonRepair};

/// The most texts within texts that are opened.
const OPENED_MAX: usize = 2;
/// The most values within each other that are looked through.
const DEPTH_MAX: usize = 6;
/// Fields of answers and tool calls that hold the plan rather than a value of their own.
const HOLDERS: [&str; 15] = [
    "toolcalls",
    "toolcall",
    "functioncall",
    "function",
    "arguments",
    "parameters",
    "input",
    "args",
    "message",
    "content",
    "text",
    "result",
    "response",
    "output",
    "answer",
];

/// The plan within a value that has to be unwrapped before it can be read.
pub(super) fn unwrapped(value: &Value) -> Option<(Value, JsonNotes)> {
    within(value, 0, 0)
}

fn within(value: &Value, depth: usize, opened: usize) -> Option<(Value, JsonNotes)> {
    if depth > DEPTH_MAX {
        return None;
    }
    match value {
        Value::String(text) => opened_text(text, depth, opened),
        Value::Array(items) => match items.as_slice() {
            [only] if only.is_object() => within(only, depth + 1, opened),
            _ => None,
        },
        Value::Object(members) => {
            let lists = members.iter().any(|(name, held)| {
                is_list_name(&plain(name)) && (held.is_array() || held.is_object())
            });
            if lists {
                // The value is the plan; at the outermost level nothing has to be done.
                let is_plan = depth > 0 && count(value) > 0;
                return is_plan.then(|| (value.clone(), JsonNotes::default()));
            }
            list_in_text(members, depth, opened).or_else(|| held(members, depth, opened))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// `{"plan": "{\"tasks\": […]}"}` and `{"goal": …, "tasks": "[…]"}`, which keeps what else the plan
/// says.
fn list_in_text(
    members: &Map<String, Value>,
    depth: usize,
    opened: usize,
) -> Option<(Value, JsonNotes)> {
    let mut lists =
        members.iter().filter(|(name, held)| is_list_name(&plain(name)) && held.is_string());
    let (name, found, notes) = lists.find_map(|(name, held)| {
        let (found, notes) = within(held, depth + 1, opened)?;
        Some((name, found, notes))
    })?;
    if !found.is_array() {
        return Some((found, notes));
    }
    let mut plan = members.clone();
    plan.insert(name.clone(), found);
    Some((Value::Object(plan), notes))
}

fn held(members: &Map<String, Value>, depth: usize, opened: usize) -> Option<(Value, JsonNotes)> {
    let mut holders = members.iter().filter(|(name, _)| HOLDERS.contains(&&*plain(name)));
    holders.find_map(|(_, held)| within(held, depth + 1, opened))
}

fn opened_text(text: &str, depth: usize, opened: usize) -> Option<(Value, JsonNotes)> {
    if opened >= OPENED_MAX || !text.trim_start().starts_with(['{', '[', '"', '`']) {
        return None;
    }
    let (value, mut notes) = json::read(text).ok()?;
    notes.repair(JsonRepair::TextInText);
    if let Some((deeper, more)) = within(&value, depth + 1, opened + 1) {
        notes.add(more);
        return Some((deeper, notes));
    }
    (count(&value) > 0).then_some((value, notes))
}
