//! How short a schedule on equal workers can possibly be.

use super::shape::{JobShape, TimeDirection};

/// Beyond this many tasks the interval bound, which is cubic, is left out.
const INTERVAL_TASKS_MAX: usize = 160;

/// The longest chain, in seconds, and for each task the time that must pass before it can start
/// (`head`) and after it has ended (`tail`).
pub(super) struct LongestChains {
    pub(super) critical: f64,
    pub(super) head: Vec<f64>,
    pub(super) tail: Vec<f64>,
}

pub(super) fn chains(shape: &JobShape, order: &[u32]) -> LongestChains {
    let (out, into) = shape.arcs(TimeDirection::Forward);
    let mut head = vec![0.0f64; shape.len()];
    for task in order {
        let ends = into.of(*task).iter().map(|p| head[*p as usize] + shape.seconds[*p as usize]);
        head[*task as usize] = ends.fold(0.0, f64::max);
    }
    let mut tail = vec![0.0f64; shape.len()];
    for task in order.iter().rev() {
        let rest = out.of(*task).iter().map(|n| tail[*n as usize] + shape.seconds[*n as usize]);
        tail[*task as usize] = rest.fold(0.0, f64::max);
    }
    let through = |t: u32| head[t as usize] + shape.seconds[t as usize] + tail[t as usize];
    let critical = shape.tasks().map(through).fold(0.0, f64::max);
    LongestChains { critical, head, tail }
}

/// The longest of three bounds: the critical path, the work divided by the workers, and for small
/// plans the work that must fall into an interval (Fernandez and Bussell, "Bounds on the number of
/// processors and time for multiprocessor optimal schedules", 1973).
pub(super) fn lower_bound(shape: &JobShape, workers: usize, chains: &LongestChains) -> f64 {
    let work: f64 = shape.seconds.iter().sum();
    let simple = chains.critical.max(work / workers as f64);
    if shape.len() > INTERVAL_TASKS_MAX || workers >= shape.len() {
        return simple;
    }
    simple.max(interval_bound(shape, workers as f64, chains, simple))
}

/// In any schedule of length `target`, each task runs inside its window; where the windows force
/// more work into an interval than the workers can do, the schedule is longer by the excess.
fn interval_bound(shape: &JobShape, workers: f64, chains: &LongestChains, target: f64) -> f64 {
    let latest = |t: usize| target - chains.tail[t];
    let mut begins: Vec<f64> = chains.head.clone();
    let mut ends: Vec<f64> = (0..shape.len()).map(latest).collect();
    for points in [&mut begins, &mut ends] {
        points.sort_by(f64::total_cmp);
        points.dedup();
    }
    let mut excess = 0.0f64;
    for begin in &begins {
        for end in ends.iter().filter(|end| *end > begin) {
            let forced: f64 = (0..shape.len())
                .map(|t| {
                    let seconds = shape.seconds[t];
                    // Pushed as far left, and as far right, as its window allows.
                    let left = (chains.head[t] + seconds).min(*end) - begin;
                    let right = end - (latest(t) - seconds).max(*begin);
                    left.min(right).min(seconds).min(end - begin).max(0.0)
                })
                .sum();
            excess = excess.max((forced - workers * (end - begin)) / workers);
        }
    }
    target + excess
}
