//! JSONPaths that others wrote: parsed within limits on their structure.
//!
//! The parser tries each filter in several ways, one inside the other, and a query may visit what is below each of its
//! matches: the limits count brackets, filters and alternatives in the text, before anything is parsed. References and
//! `json.select` use this.

use serde_json_path::JsonPath;

/// The longest JSONPath, in bytes.
const BYTES_MAX: usize = 1_000;
/// The most `..` in a JSONPath: each may visit every value below every value.
const DESCENDANTS_MAX: usize = 2;
/// The depth to which brackets and parentheses may nest; the parser's time doubles with each filter in a filter.
const NESTING_MAX: usize = 8;
/// The most filters (`?`) in a JSONPath.
const FILTERS_MAX: usize = 8;
/// The most alternatives that the brackets of a JSONPath may have when they are multiplied out: `[0,1][0,1]` has four.
const ALTERNATIVES_MAX: usize = 100;

/// Parses an RFC 9535 JSONPath within the limits of this module; the error says which of them it breaks.
pub fn parse_json_path(text: &str) -> Result<JsonPath, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("the path is longer than {BYTES_MAX} bytes"));
    }
    let shape = PathShape::of(text);
    let limits = [
        (shape.descendants, DESCENDANTS_MAX, "`..`"),
        (shape.nesting, NESTING_MAX, "brackets inside each other"),
        (shape.filters, FILTERS_MAX, "filters (`?`)"),
        (shape.alternatives, ALTERNATIVES_MAX, "alternatives, its brackets multiplied out"),
    ];
    for (has, most, what) in limits {
        if has > most {
            return Err(format!("the path has more than {most} {what}"));
        }
    }
    JsonPath::parse(text).map_err(|e| format!("`{text}` is no path: {e}"))
}

/// True if a query takes no more time and memory than the value it looks into: names, indices, slices and
/// wildcards, one in each bracket.
pub fn is_small(text: &str) -> bool {
    let shape = PathShape::of(text);
    shape.descendants == 0 && shape.filters == 0 && shape.alternatives == 1
}

/// The structure of a path, counted without parsing it.
#[derive(Debug, PartialEq, Eq)]
struct PathShape {
    descendants: usize,
    nesting: usize,
    filters: usize,
    alternatives: usize,
}

impl PathShape {
    fn of(text: &str) -> PathShape {
        let mut shape = PathShape { descendants: 0, nesting: 0, filters: 0, alternatives: 1 };
        // One number for each open bracket: its alternatives.
        let mut open: Vec<usize> = Vec::new();
        let mut quote = None;
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match (quote, byte) {
                (Some(_), b'\\') => {
                    bytes.next();
                }
                (Some(mark), _) if mark == byte => quote = None,
                (Some(_), _) => {}
                (None, b'\'' | b'"') => quote = Some(byte),
                (None, b'[' | b'(') => {
                    open.push(1);
                    shape.nesting = shape.nesting.max(open.len());
                }
                (None, b',') => {
                    if let Some(alternatives) = open.last_mut() {
                        *alternatives += 1;
                    }
                }
                (None, b']' | b')') => {
                    let alternatives = open.pop().unwrap_or(1);
                    shape.alternatives = shape.alternatives.saturating_mul(alternatives);
                }
                (None, b'?') => shape.filters += 1,
                (None, b'.') if bytes.peek() == Some(&b'.') => {
                    bytes.next();
                    shape.descendants += 1;
                }
                (None, _) => {}
            }
        }
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_the_structure() {
        let nested = |n: usize| format!("$.a{}{}", "[?@".repeat(n), "]".repeat(n));
        let groups = |n: usize| format!("$[?{}@.a{}]", "(".repeat(n), ")".repeat(n));
        let cases = [
            ("$.a[0]['b, ?..['].*[1:2]".to_owned(), None, true),
            ("$.a[?@.b == '..,..,..,..']".to_owned(), None, false),
            ("$..a".to_owned(), None, false),
            ("$[0,1,'x']".to_owned(), None, false),
            (nested(4), None, false),
            (groups(7), None, false),
            ("$..a..b..c".to_owned(), Some("more than 2 `..`"), false),
            (nested(9), Some("more than 8 brackets inside each other"), false),
            (groups(8), Some("more than 8 brackets inside each other"), false),
            ("$[?@.a]".repeat(9), Some("more than 8 filters"), false),
            (format!("${}", "[*,*,*]".repeat(5)), Some("more than 100 alternatives"), false),
            ("$.a".repeat(400), Some("longer than 1000 bytes"), true),
            ("$.a[".to_owned(), Some("is no path"), true),
        ];
        for (text, told, small) in cases {
            let parsed = parse_json_path(&text);
            match told {
                None => assert!(parsed.is_ok(), "{text}: {parsed:?}"),
                Some(words) => {
                    let error = parsed.expect_err(&text);
                    assert!(error.contains(words), "{text}: {error}");
                }
            }
            assert_eq!(is_small(&text), small, "{text}");
        }
    }
}
