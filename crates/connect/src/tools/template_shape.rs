//! The structure of a text template: what bounds its parsing and rendering, counted over the tokens that the template
//! engine itself sees.
//!
//! The engine's parser and its values recurse: without these limits a text of a few kilobytes overflows the stack.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use serde_json::Value;

/// The most tokens of one expression or statement: the parser recurses within one.
const BLOCK_TOKENS_MAX: usize = 400;
/// The most tokens of a template beside its plain text.
const TOKENS_MAX: usize = 20_000;
/// The most branches of one `if`: each nests in the one before it.
const BRANCHES_MAX: usize = 100;
/// The depth to which blocks nest.
const NESTING_MAX: usize = 20;
/// The most `set` statements: each may nest a value in the one before it, or double it.
const SETS_MAX: usize = 200;
/// The most bytes that a small template can print.
const SMALL_OUTPUT_MAX: usize = 1 << 20;
/// Filters of which a value makes no more than a few times its own size.
const SMALL_FILTERS: [&str; 9] =
    ["code", "cell_code", "thousands", "upper", "lower", "trim", "length", "title", "capitalize"];

/// The counts of a template.
#[derive(Default)]
struct TemplateShape {
    tokens: usize,
    /// In the block at hand.
    block_tokens: usize,
    sets: usize,
    /// Expressions that are printed.
    prints: usize,
    /// Open blocks, with the branches of an `if`.
    open: Vec<usize>,
    /// True as long as there are nothing but names, their members and small filters.
    is_plain: bool,
}

/// The limit that a template breaks. A text that is no template breaks none: its parser says what is wrong.
pub(super) fn template_limit(template: &str, syntax: &SyntaxConfig) -> Option<String> {
    TemplateShape::of(template, syntax).err()
}

/// True if rendering takes little whatever the data hold: a few values of a name, and nothing else.
pub(super) fn is_small(template: &str, data: &Value, syntax: &SyntaxConfig) -> bool {
    let Ok(shape) = TemplateShape::of(template, syntax) else { return true };
    if !shape.is_plain {
        return false;
    }
    let data = if shape.prints > 0 { l05_core::context::json_len(data) } else { 0 };
    shape.prints.saturating_mul(data) <= SMALL_OUTPUT_MAX
}

impl TemplateShape {
    fn of(template: &str, syntax: &SyntaxConfig) -> Result<TemplateShape, String> {
        let mut shape = TemplateShape { is_plain: true, ..TemplateShape::default() };
        let mut begins = false;
        let mut behind_pipe = false;
        // What does not lex does not parse, and is told by the parser.
        for (token, span) in tokenize(template, false, syntax.clone()).map_while(Result::ok) {
            shape.token(&token, begins, behind_pipe);
            begins = matches!(token, Token::BlockStart);
            behind_pipe = matches!(token, Token::Pipe);
            if let Some(broken) = shape.broken() {
                return Err(format!(
                    "the template has more than {broken} at line {}",
                    span.start_line
                ));
            }
        }
        Ok(shape)
    }

    /// Counts a token. `begins`: it is the first of a statement.
    fn token(&mut self, token: &Token<'_>, begins: bool, behind_pipe: bool) {
        if matches!(token, Token::TemplateData(_)) {
            return;
        }
        self.tokens += 1;
        self.block_tokens += 1;
        match token {
            Token::VariableStart => {
                self.block_tokens = 0;
                self.prints += 1;
            }
            Token::BlockStart => {
                self.block_tokens = 0;
                self.is_plain = false;
            }
            Token::Ident(name) if begins => self.statement(name),
            Token::Ident(name) if behind_pipe => self.is_plain &= SMALL_FILTERS.contains(name),
            Token::Ident(name) => {
                let is_word = ["not", "and", "or", "in", "is", "if", "else"].contains(name);
                self.is_plain &= !is_word;
            }
            Token::Dot | Token::Pipe | Token::VariableEnd | Token::BlockEnd => {}
            _ => self.is_plain = false,
        }
    }

    fn statement(&mut self, keyword: &str) {
        match keyword {
            "if" | "for" | "with" | "filter" | "autoescape" => self.open.push(1),
            "elif" | "else" => {
                if let Some(branches) = self.open.last_mut() {
                    *branches += 1;
                }
            }
            "set" => self.sets += 1,
            end if end.starts_with("end") && end != "endset" => {
                self.open.pop();
            }
            _ => {}
        }
    }

    fn broken(&self) -> Option<String> {
        let branches = self.open.last().copied().unwrap_or(0);
        let limits = [
            (self.block_tokens, BLOCK_TOKENS_MAX, "tokens in one expression"),
            (self.tokens, TOKENS_MAX, "tokens"),
            (branches, BRANCHES_MAX, "branches of one `if`"),
            (self.open.len(), NESTING_MAX, "blocks inside each other"),
            (self.sets, SETS_MAX, "`set` statements"),
        ];
        let (_, most, what) = limits.into_iter().find(|(has, most, _)| has > most)?;
        Some(format!("{most} {what}"))
    }
}
