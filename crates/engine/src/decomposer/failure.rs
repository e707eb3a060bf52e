//! The failure of a goal to become a plan, as far as planning goes on differently.

use l05_core::Error;
use l05_core::plan::PlanMetadata;

use super::call::CallFailure;

/// A goal that got no plan.
#[derive(Clone, Debug)]
pub(crate) struct PlanningFailure {
    pub(crate) cause: FailureCause,
    /// The failure for people.
    pub(crate) error: Error,
    /// The use of the calls that led to nothing.
    pub(crate) spent: PlanningSpent,
}

/// Tokens and money that planning took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PlanningSpent {
    pub(crate) tokens: u64,
    pub(crate) cost_usd: f64,
}

impl PlanningSpent {
    pub(super) fn plus(self, other: PlanningSpent) -> PlanningSpent {
        PlanningSpent {
            tokens: self.tokens.saturating_add(other.tokens),
            cost_usd: self.cost_usd + other.cost_usd,
        }
    }

    /// Puts it where the budget of the run finds it.
    pub(crate) fn note_in(self, metadata: &mut PlanMetadata) {
        if self != PlanningSpent::default() {
            metadata.decomposition_tokens = Some(self.tokens);
            metadata.decomposition_cost_usd = Some(self.cost_usd).filter(|usd| *usd > 0.0);
        }
    }
}

/// Causes, as far as planning goes on differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureCause {
    /// The model did not answer within the caller's own time: another caller may have more.
    OutOfTime,
    /// The model could not be had, or gave nothing that can be used.
    Model,
    /// Something else: no model would have helped.
    Other,
}

impl PlanningFailure {
    /// A failure that is the model's.
    pub(crate) fn of_model(error: Error) -> PlanningFailure {
        PlanningFailure { cause: FailureCause::Model, error, spent: PlanningSpent::default() }
    }

    /// True if an earlier plan, or a template that fits less well, may stand in.
    pub(crate) fn is_of_model(&self) -> bool {
        match self.cause {
            FailureCause::OutOfTime | FailureCause::Model => true,
            FailureCause::Other => false,
        }
    }
}

impl From<Error> for PlanningFailure {
    fn from(error: Error) -> PlanningFailure {
        PlanningFailure { cause: FailureCause::Other, error, spent: PlanningSpent::default() }
    }
}

impl From<CallFailure> for PlanningFailure {
    fn from(failure: CallFailure) -> PlanningFailure {
        let out_of_time = failure.kind.is_out_of_time();
        let cause = if out_of_time { FailureCause::OutOfTime } else { FailureCause::Model };
        PlanningFailure { cause, error: failure.error, spent: PlanningSpent::default() }
    }
}
