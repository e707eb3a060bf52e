//! Ollama: `POST /api/chat` with the schema as `format`, streamed, so that a model that fails or
//! stalls is noticed before the whole answer is due.

use std::time::Duration;

use l05_engine::port::{
    BoxFuture, FinishReason, ModelAnswer, ModelError, ModelFailure, ModelGateway, ModelIdentity,
    ModelRequest, token_count,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::{AnswerFormat, KnownDialects, ModelDialect, simple_schema};
use super::http::{HttpReply, ModelEndpoint};
use super::l04::role;
use super::openai::with_schema;
use super::reply::{ReplyEnd, arguments, end, kind_of, nothing_in_it, told};

/// The time that the list of models may take.
const MODELS_WITHIN: Duration = Duration::from_secs(3);
/// The context is at least so many tokens: Ollama's default cuts prompts off in silence.
const CONTEXT_MIN: usize = 8_192;
/// The most context that is asked for, in tokens: memory grows with it.
const CONTEXT_MAX: usize = 131_072;
/// Characters of a token, at the least, for prompts that are mostly English and JSON.
const CHARS_PER_TOKEN: usize = 3;

/// A local Ollama server.
pub struct OllamaGateway {
    endpoint: ModelEndpoint,
    model: String,
    dialects: KnownDialects,
}

/// One line of an answer, or the whole.
#[derive(Deserialize)]
struct AnswerPart {
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    model: String,
    #[serde(default)]
    message: Option<PartMessage>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    prompt_eval_count: Value,
    #[serde(default)]
    eval_count: Value,
}

#[derive(Deserialize)]
struct PartMessage {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    tool_calls: Vec<Value>,
}

/// An answer on its way.
struct GrowingAnswer {
    answer: ModelAnswer,
    has_reasoning: bool,
}

/// A stream by lines. Each byte is looked at once: a line that is no value of its own belongs to one
/// that is written over many, and then nothing is read before the end.
#[derive(Default)]
struct LineBuffer {
    rest: Vec<u8>,
    over_many: bool,
}

impl LineBuffer {
    /// The parts that are whole with these bytes.
    fn take(&mut self, bytes: &[u8]) -> Vec<AnswerPart> {
        let mut parts = Vec::new();
        let mut begin = 0;
        while let Some(length) = bytes[begin..].iter().position(|byte| *byte == b'\n') {
            if self.over_many {
                break;
            }
            self.rest.extend_from_slice(&bytes[begin..begin + length]);
            begin += length + 1;
            if self.rest.iter().all(u8::is_ascii_whitespace) {
                self.rest.clear();
                continue;
            }
            match serde_json::from_slice(&self.rest) {
                Ok(part) => {
                    parts.push(part);
                    self.rest.clear();
                }
                Err(_) => {
                    self.rest.push(b'\n');
                    self.over_many = true;
                }
            }
        }
        self.rest.extend_from_slice(&bytes[begin..]);
        parts
    }
}

impl OllamaGateway {
    /// A server and one of its models.
    pub fn new(endpoint: ModelEndpoint, model: impl Into<String>) -> OllamaGateway {
        OllamaGateway { endpoint, model: model.into(), dialects: KnownDialects::default() }
    }

    fn body(&self, request: &ModelRequest, dialect: &ModelDialect) -> Value {
        let in_prompt = request.schema.as_ref().filter(|_| dialect.format.is_told());
        let system =
            json!({ "role": "system", "content": with_schema(&request.system, in_prompt) });
        let turns =
            request.turns.iter().map(|t| json!({ "role": role(t.role), "content": t.text }));
        let chars =
            request.system.len() + request.turns.iter().map(|t| t.text.len()).sum::<usize>();
        let needed = chars / CHARS_PER_TOKEN + request.tokens_max as usize;
        let mut body = json!({
            "model": request.model.as_deref().unwrap_or(&self.model),
            "messages": std::iter::once(system).chain(turns).collect::<Vec<_>>(),
            "stream": true,
            "options": {
                "temperature": request.temperature,
                "num_predict": request.tokens_max,
                "num_ctx": needed.next_power_of_two().clamp(CONTEXT_MIN, CONTEXT_MAX),
            },
        });
        if let Some((_, schema)) = &request.schema {
            match dialect.format {
                AnswerFormat::Schema => body["format"] = schema.clone(),
                AnswerFormat::SimpleSchema => body["format"] = simple_schema(schema),
                AnswerFormat::Object => body["format"] = json!("json"),
                AnswerFormat::Prompt => {}
            }
        }
        body
    }

    /// Asks; what the server cannot compile is asked for in a simpler form. Each refusal leaves one
    /// thing out, so that this ends.
    async fn chat(&self, request: &ModelRequest) -> Result<HttpReply<'_>, ModelError> {
        let model = request.model.as_deref().unwrap_or(&self.model);
        loop {
            let dialect = self.dialects.of(model);
            let body = self.body(request, &dialect);
            match self.endpoint.send("/api/chat", Some(&body), request.within).await {
                Ok(reply) => return Ok(reply),
                Err(failed) => self.dialects.learn(model, dialect, &body, failed)?,
            }
        }
    }

    async fn read(&self, mut reply: HttpReply<'_>) -> Result<ModelAnswer, ModelError> {
        let answer = ModelAnswer {
            text: String::new(),
            model: self.model.clone(),
            input_tokens: None,
            output_tokens: None,
            finish: FinishReason::Stop,
        };
        let mut answer = GrowingAnswer { answer, has_reasoning: false };
        let mut lines = LineBuffer::default();
        while let Some(chunk) = reply.chunk().await? {
            for part in lines.take(&chunk) {
                if self.take(part, &mut answer)? {
                    return self.whole(answer);
                }
            }
        }
        let buffer = lines.rest;
        for part in serde_json::Deserializer::from_slice(&buffer).into_iter::<AnswerPart>() {
            let part = part.map_err(|error| {
                let what = if error.is_eof() {
                    "the answer breaks off".to_owned()
                } else {
                    format!("the answer is not what Ollama sends: {error}")
                };
                self.endpoint.failed(ModelFailure::Malformed, what)
            })?;
            if self.take(part, &mut answer)? {
                return self.whole(answer);
            }
        }
        let what = match answer.answer.text.len() {
            0 => "the answer is empty".to_owned(),
            bytes => format!("the answer breaks off after {bytes} bytes of text"),
        };
        Err(self.endpoint.failed(ModelFailure::Malformed, what))
    }

    /// An answer that has ended, unless there is nothing in it.
    fn whole(&self, answer: GrowingAnswer) -> Result<ModelAnswer, ModelError> {
        let GrowingAnswer { answer, has_reasoning } = answer;
        if !answer.text.is_empty() || answer.finish == FinishReason::Length {
            return Ok(answer);
        }
        let what = nothing_in_it(has_reasoning);
        Err(self.endpoint.failed(ModelFailure::Malformed, what))
    }

    /// Adds a part; whether it is the last.
    fn take(&self, part: AnswerPart, growing: &mut GrowingAnswer) -> Result<bool, ModelError> {
        if let Some(error) = part.error.filter(|error| !error.is_null()) {
            let body = json!({ "error": error });
            let words = told(&body).unwrap_or_else(|| error.to_string());
            return Err(self.endpoint.failed(kind_of(&body, None), words));
        }
        let answer = &mut growing.answer;
        if let Some(message) = part.message {
            answer.text.push_str(message.content.as_deref().unwrap_or_default());
            growing.has_reasoning |= message.thinking.is_some_and(|text| !text.is_empty());
            let calls = message.tool_calls.iter().map(|call| &call["function"]["arguments"]);
            if answer.text.is_empty()
                && let Some(text) = calls.filter_map(arguments).next()
            {
                answer.text = text;
            }
        }
        if !part.done {
            return Ok(false);
        }
        answer.input_tokens = token_count(&part.prompt_eval_count);
        answer.output_tokens = token_count(&part.eval_count);
        if !part.model.is_empty() {
            answer.model = part.model;
        }
        let failed = |kind, what: &str| Err(self.endpoint.failed(kind, what));
        match end(part.done_reason.as_deref()) {
            ReplyEnd::Finished(finish) => answer.finish = finish,
            ReplyEnd::Declined => {
                return failed(ModelFailure::Refused, "the model declines to answer");
            }
            ReplyEnd::Failed => {
                return failed(ModelFailure::Unavailable, "the server failed on the way");
            }
        }
        Ok(true)
    }
}

/// The names of the models that a server has.
pub(super) async fn models(
    endpoint: &ModelEndpoint,
    within: Duration,
) -> Result<Vec<String>, ModelError> {
    let list = endpoint.get("/api/tags", within).await?;
    let models = list["models"].as_array().ok_or_else(|| {
        endpoint.failed(ModelFailure::Malformed, "the answer is no list of models")
    })?;
    let name =
        |model: &Value| model["model"].as_str().or(model["name"].as_str()).map(str::to_owned);
    Ok(models.iter().filter_map(name).collect())
}

impl ModelGateway for OllamaGateway {
    fn identity(&self) -> ModelIdentity {
        ModelIdentity {
            provider: "ollama",
            address: self.endpoint.shown(),
            model: self.model.clone(),
            is_local: true,
        }
    }

    fn infer(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, ModelError>> {
        Box::pin(async move {
            let reply = self.chat(&request).await?;
            self.read(reply).await
        })
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<String>, ModelError>> {
        Box::pin(models(&self.endpoint, MODELS_WITHIN))
    }
}
