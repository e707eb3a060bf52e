//! When each task can start, must start, and how much that leaves.

use super::{DependencyGraph, EdgeIndex};
use crate::id::TaskIndex;

/// Times of all tasks with unlimited room, in seconds from the start of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskTiming {
    /// The earliest start: when the longest chain before the task has ended.
    pub earliest_start: Vec<f64>,
    /// The latest start that does not delay the end of the plan.
    pub latest_start: Vec<f64>,
    /// The time at which the longest chain ends.
    pub end: f64,
}

impl TaskTiming {
    /// The time that a task may be late without delaying the plan; 0 on the critical path.
    pub fn slack(&self, task: TaskIndex) -> f64 {
        let slack = self.latest_start[task.at()] - self.earliest_start[task.at()];
        // What is left of a difference of sums is no slack.
        if slack > 1e-9 * self.end.max(1.0) { slack } else { 0.0 }
    }
}

/// The most work that looking for redundant edges may take, in edges visited per edge of the graph:
/// so that it stays linear. What is not reached is not told.
const VISITS_PER_EDGE: usize = 64;

impl DependencyGraph {
    /// The critical-path method, forwards and backwards (Kelley and Walker, 1959).
    pub fn timing(&self, seconds: &[f64]) -> TaskTiming {
        let mut earliest_start = vec![0.0f64; self.len()];
        for task in self.order() {
            let ready = earliest_start[task.at()] + seconds[task.at()];
            for edge in self.edges_out(*task) {
                let next = &mut earliest_start[self.edge(*edge).to.at()];
                *next = next.max(ready);
            }
        }
        let rank = self.upward_rank(seconds);
        let end = rank.iter().copied().fold(0.0, f64::max);
        let latest_start = rank.iter().map(|rank| end - rank).collect();
        TaskTiming { earliest_start, latest_start, end }
    }

    /// Edges that another path implies: taking one away changes no order. Edges that carry data or
    /// a condition are needed all the same; the caller knows which do. `lenient` tasks say nothing
    /// about what they need having completed: no path leads through them.
    pub fn redundant_edges(&self, lenient: impl Fn(TaskIndex) -> bool) -> Vec<EdgeIndex> {
        let mut redundant = Vec::new();
        let mut seen = vec![u32::MAX; self.len()];
        let mut budget = VISITS_PER_EDGE * self.edges().len().max(1);
        for to in self.indices() {
            let needed = self.edges_in(to);
            if needed.len() < 2 {
                continue;
            }
            // Walk up from what `to` needs, never above the highest of it: a need that is met on
            // the way is implied by another.
            let top = needed.iter().map(|e| self.level(self.edge(*e).from)).min().unwrap_or(0);
            let mut stack: Vec<TaskIndex> = needed.iter().map(|e| self.edge(*e).from).collect();
            stack.retain(|task| !lenient(*task));
            while let Some(task) = stack.pop() {
                for edge in self.edges_in(task) {
                    budget = budget.saturating_sub(1);
                    let before = self.edge(*edge).from;
                    if self.level(before) >= top && seen[before.at()] != to.0 {
                        seen[before.at()] = to.0;
                        if !lenient(before) {
                            stack.push(before);
                        }
                    }
                }
                if budget == 0 {
                    return redundant;
                }
            }
            redundant.extend(needed.iter().filter(|e| seen[self.edge(**e).from.at()] == to.0));
        }
        redundant
    }
}
