//! JSON Schema as the core uses it: compiled with the same options everywhere, problems in one line.

use std::collections::HashMap;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// In a property's schema: the value must stand in the plan as it is. Inputs that are programs of
/// some kind (SQL, text templates) carry it, so that no output is ever spliced into one.
pub const LITERAL_KEYWORD: &str = "x-l05-literal";

/// In a property's schema: the value is the time that the call takes, in seconds. Where it stands in the
/// plan, the task's duration is known before anything runs.
pub const SECONDS_KEYWORD: &str = "x-l05-seconds";

/// The largest compiled pattern of a schema, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Compiles a schema; no reference leads out of the document, and `format` is checked. Patterns are matched in time
/// linear in the text, which is why look-around and back-references are refused.
pub fn compile_schema(schema: &Value) -> Result<Validator, String> {
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
    let options = jsonschema::options().should_validate_formats(true);
    options.with_pattern_options(patterns).build(schema).map_err(|e| e.to_string())
}

/// The first thing that a validator refuses, with its place.
pub fn first_problem(validator: &Validator, value: &Value) -> Option<String> {
    let error = validator.iter_errors(value).next()?;
    Some(format!("`{}`: {error}", error.instance_path()))
}

/// Checks a value by a schema that is not compiled yet; nothing for one that does not compile,
/// which validation has refused.
pub fn schema_problem(schema: &Value, value: &Value) -> Option<String> {
    first_problem(&compile_schema(schema).ok()?, value)
}

/// The most nodes that a schema may have when its references are unfolded, to be looked through here at all.
const NODES_MAX: u64 = 20_000;
/// Schema nodes times bytes of the value, up to which a check is done where it stands: about a tenth of a second.
const WORK_SMALL_MAX: u64 = 20_000_000;

/// True if checking a value of `bytes` takes little, whatever the value is; other checks run where they can be stopped
/// ([`crate::evaluation::Evaluation::Schema`]).
pub fn is_small_check(schema: &Value, bytes: usize) -> bool {
    let weight = unfolded(schema);
    weight.is_some_and(|weight| weight.nodes.saturating_mul(bytes as u64) <= WORK_SMALL_MAX)
}

/// True if a schema looks at each part of a value a bounded number of times: with its references unfolded it has few
/// nodes, and where it refers to itself, it comes back to a place in one way.
pub(crate) fn is_bounded(schema: &Value) -> bool {
    unfolded(schema).is_some()
}

fn unfolded(schema: &Value) -> Option<UnfoldedWeight> {
    SchemaUnfolding { root: schema, known: HashMap::new() }.weight(schema)
}

/// The size of a schema with its references unfolded.
#[derive(Clone, Copy)]
struct UnfoldedWeight {
    nodes: u64,
    /// The most ways in which one place below leads back into the schema that is being unfolded.
    returns: u64,
}

struct SchemaUnfolding<'s> {
    root: &'s Value,
    /// The targets of references; without a weight: on the way to it, which makes a reference to it a return.
    known: HashMap<&'s str, Option<UnfoldedWeight>>,
}

impl<'s> SchemaUnfolding<'s> {
    /// None where there are too many nodes, or more than one way back: then a value of depth n may be looked at in 2^n
    /// ways.
    fn weight(&mut self, schema: &'s Value) -> Option<UnfoldedWeight> {
        let mut sum = UnfoldedWeight { nodes: 1, returns: 0 };
        match schema {
            Value::Object(map) => {
                for (key, part) in map {
                    let part = match (key.as_str(), part) {
                        // Members stand at places of their own.
                        ("properties", Value::Object(members)) => self.members(members)?,
                        ("patternProperties" | "dependentSchemas", Value::Object(parts)) => {
                            self.sum(parts.values())?
                        }
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => {
                            self.reference(target)?
                        }
                        // Counted where they are referred to.
                        ("$defs" | "definitions", Value::Object(parts)) => {
                            UnfoldedWeight { nodes: parts.len() as u64, returns: 0 }
                        }
                        (_, part) => self.weight(part)?,
                    };
                    sum.nodes += part.nodes;
                    sum.returns += part.returns;
                }
            }
            Value::Array(items) => sum = self.sum(items)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        (sum.nodes <= NODES_MAX && sum.returns <= 1).then_some(sum)
    }

    fn sum(&mut self, parts: impl IntoIterator<Item = &'s Value>) -> Option<UnfoldedWeight> {
        let mut sum = UnfoldedWeight { nodes: 1, returns: 0 };
        for part in parts {
            let part = self.weight(part)?;
            sum.nodes += part.nodes;
            sum.returns += part.returns;
            // Told at once: a schema may have as many parts as its text has room for.
            if sum.nodes > NODES_MAX {
                return None;
            }
        }
        Some(sum)
    }

    fn members(&mut self, members: &'s serde_json::Map<String, Value>) -> Option<UnfoldedWeight> {
        let mut sum = UnfoldedWeight { nodes: 1, returns: 0 };
        for member in members.values() {
            let member = self.weight(member)?;
            sum.nodes += member.nodes;
            sum.returns = sum.returns.max(member.returns);
        }
        Some(sum)
    }

    fn reference(&mut self, target: &'s str) -> Option<UnfoldedWeight> {
        match self.known.get(target) {
            Some(Some(weight)) => Some(*weight),
            Some(None) => Some(UnfoldedWeight { nodes: 1, returns: 1 }),
            None => {
                self.known.insert(target, None);
                let place = self.root.pointer(target.strip_prefix('#')?)?;
                let weight = self.weight(place)?;
                self.known.insert(target, Some(weight));
                Some(weight)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn checks_that_may_take_long_are_told_apart() {
        let mut doubling = serde_json::Map::new();
        doubling.insert("d0".to_owned(), json!({"type": "string"}));
        for i in 1..40 {
            let part = json!({"$ref": format!("#/$defs/d{}", i - 1)});
            doubling.insert(format!("d{i}"), json!({"anyOf": [part, part]}));
        }
        let cases = [
            (json!({"type": "object", "properties": {"a": {"type": "string"}}}), 1_000_000, true),
            (json!({"enum": ["a", "b"]}), 1_000, true),
            (json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}), 1_000, true),
            (json!({"$ref": "#/$defs/d39", "$defs": doubling}), 10, false),
            (json!({"items": {"$ref": "#"}}), 10, true),
            (json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}), 10, true),
            (
                json!({"anyOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]}),
                10,
                false,
            ),
            (json!({"$ref": "#named"}), 10, false),
            (json!({"anyOf": vec![json!({"type": "string"}); 5_000]}), 100_000, false),
        ];
        for (schema, bytes, small) in cases {
            let shown = schema.to_string();
            let shown: String = shown.chars().take(80).collect();
            assert_eq!(is_small_check(&schema, bytes), small, "{shown}");
        }
    }

    #[test]
    fn patterns_are_linear() {
        let slow = json!({"type": "string", "pattern": "^(a+)+$"});
        let validator = compile_schema(&slow).unwrap();
        assert!(!validator.is_valid(&json!(format!("{}!", "a".repeat(50_000)))));
        assert!(compile_schema(&json!({"pattern": "(?=a)b"})).is_err());
    }
}
