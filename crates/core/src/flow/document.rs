//! A schema that other schemas can be cut out of and combined with.

use std::cell::Cell;

use serde_json::{Map, Value};

use super::projection::DEPTH_MAX;

/// Schemas with more parts than this are not compared: containment is a search.
const PARTS_MAX: usize = 5_000;

/// The most parts that are looked at while paths are followed, all in all.
const LOOKS_MAX: usize = 20_000;

/// A schema whose references have been rewritten to live under `#/$defs/<name>`, so that parts of
/// it, and parts of several documents, can stand in one new document.
#[derive(Debug)]
pub(crate) struct SchemaDocument {
    name: String,
    root: Value,
    has_references: bool,
    /// Parts that may still be looked at while paths are followed: references can double the way
    /// at each step.
    pub(super) looks: Cell<usize>,
    /// The reason for which nothing can be said of it, where that is so.
    pub(crate) opaque: Option<&'static str>,
}

impl SchemaDocument {
    /// Prepares a schema. `name` must differ between documents that are to be combined.
    pub(crate) fn new(schema: &Value, name: String) -> SchemaDocument {
        let mut rewrite =
            SchemaRewrite { name: &name, parts: 0, has_references: false, opaque: None };
        let root = rewrite.schema(schema, 0);
        let SchemaRewrite { has_references, opaque, .. } = rewrite;
        SchemaDocument { name, root, has_references, looks: Cell::new(LOOKS_MAX), opaque }
    }

    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    /// The part that a rewritten `$ref` names.
    pub(super) fn target(&self, reference: &str) -> Option<&Value> {
        let pointer = reference.strip_prefix("#/$defs/")?.strip_prefix(self.name.as_str())?;
        let decoded = percent_decoded(pointer)?;
        self.root.pointer(&decoded)
    }

    /// A part of this document as a document of its own.
    pub(super) fn standalone(&self, part: Value) -> Value {
        if !self.has_references {
            return part;
        }
        let mut map = match part {
            Value::Object(map) => map,
            other => return other,
        };
        if map.contains_key("$ref") && map.len() > 1 || map.contains_key("$defs") {
            let mut wrapper = Map::new();
            wrapper.insert("allOf".to_owned(), Value::Array(vec![Value::Object(map)]));
            map = wrapper;
        }
        let mut definitions = Map::new();
        definitions.insert(self.name.clone(), self.root.clone());
        map.insert("$defs".to_owned(), Value::Object(definitions));
        Value::Object(map)
    }

    /// The definitions that parts of this document need beside them.
    pub(crate) fn definition(&self) -> Option<(&str, &Value)> {
        self.has_references.then_some((self.name.as_str(), &self.root))
    }
}

struct SchemaRewrite<'n> {
    name: &'n str,
    parts: usize,
    has_references: bool,
    opaque: Option<&'static str>,
}

impl SchemaRewrite<'_> {
    fn schema(&mut self, schema: &Value, depth: usize) -> Value {
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            self.opaque = Some("the schema is too large or too deep to compare");
            return Value::Bool(true);
        }
        let Value::Object(map) = schema else { return schema.clone() };
        let mut out = Map::with_capacity(map.len());
        for (key, value) in map {
            let rewritten = match key.as_str() {
                "$ref" => self.reference(value),
                "$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" | "$recursiveRef" | "id"
                    if value.is_string() =>
                {
                    self.opaque = Some("the schema uses `$id`, `$anchor` or dynamic references");
                    continue;
                }
                // Each of these holds schemas by name: a name is never a keyword.
                "properties" | "patternProperties" | "$defs" | "definitions"
                | "dependentSchemas" => self.named(value, depth),
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => self.list(value, depth),
                "items" if value.is_array() => self.list(value, depth),
                "items"
                | "additionalProperties"
                | "additionalItems"
                | "contains"
                | "not"
                | "if"
                | "then"
                | "else"
                | "propertyNames"
                | "unevaluatedProperties"
                | "unevaluatedItems" => self.schema(value, depth + 1),
                // Words for people weigh nothing in a comparison.
                "title" | "description" | "examples" | "default" | "$comment" => continue,
                // Data: constants, ranges, types.
                _ => value.clone(),
            };
            out.insert(key.clone(), rewritten);
        }
        Value::Object(out)
    }

    fn named(&mut self, value: &Value, depth: usize) -> Value {
        let Value::Object(map) = value else { return value.clone() };
        map.iter().map(|(key, schema)| (key.clone(), self.schema(schema, depth + 1))).collect()
    }

    fn list(&mut self, value: &Value, depth: usize) -> Value {
        let Value::Array(items) = value else { return value.clone() };
        items.iter().map(|schema| self.schema(schema, depth + 1)).collect()
    }

    fn reference(&mut self, value: &Value) -> Value {
        self.has_references = true;
        match value.as_str().and_then(|text| text.strip_prefix('#')) {
            Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => {
                Value::String(format!("#/$defs/{}{pointer}", self.name))
            }
            _ => {
                self.opaque = Some("the schema refers outside its own document");
                Value::String(format!("#/$defs/{}", self.name))
            }
        }
    }
}

/// `%25` and the like in the fragment of a reference (RFC 6901, section 6).
fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}
