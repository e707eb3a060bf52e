//! A graph as list scheduling walks it: plain arrays, forwards and backwards.

use crate::graph::DependencyGraph;
use crate::id::TaskIndex;

/// Who follows whom, and how long each takes.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) seconds: Vec<f64>,
    forward: Arcs,
    backward: Arcs,
}

/// Edges of one direction: task t leads to `ends[start[t]..start[t + 1]]`.
#[derive(Clone, Debug)]
pub(super) struct Arcs {
    start: Vec<u32>,
    ends: Vec<u32>,
}

impl Arcs {
    fn new(graph: &DependencyGraph, ends: impl Fn(TaskIndex) -> Vec<u32>) -> Arcs {
        let mut arcs = Arcs { start: vec![0], ends: Vec::new() };
        for task in graph.indices() {
            arcs.ends.extend(ends(task));
            arcs.start.push(arcs.ends.len() as u32);
        }
        arcs
    }

    pub(super) fn of(&self, task: u32) -> &[u32] {
        let task = task as usize;
        &self.ends[self.start[task] as usize..self.start[task + 1] as usize]
    }
}

impl Shape {
    pub(super) fn new(graph: &DependencyGraph, seconds: Vec<f64>) -> Shape {
        let out = |task| graph.edges_out(task).iter().map(|e| graph.edge(*e).to.0).collect();
        let into = |task| graph.edges_in(task).iter().map(|e| graph.edge(*e).from.0).collect();
        let (forward, backward) = (Arcs::new(graph, out), Arcs::new(graph, into));
        Shape { seconds, forward, backward }
    }

    pub(super) fn len(&self) -> usize {
        self.seconds.len()
    }

    pub(super) fn tasks(&self) -> std::ops::Range<u32> {
        0..self.len() as u32
    }

    /// Arcs of one direction and of the other.
    pub(super) fn arcs(&self, direction: Direction) -> (&Arcs, &Arcs) {
        match direction {
            Direction::Forward => (&self.forward, &self.backward),
            Direction::Backward => (&self.backward, &self.forward),
        }
    }
}

/// Which end of the plan comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Backward,
}
