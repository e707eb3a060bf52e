//! The input policy: what the text of a goal may contain before anything else sees it.
//!
//! `strict` is what the platform's specification asks for, by characters and words; `prose` is for
//! real sentences and looks for *constructs*. Both are linear in the text: one walk over the
//! characters, then one search by a finite automaton without backtracking.
//!
//! Passing is no licence: goal text stays data for ever after.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::document::choice::choices;
use crate::error::{Error, ErrorCode};

choices! {
    /// Sets of rules for goals.
    pub enum InputPolicy {
        /// Letters, digits, white space and `- . , ! ? : ( )`; no SQL words, no code.
        Strict = "strict",
        /// Real sentences; no SQL statements, shell constructs, markup or code.
        Prose = "prose",
    }
}

/// The longest goal, in Unicode scalar values.
pub const GOAL_MAX_CHARS: usize = 100_000;

/// Reasons for which a goal was refused.
#[derive(Clone, Debug, PartialEq)]
pub enum GoalRefusal {
    /// No text, or white space alone.
    Empty,
    /// More than [`GOAL_MAX_CHARS`].
    TooLong {
        /// The goal's length, in characters.
        chars: usize,
    },
    /// A rule of the policy.
    Rule(PolicyViolation),
}

/// A broken rule, and the place.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyViolation {
    /// The rule's name.
    pub rule: &'static str,
    /// The character or words.
    pub found: String,
    /// The place at which it begins, in characters from 0.
    pub position: usize,
    /// True if `prose` would have let the text pass.
    pub passes_prose: bool,
}

/// Checks a goal's text.
pub fn check(text: &str, policy: InputPolicy) -> Result<(), GoalRefusal> {
    // Bytes bound characters, so the count is only made where it can matter.
    if text.len() > GOAL_MAX_CHARS {
        let chars = text.chars().count();
        if chars > GOAL_MAX_CHARS {
            return Err(GoalRefusal::TooLong { chars });
        }
    }
    if text.trim().is_empty() {
        return Err(GoalRefusal::Empty);
    }
    let violation = match policy {
        InputPolicy::Strict => strict_violation(text).map(|mut violation| {
            violation.passes_prose = prose_violation(text).is_none();
            violation
        }),
        InputPolicy::Prose => prose_violation(text),
    };
    violation.map_or(Ok(()), |violation| Err(GoalRefusal::Rule(violation)))
}

impl GoalRefusal {
    /// As a coded error: E5001 for length, E5004 for content.
    pub fn into_error(self) -> Error {
        match self {
            GoalRefusal::Empty => Error::new(ErrorCode::GoalFormatInvalid, "the goal is empty")
                .suggest("say what is to be done"),
            GoalRefusal::TooLong { chars } => Error::new(
                ErrorCode::GoalFormatInvalid,
                format!("the goal has {chars} characters; at most {GOAL_MAX_CHARS} are accepted"),
            )
            .detail("characters", chars)
            .detail("characters_max", GOAL_MAX_CHARS),
            GoalRefusal::Rule(violation) => violation.into_error(),
        }
    }
}

impl PolicyViolation {
    fn into_error(self) -> Error {
        let message = format!(
            "the goal has `{}` at character {}, which the rule `{}` refuses",
            self.found.escape_debug(),
            self.position + 1,
            self.rule
        );
        let error = Error::new(ErrorCode::GoalInputRefused, message)
            .detail("rule", self.rule)
            .detail("found", self.found)
            .detail("position", self.position);
        if self.passes_prose {
            error.suggest("reword it, or allow ordinary sentences: `--set input.policy=prose`")
        } else {
            error.suggest("remove it: goals are plain text, and no policy lets this pass")
        }
    }
}

static STRICT_WORDS: LazyLock<Regex> =
    LazyLock::new(|| ascii_regex(r"\b(?:drop|delete|insert|update)\b"));

/// Refused by both policies. `position` and `found` come from the single patterns; the set says in
/// one pass whether any of them can match.
static CODE: LazyLock<RefusedPatterns> = LazyLock::new(|| {
    RefusedPatterns::new(&[
        ("code: eval", r"\beval\s*\("),
        ("code: __import__", r"__import__"),
        ("code: exec", r"\bexec\s*\("),
        ("markup: script", r"<\s*/?\s*script"),
    ])
});

static PROSE: LazyLock<RefusedPatterns> = LazyLock::new(|| {
    RefusedPatterns::new(&[
        // SQL statements: the keyword with the words that make it one, not the keyword alone.
        (
            "sql: drop",
            r"\bdrop\s+(?:table|database|schema|view|index|user)\s+(?:if\s+exists\s+)?[\x22'`\[]?\w+",
        ),
        ("sql: delete", r"\bdelete\s+from\s+[\x22'`\[]?\w+[\x22'`\]]?\s*(?:;|--|where\b|$)"),
        ("sql: insert", r"\binsert\s+into\s+[\x22'`\[]?\w+[\x22'`\]]?\s*(?:\(|values\b|select\b)"),
        ("sql: update", r"\bupdate\s+[\x22'`\[]?\w+[\x22'`\]]?\s+set\s+\w+\s*="),
        ("sql: union", r"\bunion\s+(?:all\s+)?select\b"),
        ("sql: tail", r"['\x22]\s*\)*\s*;?\s*(?:--|#|/\*)\s*(?:[-+]\s*)?$"),
        ("sql: tail", r"['\x22]\s*;\s*--"),
        (
            "sql: tautology",
            r"['\x22)\s](?:or|and|\|\||&&)\s*\(*\s*['\x22]?(\d+)['\x22]?\s*(?:=|like)\s*\(*['\x22]?\d+",
        ),
        (
            "sql: tautology",
            r"['\x22]\s*\)*\s*(?:or|and|\|\|)\s*\(*\s*(?:'[^']*'|\x22[^\x22]*\x22|true|\w+)\s*(?:[=<>]\s*\(?['\x22\w]|(?:like|in|is)\s*\(?\s*['\x22])",
        ),
        ("sql: tautology", r"['\x22]\s*\)*\s+or\s+(?:true|1|''|\x22\x22|'\w*')"),
        (
            "sql: function",
            r"\b(?:sleep|benchmark|waitfor\s+delay|pg_sleep|load_file|xp_cmdshell|extractvalue|updatexml)\s*\(",
        ),
        // Shell constructs.
        ("shell: substitution", r"\$\([^)]*\)"),
        (
            "shell: backticks",
            r"`\s*(?:\w+/)*(?:cat|curl|wget|rm|sh|bash|id|whoami|uname|ls|nc|python|perl|ping|sleep|echo|touch)\b[^`]*`",
        ),
        (
            "shell: chained command",
            r"(?:;|\|\|?|&&?)\s*(?:sudo\s+)?(?:/\w+)*/?(?:rm|sh|bash|zsh|curl|wget|nc|ncat|netcat|chmod|chown|mkfs|dd|kill|shutdown|reboot|sudo|eval|python3?|perl|ruby|php|powershell|cmd|cat|ls|id|whoami|uname|ping|sleep|telnet|ssh|scp|nslookup|netstat|ifconfig|ipconfig|env|printenv|ps|pwd|wall|touch|reg|net|dir)(?:\s+[-/.~$<>\x22'\w]|\s*$|[;|&<>])",
        ),
        (
            "shell: redirection",
            r"(?:\d|&|\s)?>>?\s*(?:/(?:dev|etc|tmp|var|usr|home|root|bin|opt)/|~/|\.\./|&\d)",
        ),
        ("shell: here input", r"<\s*/(?:etc|dev|proc|var|root|home)/"),
        ("shell: variable splitting", r"\$\{?ifs\b|\{(?:cat|ls|id|rm|curl|wget),"),
        ("shell: dangerous removal", r"\brm\s+-[a-z]*[rf][a-z]*\s+[/~*.]"),
        ("shell: system file", r"/etc/(?:passwd|shadow|sudoers)\b"),
        // Markup and scripts.
        ("markup: javascript", r"\bj\s*a\s*v\s*a\s*s\s*c\s*r\s*i\s*p\s*t\s*:"),
        ("markup: vbscript", r"\bvbscript\s*:"),
        (
            "markup: handler",
            r"<[^>]*?[\s/\x22']on[a-z]{3,24}\s*=|[\x22'/\s]on(?:error|load|click|mouseover|focus|blur|toggle|begin|start|wheel|copy|cut|paste|drag|input|submit|keydown|keyup|keypress|pointer[a-z]+|animation[a-z]+|transition[a-z]+)\s*=",
        ),
        (
            "markup: active element",
            r"<\s*(?:iframe|object|embed|applet|meta|link|base|svg|math|form|marquee|isindex|video|audio|img|input|body|style|details|xss|x|frameset)\b[^>]*(?:\bon\w+\s*=|src\s*=|href\s*=|srcdoc|data\s*=|style\s*=|/>|>)",
        ),
        // Code.
        (
            "code: import",
            r"\bimport\s+(?:os|subprocess|socket|ctypes|pty|shutil)\b|\bfrom\s+(?:os|subprocess|socket|ctypes)\s+import\b",
        ),
        ("code: subprocess", r"\bsubprocess\s*\.\s*\w+|\bsubprocess\b\s*\("),
        ("code: os.system", r"\bos\s*\.\s*(?:system|popen|exec\w*|remove|unlink|spawn\w*)\b"),
        (
            "code: template",
            r"\{\{\s*(?:config|self|request|[\x22'\[(]|\d+\s*[*+])|\{%\s*\w+|<%=?\s*\w+|\$\{\s*(?:t\(|jndi:)",
        ),
    ])
});

fn ascii_regex(pattern: &str) -> Regex {
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .unicode(false)
        .build()
        .expect("the pattern is a constant, compiled by every test run")
}

struct RefusedPatterns {
    names: Vec<&'static str>,
    set: RegexSet,
    single: Vec<Regex>,
}

impl RefusedPatterns {
    fn new(rules: &[(&'static str, &str)]) -> RefusedPatterns {
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .case_insensitive(true)
                .build()
                .expect("the pattern is a constant, compiled by every test run")
        };
        RefusedPatterns {
            names: rules.iter().map(|(name, _)| *name).collect(),
            set: RegexSetBuilder::new(rules.iter().map(|(_, pattern)| pattern))
                .case_insensitive(true)
                .size_limit(PATTERNS_SIZE_MAX)
                .build()
                .expect("the patterns are constants, compiled by every test run"),
            single: rules.iter().map(|(_, pattern)| build(pattern)).collect(),
        }
    }

    /// The earliest match of any pattern.
    fn find(&self, text: &str) -> Option<PolicyViolation> {
        let matched = self.set.matches(text);
        matched
            .iter()
            .filter_map(|rule| self.single[rule].find(text).map(|found| (found, rule)))
            .min_by_key(|(found, _)| found.start())
            .map(|(found, rule)| violation(text, found.range(), self.names[rule]))
    }
}

/// Compiled size of the pattern set; it has bounded repetitions of Unicode classes.
const PATTERNS_SIZE_MAX: usize = 32 << 20;
/// The most of the offending text that a message shows, in characters.
const FOUND_MAX_CHARS: usize = 60;

fn violation(text: &str, range: std::ops::Range<usize>, rule: &'static str) -> PolicyViolation {
    PolicyViolation {
        rule,
        position: text[..range.start].chars().count(),
        found: text[range].chars().take(FOUND_MAX_CHARS).collect(),
        passes_prose: false,
    }
}

fn strict_violation(text: &str) -> Option<PolicyViolation> {
    if let Some(at) = text.bytes().position(|b| !STRICT_BYTES[usize::from(b)]) {
        let offending = text[at..].chars().next().expect("a position inside the text");
        // White space beyond ASCII is white space too.
        let first = text.char_indices().find(|(_, c)| !is_strict(*c));
        let (at, c) = first.unwrap_or((at, offending));
        if first.is_some() {
            return Some(violation(text, at..at + c.len_utf8(), "character"));
        }
    }
    if let Some(found) = STRICT_WORDS.find(text) {
        return Some(violation(text, found.range(), "sql keyword"));
    }
    CODE.find(text)
}

/// ASCII bytes that strict accepts; a table, because this loop is the whole cost of most checks.
static STRICT_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 128 {
        let c = byte as u8;
        table[byte] = c.is_ascii_alphanumeric()
            || c.is_ascii_whitespace()
            || matches!(c, b'-' | b'.' | b',' | b'!' | b'?' | b':' | b'(' | b')');
        byte += 1;
    }
    table
};

fn is_strict(c: char) -> bool {
    if c.is_ascii() { STRICT_BYTES[c as usize] } else { c.is_whitespace() }
}

fn prose_violation(text: &str) -> Option<PolicyViolation> {
    let hidden =
        text.char_indices().find_map(|(at, c)| hidden_character(c).map(|rule| (at, c, rule)));
    if let Some((at, c, rule)) = hidden {
        return Some(violation(text, at..at + c.len_utf8(), rule));
    }
    // Each character class of the patterns needs one of these; most prose has only the first few.
    CODE.find(text).or_else(|| PROSE.find(text))
}

/// Characters that a reader does not see, or that change what a reader sees.
fn hidden_character(c: char) -> Option<&'static str> {
    match c {
        '\t' | '\n' | '\r' => None,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some("bidirectional override"),
        '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => Some("zero-width character"),
        c if c.is_control() => Some("control character"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str, policy: InputPolicy) -> Option<(&'static str, String, usize)> {
        match check(text, policy) {
            Ok(()) => None,
            Err(GoalRefusal::Rule(v)) => Some((v.rule, v.found, v.position)),
            Err(other) => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn strict_goes_by_characters_and_words() {
        for good in
            ["Create a summary of the project status", "Why? (now!) a-b, c: d.", "updates dropped"]
        {
            assert_eq!(rule(good, InputPolicy::Strict), None, "{good}");
        }
        let cases = [
            ("Update the docs", "sql keyword", "Update", 0),
            ("please DROP it", "sql keyword", "DROP", 7),
            ("a; b", "character", ";", 1),
            ("caf\u{e9}", "character", "\u{e9}", 3),
            ("call eval (x)", "code: eval", "eval (", 5),
            ("a_b", "character", "_", 1),
        ];
        for (text, name, found, position) in cases {
            assert_eq!(
                rule(text, InputPolicy::Strict),
                Some((name, found.to_owned(), position)),
                "{text}"
            );
        }
    }

    #[test]
    fn prose_goes_by_constructs() {
        for good in [
            "Update the docs and delete old logs",
            "Don't drop the table of contents; insert \"it\" & say what's new [50 % @ #1]",
            "Erstelle eine Übersicht über den Projektstand, по-русски, 日本語で",
            "Write a select statement for a union of workers",
            "Use `main` and $5, a | b, x > y, {curly} <angle>",
        ] {
            assert_eq!(rule(good, InputPolicy::Prose), None, "{good}");
        }
        for bad in [
            "x; rm -rf /",
            "list files | sh",
            "ok && curl evil.example",
            "read $(cat secrets)",
            "say `cat /x`",
            "write > /etc/hosts",
            "DROP TABLE users",
            "delete from users where 1",
            "admin' OR 1=1 --",
            "1 UNION ALL SELECT password",
            "x <script>alert(1)</script>",
            "click javascript:alert(1)",
            "<img src=x onerror=alert(1)>",
            "import os and os.system('x')",
            "a\u{202e}b",
            "a\u{200b}b",
            "a\u{7}b",
        ] {
            assert!(rule(bad, InputPolicy::Prose).is_some(), "{bad}");
        }
    }

    #[test]
    fn lengths_are_e5001_and_rules_e5004() {
        let code = |text: &str| check(text, InputPolicy::Strict).unwrap_err().into_error().code;
        assert_eq!(code(" \n"), ErrorCode::GoalFormatInvalid);
        assert_eq!(code(&"a".repeat(GOAL_MAX_CHARS + 1)), ErrorCode::GoalFormatInvalid);
        assert_eq!(code("Update it"), ErrorCode::GoalInputRefused);
        assert!(check(&"a".repeat(GOAL_MAX_CHARS), InputPolicy::Strict).is_ok());
        assert!(check(&"ä".repeat(GOAL_MAX_CHARS), InputPolicy::Prose).is_ok());
        let hint = check("Update the docs", InputPolicy::Strict).unwrap_err().into_error();
        assert!(hint.suggestion().contains("input.policy=prose"));
        let none = check("x; rm -rf /", InputPolicy::Strict).unwrap_err().into_error();
        assert!(!none.suggestion().contains("prose"));
    }
}
