//! Texts, words and numbers of almost-JSON. A part of `json`'s reader.

use serde_json::{Number, Value};

use super::json::{FoundValue, JsonReader, UnreadableJson};
use super::json_notes::JsonRepair;
use super::quoted::{QuoteEnd, QuoteMark, QuoteScan, ScannedText, is_space, unescape};

impl JsonReader<'_> {
    /// A text in quotes, which may be quotes of any kind and need not close.
    pub(super) fn quoted(&mut self, quote: QuoteMark) -> Result<String, UnreadableJson> {
        let begin = self.at + quote.bytes;
        if !quote.is_plain() {
            self.repair(JsonRepair::Quotes);
        }
        let mut scan = QuoteScan { begin, quote, until: QuoteEnd::Quote };
        loop {
            match scan.run(self.text) {
                ScannedText::Whole { to, next, closed } => {
                    if !closed {
                        self.repair(JsonRepair::MissingQuote);
                        // No further quote: the text breaks off in this one.
                        self.notes.is_cut |= !self.text[begin..].contains(|c| quote.closes(c));
                    }
                    let (text, odd) = unescape(&self.text[begin..to], quote);
                    if odd {
                        self.repair(JsonRepair::Escapes);
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
            self.repair(JsonRepair::JoinedTexts);
            text.push_str(&unescape(&self.text[begin..begin + length], quote).0);
            self.at = begin + length + quote.bytes;
        }
        text
    }

    /// A word or number without quotes.
    pub(super) fn bare(&mut self, is_key: bool) -> FoundValue {
        let rest = self.rest();
        if let Some(inside) = called(rest) {
            // `callback({…})`: the brackets mean nothing.
            self.repair(JsonRepair::FunctionCall);
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
        self.notes.is_cut |= word.len() == rest.len() && !self.stack.is_empty();
        // A quote right behind it closes what nobody opened.
        if QuoteMark::at(self.rest()).is_some_and(QuoteMark::is_plain) {
            self.repair(JsonRepair::MissingQuote);
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
            (_, "True" | "False" | "None" | "undefined") => {
                self.repair(JsonRepair::ProgramLiterals);
            }
            (Value::String(_), _) if is_key => self.repair(JsonRepair::BareKeys),
            (Value::String(_), _) => self.repair(JsonRepair::BareTexts),
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
