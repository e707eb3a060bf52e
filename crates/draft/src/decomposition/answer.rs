//! A model's raw answer, read into a draft: fenced or bare JSON with prose around it, whatever its
//! fields are called; or a list of steps in words.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::candidates::{FoundPlan, NoPlan, find_plan};
use super::draft::DraftPlan;
use super::json::{self, UnreadableJson};
use super::json_notes::JsonNotes;
use super::reasoning::final_answer;
use super::steps;
use crate::import::{IMPORT_BYTES_MAX, ImportedPlan, read_markdown};
use l05_core::error::{Error, ErrorCode};
use l05_core::finding::brief;

/// The way in which an answer is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadingMode {
    /// A step of unknown shape is kept as an ATOMIC task whose description is its text, and an answer
    /// that is cut off is read as far as it goes.
    pub lenient: bool,
}

/// Reads an answer. What is no plan in any form is E5106, whose message says what was found instead.
pub fn read_answer(text: &str, reading: ReadingMode) -> Result<ImportedPlan, Error> {
    match try_read_draft(text, reading) {
        Ok(draft) => {
            let plan = draft.plan_file();
            Ok(ImportedPlan { plan, repairs: draft.repairs, warnings: draft.warnings })
        }
        // An answer without JSON may be a list in words; one of broken JSON is none.
        Err(AnswerFailure::NoSteps(error)) if is_prose(text) => {
            let answer = final_answer(text);
            let mut imported = read_markdown(&answer.text).map_err(|_| error)?;
            if answer.had_reasoning {
                imported.repairs.insert(0, REASONING.to_owned());
            }
            Ok(imported)
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

/// Reads a model's answer to a question whose answer has a form: JSON, with or without reasoning and
/// prose around it. A value within a text is opened unless the form is a text.
///
/// Err: E5106 for an answer that cannot be read or that ends within a value.
pub fn read_result(text: &str, schema: &Value) -> Result<Value, Error> {
    let answer = final_answer(text);
    let text = &*answer.text;
    if text.trim().is_empty() {
        let what = if answer.had_reasoning { ONLY_REASONING } else { "the answer is empty" };
        return Err(malformed(what.to_owned(), text));
    }
    let (value, notes) = json_within(text).map_err(|why| unreadable(text, why))?;
    if notes.is_cut {
        return Err(cut_off(text));
    }
    let wants_text = schema.get("type").is_some_and(|kind| kind == "string");
    match &value {
        Value::String(inner) if !wants_text && inner.trim_start().starts_with(['{', '[']) => {
            let opened = json::read(inner).ok().filter(|(_, notes)| !notes.is_cut);
            Ok(opened.map_or(value, |(inner, _)| inner))
        }
        _ => Ok(value),
    }
}

/// The value that an answer is, or the last one that stands in its prose.
fn json_within(text: &str) -> Result<(Value, JsonNotes), UnreadableJson> {
    let trimmed = text.trim();
    if trimmed.starts_with(['{', '[', '"', '`']) || !trimmed.contains(['{', '[']) {
        return json::read(trimmed);
    }
    // A list in the prose is a remark where there is an object.
    for open in ["```", "{", "["] {
        let Some(at) = trimmed.find(open) else { continue };
        let (value, notes) = json::read(&trimmed[at..])?;
        if value.is_object() || value.is_array() {
            return Ok((value, notes));
        }
    }
    json::read(trimmed)
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
    let answer = final_answer(text);
    let text = &*answer.text;
    let found = match find_plan(text) {
        Ok(found) => found,
        Err(NoPlan::NoSteps(_)) if text.trim().is_empty() && answer.had_reasoning => {
            let error = malformed(ONLY_REASONING.to_owned(), text).detail("no_steps", true);
            return Err(AnswerFailure::Unreadable(error));
        }
        Err(NoPlan::NoSteps(first)) => {
            return Err(AnswerFailure::NoSteps(no_plan(text, first.as_ref())));
        }
        Err(NoPlan::Unreadable(why)) => return Err(unreadable(text, why).into()),
    };
    if let Some(refusal) = refusal(text) {
        let message = format!("the answer refuses in the end: \"{}\"", brief(&refusal));
        return Err(malformed(message, text).into());
    }
    if found.notes.is_cut && !reading.lenient {
        return Err(cut_off(text)
            .suggest(
                "ask again with room for a longer answer; --lenient reads it as far as it goes",
            )
            .into());
    }
    let mut draft = steps::read(&found.value, &found.words, reading)?;
    tell(&mut draft, &found, answer.had_reasoning);
    Ok(draft)
}

/// Adds what was noticed before the steps were read.
fn tell(draft: &mut DraftPlan, found: &FoundPlan, had_reasoning: bool) {
    let reasoning = had_reasoning.then(|| REASONING.to_owned());
    draft.repairs.splice(0..0, reasoning.into_iter().chain(found.notes.told()));
    for steps in &found.passed_over {
        draft.warnings.push(format!(
            "another plan in the answer, of {steps} steps, was passed over: the last one counts"
        ));
    }
    for key in &found.notes.repeated {
        let warning = format!("`{}` stands twice in one object: the last one counts", brief(key));
        draft.lost.push(warning.clone());
        draft.warnings.push(warning);
    }
    if found.notes.is_cut {
        draft
            .warnings
            .push("the answer ends within a value: what was to come is not here".to_owned());
    }
}

const REASONING: &str = "the model's reasoning was left out";
const ONLY_REASONING: &str = "the answer is nothing but reasoning";

fn cut_off(text: &str) -> Error {
    malformed("the answer is cut off: it ends within a value".to_owned(), text).detail("cut", true)
}

/// The words behind the last value with which a model takes its draft back.
fn refusal(text: &str) -> Option<String> {
    static REFUSAL: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?i)\b(?:i\s+(?:cannot|can['\u{2019}]t|can\s+not|won['\u{2019}]t|will\s+not|must\s+decline|have\s+to\s+decline)",
            r"|i(?:['\u{2019}]m|\s+am)\s+(?:unable|not\s+able)\s+to)",
            r"\s*(?:to\s+)?(?:help|assist|do\s+(?:this|that|it)|comply|fulfil|fulfill|continue|proceed|carry|plan|create\s+(?:this|that|such)|provide\s+(?:this|that|such)|$|[.,])"
        ))
        .expect("a fixed pattern, which the tests run")
    });
    let end = text.rfind(['}', ']'])?;
    let words = text[end + 1..].trim_matches(|c: char| c == '`' || c.is_whitespace());
    REFUSAL.find(words).map(|_| words.to_owned())
}

/// True if a text can be words at all: what has control characters is noise, in which a list reader
/// would find its items.
fn is_prose(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
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
