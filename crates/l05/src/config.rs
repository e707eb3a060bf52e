//! Configuration: defaults < file < environment < flags, every value with where it came from.
//!
//! A key is one row of [`KEYS`]: it says what the value may be and where it goes. What the engine keeps
//! to goes right into its [`ServiceRules`]; the rest says which parts a service is made of.

mod absent;
mod key;
mod keys;
mod load;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use l05_core::choices;
use l05_core::document::TextLimits;
use l05_core::validate::PlanLimits;
use l05_engine::cache::CacheRules;
use l05_engine::request::PlanningStrategy;
use l05_engine::rules::ServiceRules;
use secrecy::SecretString;

pub use absent::{ABSENT_KEYS, AbsentKey};
pub use key::{ConfigKey, KeyKind};
pub use keys::KEYS;
pub use load::{ConfigLayers, ConfigSetting, Settings, load};

/// A checked configuration. What may hold a password has a type that is not printed.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of plans, journals and keys.
    pub data_dir: PathBuf,
    /// PostgreSQL instead of SQLite in the data folder.
    pub store_url: Option<SecretString>,
    /// The folder that tools see.
    pub workspace: PathBuf,
    /// The name of the workspace, where machines share it.
    pub workspace_id: Option<String>,
    /// Programs that `process.run` may run.
    pub programs: Vec<String>,
    /// Templates that add to and override the built-in ones.
    pub templates_dir: Option<PathBuf>,
    /// Validate against this catalogue instead of the built-in tools.
    pub catalog: Option<PathBuf>,
    /// The largest document read.
    pub text_limits: TextLimits,
    /// The way in which goals become plans, when a request does not say.
    pub strategy: PlanningStrategy,
    /// The gateway that answers prompts.
    pub model: ModelConfig,
    /// The levels of the plan cache.
    pub cache: CacheConfig,
    /// Everything that the engine keeps to.
    pub rules: ServiceRules,
    /// The level from which on is logged to stderr.
    pub log_level: String,
}

choices! {
    /// The kind of gateway that answers prompts.
    pub enum GatewayKind {
        /// Ollama, if it is there.
        Auto = "auto",
        /// Nothing.
        None = "none",
        /// Ollama.
        Ollama = "ollama",
        /// A server that speaks OpenAI's chat completions.
        OpenAi = "openai",
        /// Anthropic.
        Anthropic = "anthropic",
        /// The platform's own gateway.
        L04 = "l04",
    }
}

/// A model gateway.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// The kind.
    pub gateway: GatewayKind,
    /// The address; none: the default one of its kind.
    pub url: Option<SecretString>,
    /// The model; empty: whatever there is.
    pub name: String,
    /// The key.
    pub api_key: Option<SecretString>,
    /// The tokenizer that its prompts are counted with.
    pub tokenizer: TokenizerKind,
    /// Addresses of other machines need no TLS.
    pub allow_cleartext: bool,
    /// The time that a call may take when the gateway runs on this machine.
    pub local_call_within: Duration,
}

choices! {
    /// Ways in which the tokens of a prompt are counted where a budget or a quota has to be kept.
    pub enum TokenizerKind {
        /// By the model's name, where that tells; else by bytes.
        Auto = "auto",
        /// As OpenAI's models since GPT-4o count.
        O200k = "o200k_base",
        /// A byte is a token: more than any model counts.
        Bytes = "bytes",
    }
}

choices! {
    /// The levels of the plan cache that are used.
    pub enum CacheLevels {
        /// Both, where there is a Redis.
        Both = "hybrid_two_level",
        /// The memory of this process.
        Memory = "l1_only",
        /// Redis.
        Redis = "l2_only",
    }
}

/// The levels of the plan cache. Sizes and times are among the rules.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Plans are cached at all.
    pub is_on: bool,
    /// The levels that are used.
    pub levels: CacheLevels,
    /// Redis, where there is one.
    pub redis_url: Option<SecretString>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_dir: default_data_dir(),
            store_url: None,
            workspace: PathBuf::from("."),
            workspace_id: None,
            programs: Vec::new(),
            templates_dir: None,
            catalog: None,
            text_limits: TextLimits {
                tasks_max: PlanLimits::default().tasks_max,
                ..TextLimits::default()
            },
            strategy: PlanningStrategy::default(),
            model: ModelConfig {
                gateway: GatewayKind::Auto,
                url: None,
                name: String::new(),
                api_key: None,
                tokenizer: TokenizerKind::Auto,
                allow_cleartext: false,
                local_call_within: Duration::from_secs(120),
            },
            cache: CacheConfig { is_on: true, levels: CacheLevels::Both, redis_url: None },
            rules: ServiceRules::default(),
            log_level: "warn".to_owned(),
        }
    }
}

impl Config {
    /// The shared level of the plan cache, where one is used.
    pub fn redis_url(&self) -> Option<&SecretString> {
        let is_used = self.cache.is_on && self.cache.levels != CacheLevels::Memory;
        self.cache.redis_url.as_ref().filter(|_| is_used)
    }

    /// The rules of the plan cache without the shared level, which is to be connected yet.
    pub fn cache_rules(&self) -> CacheRules {
        let mut rules = self.rules.cache.clone();
        if !self.cache.is_on || self.cache.levels == CacheLevels::Redis {
            rules.l1_plans = 0;
        }
        rules
    }
}

/// The default folder for data: XDG, else a folder here.
pub fn default_data_dir() -> PathBuf {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map_or_else(|| PathBuf::from(".l05"), |base| base.join("l05"))
}
