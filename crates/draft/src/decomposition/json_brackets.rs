//! What stands behind a bracket that does not fit: from that follows what it was meant to be. Called by
//! `json` alone; looks at a few bytes and never reads on.

use super::quoted::is_space;

/// A key is not longer; a text that is no key is looked at no further.
const KEY_BYTES_MAX: usize = 100;

/// The key that begins here, if a text in quotes with a colon behind it does.
pub(super) fn key_at(rest: &str) -> Option<&str> {
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inside = &rest[1..];
    let end = inside.bytes().take(KEY_BYTES_MAX).position(|b| b == quote as u8)?;
    let key = &inside[..end];
    let behind = inside[end + 1..].trim_start_matches(is_space);
    let is_key = behind.starts_with(':') && !key.contains(['\\', '\n']);
    is_key.then_some(key)
}

/// The first key of the object that follows a closing bracket and a comma: `}, {"id": …`.
pub(super) fn next_object_key(behind_bracket: &str) -> Option<&str> {
    let object = behind_bracket.trim_start_matches(is_space).strip_prefix(',')?;
    let inside = object.trim_start_matches(is_space).strip_prefix('{')?;
    key_at(inside.trim_start_matches(is_space))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_texts() {
        for (rest, key) in [
            ("\"a\": 1", Some("a")),
            ("'a b' : 1", Some("a b")),
            ("\"a\", 1", None),
            ("\"a:", None),
            ("a: 1", None),
        ] {
            assert_eq!(key_at(rest), key, "{rest}");
        }
        assert_eq!(next_object_key(" ,\n {\"id\": 1}"), Some("id"));
        assert_eq!(next_object_key("]"), None);
    }
}
