//! The failure of a goal to become a plan, as far as planning goes on differently.

use l05_core::Error;

use super::call::CallFailure;

/// A goal that got no plan.
#[derive(Clone, Debug)]
pub(crate) struct PlanningFailure {
    pub(crate) cause: FailureCause,
    /// The failure for people.
    pub(crate) error: Error,
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
        PlanningFailure { cause: FailureCause::Model, error }
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
        PlanningFailure { cause: FailureCause::Other, error }
    }
}

impl From<CallFailure> for PlanningFailure {
    fn from(failure: CallFailure) -> PlanningFailure {
        let out_of_time = failure.kind.is_out_of_time();
        let cause = if out_of_time { FailureCause::OutOfTime } else { FailureCause::Model };
        PlanningFailure { cause, error: failure.error }
    }
}
