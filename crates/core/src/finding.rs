//! One problem in a document, and where it is. Readers and validators collect all of them.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorCode};

/// The four levels of validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ValidationLevel {
    /// Form: ids, names, ranges, types, sizes.
    Syntax,
    /// Meaning: dependencies, references, tools, schemas.
    Semantic,
    /// The plan can be done: agents, budgets, deadlines, secrets.
    Feasibility,
    /// The plan is permitted: signatures, forbidden tools, scopes.
    Security,
}

/// A problem of a document, named by task and field.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The stable code.
    pub code: ErrorCode,
    /// The level whose check found it.
    pub level: ValidationLevel,
    /// The task, where it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The field's path: `tasks[2].inputs.path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The line of the plan file, from 1, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// The problem, in words.
    pub message: String,
    /// Advice on how to mend it.
    pub suggestion: String,
    /// Facts of the problem as data.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    /// The finding is that a COMPOUND task stands for a plan that nobody has made: whoever makes it
    /// yet leaves this aside.
    #[serde(skip)]
    pub is_unplanned_part: bool,
}

impl Finding {
    /// A finding with the code's own suggestion.
    pub fn new(code: ErrorCode, level: ValidationLevel, message: impl Into<String>) -> Finding {
        Finding {
            code,
            level,
            task: None,
            field: None,
            line: None,
            column: None,
            message: message.into().chars().take(MESSAGE_MAX_CHARS).collect(),
            suggestion: code.info().suggestion.to_owned(),
            details: Map::new(),
            is_unplanned_part: false,
        }
    }

    /// Says that it is about a part that is to be planned yet.
    #[must_use]
    pub(crate) fn unplanned_part(mut self) -> Finding {
        self.is_unplanned_part = true;
        self
    }

    /// Names the task.
    #[must_use]
    pub fn task(mut self, task: impl Into<String>) -> Finding {
        self.task = Some(task.into());
        self
    }

    /// Names the field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Finding {
        self.field = Some(field.into());
        self
    }

    /// Says what to do in this case.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Finding {
        self.suggestion = suggestion.into();
        self
    }

    /// Adds one detail.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Finding {
        self.details.insert(key.to_owned(), value.into());
        self
    }
}

/// The longest message, in characters: values that are quoted whole can be megabytes.
const MESSAGE_MAX_CHARS: usize = 2_000;
/// The most of an offending text that a message repeats, in characters.
const BRIEF_MAX_CHARS: usize = 200;

/// A text as a message repeats it: not longer than a line or two.
pub fn brief(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(BRIEF_MAX_CHARS) {
        None => text.into(),
        Some((at, _)) => format!("{}…", &text[..at]).into(),
    }
}

/// All findings as one error: the code of the only one, else `umbrella`, with the whole list in
/// the details.
pub fn findings_error(umbrella: ErrorCode, findings: &[Finding]) -> Error {
    let list = serde_json::to_value(findings).expect("findings are plain data");
    match findings {
        [only] => Error::new(only.code, place(only))
            .suggest(only.suggestion.clone())
            .detail("findings", list),
        many => {
            let first = many.first().map(place).unwrap_or_default();
            let message = format!("{} problems; the first: {first}", many.len());
            Error::new(umbrella, message).detail("findings", list)
        }
    }
}

fn place(finding: &Finding) -> String {
    match (&finding.task, &finding.field) {
        (Some(task), Some(field)) => format!("task `{task}`, {field}: {}", finding.message),
        (Some(task), None) => format!("task `{task}`: {}", finding.message),
        (None, Some(field)) => format!("{field}: {}", finding.message),
        (None, None) => finding.message.clone(),
    }
}
