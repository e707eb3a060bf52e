//! Rows of JSON and NDJSON files for `data.read`: objects whose values stay the tokens that stand in the file.

use std::io::{BufRead as _, Read as _};

use l05_run::event::TaskError;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::ToolContext;
use super::cell::{compact, string_of};
use super::column::CellSource;
use super::data_read::{LINE_MAX_BYTES, ROWS_BETWEEN_LOOKS, ReadTableInput, TableFile};
use super::table::{COLUMNS_MAX, TableWriter};
use crate::workspace::failed;

/// The largest JSON file; a JSON list must be held whole, CSV and NDJSON are streamed.
const JSON_MAX_BYTES: u64 = 256 << 20;

/// An object's keys and tokens, in their order. A key that stands twice is an error: one of its values would be lost.
struct RawObject<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for RawObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawObject<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries: Vec<(String, &'de RawValue)> = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("the key `{key}` stands twice")));
                    }
                    entries.push((key, value));
                }
                Ok(RawObject(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Reads a list of objects, or the one list that an object holds.
pub(super) fn json_table(
    bench: &ToolContext,
    input: &ReadTableInput,
    reader: TableFile,
    notes: &mut Vec<String>,
) -> Result<Option<TableWriter>, TaskError> {
    let path = &input.path;
    let mut text = Vec::new();
    let unreadable = |e: &std::io::Error| failed(format!("`{path}`: {e}"));
    reader.take(JSON_MAX_BYTES + 1).read_to_end(&mut text).map_err(|e| unreadable(&e))?;
    if text.len() as u64 > JSON_MAX_BYTES {
        let limit = JSON_MAX_BYTES >> 20;
        return Err(failed(format!(
            "`{path}` is larger than {limit} MiB; NDJSON has no such limit"
        )));
    }
    let no_json = |e: &serde_json::Error| failed(format!("`{path}` is no JSON: {e}"));
    let no_list = || failed(format!("`{path}` must hold a list of objects"));
    let whole: &RawValue = serde_json::from_slice(&text).map_err(|e| no_json(&e))?;
    let list = match whole.get().as_bytes().first() {
        Some(b'[') => whole.get(),
        // The one list inside, as APIs wrap it.
        Some(b'{') => {
            let object: RawObject<'_> =
                serde_json::from_str(whole.get()).map_err(|e| no_json(&e))?;
            let mut lists = object.0.iter().filter(|(_, value)| value.get().starts_with('['));
            match (lists.next(), lists.next()) {
                (Some((_, list)), None) => {
                    let beside = object.0.iter().filter(|(_, v)| !v.get().starts_with('['));
                    let beside: Vec<&str> = beside.map(|(key, _)| key.as_str()).collect();
                    if !beside.is_empty() {
                        let names = beside.join("`, `");
                        notes.push(format!("beside the list that was read stands `{names}`"));
                    }
                    list.get()
                }
                _ => return Err(no_list()),
            }
        }
        _ => return Err(no_list()),
    };
    let items: Vec<&RawValue> = serde_json::from_str(list).map_err(|e| no_json(&e))?;
    let mut rows = RowReader::new(bench, input);
    for (i, item) in items.into_iter().enumerate() {
        rows.push(item.get(), i as u64 + 1, "item")?;
    }
    Ok(rows.end(notes))
}

/// Reads one object a line.
pub(super) fn ndjson_table(
    bench: &ToolContext,
    input: &ReadTableInput,
    mut reader: TableFile,
    notes: &mut Vec<String>,
) -> Result<Option<TableWriter>, TaskError> {
    let path = &input.path;
    let mut rows = RowReader::new(bench, input);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_MAX_BYTES).read_until(b'\n', &mut line);
        if read.map_err(|e| failed(format!("`{path}`: {e}")))? == 0 {
            return Ok(rows.end(notes));
        }
        number += 1;
        if line.len() as u64 == LINE_MAX_BYTES && line.last() != Some(&b'\n') {
            let limit = LINE_MAX_BYTES >> 20;
            return Err(failed(format!("`{path}` line {number} is longer than {limit} MiB")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let text = std::str::from_utf8(&line)
            .map_err(|e| failed(format!("`{path}` line {number}: {e}")))?;
        rows.push(text, number, "line")?;
    }
}

/// Objects as rows. Columns are those of the first object; a later object with others is refused, because silently
/// dropping values is worse than asking for a list of one shape.
struct RowReader<'a> {
    bench: &'a ToolContext,
    input: &'a ReadTableInput,
    writer: Option<TableWriter>,
    columns: Vec<String>,
    /// The number of rows that lack each column.
    lacking: Vec<u64>,
}

impl<'a> RowReader<'a> {
    fn new(bench: &'a ToolContext, input: &'a ReadTableInput) -> RowReader<'a> {
        RowReader { bench, input, writer: None, columns: Vec::new(), lacking: Vec::new() }
    }

    /// Takes an object; `unit` is what is counted by `number`.
    fn push(&mut self, item: &str, number: u64, unit: &str) -> Result<(), TaskError> {
        let path = &self.input.path;
        if !item.trim_ascii_start().starts_with('{') {
            let what = if serde_json::from_str::<&RawValue>(item).is_ok() {
                "not an object"
            } else {
                "no JSON"
            };
            return Err(failed(format!("`{path}` {unit} {number} is {what}")));
        }
        let object: RawObject<'_> = serde_json::from_str(item)
            .map_err(|e| failed(format!("`{path}` {unit} {number} is no JSON object: {e}")))?;
        if self.writer.is_none() {
            self.columns = object.0.iter().take(COLUMNS_MAX + 1).map(|(k, _)| k.clone()).collect();
            self.input.require(&self.columns)?;
            self.lacking = vec![0; self.columns.len()];
            let tables = &self.bench.tables;
            self.writer = Some(tables.create(self.bench, &self.columns, CellSource::Tokens)?);
        }
        let mut tokens: Vec<Option<String>> = vec![None; self.columns.len()];
        for (i, (key, value)) in object.0.iter().enumerate() {
            // Most often every object has its keys in the same order.
            let same_place = self.columns.get(i).is_some_and(|column| column == key);
            let place = || self.columns.iter().position(|column| column == key);
            let Some(at) = same_place.then_some(i).or_else(place) else {
                let known = self.columns.join(", ");
                return Err(failed(format!(
                    "`{path}` {unit} {number} has `{key}`, which the first one lacks (it has {known})"
                )));
            };
            let token = value.get();
            if token.starts_with('"') && string_of(token).is_none() {
                return Err(failed(format!(
                    "`{path}` {unit} {number}: the text of `{key}` holds half a character (a lone surrogate)"
                )));
            }
            tokens[at] = Some(compact(token));
        }
        for (lacking, token) in self.lacking.iter_mut().zip(&tokens) {
            *lacking += u64::from(token.is_none());
        }
        if number.is_multiple_of(ROWS_BETWEEN_LOOKS) {
            self.bench.go_on()?;
        }
        let tokens: Vec<Option<&str>> = tokens.iter().map(Option::as_deref).collect();
        self.writer.as_mut().expect("it was made above").push_tokens(&tokens)
    }

    fn end(self, notes: &mut Vec<String>) -> Option<TableWriter> {
        for (column, lacking) in self.columns.iter().zip(self.lacking).filter(|(_, n)| *n > 0) {
            notes.push(format!("{lacking} rows lack `{column}`: they have no value there"));
        }
        self.writer
    }
}
