//! Text to value: JSON as it is, YAML by the JSON-like schema that plan files promise.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{NonFiniteFloatPolicy, Spanned};

use super::size::{self, DocumentExcess};
use crate::error::{Error, ErrorCode};

/// The formats of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentFormat {
    /// RFC 8259.
    Json,
    /// YAML 1.2, where only `true` and `false` are booleans and only plain decimals are numbers.
    Yaml,
}

impl DocumentFormat {
    /// JSON when the name ends in `.json` or the text begins like JSON, else YAML.
    pub fn detect(name: &str, text: &str) -> DocumentFormat {
        let begins_like_json = text.trim_start().starts_with(['{', '[']);
        let named_json = name.to_ascii_lowercase().ends_with(".json");
        if named_json || begins_like_json { DocumentFormat::Json } else { DocumentFormat::Yaml }
    }
}

/// Bounds on what is parsed at all.
#[derive(Clone, Copy, Debug)]
pub struct TextLimits {
    /// The longest text, in bytes.
    pub bytes_max: usize,
    /// The most tasks of a document that lists some.
    pub tasks_max: usize,
}

impl Default for TextLimits {
    /// 64 MiB: a plan of 1,000,000 small tasks fits, a disk image does not.
    fn default() -> TextLimits {
        TextLimits { bytes_max: 64 << 20, tasks_max: 10_000 }
    }
}

impl TextLimits {
    /// For documents that are only looked at, whatever the limit on plans that run.
    #[must_use]
    pub fn to_look_at(self) -> TextLimits {
        TextLimits { tasks_max: 1_000_000, ..self }
    }

    /// An error where a text holds more than the limits allow, before anything is built of it.
    pub fn check(self, text: &str, format: DocumentFormat) -> Result<(), DocumentError> {
        if text.len() > self.bytes_max {
            return Err(DocumentError::TooLong { bytes: text.len(), bytes_max: self.bytes_max });
        }
        size::excess(text, format, self)
            .map_or(Ok(()), |excess| Err(DocumentError::TooMany(excess)))
    }
}

/// Reasons for which a text is not a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Longer than allowed.
    #[error("the document is {bytes} bytes long; at most {bytes_max} are read")]
    TooLong {
        /// The text's length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// More in it than allowed.
    #[error("{0}")]
    TooMany(DocumentExcess),
    /// Nothing in it.
    #[error("the document is empty")]
    Empty,
    /// Not of the format.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
        /// The parser's words.
        message: String,
    },
}

impl DocumentError {
    /// As a coded error about the document called `name`.
    pub fn into_error(self, name: &str) -> Error {
        let code = match self {
            DocumentError::TooMany(DocumentExcess::Tasks(_)) => ErrorCode::PlanSizeInvalid,
            DocumentError::TooLong { .. } | DocumentError::TooMany(DocumentExcess::Nodes(_)) => {
                ErrorCode::RequestTooLarge
            }
            DocumentError::Empty | DocumentError::Syntax { .. } => ErrorCode::PlanMalformed,
        };
        let error = Error::new(code, format!("{name}: {self}")).detail("document", name);
        match self {
            DocumentError::TooLong { bytes_max, .. } => error.suggest(format!(
                "split it, or raise input.max_document_mb (now {} MiB)",
                bytes_max >> 20
            )),
            DocumentError::TooMany(DocumentExcess::Tasks(_)) => {
                error.suggest("split the plan, or raise decomposition.max_tasks")
            }
            DocumentError::TooMany(DocumentExcess::Nodes(_)) => {
                error.suggest("keep data in files, and let tasks read them")
            }
            DocumentError::Empty => error.suggest("`l05 schema plan` shows what a plan file holds"),
            DocumentError::Syntax { line, column, message } => {
                let tabs = message.split_whitespace().any(|word| word == "tab" || word == "tabs");
                let error = error.detail("line", line).detail("column", column);
                if tabs {
                    error.suggest("indent with spaces: YAML allows no tabs there")
                } else {
                    error.suggest("correct the text at that place")
                }
            }
        }
    }
}

/// Parses a document within limits.
pub fn parse(
    text: &str,
    format: DocumentFormat,
    limits: TextLimits,
) -> Result<Value, DocumentError> {
    limits.check(text, format)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(DocumentError::Empty);
    }
    match format {
        DocumentFormat::Json => {
            serde_json::from_str(text).map(|UniqueKeys(value)| value).map_err(|e| {
                let (line, column) = (e.line() as u64, e.column() as u64);
                DocumentError::Syntax { line, column, message: json_message(&e) }
            })
        }
        DocumentFormat::Yaml => parse_yaml(text),
    }
}

/// The most that aliases and merge keys may add to a document: nodes, and bytes of text.
const ALIAS_NODES_MAX: usize = 200_000;
const ALIAS_BYTES_MAX: usize = 4 << 20;

/// The bound that a document breaks, where it is one of the parser's.
fn broken_bound(error: &serde_saphyr::Error) -> Option<String> {
    let breach = match error {
        serde_saphyr::Error::Budget { breach, .. } => breach,
        serde_saphyr::Error::WithSnippet { error, .. }
        | serde_saphyr::Error::AliasError { error, .. } => return broken_bound(error),
        _ => return None,
    };
    Some(match breach {
        BudgetBreach::Depth { depth } => format!("it nests {depth} deep; 64 is the most"),
        BudgetBreach::Events { .. }
        | BudgetBreach::Nodes { .. }
        | BudgetBreach::ScalarBytes { .. }
        | BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::MergeKeys { .. } => format!(
            "aliases make the document larger than {} MiB beside its own length",
            ALIAS_BYTES_MAX >> 20
        ),
        BudgetBreach::Documents { .. } => "there is more than one document (`---`)".to_owned(),
        other => format!("it breaks a bound of the parser: {other:?}"),
    })
}

/// The YAML library's hints are for its callers, not for authors of documents.
fn plain_words(message: &str) -> String {
    match message {
        m if m.starts_with("duplicate mapping key: ") => {
            let key =
                m["duplicate mapping key: ".len()..].split(", set ").next().unwrap_or_default();
            format!("the key `{key}` stands twice")
        }
        m if m.contains("from_str_multiple") || m.contains("multiple documents") => {
            "there is more than one document (`---`)".to_owned()
        }
        m => m.to_owned(),
    }
}

/// A JSON value in which no key stands twice: of two, one would be lost without a word.
struct UniqueKeys(Value);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UniqueKeys, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(UniqueKeys)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(b.into())
    }
    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(n.into())
    }
    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(n.into())
    }
    fn visit_f64<E>(self, n: f64) -> Result<Value, E> {
        Ok(n.into())
    }
    fn visit_str<E>(self, s: &str) -> Result<Value, E> {
        Ok(s.into())
    }
    fn visit_string<E>(self, s: String) -> Result<Value, E> {
        Ok(s.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(UniqueKeys(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(serde::de::Error::custom(format!("the key `{key}` stands twice")));
            }
            let UniqueKeys(value) = map.next_value()?;
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

/// serde_json appends the place, which the error has already.
fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn parse_yaml(text: &str) -> Result<Value, DocumentError> {
    let root = parse_nodes(text)?;
    match root.value.into_value(text, raw(text, &root.defined)) {
        Value::Null => Err(DocumentError::Empty),
        value => Ok(value),
    }
}

pub(super) fn yaml_options(text: &str) -> serde_saphyr::Options {
    // What is no plain decimal stays a text: `.inf` and `1e400`, too.
    let mut options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    };
    if let Some(budget) = &mut options.budget {
        // The length is bounded already: what is written out may be all of it, and what aliases repeat some
        // more. Depth stays.
        budget.max_events = text.len().saturating_add(ALIAS_NODES_MAX);
        budget.max_nodes = text.len().saturating_add(ALIAS_NODES_MAX);
        budget.max_total_scalar_bytes = text.len().saturating_add(ALIAS_BYTES_MAX);
        budget.max_aliases = ALIAS_NODES_MAX;
        budget.max_anchors = ALIAS_NODES_MAX;
        budget.max_merge_keys = ALIAS_NODES_MAX;
        budget.enforce_alias_anchor_ratio = false;
    }
    options
}

fn parse_nodes(text: &str) -> Result<Spanned<ValueNode>, DocumentError> {
    serde_saphyr::from_str_with_options(text, yaml_options(text)).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        let message = match broken_bound(&error) {
            Some(told) => told,
            None => {
                let message = error.to_string();
                let first = message.lines().next().unwrap_or_default();
                let prefix = format!("error: line {line} column {column}: ");
                plain_words(first.strip_prefix(&prefix).unwrap_or(first))
            }
        };
        DocumentError::Syntax { line, column, message }
    })
}

/// A YAML node with the byte at which its value begins.
pub(super) enum TextNode {
    Scalar(usize),
    List(usize, Vec<TextNode>),
    Map(usize, Vec<(String, TextNode)>),
}

impl TextNode {
    pub(super) fn at(&self) -> usize {
        match self {
            TextNode::Scalar(at) | TextNode::List(at, _) | TextNode::Map(at, _) => *at,
        }
    }
}

/// The nodes of a YAML text, for whoever looks for places in it.
pub(super) fn yaml_nodes(text: &str) -> Result<TextNode, DocumentError> {
    parse_nodes(text).map(|root| text_node(&root))
}

fn text_node(node: &Spanned<ValueNode>) -> TextNode {
    let at = node.defined.span().byte_offset().and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
    match &node.value {
        ValueNode::List(items) => TextNode::List(at, items.iter().map(text_node).collect()),
        ValueNode::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.clone(), text_node(value)));
            TextNode::Map(at, entries.collect())
        }
        _ => TextNode::Scalar(at),
    }
}

/// The parser's words for numbers that are not finite.
const NOT_FINITE: [&str; 3] = [".inf", "-.inf", ".nan"];

/// A YAML node as the parser resolves it, its children with their places, so that a number can be
/// taken back to the text that was written.
enum ValueNode {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<ValueNode>>),
    Map(Vec<(String, Spanned<ValueNode>)>),
}

impl ValueNode {
    fn into_value(self, text: &str, raw: Option<&str>) -> Value {
        match self {
            ValueNode::Null => Value::Null,
            ValueNode::Bool(b) => Value::Bool(b),
            ValueNode::Number(number) => match raw {
                Some(raw) if !is_plain_decimal(raw) => Value::String(raw.to_owned()),
                _ => Value::Number(number),
            },
            ValueNode::Text(s) => match raw {
                // The parser's word for a number that is none stands for what was written: `1e400`.
                Some(raw) if NOT_FINITE.contains(&s.as_str()) && !raw.starts_with(['"', '\'']) => {
                    Value::String(raw.to_owned())
                }
                _ => Value::String(s),
            },
            ValueNode::List(items) => items
                .into_iter()
                .map(|item| item.value.into_value(text, self::raw(text, &item.defined)))
                .collect(),
            ValueNode::Map(entries) => Value::Object(
                entries
                    .into_iter()
                    .map(|(key, item)| {
                        let value = item.value.into_value(text, self::raw(text, &item.defined));
                        (key, value)
                    })
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

fn raw<'t>(text: &'t str, at: &serde_saphyr::Location) -> Option<&'t str> {
    let span = at.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
    text.get(start..end).map(str::trim)
}

/// `-?(0|[1-9]\d*)(\.\d+)?`: what stays a number. `012`, `1e3`, `0x1f`, `1_000` stay text.
fn is_plain_decimal(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    all_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(all_digits)
}

impl<'de> Deserialize<'de> for ValueNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ValueNode, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = ValueNode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<ValueNode, E> {
        Ok(ValueNode::Null)
    }
    fn visit_bool<E>(self, b: bool) -> Result<ValueNode, E> {
        Ok(ValueNode::Bool(b))
    }
    fn visit_i64<E>(self, n: i64) -> Result<ValueNode, E> {
        Ok(ValueNode::Number(n.into()))
    }
    fn visit_u64<E>(self, n: u64) -> Result<ValueNode, E> {
        Ok(ValueNode::Number(n.into()))
    }
    fn visit_f64<E>(self, n: f64) -> Result<ValueNode, E> {
        Ok(Number::from_f64(n).map_or(ValueNode::Null, ValueNode::Number))
    }
    fn visit_str<E>(self, s: &str) -> Result<ValueNode, E> {
        Ok(ValueNode::Text(s.to_owned()))
    }
    fn visit_string<E>(self, s: String) -> Result<ValueNode, E> {
        Ok(ValueNode::Text(s))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ValueNode, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(ValueNode::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ValueNode, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(ValueNode::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, expected: &Value) {
        let value = parse(text, DocumentFormat::Yaml, TextLimits::default()).expect(text);
        assert_eq!(&value, expected, "{text}");
    }

    #[test]
    fn yaml_scalars_stay_what_they_are_written_as() {
        check(
            "a: no\nb: 012\nc: 1e3\nd: 2026-11-22\ne: 1_000\nf: 0x1f\ng: yes",
            &json!({"a": "no", "b": "012", "c": "1e3", "d": "2026-11-22", "e": "1_000",
                    "f": "0x1f", "g": "yes"}),
        );
        check("a: [.inf, -.inf, .nan, 1e400]", &json!({"a": [".inf", "-.inf", ".nan", "1e400"]}));
        check("a: [1, -2, 1.50, true, ~, '3']", &json!({"a": [1, -2, 1.5, true, null, "3"]}));
        check("a: &x {k: 7}\nb: *x", &json!({"a": {"k": 7}, "b": {"k": 7}}));
    }

    #[test]
    fn anchors_and_merge_keys_are_read_and_bombs_are_not() {
        let long = "x".repeat(300);
        let shared = format!("a: &x {{k: {long}}}\nb: {{<<: *x, l: 1}}\nc: {{<<: *x}}\nd: *x");
        let k = json!(long);
        check(
            &shared,
            &json!({"a": {"k": k}, "b": {"k": k, "l": 1}, "c": {"k": k}, "d": {"k": k}}),
        );
        let many: Vec<String> = (0..2_000).map(|i| format!("t{i}: {{<<: *x, n: {i}}}")).collect();
        let many = format!("a: &x {{k: {long}}}\n{}", many.join("\n"));
        let value = parse(&many, DocumentFormat::Yaml, TextLimits::default()).unwrap();
        assert_eq!(value["t1999"], json!({"k": long, "n": 1_999}));

        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let before = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{before}]\n"));
        }
        let error = parse(&bomb, DocumentFormat::Yaml, TextLimits::default()).unwrap_err();
        assert!(error.to_string().contains("aliases make the document larger"), "{error}");
        let deep = "[".repeat(100) + &"]".repeat(100);
        let error = parse(&format!("a: {deep}"), DocumentFormat::Yaml, TextLimits::default());
        assert!(error.unwrap_err().to_string().contains("nests"), "depth is told");
    }

    #[test]
    fn errors_name_line_and_column() {
        let syntax = |text| match parse(text, DocumentFormat::Yaml, TextLimits::default()) {
            Err(DocumentError::Syntax { line, column, .. }) => (line, column),
            other => panic!("{text:?} gave {other:?}"),
        };
        assert_eq!(syntax("a:\n\tb: 1"), (2, 2));
        assert_eq!(syntax("a: 1\na: 2"), (2, 1));
        let twice =
            parse("{\"a\": 1, \"a\": 2}", DocumentFormat::Json, TextLimits::default()).unwrap_err();
        assert!(twice.to_string().contains("`a` stands twice"), "{twice}");
        assert!(matches!(
            parse(" \n", DocumentFormat::Yaml, TextLimits::default()),
            Err(DocumentError::Empty)
        ));
        assert!(matches!(
            parse("~", DocumentFormat::Yaml, TextLimits::default()),
            Err(DocumentError::Empty)
        ));
        let deep = "[".repeat(100_000);
        assert!(parse(&deep, DocumentFormat::Yaml, TextLimits::default()).is_err());
        assert!(parse(&deep, DocumentFormat::Json, TextLimits::default()).is_err());
    }
}
