//! The platform's own model gateway, L04 (spec 07).

use std::time::Duration;

use l05_engine::port::{
    BoxFuture, FinishReason, ModelAnswer, ModelError, ModelFailure, ModelGateway, ModelIdentity,
    ModelRequest, ModelRole, token_count,
};
use serde_json::{Value, json};

use super::http::ModelEndpoint;
use super::openai::named;
use super::reply::{ReplyEnd, ReplyText, end};

/// The time that the health check may take (spec 06, service_discovery.health_check_timeout_sec).
const HEALTH_WITHIN: Duration = Duration::from_secs(3);

/// Speaks `POST /api/inference`. The gateway has no parameter for a schema: it goes into the prompt.
pub struct L04Gateway {
    endpoint: ModelEndpoint,
    model: String,
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

    fn answer(&self, value: &Value) -> Result<ModelAnswer, ModelError> {
        let failed = |kind, what: &str| self.endpoint.failed(kind, what);
        let Some(content) = value.get("content") else {
            let what = "the answer is not what L04 sends: it has no `content`";
            return Err(failed(ModelFailure::Malformed, what));
        };
        let finish = match end(value["finish_reason"].as_str()) {
            ReplyEnd::Finished(finish) => finish,
            ReplyEnd::Declined => {
                return Err(failed(ModelFailure::Refused, "the model declines to answer"));
            }
            ReplyEnd::Failed => {
                return Err(failed(ModelFailure::Unavailable, "the provider failed on the way"));
            }
        };
        let text = ReplyText::of(content).text;
        if text.is_empty() && finish == FinishReason::Stop {
            return Err(failed(ModelFailure::Malformed, "the answer is empty"));
        }
        let usage = &value["token_usage"];
        Ok(ModelAnswer {
            text,
            // The gateway routes as it likes: the model that answered is the one it names.
            model: named(&value["model_id"], &self.model),
            input_tokens: token_count(&usage["input_tokens"]),
            output_tokens: token_count(&usage["output_tokens"]),
            finish,
        })
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
            is_local: self.endpoint.is_local(),
        }
    }

    fn infer(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, ModelError>> {
        Box::pin(async move {
            let body = self.body(&request);
            let value = self.endpoint.post("/api/inference", &body, request.within).await?;
            self.answer(&value)
        })
    }

    /// The models that are registered; also whether the gateway is ready.
    fn models(&self) -> BoxFuture<'_, Result<Vec<String>, ModelError>> {
        Box::pin(async move {
            let health = self.endpoint.get("/health/ready", HEALTH_WITHIN).await?;
            if health["status"] != "ready" {
                let what = format!("it is not ready: {health}");
                return Err(self.endpoint.failed(ModelFailure::Unavailable, what));
            }
            let list = self.endpoint.get("/api/models", HEALTH_WITHIN).await?;
            let models = list["models"].as_array().ok_or_else(|| {
                self.endpoint.failed(ModelFailure::Malformed, "the answer is no list of models")
            })?;
            let ids = models.iter().filter_map(|model| model["model_id"].as_str());
            Ok(ids.map(str::to_owned).collect())
        })
    }
}
