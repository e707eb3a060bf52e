//! The platform's own model gateway, L04 (spec 07).

use std::time::Duration;

use l05_engine::port::{
    BoxFuture, FinishReason, ModelAnswer, ModelError, ModelFailure, ModelGateway, ModelIdentity,
    ModelRequest, ModelRole, token_count,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::ModelEndpoint;

/// The time that the health check may take (spec 06, service_discovery.health_check_timeout_sec).
const HEALTH_WITHIN: Duration = Duration::from_secs(3);

/// Speaks `POST /api/inference`. The gateway has no parameter for a schema: it goes into the prompt.
pub struct L04Gateway {
    endpoint: ModelEndpoint,
    model: String,
}

#[derive(Deserialize)]
struct L04Answer {
    model_id: String,
    content: String,
    #[serde(default)]
    token_usage: Value,
    #[serde(default)]
    finish_reason: Option<String>,
}

impl L04Gateway {
    /// `model` may be empty: the gateway chooses.
    pub fn new(endpoint: ModelEndpoint, model: impl Into<String>) -> L04Gateway {
        L04Gateway { endpoint, model: model.into() }
    }

    fn body(&self, request: &ModelRequest) -> Value {
        let turn = |(role, text): (&str, &str)| json!({ "role": role, "content": text });
        let turns = request.turns.iter().map(|t| (role(t.role), t.text.as_str()));
        let mut body = json!({
            "agent_did": request.agent_did,
            "messages": turns.map(turn).collect::<Vec<_>>(),
            "system_prompt": super::openai::with_schema(&request.system, request.schema.as_ref()),
            "temperature": request.temperature,
            "max_tokens": request.tokens_max,
            // A plan is cached here, with all that shapes it; a repair round must not be answered
            // from a cache.
            "enable_cache": false,
        });
        if request.schema.is_some() {
            body["capabilities"] = json!(["tool_use"]);
        }
        let model = request.model.as_deref().unwrap_or(&self.model);
        if !model.is_empty() {
            body["model_id"] = json!(model);
        }
        if let Some(key) = &request.idempotency_key {
            body["metadata"] = json!({ "idempotency_key": key });
        }
        body
    }
}

pub(super) fn role(role: ModelRole) -> &'static str {
    match role {
        ModelRole::User => "user",
        ModelRole::Assistant => "assistant",
    }
}

impl ModelGateway for L04Gateway {
    fn identity(&self) -> ModelIdentity {
        ModelIdentity {
            provider: "l04",
            address: self.endpoint.shown(),
            model: self.model.clone(),
            is_local: false,
        }
    }

    fn infer(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, ModelError>> {
        Box::pin(async move {
            let body = self.body(&request);
            let value = self.endpoint.post("/api/inference", &body, request.within).await?;
            let answer: L04Answer = serde_json::from_value(value).map_err(|error| {
                let what = format!("the answer is not what L04 sends: {error}");
                self.endpoint.failed(ModelFailure::Malformed, what)
            })?;
            let finish = match answer.finish_reason.as_deref() {
                Some("length" | "max_tokens") => FinishReason::Length,
                Some("content_filter" | "refusal") => {
                    let what = "the model declines to answer";
                    return Err(self.endpoint.failed(ModelFailure::Refused, what));
                }
                _ => FinishReason::Stop,
            };
            Ok(ModelAnswer {
                text: answer.content,
                model: answer.model_id,
                input_tokens: token_count(&answer.token_usage["input_tokens"]),
                output_tokens: token_count(&answer.token_usage["output_tokens"]),
                finish,
            })
        })
    }

    /// L04 names no models; that it is ready is all that can be asked.
    fn models(&self) -> BoxFuture<'_, Result<Vec<String>, ModelError>> {
        Box::pin(async move {
            let health = self.endpoint.get("/health/ready", HEALTH_WITHIN).await?;
            if health["status"] != "ready" {
                let what = format!("it is not ready: {health}");
                return Err(self.endpoint.failed(ModelFailure::Unavailable, what));
            }
            Ok(if self.model.is_empty() { Vec::new() } else { vec![self.model.clone()] })
        })
    }
}
