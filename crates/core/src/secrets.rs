//! Secrets in plain sight: what looks like one, and the same value without it.
//!
//! Validation warns of them, and what goes out to callers is masked.

use serde_json::Value;

/// Stands in the place of a masked value.
pub const MASK: &str = "***";

/// Names of fields that hold secrets (spec 04, 4.3).
const SECRET_NAMES: [&str; 6] = ["password", "token", "key", "secret", "api_key", "credentials"];

/// True if a field's name says that it holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    SECRET_NAMES.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// A value for callers: text that looks like a secret is masked, at any depth. References stay.
pub fn masked(value: &Value) -> Value {
    match value {
        Value::String(text) if looks_like_a_key(text) => MASK.into(),
        Value::Array(items) => items.iter().map(masked).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), masked_field(name, value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn masked_field(name: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if is_secret_name(name) && !is_reference(text) && !text.is_empty() => {
            MASK.into()
        }
        other => masked(other),
    }
}

fn is_reference(text: &str) -> bool {
    text.starts_with("secret://") || text.starts_with("$[")
}

/// Beginnings that vendors give their keys, so that they can be found.
const KEY_PREFIXES: [&str; 10] =
    ["sk-", "sk_live_", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "AKIA", "AIza"];

/// One long word without the regularity of words: letters and digits mixed, and more than 4 bits
/// a character by Shannon's measure (random base64 has nearly 6, hexadecimal 4, English some 2.5).
pub(crate) fn looks_like_a_key(text: &str) -> bool {
    const LENGTH_MIN: usize = 24;
    const LENGTH_MAX: usize = 512;
    const BITS_MIN: f64 = 4.0;
    let word = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=+/.".contains(&b));
    let length = text.len();
    if !word || !(LENGTH_MIN / 2..=LENGTH_MAX).contains(&length) {
        return false;
    }
    if KEY_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
        return true;
    }
    // Paths and dotted names are long and mixed, too.
    let mixed = text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && text.bytes().any(|b| b.is_ascii_uppercase());
    length >= LENGTH_MIN && mixed && !text.contains('.') && bits_per_byte(text) >= BITS_MIN
}

fn bits_per_byte(text: &str) -> f64 {
    let mut counts = [0u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let total = text.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / total);
    -shares.map(|share| share * share.log2()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_masked_at_any_depth_and_references_stay() {
        let value = json!({
            "path": "a.txt", "Password": "hunter2", "n": 3,
            "auth": [{"token": "secret://t", "api_key": "$[a].output"}, "ghp_16C7e42F292c6912E7710c"],
        });
        let shown = json!({
            "path": "a.txt", "Password": "***", "n": 3,
            "auth": [{"token": "secret://t", "api_key": "$[a].output"}, "***"],
        });
        assert_eq!(masked(&value), shown);
    }

    #[test]
    fn keys_are_told_from_words_and_paths() {
        for key in [
            "sk-proj-abcdefghijklmnop",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY1",
        ] {
            assert!(looks_like_a_key(key), "{key}");
        }
        for word in [
            "reports/2026-11-24/Summary-of-the-project.md",
            "a plain sentence with Words and 3 numbers",
            "org.example.Application2Controller",
            "project-status",
            "550e8400-e29b-41d4-a716-446655440000",
        ] {
            assert!(!looks_like_a_key(word), "{word}");
        }
    }
}
