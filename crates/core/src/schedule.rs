//! Who does what when: schedules of a task graph on workers, before anything runs.
//!
//! Called by `simulate`, by estimates (how long a plan takes at its parallelism) and by forecasts
//! of running plans. Equal workers are scheduled by lists and a short local search; unlike ones by
//! earliest finish time, or by one of the other routing strategies. The same input and seed give
//! the same schedule.

mod bound;
mod gantt;
mod heterogeneous;
mod list;
mod routing;
mod search;
mod shape;
mod worker;

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::agent::AgentAssignment;
use crate::graph::DependencyGraph;
use crate::id::TaskIndex;

pub use gantt::gantt;
pub use routing::{AgentFit, RoutingStrategy};
pub use worker::{ScheduleWorker, WorkerPool, read_workers};

use shape::{JobShape, TimeDirection};

/// Tasks that are to be scheduled.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleJob<'a> {
    /// The dependencies.
    pub graph: &'a DependencyGraph,
    /// The time of each task on a worker of speed 1, in seconds; not negative.
    pub seconds: &'a [f64],
    /// The capabilities that each task needs of its worker; empty for plans whose workers are
    /// equal.
    pub needs: &'a [Vec<String>],
}

/// One task's place in a schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScheduledTask {
    /// The task.
    pub task: TaskIndex,
    /// The worker, counted from 0.
    pub worker: u32,
    /// The start, in seconds from the start of the plan.
    pub start: f64,
    /// The end, in the same unit.
    pub finish: f64,
}

/// A schedule with how good it can be.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// All tasks, by start, then by index.
    pub slots: Vec<ScheduledTask>,
    /// The time at which the last task ends, in seconds.
    pub makespan: f64,
    /// No schedule on these workers is shorter, in seconds.
    pub lower_bound: f64,
    /// The longest chain, in seconds.
    pub critical_path: f64,
    /// All tasks one after the other on a worker of speed 1, in seconds.
    pub work: f64,
    /// The chosen workers among unlike ones with the reasons, in the order of the choices.
    pub assignments: Vec<AgentAssignment>,
}

/// Tasks that no worker can do.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[error("no worker can do {} of the tasks", tasks.len())]
pub struct UnplaceableTasks {
    /// The tasks and what each needs.
    pub tasks: Vec<(u32, Vec<String>)>,
}

impl Schedule {
    /// The excess over the least possible time: 0 is optimal.
    pub fn gap(&self) -> f64 {
        if self.lower_bound > 0.0 { (self.makespan / self.lower_bound - 1.0).max(0.0) } else { 0.0 }
    }
}

/// Schedules a job.
pub fn schedule(
    job: &ScheduleJob<'_>,
    pool: &WorkerPool,
    routing: RoutingStrategy,
    seed: u64,
) -> Result<Schedule, UnplaceableTasks> {
    let shape = JobShape::new(job.graph, job.seconds.to_vec());
    match pool {
        WorkerPool::Unlimited => Ok(on_equal(job.graph, &shape, shape.len().max(1), seed)),
        WorkerPool::Equal(workers) => {
            Ok(on_equal(job.graph, &shape, (*workers).max(1) as usize, seed))
        }
        WorkerPool::Unlike(workers) => heterogeneous::schedule(job, &shape, workers, routing, seed),
    }
}

/// The time that the tasks take on so many equal workers by the critical-path rule alone, in
/// seconds: what a run does, at the cost of one pass.
pub fn makespan(graph: &DependencyGraph, seconds: &[f64], workers: u32) -> f64 {
    let rank = graph.upward_rank(seconds);
    let chain = rank.iter().copied().fold(0.0, f64::max);
    // Nothing ever waits for a worker.
    if graph.len() <= workers as usize {
        return chain;
    }
    let shape = JobShape::new(graph, seconds.to_vec());
    let list = by_rank(graph, seconds);
    list::ListScheduler::new(&shape, workers as usize).makespan(&list, TimeDirection::Forward)
}

fn by_rank(graph: &DependencyGraph, seconds: &[f64]) -> Vec<u32> {
    let rank = graph.upward_rank(seconds);
    let mut list: Vec<u32> = graph.indices().map(|task| task.0).collect();
    list.sort_by(|a, b| rank[*b as usize].total_cmp(&rank[*a as usize]));
    list
}

fn on_equal(graph: &DependencyGraph, shape: &JobShape, workers: usize, seed: u64) -> Schedule {
    let order: Vec<u32> = graph.order().iter().map(|task| task.0).collect();
    let chains = bound::chains(shape, &order);
    let lower_bound = bound::lower_bound(shape, workers, &chains);
    let by_rank = by_rank(graph, &shape.seconds);
    let (list, makespan) = if workers >= shape.len() {
        (by_rank, chains.critical)
    } else {
        let rules = rules(shape, by_rank);
        search::search(shape, workers, rules, lower_bound, seed)
    };
    let mut lister = list::ListScheduler::new(shape, workers);
    let reached = lister.makespan(&list, TimeDirection::Forward);
    debug_assert!(reached <= makespan * (1.0 + 1e-9) + 1e-9, "a list gives the same again");
    Schedule {
        slots: placed(shape, &lister, workers),
        makespan: reached,
        lower_bound: lower_bound.min(reached),
        critical_path: chains.critical,
        work: shape.seconds.iter().sum(),
        assignments: Vec::new(),
    }
}

/// Lists to begin the search with: the longest way to the end first, ties by how many tasks follow.
fn rules(shape: &JobShape, by_rank: Vec<u32>) -> Vec<Vec<u32>> {
    let (out, _) = shape.arcs(TimeDirection::Forward);
    let mut by_followers = by_rank.clone();
    by_followers.sort_by_key(|task| std::cmp::Reverse(out.of(*task).len()));
    let mut by_length = by_rank.clone();
    by_length.sort_by(|a, b| shape.seconds[*b as usize].total_cmp(&shape.seconds[*a as usize]));
    vec![by_rank, by_followers, by_length]
}

/// Gives each task a worker that is free at its start, the one of the lowest number, in the order in
/// which the list started them.
fn placed(
    shape: &JobShape,
    lister: &list::ListScheduler<'_>,
    workers: usize,
) -> Vec<ScheduledTask> {
    use std::cmp::Reverse;
    use std::collections::{BTreeSet, BinaryHeap};
    let mut free: BTreeSet<u32> = (0..workers.min(shape.len()) as u32).collect();
    let mut busy: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::new();
    let mut slots = Vec::with_capacity(shape.len());
    for task in &lister.started {
        let task = *task;
        let begin = lister.start[task as usize];
        while let Some(Reverse((end, worker))) = busy.peek().copied()
            && f64::from_bits(end) <= begin
        {
            busy.pop();
            free.insert(worker);
        }
        let worker = free.pop_first().expect("a list never starts more tasks than workers");
        let finish = begin + shape.seconds[task as usize];
        busy.push(Reverse((finish.to_bits(), worker)));
        slots.push(ScheduledTask { task: TaskIndex(task), worker, start: begin, finish });
    }
    slots
}
