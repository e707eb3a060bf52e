//! Texts in quotes of any kind, which need not close and may hold quotes: where one ends, and what it
//! says. Called by `json` alone.

pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{180e}' | '\u{200b}' | '\u{feff}')
}

/// A kind of quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QuoteMark {
    kind: QuoteKind,
    pub(super) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QuoteKind {
    Double,
    Single,
    /// Typographic ones close with any of their sort.
    DoubleLike,
    SingleLike,
}

impl QuoteMark {
    pub(super) fn at(rest: &str) -> Option<QuoteMark> {
        if rest.starts_with("```") {
            return None;
        }
        QuoteMark::of(rest.chars().next()?)
    }

    pub(super) fn of(c: char) -> Option<QuoteMark> {
        let kind = match c {
            '"' => QuoteKind::Double,
            '\'' => QuoteKind::Single,
            '\u{201c}' | '\u{201d}' => QuoteKind::DoubleLike,
            '\u{2018}' | '\u{2019}' | '`' | '\u{b4}' => QuoteKind::SingleLike,
            _ => return None,
        };
        Some(QuoteMark { kind, bytes: c.len_utf8() })
    }

    pub(super) fn is_plain(self) -> bool {
        self.kind == QuoteKind::Double
    }

    pub(super) fn closes(self, c: char) -> bool {
        match self.kind {
            QuoteKind::Double => c == '"',
            QuoteKind::Single => c == '\'',
            QuoteKind::DoubleLike => matches!(c, '"' | '\u{201c}' | '\u{201d}'),
            QuoteKind::SingleLike => matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '`' | '\u{b4}'),
        }
    }
}

/// The place at which a text is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuoteEnd {
    /// At a quote that looks like an end.
    Quote,
    /// No quote looked like one: at the first delimiter.
    Delimiter,
    /// A quote was found missing here.
    At(usize),
}

/// One look for the end of a text.
pub(super) struct QuoteScan {
    pub(super) begin: usize,
    pub(super) quote: QuoteMark,
    pub(super) until: QuoteEnd,
}

pub(super) enum ScannedText {
    /// The text ends before `to`; reading goes on at `next`.
    Whole { to: usize, next: usize, closed: bool },
    /// The text has to be read again with another end; so many bytes were read for nothing.
    Again { end: QuoteEnd, read: usize },
}

impl QuoteScan {
    pub(super) fn run(&self, text: &str) -> ScannedText {
        let mut before = None;
        let mut chars = text[self.begin..].char_indices();
        while let Some((offset, c)) = chars.next() {
            let at = self.begin + offset;
            if self.until == QuoteEnd::At(at) {
                return self.unclosed(text, at);
            }
            if c == '\\' {
                chars.next();
                before = Some((at, c));
                continue;
            }
            if self.quote.closes(c) {
                if let Some(scanned) = self.quote_at(text, at, c.len_utf8(), before) {
                    return scanned;
                }
            } else if self.until == QuoteEnd::Delimiter
                && matches!(c, ',' | '[' | ']' | '{' | '}' | '\n')
            {
                return self.unclosed(text, at);
            }
            if !is_space(c) {
                before = Some((at, c));
            }
        }
        let to = text.len();
        match before {
            Some((_, c)) if self.until == QuoteEnd::Quote && is_delimiter(c) => {
                ScannedText::Again { end: QuoteEnd::Delimiter, read: to - self.begin }
            }
            _ => self.unclosed(text, to),
        }
    }

    /// The text ends here without a quote; white space before that is not part of it.
    fn unclosed(&self, text: &str, at: usize) -> ScannedText {
        let to = self.begin + text[self.begin..at].trim_end_matches(is_space).len();
        ScannedText::Whole { to, next: at, closed: false }
    }

    /// Tells what a quote within the text is: its end, the beginning of the next one, or part of
    /// it.
    fn quote_at(
        &self,
        text: &str,
        at: usize,
        bytes: usize,
        before: Option<(usize, char)>,
    ) -> Option<ScannedText> {
        let next = at + bytes;
        let behind = behind_blank(&text[next..]);
        let ends = match behind.chars().next() {
            None => true,
            Some(_) if self.until == QuoteEnd::Delimiter => true,
            Some(c) if is_delimiter(c) || c.is_ascii_digit() || behind.starts_with("```") => true,
            Some(c) => QuoteMark::of(c).is_some_and(|quote| !closes_soon(behind, quote)),
        };
        if ends {
            return Some(ScannedText::Whole { to: at, next, closed: true });
        }
        let read = at - self.begin;
        match before? {
            (comma, ',') => Some(ScannedText::Again { end: QuoteEnd::At(comma), read }),
            (_, c) if is_delimiter(c) => {
                Some(ScannedText::Again { end: QuoteEnd::Delimiter, read })
            }
            _ => None,
        }
    }
}

/// True for characters that may stand beside a text.
fn is_delimiter(c: char) -> bool {
    matches!(c, ',' | ':' | '[' | ']' | '/' | '{' | '}' | '(' | ')' | '\n' | '+')
}

/// The text from its first character that means something. Comments are looked through only where
/// they begin at once: this runs for every quote.
fn behind_blank(rest: &str) -> &str {
    let line = rest.trim_start_matches([' ', '\t', '\r']);
    // A line's end is a delimiter of its own, unless a value's end follows.
    let all = line.trim_start_matches(is_space);
    if line.len() == all.len() || all.is_empty() || all.starts_with([',', ']', '}', ':']) {
        all
    } else {
        line
    }
}

/// True if the quote that begins this text is an end as well: a delimiter follows it.
fn closes_soon(rest: &str, quote: QuoteMark) -> bool {
    let behind = behind_blank(&rest[quote.bytes..]);
    behind.chars().next().is_none_or(is_delimiter)
}

/// A text's characters; whether something in it had to be escaped and was not, or the reverse.
pub(super) fn unescape(raw: &str, quote: QuoteMark) -> (String, bool) {
    let mut text = String::with_capacity(raw.len());
    let mut odd = false;
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            odd |= c.is_control() || (quote.is_plain() && c == '"');
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('u') => odd |= !unicode(&mut chars, &mut text),
            Some(escaped @ ('"' | '\\' | '/')) => text.push(escaped),
            Some(other) => {
                odd = true;
                text.push(other);
            }
            None => odd = true,
        }
    }
    (text, odd)
}

/// The character of `\uXXXX`, with its second half where it has one. One that is cut off at the
/// text's end is left out; one that is none stays as it is written.
fn unicode(chars: &mut std::str::Chars<'_>, text: &mut String) -> bool {
    let Some((unit, behind)) = four_digits(chars.as_str()) else {
        if chars.as_str().len() < 4 && chars.as_str().bytes().all(|b| b.is_ascii_hexdigit()) {
            *chars = "".chars();
        } else {
            text.push_str("\\u");
        }
        return false;
    };
    *chars = behind.chars();
    if let Some(c) = char::from_u32(unit) {
        text.push(c);
        return true;
    }
    let low = behind.strip_prefix("\\u").and_then(four_digits);
    match low {
        Some((low, behind))
            if (0xd800..0xdc00).contains(&unit) && (0xdc00..0xe000).contains(&low) =>
        {
            let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            *chars = behind.chars();
            true
        }
        _ => {
            text.push(char::REPLACEMENT_CHARACTER);
            false
        }
    }
}

fn four_digits(rest: &str) -> Option<(u32, &str)> {
    let digits = rest.get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
    Some((u32::from_str_radix(digits, 16).ok()?, &rest[4..]))
}
