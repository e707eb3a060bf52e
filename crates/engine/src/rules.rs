//! The rules of a service: every limit, threshold and time that is not a part of it. The defaults are
//! those of the embedded service; a configuration fills the same structure.

use std::time::Duration;

use l05_core::agent::AgentCapacity;
use l05_core::estimate::EstimateBasis;
use l05_core::goal::input::InputPolicy;
use l05_core::schedule::RoutingStrategy;
use l05_core::validate::PlanLimits;

use l05_run::command::DEATHS_MAX_DEFAULT;

use crate::cache::CacheRules;
use crate::decomposer::{BulkheadSizes, ModelRules};
use crate::shard::HEARTBEAT_MILLIS_DEFAULT;

/// Attempts in flight over all plans of a process, when nothing else is said. Each is a tokio task
/// and, for most tools, a thread of the blocking pool while it works.
pub const IN_FLIGHT_MAX_DEFAULT: u32 = 1_000;
/// The confidence from which a template is taken (spec 02, 2.2).
pub const TEMPLATE_THRESHOLD_DEFAULT: f64 = 0.85;
/// The confidence from which a template is taken when the model failed (spec 02, 2.2).
pub const FALLBACK_THRESHOLD_DEFAULT: f64 = 0.5;
/// Days that earlier runs count for estimates (spec 06, rolling_average_window_days).
pub const EXPERIENCE_DAYS_DEFAULT: u32 = 30;

/// The rules of a service.
#[derive(Clone, Debug)]
pub struct ServiceRules {
    /// Limits on plans.
    pub limits: PlanLimits,
    /// Prices, and how estimates are made.
    pub estimates: EstimateBasis,
    /// Days that earlier runs count for estimates.
    pub experience_days: u32,
    /// Words that goals may not contain.
    pub policy: InputPolicy,
    /// Refuse plans that are handed in unsigned.
    pub require_signed_plans: bool,
    /// The confidence from which a template is taken, 0 to 1.
    pub template_threshold: f64,
    /// The confidence from which a template is taken when the model failed, 0 to 1.
    pub fallback_threshold: f64,
    /// The way in which models are asked for plans.
    pub model: ModelRules,
    /// Sizes of the bulkheads: work of each kind that may be under way, and wait.
    pub bulkheads: BulkheadSizes,
    /// The way in which plans are cached; by default in this process, for an hour.
    pub cache: CacheRules,
    /// Cores and memory that this machine has for tasks.
    pub capacity: AgentCapacity,
    /// Attempts in flight over all plans, at least one.
    pub in_flight_max: u32,
    /// The time after which no answer counts as a refusal; for ever by default.
    pub answer_within: Option<Duration>,
    /// The choice of an agent, where several are registered.
    pub routing: RoutingStrategy,
    /// The number of processes that may die in a row with the same attempts of a run in flight before it is suspended; 0:
    /// any.
    pub deaths_max: u16,
    /// The pause between two signs of life of a registered agent; one that misses three is given up.
    pub heartbeat: Duration,
}

impl Default for ServiceRules {
    fn default() -> ServiceRules {
        ServiceRules {
            limits: PlanLimits::default(),
            estimates: EstimateBasis::default(),
            experience_days: EXPERIENCE_DAYS_DEFAULT,
            policy: InputPolicy::Strict,
            require_signed_plans: false,
            template_threshold: TEMPLATE_THRESHOLD_DEFAULT,
            fallback_threshold: FALLBACK_THRESHOLD_DEFAULT,
            model: ModelRules::default(),
            bulkheads: BulkheadSizes::default(),
            cache: CacheRules::default(),
            capacity: capacity_default(),
            in_flight_max: IN_FLIGHT_MAX_DEFAULT,
            answer_within: None,
            routing: RoutingStrategy::Balanced,
            deaths_max: DEATHS_MAX_DEFAULT,
            heartbeat: Duration::from_millis(HEARTBEAT_MILLIS_DEFAULT),
        }
    }
}

impl ServiceRules {
    pub(crate) fn answer_within_millis(&self) -> Option<u64> {
        self.answer_within.map(|time| time.as_millis() as u64)
    }
}

/// The cores that the process may use, and the memory that a task may have by default.
fn capacity_default() -> AgentCapacity {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory_mb = PlanLimits::default().memory_mb_per_task as u64;
    AgentCapacity { cpu_cores: cores as f64, memory_mb }
}
