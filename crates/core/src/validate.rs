//! Validation: everything that is wrong with a plan, before anything runs.
//!
//! Four levels (spec 02, 2.9), all findings collected: form, meaning with the types of the data
//! that flows, feasibility with estimates and limits, security.

mod approval;
mod conditions;
mod dataflow;
mod decisions;
mod executors;
mod feasibility;
mod named_outputs;
mod names;
mod near_references;
mod quotas;
mod security;
mod semantic;
mod syntax;

use std::cell::RefCell;

pub use approval::ApprovalPolicy;
pub use decisions::redundant_edges;
pub use executors::{ExecutorFinding, InputProblem, LiteralCall, literal_calls};
use serde::Serialize;

use crate::agent::Agent;
use crate::bound_check;
use crate::catalog::ToolCatalog;
use crate::constraints::{QuotaLimits, propagate};
use crate::error::ErrorCode;
use crate::estimate::EstimateBasis;
use crate::evaluation::{Evaluation, EvaluationAnswer, EvaluationAnswers, EvaluationFailure};
use crate::finding::{Finding, ValidationLevel};
use crate::graph::DependencyGraph;
use crate::plan::{ApprovalReason, LimitUse, PlanDecision};
use crate::plan::{DocumentReading, Plan, PlanDocument, PlanIdentity, PlanStatus, PlanStructure};
use crate::plan::{PlanBound, PlanEstimate};
use crate::task::TaskType;
use crate::time::Timestamp;

/// Limits that a configuration may move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanLimits {
    /// The most tasks of a plan.
    pub tasks_max: usize,
    /// The highest complexity score.
    pub complexity_max: f64,
    /// Tokens that a plan is expected to take, where its goal sets no budget.
    pub tokens_per_plan: u64,
    /// Tokens that one task is expected to take.
    pub tokens_per_task: u64,
    /// Processor cores of one task.
    pub cpu_cores_per_task: f64,
    /// Memory of one task, in MB.
    pub memory_mb_per_task: f64,
    /// Rules for the approval by a person.
    pub approval: ApprovalPolicy,
}

impl Default for PlanLimits {
    fn default() -> PlanLimits {
        PlanLimits {
            tasks_max: 200,
            complexity_max: 500.0,
            tokens_per_plan: 50_000,
            tokens_per_task: 10_000,
            cpu_cores_per_task: 4.0,
            memory_mb_per_task: 8_192.0,
            approval: ApprovalPolicy::default(),
        }
    }
}

/// The agents that would do the work.
#[derive(Clone, Copy, Debug)]
pub enum KnownAgents<'a> {
    /// Nobody knows here: the plan is checked for another place, where its tools are.
    Elsewhere,
    /// Registered agents.
    Registered(&'a [Agent]),
}

/// The tools, agents and limits of the place where the plan is to run.
#[derive(Clone, Copy, Debug)]
pub struct ValidationContext<'a> {
    /// The tools there are.
    pub catalog: &'a ToolCatalog,
    /// The agents there are.
    pub agents: KnownAgents<'a>,
    /// The models that the gateway has; none: it was not asked, or does not tell.
    pub models: Option<&'a [String]>,
    /// Figures that estimates are made from.
    pub knowledge: &'a EstimateBasis,
    /// Limits on plans.
    pub limits: PlanLimits,
    /// The present time.
    pub now: Timestamp,
    /// Findings of those who do the work about inputs that stand in the plan ([`LiteralCall::finding`]).
    pub of_executors: &'a [ExecutorFinding],
    /// True if warnings are errors.
    pub strict: bool,
}

impl<'a> ValidationContext<'a> {
    /// Checks for another place: no agents are asked for, the limits are the default ones.
    pub fn elsewhere(
        catalog: &'a ToolCatalog,
        knowledge: &'a EstimateBasis,
        now: Timestamp,
    ) -> Self {
        let limits = PlanLimits::default();
        let agents = KnownAgents::Elsewhere;
        ValidationContext {
            catalog,
            agents,
            models: None,
            knowledge,
            limits,
            now,
            of_executors: &[],
            strict: false,
        }
    }
}

/// Figures about a plan's graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValidationStats {
    /// The number of tasks.
    pub tasks: usize,
    /// The number of dependencies, implied ones included.
    pub edges: usize,
    /// The depth to which compound tasks nest.
    pub nesting: usize,
    /// Tasks on a longest path; none where the tasks form no graph, as what follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_path: Option<usize>,
    /// The most tasks that could run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// tasks + edges / 2 + 10 x nesting + 5 x compound tasks.
    pub complexity: f64,
    /// Task ids along the longest path by time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical_path: Option<Vec<String>>,
    /// The expected duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical_path_seconds: Option<f64>,
}

/// Findings of the levels, on their way to a [`Validation`].
#[derive(Default)]
struct FindingList {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    undecided: usize,
}

/// The verdict on one document.
#[derive(Debug)]
pub struct Validation {
    /// Findings that must be mended.
    pub errors: Vec<Finding>,
    /// Findings that should be looked at.
    pub warnings: Vec<Finding>,
    /// Figures, as far as there is something to measure.
    pub stats: ValidationStats,
    /// The number of references that could neither be shown to fit nor not to; each is a warning.
    pub undecided: usize,
    /// The plan's probable use, and the most; absent without a graph.
    pub figures: Option<PlanFigures>,
    /// Reasons for which a person has to approve the plan before it runs; empty: nobody has to.
    pub approval_reasons: Vec<ApprovalReason>,
    proof: Option<(PlanDocument, PlanStructure)>,
}

/// A plan's estimate and bound, and what its limits leave.
#[derive(Debug)]
pub struct PlanFigures {
    /// The probable use.
    pub estimate: PlanEstimate,
    /// The most that it can use.
    pub bound: PlanBound,
    /// Each limit with what is expected of it.
    pub limits: Vec<LimitUse>,
}

/// Checks a document on all levels, and does in this thread what [`examine`] would ask for.
pub fn validate(document: PlanDocument, around: &ValidationContext<'_>) -> Validation {
    let mut reading = DocumentReading { document, findings: Vec::new() };
    let mut answers = EvaluationAnswers::default();
    loop {
        match examine(reading, around, &answers) {
            Examined::Done(validation) => return *validation,
            Examined::Needs { evaluations, reading: again } => {
                reading = *again;
                for evaluation in evaluations {
                    let answer = evaluation.run();
                    answers.add(evaluation, Ok(answer));
                }
            }
        }
    }
}

/// The outcome of a look at a document.
#[derive(Debug)]
pub enum Examined {
    /// The verdict.
    Done(Box<Validation>),
    /// Nothing yet: these evaluations have to be done first, and the document is to be looked at again with their
    /// answers. Each round asks for what the one before it did not.
    Needs {
        /// What has to be evaluated.
        evaluations: Vec<Evaluation>,
        /// The document, given back.
        reading: Box<DocumentReading>,
    },
}

/// Checks a document on all levels. Some of its form may be wrong: its readable part is looked at. Text of the document
/// that is not provably small is not evaluated here but asked for.
pub fn examine(
    reading: DocumentReading,
    around: &ValidationContext<'_>,
    answers: &EvaluationAnswers,
) -> Examined {
    let DocumentReading { mut document, findings: form } = reading;
    named_outputs::bind(&mut document, around.catalog);
    let mut findings = FindingList::default();
    syntax::check(&document, around, &mut findings.errors);
    let partial = PlanStructure::partial(&document, &mut findings.errors);
    let asked = AskedEvaluations { answers, wanted: RefCell::default() };
    semantic::check(&document, &partial, around.catalog, &asked, &mut findings);
    let evaluations = asked.wanted.into_inner();
    if !evaluations.is_empty() {
        let reading = Box::new(DocumentReading { document, findings: form });
        return Examined::Needs { evaluations, reading };
    }
    Examined::Done(Box::new(verdict(document, form, partial, findings, around)))
}

/// The answers that validation has, and the evaluations that it wants.
struct AskedEvaluations<'a> {
    answers: &'a EvaluationAnswers,
    wanted: RefCell<Vec<Evaluation>>,
}

impl AskedEvaluations<'_> {
    /// An answer; none: it is noted that it is wanted.
    fn ask(&self, evaluation: Evaluation) -> Option<Result<EvaluationAnswer, EvaluationFailure>> {
        let answer = self.answers.get(&evaluation).cloned();
        let mut wanted = self.wanted.borrow_mut();
        if answer.is_none() && !wanted.contains(&evaluation) {
            wanted.push(evaluation);
        }
        answer
    }
}

/// The verdict on a document of which levels 1 and 2 are done.
fn verdict(
    document: PlanDocument,
    form: Vec<Finding>,
    partial: PlanStructure,
    mut findings: FindingList,
    around: &ValidationContext<'_>,
) -> Validation {
    feasibility::check(&document, &partial, around, &mut findings);
    let structure = Some(partial).filter(PlanStructure::is_whole);
    let figures = structure.as_ref().map(|s| figures(&document, s, around, &mut findings));
    let FindingList { mut errors, mut warnings, undecided } = findings;
    security::check(&document, around, &mut errors, &mut warnings);
    for finding in around.of_executors {
        let is_error = finding.is_error && !form_explains(&errors, &finding.finding);
        if is_error { &mut errors } else { &mut warnings }.push(finding.finding.clone());
    }
    if !form.is_empty() {
        errors.retain(|finding| !form_explains(&form, finding));
        warnings.retain(|finding| !form_explains(&form, finding));
        errors.extend(form);
    }
    let mut stats = count(&document);
    if let (Some(structure), Some(figures)) = (&structure, &figures) {
        measure(&mut stats, &document, structure.graph(), &figures.estimate);
    }
    syntax::check_complexity(&stats, around.limits, &mut errors);
    if around.strict {
        errors.append(&mut warnings);
    }
    let approval_reasons = approval::reasons(&document, around, figures.as_ref(), stats.complexity);
    errors.sort_by_key(|finding| finding.level);
    let proof = structure.filter(|_| errors.is_empty()).map(|structure| (document, structure));
    Validation { errors, warnings, stats, undecided, figures, approval_reasons, proof }
}

/// True if a place whose form is wrong is that of a finding, or holds it: what stands there instead is nobody's word.
fn form_explains(form: &[Finding], finding: &Finding) -> bool {
    let Some(field) = &finding.field else { return false };
    let holds = |broken: &String| {
        let rest = field.strip_prefix(broken.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    form.iter().filter_map(|broken| broken.field.as_ref()).any(holds)
}

/// Level 3, second part: estimate and bound against the limits.
fn figures(
    document: &PlanDocument,
    structure: &PlanStructure,
    around: &ValidationContext<'_>,
    findings: &mut FindingList,
) -> PlanFigures {
    let graph = structure.graph();
    let estimate = around.knowledge.estimate(document, structure, around.catalog);
    let bound = around.knowledge.bound(document, structure);
    for problem in bound_check::problems_of(document, &bound) {
        let message = format!("the plan's bound does not hold in a second computation: {problem}");
        findings.errors.push(
            Finding::new(ErrorCode::PlanInvalid, ValidationLevel::Feasibility, message)
                .field("metadata.bound")
                .suggest("this is a fault of l05, not of the plan: please report it"),
        );
    }
    quotas::check(document, structure, &estimate.tasks, around, findings);
    let quotas = QuotaLimits {
        tokens_per_plan: around.limits.tokens_per_plan,
        tokens_per_task: around.limits.tokens_per_task,
    };
    let propagated = propagate(document, graph, &estimate, &bound, quotas, around.now);
    findings.errors.extend(propagated.errors);
    findings.warnings.extend(propagated.warnings);
    PlanFigures { estimate, bound, limits: propagated.limits }
}

impl Validation {
    /// True if the plan may run.
    pub fn is_valid(&self) -> bool {
        self.proof.is_some()
    }

    /// Says how long the validation took, for the plan's metadata.
    pub fn took(&mut self, millis: u64) {
        if let Some((document, _)) = &mut self.proof {
            document.metadata.validation_time_ms = Some(millis);
        }
    }

    /// The valid plan, or the findings again. `decisions` are those that led to the document; those
    /// of validation itself are added.
    #[expect(clippy::result_large_err, reason = "the error is the whole verdict, made once a plan")]
    pub fn into_plan(
        self,
        identity: PlanIdentity,
        now: Timestamp,
        decisions: Vec<PlanDecision>,
    ) -> Result<Plan, Validation> {
        let Validation { proof: Some((mut document, structure)), figures: Some(figures), .. } =
            self
        else {
            return Err(self);
        };
        document.status = PlanStatus::Validated;
        document.validated_at = Some(now);
        document.signature = None;
        document.cached = None;
        let counts =
            decisions::EdgeCounts { warnings: self.warnings.len(), undecided: self.undecided };
        let made = decisions::record(&document, &structure, &figures, counts);
        let metadata = &mut document.metadata;
        metadata.requires_approval = !self.approval_reasons.is_empty();
        metadata.approval_reasons = self.approval_reasons.iter().map(ToString::to_string).collect();
        metadata.approval_needed_for = self.approval_reasons;
        metadata.decisions = decisions;
        metadata.decisions.extend(made);
        metadata.warnings.extend(self.warnings.into_iter().map(|warning| warning.message));
        metadata.estimate = Some(figures.estimate);
        metadata.bound = Some(figures.bound);
        Ok(Plan::assemble(document, structure, identity))
    }
}

/// Figures that need no graph: stated dependencies are counted.
fn count(document: &PlanDocument) -> ValidationStats {
    let compounds = document.tasks.iter().filter(|t| t.task_type == TaskType::Compound).count();
    let (tasks, nesting) = (document.tasks.len(), nesting(document));
    let edges = document.tasks.iter().map(|task| task.dependencies.len()).sum();
    let complexity = complexity(tasks, edges, nesting, compounds);
    ValidationStats {
        tasks,
        edges,
        nesting,
        longest_path: None,
        width: None,
        complexity,
        critical_path: None,
        critical_path_seconds: None,
    }
}

/// Figures about the graph, implied dependencies included.
fn measure(
    stats: &mut ValidationStats,
    document: &PlanDocument,
    graph: &DependencyGraph,
    estimate: &PlanEstimate,
) {
    let parallelism = document.parallelism();
    let tasks = estimate.tasks.iter();
    let seconds: Vec<f64> = tasks.map(|t| t.seconds_of_all(parallelism).expected).collect();
    let path = graph.critical_path(&seconds);
    let compounds = document.tasks.iter().filter(|t| t.task_type == TaskType::Compound).count();
    stats.edges = graph.edges().len();
    stats.complexity = complexity(stats.tasks, stats.edges, stats.nesting, compounds);
    stats.longest_path = Some(graph.depth());
    stats.width = Some(graph.width());
    stats.critical_path_seconds = Some(estimate.critical_path_seconds);
    stats.critical_path =
        Some(path.iter().map(|t| document.tasks[t.at()].task_id.clone()).collect());
}

/// The score of spec 01.
fn complexity(tasks: usize, edges: usize, nesting: usize, compounds: usize) -> f64 {
    tasks as f64 + edges as f64 / 2.0 + 10.0 * nesting as f64 + 5.0 * compounds as f64
}

/// The depth to which compound tasks nest, or nested before planning put sub-plans in their places.
fn nesting(document: &PlanDocument) -> usize {
    let left = document.tasks.iter().any(|task| task.task_type == TaskType::Compound);
    document.metadata.nesting.unwrap_or(0) as usize + usize::from(left)
}
