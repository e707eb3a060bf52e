//! A graph as list scheduling walks it: plain arrays, forwards and backwards.

use crate::graph::DependencyGraph;
use crate::id::TaskIndex;

/// Successors and durations of all tasks.
#[derive(Clone, Debug)]
pub(super) struct JobShape {
    pub(super) seconds: Vec<f64>,
    forward: ArcList,
    backward: ArcList,
}

/// Edges of one direction: task t leads to `ends[start[t]..start[t + 1]]`.
#[derive(Clone, Debug)]
pub(super) struct ArcList {
    start: Vec<u32>,
    ends: Vec<u32>,
}

impl ArcList {
    fn new(graph: &DependencyGraph, ends: impl Fn(TaskIndex) -> Vec<u32>) -> ArcList {
        let mut arcs = ArcList { start: vec![0], ends: Vec::new() };
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

impl JobShape {
    pub(super) fn new(graph: &DependencyGraph, seconds: Vec<f64>) -> JobShape {
        let out = |task| graph.edges_out(task).iter().map(|e| graph.edge(*e).to.0).collect();
        let into = |task| graph.edges_in(task).iter().map(|e| graph.edge(*e).from.0).collect();
        let (forward, backward) = (ArcList::new(graph, out), ArcList::new(graph, into));
        JobShape { seconds, forward, backward }
    }

    pub(super) fn len(&self) -> usize {
        self.seconds.len()
    }

    pub(super) fn tasks(&self) -> std::ops::Range<u32> {
        0..self.len() as u32
    }

    /// Arcs of one direction and of the other.
    pub(super) fn arcs(&self, direction: TimeDirection) -> (&ArcList, &ArcList) {
        match direction {
            TimeDirection::Forward => (&self.forward, &self.backward),
            TimeDirection::Backward => (&self.backward, &self.forward),
        }
    }
}

/// The end of the plan that comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeDirection {
    Forward,
    Backward,
}
