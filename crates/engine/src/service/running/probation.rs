//! Runs that may have taken their last owner down are taken up one at a time.
//!
//! When a process dies, all its runs were in flight, and one of them may be why. After a second such death in a row each
//! of them is taken up alone: whoever is to blame dies alone, and the others show life before the next is taken up.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use l05_core::id::PlanId;
use l05_run::Run;

/// The time after which a run that still lives is not to blame, whatever it has recorded.
const PROBATION_MAX: Duration = Duration::from_secs(30);

/// The run that is on probation in this process.
#[derive(Default)]
pub(crate) struct Probation(Mutex<Option<(PlanId, Instant)>>);

/// True if the last owners of a run died, and it may be why.
pub(super) fn is_suspect(run: &Run) -> bool {
    run.deaths() > 0 && run.running() > 0
}

impl Probation {
    /// The run that others have to wait for.
    pub(super) fn current(&self) -> Option<PlanId> {
        let on = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        on.filter(|(_, since)| since.elapsed() < PROBATION_MAX).map(|(plan, _)| plan)
    }

    pub(super) fn begin(&self, plan: PlanId) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((plan, Instant::now()));
    }

    pub(super) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
