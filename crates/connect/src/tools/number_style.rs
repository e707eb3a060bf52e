//! Numbers as people write them where they live: `1.234,50`, `1,234.50`, `1 234,50 €`.
//!
//! `data.read` asks here when a `locale` is given, or when it may take what is unmistakable (`auto`).

use std::fmt::Write as _;

/// The way in which whole groups and decimals are separated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NumberStyle {
    /// `1,234.50`
    Point,
    /// `1.234,50`
    Comma,
}

pub(super) const STYLES: [NumberStyle; 2] = [NumberStyle::Point, NumberStyle::Comma];

impl NumberStyle {
    /// The style of a language tag (`de`, `de-CH`, `en_US`): the separators that Unicode's CLDR 45 gives its numbers.
    pub(super) fn of_locale(tag: &str) -> Option<NumberStyle> {
        let tag = tag.to_ascii_lowercase().replace('_', "-");
        let (language, region) = tag.split_once('-').unwrap_or((&tag, ""));
        let points = ["en", "zh", "ja", "ko", "th", "he", "hi", "ms"];
        let commas = [
            "de", "fr", "it", "es", "pt", "nl", "sv", "nb", "no", "da", "fi", "pl", "cs", "sk",
            "sl", "hr", "hu", "ro", "bg", "ru", "uk", "tr", "el", "et", "lv", "lt", "id", "vi",
            "ca",
        ];
        match (language, region) {
            ("de" | "it", "ch") | ("de", "li") | ("es", "mx" | "us" | "pr") => {
                Some(NumberStyle::Point)
            }
            _ if points.contains(&language) => Some(NumberStyle::Point),
            _ if commas.contains(&language) => Some(NumberStyle::Comma),
            _ => None,
        }
    }

    fn separators(self) -> (char, char) {
        match self {
            NumberStyle::Point => ('.', ','),
            NumberStyle::Comma => (',', '.'),
        }
    }

    /// The number of a text in this style; none if it is no number in it.
    pub(super) fn read(self, text: &str) -> Option<StyledNumber> {
        let (unsigned, negative, mark) = marks(text)?;
        let (decimal, group) = self.separators();
        let (whole, fraction) = match unsigned.split_once(decimal) {
            None => (unsigned, None),
            Some((whole, fraction)) => (whole, Some(fraction)),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !fraction.is_none_or(digits) {
            return None;
        }
        let parts: Vec<&str> = whole.split([group, ' ', '\u{a0}', '\u{202f}', '\'', '’']).collect();
        let (first, groups) = parts.split_first()?;
        let grouped = groups.iter().all(|part| part.len() == 3 && digits(part));
        let padded = first.len() > 1 && first.starts_with('0');
        let first_fits = groups.is_empty() || (first.len() <= 3 && *first != "0");
        if !digits(first) || padded || !grouped || !first_fits {
            return None;
        }
        let points = whole.matches(group).count();
        let unmistakable = match fraction {
            // Two kinds of separator, or a group that is none: no other style reads this.
            Some(fraction) => points > 0 || fraction.len() != 3 || *first == "0",
            None => points > 1,
        };
        let mut plain = format!("{}{}", if negative { "-" } else { "" }, parts.concat());
        if let Some(fraction) = fraction {
            write!(plain, ".{fraction}").expect("a String takes what is written");
        }
        Some(StyledNumber { plain, unmistakable, mark })
    }
}

/// A number that was read in a style.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StyledNumber {
    /// With a decimal point and nothing else.
    pub(super) plain: String,
    /// No other style gives the text another value.
    pub(super) unmistakable: bool,
    /// The currency that stands before or behind.
    pub(super) mark: Option<&'static str>,
}

const CURRENCIES: [&str; 22] = [
    "€", "$", "£", "¥", "₹", "₽", "₺", "zł", "Kč", "kr", "EUR", "USD", "GBP", "CHF", "JPY", "CNY",
    "SEK", "NOK", "DKK", "PLN", "CAD", "AUD",
];

/// Takes sign and currency off: the digits with their separators, whether they are negative, and the currency.
fn marks(text: &str) -> Option<(&str, bool, Option<&'static str>)> {
    let mut rest = text.trim();
    let mut mark = None;
    let mut negative = false;
    // Each of `-$5`, `$-5`, `5 €`.
    if let Some(unsigned) = rest.strip_prefix(['-', '−']) {
        (rest, negative) = (unsigned.trim_start(), true);
    }
    for currency in CURRENCIES {
        let bare = rest.strip_prefix(currency).or_else(|| rest.strip_suffix(currency));
        if let Some(bare) = bare {
            (rest, mark) = (bare.trim(), Some(currency));
            break;
        }
    }
    if let Some(unsigned) = rest.strip_prefix(['-', '−']).filter(|_| !negative) {
        (rest, negative) = (unsigned, true);
    }
    rest.starts_with(|c: char| c.is_ascii_digit()).then_some((rest, negative, mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_read_what_is_written_in_them() {
        use NumberStyle::{Comma, Point};
        for (style, text, plain, unmistakable) in [
            (Comma, "1.234,50", "1234.50", true),
            (Comma, "2,5", "2.5", true),
            (Comma, "1.234", "1234", false),
            (Comma, "1.234.567", "1234567", true),
            (Comma, "1,234", "1.234", false),
            (Comma, "-1 234,50 €", "-1234.50", true),
            (Comma, "0,123", "0.123", true),
            (Point, "1,234.50", "1234.50", true),
            (Point, "1,234", "1234", false),
            (Point, "$1200.50", "1200.50", true),
            (Point, "-$5", "-5", false),
            (Point, "CHF 1'234.50", "1234.50", true),
        ] {
            let read = style.read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((read.plain.as_str(), read.unmistakable), (plain, unmistakable), "{text}");
        }
        for (style, text) in [
            (Comma, "1200.50"),
            (Comma, "1.2,3.4"),
            (Comma, "01.234"),
            (Point, "1.234,50"),
            (Point, "0,123"),
            (Point, "12,34"),
            (Point, "+49 170"),
            (Point, "2026-01-02"),
            (Point, "5 %"),
            (Point, ""),
            (Point, "€"),
        ] {
            assert_eq!(style.read(text), None, "{text}");
        }
        assert_eq!(NumberStyle::of_locale("de_DE"), Some(Comma));
        assert_eq!(NumberStyle::of_locale("de-CH"), Some(Point));
        assert_eq!(NumberStyle::of_locale("en"), Some(Point));
        assert_eq!(NumberStyle::of_locale("xx"), None);
    }
}
