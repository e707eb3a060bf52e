//! Validation: everything that is wrong with a plan, before anything runs.
//!
//! Four levels (spec 02, 2.9), all findings collected. Syntax and semantics are whole here, but
//! for the types of data that flow along references, which is `dataflow`'s place to come;
//! of feasibility and security this version checks what needs no agents, prices or secrets.

mod conditions;
mod dataflow;
mod feasibility;
mod security;
mod semantic;
mod syntax;

use serde::Serialize;

use crate::catalog::Catalog;
use crate::estimate::expected_seconds;
use crate::finding::Finding;
use crate::graph::DependencyGraph;
use crate::plan::{Identity, Plan, PlanDocument, PlanStatus, Structure};
use crate::task::TaskType;
use crate::time::Timestamp;

/// Limits that a configuration may move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The most tasks of a plan.
    pub tasks_max: usize,
    /// The highest complexity score.
    pub complexity_max: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { tasks_max: 200, complexity_max: 500.0 }
    }
}

/// What the place can do where the plan is to run.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The tools there are.
    pub catalog: &'a Catalog,
    /// Limits on plans.
    pub limits: Limits,
    /// The present time.
    pub now: Timestamp,
    /// Whether warnings are errors.
    pub strict: bool,
}

/// Figures about a plan's graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// How many tasks.
    pub tasks: usize,
    /// How many dependencies, implied ones included.
    pub edges: usize,
    /// How deep compound tasks nest.
    pub nesting: usize,
    /// Tasks on a longest path.
    pub longest_path: usize,
    /// The most tasks that could run at once.
    pub width: usize,
    /// tasks + edges / 2 + 10 x nesting + 5 x compound tasks.
    pub complexity: f64,
    /// Task ids along the longest path by time.
    pub critical_path: Vec<String>,
    /// Its expected duration.
    pub critical_path_seconds: f64,
}

/// What the levels find, on its way to a [`Validation`].
#[derive(Default)]
struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    undecided: usize,
}

/// The verdict on one document.
#[derive(Debug)]
pub struct Validation {
    /// What must be mended.
    pub errors: Vec<Finding>,
    /// What should be looked at.
    pub warnings: Vec<Finding>,
    /// Figures; absent when there is no graph to measure.
    pub stats: Option<Stats>,
    /// How many references could neither be shown to fit nor not to; each is a warning.
    pub undecided: usize,
    proof: Option<(PlanDocument, Structure)>,
}

/// Checks a document on all levels.
pub fn validate(document: PlanDocument, around: &Surroundings<'_>) -> Validation {
    let mut findings = Findings::default();
    syntax::check(&document, around, &mut findings.errors);
    let structure = Structure::build(&document, &mut findings.errors);
    semantic::check(&document, structure.as_ref(), around.catalog, &mut findings);
    let Findings { mut errors, mut warnings, undecided } = findings;
    feasibility::check(&document, structure.as_ref(), around.catalog, &mut errors);
    security::check(&document, structure.as_ref(), &mut errors, &mut warnings);
    let stats = structure.as_ref().map(|structure| measure(&document, structure.graph()));
    if let Some(stats) = &stats {
        syntax::check_complexity(stats, around.limits, &mut errors);
    }
    if around.strict {
        errors.append(&mut warnings);
    }
    errors.sort_by_key(|finding| finding.level);
    let proof = structure.filter(|_| errors.is_empty()).map(|structure| (document, structure));
    Validation { errors, warnings, stats, undecided, proof }
}

impl Validation {
    /// Whether the plan may run.
    pub fn is_valid(&self) -> bool {
        self.proof.is_some()
    }

    /// The valid plan, or the findings again.
    #[expect(clippy::result_large_err, reason = "the error is the whole verdict, made once a plan")]
    pub fn into_plan(self, identity: Identity, now: Timestamp) -> Result<Plan, Validation> {
        match self.proof {
            Some((mut document, structure)) => {
                document.status = PlanStatus::Validated;
                document.validated_at = Some(now);
                document.signature = None;
                document
                    .metadata
                    .warnings
                    .extend(self.warnings.into_iter().map(|warning| warning.message));
                Ok(Plan::assemble(document, structure, identity))
            }
            None => Err(self),
        }
    }
}

/// Figures about a graph, as `validate` prints them.
pub fn measure(document: &PlanDocument, graph: &DependencyGraph) -> Stats {
    let seconds: Vec<f64> = document.tasks.iter().map(expected_seconds).collect();
    let path = graph.critical_path(&seconds);
    let compounds = document.tasks.iter().filter(|t| t.task_type == TaskType::Compound).count();
    let (tasks, edges) = (graph.len(), graph.edges().len());
    Stats {
        tasks,
        edges,
        // Compound tasks are expanded when a plan is built; none is nested in a finished one.
        nesting: 0,
        longest_path: graph.depth(),
        width: graph.width(),
        complexity: tasks as f64 + edges as f64 / 2.0 + 5.0 * compounds as f64,
        critical_path_seconds: path.iter().map(|task| seconds[task.at()]).sum(),
        critical_path: path.iter().map(|t| document.tasks[t.at()].task_id.clone()).collect(),
    }
}
