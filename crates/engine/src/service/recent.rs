//! Plans proven by this process a moment ago and not executed yet.
//!
//! A [`Plan`] is its own proof, so executing one that was just created needs neither the store's
//! copy nor another check of its signature. Handed out once: whoever executes it takes it along.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use l05_core::id::PlanId;
use l05_core::plan::Plan;

/// The most tasks that the kept plans may have together: some 50 MB at most.
const TASKS_MAX: usize = 25_000;

/// So many names more than plans are put up with.
const ORDER_SLACK: usize = 64;

#[derive(Default)]
pub(super) struct RecentPlans {
    // Short and synchronous: never held across an await.
    kept: Mutex<KeptPlans>,
}

#[derive(Default)]
struct KeptPlans {
    plans: HashMap<PlanId, Arc<Plan>>,
    /// Oldest first; may name plans that were taken.
    order: VecDeque<PlanId>,
    tasks: usize,
}

impl RecentPlans {
    pub(super) fn keep(&self, plan: &Arc<Plan>) {
        // It would push out all others and then itself.
        if plan.graph().len() > TASKS_MAX {
            return;
        }
        let mut kept = self.kept.lock().expect("no code panics while it holds this lock");
        kept.tasks += plan.graph().len();
        kept.order.push_back(plan.id());
        kept.plans.insert(plan.id(), plan.clone());
        // Names of taken plans would gather beside one that nobody takes.
        if kept.order.len() > 2 * kept.plans.len() + ORDER_SLACK {
            let KeptPlans { plans, order, .. } = &mut *kept;
            order.retain(|id| plans.contains_key(id));
        }
        while kept.tasks > TASKS_MAX {
            let Some(oldest) = kept.order.pop_front() else { break };
            if let Some(plan) = kept.plans.remove(&oldest) {
                kept.tasks -= plan.graph().len();
            }
        }
    }

    pub(super) fn take(&self, id: PlanId) -> Option<Arc<Plan>> {
        let mut kept = self.kept.lock().expect("no code panics while it holds this lock");
        let plan = kept.plans.remove(&id)?;
        kept.tasks -= plan.graph().len();
        Some(plan)
    }
}
