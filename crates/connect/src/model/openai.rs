//! Any server that speaks OpenAI's chat completions. Not all of them know `response_format`, or know
//! it whole: what a server refuses is not asked of it again.

use std::time::Duration;

use l05_engine::port::{
    BoxFuture, FinishReason, ModelAnswer, ModelError, ModelFailure, ModelGateway, ModelIdentity,
    ModelRequest, token_count,
};
use serde_json::{Value, json};

use super::dialect::{AnswerFormat, KnownDialects, ModelDialect, simple_schema};
use super::http::ModelEndpoint;
use super::l04::role;
use super::reply::{ReplyEnd, ReplyText, arguments, end, failure, nothing_in_it};

/// The time that the list of models may take.
const MODELS_WITHIN: Duration = Duration::from_secs(3);

/// A server with one of its models. The endpoint's base holds the version: `…/v1`.
pub struct OpenAiGateway {
    endpoint: ModelEndpoint,
    model: String,
    dialects: KnownDialects,
}

impl OpenAiGateway {
    /// A server and one of its models.
    pub fn new(endpoint: ModelEndpoint, model: impl Into<String>) -> OpenAiGateway {
        OpenAiGateway { endpoint, model: model.into(), dialects: KnownDialects::default() }
    }

    fn body(&self, request: &ModelRequest, dialect: &ModelDialect) -> Value {
        let in_prompt = request.schema.as_ref().filter(|_| dialect.format.is_told());
        let system = with_schema(&request.system, in_prompt);
        let limit = request.tokens_max.min(dialect.tokens_max.unwrap_or(u32::MAX));
        let limit_name =
            if dialect.completion_limit { "max_completion_tokens" } else { "max_tokens" };
        let mut body = json!({
            "model": request.model.as_deref().unwrap_or(&self.model),
            "messages": messages(request, &system, dialect.no_system),
            limit_name: limit,
        });
        if !dialect.no_temperature {
            body["temperature"] = json!(request.temperature);
        }
        if let Some((name, schema)) = &request.schema {
            let as_schema = |schema: Value| {
                json!({
                    "type": "json_schema",
                    // Inputs are free in form, which strict mode does not allow.
                    "json_schema": { "name": name, "schema": schema, "strict": false },
                })
            };
            match dialect.format {
                AnswerFormat::Schema => body["response_format"] = as_schema(schema.clone()),
                AnswerFormat::SimpleSchema => {
                    body["response_format"] = as_schema(simple_schema(schema));
                }
                AnswerFormat::Object => body["response_format"] = json!({ "type": "json_object" }),
                AnswerFormat::Prompt => {}
            }
        }
        body
    }

    /// Asks; what the model refuses is left out and it is asked again. Each refusal leaves one thing
    /// out, so that this ends.
    async fn complete(&self, request: &ModelRequest) -> Result<Value, ModelError> {
        let model = request.model.as_deref().unwrap_or(&self.model);
        loop {
            let dialect = self.dialects.of(model);
            let body = self.body(request, &dialect);
            match self.endpoint.post("/chat/completions", &body, request.within).await {
                Ok(value) => return Ok(value),
                Err(failed) => self.dialects.learn(model, dialect, &body, failed)?,
            }
        }
    }

    fn answer(&self, completion: &Value) -> Result<ModelAnswer, ModelError> {
        let malformed = |what: &str| self.endpoint.failed(ModelFailure::Malformed, what);
        let Some(choices) = completion["choices"].as_array() else {
            return Err(malformed("the answer is not a chat completion: it has no `choices`"));
        };
        let choice = choices.first().ok_or_else(|| malformed("the answer is empty: no choice"))?;
        if let Some(told) = failure(choice, None) {
            return Err(self.endpoint.failed(told.kind, told.words));
        }
        let message = if choice["message"].is_object() { &choice["message"] } else { choice };
        let read = ReplyText::of(&message["content"]);
        let refused = |why: &str| {
            let what = format!("the model declines to answer: {why}");
            self.endpoint.failed(ModelFailure::Refused, what)
        };
        let refusal = message["refusal"].as_str().map(str::to_owned).or(read.refusal);
        if let Some(why) = refusal.filter(|why| !why.is_empty()) {
            return Err(refused(&why));
        }
        let reason = choice["finish_reason"].as_str();
        let finish = match end(reason) {
            ReplyEnd::Finished(finish) => finish,
            ReplyEnd::Declined => {
                return Err(refused(&format!("it stopped with `{}`", reason.unwrap_or_default())));
            }
            ReplyEnd::Failed => {
                let what = format!("the provider failed with `{}`", reason.unwrap_or_default());
                return Err(self.endpoint.failed(ModelFailure::Unavailable, what));
            }
        };
        let text = if read.text.is_empty() { other_text(message) } else { Some(read.text) };
        let has_reasoning = read.has_reasoning || has_reasoning(message);
        let text = match text {
            Some(text) => text,
            None if finish == FinishReason::Length => String::new(),
            None => return Err(malformed(nothing_in_it(has_reasoning))),
        };
        // Servers report it in many forms, or not at all: that is no reason to lose the answer.
        let usage = &completion["usage"];
        Ok(ModelAnswer {
            text,
            model: named(&completion["model"], &self.model),
            input_tokens: token_count(&usage["prompt_tokens"]),
            output_tokens: token_count(&usage["completion_tokens"]),
            finish,
        })
    }
}

/// The turns, the system's words first.
fn messages(request: &ModelRequest, system: &str, in_first_turn: bool) -> Vec<Value> {
    let turns = request.turns.iter().map(|t| json!({ "role": role(t.role), "content": t.text }));
    if !in_first_turn {
        let first = json!({ "role": "system", "content": system });
        return std::iter::once(first).chain(turns).collect();
    }
    let mut turns: Vec<Value> = turns.collect();
    if let Some(first) = request.turns.first() {
        turns[0]["content"] = json!(format!("{system}\n\n{}", first.text));
    }
    turns
}

/// An answer that stands elsewhere than in the content: a tool call's arguments, an old server's text.
fn other_text(message: &Value) -> Option<String> {
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let calls = calls.map(|call| &call["function"]["arguments"]);
    let calls = calls.chain([&message["function_call"]["arguments"]]);
    let text = || message["text"].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    calls.filter_map(arguments).next().or_else(text)
}

/// True if a message has reasoning in a field of its own.
fn has_reasoning(message: &Value) -> bool {
    ["reasoning_content", "reasoning", "thinking", "reasoning_details"].iter().any(|name| {
        let held = &message[*name];
        held.as_str().is_some_and(|text| !text.is_empty())
            || held.as_array().is_some_and(|parts| !parts.is_empty())
    })
}

/// The model that answered, by its own account.
pub(super) fn named(model: &Value, asked: &str) -> String {
    model.as_str().filter(|name| !name.is_empty()).unwrap_or(asked).to_owned()
}

/// A prompt that tells the schema itself, for gateways that cannot be told in another way.
pub(super) fn with_schema(system: &str, schema: Option<&(&'static str, Value)>) -> String {
    match schema {
        Some((_, schema)) => format!(
            "{system}\n\nAnswer with one JSON object and nothing else. Its JSON Schema:\n{schema}"
        ),
        None => system.to_owned(),
    }
}

impl ModelGateway for OpenAiGateway {
    fn identity(&self) -> ModelIdentity {
        ModelIdentity {
            provider: "openai",
            address: self.endpoint.shown(),
            model: self.model.clone(),
            is_local: self.endpoint.is_local(),
        }
    }

    fn infer(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, ModelError>> {
        Box::pin(async move {
            let completion = self.complete(&request).await?;
            self.answer(&completion)
        })
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<String>, ModelError>> {
        Box::pin(async move {
            let list = self.endpoint.get("/models", MODELS_WITHIN).await?;
            let models = list["data"].as_array().ok_or_else(|| {
                self.endpoint.failed(ModelFailure::Malformed, "the answer is no list of models")
            })?;
            Ok(models.iter().filter_map(|model| model["id"].as_str().map(str::to_owned)).collect())
        })
    }
}
