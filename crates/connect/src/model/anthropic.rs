//! Anthropic's messages. The schema is the input schema of a tool that the model has to use: its
//! arguments are the answer.

use std::time::Duration;

use l05_engine::port::{
    BoxFuture, FinishReason, ModelAnswer, ModelError, ModelFailure, ModelGateway, ModelIdentity,
    ModelRequest, token_count,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{ApiKey, EndpointError, ModelEndpoint};
use super::l04::role;

/// The version of the protocol that this adapter was written for.
const VERSION: &str = "2023-06-01";
/// The time that the list of models may take.
const MODELS_WITHIN: Duration = Duration::from_secs(3);

/// The provider with one of its models. The endpoint's base has no version: paths begin with `/v1`.
pub struct AnthropicGateway {
    endpoint: ModelEndpoint,
    model: String,
}

#[derive(Deserialize)]
struct AnthropicReply {
    #[serde(default)]
    model: String,
    content: Vec<ContentBlock>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentBlock {
    Text {
        text: String,
    },
    ToolUse {
        input: Value,
    },
    #[serde(other)]
    Other,
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
        Ok(AnthropicGateway { endpoint, model: model.into() })
    }

    fn body(&self, request: &ModelRequest) -> Value {
        let turns =
            request.turns.iter().map(|t| json!({ "role": role(t.role), "content": t.text }));
        let mut body = json!({
            "model": request.model.as_deref().unwrap_or(&self.model),
            "max_tokens": request.tokens_max,
            // Its temperatures end at 1.
            "temperature": request.temperature.min(1.0),
            "system": request.system,
            "messages": turns.collect::<Vec<_>>(),
        });
        if let Some((name, schema)) = &request.schema {
            let about = "Hands in the answer. Call it once, with everything.";
            body["tools"] = json!([{ "name": name, "description": about, "input_schema": schema }]);
            body["tool_choice"] = json!({ "type": "tool", "name": name });
        }
        body
    }

    fn answer(&self, reply: AnthropicReply) -> Result<ModelAnswer, ModelError> {
        let finish = match reply.stop_reason.as_deref() {
            Some("max_tokens") => FinishReason::Length,
            Some("refusal") => {
                let what = "the model declines to answer";
                return Err(self.endpoint.failed(ModelFailure::Refused, what));
            }
            _ => FinishReason::Stop,
        };
        let mut text = String::new();
        for block in reply.content {
            match block {
                // The answer itself; words beside it are none.
                ContentBlock::ToolUse { input } => {
                    text = input.to_string();
                    break;
                }
                ContentBlock::Text { text: words } => text.push_str(&words),
                ContentBlock::Other => {}
            }
        }
        if text.is_empty() && finish == FinishReason::Stop {
            return Err(self.endpoint.failed(ModelFailure::Malformed, "the answer is empty"));
        }
        let model = if reply.model.is_empty() { self.model.clone() } else { reply.model };
        let input_tokens = token_count(&reply.usage["input_tokens"]);
        let output_tokens = token_count(&reply.usage["output_tokens"]);
        Ok(ModelAnswer { text, model, input_tokens, output_tokens, finish })
    }
}

impl ModelGateway for AnthropicGateway {
    fn identity(&self) -> ModelIdentity {
        ModelIdentity {
            provider: "anthropic",
            address: self.endpoint.shown(),
            model: self.model.clone(),
            is_local: false,
        }
    }

    fn infer(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, ModelError>> {
        Box::pin(async move {
            let value =
                self.endpoint.post("/v1/messages", &self.body(&request), request.within).await?;
            let reply = serde_json::from_value(value).map_err(|error| {
                let what = format!("the answer is not a message: {error}");
                self.endpoint.failed(ModelFailure::Malformed, what)
            })?;
            self.answer(reply)
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
