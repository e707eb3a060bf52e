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
    pub(super) names: Vec<NamedStep>,
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

/// Before the number of a phase, where a statement names one: phases and steps may have one number.
pub(super) const PHASE: &str = "phase ";

/// A step by its name or id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedStep {
    pub(super) text: String,
    /// The statement can only speak of steps; otherwise the name counts where a step has it.
    pub(super) is_certain: bool,
}

/// `2`, `2.1`, `step 2`, `#2`.
const ONE: &str = r"(?:(?:steps?|tasks?|items?|phases?|no\.?)\s*)?#?\d+(?:\.\d+)*";
/// `T012`, `B-001`, in upper case.
const ID: &str = r"(?-i:[A-Z]{1,5}-?\d{1,5})\b";
/// Between several of them, and in ranges.
const JOIN: &str = r"(?:\s*(?:,\s*and|,\s*or|,|;|and|&|\+|to|through|[-\u{2013}])\s*)";

/// Reads what a heading says of others: its title, and lines below it that begin with words like
/// `Depends on`. Other words below it speak of what is to come.
pub(super) fn heading_links(title: &str, notes: &[String]) -> StepLinks {
    static STATEMENT: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)^(?:depends?\b|depending|dependenc(?:y|ies)\b|blocked\s+by|requires?\b|needs?\b|after\b|no\s+dependenc)",
        )
    });
    let stated = notes.iter().map(String::as_str).filter(|note| STATEMENT.is_match(note));
    let text: Vec<&str> = std::iter::once(title).chain(stated).collect();
    links(&text.join("\n"))
}

/// Reads all statements in a step's text and notes.
pub(super) fn links(text: &str) -> StepLinks {
    let mut links = StepLinks::default();
    needed_numbers(text, &mut links);
    if let Some(found) = beside_pattern().captures(text) {
        let list = found.get(1).map(|m| m.as_str()).unwrap_or_default();
        let named = numbers(list);
        links.needs.retain(|number| !named.contains(number));
        links.beside = Some(named);
    }
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
        pattern(concat!(
            r"(?i)\b(?:no\s+(?:dependenc(?:y|ies)|prerequisites?)|(?:depends?\s+on|dependenc(?:y|ies)|depends)\s*:?\s*(?:none|nothing|n/a|[-\u{2013}]\s*$)",
            r"|independent(?:ly)?\s+of\s+(?:(?:all\s+|the\s+)*(?:others?|previous|rest)\b|(?:other\s+)?(?:steps?|tasks?))",
            r"|can\s+start\s+(?:immediately|at\s+once|any\s*time))|\(independent(?:ly)?\)"
        ))
    });
    links.needs_all = ALL.is_match(text);
    links.needs_previous = PREVIOUS.is_match(text);
    links.free = links.needs.is_empty() && FREE.is_match(text);
    if !links.needs_all && !links.needs_previous && !links.free {
        let has_numbers = !links.needs.is_empty();
        needed_names(text, has_numbers, &mut links.names);
    }
    links
}

fn beside_pattern() -> &'static Regex {
    static BESIDE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)(?:\[P(?:arallel)?\]|\(parallel\)|\b(?:in\s+parallel|concurrently|at\s+the\s+same\s+time|simultaneously|alongside)\b)(?:\s+(?:with|to|as))?(?:\s+({ONE}(?:{JOIN}{ONE})*))?"
        ))
    });
    &BESIDE
}

/// True for a text that says of what stands below it that it runs side by side: `In parallel:`.
pub(super) fn announces_fork(text: &str) -> bool {
    static FORK: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\b(?:in\s+parallel|concurrently|at\s+the\s+same\s+time|simultaneously|side\s+by\s+side)\b[^.]*:\s*$",
        )
    });
    FORK.is_match(text)
}

/// The steps of which a sentence says that they run side by side: `Steps 1 and 2 can run in parallel.`
pub(super) fn side_by_side(text: &str) -> Vec<Vec<String>> {
    static SENTENCE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)(?:^|[.;\n/(\x22]|\b(?:note|that))\s*[-*:]?\s*((?:{ONE}(?:{JOIN}{ONE})+)|(?:{ID}(?:{JOIN}{ID})+))\s+(?:can|may|could|should|will|are|run)\b[^.]*?\b(?:in\s+parallel|concurrently|at\s+the\s+same\s+time|simultaneously|side\s+by\s+side)\b"
        ))
    });
    // Ids in backticks are ids all the same.
    let plain = text.replace('`', "");
    let groups = SENTENCE.captures_iter(&plain).map(|found| {
        let list = &found[1];
        let ids = list.split([',', '&', ';', '+']).flat_map(|part| part.split(" and "));
        match numbers(list) {
            _ if list.starts_with(|c: char| c.is_ascii_uppercase()) && is_id(list) => ids
                .flat_map(|id| id_range(id.trim()).unwrap_or_else(|| vec![id.trim().to_owned()]))
                .filter(|id| !id.is_empty())
                .collect(),
            numbers => numbers,
        }
    });
    groups.collect()
}

/// True if a text begins with an id like `T012`.
fn is_id(text: &str) -> bool {
    static BEGIN: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^{ID}")));
    BEGIN.is_match(text)
}

fn is_denied(text: &str, at: usize) -> bool {
    static NOT: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)(?:\bnot|n't|\bnever|\bwithout)\s*$"));
    NOT.is_match(&text[..at])
}

/// Numbers of steps that are needed.
fn needed_numbers(text: &str, links: &mut StepLinks) {
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
    let mut seen: HashSet<String> = HashSet::new();
    for found in STRONG.captures_iter(text) {
        if !is_denied(text, found.get(0).map_or(0, |m| m.start())) {
            links.needs.extend(numbers(&found[1]).into_iter().filter(|n| seen.insert(n.clone())));
        }
    }
    for found in WEAK.captures_iter(text) {
        let (all, list) = (found.get(0), found.get(1));
        let (Some(all), Some(list)) = (all, list) else { continue };
        let counted = STEP_WORD.is_match(list.as_str())
            || (!all.as_str().to_ascii_lowercase().starts_with("from")
                && BEHIND.is_match(&text[list.end()..]));
        if counted && !is_denied(text, all.start()) {
            links
                .needs
                .extend(numbers(list.as_str()).into_iter().filter(|n| seen.insert(n.clone())));
        }
    }
}

/// Names and ids of steps that are needed.
fn needed_names(text: &str, has_numbers: bool, names: &mut Vec<NamedStep>) {
    // By name or id: up to where the statement ends.
    static NAMED: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\b(?:depends?\s+(?:on|upon)|depends|dependencies|blocked\s+by)\s*:?\s+([^().;\n\]]+)",
        )
    });
    static BY_ID: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)\b(?:requires?|needs?|after|following|once|when|with)\s*:?\s*\[?(?:tasks?\s+|steps?\s+)?({ID}(?:{JOIN}{ID})*)"
        ))
    });
    let mut add = |list: &str, is_certain: bool| {
        let parts = list.split([',', '&', ';', '+']).flat_map(|part| part.split(" and "));
        for part in parts {
            let name = part.trim().trim_matches(['"', '`', '\'']);
            let ids = id_range(name).unwrap_or_else(|| vec![name.to_owned()]);
            let ids = ids.into_iter().filter(|name| !name.is_empty());
            names.extend(ids.map(|text| NamedStep { text, is_certain }));
        }
    };
    for found in NAMED.captures_iter(text).filter(|_| !has_numbers) {
        if !is_denied(text, found.get(0).map_or(0, |m| m.start())) {
            add(&found[1], true);
        }
    }
    for found in BY_ID.captures_iter(text) {
        if !is_denied(text, found.get(0).map_or(0, |m| m.start())) {
            add(&found[1], false);
        }
    }
}

/// `T012-T015` as four ids.
fn id_range(text: &str) -> Option<Vec<String>> {
    static RANGE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"^([A-Za-z]{1,5}-?)(\d{1,5})\s*(?:-|\u{2013}|\.\.|to|through)\s*([A-Za-z]{0,5}-?)(\d{1,5})$",
        )
    });
    let found = RANGE.captures(text)?;
    let (from, to): (u64, u64) = (found[2].parse().ok()?, found[4].parse().ok()?);
    let is_range =
        (found[3].is_empty() || found[3] == found[1]) && from < to && to - from <= RANGE_MAX;
    let width = found[2].len();
    is_range.then(|| (from..=to).map(|n| format!("{}{n:0width$}", &found[1])).collect())
}

/// A longer range is a mistake.
const RANGE_MAX: u64 = 1_000;

/// The patterns of this crate are fixed, and its tests run them.
pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a fixed pattern")
}

/// `2, 3 and 5-7` as numbers; those of phases keep the word.
fn numbers(text: &str) -> Vec<String> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d+(?:\.\d+)*"));
    static TO: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"(?i)^\s*(?:to|through|[-\u{2013}])\s*(?:steps?|tasks?|phases?)?\s*#?$")
    });
    let mut found: Vec<String> = Vec::new();
    let mut last: Option<u64> = None;
    let mut word = "";
    let mut last_end = 0;
    for number in NUMBER.find_iter(text) {
        let between = &text[last_end..number.start()];
        if let Some(kind) = word_in(between) {
            word = kind;
        }
        let this: Option<u64> = number.as_str().parse().ok();
        match last.zip(this) {
            Some((from, to)) if TO.is_match(between) && from < to && to - from <= RANGE_MAX => {
                found.extend((from + 1..=to).map(|n| format!("{word}{n}")));
            }
            _ => found.push(format!("{word}{}", number.as_str())),
        }
        last = this;
        last_end = number.end();
    }
    found
}

/// The word that says of which kind the next numbers are.
fn word_in(between: &str) -> Option<&'static str> {
    let lower = between.to_ascii_lowercase();
    if lower.contains("phase") {
        return Some(PHASE);
    }
    let is_step = ["step", "task", "item", "no"].iter().any(|word| lower.contains(word));
    is_step.then_some("")
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
        assert_eq!(needs("After phase 2, ship"), ["phase 2"]);
        let names = |text: &str| -> Vec<String> {
            links(text).names.into_iter().map(|name| name.text).collect()
        };
        assert_eq!(names("Clean data (depends on Fetch data)"), ["Fetch data"]);
        assert_eq!(names("T004 Ship (depends on T002, T003)"), ["T002", "T003"]);
        assert_eq!(names("Ship after T009-T011 and T013"), ["T009", "T010", "T011", "T013"]);
        assert_eq!(side_by_side("Note: steps 2, 3 and 5 can run in parallel."), [["2", "3", "5"]]);
        assert_eq!(side_by_side("`T006` and `T007` may run concurrently"), [["T006", "T007"]]);
        assert_eq!(side_by_side("All tasks marked [P] can run in parallel"), [[""; 0]; 0]);
        assert!(links("Run the tests (in parallel)").beside.is_some());
        assert!(!links("Each story is testable independently").free);
    }
}
