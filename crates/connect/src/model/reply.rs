//! What providers answer, whatever they call it: reasons for which an answer ended, texts in parts,
//! failures in the body of a success. Called by the adapters, which know where to look.

use l05_engine::port::{FinishReason, ModelFailure};
use serde_json::Value;

/// The most of a provider's words that is shown, in characters.
const SHOWN_MAX_CHARS: usize = 300;
/// The most parts within parts of a text.
const PARTS_DEPTH_MAX: usize = 4;

/// The reason for which an answer ended, in the provider's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyEnd {
    /// The answer is whole, as far as the provider says.
    Finished(FinishReason),
    /// The model, or a filter behind it, declines.
    Declined,
    /// The provider failed on the way.
    Failed,
}

/// Reads the provider's word for an answer's end. Unknown words and none say nothing: the answer is
/// looked at instead.
pub(super) fn end(reason: Option<&str>) -> ReplyEnd {
    let word: String = reason
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect();
    match word.as_str() {
        "length"
        | "max_tokens"
        | "max_output_tokens"
        | "max_completion_tokens"
        | "max_length"
        | "model_length"
        | "token_limit"
        | "context_length"
        | "context_window"
        | "context_length_exceeded"
        | "context_window_exceeded"
        | "model_context_window_exceeded"
        | "incomplete"
        | "truncated"
        | "pause_turn" => ReplyEnd::Finished(FinishReason::Length),
        "content_filter"
        | "content_filtered"
        | "refusal"
        | "safety"
        | "recitation"
        | "blocklist"
        | "prohibited_content"
        | "spii"
        | "guardrail_intervened"
        | "sensitive"
        | "image_safety" => ReplyEnd::Declined,
        "error"
        | "failed"
        | "malformed_function_call"
        | "cancelled"
        | "canceled"
        | "aborted"
        | "abort"
        | "timeout"
        | "insufficient_system_resource" => ReplyEnd::Failed,
        _ => ReplyEnd::Finished(FinishReason::Stop),
    }
}

/// The text of a content field: a text, or parts of which some are text and some reasoning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReplyText {
    pub(super) text: String,
    /// There was reasoning beside it.
    pub(super) has_reasoning: bool,
    /// The words in which a part declines to answer.
    pub(super) refusal: Option<String>,
}

impl ReplyText {
    pub(super) fn of(content: &Value) -> ReplyText {
        let mut read = ReplyText::default();
        read.add(content, 0);
        read
    }

    fn add(&mut self, content: &Value, depth: usize) {
        match content {
            Value::String(text) => self.text.push_str(text),
            Value::Array(parts) if depth < PARTS_DEPTH_MAX => {
                parts.iter().for_each(|part| self.add(part, depth + 1));
            }
            Value::Object(part) => {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
                match kind {
                    "thinking" | "reasoning" | "redacted_thinking" | "reasoning_text"
                    | "summary_text" => {
                        self.has_reasoning = true;
                    }
                    "refusal" => self.refusal = told(&Value::Object(part.clone())),
                    _ => {
                        if let Some(text) = part.get("text").or_else(|| part.get("content")) {
                            self.add(text, depth + 1);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// An answer without words, for people.
pub(super) fn nothing_in_it(has_reasoning: bool) -> &'static str {
    if has_reasoning {
        "the answer is nothing but reasoning: the model wrote no answer behind it"
    } else {
        "the answer is empty"
    }
}

/// The arguments of a tool call as the answer's text: an object, or a text that holds one.
pub(super) fn arguments(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Object(_) | Value::Array(_) => Some(value.to_string()),
        _ => None,
    }
}

/// A failure that a provider tells in a body, whatever the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToldFailure {
    pub(super) kind: ModelFailure,
    pub(super) words: String,
}

/// Reads the failure in an `error` field or the like. `status`: that of the response, where it says
/// more than success.
pub(super) fn failure(body: &Value, status: Option<u16>) -> Option<ToldFailure> {
    let held = body.get("error").or_else(|| body.get("detail")).filter(|held| is_failure(held))?;
    let words = told(body).unwrap_or_else(|| shortened(&held.to_string()));
    Some(ToldFailure { kind: kind_of(body, status), words })
}

fn is_failure(held: &Value) -> bool {
    match held {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// The kind of a failure by its status and by the code that the body gives.
pub(super) fn kind_of(body: &Value, status: Option<u16>) -> ModelFailure {
    let inner = body.get("error").or_else(|| body.get("detail")).unwrap_or(body);
    let named = ["code", "type", "status", "error_code"]
        .iter()
        .filter_map(|name| inner.get(*name).or_else(|| body.get(*name)))
        .filter_map(Value::as_str);
    for name in named {
        match name.to_ascii_lowercase().as_str() {
            "insufficient_quota"
            | "billing_hard_limit_reached"
            | "billing_error"
            | "quota_exceeded"
            | "insufficient_balance"
            | "credit_balance_too_low"
            | "payment_required" => return ModelFailure::OutOfQuota,
            "rate_limit_error"
            | "rate_limit_exceeded"
            | "too_many_requests"
            | "resource_exhausted" => return ModelFailure::RateLimited,
            "overloaded_error"
            | "api_error"
            | "server_error"
            | "internal_server_error"
            | "service_unavailable"
            | "unavailable"
                if status.is_none() =>
            {
                return ModelFailure::Unavailable;
            }
            "authentication_error"
            | "permission_error"
            | "not_found_error"
            | "invalid_request_error"
            | "invalid_api_key"
            | "model_not_found"
                if status.is_none() =>
            {
                return ModelFailure::Rejected;
            }
            _ => {}
        }
    }
    let code = inner.get("code").or_else(|| inner.get("status")).and_then(|code| {
        let digits = || code.as_str()?.parse().ok();
        code.as_u64().or_else(digits).and_then(|code| u16::try_from(code).ok())
    });
    match status.or(code.filter(|code| (400..600).contains(code))) {
        Some(402) => ModelFailure::OutOfQuota,
        Some(429) => ModelFailure::RateLimited,
        Some(408 | 504 | 524) => ModelFailure::Timeout,
        Some(500..) | None => ModelFailure::Unavailable,
        Some(_) => ModelFailure::Rejected,
    }
}

/// The words of an error, wherever the protocols put them.
pub(super) fn told(body: &Value) -> Option<String> {
    let inner = body.get("detail").or_else(|| body.get("error")).filter(|held| is_failure(held));
    let text = match inner.unwrap_or(body) {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let words = ["message", "detail", "msg", "refusal", "error"];
            let message = words.iter().find_map(|name| members.get(*name)?.as_str())?;
            let code = members.get("error_code").or_else(|| members.get("code"));
            match code.and_then(Value::as_str) {
                Some(code) => format!("{code} {message}"),
                None => message.to_owned(),
            }
        }
        // `[{"loc": ["body", "temperature"], "msg": "…"}]`
        Value::Array(problems) => {
            let one = |problem: &Value| {
                let place = problem["loc"].as_array().map(|parts| {
                    let parts: Vec<String> = parts
                        .iter()
                        .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
                        .collect();
                    parts.join(".")
                });
                let message = problem["msg"].as_str().or(problem["message"].as_str())?;
                Some(match place {
                    Some(place) => format!("{place}: {message}"),
                    None => message.to_owned(),
                })
            };
            let told: Vec<String> = problems.iter().filter_map(one).collect();
            (!told.is_empty()).then(|| told.join("; "))?
        }
        _ => return None,
    };
    Some(shortened(&text))
}

/// The beginning of a text, in one line.
pub(super) fn shortened(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(SHOWN_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_that_is_cut_is_cut_whatever_it_is_called() {
        let cut = ReplyEnd::Finished(FinishReason::Length);
        let whole = ReplyEnd::Finished(FinishReason::Stop);
        for (word, expected) in [
            (Some("length"), cut),
            (Some("MAX_TOKENS"), cut),
            (Some("model_length"), cut),
            (Some("max_output_tokens"), cut),
            (Some("model_context_window_exceeded"), cut),
            (Some("stop"), whole),
            (Some("end_turn"), whole),
            (Some("tool_calls"), whole),
            (None, whole),
            (Some("error"), ReplyEnd::Failed),
            (Some("SAFETY"), ReplyEnd::Declined),
            (Some("content-filter"), ReplyEnd::Declined),
        ] {
            assert_eq!(end(word), expected, "{word:?}");
        }
    }

    #[test]
    fn texts_come_in_parts() {
        for (content, text, has_reasoning) in [
            (json!("a"), "a", false),
            (
                json!([{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}]),
                "ab",
                false,
            ),
            (
                json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]),
                "a",
                true,
            ),
            (json!(null), "", false),
            (json!(["a", "b"]), "ab", false),
        ] {
            let read = ReplyText::of(&content);
            assert_eq!(
                (read.text.as_str(), read.has_reasoning),
                (text, has_reasoning),
                "{content}"
            );
        }
    }

    #[test]
    fn failures_are_told_in_the_providers_words() {
        use ModelFailure::{OutOfQuota, RateLimited, Rejected, Timeout, Unavailable};
        for (body, status, kind, words) in [
            (
                json!({"error": {"message": "upstream rate-limited", "code": 429}}),
                None,
                RateLimited,
                "upstream rate-limited",
            ),
            (json!({"error": {"message": "died", "code": 502}}), None, Unavailable, "died"),
            (
                json!({"error": {"message": "no", "code": "insufficient_quota"}}),
                Some(429),
                OutOfQuota,
                "insufficient_quota no",
            ),
            (
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
                None,
                Unavailable,
                "busy",
            ),
            (
                json!({"type": "error", "error": {"type": "authentication_error", "message": "key"}}),
                None,
                Rejected,
                "key",
            ),
            (json!({"error": "model not found"}), Some(404), Rejected, "model not found"),
            (json!({"error": {"message": "late", "code": "504"}}), None, Timeout, "504 late"),
            (
                json!({"detail": [{"loc": ["body", "temperature"], "msg": "too high"}]}),
                Some(422),
                Rejected,
                "body.temperature: too high",
            ),
        ] {
            let expected = ToldFailure { kind, words: words.to_owned() };
            assert_eq!(failure(&body, status), Some(expected), "{body}");
        }
        for body in [json!({}), json!({"error": null}), json!({"error": ""})] {
            assert_eq!(failure(&body, None), None, "{body}");
        }
    }
}
