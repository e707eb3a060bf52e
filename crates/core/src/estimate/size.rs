//! How long a value can be as text, by its schema: what a reference in a prompt can add to it.

use serde_json::Value;

use crate::flow::project;
use crate::reference::{Reference, ReferencePath};
use crate::resource::EstimateRange;

/// Bytes of English that are about a token (OpenAI's rule of thumb).
const BYTES_PER_TOKEN: f64 = 4.0;
/// The longest text of a JSON number: sign, 17 digits, point, exponent.
const NUMBER_BYTES: u64 = 24;
/// Schemas that nest deeper say nothing here.
const DEPTH_MAX: u32 = 16;

/// Tokens of what a reference gives, where the schema of the whole bounds it.
pub(super) fn tokens_at(schema: &Value, reference: &Reference) -> Option<EstimateRange> {
    let ReferencePath::Singular(steps) = &reference.path else { return None };
    let bytes = bytes_max(&project(schema, steps).schema, 0)?;
    let high = (bytes as f64 / BYTES_PER_TOKEN).ceil().max(1.0);
    Some(EstimateRange { low: 1.0, expected: (high / 2.0).ceil(), high })
}

/// The longest JSON text of a value of this schema, in bytes; none where it is not bounded.
fn bytes_max(schema: &Value, depth: u32) -> Option<u64> {
    if depth > DEPTH_MAX {
        return None;
    }
    let json_bytes = |value: &Value| value.to_string().len() as u64;
    if let Some(constant) = schema.get("const") {
        return Some(json_bytes(constant));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(json_bytes).max();
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(parts) = schema.get(keyword).and_then(Value::as_array) {
            let parts: Option<Vec<u64>> = parts.iter().map(|p| bytes_max(p, depth + 1)).collect();
            return parts?.into_iter().max();
        }
    }
    match schema.get("type")? {
        Value::String(kind) => bytes_of_kind(kind, schema, depth),
        Value::Array(kinds) => {
            let of = |kind: &Value| bytes_of_kind(kind.as_str()?, schema, depth);
            let each: Option<Vec<u64>> = kinds.iter().map(of).collect();
            each?.into_iter().max()
        }
        _ => None,
    }
}

fn bytes_of_kind(kind: &str, schema: &Value, depth: u32) -> Option<u64> {
    let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
    match kind {
        "null" | "boolean" => Some(5),
        "integer" | "number" => Some(NUMBER_BYTES),
        "string" => limit("maxLength").map(|chars| chars.saturating_add(2)),
        "array" => {
            let item = bytes_max(schema.get("items")?, depth + 1)?.saturating_add(2);
            Some(limit("maxItems")?.saturating_mul(item).saturating_add(2))
        }
        "object" => {
            if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
                return None;
            }
            let member = |(name, schema): (&String, &Value)| {
                Some((name.len() as u64 + 5).saturating_add(bytes_max(schema, depth + 1)?))
            };
            let properties = schema.get("properties").and_then(Value::as_object);
            let members: Option<Vec<u64>> = properties.into_iter().flatten().map(member).collect();
            Some(members?.into_iter().fold(2, u64::saturating_add))
        }
        _ => None,
    }
}
