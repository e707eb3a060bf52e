//! Whatever answers prompts: the platform's gateway, a local model server, a provider.

use std::time::Duration;

use serde_json::Value;

use super::BoxFuture;

/// Calls models. A call that is dropped is cancelled: nothing of it goes on.
pub trait ModelGateway: Send + Sync {
    /// The model's identity: for records, errors and cache keys.
    fn identity(&self) -> ModelIdentity;

    /// One inference.
    fn infer(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, ModelError>>;

    /// The models it offers; also the check whether it is there.
    fn models(&self) -> BoxFuture<'_, Result<Vec<String>, ModelError>>;
}

/// A model and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelIdentity {
    /// The kind of gateway: `l04`, `ollama`, `openai`, `anthropic`.
    pub provider: &'static str,
    /// The gateway's address, without user and password.
    pub address: String,
    /// The model that is asked for; empty where the gateway chooses.
    pub model: String,
    /// The model runs on hardware of the user's own: slowness is no fault, and there is no key.
    pub is_local: bool,
}

impl ModelIdentity {
    /// `model at address`, for people.
    pub fn shown(&self) -> String {
        match self.model.as_str() {
            "" => format!("{} at {}", self.provider, self.address),
            model => format!("{model} ({} at {})", self.provider, self.address),
        }
    }
}

/// Speakers in a conversation; the system's words stand apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelRole {
    /// The asking side.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelTurn {
    /// The speaker.
    pub role: ModelRole,
    /// The words.
    pub text: String,
}

/// A request to a model.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// The model; none: the gateway's own.
    pub model: Option<String>,
    /// The model's role and rules; never holds a user's words.
    pub system: String,
    /// The conversation so far, the user's turn last.
    pub turns: Vec<ModelTurn>,
    /// The answer's JSON Schema, with a name for it. None: any text.
    pub schema: Option<(&'static str, Value)>,
    /// 0 (the likeliest) to 2.
    pub temperature: f32,
    /// Tokens of the answer at most.
    pub tokens_max: u32,
    /// After this the call is given up.
    pub within: Duration,
    /// The requester: the goal's agent, for gateways that keep accounts.
    pub agent_did: String,
    /// A key that every repetition of a task's attempt shares; for the gateway's records.
    pub idempotency_key: Option<String>,
}

/// Reasons for which an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The answer is whole.
    Stop,
    /// The answer was cut off at the token limit.
    Length,
}

/// A model's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelAnswer {
    /// The words.
    pub text: String,
    /// The model that answered, by its own account.
    pub model: String,
    /// Tokens read; none where the gateway reported nothing that is a count ([`token_count`]).
    pub input_tokens: Option<u64>,
    /// Tokens written; none as before.
    pub output_tokens: Option<u64>,
    /// The reason for its end.
    pub finish: FinishReason,
}

/// A reported number of tokens. Texts, fractions, negative numbers and nothing are none.
pub fn token_count(reported: &Value) -> Option<u64> {
    let whole = |number: f64| (number.fract() == 0.0 && number >= 0.0).then_some(number as u64);
    reported.as_u64().or_else(|| whole(reported.as_f64()?))
}

/// The reason for which there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// The kind of failure.
    pub kind: ModelFailure,
    /// The failing party and the failure, in words; never holds a key.
    pub message: String,
    /// The time after which to come again, where the gateway says so.
    pub retry_after: Option<Duration>,
}

/// Kinds of failure, as far as they are treated differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelFailure {
    /// Nobody answers at the address, or TLS fails.
    Unreachable,
    /// No answer, or no whole one, in time.
    Timeout,
    /// Too many requests for now.
    RateLimited,
    /// The account has nothing left: no later request fares better.
    OutOfQuota,
    /// The gateway fails (5xx).
    Unavailable,
    /// The gateway refuses the request (4xx): the next one will fare no better.
    Rejected,
    /// The response is not what its protocol says.
    Malformed,
    /// The model declines to answer.
    Refused,
}

impl ModelFailure {
    /// True if the gateway is at fault, so that its circuit breaker counts it.
    pub fn is_of_gateway(self) -> bool {
        match self {
            ModelFailure::Unreachable
            | ModelFailure::Timeout
            | ModelFailure::RateLimited
            | ModelFailure::Unavailable
            | ModelFailure::Malformed => true,
            ModelFailure::OutOfQuota | ModelFailure::Rejected | ModelFailure::Refused => false,
        }
    }
}
