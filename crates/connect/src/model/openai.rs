//! Any server that speaks OpenAI's chat completions. Not all of them know `response_format`, or know
//! it whole: what a server refuses is not asked of it again.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use l05_engine::port::{
    BoxFuture, FinishReason, ModelAnswer, ModelError, ModelFailure, ModelGateway, ModelIdentity,
    ModelRequest, token_count,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::ModelEndpoint;
use super::l04::role;

/// The time that the list of models may take.
const MODELS_WITHIN: Duration = Duration::from_secs(3);

/// A server with one of its models. The endpoint's base holds the version: `…/v1`.
pub struct OpenAiGateway {
    endpoint: ModelEndpoint,
    model: String,
    /// The place in the list of [`FORMATS`] down to which the server made us go.
    format: AtomicU8,
    /// The place in [`LIMITS`] of the name that the server knows.
    limit: AtomicU8,
}

/// Ways of sending a schema, best first.
const FORMATS: [AnswerFormat; 3] =
    [AnswerFormat::Schema, AnswerFormat::Object, AnswerFormat::Prompt];
/// Names for the limit of an answer's tokens: by most servers, by OpenAI's newer models.
const LIMITS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum AnswerFormat {
    /// `response_format: json_schema`.
    Schema,
    /// `response_format: json_object`, the schema in the prompt.
    Object,
    /// The schema in the prompt.
    Prompt,
}

#[derive(Deserialize)]
struct ChatCompletion {
    #[serde(default)]
    model: String,
    choices: Vec<CompletionChoice>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct CompletionChoice {
    message: CompletionMessage,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct CompletionMessage {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

impl OpenAiGateway {
    /// A server and one of its models.
    pub fn new(endpoint: ModelEndpoint, model: impl Into<String>) -> OpenAiGateway {
        let (format, limit) = (AtomicU8::new(0), AtomicU8::new(0));
        OpenAiGateway { endpoint, model: model.into(), format, limit }
    }

    fn body(&self, request: &ModelRequest, format: AnswerFormat, limit: &str) -> Value {
        let in_prompt = request.schema.as_ref().filter(|_| format != AnswerFormat::Schema);
        let system = with_schema(&request.system, in_prompt);
        let turns =
            request.turns.iter().map(|t| json!({ "role": role(t.role), "content": t.text }));
        let first = json!({ "role": "system", "content": system });
        let mut body = json!({
            "model": request.model.as_deref().unwrap_or(&self.model),
            "messages": std::iter::once(first).chain(turns).collect::<Vec<_>>(),
            "temperature": request.temperature,
            limit: request.tokens_max,
        });
        if let Some((name, schema)) = &request.schema {
            match format {
                AnswerFormat::Schema => {
                    body["response_format"] = json!({
                        "type": "json_schema",
                        // Inputs are free in form, which strict mode does not allow.
                        "json_schema": { "name": name, "schema": schema, "strict": false },
                    });
                }
                AnswerFormat::Object => body["response_format"] = json!({ "type": "json_object" }),
                AnswerFormat::Prompt => {}
            }
        }
        body
    }

    async fn complete(&self, request: &ModelRequest) -> Result<ChatCompletion, ModelError> {
        loop {
            let format = self.format.load(Ordering::Relaxed);
            let limit = self.limit.load(Ordering::Relaxed);
            let (told, named) = (FORMATS[usize::from(format)], LIMITS[usize::from(limit)]);
            let body = self.body(request, told, named);
            match self.endpoint.post("/chat/completions", &body, request.within).await {
                Ok(value) => {
                    return serde_json::from_value(value).map_err(|error| {
                        let what = format!("the answer is not a chat completion: {error}");
                        self.endpoint.failed(ModelFailure::Malformed, what)
                    });
                }
                Err(error) if error.kind != ModelFailure::Rejected => return Err(error),
                Err(error) => {
                    let asks_for_other = error.message.contains(LIMITS[1]) && limit == 0;
                    let has_format = request.schema.is_some() && told != AnswerFormat::Prompt;
                    let is_of_format = ["response_format", "json_schema", "json_object", "schema"]
                        .iter()
                        .any(|word| error.message.contains(word));
                    if asks_for_other {
                        self.limit.store(1, Ordering::Relaxed);
                    } else if has_format && is_of_format {
                        self.format.store(format + 1, Ordering::Relaxed);
                    } else {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn answer(&self, completion: ChatCompletion) -> Result<ModelAnswer, ModelError> {
        let empty = || self.endpoint.failed(ModelFailure::Malformed, "the answer is empty");
        let choice = completion.choices.into_iter().next().ok_or_else(empty)?;
        let refused = |why: &str| {
            let what = format!("the model declines to answer: {why}");
            self.endpoint.failed(ModelFailure::Refused, what)
        };
        if let Some(why) = choice.message.refusal.filter(|why| !why.is_empty()) {
            return Err(refused(&why));
        }
        let finish = match choice.finish_reason.as_deref() {
            Some("length") => FinishReason::Length,
            Some("content_filter") => return Err(refused("its content filter stopped it")),
            _ => FinishReason::Stop,
        };
        let text = choice
            .message
            .content
            .filter(|text| !text.is_empty() || finish == FinishReason::Length);
        // Servers report it in many forms, or not at all: that is no reason to lose the answer.
        let input_tokens = token_count(&completion.usage["prompt_tokens"]);
        let output_tokens = token_count(&completion.usage["completion_tokens"]);
        let model = if completion.model.is_empty() { self.model.clone() } else { completion.model };
        Ok(ModelAnswer {
            text: text.ok_or_else(empty)?,
            model,
            input_tokens,
            output_tokens,
            finish,
        })
    }
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
            self.answer(completion)
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
