//! Schedules on workers that differ in speed, room, capabilities and cost.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::routing::RoutingStrategy;
use super::routing::WorkerOffer;
use super::shape::{JobShape, TimeDirection};
use super::worker::ScheduleWorker;
use super::{Schedule, ScheduleJob, ScheduledTask, UnplaceableTasks, bound};
use crate::agent::{AgentAssignment, AgentCandidate, ScoreParts};
use crate::id::TaskIndex;
use crate::random::splitmix64;

/// Rounds of the search for a better order, and the largest job that is searched.
const ROUNDS_MAX: usize = 200;
const STEPS_MAX: usize = 1_000_000;
/// The most alternatives that an assignment keeps.
const ALTERNATIVES_MAX: usize = 3;

pub(super) fn schedule(
    job: &ScheduleJob<'_>,
    shape: &JobShape,
    workers: &[ScheduleWorker],
    routing: RoutingStrategy,
    seed: u64,
) -> Result<Schedule, UnplaceableTasks> {
    let placing = WorkerPlacing::new(job, shape, workers)?;
    let order: Vec<u32> = job.graph.order().iter().map(|task| task.0).collect();
    let mut list = placing.by_rank(job);
    let mut best = placing.place(&list, routing, false);
    if routing == RoutingStrategy::Balanced {
        let rounds = ROUNDS_MAX.min(STEPS_MAX / (shape.len() * workers.len()).max(1));
        for round in 0..rounds as u64 {
            let mut other = list.clone();
            placing.disturb(&mut other, seed ^ round.rotate_left(17));
            let placed = placing.place(&other, routing, false);
            if placed.makespan < best.makespan {
                (best, list) = (placed, other);
            }
        }
    }
    let placed = placing.place(&list, routing, true);
    let chains = bound::chains(shape, &order);
    let lower_bound = placing.lower_bound(&order).min(placed.makespan);
    let mut slots = placed.slots;
    slots.sort_by(|a, b| a.start.total_cmp(&b.start).then(a.task.cmp(&b.task)));
    Ok(Schedule {
        slots,
        makespan: best.makespan.min(placed.makespan),
        lower_bound,
        critical_path: chains.critical,
        work: shape.seconds.iter().sum(),
        assignments: placed.assignments,
    })
}

struct WorkerPlacing<'a> {
    shape: &'a JobShape,
    needs: &'a [Vec<String>],
    workers: &'a [ScheduleWorker],
    /// The workers that can do what is needed, for each need that there is; and each task's place
    /// among these.
    groups: Vec<Vec<u32>>,
    group: Vec<u32>,
}

struct PlacedTask {
    slots: Vec<ScheduledTask>,
    makespan: f64,
    assignments: Vec<AgentAssignment>,
}

/// The state of one pass.
struct SchedulePass {
    /// The times at which the lanes of each worker are free, the earliest first. Times are not
    /// negative: their bits order as they do.
    lanes: Vec<BinaryHeap<Reverse<u64>>>,
    /// Seconds of work given to each worker.
    load: Vec<f64>,
    finish: Vec<f64>,
    worker: Vec<u32>,
    turn: usize,
}

impl<'a> WorkerPlacing<'a> {
    fn new(
        job: &ScheduleJob<'a>,
        shape: &'a JobShape,
        workers: &'a [ScheduleWorker],
    ) -> Result<WorkerPlacing<'a>, UnplaceableTasks> {
        let needs = |task: u32| job.needs.get(task as usize).map_or(&[][..], Vec::as_slice);
        let mut known: HashMap<&[String], u32> = HashMap::new();
        let (mut groups, mut group) = (Vec::new(), Vec::with_capacity(shape.len()));
        for task in shape.tasks() {
            let place = *known.entry(needs(task)).or_insert_with(|| {
                let can = |w: &u32| workers[*w as usize].can_do(needs(task));
                groups.push((0..workers.len() as u32).filter(can).collect::<Vec<u32>>());
                groups.len() as u32 - 1
            });
            group.push(place);
        }
        let stuck = shape.tasks().filter(|task| groups[group[*task as usize] as usize].is_empty());
        let tasks: Vec<(u32, Vec<String>)> = stuck.map(|t| (t, needs(t).to_vec())).collect();
        if tasks.is_empty() {
            Ok(WorkerPlacing { shape, needs: job.needs, workers, groups, group })
        } else {
            Err(UnplaceableTasks { tasks })
        }
    }

    fn able(&self, task: u32) -> &[u32] {
        &self.groups[self.group[task as usize] as usize]
    }

    fn seconds(&self, task: u32, worker: u32) -> f64 {
        self.shape.seconds[task as usize] / self.workers[worker as usize].speed
    }

    /// Upward rank by the mean time over the workers that can do each task.
    fn by_rank(&self, job: &ScheduleJob<'_>) -> Vec<u32> {
        let mean = |task: u32| {
            let able = self.able(task);
            able.iter().map(|w| self.seconds(task, *w)).sum::<f64>() / able.len() as f64
        };
        let seconds: Vec<f64> = self.shape.tasks().map(mean).collect();
        super::by_rank(job.graph, &seconds)
    }

    /// Places all tasks, each as soon as what it needs is placed, in the order of the list.
    fn place(&self, list: &[u32], routing: RoutingStrategy, explain: bool) -> PlacedTask {
        let (out, into) = self.shape.arcs(TimeDirection::Forward);
        let mut pass = SchedulePass {
            lanes: self
                .workers
                .iter()
                // More lanes than tasks would only stand idle.
                .map(|w| vec![Reverse(0u64); (w.slots as usize).min(list.len())].into())
                .collect(),
            load: vec![0.0; self.workers.len()],
            finish: vec![0.0; list.len()],
            worker: vec![0; list.len()],
            turn: 0,
        };
        let mut place = vec![0u32; list.len()];
        for (at, task) in list.iter().enumerate() {
            place[*task as usize] = at as u32;
        }
        let mut waiting: Vec<usize> = self.shape.tasks().map(|t| into.of(t).len()).collect();
        let mut ready: BinaryHeap<Reverse<u32>> = self
            .shape
            .tasks()
            .filter(|t| waiting[*t as usize] == 0)
            .map(|t| Reverse(place[t as usize]))
            .collect();
        let (mut slots, mut assignments) = (Vec::with_capacity(list.len()), Vec::new());
        while let Some(Reverse(at)) = ready.pop() {
            let task = list[at as usize];
            let from = into.of(task).iter().map(|p| pass.finish[*p as usize]).fold(0.0, f64::max);
            let worker = self.choose(task, from, routing, &mut pass, into.of(task));
            if explain {
                assignments.push(self.explain(task, worker, from, &pass, into.of(task)));
            }
            slots.push(self.take(task, worker, from, &mut pass));
            for next in out.of(task) {
                waiting[*next as usize] -= 1;
                if waiting[*next as usize] == 0 {
                    ready.push(Reverse(place[*next as usize]));
                }
            }
        }
        let makespan = pass.finish.iter().copied().fold(0.0, f64::max);
        PlacedTask { slots, makespan, assignments }
    }

    fn choose(
        &self,
        task: u32,
        from: f64,
        routing: RoutingStrategy,
        pass: &mut SchedulePass,
        needed: &[u32],
    ) -> u32 {
        let able = self.able(task);
        if routing.takes_turns() {
            let chosen = able[pass.turn % able.len()];
            pass.turn += 1;
            return chosen;
        }
        let key = |w: u32| {
            let worker = &self.workers[w as usize];
            let offer = WorkerOffer {
                finish: self.finish_on(task, w, from, pass),
                breadth: Some(worker.capabilities.len()).filter(|all| *all > 0),
                load: pass.load[w as usize],
                related: needed.iter().filter(|p| pass.worker[**p as usize] == w).count(),
            };
            // The one that ends first among equals, then the cheaper one, then the earlier in the file.
            (routing.cost(&offer), offer.finish, worker.cost_per_hour)
        };
        let by = |a: &(u32, (f64, f64, f64)), b: &(u32, (f64, f64, f64))| {
            let ((_, a), (_, b)) = (a, b);
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2))
        };
        let cheapest = able.iter().map(|w| (*w, key(*w))).min_by(by);
        cheapest.expect("every task has a worker that can do it").0
    }

    fn finish_on(&self, task: u32, worker: u32, from: f64, pass: &SchedulePass) -> f64 {
        let free = pass.lanes[worker as usize].peek().map_or(0.0, |lane| f64::from_bits(lane.0));
        from.max(free) + self.seconds(task, worker)
    }

    fn take(&self, task: u32, worker: u32, from: f64, pass: &mut SchedulePass) -> ScheduledTask {
        let lanes = &mut pass.lanes[worker as usize];
        let free = lanes.pop().map_or(0.0, |lane| f64::from_bits(lane.0));
        let start = from.max(free);
        let seconds = self.seconds(task, worker);
        lanes.push(Reverse((start + seconds).to_bits()));
        pass.load[worker as usize] += seconds;
        pass.finish[task as usize] = start + seconds;
        pass.worker[task as usize] = worker;
        ScheduledTask { task: TaskIndex(task), worker, start, finish: start + seconds }
    }

    /// Explains the choice of a worker: the parts of everybody's score at the moment of the choice.
    fn explain(
        &self,
        task: u32,
        chosen: u32,
        from: f64,
        pass: &SchedulePass,
        needed: &[u32],
    ) -> AgentAssignment {
        let able = self.able(task);
        let finish = |w: u32| self.finish_on(task, w, from, pass);
        let first = able.iter().map(|w| finish(*w)).fold(f64::MAX, f64::min);
        let most = pass.load.iter().copied().fold(0.0, f64::max);
        let wanted = self.needs.get(task as usize).map_or(0, Vec::len);
        let candidate = |w: u32| {
            let worker = &self.workers[w as usize];
            let shared = needed.iter().filter(|p| pass.worker[**p as usize] == w).count();
            let capability = match worker.capabilities.len() {
                0 => 0.5,
                all => wanted.max(1) as f64 / all.max(1) as f64,
            };
            let load = if most > 0.0 { 1.0 - pass.load[w as usize] / most } else { 1.0 };
            let affinity =
                if needed.is_empty() { 0.0 } else { shared as f64 / needed.len() as f64 };
            let score = if finish(w) > 0.0 { first / finish(w) } else { 1.0 };
            let parts = ScoreParts { capability: capability.min(1.0), load, affinity };
            AgentCandidate { agent_id: worker.id.clone(), score, parts }
        };
        let mut others: Vec<AgentCandidate> =
            able.iter().filter(|w| **w != chosen).map(|w| candidate(*w)).collect();
        others.sort_by(|a, b| b.score.total_cmp(&a.score));
        others.truncate(ALTERNATIVES_MAX);
        AgentAssignment {
            task_id: task.to_string(),
            chosen: candidate(chosen),
            alternatives: others,
        }
    }

    fn disturb(&self, list: &mut Vec<u32>, seed: u64) {
        let draw = |salt: u64, end: usize| (splitmix64(seed ^ salt) % end.max(1) as u64) as usize;
        if list.is_empty() {
            return;
        }
        for step in 0..2 {
            let from = draw(step * 2 + 1, list.len());
            let task = list.remove(from);
            list.insert(draw(step * 2 + 2, list.len() + 1), task);
        }
    }

    /// Every task on the fastest worker that can do it: the longest chain, and all the work over
    /// all lanes.
    fn lower_bound(&self, order: &[u32]) -> f64 {
        let fastest = |task: u32| {
            let able = self.able(task);
            able.iter().map(|w| self.seconds(task, *w)).fold(f64::MAX, f64::min)
        };
        let (_, into) = self.shape.arcs(TimeDirection::Forward);
        let mut finish = vec![0.0f64; order.len()];
        for task in order {
            let from = into.of(*task).iter().map(|p| finish[*p as usize]).fold(0.0, f64::max);
            finish[*task as usize] = from + fastest(*task);
        }
        let chain = finish.into_iter().fold(0.0, f64::max);
        let room: f64 = self.workers.iter().map(|w| w.speed * f64::from(w.slots)).sum();
        chain.max(self.shape.seconds.iter().sum::<f64>() / room)
    }
}
