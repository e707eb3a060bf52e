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

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::quoted::{QuoteEnd, QuoteMark, QuoteScan, ScannedText, is_space, unescape};

/// The depth to which values may nest.
pub(super) const NESTING_MAX: usize = 128;
/// The number of times that each byte may be looked at again, on average, where quotes do not
/// close.
const REREAD_MAX: usize = 8;
const REREAD_SLACK: usize = 1 << 16;

/// Bytes of a text that may still be read for nothing.
pub(super) struct RepairBudget(usize);

impl RepairBudget {
    pub(super) fn for_text(text: &str) -> RepairBudget {
        RepairBudget(REREAD_MAX * text.len() + REREAD_SLACK)
    }
}

/// Forgiven mistakes, each with its number.
pub(super) type Repairs = BTreeMap<&'static str, usize>;

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
pub(super) fn read(text: &str) -> Result<(Value, Repairs), UnreadableJson> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok((value, Repairs::new()));
    }
    let unescaped = unescaped_once(text);
    let mut budget = RepairBudget::for_text(text);
    let mut reader = JsonReader::new(unescaped.as_deref().unwrap_or(text), 0, &mut budget);
    if unescaped.is_some() {
        reader.repair("the whole was escaped once too often");
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
        _ => Value::Array(values),
    };
    Ok((value, reader.repairs))
}

/// Reads the one value that begins at a byte of the text, and tells where it ends.
pub(super) fn read_at(
    text: &str,
    at: usize,
    budget: &mut RepairBudget,
) -> Result<(Value, usize, Repairs), UnreadableJson> {
    // The one case in a thousand where it is right as it stands costs no repair.
    let mut strict = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
    if let Some(Ok(value)) = strict.next() {
        return Ok((value, at + strict.byte_offset(), Repairs::new()));
    }
    let mut reader = JsonReader::new(text, at, budget);
    let value = reader.value()?.ok_or(UnreadableJson::Empty)?;
    Ok((value, reader.at, reader.repairs))
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
enum JsonFrame {
    List(Vec<Value>),
    /// `key` waits for its value; `stray` opening braces wait for theirs.
    Object {
        members: Map<String, Value>,
        key: Option<String>,
        stray: usize,
    },
}

/// The value at a place in the text.
enum FoundValue {
    Value(Value),
    Opened,
    /// Something that means nothing; reading goes on behind it.
    Skipped,
    /// A bracket or the end, where a value could stand.
    Nothing,
}

struct JsonReader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    budget: &'t mut RepairBudget,
    repairs: Repairs,
    stack: Vec<JsonFrame>,
}

impl<'t> JsonReader<'t> {
    fn new(text: &'t str, at: usize, budget: &'t mut RepairBudget) -> JsonReader<'t> {
        let bytes = text.as_bytes();
        JsonReader { text, bytes, at, budget, repairs: Repairs::new(), stack: Vec::new() }
    }

    fn repair(&mut self, what: &'static str) {
        *self.repairs.entry(what).or_default() += 1;
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &'t str {
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
                        self.repair("a closing bracket that nothing opened was left out");
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
                self.repair("a missing closing bracket was added");
                Ok(self.close())
            }
            Some(b']') => {
                self.at += 1;
                Ok(self.close())
            }
            Some(b'}') => {
                self.repair("a closing bracket of the wrong kind");
                if !self.stack.iter().any(|frame| matches!(frame, JsonFrame::Object { .. })) {
                    self.at += 1;
                }
                Ok(self.close())
            }
            Some(_) => match self.start(false)? {
                FoundValue::Value(value) => Ok(Some(value)),
                FoundValue::Opened | FoundValue::Skipped | FoundValue::Nothing => Ok(None),
            },
        }
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
                self.repair("a missing closing bracket was added");
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
            Some(b']') => {
                self.repair("a closing bracket of the wrong kind");
                if !self.stack.iter().any(|frame| matches!(frame, JsonFrame::List(_))) {
                    self.at += 1;
                }
                Ok(self.close())
            }
            Some(b'{') if is_empty => {
                self.repair("a stray opening brace was left out");
                self.at += 1;
                if let Some(JsonFrame::Object { stray, .. }) = self.stack.last_mut() {
                    *stray += 1;
                }
                Ok(None)
            }
            // A new object where a key should stand: the one before it was not closed.
            Some(b'{') if self.stack.len() > 1 => {
                self.repair("a missing closing bracket was added");
                Ok(self.close())
            }
            Some(b'{' | b'[' | b':') => {
                self.repair("a stray opening brace was left out");
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
            self.repair("a missing colon was added");
        }
        match found {
            FoundValue::Value(value) => Ok(Some(value)),
            FoundValue::Opened | FoundValue::Skipped => Ok(None),
            FoundValue::Nothing => {
                self.repair("a key without a value was left out");
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
                self.repair("keys without quotes");
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
    fn blank(&mut self) {
        loop {
            let rest = self.rest();
            let spaces: usize = rest.chars().take_while(|c| is_space(*c)).map(char::len_utf8).sum();
            self.at += spaces;
            let rest = &rest[spaces..];
            let skipped = if rest.starts_with("/*") {
                self.repair("comments were left out");
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else if rest.starts_with("//") || rest.starts_with('#') {
                self.repair("comments were left out");
                rest.find('\n').unwrap_or(rest.len())
            } else if let Some(info) = rest.strip_prefix("```") {
                self.repair("code fences were left out");
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
            } else if let Some(behind) = rest.strip_prefix("...") {
                self.repair("dots that stand for more were left out");
                self.at = self.text.len() - behind.trim_start_matches('.').len();
            } else {
                break;
            }
        }
        if commas > 1 || (commas == 1 && matches!(self.byte(), None | Some(b'}' | b']'))) {
            self.repair("trailing commas were left out");
        }
    }

    /// True if a comma is next, between values of the outermost level. Stray closing brackets
    /// before it are passed over.
    fn comma(&mut self) -> bool {
        loop {
            self.blank();
            match self.byte() {
                Some(b'}' | b']') => {
                    self.repair("a closing bracket that nothing opened was left out");
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

    /// A text in quotes, which may be quotes of any kind and need not close.
    fn quoted(&mut self, quote: QuoteMark) -> Result<String, UnreadableJson> {
        let begin = self.at + quote.bytes;
        if !quote.is_plain() {
            self.repair("quotes other than double ones");
        }
        let mut scan = QuoteScan { begin, quote, until: QuoteEnd::Quote };
        loop {
            match scan.run(self.text) {
                ScannedText::Whole { to, next, closed } => {
                    if !closed {
                        self.repair("a missing quote was added");
                    }
                    let (text, odd) = unescape(&self.text[begin..to], quote);
                    if odd {
                        self.repair("characters that a text has to escape");
                    }
                    self.at = next;
                    return Ok(self.concatenated(text, closed));
                }
                ScannedText::Again { end, read } => {
                    let left = self.budget.0.checked_sub(read);
                    self.budget.0 = left.ok_or(UnreadableJson::TooBroken)?;
                    scan.until = end;
                }
            }
        }
    }

    /// `"a" + "b"` as programs write it.
    fn concatenated(&mut self, mut text: String, closed: bool) -> String {
        if !closed {
            return text;
        }
        loop {
            let behind = self.at;
            self.blank();
            let Some(b'+') = self.byte() else {
                self.at = behind;
                break;
            };
            self.at += 1;
            self.blank();
            let Some(quote) = QuoteMark::at(self.rest()) else { break };
            let begin = self.at + quote.bytes;
            let Some(length) = self.text[begin..].find(|c| quote.closes(c)) else { break };
            self.repair("texts that were joined by +");
            text.push_str(&unescape(&self.text[begin..begin + length], quote).0);
            self.at = begin + length + quote.bytes;
        }
        text
    }

    /// A word or number without quotes.
    fn bare(&mut self, is_key: bool) -> FoundValue {
        let rest = self.rest();
        if let Some(inside) = called(rest) {
            // `callback({…})`: the brackets mean nothing.
            self.repair("a function call around the value was left out");
            self.at += inside;
            return FoundValue::Skipped;
        }
        let length = bare_length(rest, is_key);
        if length == 0 {
            self.at += rest.chars().next().map_or(0, char::len_utf8);
            return FoundValue::Skipped;
        }
        let word = rest[..length].trim_end_matches(is_space);
        self.at += word.len();
        // A quote right behind it closes what nobody opened.
        if QuoteMark::at(self.rest()).is_some_and(QuoteMark::is_plain) {
            self.repair("a missing quote was added");
            self.at += 1;
        }
        let value = match word {
            "true" | "True" => Value::Bool(true),
            "false" | "False" => Value::Bool(false),
            "null" | "None" | "undefined" => Value::Null,
            _ => match number(word) {
                Some(number) => Value::Number(number),
                None => Value::String(word.to_owned()),
            },
        };
        match (&value, word) {
            (_, "True" | "False" | "None" | "undefined") => self.repair("literals of a program"),
            (Value::String(_), _) if is_key => self.repair("keys without quotes"),
            (Value::String(_), _) => self.repair("texts without quotes"),
            _ => {}
        }
        if is_key {
            FoundValue::Value(Value::String(word.to_owned()))
        } else {
            FoundValue::Value(value)
        }
    }
}

/// A name and an opening bracket before a value; how many bytes they take.
fn called(rest: &str) -> Option<usize> {
    let name = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let first = rest.bytes().next()?;
    if name == 0 || first.is_ascii_digit() {
        return None;
    }
    let behind = rest[name..].trim_start_matches(is_space);
    let inside = behind.strip_prefix('(')?;
    let value = inside.trim_start_matches(is_space);
    let opens = value.starts_with(['{', '[']) || QuoteMark::at(value).is_some();
    opens.then(|| rest.len() - inside.len())
}

/// The length of a word without quotes.
fn bare_length(rest: &str, is_key: bool) -> usize {
    let mut before = ' ';
    for (at, c) in rest.char_indices() {
        let ends = match c {
            ',' | '[' | ']' | '{' | '}' | '\n' => true,
            ':' => is_key,
            '/' if before == '/' => false,
            '/' => {
                let behind = rest.as_bytes().get(at + 1);
                // `https://…` is no comment.
                behind == Some(&b'*') || (behind == Some(&b'/') && before != ':')
            }
            '`' => rest[at..].starts_with("```"),
            '\'' => is_key,
            _ => QuoteMark::of(c).is_some(),
        };
        if ends {
            return at;
        }
        before = c;
    }
    rest.len()
}

/// Numbers as JSON has them, and those that lack a digit at one end of their point.
fn number(word: &str) -> Option<Number> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let leading = digits.bytes().take_while(u8::is_ascii_digit).count();
    if leading > 1 && digits.starts_with('0') {
        return None;
    }
    if let Ok(Value::Number(number)) = serde_json::from_str(word) {
        return Some(number);
    }
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let points = digits.bytes().filter(|b| *b == b'.').count();
    if !plain || points != 1 || digits.len() < 2 {
        return None;
    }
    Number::from_f64(word.parse().ok()?)
}
