use proptest::prelude::*;

use super::*;

fn graph(tasks: usize, edges: &[(u32, u32)]) -> Result<DependencyGraph, Vec<DependencyCycle>> {
    let edges =
        edges.iter().map(|(f, t)| Edge { from: TaskIndex(*f), to: TaskIndex(*t) }).collect();
    DependencyGraph::build(tasks, edges).map_err(|cyclic| cyclic.cycles)
}

fn indices(tasks: &[TaskIndex]) -> Vec<u32> {
    tasks.iter().map(|t| t.0).collect()
}

#[test]
fn a_diamond_has_two_levels_in_parallel() {
    let graph = graph(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]).expect("acyclic");
    assert_eq!(indices(graph.order()), [0, 1, 2, 3]);
    assert_eq!((graph.depth(), graph.width()), (3, 2));
    assert_eq!(indices(&graph.critical_path(&[1.0, 2.0, 5.0, 1.0])), [0, 2, 3]);
    assert_eq!(graph.upward_rank(&[1.0, 2.0, 5.0, 1.0]), [7.0, 3.0, 6.0, 1.0]);
    assert_eq!(indices(&ready_tasks(&graph, &[true, false, false, false])), [1, 2]);
}

#[test]
fn cycles_are_named_by_a_shortest_path() {
    let cycles = |tasks, edges: &[(u32, u32)]| -> Vec<Vec<u32>> {
        let cycles = graph(tasks, edges).expect_err("cyclic");
        cycles.iter().map(|cycle| indices(&cycle.0)).collect()
    };
    assert_eq!(cycles(1, &[(0, 0)]), [[0, 0]]);
    // A long way round and a short one: the short one is named.
    assert_eq!(cycles(5, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (2, 1)]), [[1, 2, 1]]);
    // Two knots that share nothing are two cycles.
    assert_eq!(cycles(4, &[(0, 1), (1, 0), (2, 3), (3, 2)]), [[0, 1, 0], [2, 3, 2]]);
}

#[test]
fn a_million_in_a_row_neither_recurse_nor_linger() {
    let tasks = 1_000_000u32;
    let chain: Vec<(u32, u32)> = (1..tasks).map(|t| (t - 1, t)).collect();
    let built = graph(tasks as usize, &chain).expect("acyclic");
    assert_eq!(built.depth(), tasks as usize);
    let mut ring = chain;
    ring.push((tasks - 1, 0));
    let cycles = graph(tasks as usize, &ring).expect_err("cyclic");
    assert_eq!(cycles[0].0.len(), tasks as usize + 1);
}

/// Floyd-Warshall: the length of a shortest cycle, the slow and obvious way.
fn shortest_cycle_length(tasks: usize, edges: &[(u32, u32)]) -> Option<usize> {
    let mut distance = vec![vec![usize::MAX; tasks]; tasks];
    for (from, to) in edges {
        distance[*from as usize][*to as usize] = 1;
    }
    for via in 0..tasks {
        for from in 0..tasks {
            for to in 0..tasks {
                let through = distance[from][via].saturating_add(distance[via][to]);
                distance[from][to] = distance[from][to].min(through);
            }
        }
    }
    (0..tasks).map(|t| distance[t][t]).min().filter(|d| *d != usize::MAX)
}

fn any_graph() -> impl Strategy<Value = (usize, Vec<(u32, u32)>)> {
    (1usize..9).prop_flat_map(|tasks| {
        let n = tasks as u32;
        let edges = proptest::collection::btree_set((0..n, 0..n), 0..20);
        edges.prop_map(move |edges| (tasks, edges.into_iter().collect()))
    })
}

proptest! {
    #[test]
    fn agrees_with_the_slow_oracle((tasks, edges) in any_graph()) {
        let oracle = shortest_cycle_length(tasks, &edges);
        match graph(tasks, &edges) {
            Ok(graph) => {
                prop_assert_eq!(oracle, None);
                let mut place = vec![0; tasks];
                for (at, task) in graph.order().iter().enumerate() {
                    place[task.at()] = at;
                }
                for (from, to) in &edges {
                    prop_assert!(place[*from as usize] < place[*to as usize]);
                    prop_assert!(graph.level(TaskIndex(*from)) < graph.level(TaskIndex(*to)));
                }
            }
            Err(cycles) => {
                let shortest = shortest_cycle(&cycles).expect("at least one");
                prop_assert_eq!(Some(shortest.0.len() - 1), oracle);
                for pair in shortest.0.windows(2) {
                    prop_assert!(edges.contains(&(pair[0].0, pair[1].0)));
                }
            }
        }
    }
}
