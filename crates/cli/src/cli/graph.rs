//! `l05 graph`: a plan's dependency graph as text for other programs, or for a terminal.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;
use l05::compose;
use l05_core::finding::findings_error;
use l05_core::graph::DependencyGraph;
use l05_core::id::TaskIndex;
use l05_core::plan::{PlanDocument, PlanStructure};
use l05_core::validate::redundant_edges;
use l05_core::{Error, ErrorCode};
use serde::Serialize;

use super::CliContext;
use super::exit::ExitStatus;
use super::plan_file::PlanFile;
use super::run::open;

/// Draw a plan
#[derive(Debug, clap::Args)]
pub(crate) struct GraphArgs {
    /// A plan file, or the id of a plan (its beginning will do)
    plan: String,
    /// The kind of drawing
    #[arg(long, value_enum, default_value_t)]
    format: DrawingFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum, Default)]
enum DrawingFormat {
    /// Levels, for a terminal
    #[default]
    Ascii,
    /// Mermaid flowchart
    Mermaid,
    /// Graphviz
    Dot,
}

pub(crate) async fn graph(context: &CliContext, args: GraphArgs) -> Result<ExitStatus, Error> {
    let path = PathBuf::from(&args.plan);
    let document = if path.exists() || args.plan.contains(['/', '.']) {
        PlanFile::read(&path, context.config.text_limits.to_look_at())?.document()?
    } else {
        let service = open(context, None).await?;
        let id = service.find(&args.plan).await?;
        service.load(id).await?.document().clone()
    };
    let mut findings = Vec::new();
    let structure = PlanStructure::build(&document, &mut findings);
    let Some(structure) = structure.filter(|_| findings.is_empty()) else {
        return Err(findings_error(ErrorCode::PlanInvalid, &findings));
    };
    let drawing = match args.format {
        DrawingFormat::Ascii => ascii(&document, structure.graph()),
        DrawingFormat::Mermaid => mermaid(&document, &structure),
        DrawingFormat::Dot => dot(&document, &structure),
    };
    let format = args.format.to_possible_value().map(|v| v.get_name().to_owned());
    let analysis = analysis(context, &document, &structure)?;
    let redundant = redundant_edges(&document, &structure);
    let document = serde_json::json!({
        "format": format, "graph": drawing, "tasks": analysis, "redundant": redundant,
    });
    context.output.result(&document, |_| drawing.clone());
    Ok(ExitStatus::Done)
}

/// The planned times of each task: level, times with unlimited room, and how late it may be.
#[derive(Serialize)]
struct TaskTimes<'p> {
    task: &'p str,
    level: u32,
    expected_seconds: f64,
    earliest_start: f64,
    latest_start: f64,
    slack: f64,
    critical: bool,
}

fn analysis<'p>(
    context: &CliContext,
    document: &'p PlanDocument,
    structure: &PlanStructure,
) -> Result<Vec<TaskTimes<'p>>, Error> {
    let graph = structure.graph();
    let ground = compose::ground(&context.config)?;
    let estimate = ground.knowledge().estimate(document, structure, &ground.catalog);
    let seconds: Vec<f64> = estimate.tasks.iter().map(|task| task.seconds.expected).collect();
    let timing = graph.timing(&seconds);
    let times = |task: TaskIndex| TaskTimes {
        task: name(document, task),
        level: graph.level(task),
        expected_seconds: seconds[task.at()],
        earliest_start: timing.earliest_start[task.at()],
        latest_start: timing.latest_start[task.at()],
        slack: timing.slack(task),
        critical: timing.slack(task) == 0.0,
    };
    Ok(graph.order().iter().map(|task| times(*task)).collect())
}

fn name(document: &PlanDocument, task: TaskIndex) -> &str {
    &document.tasks[task.at()].task_id
}

/// A line a task, indented by level, with what it needs.
fn ascii(document: &PlanDocument, graph: &DependencyGraph) -> String {
    let mut text = String::new();
    for task in graph.order() {
        let needs: Vec<&str> = graph
            .edges_in(*task)
            .iter()
            .map(|edge| name(document, graph.edge(*edge).from))
            .collect();
        let indent = "  ".repeat(graph.level(*task) as usize);
        let arrow =
            if needs.is_empty() { String::new() } else { format!("  <- {}", needs.join(", ")) };
        let _ = writeln!(text, "{indent}{}{arrow}", name(document, *task));
    }
    text
}

/// Nodes have numbers for names: ids may hold anything.
fn mermaid(document: &PlanDocument, structure: &PlanStructure) -> String {
    let mut text = "flowchart TD\n".to_owned();
    for (i, task) in document.tasks.iter().enumerate() {
        let label = task.title().replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
        let _ = writeln!(text, "  t{i}[\"{}\"]", label.replace('\n', " "));
    }
    for (index, edge) in edges(structure) {
        let arrow = if structure.is_conditional(index) { "-.->" } else { "-->" };
        let _ = writeln!(text, "  t{} {arrow} t{}", edge.from.0, edge.to.0);
    }
    text
}

fn dot(document: &PlanDocument, structure: &PlanStructure) -> String {
    let mut text = "digraph plan {\n  rankdir=TB;\n  node [shape=box];\n".to_owned();
    for (i, task) in document.tasks.iter().enumerate() {
        let label = task.title().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = writeln!(text, "  t{i} [label=\"{label}\"];");
    }
    for (index, edge) in edges(structure) {
        let style = if structure.is_conditional(index) { " [style=dashed]" } else { "" };
        let _ = writeln!(text, "  t{} -> t{}{style};", edge.from.0, edge.to.0);
    }
    text.push_str("}\n");
    text
}

fn edges(
    structure: &PlanStructure,
) -> impl Iterator<Item = (l05_core::graph::EdgeIndex, &l05_core::graph::Edge)> {
    (0..).map(l05_core::graph::EdgeIndex).zip(structure.graph().edges())
}
