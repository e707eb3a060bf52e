//! A model's raw answer, read into a draft: fenced or bare JSON with prose around it, whatever its
//! fields are called; or a list of steps in words.

use serde_json::Value;

use super::draft::DraftPlan;
use super::json::{self, Repairs, UnreadableJson};
use super::steps;
use crate::import::{IMPORT_BYTES_MAX, ImportedPlan, read_markdown};
use l05_core::error::{Error, ErrorCode};
use l05_core::finding::brief;

/// The way in which an answer is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadingMode {
    /// A step of unknown shape is kept as an ATOMIC task whose description is its text.
    pub lenient: bool,
}

/// Values in one answer that are looked at; more of them is noise.
const CANDIDATES_MAX: usize = 10_000;

/// Reads an answer. What is no plan in any form is E5106, whose message says what was found instead.
pub fn read_answer(text: &str, reading: ReadingMode) -> Result<ImportedPlan, Error> {
    match try_read_draft(text, reading) {
        Ok(draft) => {
            let plan = draft.plan_file();
            Ok(ImportedPlan { plan, repairs: draft.repairs, warnings: draft.warnings })
        }
        // An answer without JSON may be a list in words; one of broken JSON is none.
        Err(AnswerFailure::NoSteps(error)) if is_prose(text) => {
            read_markdown(text).map_err(|_| error)
        }
        Err(AnswerFailure::NoSteps(error) | AnswerFailure::Unreadable(error)) => Err(error),
    }
}

/// A failure to read an answer, as far as reading goes on differently.
enum AnswerFailure {
    /// Nothing in it looks like a step.
    NoSteps(Error),
    /// The answer cannot be read.
    Unreadable(Error),
}

impl From<Error> for AnswerFailure {
    fn from(error: Error) -> AnswerFailure {
        AnswerFailure::Unreadable(error)
    }
}

/// Reads a text that should be JSON and nearly is; what cannot be read at all is E5106.
pub fn read_value(text: &str) -> Result<Value, Error> {
    json::read(text).map(|(value, _)| value).map_err(|why| unreadable(text, why))
}

/// The bytes of an answer as text: what is no UTF-8 is a `?` each time.
pub fn answer_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push('?');
        }
    }
    text
}

/// Reads an answer that has JSON in it.
pub fn read_draft(text: &str, reading: ReadingMode) -> Result<DraftPlan, Error> {
    try_read_draft(text, reading).map_err(|failure| match failure {
        AnswerFailure::NoSteps(error) | AnswerFailure::Unreadable(error) => error,
    })
}

fn try_read_draft(text: &str, reading: ReadingMode) -> Result<DraftPlan, AnswerFailure> {
    if text.len() > IMPORT_BYTES_MAX {
        let message = format!("the answer has {} bytes; at most {IMPORT_BYTES_MAX}", text.len());
        return Err(Error::new(ErrorCode::RequestTooLarge, message).into());
    }
    let (value, repairs) = find_plan(text)?;
    let mut draft = steps::read(&value, reading)?;
    let told = repairs.into_iter().map(|(what, times)| match times {
        1 => what.to_owned(),
        _ => format!("{what} ({times} times)"),
    });
    draft.repairs.splice(0..0, told);
    Ok(draft)
}

/// True if a text can be words at all: what has control characters is noise, in which a list reader
/// would find its items.
fn is_prose(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

/// Texts between fences at the beginning of lines, without the fence's own line.
fn fenced(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let (mut open, mut at) = (None, 0);
    for line in text.split_inclusive('\n') {
        let begin = at;
        at += line.len();
        if line.trim_start().starts_with("```") {
            match open.take() {
                None => open = Some(at),
                Some(from) => blocks.push(&text[from..begin]),
            }
        }
    }
    blocks.extend(open.map(|from| &text[from..]));
    blocks.retain(|block| block.trim_start().starts_with(['{', '[']));
    blocks
}

/// The value with the most steps in it; of two alike the later one, which models write when they
/// have thought again.
fn find_plan(text: &str) -> Result<(Value, Repairs), AnswerFailure> {
    let mut best: Option<(usize, Value, Repairs)> = None;
    for block in fenced(text) {
        let (value, mut repairs) = json::read(block).map_err(|why| unread(text, why))?;
        let steps = steps::count(&value);
        if steps > 0 && best.as_ref().is_none_or(|(most, ..)| steps >= *most) {
            repairs.insert("code fences were left out", 1);
            best = Some((steps, value, repairs));
        }
    }
    if let Some((_, value, repairs)) = best.take() {
        return Ok((value, repairs));
    }
    let trimmed = text.trim_start_matches(['\u{feff}', ' ', '\n', '\t', '\r']);
    let is_bare = trimmed.starts_with(['{', '[', '`']) || trimmed.starts_with("\\\"");
    let mut first = None;
    if is_bare {
        let (value, repairs) = json::read(trimmed).map_err(|why| unread(text, why))?;
        if steps::count(&value) > 0 {
            return Ok((value, repairs));
        }
        first = Some(value);
    }
    let mut budget = json::RepairBudget::for_text(text);
    let (mut at, mut looked_at) = (0, 0);
    while let Some(found) = text[at..].find(['{', '[']) {
        let begin = at + found;
        let read = json::read_at(text, begin, &mut budget);
        let (value, end, repairs) = read.map_err(|why| unread(text, why))?;
        let steps = steps::count_in_prose(&value);
        if steps > 0 && best.as_ref().is_none_or(|(most, ..)| steps >= *most) {
            best = Some((steps, value, repairs));
        } else {
            first.get_or_insert(value);
        }
        at = end.max(begin + 1);
        looked_at += 1;
        if looked_at > CANDIDATES_MAX || at >= text.len() {
            break;
        }
    }
    match best {
        Some((_, value, mut repairs)) => {
            repairs.insert("text around the plan was left out", 1);
            Ok((value, repairs))
        }
        None => Err(AnswerFailure::NoSteps(no_plan(text, first.as_ref()))),
    }
}

fn unread(text: &str, why: UnreadableJson) -> AnswerFailure {
    match why {
        UnreadableJson::Empty => AnswerFailure::NoSteps(no_plan(text, None)),
        UnreadableJson::TooDeep | UnreadableJson::TooBroken => {
            AnswerFailure::Unreadable(unreadable(text, why))
        }
    }
}

fn unreadable(text: &str, why: UnreadableJson) -> Error {
    let message = match why {
        UnreadableJson::Empty => return no_plan(text, None),
        UnreadableJson::TooDeep => {
            format!("the answer nests deeper than {} levels", json::NESTING_MAX)
        }
        UnreadableJson::TooBroken => "too many quotes of the answer do not close".to_owned(),
    };
    malformed(message, text)
}

fn no_plan(text: &str, found: Option<&Value>) -> Error {
    let what = match found {
        None if text.trim().is_empty() => "the answer is empty".to_owned(),
        None => "there is no JSON in the answer, and no list of steps".to_owned(),
        Some(Value::Object(members)) => {
            let keys: Vec<&str> = members.keys().map(String::as_str).take(8).collect();
            format!("the answer's object has no steps; its fields: {}", brief(&keys.join(", ")))
        }
        Some(Value::Array(items)) if items.is_empty() => "the answer is an empty list".to_owned(),
        Some(_) => "nothing in the answer's JSON is a step".to_owned(),
    };
    malformed(what, text).detail("no_steps", true)
}

pub(super) fn malformed(message: String, text: &str) -> Error {
    Error::new(ErrorCode::ModelAnswerMalformed, message)
        .detail("answer_bytes", text.len())
        .detail("begins", brief(text.trim_start()).into_owned())
}
