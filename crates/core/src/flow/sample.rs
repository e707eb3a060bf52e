//! Values of a schema: the ends of ranges, each branch, each property there and absent.
//!
//! For showing that two schemas differ, and that a condition cannot be evaluated. Sloppy on
//! purpose: who needs a value that is valid for certain asks a validator, as all callers here do.

use std::cell::Cell;

use regex_syntax::hir::{Hir, HirKind};
use serde_json::{Map, Value, json};

/// The most values that one schema gives.
const VALUES_MAX: usize = 64;
/// The most variants of one part that go into the whole, by how deep it lies: the deeper, the
/// fewer.
const VARIANTS_MAX: usize = 12;
const VARIANTS_BY_DEPTH: [usize; 6] = [VARIANTS_MAX, VARIANTS_MAX, VARIANTS_MAX, 4, 4, 4];
const VARIANTS_DEEP: usize = 2;
/// Members that need not be there are left out below this.
const OPTIONAL_DEPTH_MAX: usize = 8;
/// Recursion in a schema ends here.
const DEPTH_MAX: usize = 40;
/// The longest text and list that is made.
const LENGTH_MAX: u64 = 1_000;
/// Schemas looked at and values made for one call, all levels together: schemas that ask for more
/// (long lists of long lists, wide objects of wide objects) get fewer values.
const BUDGET: usize = 50_000;

/// Some values that `schema` may hold for valid.
pub fn samples(schema: &Value) -> Vec<Value> {
    let sampler = SchemaSampler { document: schema, budget: Cell::new(BUDGET) };
    let mut values = sampler.values(schema, 0);
    values.truncate(VALUES_MAX);
    values
}

struct SchemaSampler<'s> {
    document: &'s Value,
    budget: Cell<usize>,
}

const TYPES: [&str; 7] = ["string", "integer", "number", "object", "array", "boolean", "null"];

impl SchemaSampler<'_> {
    fn values(&self, schema: &Value, depth: usize) -> Vec<Value> {
        let map = match schema {
            Value::Bool(false) => return Vec::new(),
            Value::Object(map) => map,
            _ => return any_value(),
        };
        if depth > DEPTH_MAX || !self.spend(1) {
            return Vec::new();
        }
        if let Some(constant) = map.get("const") {
            return vec![constant.clone()];
        }
        if let Some(Value::Array(values)) = map.get("enum") {
            return values.iter().take(VALUES_MAX).cloned().collect();
        }
        if let Some(target) = map.get("$ref").and_then(Value::as_str).and_then(|r| self.target(r)) {
            let mut rest = map.clone();
            rest.remove("$ref");
            return self.values(&merged(&Value::Object(rest), target), depth + 1);
        }
        if let Some(Value::Array(parts)) = map.get("allOf") {
            let mut rest = map.clone();
            rest.remove("allOf");
            let all = parts
                .iter()
                .fold(Value::Object(rest), |all, part| merged(&all, self.dereferenced(part)));
            return self.values(&all, depth + 1);
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = map.get(keyword) {
                let mut rest = map.clone();
                rest.remove(keyword);
                let rest = Value::Object(rest);
                return interleaved(branches.iter().map(|branch| {
                    self.values(&merged(&rest, self.dereferenced(branch)), depth + 1)
                }));
            }
        }
        interleaved(types(map).into_iter().map(|name| self.of_type(name, map, depth)))
    }

    /// Takes from the budget; `false` when it is spent.
    fn spend(&self, nodes: usize) -> bool {
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(nodes));
        left > nodes
    }

    fn target(&self, reference: &str) -> Option<&Value> {
        self.document.pointer(reference.strip_prefix('#')?)
    }

    fn dereferenced<'v>(&'v self, schema: &'v Value) -> &'v Value {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|r| self.target(r));
        target.unwrap_or(schema)
    }

    fn of_type(&self, name: &str, map: &Map<String, Value>, depth: usize) -> Vec<Value> {
        match name {
            "null" => vec![Value::Null],
            "boolean" => vec![json!(true), json!(false)],
            "integer" => numbers(map, true),
            "number" => numbers(map, false),
            "string" => texts(map),
            "array" => self.arrays(map, depth),
            _ => self.objects(map, depth),
        }
    }

    fn arrays(&self, map: &Map<String, Value>, depth: usize) -> Vec<Value> {
        let bound = |keyword: &str| map.get(keyword).and_then(Value::as_u64);
        let prefix: Vec<Vec<Value>> = match (map.get("prefixItems"), map.get("items")) {
            (Some(Value::Array(p)), _) | (None, Some(Value::Array(p))) => {
                p.iter().map(|schema| self.some_values(schema, depth)).collect()
            }
            _ => Vec::new(),
        };
        let rest = match map.get("items") {
            Some(schema) if !schema.is_array() => self.some_values(schema, depth),
            _ => any_value(),
        };
        let least = bound("minItems").unwrap_or(0).min(LENGTH_MAX) as usize;
        let most = bound("maxItems").unwrap_or(u64::MAX);
        let distinct = map.get("uniqueItems") == Some(&Value::Bool(true));
        // Each item of each place in turn, the others at their first value.
        let build = |length: usize, shift: usize| -> Option<Value> {
            let heaviest = prefix.iter().chain([&rest]).flatten().map(weight).max().unwrap_or(1);
            if !self.spend(length.saturating_mul(heaviest)) {
                return None;
            }
            (0..length)
                .map(|i| {
                    let choices = prefix.get(i).unwrap_or(&rest);
                    let at = if distinct { i + shift } else { shift };
                    choices.get(at.min(choices.len().saturating_sub(1))).cloned()
                })
                .collect::<Option<Vec<Value>>>()
                .map(Value::Array)
        };
        let mut values = Vec::new();
        let lengths = [least, prefix.len(), least + 1, prefix.len() + 1, 0, 2];
        for (nth, length) in lengths.into_iter().enumerate() {
            if length < least || length as u64 > most || lengths[..nth].contains(&length) {
                continue;
            }
            values
                .extend((0..VARIANTS_MAX.min(rest.len().max(1))).filter_map(|s| build(length, s)));
        }
        if most <= LENGTH_MAX {
            values.extend(build(most as usize, 0));
        }
        values.dedup();
        values
    }

    fn objects(&self, map: &Map<String, Value>, depth: usize) -> Vec<Value> {
        let empty = Map::new();
        let properties = map.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required: Vec<&str> = map
            .get("required")
            .and_then(Value::as_array)
            .map(|r| r.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let additional = match map.get("additionalProperties") {
            Some(schema) => self.some_values(schema, depth),
            None => any_value(),
        };
        let mut least = Map::new();
        for name in &required {
            let values = properties.get(*name).map(|schema| self.some_values(schema, depth));
            let first = values.as_ref().unwrap_or(&additional).first();
            least.insert((*name).to_owned(), first.cloned().unwrap_or(Value::Null));
        }
        let mut full = least.clone();
        let mut variants = vec![];
        let each: Vec<(&String, Vec<Value>)> = properties
            .iter()
            .filter(|(name, _)| depth <= OPTIONAL_DEPTH_MAX || required.contains(&name.as_str()))
            .map(|(name, schema)| (name, self.some_values(schema, depth)))
            .collect();
        let weight_full: usize = each.iter().map(|(_, values)| 1 + heaviest(values)).sum();
        for (name, values) in &each {
            for (nth, value) in values.iter().enumerate() {
                if !self.spend(weight_full) {
                    break;
                }
                if nth == 0 {
                    full.insert((*name).clone(), value.clone());
                }
                let mut variant = least.clone();
                variant.insert((*name).clone(), value.clone());
                variants.push(variant);
            }
        }
        let mut values = vec![least.clone(), full.clone()];
        values.extend(additional.iter().take(2).map(|value| {
            let mut more = full.clone();
            more.insert("another".to_owned(), value.clone());
            more
        }));
        let shifts = (1..VARIANTS_MAX / 2).filter(|_| self.spend(weight_full));
        values.extend(shifts.map(|nth| shifted(&full, &each, nth)));
        values.extend(variants);
        values.into_iter().map(Value::Object).collect()
    }

    fn some_values(&self, schema: &Value, depth: usize) -> Vec<Value> {
        let mut values = self.values(schema, depth + 1);
        values.truncate(VARIANTS_BY_DEPTH.get(depth).copied().unwrap_or(VARIANTS_DEEP));
        values
    }
}

/// All properties at their nth value at once.
fn shifted(
    full: &Map<String, Value>,
    each: &[(&String, Vec<Value>)],
    nth: usize,
) -> Map<String, Value> {
    let mut shifted = full.clone();
    for (name, values) in each {
        if let Some(value) = values.get(nth.min(values.len().saturating_sub(1))) {
            shifted.insert((*name).clone(), value.clone());
        }
    }
    shifted
}

fn heaviest(values: &[Value]) -> usize {
    values.iter().map(weight).max().unwrap_or(0)
}

/// Counts the parts of a value. Made within the budget, so never deep.
fn weight(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(weight).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

fn any_value() -> Vec<Value> {
    vec![json!("text"), json!(0), json!(0.5), json!({}), json!([]), json!(true), Value::Null]
}

/// The first of each, then the second of each, and so on: no branch crowds out another.
fn interleaved(lists: impl Iterator<Item = Vec<Value>>) -> Vec<Value> {
    let lists: Vec<Vec<Value>> = lists.collect();
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let mut values = Vec::new();
    for i in 0..longest {
        values.extend(lists.iter().filter_map(|list| list.get(i)).cloned());
    }
    values.truncate(VALUES_MAX);
    values
}

fn types(map: &Map<String, Value>) -> Vec<&str> {
    match map.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => TYPES.to_vec(),
    }
}

/// One schema that says what both say, as far as keywords can be put side by side.
fn merged(a: &Value, b: &Value) -> Value {
    let (Value::Object(a), Value::Object(b)) = (a, b) else {
        return if a.is_object() || a == &Value::Bool(false) { a.clone() } else { b.clone() };
    };
    let mut out = a.clone();
    for (key, theirs) in b {
        let value = match (out.get(key), theirs) {
            (Some(Value::Object(ours)), Value::Object(theirs)) if key == "properties" => {
                let mut all = ours.clone();
                for (name, schema) in theirs {
                    let both = all.get(name).map(|mine| merged(mine, schema));
                    all.insert(name.clone(), both.unwrap_or_else(|| schema.clone()));
                }
                Value::Object(all)
            }
            (Some(Value::Array(ours)), Value::Array(theirs)) if key == "required" => {
                ours.iter().chain(theirs).cloned().collect()
            }
            (Some(Value::Array(ours)), Value::Array(theirs)) if key == "enum" => {
                ours.iter().filter(|value| theirs.contains(value)).cloned().collect()
            }
            (Some(Value::Array(ours)), Value::Array(theirs)) if key == "allOf" => {
                ours.iter().chain(theirs).cloned().collect()
            }
            (Some(ours), theirs) if is_lower_bound(key) => larger(ours, theirs).clone(),
            (Some(ours), theirs) if is_upper_bound(key) => smaller(ours, theirs).clone(),
            _ => theirs.clone(),
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}

fn is_lower_bound(key: &str) -> bool {
    matches!(key, "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties")
}

fn is_upper_bound(key: &str) -> bool {
    matches!(key, "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties")
}

fn larger<'v>(a: &'v Value, b: &'v Value) -> &'v Value {
    if a.as_f64() >= b.as_f64() { a } else { b }
}

fn smaller<'v>(a: &'v Value, b: &'v Value) -> &'v Value {
    if a.as_f64() <= b.as_f64() { a } else { b }
}

fn numbers(map: &Map<String, Value>, whole: bool) -> Vec<Value> {
    let bound = |keyword: &str| map.get(keyword).and_then(Value::as_f64);
    let step = bound("multipleOf").filter(|step| *step > 0.0);
    let mut points = vec![];
    for at in [bound("minimum"), bound("exclusiveMinimum")].into_iter().flatten() {
        points.extend([at, at + 1.0, at + 0.5, at.floor() + 1.0, at.ceil()]);
    }
    for at in [bound("maximum"), bound("exclusiveMaximum")].into_iter().flatten() {
        points.extend([at, at - 1.0, at - 0.5, at.ceil() - 1.0, at.floor()]);
    }
    points.extend([0.0, 1.0, -1.0, 0.5, 2.5, 1e9, -1e9, 7.0]);
    if let Some(step) = step {
        let multiples: Vec<f64> = points.iter().map(|p| (p / step).ceil() * step).collect();
        points.extend(multiples);
        points.extend([step, -step, step * 3.0]);
    }
    let mut values: Vec<Value> = Vec::new();
    for point in points {
        let fits = |low: Option<f64>, high: Option<f64>| {
            low.is_none_or(|low| point >= low) && high.is_none_or(|high| point <= high)
        };
        let strict = bound("exclusiveMinimum").is_none_or(|low| point > low)
            && bound("exclusiveMaximum").is_none_or(|high| point < high);
        if !fits(bound("minimum"), bound("maximum")) || !strict {
            continue;
        }
        let value = if point.fract() == 0.0 && point.abs() < 9e15 {
            Value::from(point as i64)
        } else if whole {
            continue;
        } else {
            Value::from(point)
        };
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// One value of each format that the validator knows.
const FORMATS: [(&str, &str); 17] = [
    ("date-time", "2026-01-31T12:00:00Z"),
    ("date", "2026-01-31"),
    ("time", "12:00:00Z"),
    ("duration", "P1D"),
    ("email", "a@example.org"),
    ("idn-email", "a@example.org"),
    ("hostname", "example.org"),
    ("idn-hostname", "example.org"),
    ("ipv4", "192.0.2.1"),
    ("ipv6", "2001:db8::1"),
    ("uri", "https://example.org/a"),
    ("uri-reference", "/a"),
    ("iri", "https://example.org/a"),
    ("uuid", "0190a7b0-0000-7000-8000-000000000000"),
    ("json-pointer", "/a"),
    ("uri-template", "https://example.org/{a}"),
    ("regex", "^a$"),
];

fn texts(map: &Map<String, Value>) -> Vec<Value> {
    let bound = |keyword: &str| map.get(keyword).and_then(Value::as_u64);
    let mut texts: Vec<String> = Vec::new();
    if let Some(format) = map.get("format").and_then(Value::as_str) {
        texts.extend(
            FORMATS.iter().filter(|(name, _)| *name == format).map(|(_, t)| (*t).to_owned()),
        );
    }
    if let Some(pattern) = map.get("pattern").and_then(Value::as_str) {
        texts.extend(matches_of(pattern));
    }
    texts.extend(["text", "", "a", "Some words.", "42", "ZZ-9"].map(str::to_owned));
    for length in [bound("minLength"), bound("maxLength")].into_iter().flatten() {
        if length <= LENGTH_MAX {
            texts.push("a".repeat(length as usize));
        }
    }
    // A format may carry other values too; the validator sorts out which.
    texts.extend(FORMATS.iter().map(|(_, text)| (*text).to_owned()));
    if let Some(most) = bound("maxLength") {
        texts.retain(|text| text.chars().count() as u64 <= most);
    }
    if let Some(least) = bound("minLength").filter(|least| *least <= LENGTH_MAX) {
        for text in &mut texts {
            let short = (least as usize).saturating_sub(text.chars().count());
            text.push_str(&"a".repeat(short));
        }
    }
    texts.dedup();
    texts.into_iter().map(Value::from).collect()
}

/// Short texts that match a pattern; none for what the engine does not parse.
fn matches_of(pattern: &str) -> Vec<String> {
    let Ok(hir) = regex_syntax::parse(pattern) else { return Vec::new() };
    let mut texts = Vec::new();
    for extra in 0..3 {
        let mut text = String::new();
        if push_match(&hir, extra, &mut text) && !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// Appends a match; `extra` repeats what may be repeated and picks later alternatives.
fn push_match(hir: &Hir, extra: u32, out: &mut String) -> bool {
    if out.len() as u64 > LENGTH_MAX {
        return false;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => {
                out.push_str(text);
                true
            }
            Err(_) => false,
        },
        HirKind::Class(class) => {
            let regex_syntax::hir::Class::Unicode(class) = class else { return false };
            // A letter where the class has one: control characters read badly in messages.
            let ranges = class.ranges();
            let has = |c: char| ranges.iter().any(|r| (r.start()..=r.end()).contains(&c));
            let familiar = ['a', 'A', '1', '-', ' '].into_iter().find(|c| has(*c));
            let Some(c) = familiar
                .or_else(|| ranges.first().map(regex_syntax::hir::ClassUnicodeRange::start))
            else {
                return false;
            };
            out.push(c);
            true
        }
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(u32::MAX);
            let times = repetition.min.saturating_add(extra).min(most);
            (0..times).all(|_| push_match(&repetition.sub, extra, out))
        }
        HirKind::Capture(capture) => push_match(&capture.sub, extra, out),
        HirKind::Concat(parts) => parts.iter().all(|part| push_match(part, extra, out)),
        HirKind::Alternation(parts) => {
            let at = (extra as usize).min(parts.len().saturating_sub(1));
            parts.get(at).is_some_and(|part| push_match(part, extra, out))
        }
    }
}
