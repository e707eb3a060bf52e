//! Numbers as texts: what is one, which type keeps its digits, and how two compare.
//!
//! A table keeps the text of a number that a machine number would change (`1.10`, `12345678901234567890`). Sums
//! and comparisons are made with decimals of any length, never with the nearest double.

use std::cmp::Ordering;
use std::str::FromStr as _;

use bigdecimal::BigDecimal;

/// The most digits and the largest power of ten of a text that is taken for a number; beyond them a sum would not
/// be bounded.
const DIGITS_MAX: usize = 1_000;
const EXPONENT_MAX: i32 = 400;
/// Decimals of so many digits have a double each of their own (IEEE 754, table 3.5).
const DOUBLE_DIGITS: usize = 15;

/// A text with the parts of a number.
#[derive(Clone, Copy)]
pub(super) struct NumberText<'t> {
    /// Without white space around.
    text: &'t str,
    whole: &'t str,
    fraction: &'t str,
    exponent: i32,
    /// With white space around, a plus sign, or no digit on one side of the point: no number to JSON.
    json: bool,
}

impl<'t> NumberText<'t> {
    /// Reads a text; none if it is no number, or one with a leading zero, which is a code.
    pub(super) fn new(written: &'t str) -> Option<NumberText<'t>> {
        let text = written.trim_matches([' ', '\t']);
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            None => (unsigned, 0),
            Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            None => (mantissa, None),
            Some((whole, fraction)) => (whole, Some(fraction)),
        };
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let count = whole.len() + fraction.map_or(0, str::len);
        let padded = whole.len() > 1 && whole.starts_with('0');
        if count == 0
            || count > DIGITS_MAX
            || padded
            || !digits(whole)
            || !fraction.is_none_or(digits)
        {
            return None;
        }
        let json = text.len() == written.len()
            && !text.starts_with('+')
            && !whole.is_empty()
            && fraction != Some("");
        Some(NumberText { text, whole, fraction: fraction.unwrap_or_default(), exponent, json })
    }

    /// The number as decimal, whatever its length.
    pub(super) fn decimal(&self) -> BigDecimal {
        // `.5` and `5.` are not understood there.
        let text = self.text.strip_prefix('+').unwrap_or(self.text);
        BigDecimal::from_str(text)
            .or_else(|_| {
                let sign = if text.starts_with('-') { "-" } else { "" };
                let (whole, fraction, exponent) = (self.whole, self.fraction, self.exponent);
                BigDecimal::from_str(&format!("{sign}0{whole}.{fraction}0e{exponent}"))
            })
            .expect("the parts were looked at")
    }

    /// The nearest double.
    pub(super) fn double(&self) -> f64 {
        self.text.parse().expect("the parts were looked at")
    }

    /// Few enough digits that the nearest double stands for this number alone.
    fn is_short(&self) -> bool {
        self.whole.len() + self.fraction.len() <= DOUBLE_DIGITS && self.exponent.abs() < 200
    }

    /// The text is a number to JSON, and readers that make a double of it get the same number.
    pub(super) fn survives_json(&self) -> bool {
        self.json
            && (self.is_short() || shortest(self.double()).is_some_and(|d| d == self.decimal()))
    }
}

fn exponent(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let well_formed = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let exponent = text.parse().ok().filter(|_| well_formed)?;
    (-EXPONENT_MAX..=EXPONENT_MAX).contains(&exponent).then_some(exponent)
}

/// The whole number that a text writes as a machine would.
pub(super) fn canonical_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical =
        digits.bytes().all(|b| b.is_ascii_digit()) && (!digits.starts_with('0') || text == "0");
    text.parse().ok().filter(|_| canonical)
}

/// The decimal that a double is written as; none for infinity.
pub(super) fn shortest(double: f64) -> Option<BigDecimal> {
    BigDecimal::from_str(&double_text(double)?).ok()
}

/// A double in the shortest form that reads back as the same double; none for infinity.
pub(super) fn double_text(double: f64) -> Option<String> {
    serde_json::Number::from_f64(double).map(|number| number.to_string())
}

/// The text is what a machine number writes: `1.5`, and not `1.50`, `1e3` or more digits than a double has.
pub(super) fn survives_text(text: &str) -> bool {
    canonical_integer(text).is_some_and(|n| n.unsigned_abs() < 1 << 53)
        || text.parse::<f64>().ok().and_then(double_text).is_some_and(|written| written == text)
}

/// Numbers by their value, before all other texts, which come by their bytes.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    match (NumberText::new(left), NumberText::new(right)) {
        (Some(a), Some(b)) if a.is_short() && b.is_short() => {
            a.double().partial_cmp(&b.double()).expect("no number is NaN")
        }
        (Some(a), Some(b)) => a.decimal().cmp(&b.decimal()),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => left.cmp(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_codes_and_words() {
        for text in ["0", "-0", "1.10", "+5", ".5", "5.", "1e3", " 7", "12345678901234567890.5"] {
            assert!(NumberText::new(text).is_some(), "{text}");
        }
        for text in
            ["", ".", "-", "01", "-07", "1e", "1e999", "e5", "1,5", "inf", "NaN", "0x1", "1_0"]
        {
            assert!(NumberText::new(text).is_none(), "{text}");
        }
        let safe = |text: &str| NumberText::new(text).unwrap().survives_json();
        for (text, expected) in [
            ("1.10", true),
            ("0.30000000000000004", true),
            ("9007199254740993", false),
            ("12345678901234.123456", false),
            ("+5", false),
            (".5", false),
            (" 7", false),
        ] {
            assert_eq!(safe(text), expected, "{text}");
        }
    }

    #[test]
    fn texts_survive_where_a_machine_number_writes_the_same() {
        for text in ["1.5", "2", "-3", "0.1", "0.30000000000000004", "0"] {
            assert!(survives_text(text), "{text}");
        }
        for text in ["1.10", "1e3", "9007199254740993", "-0", "+1", " 1", "1.", "x"] {
            assert!(!survives_text(text), "{text}");
        }
    }

    #[test]
    fn numbers_compare_by_value_and_come_before_words() {
        let order =
            ["-1e3", "-2.50", ".5", "1.1", "9007199254740992", "9007199254740993", "a", "b"];
        for (i, a) in order.iter().enumerate() {
            for (j, b) in order.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(compare("1.10", "1.1"), Ordering::Equal);
    }
}
