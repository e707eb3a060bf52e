//! Data inside Markdown: escaped, so that it is read and never rendered.

use std::fmt::{self, Write};

/// Writes a text so that Markdown shows exactly it, on one line.
pub(super) fn write_escaped(out: &mut dyn Write, text: &str) -> fmt::Result {
    let mut before = ' ';
    let mark = line_mark(text);
    for (at, c) in text.char_indices() {
        let after = text[at + c.len_utf8()..].chars().next().unwrap_or(' ');
        match c {
            '\n' | '\r' => out.write_char(' ')?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '&' => out.write_str("&amp;")?,
            // Inside a word `_` is no emphasis (CommonMark 6.2), and names have many.
            '_' if before.is_alphanumeric() && after.is_alphanumeric() => out.write_char('_')?,
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => {
                out.write_char('\\')?;
                out.write_char(c)?;
            }
            // A mark that means something at the beginning of a line only.
            _ if mark == Some(at) => {
                out.write_char('\\')?;
                out.write_char(c)?;
            }
            // A bare address would become a link.
            ':' if text[at..].starts_with("://") => out.write_str("&#58;")?,
            '.' if before == 'w' && text[..at].ends_with("www") => out.write_str("\\.")?,
            '@' => out.write_str("&#64;")?,
            c if c.is_control() => {}
            c => out.write_char(c)?,
        }
        before = c;
    }
    Ok(())
}

/// Finds where a text, if a line began with it, would make a heading, list or rule: the mark
/// itself, or what stands behind the number of a list.
fn line_mark(text: &str) -> Option<usize> {
    let start = text.len() - text.trim_start().len();
    let rest = &text[start..];
    if rest.starts_with(['#', '+', '-', '=']) {
        return Some(start);
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0 && rest[digits..].starts_with(['.', ')'])).then_some(start + digits)
}

/// A code span around any text, inside a table cell.
pub(super) fn cell_code_span(text: &str) -> String {
    // Cells end at a bar even inside code.
    code_span(text).replace('|', "\\|")
}

/// A code span around any text (CommonMark 6.1): the fence is longer than any run inside.
pub(super) fn code_span(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') || text.trim().is_empty() {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        write_escaped(&mut out, text).unwrap();
        out
    }

    #[test]
    fn markup_becomes_text() {
        assert_eq!(escaped("snake_case, plain text."), "snake_case, plain text.");
        assert_eq!(escaped("<script>x</script>"), "&lt;script&gt;x&lt;/script&gt;");
        assert_eq!(escaped("[a](javascript:x)"), "\\[a\\](javascript:x)");
        assert_eq!(escaped("![x](http://e)"), "!\\[x\\](http&#58;//e)");
        assert_eq!(escaped("# a\n# b"), "\\# a # b");
        assert_eq!(escaped("a | b `c` *d* _e_"), "a \\| b \\`c\\` \\*d\\* \\_e\\_");
        assert_eq!(code_span("a`b``c"), "```a`b``c```");
        assert_eq!(code_span("`x"), "`` `x ``");
        assert_eq!((code_span("a|b"), cell_code_span("a|b")), ("`a|b`".into(), "`a\\|b`".into()));
        assert_eq!(escaped("  # x"), "  \\# x");
        assert_eq!(escaped("==="), "\\===");
        assert_eq!(escaped("1) x, 2. y"), "1\\) x, 2. y");
        assert_eq!(escaped("www.example.org"), "www\\.example.org");
    }
}
