//! The answer in a model's words, apart from its reasoning. Called for plans and for the answers to
//! prompts, before anything is looked for in them.
//!
//! Models write their reasoning into the text itself: between tags (`<think>…</think>`, of which the
//! first may be part of the prompt and missing here), or into channels of their own
//! (`<|channel|>analysis<|message|>…`). A draft in it is no plan.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// A model's answer without its reasoning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalAnswer<'t> {
    /// The answer. Empty where there is nothing but reasoning.
    pub text: Cow<'t, str>,
    /// Something was taken out.
    pub had_reasoning: bool,
}

/// Takes the reasoning out of an answer. Tags within a JSON text are part of it.
pub fn final_answer(text: &str) -> FinalAnswer<'_> {
    if let Some(answer) = behind_bare_channels(text) {
        return FinalAnswer { text: Cow::Borrowed(answer), had_reasoning: true };
    }
    if !text.contains(['<', '[', '\u{25c1}']) || is_json(text) {
        return FinalAnswer { text: Cow::Borrowed(text), had_reasoning: false };
    }
    if let Some(answer) = final_channel(text) {
        return FinalAnswer { text: Cow::Owned(answer), had_reasoning: true };
    }
    match without_blocks(text) {
        Some(answer) => FinalAnswer { text: Cow::Owned(answer), had_reasoning: true },
        None => FinalAnswer { text: Cow::Borrowed(text), had_reasoning: false },
    }
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[', '"'])
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// The answer of a model whose channels have lost their marks: `analysis…assistantfinal…`.
fn behind_bare_channels(text: &str) -> Option<&str> {
    const FINAL: &str = "assistantfinal";
    let at = text.trim_start().starts_with("analysis").then(|| text.rfind(FINAL)).flatten()?;
    Some(text[at + FINAL.len()..].trim_start())
}

/// The message of the last channel that is for the reader; of none, an empty text.
fn final_channel(text: &str) -> Option<String> {
    static CHANNEL: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
    });
    static END: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"<\|(?:end|return|call|start|channel)\|>"));
    let channels: Vec<(&str, &str)> = CHANNEL
        .captures_iter(text)
        .map(|found| {
            let begin = found.get(0).map_or(0, |m| m.end());
            let message = &text[begin..];
            let end = END.find(message).map_or(message.len(), |m| m.start());
            (found.get(1).map_or("", |m| m.as_str()), &message[..end])
        })
        .collect();
    if channels.is_empty() {
        return None;
    }
    let of = |name: &str| channels.iter().rfind(|(channel, _)| *channel == name);
    let message = of("final").or_else(|| of("commentary")).map_or("", |(_, message)| message);
    Some(message.trim().to_owned())
}

/// The names of tags around reasoning.
const TAG: &str = r"(?:think|thinking|thought|thoughts|reasoning|reason|reflection|scratchpad|analysis|seed:think|begin_of_thought|inner_monologue)";

/// The text without its blocks of reasoning. None: there is no such block.
fn without_blocks(text: &str) -> Option<String> {
    static MARK: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)(?P<open><\|?{TAG}(?:\s[^<>]{{0,100}})?\|?>|\[THINK\]|\x{{25c1}}think\x{{25b7}})|(?P<close></{TAG}\s*>|<\|end_of_thought\|>|<\|/{TAG}\|>|\[/THINK\]|\x{{25c1}}/think\x{{25b7}})"
        ))
    });
    let mut kept: Vec<&str> = Vec::new();
    let mut from = 0;
    // Blocks may stand within blocks.
    let mut depth = 0_usize;
    let mut last_close = None;
    let mut quotes = QuoteCount::from(0);
    let mut found = false;
    for mark in MARK.captures_iter(text) {
        let whole = mark.get(0)?;
        let opens = mark.name("open").is_some();
        if depth == 0 && quotes.is_within_text(text, whole.start()) {
            continue;
        }
        found = true;
        match (depth, opens) {
            // What stands before a lone closing tag is reasoning.
            (0, false) => {
                kept.clear();
                from = whole.end();
                quotes = QuoteCount::from(from);
            }
            (0, true) => {
                kept.push(&text[from..whole.start()]);
                depth = 1;
                last_close = None;
            }
            (_, true) => depth += 1,
            (_, false) => {
                depth -= 1;
                last_close = Some(whole.end());
                if depth == 0 {
                    from = whole.end();
                    quotes = QuoteCount::from(from);
                }
            }
        }
    }
    // Reasoning that does not end leaves no answer behind it.
    match (depth, last_close) {
        (0, _) => kept.push(&text[from..]),
        (_, Some(end)) => kept.push(&text[end..]),
        (_, None) => {}
    }
    let kept: Vec<&str> = kept.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect();
    found.then(|| kept.join("\n"))
}

/// Counts quotes up to a place: a tag within a JSON text's string is no tag. Lines of their own are.
struct QuoteCount {
    counted_to: usize,
    is_odd: bool,
    /// Nothing but white space stands in the line so far.
    is_line_blank: bool,
}

impl QuoteCount {
    /// Counts from a place outside of all texts.
    fn from(place: usize) -> QuoteCount {
        QuoteCount { counted_to: place, is_odd: false, is_line_blank: true }
    }

    fn is_within_text(&mut self, text: &str, at: usize) -> bool {
        let bytes = text.as_bytes();
        for place in self.counted_to..at {
            let is_escaped = place > 0 && bytes[place - 1] == b'\\';
            self.is_odd ^= bytes[place] == b'"' && !is_escaped;
            self.is_line_blank = match bytes[place] {
                b'\n' => true,
                byte => self.is_line_blank && byte.is_ascii_whitespace(),
            };
        }
        self.counted_to = at;
        self.is_odd && !self.is_line_blank
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a fixed pattern, which the tests run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_no_part_of_the_answer() {
        for (text, answer) in [
            ("<think>hm {\"x\":1}</think>{\"tasks\":[]}", "{\"tasks\":[]}"),
            ("hm\n</think>\n{\"a\":1}", "{\"a\":1}"),
            ("<thinking>\na <think>b</think> c\n</thinking>\nyes", "yes"),
            ("<think>I end with </think> as told {\"d\":1}</think>\nyes", "yes"),
            ("<Reasoning effort=\"high\">a</Reasoning> yes", "yes"),
            ("Sure. <think>a</think> yes", "Sure.\nyes"),
            ("[THINK]a[/THINK]yes", "yes"),
            ("◁think▷a◁/think▷yes", "yes"),
            ("<|begin_of_thought|>a<|end_of_thought|>yes", "yes"),
            ("<think>a that never ends", ""),
            ("yes\n<think>a that never ends", "yes"),
            (
                "<|channel|>analysis<|message|>no<|end|><|start|>assistant<|channel|>final<|message|>yes<|return|>",
                "yes",
            ),
            ("<|channel|>analysis<|message|>no", ""),
            ("analysisWe could {\"d\":1}.assistantfinalyes", "yes"),
            (
                "<|channel|>analysis<|message|>no<|end|><|start|>assistant<|channel|>commentary to=functions.plan <|constrain|>json<|message|>{\"a\":1}<|call|>",
                "{\"a\":1}",
            ),
        ] {
            let found = final_answer(text);
            assert_eq!((&*found.text, found.had_reasoning), (answer, true), "{text}");
        }
    }

    #[test]
    fn other_tags_and_quoted_ones_stay() {
        for text in [
            "{\"prompt\": \"Answer in <think> tags, then </think>.\"}",
            "{'prompt': \"Answer in <think> tags, then </think>.\"}",
            "<b>yes</b>",
            "<thinker>yes</thinker>",
            "a [list] of [[things]]",
            "",
        ] {
            let found = final_answer(text);
            assert_eq!((&*found.text, found.had_reasoning), (text, false));
        }
    }
}
