//! Model gateways: each speaks one wire, all behind `ModelGateway`.
//!
//! They are thin on purpose: one request, one answer, and every failure told as what it is. Retries,
//! circuit breaking and repair belong to whoever asks.

mod anthropic;
mod detect;
mod http;
mod l04;
mod ollama;
mod openai;

pub use anthropic::Anthropic;
pub use detect::{Detected, OLLAMA_ADDRESS, detect};
pub use http::{ANSWER_BYTES_MAX, ApiKey, Endpoint, EndpointError};
pub use l04::L04;
pub use ollama::Ollama;
pub use openai::OpenAi;
