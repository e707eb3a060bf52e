//! What validation decided, as records for `explain`.

use std::collections::HashSet;

use super::PlanFigures;
use crate::agent::LOCAL_AGENT;
use crate::graph::EdgeIndex;
use crate::id::TaskIndex;
use crate::plan::{PlanDecision, StatedEdge, TaskSlack};
use crate::plan::{PlanDocument, PlanStructure};
use crate::resource::rounded;
use crate::task::Join;

/// The most edges of one kind that a record lists.
const EDGES_MAX: usize = 100;
/// A critical path is recorded up to so many tasks.
const PATH_MAX: usize = 1_000;

#[derive(Clone, Copy)]
pub(super) struct EdgeCounts {
    pub(super) warnings: usize,
    pub(super) undecided: usize,
}

pub(super) fn record(
    document: &PlanDocument,
    structure: &PlanStructure,
    figures: &PlanFigures,
    counts: EdgeCounts,
) -> Vec<PlanDecision> {
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
        PlanDecision::Validation {
            tasks: graph.len(),
            edges: graph.edges().len(),
            implied: implied(structure, document),
            redundant: redundant_edges(document, structure),
            undecided: counts.undecided,
            warnings: counts.warnings,
        },
        PlanDecision::CriticalPath {
            tasks: path.iter().take(PATH_MAX).map(|task| name(*task)).collect(),
            seconds: estimate.critical_path_seconds,
            next,
        },
        PlanDecision::Assignment {
            agents: vec![LOCAL_AGENT.to_owned()],
            routing: "balanced".to_owned(),
        },
        PlanDecision::Schedule {
            parallelism,
            makespan_seconds: estimate.seconds.expected,
            lower_bound_seconds: rounded(lower_bound),
        },
    ];
    if !figures.limits.is_empty() {
        made.push(PlanDecision::Constraints { limits: figures.limits.clone() });
    }
    made
}

fn stated(structure: &PlanStructure, document: &PlanDocument, edge: EdgeIndex) -> StatedEdge {
    let edge = structure.graph().edge(edge);
    let name = |task: TaskIndex| document.tasks[task.at()].task_id.clone();
    StatedEdge { from: name(edge.from), to: name(edge.to) }
}

/// Edges that no dependency says: a reference does.
fn implied(structure: &PlanStructure, document: &PlanDocument) -> Vec<StatedEdge> {
    let graph = structure.graph();
    let of_task = |task: TaskIndex| {
        let stated: HashSet<&str> = document.tasks[task.at()]
            .dependencies
            .iter()
            .map(|dependency| dependency.task_id.as_str())
            .collect();
        graph.edges_in(task).iter().copied().filter(move |edge| {
            !stated.contains(document.tasks[graph.edge(*edge).from.at()].task_id.as_str())
        })
    };
    let edges = graph.indices().flat_map(of_task).take(EDGES_MAX);
    edges.map(|edge| stated(structure, document, edge)).collect()
}

/// Stated edges that only repeat an order: they carry no data and no condition.
pub fn redundant_edges(document: &PlanDocument, structure: &PlanStructure) -> Vec<StatedEdge> {
    let graph = structure.graph();
    // Behind such a task another may run although this one's dependencies did not complete.
    let lenient = |task: TaskIndex| {
        let task = &document.tasks[task.at()];
        task.join == Join::Any || task.allow_failure
    };
    let mut found = Vec::new();
    let mut last: Option<(TaskIndex, HashSet<&str>)> = None;
    for edge in graph.redundant_edges(lenient) {
        let ends = graph.edge(edge);
        if last.as_ref().is_none_or(|(task, _)| *task != ends.to) {
            last = Some((ends.to, carried(structure, document, ends.to)));
        }
        let from = document.tasks[ends.from.at()].task_id.as_str();
        let carries = last.as_ref().is_some_and(|(_, carried)| carried.contains(from));
        if !carries && !structure.is_conditional(edge) {
            found.push(stated(structure, document, edge));
        }
        if found.len() >= EDGES_MAX {
            break;
        }
    }
    found
}

/// The tasks of which one takes data.
fn carried<'a>(
    structure: &'a PlanStructure,
    document: &'a PlanDocument,
    task: TaskIndex,
) -> HashSet<&'a str> {
    let mut carried: HashSet<&str> = HashSet::new();
    for binding in structure.bindings(task).all() {
        binding.for_each_reference(&mut |reference| carried.extend(reference.task()));
    }
    let dependencies = document.tasks[task.at()].dependencies.iter();
    let named = dependencies.filter(|d| d.output_key.is_some()).map(|d| d.task_id.as_str());
    carried.extend(named);
    carried
}
