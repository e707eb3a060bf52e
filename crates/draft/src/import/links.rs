//! What a step says about other steps: "depends on 2 and 3", "after step 1", "in parallel".

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

/// The links that a step states.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StepLinks {
    /// Numbers of the steps that are needed.
    pub(super) needs: Vec<String>,
    /// Names or ids of steps that are needed.
    pub(super) names: Vec<String>,
    /// Everything before it.
    pub(super) needs_all: bool,
    /// The step before it.
    pub(super) needs_previous: bool,
    /// Steps with which it begins; with none named, when the step before it does.
    pub(super) beside: Option<Vec<String>>,
    /// The step needs nothing.
    pub(super) free: bool,
}

impl StepLinks {
    pub(super) fn is_stated(&self) -> bool {
        *self != StepLinks::default()
    }
}

/// `2`, `2.1`, `step 2`, `#2`.
const ONE: &str = r"(?:(?:steps?|tasks?|items?|phases?|no\.?)\s*)?#?\d+(?:\.\d+)*";
/// Between several of them, and in ranges.
const JOIN: &str = r"(?:\s*(?:,\s*and|,\s*or|,|;|and|&|\+|to|through|[-\u{2013}])\s*)";

/// Reads all statements in a step's text and notes.
pub(super) fn links(text: &str) -> StepLinks {
    // Words that can only speak of other steps.
    static STRONG: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)\b(?:depend(?:s|ing|encies|ency|ent)?(?:\s+(?:on|upon))?|blocked\s+by|prerequisites?)\s*:?\s*\[?(?:the\s+|completing\s+)*({ONE}(?:{JOIN}{ONE})*)"
        ))
    });
    // Words that mostly speak of something else: "needs 2 reviewers", "after 1 hour".
    static WEAK: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)\b(?:requires?|needs?|after|following|once|when|from|using)\s*:?\s*\[?(?:the\s+|completing\s+|finishing\s+|outputs?\s+of\s+|results?\s+of\s+)*({ONE}(?:{JOIN}{ONE})*)"
        ))
    });
    static STEP_WORD: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)^(?:steps?|tasks?|items?|phases?|no\.?\s|#)"));
    // What may follow a list of steps and nothing else that is counted.
    static BEHIND: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)^\s*(?:$|[\]).,;:!\n]|(?:is|are|has|have|completes?|finish(?:es)?|succeeds?|done)\b)",
        )
    });
    static NOT: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)(?:\bnot|n't|\bnever|\bwithout)\s*$"));
    static BESIDE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)(?:\[P\]|\b(?:in\s+parallel|concurrently|at\s+the\s+same\s+time|simultaneously|alongside)\b)(?:\s+(?:with|to|as))?(?:\s+({ONE}(?:{JOIN}{ONE})*))?"
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
    // By name or id: up to where the statement ends.
    static NAMED: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\b(?:depends?\s+(?:on|upon)|depends|dependencies|blocked\s+by)\s*:?\s+([^().;\n\]]+)",
        )
    });
    let mut links = StepLinks::default();
    let mut seen: HashSet<String> = HashSet::new();
    let denied = |at: usize| NOT.is_match(&text[..at]);
    for found in STRONG.captures_iter(text) {
        if !denied(found.get(0).map_or(0, |m| m.start())) {
            links.needs.extend(numbers(&found[1]).into_iter().filter(|n| seen.insert(n.clone())));
        }
    }
    for found in WEAK.captures_iter(text) {
        let (all, list) = (found.get(0), found.get(1));
        let (Some(all), Some(list)) = (all, list) else { continue };
        let counted = STEP_WORD.is_match(list.as_str())
            || (!all.as_str().to_ascii_lowercase().starts_with("from")
                && BEHIND.is_match(&text[list.end()..]));
        if counted && !denied(all.start()) {
            links
                .needs
                .extend(numbers(list.as_str()).into_iter().filter(|n| seen.insert(n.clone())));
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
    if links.needs.is_empty() && !links.needs_all && !links.needs_previous && !links.free {
        for found in NAMED.captures_iter(text) {
            if !denied(found.get(0).map_or(0, |m| m.start())) {
                let names = found[1].split([',', '&']).flat_map(|part| part.split(" and "));
                let names = names.map(|name| name.trim().trim_matches(['"', '`', '\'']).to_owned());
                links.names.extend(names.filter(|name| !name.is_empty()));
            }
        }
    }
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
            ("Write, does not depend on step 1", vec![]),
            ("Approve: needs 2 reviewers", vec![]),
            ("After 1 hour, ping", vec![]),
            ("Load data from 1 to 3 files", vec![]),
            ("Load data from 2024", vec![]),
            ("When 2 tests fail, stop", vec![]),
            ("Ship after 3", vec!["3"]),
            ("Ship when 2 and 3 are done", vec!["2", "3"]),
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
        assert_eq!(links("Clean data (depends on Fetch data)").names, ["Fetch data"]);
        assert_eq!(links("T004 Ship (depends on T002, T003)").names, ["T002", "T003"]);
    }
}
