//! A step's own fields: its id, its name, its arguments. Called by `steps`.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::found_steps::{IDS, NAMES};
use super::json;

/// A name is a title: the rest of a long text is the description.
const NAME_MAX_CHARS: usize = 120;

/// The id, where there is one: a number or a word; `step` and `task` may be titles instead.
pub(super) fn take_id(
    fields: &[(String, &str, &Value)],
    used: &mut HashSet<usize>,
) -> Option<String> {
    for wanted in IDS {
        let Some(at) = fields.iter().position(|(short, ..)| short == wanted) else { continue };
        let id = match fields[at].2 {
            Value::Number(number) => number.to_string(),
            Value::String(text) => {
                let text = text.trim();
                let is_title = wanted == "step" && text.contains(char::is_whitespace);
                if text.is_empty() || is_title {
                    continue;
                }
                text.to_owned()
            }
            _ => continue,
        };
        used.insert(at);
        return Some(id);
    }
    None
}

/// Name, description and action, from whatever holds the words.
pub(super) fn take_name(
    fields: &[(String, &str, &Value)],
    used: &mut HashSet<usize>,
    out: &mut Map<String, Value>,
) {
    let mut texts = Vec::new();
    for wanted in NAMES {
        let Some(at) = fields.iter().position(|(short, ..)| short == wanted) else { continue };
        let Some(text) = fields[at].2.as_str().filter(|_| !used.contains(&at)) else { continue };
        used.insert(at);
        match wanted {
            "action" => {
                out.insert("action".to_owned(), json!(text));
            }
            _ => texts.push((wanted, text)),
        }
    }
    let first = texts.iter().position(|(wanted, _)| *wanted != "description");
    let name = match first {
        Some(at) => texts.remove(at).1.to_owned(),
        None if !texts.is_empty() => texts.remove(0).1.to_owned(),
        None => match out.get("action").and_then(Value::as_str) {
            Some(action) => action.to_owned(),
            None => return,
        },
    };
    // Whatever else is said of the step describes it.
    let rest: Vec<&str> =
        texts.iter().map(|(_, text)| *text).filter(|text| *text != name).collect();
    let description = (!rest.is_empty()).then(|| rest.join("\n"));
    name_and_description(out, &name, description.as_deref());
}

pub(super) fn name_and_description(
    out: &mut Map<String, Value>,
    text: &str,
    description: Option<&str>,
) {
    let text = text.trim();
    let is_short = text.chars().count() <= NAME_MAX_CHARS;
    let name: String = if is_short {
        text.to_owned()
    } else {
        text.chars().take(NAME_MAX_CHARS - 1).chain(['…']).collect()
    };
    out.insert("name".to_owned(), json!(name));
    let whole = match (is_short, description) {
        (true, told) => told.map(ToOwned::to_owned),
        (false, None) => Some(text.to_owned()),
        (false, Some(told)) => Some(format!("{text}\n{told}")),
    };
    if let Some(whole) = whole {
        out.insert("description".to_owned(), json!(whole));
    }
}

/// True for arguments in a text that breaks off.
pub(super) fn ends_within_value(value: &Value) -> bool {
    let text = value.as_str().filter(|text| text.trim_start().starts_with('{'));
    text.and_then(|text| json::read(text).ok()).is_some_and(|(_, notes)| notes.is_cut)
}

/// Arguments by name: an object, an object in a text, or a list of `{name, value}`.
pub(super) fn inputs_of(value: &Value) -> Option<Value> {
    match value {
        Value::Object(_) => Some(value.clone()),
        Value::String(text) if text.trim_start().starts_with('{') => {
            json::read(text).ok().map(|(value, _)| value).filter(Value::is_object)
        }
        Value::Array(items) if !items.is_empty() => {
            let named = items.iter().map(|item| {
                let item = item.as_object()?;
                let name = item.get("name").or(item.get("key"))?.as_str()?;
                Some((name.to_owned(), item.get("value")?.clone()))
            });
            let named: Vec<(String, Value)> = named.collect::<Option<_>>()?;
            // Of two with one name, an object would lose the first.
            let names: HashSet<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
            (names.len() == named.len()).then(|| Value::Object(named.into_iter().collect()))
        }
        _ => None,
    }
}
