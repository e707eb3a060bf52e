//! What validation decided, as records for `explain`.

use super::Figures;
use crate::estimate::rounded;
use crate::explain::{Decision, StatedEdge, TaskSlack};
use crate::graph::EdgeIndex;
use crate::id::TaskIndex;
use crate::plan::{PlanDocument, Structure};
use crate::reference::Source;
use crate::run::history::LOCAL_AGENT;

/// How many edges of one kind a record lists.
const EDGES_MAX: usize = 100;
/// A critical path is recorded up to so many tasks.
const PATH_MAX: usize = 1_000;

#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) warnings: usize,
    pub(super) undecided: usize,
}

pub(super) fn record(
    document: &PlanDocument,
    structure: &Structure,
    figures: &Figures,
    counts: Counts,
) -> Vec<Decision> {
    let graph = structure.graph();
    let estimate = &figures.estimate;
    let name = |task: TaskIndex| document.tasks[task.at()].task_id.clone();
    let seconds: Vec<f64> = estimate.tasks.iter().map(|task| task.seconds.expected).collect();
    let path = graph.critical_path(&seconds);
    let timing = graph.timing(&seconds);
    let next = graph
        .indices()
        .filter(|task| timing.slack(*task) > 0.0)
        .min_by(|a, b| timing.slack(*a).total_cmp(&timing.slack(*b)))
        .map(|task| TaskSlack { task: name(task), seconds: rounded(timing.slack(task)) });
    let work: f64 = seconds.iter().sum();
    let parallelism = document.parallelism();
    let lower_bound = timing.end.max(work / f64::from(parallelism));
    let mut made = vec![
        Decision::Validation {
            tasks: graph.len(),
            edges: graph.edges().len(),
            implied: listed(structure, document, graph.edges().len(), implied),
            redundant: redundant_edges(document, structure),
            undecided: counts.undecided,
            warnings: counts.warnings,
        },
        Decision::CriticalPath {
            tasks: path.iter().take(PATH_MAX).map(|task| name(*task)).collect(),
            seconds: estimate.critical_path_seconds,
            next,
        },
        Decision::Assignment {
            agents: vec![LOCAL_AGENT.to_owned()],
            routing: "balanced".to_owned(),
        },
        Decision::Schedule {
            parallelism,
            makespan_seconds: estimate.seconds.expected,
            lower_bound_seconds: rounded(lower_bound),
        },
    ];
    if !figures.limits.is_empty() {
        made.push(Decision::Constraints { limits: figures.limits.clone() });
    }
    made
}

fn listed(
    structure: &Structure,
    document: &PlanDocument,
    edges: usize,
    wanted: impl Fn(&Structure, &PlanDocument, EdgeIndex) -> bool,
) -> Vec<StatedEdge> {
    (0..edges as u32)
        .map(EdgeIndex)
        .filter(|edge| wanted(structure, document, *edge))
        .take(EDGES_MAX)
        .map(|edge| stated(structure, document, edge))
        .collect()
}

fn stated(structure: &Structure, document: &PlanDocument, edge: EdgeIndex) -> StatedEdge {
    let edge = structure.graph().edge(edge);
    let name = |task: TaskIndex| document.tasks[task.at()].task_id.clone();
    StatedEdge { from: name(edge.from), to: name(edge.to) }
}

/// Whether no dependency says it: a reference does.
fn implied(structure: &Structure, document: &PlanDocument, edge: EdgeIndex) -> bool {
    let edge = structure.graph().edge(edge);
    let from = &document.tasks[edge.from.at()].task_id;
    !document.tasks[edge.to.at()].dependencies.iter().any(|d| d.task_id == *from)
}

/// Stated edges that only repeat an order: they carry no data and no condition.
pub fn redundant_edges(document: &PlanDocument, structure: &Structure) -> Vec<StatedEdge> {
    let idle = |edge: &EdgeIndex| {
        let ends = structure.graph().edge(*edge);
        let from = document.tasks[ends.from.at()].task_id.as_str();
        let mut carries = structure.is_conditional(*edge);
        for binding in structure.bindings(ends.to).all() {
            binding.for_each_reference(&mut |reference| {
                carries |= matches!(&reference.source, Source::Output(id) | Source::Error(id) if id == from);
            });
        }
        let dependencies = &document.tasks[ends.to.at()].dependencies;
        carries |= dependencies.iter().any(|d| d.task_id == from && d.output_key.is_some());
        !carries
    };
    let edges = structure.graph().redundant_edges().into_iter().filter(idle).take(EDGES_MAX);
    edges.map(|edge| stated(structure, document, edge)).collect()
}
