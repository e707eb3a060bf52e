//! Errors that leave a public boundary: a stable code, a message that names the offending thing,
//! structured details and what to do about it.
//!
//! Inside a module a small enum decides which branch to take; where a failure becomes something a
//! person or another program reads, it becomes an [`Error`]. Which transport status goes with a
//! code is data of the registry; only the serving crate turns it into a status type.

mod registry;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use registry::{ErrorCode, REGISTRY};

/// Registry data of one code.
#[derive(Debug)]
pub struct ErrorInfo {
    /// The code itself.
    pub code: ErrorCode,
    variant: &'static str,
    /// The way in which a caller goes on from it.
    pub kind: ErrorKind,
    /// The number of times that an attempt that failed with it is repeated.
    pub retry: RetryClass,
    /// The general cause; an [`Error`]'s own message says exactly what.
    pub message: &'static str,
    /// True if a caller may send the same request again. Retries inside a run go by [`RetryClass`],
    /// not by this.
    pub retryable: bool,
    /// The gRPC status name, as the platform's contract gives it.
    pub grpc: &'static str,
    /// The HTTP status.
    pub http: u16,
    /// The general remedy.
    pub suggestion: &'static str,
}

/// The way on from an error: the branch that a caller takes, and the exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Command line or configuration are wrong.
    Usage,
    /// The input was refused: it has to change.
    Refused,
    /// Nothing has this name.
    NotFound,
    /// The state does not allow it (any more).
    WrongState,
    /// Somebody else was quicker, or has it.
    Conflict,
    /// Something that is needed cannot be reached: later it may work.
    Unavailable,
    /// Stored data are damaged: waiting does not help.
    Damaged,
    /// The work was cancelled.
    Cancelled,
}

/// The most times that an error of a class is retried, whatever the task's policy says (spec 03,
/// 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// The attempt took too long: three times.
    Timeout,
    /// The agent's fault, another may do better: twice.
    Agent,
    /// Temporary by nature: three times.
    Temporary,
    /// An output that does not fit may come out better once.
    Output,
    /// Bad input, no capability, no permission, no budget: it would fail again.
    Never,
}

impl RetryClass {
    /// The most retries after a first attempt.
    pub fn retries_max(self) -> u8 {
        match self {
            RetryClass::Timeout | RetryClass::Temporary => 3,
            RetryClass::Agent => 2,
            RetryClass::Output => 1,
            RetryClass::Never => 0,
        }
    }
}

impl ErrorInfo {
    /// The name in lower case with underscores: `circular_dependency`.
    pub fn name(&self) -> String {
        let mut name = String::with_capacity(self.variant.len() + 4);
        for letter in self.variant.chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

/// The row for codes of other versions.
static UNKNOWN: ErrorInfo = ErrorInfo {
    code: ErrorCode::Unknown(0),
    variant: "Unknown",
    kind: ErrorKind::Refused,
    retry: RetryClass::Never,
    message: "a code that this version does not know",
    retryable: false,
    grpc: "UNKNOWN",
    http: 500,
    suggestion: "the message says more; a newer version knows the code",
};

impl ErrorCode {
    /// The registry's row; one that promises nothing for a code that the registry does not know.
    pub fn info(self) -> &'static ErrorInfo {
        let row = REGISTRY.binary_search_by_key(&self.number(), |info| info.code.number());
        row.map_or(&UNKNOWN, |row| &REGISTRY[row])
    }

    /// Reads `E5301` (any case); `None` when the registry has no such code.
    pub fn parse(text: &str) -> Option<ErrorCode> {
        match ErrorCode::load(text)? {
            ErrorCode::Unknown(_) => None,
            known => Some(known),
        }
    }

    /// Reads a code of any version, as journals and agents hold them.
    fn load(text: &str) -> Option<ErrorCode> {
        let number: u16 = text.strip_prefix(['E', 'e'])?.parse().ok()?;
        let row = REGISTRY.binary_search_by_key(&number, |info| info.code.number());
        Some(row.map_or(ErrorCode::Unknown(number), |row| REGISTRY[row].code))
    }

    /// The family, which follows from the first three characters.
    pub fn category(self) -> &'static str {
        match self.number() / 100 {
            50 => "input, cache and retrieval",
            51 => "goal decomposition",
            52 => "task orchestration",
            53 => "dependency resolution",
            54 => "context",
            55 => "resource planning",
            56 => "plan validation",
            57 => "execution monitoring",
            58 => "persistence",
            _ => "multi-agent coordination",
        }
    }
}

impl Ord for ErrorCode {
    fn cmp(&self, other: &ErrorCode) -> std::cmp::Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for ErrorCode {
    fn partial_cmp(&self, other: &ErrorCode) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{}", self.number())
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        ErrorCode::load(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no error code")))
    }
}

/// An error as people and programs see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// The stable code.
    pub code: ErrorCode,
    /// The problem, with the offending thing by name.
    pub message: String,
    /// Facts of the problem as data. Boxed, because results carry errors everywhere and most have
    /// none.
    pub details: Box<Map<String, Value>>,
    suggestion: Option<String>,
}

impl Error {
    /// An error with the code's own suggestion and no details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), details: Box::default(), suggestion: None }
    }

    /// The way on from it.
    pub fn kind(&self) -> ErrorKind {
        self.code.info().kind
    }

    /// Adds one detail.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Error {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// Replaces the registry's suggestion by one that fits the case better.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Error {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// Advice on how to go on.
    pub fn suggestion(&self) -> &str {
        self.suggestion.as_deref().unwrap_or(self.code.info().suggestion)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}

/// The form of spec 08: code, name, message, details, suggestion, retryable.
impl Serialize for Error {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let info = self.code.info();
        let mut out = serializer.serialize_struct("Error", 6)?;
        out.serialize_field("code", &self.code)?;
        out.serialize_field("name", &info.name())?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("details", &self.details)?;
        out.serialize_field("suggestion", self.suggestion())?;
        out.serialize_field("retryable", &info.retryable)?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_another_version_loads_and_is_written_as_it_was() {
        let code: ErrorCode = serde_json::from_str("\"E5999\"").expect("any version's code loads");
        assert_eq!(code, ErrorCode::Unknown(5999));
        assert_eq!(serde_json::to_string(&code).expect("text"), "\"E5999\"");
        assert_eq!(code.info().retry.retries_max(), 0);
        assert_eq!(ErrorCode::parse("E5999"), None);
        assert!(serde_json::from_str::<ErrorCode>("\"5999\"").is_err());
    }

    #[test]
    fn every_row_is_found_by_its_own_code() {
        for info in REGISTRY {
            assert_eq!(info.code.info().code, info.code);
            assert_eq!(ErrorCode::parse(&info.code.to_string()), Some(info.code));
        }
    }
}
