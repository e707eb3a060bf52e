//! What an entry is found by: everything that shapes a plan (spec 02, 2.5).

use std::borrow::Cow;

use aws_lc_rs::{digest, hmac};
use l05_core::plan::digest_hex;
use serde::Serialize;

/// The most characters of the goal that are keyed as text; the rest counts by its hash.
const GOAL_CHARS: usize = 1_000;

/// An entry's key.
pub(crate) type CacheKey = [u8; 32];

/// Everything but the goal that shapes a plan.
#[derive(Serialize)]
pub(crate) struct RequestShape<'r> {
    pub(crate) strategy: &'static str,
    pub(crate) goal_type: &'static str,
    /// The template that would be taken, with its version; none: a model plans.
    pub(crate) template: Option<(&'r str, &'r str)>,
    /// Provider, address and model.
    pub(crate) model: Option<(&'r str, &'r str, &'r str)>,
    pub(crate) prompt_version: u32,
    pub(crate) constraints: &'r l05_core::goal::GoalConstraints,
    pub(crate) inputs: &'r serde_json::Map<String, serde_json::Value>,
    /// The digests of the tools, and of limits and prices.
    pub(crate) place: (&'r str, &'r str),
    /// True if warnings are errors to this caller.
    pub(crate) strict: bool,
    /// Defaults of templates speak of the day.
    pub(crate) today: &'r str,
}

/// The goal's words as they are compared: white space folded. Composed characters are compared as
/// they come: goals that differ in that alone are planned twice.
pub(crate) fn folded(goal: &str) -> Cow<'_, str> {
    let is_plain = !goal.starts_with(' ')
        && !goal.ends_with(' ')
        && goal.is_ascii()
        && !goal.contains("  ")
        && !goal.contains(['\n', '\t', '\r', '\u{b}', '\u{c}']);
    if is_plain {
        goal.into()
    } else {
        goal.split_whitespace().collect::<Vec<_>>().join(" ").into()
    }
}

/// The key of a goal, whatever it is shaped by: what invalidation by goal compares.
pub(crate) fn goal_key(key: &hmac::Key, goal: &str) -> String {
    let tag = hmac::sign(key, folded(goal).as_bytes());
    digest_hex(&tag.as_ref()[..16])
}

/// The key of an entry.
pub(crate) fn cache_key(key: &hmac::Key, goal: &str, shape: &RequestShape<'_>) -> CacheKey {
    let goal = folded(goal);
    let mut context = hmac::Context::with_key(key);
    let end = goal.char_indices().nth(GOAL_CHARS).map_or(goal.len(), |(at, _)| at);
    context.update(&(end as u64).to_le_bytes());
    context.update(&goal.as_bytes()[..end]);
    if end < goal.len() {
        context.update(digest::digest(&digest::SHA256, goal.as_bytes()).as_ref());
    }
    let shape = serde_json::to_vec(shape).expect("plain data");
    context.update(&shape);
    let tag = context.sign();
    tag.as_ref().try_into().expect("HMAC-SHA256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use l05_core::goal::GoalConstraints;
    use serde_json::{Map, json};

    fn key_of(goal: &str, change: impl FnOnce(&mut RequestShape<'_>)) -> CacheKey {
        let (constraints, inputs) = (GoalConstraints::default(), Map::new());
        let mut shape = RequestShape {
            strategy: "hybrid",
            goal_type: "COMPOUND",
            template: None,
            model: Some(("ollama", "http://a", "m")),
            prompt_version: 1,
            constraints: &constraints,
            inputs: &inputs,
            strict: false,
            place: ("t", "r"),
            today: "2026-01-01",
        };
        change(&mut shape);
        cache_key(&hmac::Key::new(hmac::HMAC_SHA256, b"k"), goal, &shape)
    }

    #[test]
    fn goals_that_only_begin_alike_do_not_meet() {
        let long = "word ".repeat(300);
        let (a, b) = (format!("{long}a"), format!("{long}b"));
        assert_ne!(key_of(&a, |_| {}), key_of(&b, |_| {}));
        assert_eq!(key_of(&a, |_| {}), key_of(&format!("  {}", a.replace(' ', "\n ")), |_| {}));
        assert_ne!(key_of(&long[..999], |_| {}), key_of(&long[..1_000].replace("d ", "d"), |_| {}));
    }

    #[test]
    fn whatever_shapes_a_plan_is_in_the_key() {
        let plain = key_of("x", |_| {});
        let constraints =
            GoalConstraints { max_token_budget: Some(5), ..GoalConstraints::default() };
        let inputs = json!({"file": "a"}).as_object().cloned().unwrap();
        let others = [
            key_of("y", |_| {}),
            key_of("x", |s| s.strategy = "llm"),
            key_of("x", |s| s.goal_type = "RECURSIVE"),
            key_of("x", |s| s.template = Some(("t", "1"))),
            key_of("x", |s| s.model = Some(("ollama", "http://a", "other"))),
            key_of("x", |s| s.model = Some(("ollama", "http://b", "m"))),
            key_of("x", |s| s.prompt_version = 2),
            key_of("x", |s| s.place = ("u", "r")),
            key_of("x", |s| s.place = ("t", "s")),
            key_of("x", |s| s.today = "2026-01-02"),
        ];
        let with = |constraints: &GoalConstraints, inputs: &Map<String, serde_json::Value>| {
            let shape = RequestShape {
                strict: false,
                strategy: "hybrid",
                goal_type: "COMPOUND",
                template: None,
                model: Some(("ollama", "http://a", "m")),
                prompt_version: 1,
                constraints,
                inputs,
                place: ("t", "r"),
                today: "2026-01-01",
            };
            cache_key(&hmac::Key::new(hmac::HMAC_SHA256, b"k"), "x", &shape)
        };
        assert_eq!(with(&GoalConstraints::default(), &Map::new()), plain);
        let mut all = others.to_vec();
        all.extend([
            plain,
            with(&constraints, &Map::new()),
            with(&GoalConstraints::default(), &inputs),
        ]);
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
