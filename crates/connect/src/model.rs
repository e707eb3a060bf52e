//! Model gateways: each speaks one wire, all behind `ModelGateway`.
//!
//! They are thin on purpose: one request, one answer, and every failure told as what it is. Retries,
//! circuit breaking and repair belong to whoever asks.

mod anthropic;
mod detect;
mod dialect;
mod http;
mod l04;
mod ollama;
mod openai;
mod reply;

pub use anthropic::AnthropicGateway;
pub use detect::{DetectedGateway, OLLAMA_ADDRESS, detect};
pub use http::{ANSWER_BYTES_MAX, ApiKey, EndpointError, ModelEndpoint};
pub use l04::L04Gateway;
pub use ollama::OllamaGateway;
pub use openai::OpenAiGateway;
