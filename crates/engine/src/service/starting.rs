//! One caller at a time takes up a run: between asking whether it is driven here and its first
//! durable event nobody else of this process may claim it.

use std::collections::HashSet;
use std::sync::Mutex;

use l05_core::id::PlanId;
use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Starting {
    // Short and synchronous: never held across an await.
    plans: Mutex<HashSet<PlanId>>,
    freed: Notify,
}

/// Holds a plan; dropping it lets the next caller in.
pub(super) struct Turn<'s> {
    starting: &'s Starting,
    plan: PlanId,
}

impl Starting {
    /// Waits for its turn.
    pub(super) async fn turn(&self, plan: PlanId) -> Turn<'_> {
        loop {
            let freed = self.freed.notified();
            if self.plans().insert(plan) {
                return Turn { starting: self, plan };
            }
            freed.await;
        }
    }

    fn plans(&self) -> std::sync::MutexGuard<'_, HashSet<PlanId>> {
        self.plans.lock().expect("no code panics while it holds this lock")
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.starting.plans().remove(&self.plan);
        self.starting.freed.notify_waiters();
    }
}
