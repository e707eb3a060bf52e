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
pub(super) struct FairQueue {
    /// With what each has in flight.
    order: BTreeMap<Place, (PlanId, u32)>,
    places: HashMap<PlanId, Place>,
    arrivals: u64,
    /// The sums over all that wait.
    weight: u64,
    in_flight: u32,
}

/// Higher priority first, then who came first.
type Place = (Reverse<u8>, u64);

impl FairQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Puts a run that is not there yet at the end of its priority.
    pub(super) fn insert(&mut self, plan: PlanId, priority: u8, in_flight: u32) {
        let place = (Reverse(priority), self.arrivals);
        self.arrivals += 1;
        self.order.insert(place, (plan, in_flight));
        self.places.insert(plan, place);
        self.weight += u64::from(priority);
        self.in_flight += in_flight;
    }

    /// Takes a run out, if it is there.
    pub(super) fn remove(&mut self, plan: PlanId) {
        let Some(place) = self.places.remove(&plan) else { return };
        let Some((_, in_flight)) = self.order.remove(&place) else { return };
        self.weight -= u64::from(place.0.0);
        self.in_flight -= in_flight;
    }

    /// The first that have less than their share, while of `all` attempts that may be in flight
    /// `in_flight` are; as many as there is room. While there is room and anybody waits, somebody
    /// has less: together they have less than what is shared among them.
    pub(super) fn first(&self, all: u32, in_flight: u32) -> Vec<PlanId> {
        let room = all.saturating_sub(in_flight) as usize;
        let to_share = all.saturating_sub(in_flight - self.in_flight);
        let waiting = self.order.iter().filter(|((Reverse(priority), _), (_, has))| {
            *has < part(to_share, *priority, self.weight)
        });
        waiting.map(|(_, (plan, _))| *plan).take(room).collect()
    }

    /// The most attempts that a run of `priority` that is not in the queue may have in flight
    /// beside those that are, of `all` in which `others` are somebody else's. Without bound while
    /// nobody waits.
    pub(super) fn share(&self, all: u32, others: u32, priority: u8) -> u32 {
        if self.is_empty() {
            return u32::MAX;
        }
        let to_share = all.saturating_sub(others - self.in_flight);
        part(to_share, priority, self.weight + u64::from(priority))
    }
}

/// A run's part by its priority among `weight` of them; at least 1, and rounded up, so that no room
/// is left over.
fn part(to_share: u32, priority: u8, weight: u64) -> u32 {
    let part = (u64::from(to_share) * u64::from(priority)).div_ceil(weight.max(1));
    u32::try_from(part).unwrap_or(u32::MAX).max(1)
}
