//! Marks at the beginning of a step's text: boxes and numbers, as people write them in words.

use std::sync::LazyLock;

use regex::Regex;

use super::links::pattern;

/// The most parts of a number: `1.2.3`.
const NUMBER_PARTS_MAX: usize = 8;
/// The highest part of a number with several.
const PART_MAX: u64 = 999;
/// The highest number of one part, as Markdown has it.
const WHOLE_MAX: u64 = 999_999_999;

/// A number as it is written: `[2, 1]` for `2.1`.
pub(super) type WrittenNumber = Vec<u64>;

/// The text behind a number at its beginning.
#[derive(Debug, PartialEq)]
pub(super) struct NumberedText<'t> {
    pub(super) number: WrittenNumber,
    pub(super) text: &'t str,
}

/// A box that the Markdown parser does not know: `[ ]* optional`, `[~] begun`.
#[derive(Debug, PartialEq)]
pub(super) struct BoxedText<'t> {
    pub(super) done: bool,
    pub(super) optional: bool,
    pub(super) text: &'t str,
}

/// Reads `2.1 …`, `2.1. …`, `2) …`, `(2) …`, `Step 2: …`, `2、…` at the beginning of a text.
/// A whole number needs a mark behind it: `3 eggs` is no step 3.
pub(super) fn numbered(text: &str) -> Option<NumberedText<'_>> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"^(?:",
            r"(?i:step|task|phase|stage)\s+#?(?P<word>\d+(?:\.\d+)*)(?:\s*[:.)\u{2013}\u{2014}：、-]\s*|\s+)",
            r"|(?:步骤|第)\s*(?P<han>\d+(?:\.\d+)*)\s*步?\s*[:：、.]\s*",
            r"|[(（](?P<bracket>\d+(?:\.\d+)*)[)）]\s*",
            r"|(?P<dotted>\d+(?:\.\d+)+)(?:[.):：]\s+|[、）]\s*|\s+)",
            r"|(?P<whole>\d+)(?:[.):]\s+|[、）：]\s*)",
            r")(?P<text>\S.*)$"
        ))
    });
    // A text of several lines is labelled by its first one.
    let line = text.split('\n').next()?;
    let found = NUMBER.captures(line)?;
    let number =
        ["word", "han", "bracket", "dotted", "whole"].iter().find_map(|n| found.name(n))?;
    let number = parts(number.as_str())?;
    let begin = found.name("text")?.start();
    Some(NumberedText { number, text: &text[begin..] })
}

/// The parts of `2.1`; none for what is no number of a step.
pub(super) fn parts(text: &str) -> Option<WrittenNumber> {
    let parts: Option<WrittenNumber> = text.split('.').map(|part| part.parse().ok()).collect();
    parts.filter(|parts| is_number(parts))
}

/// False for versions and dates.
fn is_number(number: &[u64]) -> bool {
    let part_max = if number.len() > 1 { PART_MAX } else { WHOLE_MAX };
    number.len() <= NUMBER_PARTS_MAX && number.iter().all(|part| *part <= part_max)
}

/// Reads a box at the beginning of a text.
pub(super) fn boxed(text: &str) -> Option<BoxedText<'_>> {
    static BOX: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\[([ xX~-]?)\](\*?)(?:\s+|$)"));
    let found = BOX.captures(text)?;
    Some(BoxedText {
        done: matches!(&found[1], "x" | "X"),
        optional: !found[2].is_empty(),
        text: &text[found[0].len()..],
    })
}

/// The lines of a text that begin sub-steps: `1.1 …` under step 1. One alone counts where it is a
/// first one: `1.5 seconds` in a wrapped sentence is none.
pub(super) struct NumberedLines {
    prefixes: std::collections::HashMap<WrittenNumber, usize>,
    /// Lines that begin with a number of one part.
    whole: usize,
}

impl NumberedLines {
    pub(super) fn of(text: &str) -> NumberedLines {
        let mut prefixes = std::collections::HashMap::new();
        let mut whole = 0;
        for line in text.lines() {
            let line = line.trim_start().trim_start_matches(['-', '*', '+']).trim_start();
            let Some(NumberedText { mut number, .. }) = numbered(line) else { continue };
            number.pop();
            if number.is_empty() {
                whole += 1;
            } else {
                *prefixes.entry(number).or_default() += 1;
            }
        }
        NumberedLines { prefixes, whole }
    }

    /// A line that begins a step within another step.
    pub(super) fn below_step<'l>(&self, line: &'l str) -> Option<NumberedText<'l>> {
        let found = numbered(line).filter(|found| found.number.len() > 1)?;
        let (last, prefix) = found.number.split_last()?;
        let several = self.prefixes.get(prefix).is_some_and(|lines| *lines > 1);
        (several || *last <= 1).then_some(found)
    }

    /// A line that begins a step where no list does.
    pub(super) fn outside<'l>(&self, line: &'l str) -> Option<NumberedText<'l>> {
        let found = numbered(line)?;
        match found.number.len() {
            1 => (self.whole > 1).then_some(found),
            _ => self.below_step(line),
        }
    }
}

/// Lines `a. …`, `b. …` within a step, counted from 1. A lone `a.` is none.
pub(super) struct LetteredLines {
    /// The letter that comes next; none where the text has no such list.
    next: Option<u8>,
}

impl LetteredLines {
    pub(super) fn of(text: &str) -> LetteredLines {
        let begins = |letter| text.lines().any(|line| lettered(line.trim(), letter).is_some());
        LetteredLines { next: (begins(b'a') && begins(b'b')).then_some(b'a') }
    }

    /// The step that this line begins, if its letter is the next one.
    pub(super) fn next<'l>(&mut self, line: &'l str) -> Option<NumberedText<'l>> {
        let letter = self.next?;
        let text = lettered(line, letter)?;
        self.next = (letter < b'z').then_some(letter + 1);
        Some(NumberedText { number: vec![u64::from(letter - b'a') + 1], text })
    }
}

/// The text behind `b.`, `b)` or `(b)`.
fn lettered(line: &str, letter: u8) -> Option<&str> {
    let rest = line.strip_prefix('(').unwrap_or(line).strip_prefix(char::from(letter))?;
    let text = rest.strip_prefix(['.', ')'])?;
    text.starts_with(' ').then(|| text.trim_start()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read() {
        for (text, number, rest) in [
            ("2.1 Find", vec![2, 1], "Find"),
            ("2.1. Find", vec![2, 1], "Find"),
            ("2.1) Find", vec![2, 1], "Find"),
            ("(2.1) Find", vec![2, 1], "Find"),
            ("2. Find", vec![2], "Find"),
            ("Step 2: Find", vec![2], "Find"),
            ("Task 2.1 - Find", vec![2, 1], "Find"),
            ("2、查找", vec![2], "查找"),
            ("步骤2：查找", vec![2], "查找"),
            ("第2步：查找", vec![2], "查找"),
        ] {
            assert_eq!(numbered(text), Some(NumberedText { number, text: rest }), "{text}");
        }
        for text in
            ["3 eggs", "2024", "2024.11.27 Book", "1.", "v1.2 is out", "1.2.3.4.5.6.7.8.9 x", "1.5"]
        {
            assert_eq!(numbered(text), None, "{text}");
        }
        assert_eq!(
            boxed("[ ]* 2.2 Test"),
            Some(BoxedText { done: false, optional: true, text: "2.2 Test" })
        );
        assert_eq!(boxed("[P] x"), None);
    }
}
