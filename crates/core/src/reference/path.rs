//! Paths of references: names and indices that lead to one value, or a JSONPath.

use serde_json::Value;
use serde_json_path::JsonPath;

use crate::json_path::{is_small, parse_json_path};
use crate::suggest::nearest;

/// One step of a singular path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// `.name` or `['name']`
    Name(String),
    /// `[3]`; negative counts from the end.
    Index(i64),
}

/// A path into a value.
#[derive(Clone, Debug)]
pub enum ReferencePath {
    /// Names and indices: one value.
    Singular(Vec<PathStep>),
    /// Anything else RFC 9535 allows: a list of matches.
    Query {
        /// The compiled path.
        path: Box<JsonPath>,
        /// True if a query takes no more than the value it looks into; others run where they can be stopped.
        is_small: bool,
        /// The steps between wildcards, where the path has nothing but names, indices, `[*]` and
        /// `.*`; what types can be told of.
        runs: Option<Vec<Vec<PathStep>>>,
    },
}

pub(super) fn parse_path(text: &str) -> Result<ReferencePath, String> {
    if let Some(steps) = singular_steps(text) {
        return Ok(ReferencePath::Singular(steps));
    }
    let whole = format!("${text}");
    let path = Box::new(parse_json_path(&whole)?);
    let is_small = is_small(&whole);
    let runs = text.replace(".*", "[*]").split("[*]").map(singular_steps).collect();
    Ok(ReferencePath::Query { path, is_small, runs })
}

/// Reads `.name`, `['name']`, `["name"]` and `[3]` steps; `None` when there is anything else.
fn singular_steps(mut text: &str) -> Option<Vec<PathStep>> {
    let mut steps = Vec::new();
    while !text.is_empty() {
        if let Some(rest) = text.strip_prefix('.') {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let name = &rest[..end];
            let allowed = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || !c.is_ascii();
            if name.is_empty() || !name.chars().all(allowed) {
                return None;
            }
            steps.push(PathStep::Name(name.to_owned()));
            text = &rest[end..];
        } else {
            let rest = text.strip_prefix('[')?;
            let quoted = rest.strip_prefix(['\'', '"']).map(|inner| (rest.as_bytes()[0], inner));
            if let Some((quote, inner)) = quoted {
                let end = inner.find(char::from(quote))?;
                let name = &inner[..end];
                if name.contains('\\') {
                    return None;
                }
                steps.push(PathStep::Name(name.to_owned()));
                text = inner[end + 1..].strip_prefix(']')?;
            } else {
                let end = rest.find(']')?;
                steps.push(PathStep::Index(rest[..end].trim().parse().ok()?));
                text = &rest[end + 1..];
            }
        }
    }
    Some(steps)
}

/// Follows names and indices; the error is the step that failed and the nearest keys there.
pub(crate) fn follow<'v>(
    value: &'v Value,
    steps: &[PathStep],
) -> Result<&'v Value, (String, Vec<String>)> {
    let mut at = value;
    for step in steps {
        at = match (step, at) {
            (PathStep::Name(name), Value::Object(map)) => map.get(name).ok_or_else(|| {
                let keys = map.keys().map(String::as_str);
                let close: Vec<String> =
                    nearest(name, keys).into_iter().map(str::to_owned).collect();
                let shown = if close.is_empty() {
                    map.keys().take(KEYS_SHOWN_MAX).cloned().collect()
                } else {
                    close
                };
                (format!(".{name}"), shown)
            })?,
            (PathStep::Index(i), Value::Array(items)) => {
                let index = if *i < 0 { *i + items.len() as i64 } else { *i };
                usize::try_from(index)
                    .ok()
                    .and_then(|i| items.get(i))
                    .ok_or_else(|| (format!("[{i}]"), vec![format!("{} items", items.len())]))?
            }
            (PathStep::Name(name), _) => return Err((format!(".{name}"), Vec::new())),
            (PathStep::Index(i), _) => return Err((format!("[{i}]"), Vec::new())),
        };
    }
    Ok(at)
}

/// The most keys that a message lists when none is close.
const KEYS_SHOWN_MAX: usize = 5;
