//! List scheduling on equal workers: whenever one is free, it takes the first ready task of a list
//! (Graham, "Bounds on multiprocessing timing anomalies", 1969).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::shape::{JobShape, TimeDirection};

/// Schedules one shape again and again; keeps its buffers between calls.
pub(super) struct ListScheduler<'s> {
    shape: &'s JobShape,
    workers: usize,
    /// Dependencies of each task, forwards and backwards.
    needs: [Vec<u32>; 2],
    waiting: Vec<u32>,
    /// Places in the list of the tasks that may start.
    ready: BinaryHeap<Reverse<u32>>,
    /// The times at which the running tasks end. Times are not negative: their bits order as they
    /// do.
    running: BinaryHeap<Reverse<(u64, u32)>>,
    place: Vec<u32>,
    /// The start of each task, of the last call.
    pub(super) start: Vec<f64>,
    /// The tasks in the order in which they started.
    pub(super) started: Vec<u32>,
}

impl<'s> ListScheduler<'s> {
    pub(super) fn new(shape: &'s JobShape, workers: usize) -> ListScheduler<'s> {
        let needs = [TimeDirection::Forward, TimeDirection::Backward].map(|direction| {
            let (_, into) = shape.arcs(direction);
            shape.tasks().map(|task| into.of(task).len() as u32).collect()
        });
        ListScheduler {
            shape,
            workers: workers.clamp(1, shape.len().max(1)),
            needs,
            waiting: Vec::new(),
            ready: BinaryHeap::new(),
            running: BinaryHeap::new(),
            place: vec![0; shape.len()],
            start: vec![0.0; shape.len()],
            started: Vec::with_capacity(shape.len()),
        }
    }

    pub(super) fn shape(&self) -> &'s JobShape {
        self.shape
    }

    /// The time that everything takes when tasks are preferred in the order of `list`.
    pub(super) fn makespan(&mut self, list: &[u32], direction: TimeDirection) -> f64 {
        let (out, _) = self.shape.arcs(direction);
        let needs = &self.needs[usize::from(direction == TimeDirection::Backward)];
        self.started.clear();
        self.waiting.clone_from(needs);
        for (place, task) in list.iter().enumerate() {
            self.place[*task as usize] = place as u32;
            if needs[*task as usize] == 0 {
                self.ready.push(Reverse(place as u32));
            }
        }
        let (mut now, mut free) = (0.0f64, self.workers);
        loop {
            while free > 0
                && let Some(Reverse(place)) = self.ready.pop()
            {
                let task = list[place as usize];
                self.start[task as usize] = now;
                self.started.push(task);
                let end = now + self.shape.seconds[task as usize];
                self.running.push(Reverse((end.to_bits(), task)));
                free -= 1;
            }
            let Some(Reverse((end, task))) = self.running.pop() else { return now };
            now = f64::from_bits(end);
            self.finish(task, out);
            free += 1;
            // Everything that ends now ends before anything starts.
            while let Some(Reverse((other, task))) = self.running.peek().copied()
                && other == end
            {
                self.running.pop();
                self.finish(task, out);
                free += 1;
            }
        }
    }

    fn finish(&mut self, task: u32, out: &super::shape::ArcList) {
        for next in out.of(task) {
            let waiting = &mut self.waiting[*next as usize];
            *waiting -= 1;
            if *waiting == 0 {
                self.ready.push(Reverse(self.place[*next as usize]));
            }
        }
    }
}
