//! One pattern of a template: checked as its template is read, compiled when it first may match.
//!
//! Compiling a Unicode pattern takes a hundred times as long as parsing it, and most patterns of a
//! library never match a goal of the process that read them.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// A pattern that weighs less than this compiles in less than half the size limit of [`Regex`], which
/// is 10 MiB.
const LIGHT_MAX: u64 = 10_000;
/// The weight of a class of characters beside its ranges: folding case adds a few, and one range
/// over several planes is some forty states of some hundred bytes.
const CLASS: u64 = 30;
/// The weight of a byte of a literal: with case folded it is a small class.
const LITERAL: u64 = 10;

/// A pattern over a goal, whatever the case of its letters.
#[derive(Debug)]
pub(super) struct GoalPattern {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl GoalPattern {
    /// A pattern that [`check`] has found good.
    pub(super) fn new(text: &str) -> GoalPattern {
        GoalPattern { text: text.to_owned(), compiled: OnceLock::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The compiled pattern; `None` for one that [`check`] refuses.
    pub(super) fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| compile(&self.text).ok()).as_ref()
    }
}

/// The names of a pattern's groups, or why it is no pattern.
pub(super) fn check(text: &str) -> Result<Vec<String>, String> {
    // Folding case, half of parsing, changes neither what is a pattern nor its groups.
    let hir = regex_syntax::parse(text).map_err(|error| error.to_string())?;
    if weight(&hir) >= LIGHT_MAX {
        compile(text).map_err(|error| error.to_string())?;
    }
    let mut names = Vec::new();
    group_names(&hir, &mut names);
    Ok(names)
}

/// The syntax tree with case folded. The parser bounds how deep it nests.
pub(super) fn parse(text: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    ParserBuilder::new().case_insensitive(true).build().parse(text).map_err(Box::new)
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).case_insensitive(true).build()
}

/// The largest size of the compiled pattern, in parts of half a kilobyte.
fn weight(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => LITERAL * literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => CLASS + class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(class)) => CLASS + class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            weight(&repetition.sub).saturating_mul(u64::from(times))
        }
        HirKind::Capture(capture) => weight(&capture.sub).saturating_add(1),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(weight).fold(1, u64::saturating_add)
        }
    }
}

fn group_names(hir: &Hir, names: &mut Vec<String>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Literal(_) | HirKind::Class(_) => {}
        HirKind::Repetition(repetition) => group_names(&repetition.sub, names),
        HirKind::Capture(capture) => {
            names.extend(capture.name.as_deref().map(str::to_owned));
            group_names(&capture.sub, names);
        }
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().for_each(|part| group_names(part, names));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_checked_compiles() {
        let cases = [
            (r"^order (?P<count>\d+) (?<what>.+)$", Ok(vec!["count", "what"])),
            (r"(?P<a>x(?P<b>y)?)|z", Ok(vec!["a", "b"])),
            ("(", Err("unclosed group")),
            (r"\w{1000}", Err("size limit")),
            (r"(?:\p{L}{100}){20}", Err("size limit")),
            (r"(?:(?:a{1000}){1000}){1000}", Err("size limit")),
            (r"\p{L}{5}", Ok(vec![])),
            (r"(?:[^\s\S]x){1000000000}", Err("size limit")),
        ];
        for (text, expected) in cases {
            let found = check(text);
            match expected {
                Ok(names) => {
                    assert_eq!(found, Ok(names.into_iter().map(str::to_owned).collect()), "{text}");
                    assert!(GoalPattern::new(text).regex().is_some(), "{text}");
                }
                Err(why) => assert!(found.as_ref().is_err_and(|e| e.contains(why)), "{found:?}"),
            }
        }
    }

    /// The heaviest of what is taken unseen, of the kinds of ranges that cost most.
    #[test]
    fn a_light_pattern_is_far_from_the_limit() {
        let limit = 10 << 20;
        let classes = [
            r"\w",
            r"\PL",
            r"\p{Lu}",
            r"\p{Greek}",
            r"\p{Han}",
            "[^a]",
            "[a-z]",
            "[à-ÿ]",
            "[α-ω]",
            "[\u{10}-\u{10ffff}]",
            "[\u{10000}-\u{10ffff}]",
            "é",
            "k",
            "[éèêë]",
            "(?:straße)",
        ];
        for class in classes {
            let times = LIGHT_MAX / weight(&regex_syntax::parse(class).unwrap());
            let text = format!("(?:{class}){{{times}}}");
            let built =
                RegexBuilder::new(&text).case_insensitive(true).size_limit(limit / 2).build();
            assert!(built.is_ok(), "{text}");
        }
    }
}
