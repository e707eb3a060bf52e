//! All patterns of a library at once, coarsely: what may match, by bytes.
//!
//! A set of Unicode patterns is an automaton of hundreds of states for each `\w`, too large for the
//! quick engines when there are a thousand of them. Here any character beyond ASCII stands for any
//! other, and word boundaries are not looked at: whatever matches a pattern matches it here as well,
//! and the few candidates are matched exactly by whoever asks.

use regex::bytes::{RegexSet, RegexSetBuilder};
use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, HirKind, Look, Repetition};

use super::pattern::parse;

/// Compiled size of all patterns together.
const PATTERNS_SIZE_MAX: usize = 256 << 20;
/// The most memory of the matcher; with too little it falls back to a walk that takes ten times as
/// long.
const MATCHER_BYTES_MAX: usize = 32 << 20;
/// A character beyond ASCII is so many bytes in UTF-8.
const BYTES_OF_OTHERS: (u32, u32) = (2, 4);

/// A set that tells which of many patterns may match a text.
#[derive(Debug)]
pub(super) struct CoarseSet(RegexSet);

impl CoarseSet {
    /// The patterns have been checked one by one before: what fails here is their number.
    pub(super) fn new<'p>(
        patterns: impl Iterator<Item = &'p str>,
    ) -> Result<CoarseSet, regex::Error> {
        let coarse = patterns.map(coarse);
        let set = RegexSetBuilder::new(coarse)
            .unicode(false)
            .size_limit(PATTERNS_SIZE_MAX)
            .dfa_size_limit(MATCHER_BYTES_MAX)
            .build()?;
        Ok(CoarseSet(set))
    }

    /// The places of the patterns that may match, in order.
    pub(super) fn candidates(&self, text: &str) -> impl Iterator<Item = usize> {
        self.0.matches(text.as_bytes()).into_iter()
    }
}

/// A pattern over bytes that matches wherever this one does.
fn coarse(pattern: &str) -> String {
    match parse(pattern) {
        Ok(hir) => coarse_hir(&hir).to_string(),
        // It was checked before; should that ever differ, it may match anything.
        Err(_) => String::new(),
    }
}

/// The parser bounds how deep patterns nest.
fn coarse_hir(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0.clone()),
        HirKind::Class(Class::Bytes(class)) => Hir::class(Class::Bytes(class.clone())),
        HirKind::Class(Class::Unicode(class)) => {
            let ascii = class.iter().filter(|range| range.start().is_ascii()).map(|range| {
                let end = u8::try_from(range.end()).unwrap_or(0x7f).min(0x7f);
                ClassBytesRange::new(range.start() as u8, end)
            });
            let ascii = ClassBytes::new(ascii);
            let has_others = class.iter().any(|range| !range.end().is_ascii());
            let (min, max) = BYTES_OF_OTHERS;
            let byte = ClassBytes::new([ClassBytesRange::new(0x80, 0xff)]);
            let others = || {
                let sub = Box::new(Hir::class(Class::Bytes(byte)));
                Hir::repetition(Repetition { min, max: Some(max), greedy: true, sub })
            };
            match (ascii.iter().next().is_some(), has_others) {
                (_, false) => Hir::class(Class::Bytes(ascii)),
                (false, true) => others(),
                (true, true) => Hir::alternation(vec![Hir::class(Class::Bytes(ascii)), others()]),
            }
        }
        HirKind::Look(look @ (Look::Start | Look::End | Look::StartLF | Look::EndLF)) => {
            Hir::look(*look)
        }
        HirKind::Look(_) => Hir::empty(),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: Box::new(coarse_hir(&repetition.sub)),
            ..repetition.clone()
        }),
        HirKind::Capture(capture) => coarse_hir(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(coarse_hir).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(coarse_hir).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::RegexBuilder;

    const PATTERNS: &[&str] = &[
        r"^(?:please )?order (?P<count>\d+) (?:crates|boxes) of (?P<what>[\w .-]+?)$",
        r"^what is the (?:status|state)$",
        r"\bkäse\b|[^a-z]x{2,3}",
        r"^\w+\s+\S+$",
        r"(?i)straße|[α-ω]+",
        r"^.{3}$",
    ];

    proptest! {
        #[test]
        fn whatever_matches_is_a_candidate(
            text in prop_oneof![
                "[a-zA-Zäß€😀 .0-9-]{0,12}",
                "(please )?ORDER [0-9]{1,2} (crates|boxes) of [\\wéж .-]{1,8}",
                "\\PC{0,6}",
            ]
        ) {
            let set = CoarseSet::new(PATTERNS.iter().copied()).unwrap();
            let candidates: Vec<usize> = set.candidates(&text).collect();
            for (at, pattern) in PATTERNS.iter().enumerate() {
                let exact = RegexBuilder::new(pattern).case_insensitive(true).build().unwrap();
                prop_assert!(!exact.is_match(&text) || candidates.contains(&at), "{} {}", pattern, text);
            }
        }
    }

    #[test]
    fn most_of_what_does_not_match_is_none() {
        let set = CoarseSet::new(PATTERNS.iter().copied()).unwrap();
        let found: Vec<usize> = set.candidates("order 3 crates of tea").collect();
        assert_eq!(found, [0]);
    }
}
