//! The part of the configuration that speaks of models.

use std::fmt;

use l05_engine::decomposer::breaker::BreakerRules;
use l05_engine::decomposer::bulkhead::BulkheadSize;
use l05_engine::decomposer::{BulkheadSizes, ModelRules};
use std::time::Duration;

use super::Settings;

/// What answers prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayKind {
    /// Ollama, if it is there.
    Auto,
    /// Nothing.
    None,
    /// Ollama.
    Ollama,
    /// A server that speaks OpenAI's chat completions.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// The platform's own gateway.
    L04,
}

/// A gateway and how it is asked. Its key is not shown.
#[derive(Clone)]
pub struct ModelConfig {
    /// Which.
    pub gateway: GatewayKind,
    /// Where; none: the default address of its kind.
    pub url: Option<String>,
    /// The model; empty: whatever there is.
    pub name: String,
    /// Its key.
    pub api_key: Option<String>,
    /// Addresses of other machines need no TLS.
    pub allow_cleartext: bool,
    /// How it is asked when it is a service.
    pub rules: ModelRules,
    /// How long a call may take when it runs on this machine.
    pub local_call_within: Duration,
}

impl fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelConfig")
            .field("gateway", &self.gateway)
            .field("url", &self.url.as_ref().map(|_| "…"))
            .field("name", &self.name)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

pub(super) fn model(settings: &Settings) -> ModelConfig {
    let text = |name: &str| settings[name].value.as_str().unwrap_or_default().to_owned();
    let integer = |name: &str| settings[name].value.as_u64().unwrap_or_default();
    let number = |name: &str| u32::try_from(integer(name)).unwrap_or(u32::MAX);
    let millis = |name: &str| Duration::from_millis(integer(name));
    let slow = millis("circuit_breaker.slow_ms");
    ModelConfig {
        gateway: match text("model.gateway").as_str() {
            "none" => GatewayKind::None,
            "ollama" => GatewayKind::Ollama,
            "openai" => GatewayKind::OpenAi,
            "anthropic" => GatewayKind::Anthropic,
            "l04" => GatewayKind::L04,
            _ => GatewayKind::Auto,
        },
        url: Some(text("model.url")).filter(|url| !url.is_empty()),
        name: text("model.name"),
        api_key: Some(text("model.api_key")).filter(|key| !key.is_empty()),
        allow_cleartext: settings["model.allow_cleartext"].value == true,
        rules: ModelRules {
            call_within: millis("model.timeout_ms"),
            answer_tokens_max: number("model.answer_tokens"),
            tool_tokens_max: integer("decomposition.tool_tokens") as usize,
            repair_rounds: number("decomposition.repair_rounds"),
            depth_max: number("decomposition.max_depth"),
            breaker: BreakerRules {
                threshold: number("circuit_breaker.threshold"),
                reset: Duration::from_secs(integer("circuit_breaker.reset_sec")),
                slow: (!slow.is_zero()).then_some(slow),
            },
        },
        local_call_within: millis("model.local_timeout_ms"),
    }
}

pub(super) fn bulkheads(settings: &Settings) -> BulkheadSizes {
    let integer = |name: &str| settings[name].value.as_u64().unwrap_or_default() as usize;
    let size = |name: &str| BulkheadSize {
        places: integer(&format!("bulkheads.{name}")),
        queue: integer(&format!("bulkheads.{name}_queue")),
    };
    BulkheadSizes {
        decomposer: size("decomposer"),
        template_matcher: size("template_matcher"),
        validator: size("validator"),
        resolver: size("resolver"),
    }
}
