//! `{{ name }}`: into references where values flow, into text where people read.

use serde_json::{Map, Value};

/// Rewrites a task's input: `{{ p }}` alone becomes `$[inputs].p`, inside a text `${[inputs].p}`.
/// Unknown names go to `unknown`.
pub(super) fn into_references(
    value: &mut Value,
    known: &dyn Fn(&str) -> bool,
    unknown: &mut Vec<String>,
) {
    match value {
        Value::String(text) => {
            let pieces = split(text);
            let mut rewritten = String::new();
            for piece in &pieces {
                match piece {
                    TemplatePiece::Text(s) => rewritten.push_str(s),
                    TemplatePiece::Name(name) if !known(name) => unknown.push((*name).to_owned()),
                    TemplatePiece::Name(name) if pieces.len() == 1 => {
                        rewritten = format!("$[inputs].{name}");
                    }
                    TemplatePiece::Name(name) => {
                        rewritten.push_str(&format!("${{[inputs].{name}}}"));
                    }
                }
            }
            *text = rewritten;
        }
        Value::Array(items) => items.iter_mut().for_each(|v| into_references(v, known, unknown)),
        Value::Object(map) => map.values_mut().for_each(|v| into_references(v, known, unknown)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Fills a title or description. What comes out is shown, never parsed.
pub(super) fn label(text: &mut String, parameters: &Map<String, Value>) {
    if !text.contains("{{") {
        return;
    }
    let filled = split(text)
        .iter()
        .map(|piece| match piece {
            TemplatePiece::Text(s) => (*s).to_owned(),
            TemplatePiece::Name(name) => match parameters.get(*name) {
                // Shown on terminals: nothing in it may move the cursor or begin a line.
                Some(Value::String(s)) => {
                    s.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
                }
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            },
        })
        .collect();
    *text = filled;
}

/// The names a label uses.
pub(super) fn names(text: &str) -> Vec<&str> {
    split(text)
        .into_iter()
        .filter_map(|piece| match piece {
            TemplatePiece::Name(name) => Some(name),
            TemplatePiece::Text(_) => None,
        })
        .collect()
}

/// A default with `{{ today }}` and the parameters before it filled in. The value is data like any other.
pub(super) fn default(default: &Value, bound: &Map<String, Value>, today: &str) -> Value {
    let Value::String(text) = default else { return default.clone() };
    let fill = |piece: &TemplatePiece<'_>| match piece {
        TemplatePiece::Text(text) => (*text).to_owned(),
        TemplatePiece::Name("today") => today.to_owned(),
        TemplatePiece::Name(name) => match bound.get(*name) {
            Some(Value::String(value)) => value.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        },
    };
    Value::String(split(text).iter().map(fill).collect())
}

enum TemplatePiece<'t> {
    Text(&'t str),
    Name(&'t str),
}

fn split(text: &str) -> Vec<TemplatePiece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        let Some(length) = rest[open..].find("}}") else { break };
        let name = rest[open + 2..open + length].trim();
        let is_name =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            break;
        }
        if open > 0 {
            pieces.push(TemplatePiece::Text(&rest[..open]));
        }
        pieces.push(TemplatePiece::Name(name));
        rest = &rest[open + length + 2..];
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(TemplatePiece::Text(rest));
    }
    pieces
}
