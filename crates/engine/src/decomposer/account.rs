//! What planning a goal may use, over all its calls: the same budget that the plan's run will have.
//!
//! Nothing is signed yet, so estimates of prompts will do here: whether the plan still fits into what is left
//! is checked when it is validated.

use std::sync::Mutex;

use l05_core::goal::GoalConstraints;

use super::failure::PlanningSpent;
use super::metering::{CallUsage, ModelMeter};
use crate::port::ModelRequest;

/// With fewer tokens left for its answer, no plan is asked for.
const ANSWER_TOKENS_MIN: u64 = 256;

/// One goal's account.
pub(super) struct PlanningAccount {
    tokens_max: Option<u64>,
    cost_max_usd: Option<f64>,
    /// Amounts that are used, and that calls under way may use; parts are planned at once.
    spending: Mutex<PlanningSpent>,
}

impl PlanningAccount {
    pub(super) fn new(constraints: &GoalConstraints) -> PlanningAccount {
        PlanningAccount {
            tokens_max: constraints.max_token_budget,
            cost_max_usd: constraints.cost_limit_usd,
            spending: Mutex::new(PlanningSpent::default()),
        }
    }

    /// Books what a call may use, and shortens its answer to what is left. The error tells what is short.
    pub(super) fn reserve(
        &self,
        meter: &ModelMeter,
        request: &mut ModelRequest,
    ) -> Result<PlanningSpent, String> {
        if self.tokens_max.is_none() && self.cost_max_usd.is_none() {
            return Ok(PlanningSpent::default());
        }
        let prompt = meter.estimated(request);
        let mut spending = self.spending.lock().expect("nobody panics while holding it");
        let left = self.tokens_max.map_or(u64::MAX, |most| most.saturating_sub(spending.tokens));
        let answer = left.saturating_sub(prompt).min(u64::from(request.tokens_max));
        let cost_usd = meter.cost_usd(request, prompt, answer);
        let money_left = self.cost_max_usd.map_or(f64::INFINITY, |most| most - spending.cost_usd);
        if answer < ANSWER_TOKENS_MIN.min(u64::from(request.tokens_max)) {
            return Err(format!(
                "planning used {} tokens of the goal's budget, and {left} are left: the next prompt alone \
                 takes {prompt}",
                spending.tokens
            ));
        }
        if cost_usd > money_left {
            return Err(format!(
                "planning used ${:.6} of the goal's budget, and the next call may cost ${cost_usd:.6}",
                spending.cost_usd
            ));
        }
        request.tokens_max = u32::try_from(answer).unwrap_or(u32::MAX);
        let reserved = PlanningSpent { tokens: prompt.saturating_add(answer), cost_usd };
        *spending = spending.plus(reserved);
        Ok(reserved)
    }

    /// Books what a call used in place of what was reserved for it. A call of which nothing is known keeps
    /// all of that, unless the model certainly never began.
    pub(super) fn settle(&self, reserved: PlanningSpent, used: Option<CallUsage>, is_free: bool) {
        let used = match (used, is_free) {
            (Some(used), _) => PlanningSpent { tokens: used.tokens(), cost_usd: used.cost_usd },
            (None, true) => PlanningSpent::default(),
            (None, false) => reserved,
        };
        let mut spending = self.spending.lock().expect("nobody panics while holding it");
        spending.tokens = spending.tokens.saturating_sub(reserved.tokens);
        spending.cost_usd = (spending.cost_usd - reserved.cost_usd).max(0.0);
        *spending = spending.plus(used);
    }

    pub(super) fn spent(&self) -> PlanningSpent {
        *self.spending.lock().expect("nobody panics while holding it")
    }
}
