//! Places of a document's fields in its text: lines, columns, and the spelling that the author chose.
//!
//! Whoever tells findings about a file asks here; nothing is kept while a document is read, because most documents
//! have no findings.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::reader::FieldName;
use super::text::{DocumentFormat, TextNode, yaml_nodes};
use crate::finding::Finding;

/// A field's place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPlace {
    /// From 1.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
    /// The field's path as the author spelled it; what is not there as it would be.
    pub written: String,
}

/// A document's nodes, each with the byte at which its value begins.
struct Node {
    at: usize,
    below: Below,
}

enum Below {
    Nothing,
    Items(Vec<Node>),
    Fields(Vec<(String, Node)>),
}

/// The places of one document.
pub struct DocumentPlaces<'t> {
    text: &'t str,
    root: Node,
    line_starts: Vec<usize>,
    /// The fields with other spellings that the document may have.
    fields: &'static [&'static [FieldName]],
}

/// The depth to which JSON is followed; no field of a plan that has a name lies deeper.
const DEPTH_MAX: usize = 64;

impl<'t> DocumentPlaces<'t> {
    /// The places of a text that has been parsed; none if it cannot be.
    pub(crate) fn of(
        text: &'t str,
        format: DocumentFormat,
        fields: &'static [&'static [FieldName]],
    ) -> Option<DocumentPlaces<'t>> {
        let root = match format {
            DocumentFormat::Json => {
                let whole: &RawValue = serde_json::from_str(text).ok()?;
                json_node(text, whole, DEPTH_MAX)
            }
            DocumentFormat::Yaml => yaml_node(&yaml_nodes(text).ok()?),
        };
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Some(DocumentPlaces { text, root, line_starts, fields })
    }

    /// Names the place of a finding, and its field as the author spelled it.
    pub fn mark(&self, finding: &mut Finding) {
        let Some(field) = &finding.field else { return };
        let place = self.find(field);
        (finding.line, finding.column) = (Some(place.line), Some(place.column));
        finding.field = Some(place.written);
    }

    /// The place of a field such as `tasks[2].inputs.path`; of what would hold it, where it is missing.
    pub fn find(&self, field: &str) -> FieldPlace {
        let (mut node, mut rest) = (&self.root, field);
        let (mut at, mut written) = (self.root.at, String::new());
        while !rest.is_empty() {
            let step = match &node.below {
                Below::Fields(fields) => {
                    self.step_into(rest.strip_prefix('.').unwrap_or(rest), fields)
                }
                Below::Items(items) => item(rest, items),
                Below::Nothing => None,
            };
            let Some(step) = step else { break };
            match step.key {
                Some(key) => {
                    written.push_str(if written.is_empty() { "" } else { "." });
                    written.push_str(key);
                    at = self.key_before(key, step.node.at);
                }
                None => {
                    written.push_str(&rest[..rest.len() - step.rest.len()]);
                    at = step.node.at;
                }
            }
            (node, rest) = (step.node, step.rest);
        }
        if !rest.is_empty() {
            let separate = !written.is_empty() && !rest.starts_with(['.', '[']);
            written.push_str(if separate { "." } else { "" });
            written.push_str(rest);
        }
        let (line, column) = self.line_and_column(at);
        FieldPlace { line, column, written }
    }

    /// The field that a path begins with. Names may hold dots: the longest that is there is meant.
    fn step_into<'n>(&self, path: &'n str, fields: &'n [(String, Node)]) -> Option<Step<'n>> {
        let rest_of = |name: &str| {
            let rest = path.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
        };
        let exact = fields
            .iter()
            .filter_map(|(name, node)| Some((name, node, rest_of(name)?)))
            .max_by_key(|(name, _, _)| name.len());
        if let Some((name, node, rest)) = exact {
            return Some(Step { node, key: Some(name), rest });
        }
        let respelled = self.fields.iter().copied().flatten().filter(|f| !f.aliases.is_empty());
        respelled.filter_map(|field| Some((field, rest_of(field.name)?))).find_map(
            |(field, rest)| {
                let mut there = fields.iter();
                let (name, node) =
                    there.find(|(name, _)| field.aliases.contains(&name.as_str()))?;
                Some(Step { node, key: Some(name), rest })
            },
        )
    }

    /// Parsers tell where values begin: the key stands before, most often on the same line.
    fn key_before(&self, key: &str, value_at: usize) -> usize {
        let before = &self.text[..value_at.min(self.text.len())];
        let is_key = |at: &usize| {
            let behind = before[at + key.len()..].trim_start_matches(['"', '\'']);
            behind.trim_start().starts_with(':')
        };
        let found = before.rmatch_indices(key).map(|(at, _)| at).find(is_key);
        found.unwrap_or(value_at)
    }

    fn line_and_column(&self, at: usize) -> (u64, u64) {
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        let start = self.line_starts[line - 1];
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count());
        (line as u64, column as u64 + 1)
    }
}

struct Step<'n> {
    node: &'n Node,
    key: Option<&'n str>,
    rest: &'n str,
}

/// The item that a path begins with: `[2]`, or `.2` as JSON pointers have it.
fn item<'n>(path: &'n str, items: &'n [Node]) -> Option<Step<'n>> {
    let digits = path.strip_prefix(['[', '.'])?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let node = items.get(digits[..end].parse::<usize>().ok()?)?;
    let rest = &digits[end..];
    Some(Step { node, key: None, rest: rest.strip_prefix(']').unwrap_or(rest) })
}

fn yaml_node(node: &TextNode) -> Node {
    let below = match node {
        TextNode::Scalar(_) => Below::Nothing,
        TextNode::List(_, items) => Below::Items(items.iter().map(yaml_node).collect()),
        TextNode::Map(_, entries) => Below::Fields(
            entries.iter().map(|(key, value)| (key.clone(), yaml_node(value))).collect(),
        ),
    };
    Node { at: node.at(), below }
}

fn json_node(text: &str, raw: &RawValue, depth: usize) -> Node {
    let value = raw.get();
    // The value is a part of the text itself.
    let at = value.as_ptr() as usize - text.as_ptr() as usize;
    let below = match value.as_bytes().first() {
        _ if depth == 0 => Below::Nothing,
        Some(b'{') => {
            let entries = serde_json::from_str::<RawEntries<'_>>(value).map_or(Vec::new(), |e| e.0);
            let field = |(key, raw)| (key, json_node(text, raw, depth - 1));
            Below::Fields(entries.into_iter().map(field).collect())
        }
        Some(b'[') => {
            let items = serde_json::from_str::<Vec<&RawValue>>(value).unwrap_or_default();
            Below::Items(items.into_iter().map(|raw| json_node(text, raw, depth - 1)).collect())
        }
        _ => Below::Nothing,
    };
    Node { at, below }
}

/// An object's entries as they stand in the text.
struct RawEntries<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for RawEntries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawEntries<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(RawEntries(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::reader::aliased;

    static FIELDS: &[&[FieldName]] = &[&[
        aliased("goal", &["name"]),
        aliased("task_id", &["id"]),
        aliased("dependencies", &["depends_on"]),
    ]];

    fn check(text: &str, format: DocumentFormat, field: &str, expected: (u64, u64, &str)) {
        let place = DocumentPlaces::of(text, format, FIELDS).unwrap().find(field);
        assert_eq!((place.line, place.column, place.written.as_str()), expected, "{field}");
    }

    #[test]
    fn fields_are_found_where_they_were_written() {
        let yaml = "name: x\ntasks:\n  - id: a\n    tool: fs.read\n    inputs:\n      path: y\n      a.b: 1\n  - id: b\n    depends_on: [a, { task: c, condition: 'x >' }]\n";
        for (field, expected) in [
            ("goal", (1, 1, "name")),
            ("tasks[0].task_id", (3, 5, "tasks[0].id")),
            ("tasks[0].inputs.path", (6, 7, "tasks[0].inputs.path")),
            ("tasks[0].inputs.a.b", (7, 7, "tasks[0].inputs.a.b")),
            ("tasks[0].inputs.missing", (5, 5, "tasks[0].inputs.missing")),
            ("tasks[1].dependencies[0]", (9, 18, "tasks[1].depends_on[0]")),
            ("tasks[1].dependencies[1].condition", (9, 32, "tasks[1].depends_on[1].condition")),
            ("tasks[7]", (2, 1, "tasks[7]")),
            ("", (1, 1, "")),
        ] {
            check(yaml, DocumentFormat::Yaml, field, expected);
        }
        let json = "{\n  \"goal\": \"x\",\n  \"tasks\": [\n    { \"id\": \"a\", \"inputs\": { \"rows\": [1, 2] } }\n  ]\n}";
        for (field, expected) in [
            ("goal", (2, 4, "goal")),
            ("tasks[0].task_id", (4, 8, "tasks[0].id")),
            ("tasks[0].inputs.rows.1", (4, 42, "tasks[0].inputs.rows.1")),
        ] {
            check(json, DocumentFormat::Json, field, expected);
        }
    }
}
