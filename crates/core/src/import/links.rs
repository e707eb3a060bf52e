//! What a step says about other steps: "depends on 2 and 3", "after step 1", "in parallel".

use std::sync::LazyLock;

use regex::Regex;

/// What was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Links {
    /// Numbers of the steps that are needed.
    pub(super) needs: Vec<String>,
    /// Everything before it.
    pub(super) needs_all: bool,
    /// The step before it.
    pub(super) needs_previous: bool,
    /// It begins when these begin; with none named, when the step before it does.
    pub(super) beside: Option<Vec<String>>,
    /// It needs nothing.
    pub(super) free: bool,
}

impl Links {
    pub(super) fn is_stated(&self) -> bool {
        *self != Links::default()
    }
}

/// Reads all statements in a step's text and notes.
pub(super) fn links(text: &str) -> Links {
    // `2`, `2.1`, `step 2`, `#2`, several of them, and ranges.
    const ONE: &str = r"(?:(?:steps?|tasks?|items?|phases?|no\.?)\s*)?#?\d+(?:\.\d+)*";
    const JOIN: &str = r"(?:\s*(?:,\s*and|,\s*or|,|;|and|&|\+|to|through|[-\u{2013}])\s*)";
    static NEEDS: LazyLock<Regex> = LazyLock::new(|| {
        let verbs = r"depend(?:s|ing|encies|ency|ent)?(?:\s+(?:on|upon))?\s*:?|requires?\s*:?|blocked\s+by\s*:?|needs?\s*:?|prerequisites?\s*:?|after|following|once|when|using\s+the\s+(?:outputs?|results?)\s+(?:of|from)|from";
        pattern(&format!(
            r"(?i)\b(?:{verbs})\s+(?:completing\s+|finishing\s+|the\s+)*({ONE}(?:{JOIN}{ONE})*)"
        ))
    });
    static NEEDS_PARENS: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)\b(?:depend(?:s|encies|ency)?(?:\s+on)?|requires?|needs?|after)\s*:\s*\[?({ONE}(?:{JOIN}{ONE})*)"
        ))
    });
    static BESIDE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)\b(?:in\s+parallel|concurrently|at\s+the\s+same\s+time|simultaneously|alongside)(?:\s+(?:with|to|as))?(?:\s+({ONE}(?:{JOIN}{ONE})*))?"
        ))
    });
    static ALL: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\b(?:after|once|depends?\s+on|when|requires?)\s+(?:all|everything|every)\b(?:\s+(?:of\s+)?(?:the\s+)?(?:previous|above|other|earlier|preceding|prior)?\s*(?:steps?|tasks?)?)?",
        )
    });
    static PREVIOUS: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\b(?:after|depends?\s+on|once|following|requires?)\s+(?:the\s+)?(?:previous|preceding|last|prior)\s+(?:step|task|one)\b|\bafter\s+that\b",
        )
    });
    static FREE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\b(?:no\s+(?:dependenc(?:y|ies)|prerequisites?)|(?:depends?\s+on|dependenc(?:y|ies)|depends)\s*:?\s*(?:none|nothing|n/a|[-\u{2013}]\s*$)|independent(?:ly)?\b|can\s+start\s+(?:immediately|at\s+once|any\s*time))",
        )
    });
    let mut links = Links::default();
    for found in NEEDS.captures_iter(text).chain(NEEDS_PARENS.captures_iter(text)) {
        for number in numbers(&found[1]) {
            if !links.needs.contains(&number) {
                links.needs.push(number);
            }
        }
    }
    if let Some(found) = BESIDE.captures(text) {
        let named = found.get(1).map(|m| numbers(m.as_str())).unwrap_or_default();
        links.needs.retain(|number| !named.contains(number));
        links.beside = Some(named);
    }
    links.needs_all = ALL.is_match(text);
    links.needs_previous = PREVIOUS.is_match(text);
    links.free = links.needs.is_empty() && FREE.is_match(text);
    links
}

/// Patterns are written above and tested below.
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a fixed pattern")
}

/// `2, 3 and 5-7` as numbers.
fn numbers(text: &str) -> Vec<String> {
    /// A longer range is a mistake.
    const RANGE_MAX: u64 = 1_000;
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d+(?:\.\d+)*"));
    static TO: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)^\s*(?:to|through|[-\u{2013}])\s*(?:steps?|tasks?)?\s*#?$"));
    let mut found: Vec<String> = Vec::new();
    let mut last_end = 0;
    for number in NUMBER.find_iter(text) {
        let between = &text[last_end..number.start()];
        let ends =
            found.last().and_then(|l| l.parse::<u64>().ok()).zip(number.as_str().parse().ok());
        match ends {
            Some((from, to)) if TO.is_match(between) && from < to && to - from <= RANGE_MAX => {
                found.extend((from + 1..=to).map(|n| n.to_string()));
            }
            _ => found.push(number.as_str().to_owned()),
        }
        last_end = number.end();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_read() {
        let needs = |text: &str| links(text).needs;
        for (text, expected) in [
            ("Deploy (depends on 2 and 3)", vec!["2", "3"]),
            ("Deploy. Depends on: steps 1, 2, and 4", vec!["1", "2", "4"]),
            ("After step 1, write the tests", vec!["1"]),
            ("Write docs after steps 2-4", vec!["2", "3", "4"]),
            ("Merge (requires step 2.1)", vec!["2.1"]),
            ("Blocked by #3", vec!["3"]),
            ("Once step 2 is done, publish", vec!["2"]),
            ("Dependencies: [1, 3]", vec!["1", "3"]),
            ("Wait 5 minutes, then read 3 files", vec![]),
            ("Install version 2.1 of the tool", vec![]),
            ("After lunch, write 3 tests", vec![]),
        ] {
            assert_eq!(needs(text), expected, "{text}");
        }
        assert_eq!(links("Test (in parallel with step 2)").beside, Some(vec!["2".to_owned()]));
        assert_eq!(links("Test, in parallel").beside, Some(vec![]));
        assert!(links("Release after all previous steps").needs_all);
        assert!(links("Check after the previous step").needs_previous);
        assert!(links("Read the docs (no dependencies)").free);
        assert!(links("Dependencies: none").free);
        assert!(!links("Write the docs").is_stated());
    }
}
