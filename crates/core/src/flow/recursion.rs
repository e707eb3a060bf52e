//! Containment of schemas that refer to themselves.
//!
//! `jsonschema::canonical` compares references by what they are called; two trees whose nodes have
//! different names are undecided to it. Here a pair of schemas that is met again inside its own
//! comparison is taken to fit, as equality of recursive types is decided (Amadio and Cardelli,
//! "Subtyping recursive types", 1993). Only keywords that are understood count; any other must
//! stand the same on both sides.

use jsonschema::canonical::{Containment, options};
use serde_json::{Map, Value};

/// The most pairs that one comparison may meet.
const PAIRS_MAX: usize = 2_000;

/// Shows whether `consumed` takes every value of `produced`. `false` proves nothing.
pub(super) fn fits(produced: &Value, consumed: &Value) -> bool {
    let mut pairs = SchemaPairs { produced, consumed, assumed: Vec::new(), depth: 0, met: 0 };
    has_reference(produced) && has_reference(consumed) && pairs.fit(produced, consumed)
}

struct SchemaPairs<'s> {
    produced: &'s Value,
    consumed: &'s Value,
    /// Pairs under comparison, by identity, with how deep in the values they were met.
    assumed: Vec<(*const Value, *const Value, usize)>,
    /// Members and items stepped into.
    depth: usize,
    met: usize,
}

impl<'s> SchemaPairs<'s> {
    fn fit(&mut self, produced: &'s Value, consumed: &'s Value) -> bool {
        let (Some(p), Some(c)) = (target(self.produced, produced), target(self.consumed, consumed))
        else {
            return false;
        };
        // Only deeper in the value than before: a pair that meets itself on the spot proves nothing.
        let met = |(a, b, _): &&(_, _, usize)| std::ptr::eq(*a, p) && std::ptr::eq(*b, c);
        if let Some((_, _, depth)) = self.assumed.iter().find(met) {
            return *depth < self.depth;
        }
        self.met += 1;
        if self.met > PAIRS_MAX {
            return false;
        }
        if !has_reference(p) && !has_reference(c) {
            return covers(c, p);
        }
        self.assumed.push((p, c, self.depth));
        let fits = self.unfolded(p, c);
        self.assumed.pop();
        fits
    }

    fn unfolded(&mut self, produced: &'s Value, consumed: &'s Value) -> bool {
        let (p, c) = match (produced, consumed) {
            (_, Value::Bool(true)) | (Value::Bool(false), _) => return true,
            (Value::Object(p), Value::Object(c)) => (p, c),
            _ => return false,
        };
        for keyword in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = p.get(keyword) {
                let alone = p.keys().all(|key| key == keyword || key == "$defs");
                return alone && branches.iter().all(|branch| self.fit(branch, consumed));
            }
        }
        if let Some(Value::Array(branches)) = c.get("anyOf") {
            let alone = c.keys().all(|key| key == "anyOf" || key == "$defs");
            return alone && branches.iter().any(|branch| self.fit(produced, branch));
        }
        let understood =
            ["properties", "required", "additionalProperties", "items", "$defs", "definitions"];
        let same = c
            .iter()
            .filter(|(key, _)| !understood.contains(&key.as_str()))
            .all(|(key, value)| p.get(key) == Some(value));
        // These mean something only together with their neighbours.
        let entangled =
            ["unevaluatedProperties", "unevaluatedItems", "contains", "dependentSchemas"];
        let apart = entangled.iter().all(|key| !p.contains_key(*key) && !c.contains_key(*key));
        same && apart
            && p.get("patternProperties").is_none()
            && p.get("prefixItems").is_none()
            && required(c).all(|name| required(p).any(|r| r == name))
            && self.members(p, c)
            && self.items(p, c)
    }

    fn members(&mut self, p: &'s Map<String, Value>, c: &'s Map<String, Value>) -> bool {
        static ANYTHING: Value = Value::Bool(true);
        let of = |map: &'s Map<String, Value>, name: &str| {
            let declared = map.get("properties").and_then(|properties| properties.get(name));
            declared.or(map.get("additionalProperties")).unwrap_or(&ANYTHING)
        };
        let names = [p, c].into_iter().filter_map(|map| map.get("properties")?.as_object());
        let names: Vec<&str> = names.flat_map(|map| map.keys().map(String::as_str)).collect();
        let rest =
            |map: &'s Map<String, Value>| map.get("additionalProperties").unwrap_or(&ANYTHING);
        self.depth += 1;
        let fits = names.into_iter().all(|name| self.fit(of(p, name), of(c, name)))
            && self.fit(rest(p), rest(c));
        self.depth -= 1;
        fits
    }

    fn items(&mut self, p: &'s Map<String, Value>, c: &'s Map<String, Value>) -> bool {
        match (p.get("items"), c.get("items")) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(p), Some(c)) => {
                self.depth += 1;
                let fits = self.fit(p, c);
                self.depth -= 1;
                fits
            }
        }
    }
}

fn covers(consumed: &Value, produced: &Value) -> bool {
    let canonical = |schema| options().offline().should_validate_formats(true).canonicalize(schema);
    match (canonical(produced), canonical(consumed)) {
        (Ok(giving), Ok(taking)) => matches!(taking.covers(&giving), Ok(Containment::Yes)),
        _ => false,
    }
}

/// Follows a schema that is nothing but a reference; `None` when that never ends.
fn target<'s>(document: &'s Value, schema: &'s Value) -> Option<&'s Value> {
    const CHAIN_MAX: usize = 32;
    let mut at = schema;
    for _ in 0..CHAIN_MAX {
        let Some(reference) = at.get("$ref").and_then(Value::as_str) else { return Some(at) };
        let alone = at.as_object()?.keys().all(|key| key == "$ref" || key == "$defs");
        at = document.pointer(reference.strip_prefix('#')?).filter(|_| alone)?;
    }
    None
}

fn required(map: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    map.get("required").and_then(Value::as_array).into_iter().flatten()
}

fn has_reference(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => {
            map.get("$ref").is_some_and(Value::is_string) || map.values().any(has_reference)
        }
        Value::Array(items) => items.iter().any(has_reference),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
