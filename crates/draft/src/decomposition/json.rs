//! Almost-JSON: what models write when they are asked for JSON.
//!
//! Form is forgiven, substance never: nothing is made up, a key without a value is left out, and
//! what was forgiven is counted by kind. The rules are those on which two well-known repair
//! libraries agree (their test cases: `docs/answers.md`). Strict JSON never comes here changed: it
//! is tried first.
//!
//! Containers are on a stack of their own, so that nesting costs no call stack; it is limited all
//! the same, because a `Value` is dropped recursively. A text whose quotes do not close is read
//! again up to its first delimiter; a budget keeps the whole linear.

use serde_json::{Map, Value};

use super::json_brackets::{key_at, next_object_key};
use super::json_notes::{BracketRepair, JsonNotes, JsonRepair, repeated_keys};
use super::quoted::{QuoteMark, is_space};

/// The depth to which values may nest.
pub(super) const NESTING_MAX: usize = 128;
/// The number of times that each byte may be looked at again, on average, where quotes do not
/// close.
const REREAD_MAX: usize = 8;
const REREAD_SLACK: usize = 1 << 16;

/// Bytes of a text that may still be read for nothing.
pub(super) struct RepairBudget(pub(super) usize);

impl RepairBudget {
    pub(super) fn for_text(text: &str) -> RepairBudget {
        RepairBudget(REREAD_MAX * text.len() + REREAD_SLACK)
    }
}

/// Reasons for which a text cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnreadableJson {
    /// There is no value in it.
    Empty,
    /// Brackets nest deeper than [`NESTING_MAX`].
    TooDeep,
    /// So many quotes do not close that reading on would take long.
    TooBroken,
}

/// Reads a whole text: one value, or several with commas or nothing between them as a list.
pub(super) fn read(text: &str) -> Result<(Value, JsonNotes), UnreadableJson> {
    read_to_end(text).map(|(value, notes, _)| (value, notes))
}

/// Reads as [`read`] does, and tells where the values end.
pub(super) fn read_to_end(text: &str) -> Result<(Value, JsonNotes, usize), UnreadableJson> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok((value, repeated_keys(text), text.len()));
    }
    let unescaped = unescaped_once(text);
    let mut budget = RepairBudget::for_text(text);
    let mut reader = JsonReader::new(unescaped.as_deref().unwrap_or(text), 0, &mut budget);
    if unescaped.is_some() {
        reader.repair(JsonRepair::EscapedTwice);
    }
    let mut values = vec![reader.value()?.ok_or(UnreadableJson::Empty)?];
    // More values after a comma; what else follows a value is prose or stray brackets.
    while reader.comma() {
        match reader.value()? {
            Some(value) => values.push(value),
            None => break,
        }
    }
    let value = match values.len() {
        1 => values.pop().unwrap_or_default(),
        _ => {
            reader.repair(JsonRepair::Brackets(BracketRepair::SeveralValues));
            joined(values)
        }
    };
    let end = if unescaped.is_some() { text.len() } else { reader.at };
    Ok((value, reader.notes, end))
}

/// Several values as one list: a list of objects that was closed too early goes on with what follows.
fn joined(values: Vec<Value>) -> Value {
    let is_list_of_objects = |value: &Value| {
        value
            .as_array()
            .is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_object))
    };
    let goes_on = values.first().is_some_and(is_list_of_objects)
        && values.iter().all(|value| value.is_object() || is_list_of_objects(value));
    if !goes_on {
        return Value::Array(values);
    }
    let items = values.into_iter().flat_map(|value| match value {
        Value::Array(items) => items,
        other => vec![other],
    });
    Value::Array(items.collect())
}

/// Reads the one value that begins at a byte of the text, and tells where it ends.
pub(super) fn read_at(
    text: &str,
    at: usize,
    budget: &mut RepairBudget,
) -> Result<(Value, usize, JsonNotes), UnreadableJson> {
    // The one case in a thousand where it is right as it stands costs no repair.
    let mut strict = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
    if let Some(Ok(value)) = strict.next() {
        let end = at + strict.byte_offset();
        return Ok((value, end, repeated_keys(&text[at..end])));
    }
    let mut reader = JsonReader::new(text, at, budget);
    let value = reader.value()?.ok_or(UnreadableJson::Empty)?;
    Ok((value, reader.at, reader.notes))
}

/// `{\"a\": \"b\"}`: a value that was put into a string and taken out as text.
fn unescaped_once(text: &str) -> Option<String> {
    let first = text.find('"')?;
    if !text[..first].ends_with('\\') || text[..first].contains('\'') {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(escaped) => out.push(escaped),
                None => {}
            },
            other => out.push(other),
        }
    }
    Some(out)
}

/// A container under way.
pub(super) enum JsonFrame {
    List(Vec<Value>),
    /// `key` waits for its value; `stray` opening braces wait for theirs.
    Object {
        members: Map<String, Value>,
        key: Option<String>,
        stray: usize,
    },
}

/// The value at a place in the text.
pub(super) enum FoundValue {
    Value(Value),
    Opened,
    /// Something that means nothing; reading goes on behind it.
    Skipped,
    /// A bracket or the end, where a value could stand.
    Nothing,
}

pub(super) struct JsonReader<'t> {
    pub(super) text: &'t str,
    bytes: &'t [u8],
    pub(super) at: usize,
    pub(super) budget: &'t mut RepairBudget,
    pub(super) notes: JsonNotes,
    pub(super) stack: Vec<JsonFrame>,
}

impl<'t> JsonReader<'t> {
    fn new(text: &'t str, at: usize, budget: &'t mut RepairBudget) -> JsonReader<'t> {
        let bytes = text.as_bytes();
        JsonReader { text, bytes, at, budget, notes: JsonNotes::default(), stack: Vec::new() }
    }

    pub(super) fn repair(&mut self, what: JsonRepair) {
        self.notes.repair(what);
    }

    /// The text ends here. A list that is open may have had more items; the outermost object whose
    /// lists are whole lacks no more than its bracket.
    fn cut(&mut self) {
        self.repair(JsonRepair::Brackets(BracketRepair::MissingClosing));
        self.notes.is_cut |= self.stack.iter().any(|frame| matches!(frame, JsonFrame::List(_)));
    }

    /// The key of the object that stands next, behind a closing bracket here.
    fn next_key(&self) -> Option<&'t str> {
        next_object_key(&self.rest()[1..])
    }

    pub(super) fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// One value with all that is in it. None: the text ends first.
    fn value(&mut self) -> Result<Option<Value>, UnreadableJson> {
        loop {
            let done = match self.stack.last() {
                None => match self.start(false)? {
                    FoundValue::Value(value) => Some(value),
                    FoundValue::Opened | FoundValue::Skipped => None,
                    FoundValue::Nothing if self.byte().is_none() => return Ok(None),
                    // A closing bracket that nothing opened.
                    FoundValue::Nothing => {
                        self.repair(JsonRepair::Brackets(BracketRepair::StrayClosing));
                        self.at += 1;
                        None
                    }
                },
                Some(JsonFrame::List(_)) => self.list()?,
                Some(JsonFrame::Object { .. }) => self.object()?,
            };
            let Some(done) = done else { continue };
            match self.stack.last_mut() {
                None => return Ok(Some(done)),
                Some(JsonFrame::List(items)) => items.push(done),
                Some(JsonFrame::Object { members, key, .. }) => {
                    if let Some(key) = key.take() {
                        if members.contains_key(&key) {
                            self.notes.repeat(&key);
                        }
                        members.insert(key, done);
                    }
                }
            }
        }
    }

    /// One step within a list: an item that is whole, or the list that it closes.
    fn list(&mut self) -> Result<Option<Value>, UnreadableJson> {
        self.separators();
        match self.byte() {
            None => {
                self.cut();
                Ok(self.close())
            }
            Some(b']') => {
                self.at += 1;
                Ok(self.close())
            }
            // One brace too many before the next item.
            Some(b'}') if self.next_key().is_some_and(|next| self.lists_objects_with(next)) => {
                self.repair(JsonRepair::Brackets(BracketRepair::StrayClosing));
                self.at += 1;
                Ok(None)
            }
            Some(b'}') => {
                self.repair(JsonRepair::Brackets(BracketRepair::WrongKind));
                if !self.is_in_object() {
                    self.at += 1;
                }
                Ok(self.close())
            }
            // A key where an item should stand: the list before it was not closed.
            Some(b'"' | b'\'') if self.is_in_object() && key_at(self.rest()).is_some() => {
                self.repair(JsonRepair::Brackets(BracketRepair::MissingClosing));
                Ok(self.close())
            }
            Some(_) => match self.start(false)? {
                FoundValue::Value(value) => Ok(Some(value)),
                FoundValue::Opened | FoundValue::Skipped | FoundValue::Nothing => Ok(None),
            },
        }
    }

    fn is_in_object(&self) -> bool {
        self.stack.iter().any(|frame| matches!(frame, JsonFrame::Object { .. }))
    }

    /// True if the next object begins with a key that the open one has, too.
    fn same_object_follows(&self) -> bool {
        let Some(JsonFrame::Object { members, .. }) = self.stack.last() else { return false };
        self.next_key().is_some_and(|next| members.contains_key(next))
    }

    /// True if the last object of the innermost list has this key.
    fn lists_objects_with(&self, key: &str) -> bool {
        let Some(JsonFrame::List(items)) = self.stack.last() else { return false };
        let last = items.last().and_then(Value::as_object);
        last.is_some_and(|members| members.contains_key(key))
    }

    /// One step within an object: a value for the key that waits, a key, or the end.
    fn object(&mut self) -> Result<Option<Value>, UnreadableJson> {
        let Some(JsonFrame::Object { members, key, stray }) = self.stack.last_mut() else {
            unreachable!("the caller looked");
        };
        if key.is_some() {
            return self.member();
        }
        let (is_empty, is_closed) = (members.is_empty(), *stray == 0);
        self.separators();
        match self.byte() {
            None => {
                self.cut();
                Ok(self.close())
            }
            Some(b'}') if is_closed => {
                self.at += 1;
                Ok(self.close())
            }
            Some(b'}') => {
                self.at += 1;
                if let Some(JsonFrame::Object { stray, .. }) = self.stack.last_mut() {
                    *stray -= 1;
                }
                Ok(None)
            }
            // The next object is of this one's kind: the bracket was to end this one.
            Some(b']') if self.same_object_follows() => {
                self.repair(JsonRepair::Brackets(BracketRepair::WrongKind));
                self.at += 1;
                Ok(self.close())
            }
            Some(b']') => {
                self.repair(JsonRepair::Brackets(BracketRepair::WrongKind));
                if !self.stack.iter().any(|frame| matches!(frame, JsonFrame::List(_))) {
                    self.at += 1;
                }
                Ok(self.close())
            }
            Some(b'{') if is_empty => {
                self.repair(JsonRepair::Brackets(BracketRepair::StrayOpening));
                self.at += 1;
                if let Some(JsonFrame::Object { stray, .. }) = self.stack.last_mut() {
                    *stray += 1;
                }
                Ok(None)
            }
            // A new object where a key should stand: the one before it was not closed.
            Some(b'{') if self.stack.len() > 1 => {
                self.repair(JsonRepair::Brackets(BracketRepair::MissingClosing));
                Ok(self.close())
            }
            Some(b'{' | b'[' | b':') => {
                self.repair(JsonRepair::Brackets(BracketRepair::StrayOpening));
                self.at += 1;
                Ok(None)
            }
            Some(_) => {
                self.key()?;
                Ok(None)
            }
        }
    }

    /// The value of the key that waits.
    fn member(&mut self) -> Result<Option<Value>, UnreadableJson> {
        self.blank();
        let has_colon = self.byte() == Some(b':');
        if has_colon {
            self.at += 1;
            self.blank();
        }
        let found = match self.byte() {
            None | Some(b'}' | b']' | b',') => FoundValue::Nothing,
            Some(_) => self.start(false)?,
        };
        if !has_colon && !matches!(found, FoundValue::Nothing) {
            self.repair(JsonRepair::MissingColon);
        }
        match found {
            FoundValue::Value(value) => Ok(Some(value)),
            FoundValue::Opened | FoundValue::Skipped => Ok(None),
            FoundValue::Nothing => {
                self.repair(JsonRepair::KeyWithoutValue);
                self.notes.is_cut |= self.byte().is_none();
                if let Some(JsonFrame::Object { key, .. }) = self.stack.last_mut() {
                    *key = None;
                }
                Ok(None)
            }
        }
    }

    fn key(&mut self) -> Result<(), UnreadableJson> {
        let FoundValue::Value(found) = self.start(true)? else { return Ok(()) };
        let name = match found {
            Value::String(text) => text,
            other => {
                self.repair(JsonRepair::BareKeys);
                other.to_string()
            }
        };
        if let Some(JsonFrame::Object { key, .. }) = self.stack.last_mut() {
            *key = Some(name);
        }
        Ok(())
    }

    fn close(&mut self) -> Option<Value> {
        match self.stack.pop()? {
            JsonFrame::List(items) => Some(Value::Array(items)),
            JsonFrame::Object { members, .. } => Some(Value::Object(members)),
        }
    }

    /// Reads what begins here. A container is opened and goes on the stack.
    fn start(&mut self, is_key: bool) -> Result<FoundValue, UnreadableJson> {
        self.blank();
        let Some(byte) = self.byte() else { return Ok(FoundValue::Nothing) };
        match byte {
            b'{' | b'[' => {
                if self.stack.len() >= NESTING_MAX {
                    return Err(UnreadableJson::TooDeep);
                }
                self.at += 1;
                self.stack.push(match byte {
                    b'[' => JsonFrame::List(Vec::new()),
                    _ => JsonFrame::Object { members: Map::new(), key: None, stray: 0 },
                });
                Ok(FoundValue::Opened)
            }
            b'}' | b']' => Ok(FoundValue::Nothing),
            _ => match QuoteMark::at(self.rest()) {
                Some(quote) => Ok(FoundValue::Value(Value::String(self.quoted(quote)?))),
                None => Ok(self.bare(is_key)),
            },
        }
    }

    /// White space, comments, fences: all that stands between values without meaning anything.
    pub(super) fn blank(&mut self) {
        loop {
            let rest = self.rest();
            let spaces: usize = rest.chars().take_while(|c| is_space(*c)).map(char::len_utf8).sum();
            self.at += spaces;
            let rest = &rest[spaces..];
            let skipped = if rest.starts_with("/*") {
                self.repair(JsonRepair::Comments);
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else if rest.starts_with("//") || rest.starts_with('#') {
                self.repair(JsonRepair::Comments);
                rest.find('\n').unwrap_or(rest.len())
            } else if let Some(info) = rest.strip_prefix("```") {
                self.repair(JsonRepair::CodeFences);
                let word = info.bytes().take_while(u8::is_ascii_alphanumeric).count();
                3 + word
            } else if rest.starts_with([')', ';']) {
                1
            } else {
                return;
            };
            self.at += skipped;
        }
    }

    /// Commas and dots between items, as many as there are.
    fn separators(&mut self) {
        let mut commas = 0;
        loop {
            self.blank();
            let rest = self.rest();
            if rest.starts_with(',') {
                commas += 1;
                self.at += 1;
            } else if rest.starts_with('，') {
                self.repair(JsonRepair::WideCommas);
                self.at += '，'.len_utf8();
            } else if let Some(behind) = rest.strip_prefix("...") {
                self.repair(JsonRepair::Dots);
                self.at = self.text.len() - behind.trim_start_matches('.').len();
            } else {
                break;
            }
        }
        if commas > 1 || (commas == 1 && matches!(self.byte(), None | Some(b'}' | b']'))) {
            self.repair(JsonRepair::TrailingCommas);
        }
    }

    /// True if a comma is next, between values of the outermost level. Stray closing brackets
    /// before it are passed over.
    fn comma(&mut self) -> bool {
        loop {
            self.blank();
            match self.byte() {
                Some(b'}' | b']') => {
                    self.repair(JsonRepair::Brackets(BracketRepair::StrayClosing));
                    self.at += 1;
                }
                Some(b',') => {
                    self.at += 1;
                    return true;
                }
                _ => return false,
            }
        }
    }
}
