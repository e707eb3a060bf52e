//! Which model gateway a configuration means, and why.

use std::sync::Arc;

use l05_connect::model::{
    AnthropicGateway, ApiKey, EndpointError, L04Gateway, ModelEndpoint, OLLAMA_ADDRESS,
    OllamaGateway, OpenAiGateway, detect,
};
use l05_core::{Error, ErrorCode};
use l05_engine::decomposer::ModelRules;
use l05_engine::port::ModelGateway;

use secrecy::{ExposeSecret, SecretString};

use crate::config::{Config, GatewayKind, ModelConfig};

/// The platform's development set-up (spec 07).
const L04_ADDRESS: &str = "http://127.0.0.1:8004";
const OPENAI_ADDRESS: &str = "https://api.openai.com/v1";
const ANTHROPIC_ADDRESS: &str = "https://api.anthropic.com";

/// The choice of a model.
pub struct ModelChoice {
    /// The gateway; none: goals are planned from templates alone.
    pub gateway: Option<Arc<dyn ModelGateway>>,
    /// Rules for asking it.
    pub rules: ModelRules,
    /// The reason for it, or for none.
    pub why: String,
    /// The models that were seen while looking; empty when nobody looked.
    pub models: Vec<String>,
}

/// Chooses the gateway. Only `auto` looks whether somebody answers; the others are taken at their
/// word, and a call tells.
pub async fn choose(config: &Config) -> Result<ModelChoice, Error> {
    let model = &config.model;
    let mut rules = config.rules.model;
    let configured = "it is configured (model.gateway)".to_owned();
    let (gateway, why, models) = match model.gateway {
        GatewayKind::None => {
            (None, "no model gateway is configured (model.gateway = none)".to_owned(), Vec::new())
        }
        GatewayKind::Auto => {
            let endpoint = ollama(model).map_err(|error| unusable(model, &error))?;
            let found = detect(endpoint, &model.name).await;
            (found.gateway, found.why, found.models)
        }
        _ => {
            (Some(adapter(model).map_err(|error| unusable(model, &error))?), configured, Vec::new())
        }
    };
    if gateway.as_ref().is_some_and(|gateway| gateway.identity().is_local) {
        rules.call_within = model.local_call_within;
    }
    Ok(ModelChoice { gateway, rules, why, models })
}

fn adapter(model: &ModelConfig) -> Result<Arc<dyn ModelGateway>, EndpointError> {
    let endpoint = |default: &str| {
        ModelEndpoint::new(exposed(model.url.as_ref()).unwrap_or(default), model.allow_cleartext)
    };
    let key = |variable: &str| {
        let fallback = || std::env::var(variable).ok().filter(|key| !key.is_empty());
        let configured = exposed(model.api_key.as_ref()).map(str::to_owned);
        configured.or_else(fallback).map(ApiKey::new)
    };
    let bearer = |endpoint: ModelEndpoint, key: Option<ApiKey>| match key {
        Some(key) => endpoint.bearer(&key),
        None => Ok(endpoint),
    };
    let name = model.name.as_str();
    Ok(match model.gateway {
        GatewayKind::OpenAi => Arc::new(OpenAiGateway::new(
            bearer(endpoint(OPENAI_ADDRESS)?, key("OPENAI_API_KEY"))?,
            name,
        )),
        GatewayKind::Anthropic => {
            let key = key("ANTHROPIC_API_KEY");
            Arc::new(AnthropicGateway::new(endpoint(ANTHROPIC_ADDRESS)?, key.as_ref(), name)?)
        }
        GatewayKind::L04 => {
            let key = exposed(model.api_key.as_ref()).map(|key| ApiKey::new(key.to_owned()));
            Arc::new(L04Gateway::new(bearer(endpoint(L04_ADDRESS)?, key)?, name))
        }
        GatewayKind::Ollama | GatewayKind::Auto | GatewayKind::None => {
            Arc::new(OllamaGateway::new(ollama(model)?, name))
        }
    })
}

fn exposed(secret: Option<&SecretString>) -> Option<&str> {
    secret.map(ExposeSecret::expose_secret)
}

/// Ollama itself asks for no key; what stands before it may.
fn ollama(model: &ModelConfig) -> Result<ModelEndpoint, EndpointError> {
    let address = exposed(model.url.as_ref()).unwrap_or(OLLAMA_ADDRESS);
    let endpoint = ModelEndpoint::new(address, model.allow_cleartext)?;
    match exposed(model.api_key.as_ref()) {
        Some(key) => endpoint.bearer(&ApiKey::new(key.to_owned())),
        None => Ok(endpoint),
    }
}

fn unusable(model: &ModelConfig, error: &EndpointError) -> Error {
    let suggestion = match error {
        EndpointError::NotAUrl => "write model.url as https://host or http://127.0.0.1:port",
        EndpointError::Cleartext(_) => "use https, or set model.allow_cleartext = true",
        EndpointError::Key => "check model.api_key and the environment",
        EndpointError::Client(_) => "install the system's CA certificates",
    };
    Error::new(ErrorCode::ConfigError, format!("model.url: {error}"))
        .detail("gateway", model.gateway.as_str())
        .suggest(suggestion)
}

/// Hosted models and Ollama have to be named.
pub(super) fn check(model: &ModelConfig) -> Result<(), Error> {
    let must_name =
        matches!(model.gateway, GatewayKind::Ollama | GatewayKind::OpenAi | GatewayKind::Anthropic);
    if must_name && model.name.is_empty() {
        let message = "model.gateway is set, but model.name is not";
        return Err(Error::new(ErrorCode::ConfigError, message)
            .suggest("set model.name; `l05 doctor` lists the models that a gateway has"));
    }
    Ok(())
}
