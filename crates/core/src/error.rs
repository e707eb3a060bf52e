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

pub use registry::REGISTRY;

/// A stable error code, E5000 to E5999. Written `E5301`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(u16);

/// What the registry says of one code.
#[derive(Debug)]
pub struct ErrorInfo {
    /// The code itself.
    pub code: ErrorCode,
    constant: &'static str,
    /// What happened, in general; an [`Error`]'s own message says exactly what.
    pub message: &'static str,
    /// Whether a caller may send the same request again. Retries inside a run go by error class
    /// (see [`RetryClass`]), not by this.
    pub retryable: bool,
    /// The gRPC status name, as the platform's contract gives it.
    pub grpc: &'static str,
    /// The HTTP status.
    pub http: u16,
    /// What to do, in general.
    pub suggestion: &'static str,
}

impl ErrorInfo {
    /// The name in lower case with underscores: `circular_dependency`.
    pub fn name(&self) -> String {
        self.constant.to_ascii_lowercase()
    }
}

impl ErrorCode {
    /// The registry's row. Every code that can be built has one.
    pub fn info(self) -> &'static ErrorInfo {
        let row = REGISTRY
            .binary_search_by_key(&self, |info| info.code)
            .expect("codes are only built by the registry or checked against it");
        &REGISTRY[row]
    }

    /// Reads `E5301` (any case); `None` when the registry has no such code.
    pub fn parse(text: &str) -> Option<ErrorCode> {
        let digits = text.strip_prefix(['E', 'e'])?;
        let code = ErrorCode(digits.parse().ok()?);
        REGISTRY.binary_search_by_key(&code, |info| info.code).ok().map(|_| code)
    }

    /// The category, which follows from the first three characters.
    pub fn category(self) -> &'static str {
        match self.0 / 100 {
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

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{}", self.0)
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
        ErrorCode::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown error code `{text}`")))
    }
}

/// An error as people and programs see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// The stable code.
    pub code: ErrorCode,
    /// What exactly is wrong, naming the offending thing.
    pub message: String,
    /// The same as data. Boxed, because results carry errors everywhere and most have none.
    pub details: Box<Map<String, Value>>,
    suggestion: Option<String>,
}

impl Error {
    /// An error with the code's own suggestion and no details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), details: Box::default(), suggestion: None }
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

    /// What to do about it.
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
