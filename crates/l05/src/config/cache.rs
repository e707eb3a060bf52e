//! The part of the configuration that speaks of the plan cache.

use std::fmt;
use std::time::Duration;

use l05_engine::cache::{CacheRules, LatencyRules};

use super::Settings;

/// How plans are cached. The URL may hold a password and is not shown.
#[derive(Clone)]
pub struct CacheConfig {
    /// Plans in this process; 0: it keeps none.
    pub l1_plans: u64,
    /// How long they are fresh.
    pub l1_fresh: Duration,
    /// Redis; none: there is no shared level.
    pub redis_url: Option<String>,
    /// How long it keeps a plan.
    pub l2_fresh: Duration,
    /// Planning fails without any cache.
    pub required: bool,
    /// Planning fails without Redis.
    pub l2_required: bool,
    /// When Redis counts as slow.
    pub latency: LatencyRules,
}

impl CacheConfig {
    /// The rules without the shared level, which is to be connected yet.
    pub fn rules(&self) -> CacheRules {
        CacheRules {
            l1_plans: self.l1_plans,
            l1_fresh: self.l1_fresh,
            l2: None,
            l2_fresh: self.l2_fresh,
            required: self.required,
            l2_required: self.l2_required,
            latency: self.latency,
        }
    }
}

impl fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheConfig")
            .field("l1_plans", &self.l1_plans)
            .field("redis_url", &self.redis_url.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

pub(super) fn cache(settings: &Settings) -> CacheConfig {
    let text = |name: &str| settings[name].value.as_str().unwrap_or_default();
    let integer = |name: &str| settings[name].value.as_u64().unwrap_or_default();
    let boolean = |name: &str| settings[name].value == true;
    let hours = |name: &str| Duration::from_secs(3_600 * integer(name));
    let is_on = boolean("decomposition.cache_enabled");
    let strategy = text("cache.strategy");
    let url = text("cache.l2_redis_endpoint").to_owned();
    let has_l1 = is_on && strategy != "l2_only";
    CacheConfig {
        l1_plans: if has_l1 { integer("cache.l1_capacity_plans") } else { 0 },
        l1_fresh: hours("cache.l1_ttl_hours"),
        redis_url: Some(url).filter(|url| is_on && strategy != "l1_only" && !url.is_empty()),
        l2_fresh: hours("cache.l2_ttl_hours"),
        required: boolean("cache.required"),
        l2_required: boolean("cache.l2_required"),
        latency: LatencyRules {
            threshold: Duration::from_millis(integer("cache.l2_latency_threshold_ms")),
            windows: u32::try_from(integer("cache.l2_latency_window_samples")).unwrap_or(2),
            ..LatencyRules::default()
        },
    }
}
