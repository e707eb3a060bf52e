//! Whether every value of one schema is taken by another.

use jsonschema::Validator;
use jsonschema::canonical::{CanonicalSchema, Containment, Satisfiability, options};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::recursion;
use super::sample::samples;
use crate::json_schema::{compile_schema, is_bounded};

/// Verdicts on two schemas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowVerdict {
    /// Whatever the one gives the other takes.
    Fits,
    /// The one gives a value that the other refuses.
    Misfit {
        /// The value.
        witness: Value,
        /// The reason for the refusal, in the validator's words.
        why: String,
    },
    /// Neither could be shown.
    Undecided {
        /// The obstacle.
        why: String,
    },
}

/// Compares what is produced with what is consumed. `exact`: the produced schema takes nothing
/// that is never produced; without it a refused value proves nothing.
///
/// `format` counts as an assertion on both sides. Where the consumer narrows a type in a way of
/// which the producer says nothing at all (a text of no declared format or length, a number without
/// range), the verdict is undecided: most values that would fit never say so.
pub fn compare(produced: &Value, consumed: &Value, exact: bool) -> FlowVerdict {
    if takes_anything(consumed) || produced == consumed {
        return FlowVerdict::Fits;
    }
    let undecided = |why: &str| FlowVerdict::Undecided { why: why.to_owned() };
    if takes_anything(produced) {
        return undecided("nothing is promised of it");
    }
    if !is_bounded(produced) || !is_bounded(consumed) {
        return undecided(
            "a schema refers to itself or to its parts in too many ways to be compared",
        );
    }
    if alternatives(produced).max(alternatives(consumed)) > ALTERNATIVES_MAX {
        return undecided("the schemas have too many alternatives to be compared");
    }
    let canonical = |schema| options().offline().should_validate_formats(true).canonicalize(schema);
    let (Ok(giving), Ok(taking)) = (canonical(produced), canonical(consumed)) else {
        return undecided("a schema could not be brought into a form that can be compared");
    };
    let covered = matches!(taking.covers(&giving), Ok(Containment::Yes));
    if covered || recursion::fits(produced, consumed) {
        return FlowVerdict::Fits;
    }
    let left_over = giving.subtract(&taking).ok();
    if left_over.as_ref().map(CanonicalSchema::satisfiability) == Some(Satisfiability::No) {
        return FlowVerdict::Fits;
    }
    let (Ok(gives), Ok(takes)) = (compile_schema(produced), compile_schema(consumed)) else {
        return undecided("a schema could not be compiled");
    };
    // What is left over is where a refused value lies, if there is one.
    let mut candidates = left_over.map(|s| samples(&s.to_json_schema())).unwrap_or_default();
    candidates.extend(samples(produced));
    let refused = candidates
        .into_iter()
        .find_map(|value| (gives.is_valid(&value)).then(|| refusal(&takes, value)).flatten());
    let Some((witness, why)) = refused else {
        return undecided("neither a proof nor a value that would be refused was found");
    };
    if !exact {
        let disjoint = giving.intersect(&taking).map(|both| both.satisfiability());
        return match disjoint {
            Ok(Satisfiability::No) => FlowVerdict::Misfit { witness, why },
            _ => FlowVerdict::Undecided {
                why: format!("it would be refused if it were {}: {why}", shown(&witness)),
            },
        };
    }
    // A promise that was never made is unknown; one that was made and is too weak is wrong.
    let asked = without_unsaid(consumed, &said(produced));
    if asked != *consumed {
        return match compare(produced, &asked, exact) {
            FlowVerdict::Misfit { witness, why } if !takes.is_valid(&witness) => {
                FlowVerdict::Misfit { witness, why }
            }
            FlowVerdict::Misfit { .. } | FlowVerdict::Fits | FlowVerdict::Undecided { .. } => {
                FlowVerdict::Undecided {
                    why: format!("nothing is promised that rules out {}: {why}", shown(&witness)),
                }
            }
        };
    }
    FlowVerdict::Misfit { witness, why }
}

/// Schemas with more alternatives than this, multiplied out, are not compared.
const ALTERNATIVES_MAX: f64 = 2_000.0;

/// Counts the alternatives of a schema when all its unions are multiplied out.
fn alternatives(schema: &Value) -> f64 {
    match schema {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("anyOf" | "oneOf", Value::Array(branches)) => {
                    branches.iter().map(alternatives).sum::<f64>().max(1.0)
                }
                ("enum" | "const" | "required", _) => 1.0,
                // Members do not multiply: each is compared by itself.
                ("properties" | "patternProperties" | "$defs", Value::Object(members)) => {
                    members.values().map(alternatives).fold(1.0, f64::max)
                }
                (_, value) => alternatives(value),
            })
            .product(),
        Value::Array(items) => items.iter().map(alternatives).product(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1.0,
    }
}

/// A value in a message, cut to a line.
pub(crate) fn shown(value: &Value) -> String {
    const SHOWN_MAX_CHARS: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= SHOWN_MAX_CHARS {
        return format!("`{text}`");
    }
    format!("`{}…`", text.chars().take(SHOWN_MAX_CHARS).collect::<String>())
}

/// A schema without any constraint.
pub(crate) fn takes_anything(schema: &Value) -> bool {
    const CONSTRAINTS_NONE: [&str; 8] = [
        "title",
        "description",
        "default",
        "examples",
        "$comment",
        "$schema",
        "$defs",
        crate::json_schema::LITERAL_KEYWORD,
    ];
    match schema {
        Value::Bool(open) => *open,
        Value::Object(map) => map.keys().all(|key| CONSTRAINTS_NONE.contains(&key.as_str())),
        _ => false,
    }
}

fn refusal(takes: &Validator, value: Value) -> Option<(Value, String)> {
    let why = takes.iter_errors(&value).next().map(|error| error.masked().to_string())?;
    Some((value, why))
}

/// Keywords that narrow a type, by what they speak of.
const NARROWING: [&[&str]; 12] = [
    &["minimum", "exclusiveMinimum"],
    &["maximum", "exclusiveMaximum"],
    &["multipleOf"],
    &["minLength"],
    &["maxLength"],
    &["pattern"],
    &["format"],
    &["minItems"],
    &["maxItems"],
    &["uniqueItems"],
    &["minProperties", "maxProperties"],
    // Closing an object; a schema for the rest is a promise of another kind.
    &["additionalProperties"],
];

/// Tells which of the kinds of narrowing a schema uses anywhere.
fn said(schema: &Value) -> [bool; NARROWING.len()] {
    let mut used = [false; NARROWING.len()];
    let mut stack = vec![schema];
    while let Some(schema) = stack.pop() {
        match schema {
            Value::Object(map) => {
                for (slot, keywords) in used.iter_mut().zip(NARROWING) {
                    *slot |= keywords.iter().any(|keyword| map.get(*keyword).is_some_and(is_plain));
                }
                stack.extend(map.values());
            }
            Value::Array(items) => stack.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    used
}

/// The schema without the kinds of narrowing that are not in `said`. What stands under a negation
/// keeps all: there, saying less takes less. Recursion is bounded: schemas
/// deeper than the projection follows are opaque before this.
fn without_unsaid(schema: &Value, said: &[bool; NARROWING.len()]) -> Value {
    let unsaid = |key: &str| {
        NARROWING.iter().zip(said).any(|(keywords, said)| !said && keywords.contains(&key))
    };
    match schema {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, value)| !(unsaid(key) && is_plain(value)));
            let eased = |(key, value): (&String, &Value)| {
                // Constants are data, and definitions may be used under a negation.
                let whole = ["not", "if", "oneOf", "contains", "const", "enum", "$defs"];
                let negates = whole.contains(&key.as_str());
                let value = if negates { value.clone() } else { without_unsaid(value, said) };
                (key.clone(), value)
            };
            Value::Object(kept.map(eased).collect())
        }
        Value::Array(items) => items.iter().map(|item| without_unsaid(item, said)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

/// A keyword's value; a property of the same name holds a schema.
fn is_plain(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}
