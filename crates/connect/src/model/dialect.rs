//! What a provider's model takes: parameters that it refused once are not sent again. Kept for each
//! model, since the models of one provider differ. Called by the adapters.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use l05_engine::port::ModelError;
use serde_json::{Map, Value};

use super::http::FailedRequest;

/// The most models of which something is remembered; a plan names few.
const MODELS_MAX: usize = 1_000;

/// Ways of sending a schema, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AnswerFormat {
    /// The schema as it is.
    #[default]
    Schema,
    /// The schema without what few servers can compile: patterns, formats, bounds.
    SimpleSchema,
    /// JSON is asked for, the schema stands in the prompt.
    Object,
    /// The schema stands in the prompt.
    Prompt,
}

impl AnswerFormat {
    /// The next best way; a simpler schema helps where the server could not compile the whole one.
    fn next(self, is_uncompiled: bool) -> Option<AnswerFormat> {
        match self {
            AnswerFormat::Schema if is_uncompiled => Some(AnswerFormat::SimpleSchema),
            AnswerFormat::Schema | AnswerFormat::SimpleSchema => Some(AnswerFormat::Object),
            AnswerFormat::Object => Some(AnswerFormat::Prompt),
            AnswerFormat::Prompt => None,
        }
    }

    /// True if the schema has to be told in words.
    pub(super) fn is_told(self) -> bool {
        matches!(self, AnswerFormat::Object | AnswerFormat::Prompt)
    }
}

/// What one model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ModelDialect {
    pub(super) format: AnswerFormat,
    /// The temperature may not be chosen.
    pub(super) no_temperature: bool,
    /// The limit of an answer's tokens is called `max_completion_tokens`.
    pub(super) completion_limit: bool,
    /// The model writes no more tokens than these.
    pub(super) tokens_max: Option<u32>,
    /// There is no role for the system's words: they begin the first turn.
    pub(super) no_system: bool,
    /// A tool cannot be forced on the model.
    pub(super) no_tool_choice: bool,
}

/// A request that was refused, as far as it says what was refused.
struct RefusedRequest<'r> {
    /// The body that was sent.
    sent: &'r Value,
    /// The provider's answer.
    body: &'r Value,
    /// Its words.
    words: &'r str,
}

impl ModelDialect {
    /// The dialect in which to ask again; none where the refusal names nothing that can be left out.
    fn without_refused(mut self, refused: &RefusedRequest<'_>) -> Option<ModelDialect> {
        const FORMAT: [&str; 8] = [
            "response_format",
            "json_schema",
            "json_object",
            "grammar",
            "schema",
            "format",
            "guided_json",
            "input_schema",
        ];
        let has_schema =
            ["response_format", "format", "tools"].iter().any(|name| refused.has(name));
        if refused.names("temperature") && !self.no_temperature {
            self.no_temperature = true;
        } else if refused.names("max_completion_tokens")
            && !self.completion_limit
            && refused.has("max_tokens")
        {
            self.completion_limit = true;
        } else if refused.names_limit() {
            self.tokens_max = Some(refused.lower_limit()?);
        } else if refused.names("tool_choice") && !self.no_tool_choice {
            self.no_tool_choice = true;
        } else if has_schema && FORMAT.iter().any(|name| refused.names(name)) {
            self.format = self.format.next(refused.is_uncompiled())?;
        } else if refused.names_system() && !self.no_system {
            self.no_system = true;
        } else {
            return None;
        }
        Some(self)
    }
}

impl RefusedRequest<'_> {
    fn has(&self, name: &str) -> bool {
        self.sent.get(name).is_some()
    }

    /// The parameter that the provider names in a field of its own.
    fn parameter(&self) -> Option<&str> {
        self.body.get("error").unwrap_or(self.body).get("param")?.as_str()
    }

    /// True if the refusal is about this parameter.
    fn names(&self, name: &str) -> bool {
        match self.parameter() {
            Some(parameter) => {
                parameter.split(['.', '[']).next() == Some(name) || self.words.contains(name)
            }
            None => self.words.to_ascii_lowercase().contains(name),
        }
    }

    /// True if the server knows schemas and not all that this one says.
    fn is_uncompiled(&self) -> bool {
        let words = self.words.to_ascii_lowercase();
        ["grammar", "pattern", "invalid schema", "keyword", "regex", "compile", "parse", "convert"]
            .iter()
            .any(|word| words.contains(word))
    }

    fn names_limit(&self) -> bool {
        ["max_tokens", "max_completion_tokens", "num_predict", "max_output_tokens"]
            .iter()
            .any(|name| self.names(name))
    }

    fn names_system(&self) -> bool {
        let of_role = self.parameter().is_some_and(|name| name.starts_with("messages"));
        let words = self.words.to_ascii_lowercase();
        (of_role || words.contains("role")) && words.contains("system")
    }

    /// The highest number in the words that is lower than what was asked for.
    fn lower_limit(&self) -> Option<u32> {
        let asked =
            ["max_tokens", "max_completion_tokens"].iter().find_map(|n| self.sent[*n].as_u64())?;
        let numbers = self.words.split(|c: char| !c.is_ascii_digit());
        let lower = numbers.filter_map(|digits| digits.parse::<u64>().ok());
        let lower = lower.filter(|number| (16..asked).contains(number)).max();
        lower.and_then(|number| u32::try_from(number).ok())
    }
}

/// The dialects of a provider's models.
#[derive(Default)]
pub(super) struct KnownDialects(Mutex<HashMap<String, ModelDialect>>);

impl KnownDialects {
    pub(super) fn of(&self, model: &str) -> ModelDialect {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(model).copied().unwrap_or_default()
    }

    /// Learns from a refusal what not to send again; the failure itself, where there is nothing to learn.
    /// `dialect` is the one that `sent` was written in.
    pub(super) fn learn(
        &self,
        model: &str,
        dialect: ModelDialect,
        sent: &Value,
        failed: FailedRequest,
    ) -> Result<(), ModelError> {
        let refused = failed.refused.as_ref().filter(|refused| is_about_request(refused.status));
        let other = refused.and_then(|refused| {
            let about = RefusedRequest { sent, body: &refused.body, words: &refused.words };
            dialect.without_refused(&about)
        });
        self.keep(model, other.ok_or(failed.error)?);
        Ok(())
    }

    fn keep(&self, model: &str, dialect: ModelDialect) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MODELS_MAX || known.contains_key(model) {
            known.insert(model.to_owned(), dialect);
        }
    }
}

/// True for statuses that can speak of a request's parameters: others speak of keys, models and loads, in
/// the same words.
fn is_about_request(status: u16) -> bool {
    matches!(status, 400 | 422 | 500 | 501)
}

/// A schema without what few servers can compile. What it no longer says is checked after the answer.
pub(super) fn simple_schema(schema: &Value) -> Value {
    const LEFT_OUT: [&str; 24] = [
        "pattern",
        "format",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "propertyNames",
        "contains",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "default",
    ];
    match schema {
        Value::Object(members) => {
            let mut simple = Map::new();
            for (name, held) in members {
                let is_names = matches!(name.as_str(), "properties" | "$defs" | "definitions");
                if let (true, Value::Object(named)) = (is_names, held) {
                    // What stands here is called by its author.
                    let named =
                        named.iter().map(|(name, held)| (name.clone(), simple_schema(held)));
                    simple.insert(name.clone(), Value::Object(named.collect()));
                } else if matches!(name.as_str(), "enum" | "const" | "required") {
                    simple.insert(name.clone(), held.clone());
                } else if !LEFT_OUT.contains(&name.as_str()) {
                    simple.insert(name.clone(), simple_schema(held));
                }
            }
            Value::Object(simple)
        }
        Value::Array(items) => Value::Array(items.iter().map(simple_schema).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn again(sent: &Value, body: &Value) -> Option<ModelDialect> {
        let words = super::super::reply::told(body).unwrap_or_default();
        ModelDialect::default().without_refused(&RefusedRequest { sent, body, words: &words })
    }

    #[test]
    fn what_is_refused_is_left_out() {
        let sent =
            json!({"temperature": 0, "max_tokens": 8192, "response_format": {}, "messages": []});
        let plain = ModelDialect::default();
        let error =
            |message: &str, param: Value| json!({"error": {"message": message, "param": param}});
        for (body, expected) in [
            (
                error(
                    "Unsupported value: 'temperature' does not support 0 with this model.",
                    json!("temperature"),
                ),
                Some(ModelDialect { no_temperature: true, ..plain }),
            ),
            (
                error("`temperature` is deprecated for this model.", Value::Null),
                Some(ModelDialect { no_temperature: true, ..plain }),
            ),
            (
                error(
                    "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
                    json!("max_tokens"),
                ),
                Some(ModelDialect { completion_limit: true, ..plain }),
            ),
            (
                error(
                    "max_tokens is too large: 8192. This model supports at most 4096 completion tokens",
                    json!("max_tokens"),
                ),
                Some(ModelDialect { tokens_max: Some(4096), ..plain }),
            ),
            (
                error("'response_format.json_schema' is not supported", Value::Null),
                Some(ModelDialect { format: AnswerFormat::Object, ..plain }),
            ),
            (
                error("failed to parse grammar", Value::Null),
                Some(ModelDialect { format: AnswerFormat::SimpleSchema, ..plain }),
            ),
            (
                error(
                    "'messages[0].role' does not support 'system' with this model.",
                    json!("messages[0].role"),
                ),
                Some(ModelDialect { no_system: true, ..plain }),
            ),
            (error("the model does not exist", json!("model")), None),
        ] {
            assert_eq!(again(&sent, &body), expected, "{body}");
        }
    }

    #[test]
    fn a_simple_schema_keeps_names_and_types() {
        let schema = json!({"type": "object", "required": ["pattern"], "properties": {
            "pattern": {"type": "string", "pattern": "^(?!X)", "maxLength": 3},
            "n": {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 3}}});
        assert_eq!(
            simple_schema(&schema),
            json!({"type": "object", "required": ["pattern"], "properties": {
                "pattern": {"type": "string"}, "n": {"type": "array", "items": {"enum": [1, 2]}}}})
        );
    }
}
