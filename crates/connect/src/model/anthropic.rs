//! Anthropic's messages. The schema is the input schema of a tool that the model has to use: its
//! arguments are the answer.

use std::time::Duration;

use l05_engine::port::{
    BoxFuture, FinishReason, ModelAnswer, ModelError, ModelFailure, ModelGateway, ModelIdentity,
    ModelRequest, token_count,
};
use serde_json::{Value, json};

use super::dialect::{AnswerFormat, KnownDialects, ModelDialect, simple_schema};
use super::http::{ApiKey, EndpointError, ModelEndpoint};
use super::l04::role;
use super::openai::{named, with_schema};
use super::reply::{ReplyEnd, ReplyText, arguments, end, nothing_in_it};

/// The version of the protocol that this adapter was written for.
const VERSION: &str = "2023-06-01";
/// The time that the list of models may take.
const MODELS_WITHIN: Duration = Duration::from_secs(3);

/// The provider with one of its models. The endpoint's base has no version: paths begin with `/v1`.
pub struct AnthropicGateway {
    endpoint: ModelEndpoint,
    model: String,
    dialects: KnownDialects,
}

impl AnthropicGateway {
    /// The provider's endpoint with a key.
    pub fn new(
        endpoint: ModelEndpoint,
        key: Option<&ApiKey>,
        model: impl Into<String>,
    ) -> Result<AnthropicGateway, EndpointError> {
        let endpoint = endpoint.header("anthropic-version", VERSION);
        let endpoint = match key {
            Some(key) => endpoint.key_header("x-api-key", key)?,
            None => endpoint,
        };
        Ok(AnthropicGateway { endpoint, model: model.into(), dialects: KnownDialects::default() })
    }

    fn body(&self, request: &ModelRequest, dialect: &ModelDialect) -> Value {
        let turns =
            request.turns.iter().map(|t| json!({ "role": role(t.role), "content": t.text }));
        // A tool that the model need not use is named in words as well.
        let is_told = dialect.format.is_told() || dialect.no_tool_choice;
        let in_prompt = request.schema.as_ref().filter(|_| is_told);
        let mut body = json!({
            "model": request.model.as_deref().unwrap_or(&self.model),
            "max_tokens": request.tokens_max.min(dialect.tokens_max.unwrap_or(u32::MAX)),
            "system": with_schema(&request.system, in_prompt),
            "messages": turns.collect::<Vec<_>>(),
        });
        if !dialect.no_temperature {
            // Its temperatures end at 1.
            body["temperature"] = json!(request.temperature.min(1.0));
        }
        if let Some((name, schema)) = request.schema.as_ref().filter(|_| !dialect.format.is_told())
        {
            let about = "Hands in the answer. Call it once, with everything.";
            let schema = match dialect.format {
                AnswerFormat::SimpleSchema => simple_schema(schema),
                AnswerFormat::Schema | AnswerFormat::Object | AnswerFormat::Prompt => {
                    schema.clone()
                }
            };
            body["tools"] = json!([{ "name": name, "description": about, "input_schema": schema }]);
            body["tool_choice"] = if dialect.no_tool_choice {
                json!({ "type": "auto" })
            } else {
                json!({ "type": "tool", "name": name })
            };
        }
        body
    }

    /// Asks; what the model refuses is left out and it is asked again. Each refusal leaves one thing
    /// out, so that this ends.
    async fn message(&self, request: &ModelRequest) -> Result<Value, ModelError> {
        let model = request.model.as_deref().unwrap_or(&self.model);
        loop {
            let dialect = self.dialects.of(model);
            let body = self.body(request, &dialect);
            match self.endpoint.post("/v1/messages", &body, request.within).await {
                Ok(value) => return Ok(value),
                Err(failed) => self.dialects.learn(model, dialect, &body, failed)?,
            }
        }
    }

    fn answer(&self, reply: &Value) -> Result<ModelAnswer, ModelError> {
        let failed = |kind, what: &str| self.endpoint.failed(kind, what);
        let malformed = |what: &str| failed(ModelFailure::Malformed, what);
        if !(reply["content"].is_array() || reply["content"].is_string()) {
            return Err(malformed("the answer is not a message: it has no `content`"));
        }
        let finish = match end(reply["stop_reason"].as_str()) {
            ReplyEnd::Finished(finish) => finish,
            ReplyEnd::Declined => {
                return Err(failed(ModelFailure::Refused, "the model declines to answer"));
            }
            ReplyEnd::Failed => {
                return Err(failed(ModelFailure::Unavailable, "the provider failed on the way"));
            }
        };
        // The tool's input is the answer itself; words beside it are none.
        let blocks = reply["content"].as_array().into_iter().flatten();
        let calls = blocks.filter(|block| block["type"] == "tool_use").map(|block| &block["input"]);
        let read = ReplyText::of(&reply["content"]);
        let text = calls.filter_map(arguments).next().unwrap_or(read.text);
        if text.is_empty() && finish == FinishReason::Stop {
            return Err(malformed(nothing_in_it(read.has_reasoning)));
        }
        Ok(ModelAnswer {
            text,
            model: named(&reply["model"], &self.model),
            input_tokens: token_count(&reply["usage"]["input_tokens"]),
            output_tokens: token_count(&reply["usage"]["output_tokens"]),
            finish,
        })
    }
}

impl ModelGateway for AnthropicGateway {
    fn identity(&self) -> ModelIdentity {
        ModelIdentity {
            provider: "anthropic",
            address: self.endpoint.shown(),
            model: self.model.clone(),
            is_local: self.endpoint.is_local(),
        }
    }

    fn infer(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, ModelError>> {
        Box::pin(async move {
            let reply = self.message(&request).await?;
            self.answer(&reply)
        })
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<String>, ModelError>> {
        Box::pin(async move {
            let list = self.endpoint.get("/v1/models", MODELS_WITHIN).await?;
            let models = list["data"].as_array().ok_or_else(|| {
                self.endpoint.failed(ModelFailure::Malformed, "the answer is no list of models")
            })?;
            Ok(models.iter().filter_map(|model| model["id"].as_str().map(str::to_owned)).collect())
        })
    }
}
