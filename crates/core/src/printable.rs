//! Text that others wrote, on its way to a terminal, a log or a report: what would steer the reader's terminal, turn the
//! direction of the line or not be seen at all is written out.
//!
//! The command line prints everything through this, and reports escape their data with it.

use std::borrow::Cow;

/// True if a character shows nothing: soft hyphens, marks of direction, variation selectors, tags and the like.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A text in which control characters but for line breaks and tabs, marks of direction and invisible characters are
/// written as `\u{1b}`. Joiners and variation selectors stay between characters beyond ASCII, where scripts and
/// pictographs need them.
pub fn printable(text: &str) -> Cow<'_, str> {
    written(text, &|c| format!("\\u{{{:x}}}", u32::from(c)))
}

/// The same on one line: line breaks and tabs are spaces.
pub fn printable_line(text: &str) -> Cow<'_, str> {
    match printable(text) {
        shown if !shown.contains(['\n', '\t']) => shown,
        shown => Cow::Owned(shown.replace(['\n', '\t'], " ")),
    }
}

/// A JSON text in which such characters are JSON's own escapes: the same document.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    written(json, &|c| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    })
}

fn written<'t>(text: &'t str, write: &dyn Fn(char) -> String) -> Cow<'t, str> {
    // Nearly all text: nothing below a space but line breaks, and nothing beyond ASCII.
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) || byte == b'\n' || byte == b'\t';
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut is_as_it_was = true;
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let after = rest.peek().copied().unwrap_or(' ');
        if c != '\n' && c != '\t' && is_written(before, c, after) {
            shown.push_str(&write(c));
            is_as_it_was = false;
        } else {
            shown.push(c);
        }
        before = c;
    }
    if is_as_it_was { Cow::Borrowed(text) } else { Cow::Owned(shown) }
}

fn is_written(before: char, c: char, after: char) -> bool {
    let joins = match c {
        '\u{200c}' | '\u{200d}' => !before.is_ascii() && !after.is_ascii(),
        '\u{fe00}'..='\u{fe0f}' => !before.is_ascii(),
        _ => false,
    };
    c.is_control() || (is_invisible(c) && !joins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_or_hides_is_written_out() {
        let cases = [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\u{1b}]0;PWNED\u{7}\u{1b}[2J", "\\u{1b}]0;PWNED\\u{7}\\u{1b}[2J"),
            ("over\rwritten", "over\\u{d}written"),
            ("a\u{202e}b\u{2066}c\u{200f}", "a\\u{202e}b\\u{2066}c\\u{200f}"),
            ("pay\u{200b}load \u{9b}2J \u{7f}", "pay\\u{200b}load \\u{9b}2J \\u{7f}"),
            ("naïve 漢字 👨\u{200d}👩 ❤\u{fe0f}", "naïve 漢字 👨\u{200d}👩 ❤\u{fe0f}"),
            ("a\u{200d}b", "a\\u{200d}b"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
        assert!(matches!(printable("naïve 漢字"), Cow::Borrowed(_)));
        assert_eq!(printable_line("a\nb\tc\u{1b}"), "a b c\\u{1b}");
        let json = serde_json::to_string("\u{202e}\u{9b}\u{e0041}é").unwrap();
        let shown = printable_json(&json);
        assert!(shown.is_ascii() || shown.contains('é'), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), "\u{202e}\u{9b}\u{e0041}é");
    }
}
