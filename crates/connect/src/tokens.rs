//! How many tokens a text has, by a real tokenizer: an estimate for any model ([`count`]), and what OpenAI's
//! models count ([`of_model`]), which is what budgets rest on.
//!
//! The vocabulary (o200k, that of OpenAI's models since 2024) takes some 0.2 s and 40 MB to load,
//! so it is loaded at the first prompt that is counted and never for plans without model calls.
//! Other vendors' models count a few per cent more or less.

use l05_core::estimate::TokenCounter;
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

/// The counter of a model whose tokenizer is known by its name: those of OpenAI since GPT-4o read o200k.
/// Of all others nothing is known but that a token has at least one byte.
pub fn of_model(model: &str) -> Option<TokenCounter> {
    const FAMILIES: [&str; 8] =
        ["gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-oss", "chatgpt-4o", "o1", "o3"];
    // A proxy names the provider before the model.
    let name = model.rsplit('/').next().unwrap_or(model);
    let is_family = |family: &&str| {
        name.strip_prefix(*family)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    };
    let known = FAMILIES.iter().any(is_family) || is_family(&"o4");
    known.then_some(count_all as TokenCounter)
}

/// Tokens of a whole text: no part of it is guessed. Long texts are counted piece by piece, which can give a
/// token more at each seam, never fewer.
pub fn count_all(text: &str) -> u64 {
    let mut rest = text;
    let mut tokens = 0;
    while !rest.is_empty() {
        let most = COUNTED_BYTES_MAX.min(rest.len());
        let end = (0..=most).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(end);
        tokens += o200k_base_singleton().encode_ordinary(piece).len() as u64;
        rest = behind;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_their_names() {
        for name in ["gpt-4o", "gpt-4o-mini", "gpt-4.1-nano", "o3-mini", "openai/gpt-5", "o4-mini"]
        {
            assert!(of_model(name).is_some(), "{name}");
        }
        for name in ["gpt-4", "gpt-3.5-turbo", "llama3.2", "claude-sonnet-4", "o365", "fake", ""] {
            assert!(of_model(name).is_none(), "{name}");
        }
        let long = "hello world ".repeat(50_000);
        assert!((100_000..100_100).contains(&count_all(&long)), "{}", count_all(&long));
    }

    #[test]
    fn texts_have_tokens() {
        assert_eq!(count(""), 0);
        assert_eq!(count("hello world"), 2);
        let long = "hello world ".repeat(50_000);
        let (counted, expected) = (count(&long), 100_000);
        assert!(counted.abs_diff(expected) < expected / 50, "{counted}");
    }
}
