//! The part of a schema that a path leads to.
//!
//! The answer is a schema of everything that can stand at the path, and how sure it is. Where a
//! schema says more than its part can (`if`, `not`, overlapping branches), the part is wider than
//! the truth and marked inexact: containment still proves a fit, a misfit is then not certain.

use serde_json::{Map, Value, json};

use super::document::SchemaDocument;
use crate::reference::PathStep;

/// The depth to which schemas are followed; recursion in a schema ends here.
pub(super) const DEPTH_MAX: usize = 64;

/// The presence of a value at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValuePresence {
    /// In every value.
    Always,
    /// In some.
    Sometimes,
    /// In none: the step that cannot be, and what there is instead.
    Never {
        /// The step.
        at: String,
        /// The names there are.
        known: Vec<String>,
    },
}

/// The part of a schema that stands at a path.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaProjection {
    /// A schema of it, a document of its own.
    pub schema: Value,
    /// The presence of a value there.
    pub presence: ValuePresence,
    /// True if the schema takes nothing that cannot be there.
    pub exact: bool,
    /// True if the schema says anything of this place; an open object may hold anything.
    pub declared: bool,
    /// True if there were branches on the way: which of them a value takes, other places decide.
    pub branching: bool,
}

/// The part of `schema` at `steps`.
pub fn project(schema: &Value, steps: &[PathStep]) -> SchemaProjection {
    SchemaDocument::new(schema, "root".to_owned()).project(steps)
}

/// One place, while the path is being followed.
#[derive(Clone, Debug)]
struct SchemaPlace {
    schema: Value,
    always: bool,
    exact: bool,
    declared: bool,
    branching: bool,
}

impl SchemaPlace {
    fn anything() -> SchemaPlace {
        SchemaPlace { declared: false, always: false, ..whole() }
    }
}

impl SchemaDocument {
    /// The part at `steps`; the whole for no steps.
    pub(crate) fn project(&self, steps: &[PathStep]) -> SchemaProjection {
        let place = self.follow_from(SchemaPlace { schema: self.root().clone(), ..whole() }, steps);
        match place {
            Ok(place) => SchemaProjection {
                schema: self.standalone(place.schema),
                presence: if place.always {
                    ValuePresence::Always
                } else {
                    ValuePresence::Sometimes
                },
                exact: place.exact,
                declared: place.declared,
                branching: place.branching,
            },
            Err(never) => nowhere(never),
        }
    }

    /// The list of what stands at a path with wildcards: `runs` are the steps between them.
    pub(crate) fn project_all(&self, runs: &[Vec<PathStep>]) -> SchemaProjection {
        let mut at = SchemaPlace { schema: self.root().clone(), ..whole() };
        for (i, run) in runs.iter().enumerate() {
            if i > 0 {
                at = self.each(&at);
            }
            match self.follow_from(at, run) {
                Ok(next) => at = next,
                Err(never) => return nowhere(never),
            }
        }
        let (declared, branching) = (at.declared, false);
        let schema = self.standalone(json!({ "type": "array", "items": at.schema }));
        SchemaProjection {
            schema,
            presence: ValuePresence::Always,
            exact: false,
            declared,
            branching,
        }
    }

    fn follow_from(
        &self,
        mut at: SchemaPlace,
        steps: &[PathStep],
    ) -> Result<SchemaPlace, ValuePresence> {
        for step in steps {
            match self.step(&at.schema, step, 0) {
                Some(next) => at = after(&at, next),
                None => {
                    let (mut known, missing) = (Vec::new(), step_text(step));
                    self.names(&at.schema, &mut known, 0);
                    // A name that is declared as never there is no help.
                    known.retain(|name| *name != missing);
                    return Err(ValuePresence::Never { at: missing, known });
                }
            }
        }
        Ok(at)
    }

    /// Everything directly inside.
    fn each(&self, at: &SchemaPlace) -> SchemaPlace {
        let mut inside: Vec<Value> = Vec::new();
        let mut declared = at.declared;
        let schema = self.dereferenced(&at.schema);
        match schema.as_ref().and_then(|s| s.get("items").filter(|items| !items.is_array())) {
            Some(items) if schema.and_then(|s| s.get("type")) == Some(&json!("array")) => {
                inside.push(items.clone());
                inside.extend(
                    schema
                        .and_then(|s| s.get("prefixItems"))
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten()
                        .cloned(),
                );
            }
            _ => declared = false,
        }
        let schema = if declared { any_of(inside) } else { Value::Bool(true) };
        SchemaPlace { schema, always: false, exact: false, declared, branching: false }
    }

    fn dereferenced<'s>(&'s self, schema: &'s Value) -> Option<&'s Value> {
        let mut at = schema;
        for _ in 0..DEPTH_MAX {
            match at.get("$ref").and_then(Value::as_str) {
                Some(reference) if at.as_object().is_some_and(|map| map.len() == 1) => {
                    at = self.target(reference)?;
                }
                _ => return Some(at),
            }
        }
        None
    }

    /// Goes one step into a schema; `None` when no value of the schema has anything there.
    fn step(&self, schema: &Value, step: &PathStep, depth: usize) -> Option<SchemaPlace> {
        self.looks.set(self.looks.get().saturating_sub(1));
        if depth > DEPTH_MAX || self.opaque.is_some() || self.looks.get() == 0 {
            return Some(SchemaPlace { exact: false, ..SchemaPlace::anything() });
        }
        let map = match schema {
            Value::Bool(false) => return None,
            Value::Object(map) => map,
            _ => return Some(SchemaPlace::anything()),
        };
        let mut place = own(map, step)?;
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            let target = self.target(reference).unwrap_or(&Value::Bool(true));
            place = both(place, self.step(target, step, depth + 1)?);
        }
        for part in list(map, "allOf") {
            place = both(place, self.step(part, step, depth + 1)?);
        }
        for keyword in ["anyOf", "oneOf"] {
            if map.contains_key(keyword) {
                place = both(place, self.branches(list(map, keyword), keyword, step, depth)?);
            }
        }
        let conditional = ["if", "not", "dependentSchemas", "unevaluatedProperties", "contains"];
        if conditional.iter().any(|keyword| map.contains_key(*keyword)) {
            place.exact = false;
        }
        Some(place)
    }

    fn branches(
        &self,
        branches: &[Value],
        keyword: &str,
        step: &PathStep,
        depth: usize,
    ) -> Option<SchemaPlace> {
        let found: Vec<Option<SchemaPlace>> =
            branches.iter().map(|branch| self.step(branch, step, depth + 1)).collect();
        let always = found.iter().all(|place| place.as_ref().is_some_and(|p| p.always));
        let places: Vec<SchemaPlace> = found.into_iter().flatten().collect();
        if places.is_empty() {
            return None;
        }
        // One of several that exclude each other is less than all of them together, unless a
        // constant tells them apart.
        let apart = keyword == "anyOf" || places.len() < 2 || discriminated(branches);
        Some(SchemaPlace {
            always,
            branching: branches.len() > 1,
            exact: apart && places.iter().all(|place| place.exact),
            declared: places.iter().all(|place| place.declared),
            schema: any_of(places.into_iter().map(|place| place.schema).collect()),
        })
    }

    /// The names of an object's properties, through references and branches.
    fn names(&self, schema: &Value, known: &mut Vec<String>, depth: usize) {
        let Value::Object(map) = schema else { return };
        if depth > 8 {
            return;
        }
        if let Some(Value::Object(properties)) = map.get("properties") {
            known.extend(
                properties.keys().filter(|k| !known.contains(k)).cloned().collect::<Vec<_>>(),
            );
        }
        if let Some(target) = map.get("$ref").and_then(Value::as_str).and_then(|r| self.target(r)) {
            self.names(target, known, depth + 1);
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for part in list(map, keyword) {
                self.names(part, known, depth + 1);
            }
        }
    }
}

fn nowhere(never: ValuePresence) -> SchemaProjection {
    SchemaProjection {
        schema: json!(false),
        presence: never,
        exact: true,
        declared: true,
        branching: false,
    }
}

fn whole() -> SchemaPlace {
    SchemaPlace {
        schema: Value::Bool(true),
        always: true,
        exact: true,
        declared: true,
        branching: false,
    }
}

fn after(before: &SchemaPlace, next: SchemaPlace) -> SchemaPlace {
    SchemaPlace {
        always: before.always && next.always,
        exact: before.exact && next.exact,
        declared: before.declared && next.declared,
        branching: before.branching || next.branching,
        schema: next.schema,
    }
}

/// Gives what a schema's own keywords say of one step, its applicators apart.
fn own(map: &Map<String, Value>, step: &PathStep) -> Option<SchemaPlace> {
    let sure = match step {
        PathStep::Name(_) => type_allows(map, "object")?,
        PathStep::Index(_) => type_allows(map, "array")?,
    };
    if let Some(values) = map.get("const").map(std::slice::from_ref).or_else(|| enumerated(map)) {
        return constants(values, step);
    }
    let mut place = match step {
        PathStep::Name(name) => member(map, name)?,
        PathStep::Index(index) => item(map, *index)?,
    };
    // Without a `type` the value may be of another one, where the path leads nowhere.
    place.always &= sure && map.contains_key("type");
    Some(place)
}

fn enumerated(map: &Map<String, Value>) -> Option<&[Value]> {
    map.get("enum").and_then(Value::as_array).map(Vec::as_slice)
}

/// `None`: the type is never `wanted`. Else whether it always is.
fn type_allows(map: &Map<String, Value>, wanted: &str) -> Option<bool> {
    match map.get("type") {
        Some(Value::String(name)) => (name == wanted).then_some(true),
        Some(Value::Array(names)) => {
            names.iter().any(|name| name == wanted).then_some(names.len() == 1)
        }
        _ => Some(true),
    }
}

fn constants(values: &[Value], step: &PathStep) -> Option<SchemaPlace> {
    let found: Vec<Value> = values
        .iter()
        .filter_map(|value| match step {
            PathStep::Name(name) => value.get(name).cloned(),
            PathStep::Index(i) => value.as_array().and_then(|items| {
                let at = if *i < 0 { *i + items.len() as i64 } else { *i };
                items.get(usize::try_from(at).ok()?).cloned()
            }),
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    let always = found.len() == values.len();
    Some(SchemaPlace { schema: json!({ "enum": found }), always, ..whole() })
}

fn member(map: &Map<String, Value>, name: &str) -> Option<SchemaPlace> {
    let required = list(map, "required").iter().any(|r| r == name);
    let mut parts: Vec<Value> = Vec::new();
    parts.extend(map.get("properties").and_then(|p| p.get(name)).cloned());
    if let Some(Value::Object(patterns)) = map.get("patternProperties") {
        for (pattern, schema) in patterns {
            match regex::Regex::new(pattern) {
                Ok(regex) if regex.is_match(name) => parts.push(schema.clone()),
                Ok(_) => {}
                Err(_) => return Some(SchemaPlace { exact: false, ..SchemaPlace::anything() }),
            }
        }
    }
    if !parts.is_empty() {
        let schema = all_of(parts);
        let never = schema == Value::Bool(false);
        return (!never).then_some(SchemaPlace { schema, always: required, ..whole() });
    }
    match map.get("additionalProperties") {
        Some(Value::Bool(false)) => None,
        Some(schema @ Value::Object(_)) => {
            Some(SchemaPlace { schema: schema.clone(), always: required, ..whole() })
        }
        _ => Some(SchemaPlace { always: required, ..SchemaPlace::anything() }),
    }
}

fn item(map: &Map<String, Value>, index: i64) -> Option<SchemaPlace> {
    let number = |keyword: &str| map.get(keyword).and_then(Value::as_u64);
    let items_min = number("minItems").unwrap_or(0);
    let needed = if index < 0 { index.unsigned_abs() } else { index.unsigned_abs() + 1 };
    if number("maxItems").is_some_and(|max| max < needed) {
        return None;
    }
    // Draft 2020-12 has `prefixItems`; earlier ones wrote a list under `items`.
    let prefix = match map.get("items") {
        Some(Value::Array(items)) => items.as_slice(),
        _ => list(map, "prefixItems"),
    };
    let rest = match map.get("items") {
        Some(Value::Array(_)) => map.get("additionalItems"),
        other => other,
    };
    let always = items_min >= needed;
    let declared = rest.is_some();
    let rest = rest.cloned().unwrap_or(Value::Bool(true));
    if index < 0 {
        let mut any = prefix.to_vec();
        any.push(rest);
        let exact = prefix.is_empty();
        return Some(SchemaPlace {
            schema: any_of(any),
            always,
            exact,
            declared,
            branching: false,
        });
    }
    let (schema, declared) = match prefix.get(usize::try_from(index).ok()?) {
        Some(schema) => (schema.clone(), true),
        None => (rest, declared),
    };
    (schema != Value::Bool(false)).then_some(SchemaPlace { schema, always, declared, ..whole() })
}

/// True if a required member of every branch is a constant, another one in each.
fn discriminated(branches: &[Value]) -> bool {
    let constant = |branch: &Value, name: &str| -> Option<Value> {
        let required = branch.get("required")?.as_array()?.iter().any(|r| r == name);
        let value = branch.get("properties")?.get(name)?.get("const")?.clone();
        required.then_some(value)
    };
    let Some(first) = branches.first().and_then(|b| b.get("properties")?.as_object()) else {
        return false;
    };
    first.keys().any(|name| {
        let values: Option<Vec<Value>> = branches.iter().map(|b| constant(b, name)).collect();
        values.is_some_and(|values| (1..values.len()).all(|at| !values[..at].contains(&values[at])))
    })
}

/// Both hold at once.
fn both(a: SchemaPlace, b: SchemaPlace) -> SchemaPlace {
    SchemaPlace {
        always: a.always || b.always,
        exact: a.exact && b.exact,
        declared: a.declared || b.declared,
        branching: a.branching || b.branching,
        schema: all_of(vec![a.schema, b.schema]),
    }
}

fn all_of(mut parts: Vec<Value>) -> Value {
    parts.retain(|part| *part != Value::Bool(true));
    match parts.len() {
        0 => Value::Bool(true),
        1 => parts.remove(0),
        _ => json!({ "allOf": parts }),
    }
}

fn any_of(mut parts: Vec<Value>) -> Value {
    if parts.contains(&Value::Bool(true)) {
        return Value::Bool(true);
    }
    parts.retain(|part| *part != Value::Bool(false));
    parts.dedup();
    match parts.len() {
        0 => Value::Bool(false),
        1 => parts.remove(0),
        _ => json!({ "anyOf": parts }),
    }
}

fn list<'m>(map: &'m Map<String, Value>, keyword: &str) -> &'m [Value] {
    map.get(keyword).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn step_text(step: &PathStep) -> String {
    match step {
        PathStep::Name(name) => name.clone(),
        PathStep::Index(i) => format!("[{i}]"),
    }
}
