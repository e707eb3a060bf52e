//! A short local search for a better list, for plans that are small enough.
//!
//! Each list is improved by scheduling backwards in the order in which tasks end, and forwards
//! again in the order in which they then begin (Li and Willis, "An iterative scheduling technique
//! for resource-constrained project scheduling", 1992). Then a few tasks change their places, and a
//! list that is no worse is kept. Deterministic: the seed decides all, and the effort is a count of
//! steps, not of seconds.

use super::list::ListScheduler;
use super::shape::{JobShape, TimeDirection};
use crate::random::splitmix64;

/// Tasks scheduled in all; a step is some 30 ns, so this is about 20 ms.
const STEPS_MAX: usize = 600_000;
/// Schedules made at least; small plans have few lists worth trying.
const SCHEDULES_MIN: usize = 400;
/// Plans with more tasks than this are scheduled by the rules alone.
const SEARCH_TASKS_MAX: usize = 5_000;

/// The best list found and its makespan. `rules` are lists to begin with; the search ends when it
/// reaches `bound`.
pub(super) fn search(
    shape: &JobShape,
    workers: usize,
    rules: Vec<Vec<u32>>,
    bound: f64,
    seed: u64,
) -> (Vec<u32>, f64) {
    let mut search = LocalSearch {
        lister: ListScheduler::new(shape, workers),
        steps: 0,
        draw: DrawSequence(seed),
    };
    let mut best: Option<(Vec<u32>, f64)> = None;
    let reached = |makespan: f64| makespan <= bound * (1.0 + 1e-12);
    for mut list in rules {
        let makespan = search.improve(&mut list);
        if best.as_ref().is_none_or(|(_, least)| makespan < *least) {
            best = Some((list, makespan));
        }
        if best.as_ref().is_some_and(|(_, least)| reached(*least)) {
            break;
        }
    }
    let (mut best, mut least) = best.expect("there is at least one rule");
    if shape.len() > SEARCH_TASKS_MAX || shape.len() < 3 {
        return (best, least);
    }
    let (mut current, mut now) = (best.clone(), least);
    let mut stale = 0;
    let tasks = shape.len();
    let steps_max = STEPS_MAX.min(tasks * SCHEDULES_MIN.max(3 * tasks * tasks));
    while !reached(least) && search.steps < steps_max {
        let mut list = current.clone();
        search.disturb(&mut list, 1 + stale / 40);
        let makespan = search.improve(&mut list);
        if makespan < least {
            (best, least) = (list.clone(), makespan);
        }
        stale = if makespan < now { 0 } else { stale + 1 };
        if makespan <= now {
            (current, now) = (list, makespan);
        } else if stale > STALE_MAX {
            // From here nothing nearby is better: begin again near the best.
            (current, now) = (best.clone(), least);
            search.disturb(&mut current, shape.len() / 4);
            now = now.max(search.improve(&mut current));
            stale = 0;
        }
    }
    (best, least)
}

/// Steps without a better list before the search moves elsewhere.
const STALE_MAX: usize = 160;

struct LocalSearch<'s> {
    lister: ListScheduler<'s>,
    steps: usize,
    draw: DrawSequence,
}

impl LocalSearch<'_> {
    /// Forwards, then backwards and forwards as long as that helps. The list ends up in the order
    /// of starts.
    fn improve(&mut self, list: &mut Vec<u32>) -> f64 {
        let mut makespan = self.schedule(list, TimeDirection::Forward);
        loop {
            let mut other = list.clone();
            self.by_end(&mut other);
            self.schedule(&other, TimeDirection::Backward);
            self.by_end(&mut other);
            let again = self.schedule(&other, TimeDirection::Forward);
            if again > makespan {
                return makespan;
            }
            let better = again < makespan;
            *list = other;
            makespan = again;
            if !better {
                return makespan;
            }
        }
    }

    fn schedule(&mut self, list: &[u32], direction: TimeDirection) -> f64 {
        self.steps += list.len();
        self.lister.makespan(list, direction)
    }

    /// Sorts by the end in the last schedule, the latest first: they begin the schedule of the
    /// other direction.
    fn by_end(&self, list: &mut [u32]) {
        let (start, seconds) = (&self.lister.start, &self.lister.shape().seconds);
        let end = |task: u32| start[task as usize] + seconds[task as usize];
        list.sort_by(|a, b| end(*b).total_cmp(&end(*a)));
    }

    fn disturb(&mut self, list: &mut Vec<u32>, moves: usize) {
        for _ in 0..moves.max(1) {
            let from = self.draw.below(list.len());
            let reach = 4.max(list.len() / 6);
            let to = (from + self.draw.below(2 * reach + 1)).saturating_sub(reach);
            let task = list.remove(from);
            list.insert(to.min(list.len()), task);
        }
    }
}

/// A sequence of draws that the seed decides.
struct DrawSequence(u64);

impl DrawSequence {
    fn below(&mut self, end: usize) -> usize {
        let drawn = splitmix64(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (drawn % end.max(1) as u64) as usize
    }
}
