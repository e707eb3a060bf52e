//! From a goal to a draft by a model: what it is asked, and how often (spec 02, 2.4).

mod account;
pub mod breaker;
pub mod bulkhead;
mod call;
mod failure;
mod metering;
mod models;
mod rounds;

use std::sync::Arc;
use std::time::Duration;

use l05_core::ErrorCode;
use l05_core::estimate::EstimateBasis;

use breaker::{BreakerRules, CircuitBreaker};
use bulkhead::{Bulkhead, BulkheadSize};
use models::KnownModels;

pub(crate) use call::{CallFailure, CallPurpose, TIME_LEFT_MIN};
pub(crate) use failure::{FailureCause, PlanningFailure};
pub(crate) use metering::{AllowanceExceeded, ModelMeter};
pub(crate) use rounds::{ModelPlan, PlanningBasis};

use crate::port::{ModelGateway, ModelIdentity};

/// Rules for asking models for plans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelRules {
    /// The longest time of one call.
    pub call_within: Duration,
    /// Tokens of one answer.
    pub answer_tokens_max: u32,
    /// Tokens that the list of tools may take in a prompt.
    pub tool_tokens_max: usize,
    /// The number of times that a plan that cannot be used goes back to the model.
    pub repair_rounds: u32,
    /// The depth to which the parts of a RECURSIVE goal nest.
    pub depth_max: u32,
    /// Rules by which the gateway is left alone.
    pub breaker: BreakerRules,
}

impl Default for ModelRules {
    fn default() -> ModelRules {
        ModelRules {
            call_within: Duration::from_secs(5),
            answer_tokens_max: 4_096,
            tool_tokens_max: 6_000,
            repair_rounds: 2,
            depth_max: 10,
            breaker: BreakerRules::default(),
        }
    }
}

/// The sizes of all bulkheads (spec 06, bulkheads).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadSizes {
    /// Decomposition by a model.
    pub decomposer: BulkheadSize,
    /// Matching templates.
    pub template_matcher: BulkheadSize,
    /// Validation.
    pub validator: BulkheadSize,
    /// Resolving graphs that no plan has yet: `graph`, `simulate`.
    pub resolver: BulkheadSize,
}

impl Default for BulkheadSizes {
    fn default() -> BulkheadSizes {
        let size = |places, queue| BulkheadSize { places, queue };
        BulkheadSizes {
            decomposer: size(50, 1_000),
            template_matcher: size(20, 500),
            validator: size(30, 1_000),
            resolver: size(10, 200),
        }
    }
}

/// The model behind a service.
pub(crate) struct ModelDecomposer {
    pub(crate) gateway: Arc<dyn ModelGateway>,
    pub(crate) identity: ModelIdentity,
    pub(crate) rules: ModelRules,
    pub(crate) breaker: CircuitBreaker,
    pub(crate) bulkhead: Bulkhead,
    pub(crate) meter: ModelMeter,
    models: KnownModels,
}

impl ModelDecomposer {
    pub(crate) fn new(
        gateway: Arc<dyn ModelGateway>,
        mut rules: ModelRules,
        size: BulkheadSize,
        basis: &EstimateBasis,
    ) -> ModelDecomposer {
        let identity = gateway.identity();
        let meter = ModelMeter::new(basis, &identity.model);
        if identity.is_local {
            rules.breaker.slow = None;
        }
        let bulkhead = Bulkhead::new("decomposition by model", size, ErrorCode::DecomposerBusy);
        ModelDecomposer {
            gateway,
            identity,
            rules,
            breaker: CircuitBreaker::new(rules.breaker),
            bulkhead,
            meter,
            models: KnownModels::default(),
        }
    }
}
