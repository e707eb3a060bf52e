//! The dependency graph: who needs whom, in indices.
//!
//! Edges sit in two compressed arrays (by producer and by consumer), so a graph of a million tasks
//! is a handful of allocations and every walk is a slice. Nothing here recurses: a chain of any
//! length resolves in constant stack.

mod cycle;
mod timing;

use crate::id::TaskIndex;

pub use cycle::shortest_cycle;
pub use timing::TaskTiming;

/// An edge's place in [`DependencyGraph::edges`].
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct EdgeIndex(pub u32);

impl EdgeIndex {
    /// For indexing per-edge vectors.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// Edges that are no graph, because some of them form circles.
#[derive(Debug)]
pub struct CyclicEdges {
    /// The circles.
    pub cycles: Vec<DependencyCycle>,
    /// All edges.
    pub edges: Vec<Edge>,
}

/// One dependency: `to` needs `from`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    /// The producer.
    pub from: TaskIndex,
    /// The consumer.
    pub to: TaskIndex,
}

/// An acyclic graph over tasks `0..n`, with everything that follows from its shape.
#[derive(Debug, Clone)]
pub struct DependencyGraph {
    edges: Vec<Edge>,
    /// Edges out of task t: `out_edges[out_start[t]..out_start[t + 1]]`.
    out_start: Vec<u32>,
    out_edges: Vec<EdgeIndex>,
    in_start: Vec<u32>,
    in_edges: Vec<EdgeIndex>,
    order: Vec<TaskIndex>,
    level: Vec<u32>,
}

/// The tasks of a circle, the first repeated at the end.
#[derive(Debug, PartialEq, Eq)]
pub struct DependencyCycle(pub Vec<TaskIndex>);

impl DependencyGraph {
    /// Builds the graph of `tasks` tasks. Edges must be distinct and their ends below `tasks`.
    /// Each circle that shares no task with another is one [`DependencyCycle`], a shortest of its kind.
    pub fn build(tasks: usize, edges: Vec<Edge>) -> Result<DependencyGraph, CyclicEdges> {
        let (out_start, out_edges) = compress(tasks, &edges, |edge| edge.from);
        let (in_start, in_edges) = compress(tasks, &edges, |edge| edge.to);
        let mut graph = DependencyGraph {
            edges,
            out_start,
            out_edges,
            in_start,
            in_edges,
            order: Vec::with_capacity(tasks),
            level: vec![0; tasks],
        };
        graph.sort();
        if graph.order.len() == tasks {
            return Ok(graph);
        }
        Err(CyclicEdges { cycles: cycle::cycles(&graph), edges: graph.edges })
    }

    /// Kahn's algorithm level by level, which gives a deterministic order and the levels at once.
    fn sort(&mut self) {
        let tasks = self.len();
        let mut waiting: Vec<u32> =
            (0..tasks).map(|t| self.in_start[t + 1] - self.in_start[t]).collect();
        let mut order: Vec<TaskIndex> =
            (0..tasks).filter(|t| waiting[*t] == 0).map(|t| TaskIndex(t as u32)).collect();
        let mut at = 0;
        while at < order.len() {
            let task = order[at];
            at += 1;
            for edge in out_range(&self.out_start, &self.out_edges, task) {
                let to = self.edges[edge.at()].to;
                let level = self.level[task.at()] + 1;
                self.level[to.at()] = self.level[to.at()].max(level);
                waiting[to.at()] -= 1;
                if waiting[to.at()] == 0 {
                    order.push(to);
                }
            }
        }
        self.order = order;
    }

    /// The number of tasks.
    pub fn len(&self) -> usize {
        self.level.len()
    }

    /// True if there is no task.
    pub fn is_empty(&self) -> bool {
        self.level.is_empty()
    }

    /// All edges, in the order they were given.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// One edge.
    pub fn edge(&self, index: EdgeIndex) -> Edge {
        self.edges[index.at()]
    }

    /// The edges that leave a task: what needs it.
    pub fn edges_out(&self, task: TaskIndex) -> &[EdgeIndex] {
        out_range(&self.out_start, &self.out_edges, task)
    }

    /// The edges that enter a task: what it needs.
    pub fn edges_in(&self, task: TaskIndex) -> &[EdgeIndex] {
        out_range(&self.in_start, &self.in_edges, task)
    }

    /// A topological order; among tasks that could stand anywhere, the earlier index first.
    pub fn order(&self) -> &[TaskIndex] {
        &self.order
    }

    /// The longest way from a root, in edges: tasks of one level may run in parallel.
    pub fn level(&self, task: TaskIndex) -> u32 {
        self.level[task.at()]
    }

    /// Tasks that need nothing.
    pub fn roots(&self) -> impl Iterator<Item = TaskIndex> + '_ {
        self.indices().filter(|t| self.edges_in(*t).is_empty())
    }

    /// Tasks that nothing needs.
    pub fn leaves(&self) -> impl Iterator<Item = TaskIndex> + '_ {
        self.indices().filter(|t| self.edges_out(*t).is_empty())
    }

    /// All tasks.
    pub fn indices(&self) -> impl Iterator<Item = TaskIndex> + use<> {
        (0..self.len() as u32).map(TaskIndex)
    }

    /// The most tasks on one level.
    pub fn width(&self) -> usize {
        let mut counts = vec![0usize; self.depth()];
        for level in &self.level {
            counts[*level as usize] += 1;
        }
        counts.into_iter().max().unwrap_or(0)
    }

    /// The number of levels: the tasks on a longest path.
    pub fn depth(&self) -> usize {
        self.level.iter().max().map_or(0, |level| *level as usize + 1)
    }

    /// For each task, the longest time from its start to the end of the plan along any path, with
    /// unlimited room: the upward rank that list scheduling sorts by (Topcuoglu et al., 2002).
    pub fn upward_rank(&self, seconds: &[f64]) -> Vec<f64> {
        let mut rank = vec![0.0f64; self.len()];
        for task in self.order.iter().rev() {
            let tail = self
                .edges_out(*task)
                .iter()
                .map(|edge| rank[self.edge(*edge).to.at()])
                .fold(0.0, f64::max);
            rank[task.at()] = tail + seconds[task.at()];
        }
        rank
    }

    /// A longest path by time, from its first task to its last.
    pub fn critical_path(&self, seconds: &[f64]) -> Vec<TaskIndex> {
        let rank = self.upward_rank(seconds);
        let longest = |a: &TaskIndex, b: &TaskIndex| {
            // The earlier index wins among equals, so that the path is the same every time.
            rank[a.at()].total_cmp(&rank[b.at()]).then(b.cmp(a))
        };
        let mut path = Vec::new();
        let mut next = self.roots().max_by(longest);
        while let Some(task) = next {
            path.push(task);
            next = self.edges_out(task).iter().map(|e| self.edge(*e).to).max_by(longest);
        }
        path
    }
}

/// The tasks that may start once `completed` tasks are done: not completed themselves, and every
/// dependency completed. A slow, obvious answer for callers outside a run; a run keeps counters.
pub fn ready_tasks(graph: &DependencyGraph, completed: &[bool]) -> Vec<TaskIndex> {
    let is_done = |task: TaskIndex| completed.get(task.at()).copied().unwrap_or(false);
    graph
        .indices()
        .filter(|task| {
            let needs = graph.edges_in(*task);
            !is_done(*task) && needs.iter().all(|edge| is_done(graph.edge(*edge).from))
        })
        .collect()
}

fn out_range<'g>(start: &[u32], edges: &'g [EdgeIndex], task: TaskIndex) -> &'g [EdgeIndex] {
    &edges[start[task.at()] as usize..start[task.at() + 1] as usize]
}

/// Counting sort of edge indices by one end.
fn compress(
    tasks: usize,
    edges: &[Edge],
    end: impl Fn(&Edge) -> TaskIndex,
) -> (Vec<u32>, Vec<EdgeIndex>) {
    let mut start = vec![0u32; tasks + 1];
    for edge in edges {
        start[end(edge).at() + 1] += 1;
    }
    for task in 0..tasks {
        start[task + 1] += start[task];
    }
    let mut next = start.clone();
    let mut sorted = vec![EdgeIndex(0); edges.len()];
    for (index, edge) in edges.iter().enumerate() {
        let slot = &mut next[end(edge).at()];
        sorted[*slot as usize] = EdgeIndex(index as u32);
        *slot += 1;
    }
    (start, sorted)
}

#[cfg(test)]
mod tests;
