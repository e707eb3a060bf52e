//! What is there when nothing is configured: Ollama at its default address, or nothing.

use std::sync::Arc;
use std::time::Duration;

use l05_engine::port::ModelGateway;

use super::http::ModelEndpoint;
use super::ollama::{OllamaGateway, models};

/// The address at which Ollama listens by default.
pub const OLLAMA_ADDRESS: &str = "http://127.0.0.1:11434";
/// The time within which a server must answer to be found: on this machine it answers at once or
/// not at all.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// The gateway that was found, and the reason, for people.
pub struct DetectedGateway {
    /// The gateway, where there is one.
    pub gateway: Option<Arc<dyn ModelGateway>>,
    /// The models that it has.
    pub models: Vec<String>,
    /// The search and its outcome, in words.
    pub why: String,
}

/// Looks for Ollama at an address. `wanted` names the model; empty: the first that it has.
pub async fn detect(endpoint: ModelEndpoint, wanted: &str) -> DetectedGateway {
    let nothing = |why: String| DetectedGateway { gateway: None, models: Vec::new(), why };
    let address = endpoint.shown();
    let models = match models(&endpoint, ANSWER_WITHIN).await {
        Ok(models) => models,
        Err(error) => {
            return nothing(format!("nothing is configured, and no Ollama answers: {error}"));
        }
    };
    let model = match wanted {
        "" => models.first().cloned(),
        wanted => Some(wanted.to_owned()),
    };
    let Some(model) = model else {
        let why = format!("Ollama at {address} has no model; `ollama pull` gets one");
        return DetectedGateway { gateway: None, models, why };
    };
    let why = format!("nothing is configured, and Ollama answers at {address}");
    DetectedGateway { gateway: Some(Arc::new(OllamaGateway::new(endpoint, model))), models, why }
}
