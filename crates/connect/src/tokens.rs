//! How many tokens a text has, by a real tokenizer.
//!
//! The vocabulary (o200k, that of OpenAI's models since 2024) takes some 0.2 s and 40 MB to load,
//! so it is loaded at the first prompt that is counted and never for plans without model calls.
//! Other vendors' models count a few per cent more or less.

use tiktoken_rs::o200k_base_singleton;

/// Only the beginning of a long text is counted; the rest is taken to be alike.
const COUNTED_BYTES_MAX: usize = 64 << 10;

/// Tokens of a text.
pub fn count(text: &str) -> u64 {
    let most = COUNTED_BYTES_MAX.min(text.len());
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let counted = o200k_base_singleton().encode_ordinary(&text[..end]).len() as u64;
    if end == text.len() {
        return counted;
    }
    let share = text.len() as f64 / end as f64;
    (counted as f64 * share).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_tokens() {
        assert_eq!(count(""), 0);
        assert_eq!(count("hello world"), 2);
        let long = "hello world ".repeat(50_000);
        let (counted, expected) = (count(&long), 100_000);
        assert!(counted.abs_diff(expected) < expected / 50, "{counted}");
    }
}
