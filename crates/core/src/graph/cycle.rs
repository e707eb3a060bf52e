//! Naming the circle: a shortest cycle of each knot of tasks that need each other.

use super::{DependencyCycle, DependencyGraph};
use crate::id::TaskIndex;

/// Work that the search for a *shortest* cycle may cost, in edges visited, over all knots. A knot
/// of a few thousand tasks is searched whole; past this the shortest found so far is named.
const SEARCH_EDGES_MAX: usize = 20_000_000;

const UNSEEN: u32 = u32::MAX;

/// One cycle for each strongly connected part that has one.
pub(super) fn cycles(graph: &DependencyGraph) -> Vec<DependencyCycle> {
    let component = components(graph);
    let mut members: Vec<Vec<TaskIndex>> = Vec::new();
    for task in graph.indices() {
        let id = component[task.at()] as usize;
        if members.len() <= id {
            members.resize_with(id + 1, Vec::new);
        }
        members[id].push(task);
    }
    let mut budget = SEARCH_EDGES_MAX;
    let mut search = CycleSearch::new(graph, &component);
    let mut found: Vec<DependencyCycle> = members
        .iter()
        .filter_map(|knot| search.shortest(knot, &mut budget))
        .map(DependencyCycle)
        .collect();
    found.sort_by_key(|cycle| cycle.0.first().copied());
    found
}

/// A shortest cycle of the graph as a whole, closed: its first task stands again at the end.
pub fn shortest_cycle(cycles: &[DependencyCycle]) -> Option<&DependencyCycle> {
    cycles.iter().min_by_key(|cycle| cycle.0.len())
}

/// Strongly connected parts by Tarjan's algorithm (1972), with an explicit stack.
fn components(graph: &DependencyGraph) -> Vec<u32> {
    let tasks = graph.len();
    let mut index = vec![UNSEEN; tasks];
    let mut low = vec![0u32; tasks];
    let mut component = vec![UNSEEN; tasks];
    let mut path: Vec<TaskIndex> = Vec::new();
    let mut next_index = 0u32;
    let mut next_component = 0u32;
    for root in graph.indices() {
        if index[root.at()] != UNSEEN {
            continue;
        }
        // (task, how many of its out-edges have been followed)
        let mut calls: Vec<(TaskIndex, usize)> = vec![(root, 0)];
        while let Some((task, followed)) = calls.last_mut() {
            let task = *task;
            if *followed == 0 {
                index[task.at()] = next_index;
                low[task.at()] = next_index;
                next_index += 1;
                path.push(task);
            }
            if let Some(edge) = graph.edges_out(task).get(*followed) {
                *followed += 1;
                let to = graph.edge(*edge).to;
                if index[to.at()] == UNSEEN {
                    calls.push((to, 0));
                } else if component[to.at()] == UNSEEN {
                    low[task.at()] = low[task.at()].min(index[to.at()]);
                }
                continue;
            }
            calls.pop();
            if let Some((parent, _)) = calls.last() {
                low[parent.at()] = low[parent.at()].min(low[task.at()]);
            }
            if low[task.at()] == index[task.at()] {
                while let Some(member) = path.pop() {
                    component[member.at()] = next_component;
                    if member == task {
                        break;
                    }
                }
                next_component += 1;
            }
        }
    }
    component
}

struct CycleSearch<'g> {
    graph: &'g DependencyGraph,
    component: &'g [u32],
    /// The task from which the breadth-first search came; `UNSEEN` for tasks it has not reached.
    parent: Vec<u32>,
    reached: Vec<TaskIndex>,
}

impl<'g> CycleSearch<'g> {
    fn new(graph: &'g DependencyGraph, component: &'g [u32]) -> CycleSearch<'g> {
        CycleSearch { graph, component, parent: vec![UNSEEN; graph.len()], reached: Vec::new() }
    }

    /// A shortest cycle inside one part: breadth-first from each member, never deeper than the
    /// best so far. The first member is always searched whole, so there is an answer at any size.
    fn shortest(&mut self, knot: &[TaskIndex], budget: &mut usize) -> Option<Vec<TaskIndex>> {
        let mut best: Option<Vec<TaskIndex>> = None;
        for from in knot {
            if best.is_some() && *budget == 0 {
                break;
            }
            let limit = best.as_ref().map_or(usize::MAX, |cycle| cycle.len() - 1);
            if let Some(cycle) = self.through(*from, limit, budget) {
                best = Some(cycle);
            }
            if best.as_ref().is_some_and(|cycle| cycle.len() <= 2) {
                break;
            }
        }
        best
    }

    /// The shortest cycle through `from` with fewer than `limit` edges.
    fn through(
        &mut self,
        from: TaskIndex,
        limit: usize,
        budget: &mut usize,
    ) -> Option<Vec<TaskIndex>> {
        for task in self.reached.drain(..) {
            self.parent[task.at()] = UNSEEN;
        }
        self.reached.push(from);
        let (mut begin, mut depth) = (0, 0);
        while begin < self.reached.len() && depth + 1 < limit {
            let end = self.reached.len();
            depth += 1;
            for at in begin..end {
                let task = self.reached[at];
                for edge in self.graph.edges_out(task) {
                    *budget = budget.saturating_sub(1);
                    let to = self.graph.edge(*edge).to;
                    if to == from {
                        return Some(self.closed_path(from, task));
                    }
                    let inside = self.component[to.at()] == self.component[from.at()];
                    if inside && self.parent[to.at()] == UNSEEN {
                        self.parent[to.at()] = task.0;
                        self.reached.push(to);
                    }
                }
            }
            begin = end;
        }
        None
    }

    fn closed_path(&self, from: TaskIndex, last: TaskIndex) -> Vec<TaskIndex> {
        let mut path = vec![from];
        let mut at = last;
        while at != from {
            path.push(at);
            at = TaskIndex(self.parent[at.at()]);
        }
        path.push(from);
        path.reverse();
        path
    }
}
