//! Walks a JSON value by a table of field names and collects every problem on the way.
//!
//! Called by the readers of goals, plans and templates. A method that finds a problem records it
//! and answers with nothing, so that reading goes on and the caller sees all problems at the end.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::choice::ClosedChoice;
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::suggest::{did_you_mean, nearest};

/// One field: the written name and the other spellings that are read.
pub(crate) struct FieldName {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
}

/// A field with other spellings; [`plain`] for one without.
pub(crate) const fn aliased(name: &'static str, aliases: &'static [&'static str]) -> FieldName {
    FieldName { name, aliases }
}

/// A field with one spelling.
pub(crate) const fn plain(name: &'static str) -> FieldName {
    FieldName { name, aliases: &[] }
}

/// The most findings that one document may collect; past it a hostile file would only cost memory.
const FINDINGS_MAX: usize = 1_000;

/// Collects the findings of one document.
#[derive(Default)]
pub(crate) struct DocumentReader {
    findings: RefCell<Vec<Finding>>,
}

impl DocumentReader {
    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }

    pub(crate) fn malformed(&self, path: &str, message: impl Into<String>) {
        self.push(
            Finding::new(ErrorCode::PlanMalformed, ValidationLevel::Syntax, message).field(path),
        );
    }

    pub(crate) fn push(&self, finding: Finding) {
        let mut findings = self.findings.borrow_mut();
        if findings.len() < FINDINGS_MAX {
            findings.push(finding);
        }
    }

    /// Opens an object whose fields are `fields`; everything else in it is refused by name.
    pub(crate) fn object<'v>(
        &'v self,
        value: &'v Value,
        path: impl Into<String>,
        fields: &'static [FieldName],
    ) -> Option<ObjectReader<'v>> {
        let path = path.into();
        let Value::Object(map) = value else {
            self.malformed(&path, format!("must be a mapping, not {}", kind(value)));
            return None;
        };
        let mut values = vec![None; fields.len()];
        let mut spelled: Vec<&'static str> = fields.iter().map(|field| field.name).collect();
        for (key, value) in map {
            let found = fields.iter().position(|f| f.name == key || f.aliases.contains(&&**key));
            let Some(index) = found else {
                self.unknown_field(&path, key, fields);
                continue;
            };
            if let Some(alias) = fields[index].aliases.iter().find(|alias| **alias == key) {
                spelled[index] = alias;
            }
            if value.is_null() {
                continue;
            }
            if values[index].replace(value).is_some() {
                let name = fields[index].name;
                self.malformed(&join(&path, key), format!("`{name}` is given twice"));
            }
        }
        Some(ObjectReader { reader: self, path, fields, values, spelled })
    }

    fn unknown_field(&self, path: &str, key: &str, fields: &'static [FieldName]) {
        let known =
            fields.iter().flat_map(|f| std::iter::once(f.name).chain(f.aliases.iter().copied()));
        let near = nearest(key, known);
        let message = format!("unknown field `{key}`{}", did_you_mean(&near));
        self.push(
            Finding::new(ErrorCode::PlanMalformed, ValidationLevel::Syntax, message)
                .field(join(path, key))
                .detail("nearest", near),
        );
    }
}

/// An opened object.
pub(crate) struct ObjectReader<'v> {
    reader: &'v DocumentReader,
    path: String,
    fields: &'static [FieldName],
    values: Vec<Option<&'v Value>>,
    spelled: Vec<&'static str>,
}

impl<'v> ObjectReader<'v> {
    pub(crate) fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Records a problem of one field.
    pub(crate) fn problem(&self, name: &str, message: impl Into<String>) {
        self.reader.malformed(&self.path(name), message);
    }

    pub(crate) fn value(&self, name: &str) -> Option<&'v Value> {
        let index = self.fields.iter().position(|f| f.name == name);
        self.values[index.expect("the field is in the table of this object")]
    }

    /// A field's name as the document spells it; its first name where it is not there.
    pub(crate) fn spelled(&self, name: &str) -> &'static str {
        let index = self.fields.iter().position(|f| f.name == name);
        self.spelled[index.expect("the field is in the table of this object")]
    }

    fn typed<T>(&self, name: &str, want: &str, read: impl Fn(&'v Value) -> Option<T>) -> Option<T> {
        let value = self.value(name)?;
        let read = read(value);
        if read.is_none() {
            self.problem(name, format!("must be {want}, not {}", kind(value)));
        }
        read
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.typed(name, "text", |v| v.as_str().map(str::to_owned))
    }

    /// A small document of its own, read by serde: its first problem is named.
    pub(crate) fn typed_document<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        let value = self.value(name)?;
        serde_json::from_value(value.clone()).map_err(|e| self.problem(name, e.to_string())).ok()
    }

    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(crate) fn integer(&self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(name)?;
        let number = value.as_u64().filter(|n| range.contains(n));
        if number.is_none() {
            let (low, high) = range.into_inner();
            self.problem(
                name,
                format!("must be a whole number from {low} to {high}, not {}", kind(value)),
            );
        }
        number
    }

    pub(crate) fn number(&self, name: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.value(name)?;
        let number = value.as_f64().filter(|n| range.contains(n));
        if number.is_none() {
            let (low, high) = range.into_inner();
            self.problem(
                name,
                format!("must be a number from {low} to {high}, not {}", kind(value)),
            );
        }
        number
    }

    pub(crate) fn choice<T: ClosedChoice>(&self, name: &str) -> Option<T> {
        let word = self.text(name)?;
        let read = T::read(&word);
        if read.is_none() {
            let known: Vec<&str> = T::ALL.iter().map(|(word, _)| *word).collect();
            self.problem(name, format!("`{word}` is none of {}", known.join(", ")));
        }
        read
    }

    pub(crate) fn list(&self, name: &str) -> &'v [Value] {
        self.typed(name, "a list", |v| v.as_array().map(Vec::as_slice)).unwrap_or(&[])
    }

    pub(crate) fn map(&self, name: &str) -> Map<String, Value> {
        self.typed(name, "a mapping", |v| v.as_object().cloned()).unwrap_or_default()
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for (i, item) in self.list(name).iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self
                    .problem(&format!("{name}[{i}]"), format!("must be text, not {}", kind(item))),
            }
        }
        texts
    }
}

pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A value in a message: its type, and its text where that is short.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) if s.chars().count() <= 40 => format!("the text `{s}`"),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}
