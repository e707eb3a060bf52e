//! Schedules of third-party task graphs against their known optima.

use std::time::Instant;

use l05_core::graph::{DependencyGraph, Edge};
use l05_core::id::TaskIndex;
use l05_core::schedule::{RoutingStrategy, ScheduleJob, WorkerPool, schedule};
use serde_json::Value;

use crate::json_lines;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|n| n.as_f64().expect("a number")).collect()
}

/// Kasahara's standard task graphs: valid, never below the optimum, hardly above it.
#[test]
fn standard_task_graphs() {
    let (mut gaps, mut slowest, mut above) = (Vec::new(), 0.0f64, Vec::new());
    for row in json_lines("stg.jsonl") {
        let seconds = numbers(&row["weights"]);
        let preds = row["preds"].as_array().expect("a list");
        let mut edges = Vec::new();
        for (to, list) in preds.iter().enumerate() {
            edges.extend(
                numbers(list)
                    .into_iter()
                    .map(|from| Edge { from: TaskIndex(from as u32), to: TaskIndex(to as u32) }),
            );
        }
        let graph = DependencyGraph::build(seconds.len(), edges).expect("acyclic");
        for (workers, bounds) in row["opt"].as_object().expect("optima") {
            let workers: u32 = workers.parse().expect("a number");
            let bounds = numbers(bounds);
            let job = ScheduleJob { graph: &graph, seconds: &seconds, needs: &[] };
            let start = Instant::now();
            let found = schedule(&job, &WorkerPool::Equal(workers), RoutingStrategy::Balanced, 1)
                .expect("equal workers can do all");
            slowest = slowest.max(start.elapsed().as_secs_f64() * 1e3);
            assert!(found.makespan >= bounds[0], "{} on {workers}: below the optimum", row["id"]);
            assert!(
                found.lower_bound <= bounds[1],
                "{} on {workers}: the bound is wrong",
                row["id"]
            );
            // The best known is the upper bound; where it is proven, it is the optimum.
            let gap = found.makespan / bounds[1] - 1.0;
            if gap > 0.0 {
                above.push(format!(
                    "{} on {workers}: {} for {:?}",
                    row["id"], found.makespan, bounds
                ));
            }
            gaps.push(gap);
        }
    }
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let worst = gaps.iter().copied().fold(0.0, f64::max);
    println!(
        "| stg | {} cases | mean gap {:.4} % | worst {:.2} % | {} above the best known | slowest {slowest:.1} ms |",
        gaps.len(),
        mean * 100.0,
        worst * 100.0,
        above.len()
    );
    println!("{}", above.join("\n"));
    assert_eq!(gaps.len(), 240);
    assert!(mean <= 0.0005 && worst <= 0.03, "mean {mean}, worst {worst}");
}
