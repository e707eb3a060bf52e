//! Whether a path can exist in values of a schema.
//!
//! A first, cautious answer: "never" only where the schema closes the door (a closed object
//! without the name, a scalar where something is looked up); everything else may be there.

use serde_json::Value;

use crate::reference::Step;

pub(super) enum Exists<'s> {
    Possibly,
    Never {
        /// The step that cannot be.
        at: String,
        /// What there is instead.
        known: Vec<&'s str>,
    },
}

/// The schema of one property, where it is declared.
pub(super) fn property<'s>(schema: Option<&'s Value>, name: &str) -> Option<&'s Value> {
    schema?.get("properties")?.get(name)
}

pub(super) fn path_exists<'s>(schema: &'s Value, steps: &[Step]) -> Exists<'s> {
    let mut at = schema;
    for step in steps {
        // Combinators, references and schemas without a type say nothing that is certain here.
        let Some(kind) = at.get("type").and_then(Value::as_str) else { return Exists::Possibly };
        let next = match (kind, step) {
            ("object", Step::Name(name)) => match object_member(at, name) {
                Some(Member::Declared(schema)) => Some(schema),
                Some(Member::Open) => return Exists::Possibly,
                None => None,
            },
            ("array", Step::Index(_)) => match at.get("items") {
                Some(items) if at.get("prefixItems").is_none() => Some(items),
                _ => return Exists::Possibly,
            },
            ("object", Step::Index(_)) | ("array", Step::Name(_)) => None,
            ("string" | "number" | "integer" | "boolean" | "null", _) => None,
            (_, _) => return Exists::Possibly,
        };
        let Some(next) = next else {
            let known = at.get("properties").and_then(Value::as_object);
            let known = known.map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default();
            return Exists::Never { at: step_text(step), known };
        };
        at = next;
    }
    Exists::Possibly
}

enum Member<'s> {
    Declared(&'s Value),
    Open,
}

fn object_member<'s>(schema: &'s Value, name: &str) -> Option<Member<'s>> {
    if let Some(declared) = property(Some(schema), name) {
        return Some(Member::Declared(declared));
    }
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    let patterned = schema.get("patternProperties").is_some();
    let combined = ["allOf", "anyOf", "oneOf", "$ref"].iter().any(|k| schema.get(*k).is_some());
    match schema.get("additionalProperties") {
        Some(schema) if schema.is_object() && !patterned => Some(Member::Declared(schema)),
        _ if closed && !patterned && !combined => None,
        _ => Some(Member::Open),
    }
}

fn step_text(step: &Step) -> String {
    match step {
        Step::Name(name) => name.clone(),
        Step::Index(i) => format!("[{i}]"),
    }
}
