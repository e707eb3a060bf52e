//! Configuration: defaults < file < environment < flags, every value with where it came from.

mod cache;
mod key;
mod keys;
mod load;
mod model;

use std::path::PathBuf;
use std::time::Duration;

use l05_core::document::TextLimits;
use l05_core::estimate::{CostModel, PriceTable};
use l05_core::goal::input::InputPolicy;
use l05_core::validate::PlanLimits;
use l05_engine::decomposer::BulkheadSizes;

pub use cache::CacheConfig;
pub use key::{ConfigKey, KeyKind};
pub use keys::KEYS;
pub use load::{ConfigLayers, ConfigSetting, Settings, load};
pub use model::{GatewayKind, ModelConfig};

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where plans, journals and keys are kept.
    pub data_dir: PathBuf,
    /// PostgreSQL instead of SQLite in the data folder; may hold a password.
    pub store_url: Option<String>,
    /// The folder that tools see.
    pub workspace: PathBuf,
    /// What `process.run` may run.
    pub programs: Vec<String>,
    /// Templates that add to and override the built-in ones.
    pub templates_dir: Option<PathBuf>,
    /// Validate against this catalogue instead of the built-in tools.
    pub catalog: Option<PathBuf>,
    /// What goals may contain.
    pub policy: InputPolicy,
    /// The largest document read.
    pub text_limits: TextLimits,
    /// `hybrid`, `template` or `llm`.
    pub strategy: String,
    /// The confidence from which a template is taken.
    pub template_threshold: f64,
    /// The same when the model failed.
    pub fallback_threshold: f64,
    /// What answers prompts, and how it is asked.
    pub model: ModelConfig,
    /// How plans are cached.
    pub cache: CacheConfig,
    /// How many of each kind of work may be under way.
    pub bulkheads: BulkheadSizes,
    /// Limits on plans.
    pub limits: PlanLimits,
    /// What estimates are made from.
    pub cost_model: CostModel,
    /// Earlier runs of a tool before its history counts.
    pub observations_min: usize,
    /// Days that earlier runs count.
    pub experience_days: u32,
    /// What models and tools cost.
    pub prices: PriceTable,
    /// Attempts in flight over all plans.
    pub max_in_flight: u32,
    /// How long a person has to answer; none: for ever.
    pub answer_within: Option<Duration>,
    /// Refuse plans that are handed in unsigned.
    pub require_signed_plans: bool,
    /// What is logged to stderr.
    pub log_level: String,
}
