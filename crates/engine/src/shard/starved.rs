//! The runs that have tasks ready and found no room among the attempts in flight, in the order in
//! which they get some: by priority, then first come first served.
//!
//! What the others do not use is shared among them in proportion to their priorities (weighted
//! max-min fairness: what one does not want goes to the rest), so that room is never idle while
//! somebody waits and a large run holds no more than its part once its attempts end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use l05_core::id::PlanId;

#[derive(Debug, Default)]
pub(super) struct Starved {
    order: BTreeMap<Place, PlanId>,
    waiting: HashMap<PlanId, Waiting>,
    arrivals: u64,
    /// The sums over all that wait.
    weight: u64,
    in_flight: u32,
}

/// Higher priority first, then who came first.
type Place = (Reverse<u8>, u64);

#[derive(Debug)]
struct Waiting {
    place: Place,
    in_flight: u32,
}

impl Starved {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Puts a run that is not there yet at the end of its priority.
    pub(super) fn insert(&mut self, plan: PlanId, priority: u8, in_flight: u32) {
        let place = (Reverse(priority), self.arrivals);
        self.arrivals += 1;
        self.order.insert(place, plan);
        self.waiting.insert(plan, Waiting { place, in_flight });
        self.weight += u64::from(priority);
        self.in_flight += in_flight;
    }

    /// Takes a run out, if it is there.
    pub(super) fn remove(&mut self, plan: PlanId) {
        let Some(Waiting { place, in_flight }) = self.waiting.remove(&plan) else { return };
        self.order.remove(&place);
        self.weight -= u64::from(place.0.0);
        self.in_flight -= in_flight;
    }

    /// The first `count` in order.
    pub(super) fn first(&self, count: usize) -> Vec<PlanId> {
        self.order.values().take(count).copied().collect()
    }

    /// How many attempts a run of `priority` that is not in the queue may have in flight beside
    /// those that are, of `all` in which `others` are somebody else's. At least 1; without bound
    /// while nobody waits. Rounded up, so that no room is left over.
    pub(super) fn share(&self, all: u32, others: u32, priority: u8) -> u32 {
        if self.is_empty() {
            return u32::MAX;
        }
        let not_waiting = others - self.in_flight;
        let to_share = u64::from(all.saturating_sub(not_waiting));
        let weight = u64::from(priority);
        let share = (to_share * weight).div_ceil(self.weight + weight).max(1);
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}
