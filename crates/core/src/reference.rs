//! References: how an input names an earlier task's output.
//!
//! ```text
//! $[fetch].output.rows[0].name     the whole value is that output
//! "… ${[fetch].output.title} …"    inside a text
//! $[inputs].file                   a value of the plan's own inputs
//! $[fetch].error                   why a task with allow_failure failed
//! secret://name#key                a secret (the whole value)
//! ```
//!
//! Behind `output` stands an RFC 9535 JSONPath without its `$`. A path of names and indices alone
//! yields one value and it is an error when it is not there; any other path yields the list of
//! what it matches. `$$[` and `$${[` are the texts `$[` and `${[` themselves, and a JSONPath such as `$[0]` or
//! `$[?@.a]` is a text, too.

mod path;

use std::fmt;

use serde_json::{Map, Value};

pub(crate) use path::follow;
use path::parse_path;
pub use path::{PathStep, ReferencePath};

/// The source named in the brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReferenceSource {
    /// `$[inputs]`: the plan's inputs.
    Inputs,
    /// `$[id].output`
    Output(String),
    /// `$[id].error`
    Error(String),
    /// `$[item]`, inside a fan-out.
    Item,
    /// `$[index]`, inside a fan-out.
    Index,
}

/// Ids that mean something else inside the brackets.
pub const RESERVED_IDS: [&str; 3] = ["inputs", "item", "index"];

/// A parsed reference with the text it was written as.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The document that it points into.
    pub source: ReferenceSource,
    /// The path in it.
    pub path: ReferencePath,
    text: String,
}

/// A value with references in it, parsed once.
#[derive(Clone, Debug)]
pub enum InputBinding {
    /// No reference anywhere inside.
    Literal(Value),
    /// The value is what the reference yields.
    Whole(Reference),
    /// A text with references in it.
    Text(Vec<TextPiece>),
    /// A list of which some items have references.
    List(Vec<InputBinding>),
    /// A mapping of which some values have references.
    Map(Vec<(String, InputBinding)>),
    /// A secret.
    Secret(String),
}

/// A part of an interpolated text.
#[derive(Clone, Debug)]
pub enum TextPiece {
    /// As it is.
    Text(String),
    /// The reference's value, as text.
    Reference(Reference),
}

/// The place of a value, written out only when there is something to say of it.
#[derive(Clone, Copy, Debug)]
pub enum ReferencePlace<'p> {
    /// A field of the task.
    Field(&'p str),
    /// A value of a mapping.
    Key(&'p ReferencePlace<'p>, &'p str),
    /// An item of a list.
    Item(&'p ReferencePlace<'p>, usize),
}

impl<'p> ReferencePlace<'p> {
    /// The place of a mapping's value.
    pub fn key(&'p self, key: &'p str) -> ReferencePlace<'p> {
        ReferencePlace::Key(self, key)
    }
}

impl fmt::Display for ReferencePlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReferencePlace::Field(name) => f.write_str(name),
            ReferencePlace::Key(parent, key) => write!(f, "{parent}.{key}"),
            ReferencePlace::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The reason for which a text is no reference.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("`{}` is not a reference: {why}", crate::finding::brief(text))]
pub struct ReferenceError {
    text: String,
    why: String,
}

/// The reason for which a reference yields nothing.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("`{reference}` finds nothing at `{at}`{}", if nearest.is_empty() { String::new() } else { format!("; there is {}", nearest.join(", ")) })]
pub struct UnresolvedReference {
    /// The whole reference as written.
    pub reference: String,
    /// The step that failed.
    pub at: String,
    /// The nearest existing keys.
    pub nearest: Vec<String>,
}

impl Reference {
    /// Parses a text that begins with `$[` and is one reference to its end.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        let fail = |why: String| ReferenceError { text: text.to_owned(), why };
        let inner =
            text.strip_prefix("$[").ok_or_else(|| fail("it must begin with `$[`".to_owned()))?;
        let (id, rest) = inner
            .split_once(']')
            .ok_or_else(|| fail("the `]` behind the id is missing".to_owned()))?;
        let id = id.trim().trim_matches(['\'', '"']);
        if id.is_empty() {
            return Err(fail("there is no id in the brackets".to_owned()));
        }
        let (source, rest) = match id {
            "inputs" => (ReferenceSource::Inputs, rest),
            "item" => (ReferenceSource::Item, rest),
            "index" => (ReferenceSource::Index, rest),
            task => {
                if let Some(rest) = strip_word(rest, ".output") {
                    (ReferenceSource::Output(task.to_owned()), rest)
                } else if let Some(rest) = strip_word(rest, ".error") {
                    (ReferenceSource::Error(task.to_owned()), rest)
                } else {
                    return Err(fail(format!("`.output` must follow `[{task}]`")));
                }
            }
        };
        let path = parse_path(rest).map_err(fail)?;
        Ok(Reference { source, path, text: text.to_owned() })
    }

    /// The task it points at, if it does.
    pub fn task(&self) -> Option<&str> {
        match &self.source {
            ReferenceSource::Output(task) | ReferenceSource::Error(task) => Some(task),
            ReferenceSource::Inputs | ReferenceSource::Item | ReferenceSource::Index => None,
        }
    }

    /// The path alone, as it is written.
    pub fn path_text(&self) -> &str {
        self.text.split_once(']').map_or("", |(_, rest)| rest)
    }

    /// True if following the path takes no more than the value it leads into; any other reference is evaluated where
    /// it can be stopped ([`Reference::json_path`]).
    pub fn is_small(&self) -> bool {
        match &self.path {
            ReferencePath::Singular(_) => true,
            ReferencePath::Query { is_small, .. } => *is_small,
        }
    }

    /// The path as a JSONPath, with its `$`.
    pub fn json_path(&self) -> String {
        let behind = self.path_text();
        let path = match &self.source {
            ReferenceSource::Output(_) => behind.strip_prefix(".output"),
            ReferenceSource::Error(_) => behind.strip_prefix(".error"),
            ReferenceSource::Inputs | ReferenceSource::Item | ReferenceSource::Index => None,
        };
        format!("${}", path.unwrap_or(behind))
    }

    /// Follows the path into `value`.
    pub fn resolve(&self, value: &Value) -> Result<Value, UnresolvedReference> {
        match &self.path {
            ReferencePath::Singular(steps) => {
                follow(value, steps).cloned().map_err(|(at, nearest)| UnresolvedReference {
                    reference: self.text.clone(),
                    at,
                    nearest,
                })
            }
            ReferencePath::Query { path, .. } => {
                Ok(path.query(value).into_iter().cloned().collect())
            }
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl InputBinding {
    /// Parses all references in a value that stands at `place`. Errors come with the path of the
    /// offending text.
    pub fn parse(
        value: &Value,
        place: &ReferencePlace<'_>,
        errors: &mut Vec<(String, ReferenceError)>,
    ) -> InputBinding {
        match value {
            Value::String(text) => parse_text(text).unwrap_or_else(|error| {
                errors.push((place.to_string(), error));
                InputBinding::Literal(value.clone())
            }),
            Value::Array(items) => {
                let bindings: Vec<InputBinding> = items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| {
                        InputBinding::parse(item, &ReferencePlace::Item(place, i), errors)
                    })
                    .collect();
                if bindings.iter().all(InputBinding::is_untouched) {
                    return InputBinding::Literal(value.clone());
                }
                InputBinding::List(bindings)
            }
            Value::Object(map) => {
                let bindings: Vec<(String, InputBinding)> = map
                    .iter()
                    .map(|(key, v)| (key.clone(), InputBinding::parse(v, &place.key(key), errors)))
                    .collect();
                if bindings.iter().all(|(_, binding)| binding.is_untouched()) {
                    return InputBinding::Literal(value.clone());
                }
                InputBinding::Map(bindings)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => InputBinding::Literal(value.clone()),
        }
    }

    /// A literal that stands as it was written; an unescaped text is a literal that does not.
    fn is_untouched(&self) -> bool {
        match self {
            InputBinding::Literal(Value::String(text)) => {
                !text.contains("$[") && !text.contains("${[")
            }
            InputBinding::Literal(_) => true,
            _ => false,
        }
    }

    /// True if the value is the same for every run.
    pub fn is_literal(&self) -> bool {
        match self {
            InputBinding::Literal(_) => true,
            InputBinding::Whole(_) | InputBinding::Text(_) | InputBinding::Secret(_) => false,
            InputBinding::List(items) => items.iter().all(InputBinding::is_literal),
            InputBinding::Map(entries) => entries.iter().all(|(_, b)| b.is_literal()),
        }
    }

    /// True if anything inside is known only while the plan runs. The plan's own inputs are not:
    /// they are part of what is signed.
    pub fn is_late(&self) -> bool {
        let late = |reference: &Reference| reference.source != ReferenceSource::Inputs;
        match self {
            InputBinding::Literal(_) => false,
            InputBinding::Secret(_) => true,
            InputBinding::Whole(reference) => late(reference),
            InputBinding::Text(pieces) => pieces.iter().any(|piece| match piece {
                TextPiece::Reference(reference) => late(reference),
                TextPiece::Text(_) => false,
            }),
            InputBinding::List(items) => items.iter().any(InputBinding::is_late),
            InputBinding::Map(entries) => entries.iter().any(|(_, b)| b.is_late()),
        }
    }

    /// Calls `visit` for each reference inside.
    pub fn for_each_reference<'b>(&'b self, visit: &mut impl FnMut(&'b Reference)) {
        match self {
            InputBinding::Literal(_) | InputBinding::Secret(_) => {}
            InputBinding::Whole(reference) => visit(reference),
            InputBinding::Text(pieces) => {
                for piece in pieces {
                    match piece {
                        TextPiece::Reference(reference) => visit(reference),
                        TextPiece::Text(_) => {}
                    }
                }
            }
            InputBinding::List(items) => items.iter().for_each(|b| b.for_each_reference(visit)),
            InputBinding::Map(entries) => {
                entries.iter().for_each(|(_, b)| b.for_each_reference(visit));
            }
        }
    }

    /// Calls `visit` for each secret inside.
    pub fn for_each_secret<'b>(&'b self, visit: &mut impl FnMut(&'b str)) {
        match self {
            InputBinding::Secret(name) => visit(name),
            InputBinding::Literal(_) | InputBinding::Whole(_) | InputBinding::Text(_) => {}
            InputBinding::List(items) => items.iter().for_each(|b| b.for_each_secret(visit)),
            InputBinding::Map(entries) => {
                entries.iter().for_each(|(_, b)| b.for_each_secret(visit));
            }
        }
    }

    /// The value with every reference replaced by what `lookup` gives for it.
    pub fn resolve<E>(
        &self,
        lookup: &mut impl FnMut(&Reference) -> Result<Value, E>,
    ) -> Result<Value, E> {
        Ok(match self {
            InputBinding::Literal(value) => value.clone(),
            // Sealed later, by the context; the text itself holds no secret.
            InputBinding::Secret(name) => Value::String(name.clone()),
            InputBinding::Whole(reference) => lookup(reference)?,
            InputBinding::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        TextPiece::Text(s) => text.push_str(s),
                        TextPiece::Reference(reference) => {
                            push_as_text(&mut text, &lookup(reference)?);
                        }
                    }
                }
                Value::String(text)
            }
            InputBinding::List(items) => {
                Value::Array(items.iter().map(|b| b.resolve(lookup)).collect::<Result<_, E>>()?)
            }
            InputBinding::Map(entries) => {
                let mut map = Map::new();
                for (key, binding) in entries {
                    map.insert(key.clone(), binding.resolve(lookup)?);
                }
                Value::Object(map)
            }
        })
    }
}

/// A text inside a text stands as it is, anything else as JSON.
fn push_as_text(out: &mut String, value: &Value) {
    match value {
        Value::String(s) => out.push_str(s),
        other => out.push_str(&other.to_string()),
    }
}

fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let rest = text.strip_prefix(word)?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

/// True if a text that begins with `$[` is a JSONPath and no reference: `$[0].a`, `$[*]`, `$[1:3]`, `$[?@.a > 1]`. An id
/// that looks like one is a reference where `.output` or `.error` follows.
fn is_json_path(text: &str) -> bool {
    let inner = text.strip_prefix("$[").unwrap_or(text);
    let (selectors, rest) = inner.split_once(']').unwrap_or((inner, ""));
    let selectors = selectors.trim();
    if selectors.starts_with('?') {
        return selectors.contains(['@', '$', '(']);
    }
    let is_number_like = |part: &str| {
        let part = part.trim();
        let chars = part.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | ':' | ' '));
        part == "*" || (!part.is_empty() && chars)
    };
    let follows = |word| strip_word(rest, word).is_some();
    selectors.split(',').all(is_number_like) && !follows(".output") && !follows(".error")
}

fn parse_text(text: &str) -> Result<InputBinding, ReferenceError> {
    if let Some(name) = text.strip_prefix("secret://") {
        return Ok(InputBinding::Secret(name.to_owned()));
    }
    if text.starts_with("$[") && !is_json_path(text) {
        return Reference::parse(text).map(InputBinding::Whole);
    }
    if let Some(rest) = text.strip_prefix("$$[") {
        return Ok(InputBinding::Literal(Value::String(format!("$[{rest}"))));
    }
    if !text.contains("${[") {
        return Ok(InputBinding::Literal(Value::String(text.to_owned())));
    }
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${[") {
        if rest[..at].ends_with('$') {
            plain.push_str(&rest[..at - 1]);
            plain.push_str("${[");
            rest = &rest[at + 3..];
            continue;
        }
        plain.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let end = closing_brace(inner).ok_or_else(|| ReferenceError {
            text: text.to_owned(),
            why: "the `}` that closes `${[` is missing (write `$${[` for the text itself)"
                .to_owned(),
        })?;
        if !plain.is_empty() {
            pieces.push(TextPiece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(TextPiece::Reference(Reference::parse(&format!("${}", &inner[..end]))?));
        rest = &inner[end + 1..];
    }
    plain.push_str(rest);
    if pieces.is_empty() {
        return Ok(InputBinding::Literal(Value::String(plain)));
    }
    if !plain.is_empty() {
        pieces.push(TextPiece::Text(plain));
    }
    Ok(InputBinding::Text(pieces))
}

/// The `}` that ends a reference: not one inside quotes of a `['…']` step.
fn closing_brace(text: &str) -> Option<usize> {
    let mut quote = None;
    for (i, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'}') => return Some(i),
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (None | Some(_), _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resolve(value: &Value) -> Result<Value, String> {
        let mut errors = Vec::new();
        let binding = InputBinding::parse(value, &ReferencePlace::Field("inputs"), &mut errors);
        if let Some((_, error)) = errors.first() {
            return Err(error.to_string());
        }
        binding.resolve(&mut |reference: &Reference| {
            let data = match &reference.source {
                ReferenceSource::Inputs => json!({"file": "a.csv"}),
                ReferenceSource::Output(task) if task == "t" => {
                    json!({"title": "T", "rows": [{"n": 1}, {"n": 2}], "a b": {"c": true}})
                }
                other => return Err(format!("unknown source {other:?}")),
            };
            reference.resolve(&data).map_err(|e| e.to_string())
        })
    }

    #[test]
    fn references_resolve() {
        let cases = [
            (json!("$[t].output.title"), json!("T")),
            (json!("$[t].output.rows[0].n"), json!(1)),
            (json!("$[t].output.rows[-1].n"), json!(2)),
            (json!("$[t].output['a b'].c"), json!(true)),
            (json!("$[t].output.rows[*].n"), json!([1, 2])),
            (json!("$[inputs].file"), json!("a.csv")),
            (json!("see ${[t].output.title}!"), json!("see T!")),
            (json!("${[t].output.rows[0]}"), json!("{\"n\":1}")),
            (json!({"a": ["$[t].output.title", 1]}), json!({"a": ["T", 1]})),
            (json!("$$[x]"), json!("$[x]")),
            (json!("a $${[t].output} b"), json!("a ${[t].output} b")),
            (json!(["$$[x]"]), json!(["$[x]"])),
            (json!("$[0].a"), json!("$[0].a")),
            (json!("$[-1]"), json!("$[-1]")),
            (json!("$[*].n"), json!("$[*].n")),
            (json!("$[1:3,7]"), json!("$[1:3,7]")),
            (json!("$[?@.n > 1].output"), json!("$[?@.n > 1].output")),
            (json!("costs $5, ${HOME}"), json!("costs $5, ${HOME}")),
        ];
        for (input, expected) in cases {
            assert_eq!(resolve(&input), Ok(expected), "{input}");
        }
    }

    #[test]
    fn failures_name_the_place() {
        let cases = [
            ("$[t].output.titel", "`$[t].output.titel` finds nothing at `.titel`; there is title"),
            (
                "$[t].output.rows[7]",
                "`$[t].output.rows[7]` finds nothing at `[7]`; there is 2 items",
            ),
            ("$[t].title", "`$[t].title` is not a reference: `.output` must follow `[t]`"),
            ("$[0].output", "unknown source Output(\"0\")"),
            ("$[t", "`$[t` is not a reference: the `]` behind the id is missing"),
        ];
        for (input, expected) in cases {
            assert_eq!(resolve(&json!(input)), Err(expected.to_owned()));
        }
        assert!(resolve(&json!("a ${[t].output")).is_err());
    }
}
