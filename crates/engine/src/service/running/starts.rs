//! One caller at a time takes up a run: between asking whether it is driven here and its first
//! durable event nobody else of this process may claim it.

use std::collections::HashSet;
use std::sync::Mutex;

use l05_core::id::PlanId;
use tokio::sync::Notify;

#[derive(Default)]
pub(in crate::service) struct RunStarts {
    // Short and synchronous: never held across an await.
    plans: Mutex<HashSet<PlanId>>,
    freed: Notify,
}

/// Holds a plan; dropping it lets the next caller in.
pub(super) struct StartTurn<'s> {
    starting: &'s RunStarts,
    plan: PlanId,
}

impl RunStarts {
    /// Waits for its turn.
    pub(super) async fn turn(&self, plan: PlanId) -> StartTurn<'_> {
        loop {
            let freed = self.freed.notified();
            if self.plans().insert(plan) {
                return StartTurn { starting: self, plan };
            }
            freed.await;
        }
    }

    fn plans(&self) -> std::sync::MutexGuard<'_, HashSet<PlanId>> {
        self.plans.lock().expect("no code panics while it holds this lock")
    }
}

impl Drop for StartTurn<'_> {
    fn drop(&mut self) {
        self.starting.plans().remove(&self.plan);
        self.starting.freed.notify_waiters();
    }
}
