//! Single values on their way in and out of a table: JSON tokens, texts, values of a question.

use rusqlite::types::{Value as SqlValue, ValueRef};
use serde_json::Value;

use super::column::ColumnType;
use super::number::{NumberText, canonical_integer, double_text, survives_text};

/// A JSON token without white space around its parts.
pub(super) fn compact(token: &str) -> String {
    let mut compact = String::with_capacity(token.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in token.chars() {
        if quoted || !matches!(c, ' ' | '\t' | '\n' | '\r') {
            compact.push(c);
        }
        (quoted, escaped) = match c {
            '"' if !escaped => (!quoted, false),
            '\\' if quoted => (true, !escaped),
            _ => (quoted, false),
        };
    }
    compact
}

/// The text of a JSON string; none for another token.
pub(super) fn string_of(token: &str) -> Option<String> {
    serde_json::from_str(token).ok()
}

/// A token among tokens of other types: SQLite's own type says what it is.
pub(super) fn mixed(token: &str) -> SqlValue {
    match (string_of(token), canonical_integer(token)) {
        (Some(text), _) => SqlValue::Text(text),
        (None, Some(integer)) => SqlValue::Integer(integer),
        (None, None) => SqlValue::Blob(token.as_bytes().to_vec()),
    }
}

/// The text of a value in the file it came from, or in one that is read to the same value. Where a text among
/// numbers would be taken for one, it stands in quotes. None is no value.
pub(super) fn exact_text(kind: ColumnType, value: ValueRef<'_>) -> Option<String> {
    Some(match value {
        ValueRef::Null => return None,
        ValueRef::Integer(n) if kind == ColumnType::Boolean => (n != 0).to_string(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(double) => real_text(double),
        ValueRef::Text(bytes) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let is_token = || serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            if kind == ColumnType::Mixed && is_token() { json_string(&text) } else { text }
        }
        ValueRef::Blob(token) => String::from_utf8_lossy(token).into_owned(),
    })
}

/// The text of a value in a file without types.
pub(super) fn plain_text(kind: ColumnType, value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => exact_text(kind, other).unwrap_or_default(),
    }
}

/// The value as a token of JSON; `as_texts`: numbers of the column are written as texts.
pub(super) fn json_token(kind: ColumnType, value: ValueRef<'_>, as_texts: bool) -> String {
    match (value, kind) {
        (ValueRef::Null, _) => "null".to_owned(),
        (ValueRef::Text(bytes), _) => {
            let text = String::from_utf8_lossy(bytes);
            match kind {
                ColumnType::Json | ColumnType::Number => text.into_owned(),
                ColumnType::Decimal if !as_texts => text.into_owned(),
                _ => json_string(&text),
            }
        }
        (ValueRef::Real(double), _) => {
            double_text(double).unwrap_or_else(|| json_string(&real_text(double)))
        }
        (other, _) => exact_text(kind, other).unwrap_or_else(|| "null".to_owned()),
    }
}

/// Readers of JSON that know doubles alone get the number that the value is.
pub(super) fn survives_json(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::Text(text) => std::str::from_utf8(text)
            .ok()
            .and_then(NumberText::new)
            .is_some_and(|number| number.survives_json()),
        _ => true,
    }
}

/// A value in the answer to a question, and whether it is as it was written. One that is not is a text, and then all
/// numbers of its column are.
pub(super) fn answered(kind: Option<ColumnType>, value: ValueRef<'_>) -> (Value, bool) {
    match (value, kind) {
        (ValueRef::Null, _) => (Value::Null, true),
        (ValueRef::Integer(n), Some(ColumnType::Boolean)) => (Value::Bool(n != 0), true),
        // Beyond what JSON readers keep exactly.
        (ValueRef::Integer(n), _) if n.unsigned_abs() >= 1 << 53 => {
            (Value::from(n.to_string()), false)
        }
        (ValueRef::Integer(n), _) => (Value::from(n), true),
        (ValueRef::Real(double), _) => match serde_json::Number::from_f64(double) {
            Some(number) => (Value::Number(number), true),
            None => (Value::from(real_text(double)), true),
        },
        (ValueRef::Text(bytes), _) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            match kind {
                Some(ColumnType::Decimal | ColumnType::Number) => number_or_text(text),
                Some(ColumnType::Json) => (token_value(&text), true),
                _ => (Value::from(text), true),
            }
        }
        (ValueRef::Blob(token), Some(ColumnType::Mixed)) => {
            (token_value(&String::from_utf8_lossy(token)), true)
        }
        (ValueRef::Blob(bytes), _) => (Value::from(format!("<{} bytes>", bytes.len())), true),
    }
}

fn number_or_text(text: String) -> (Value, bool) {
    match serde_json::from_str::<serde_json::Number>(&text) {
        Ok(number) if survives_text(&text) => (Value::Number(number), true),
        _ => (Value::from(text), false),
    }
}

/// What a token says, where nothing of it gets lost; else its text.
fn token_value(token: &str) -> Value {
    let Ok(value) = serde_json::from_str::<Value>(token) else { return Value::from(token) };
    let written = value.to_string();
    if written == token { value } else { Value::from(token) }
}

fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

fn real_text(double: f64) -> String {
    double_text(double)
        .unwrap_or_else(|| if double > 0.0 { "Infinity" } else { "-Infinity" }.to_owned())
}
