//! Everything before a run: goals, graphs, validation.

use std::sync::Arc;
use std::time::Instant;

use l05_connect::{BuiltinTools, templates};
use l05_core::catalog::ToolCatalog;
use l05_core::estimate::EstimateBasis;
use l05_core::goal::{Goal, input};
use l05_core::graph::{DependencyGraph, Edge};
use l05_core::id::{AgentDid, GoalId, TaskIndex};
use l05_core::plan::{PlanDocument, PlanStructure};
use l05_core::schedule::{RoutingStrategy, ScheduleJob, WorkerPool, schedule};
use l05_core::template::{Template, TemplateLibrary};
use l05_core::time::Timestamp;
use l05_core::validate::{PlanLimits, ValidationContext, validate};
use l05_draft::decomposition::{ReadingMode, read_answer};
use l05_engine::PlanningService;
use l05_engine::cache::CacheRules;
use l05_engine::port::{Executor as _, WorkspaceFolder};
use l05_engine::rules::ServiceRules;
use serde_json::json;
use std::hint::black_box;

use crate::measure::{BenchRun, SAMPLES_MIN};
use crate::workload::{NoopExecutor, chain, layered, typed, typed_tools};

pub(crate) fn run(bench: &BenchRun) {
    goal_check(bench);
    resolve(bench);
    validation(bench);
    simulation(bench);
    template_match(bench);
    import_answer(bench);
    create_plan(bench);
}

/// A goal against a library of a thousand templates, each with patterns and keywords of its own.
fn template_match(bench: &BenchRun) {
    let name = "template_match/1000";
    if !bench.wants(name) {
        return;
    }
    let library = TemplateLibrary::new((0..1_000).map(numbered));
    let given = serde_json::Map::new();
    let fits = |goal: &str| library.find(black_box(goal), &given).len();
    assert!(fits("Order 3 crates of part500 for the shop") > 0);
    bench.micros(name, 100, || {
        black_box(fits("Order 3 crates of part500 for the shop"));
    });
}

/// The n-th of many templates that are alike.
fn numbered(n: usize) -> Template {
    let file = json!({
        "id": format!("order-{n}"), "version": "1.0.0", "description": "Orders a part",
        "match": {
            "patterns": [
                format!("^(?:please )?order (?P<count>\\d+) (?:crates|boxes) of part{n}(?: for [\\w ]+)?$"),
                format!("^(?:get|buy) part{n} (?:from|at) [\\w ]+$"),
            ],
            "keywords": { "order": 1, "buy": 1, format!("part{n}"): 3 },
        },
        "parameters": [{ "name": "count", "required": true, "description": "how many" }],
        "examples": { "match": [{ "goal": format!("order 3 crates of part{n}") }], "no_match": ["sell everything"] },
        "tasks": [{ "id": "a", "tool": "time.wait", "inputs": { "seconds": 0 } }],
    });
    Template::read(&file).unwrap_or_else(|findings| panic!("{findings:?}"))
}

/// A model's answer with twenty steps, as models write them: fenced, with prose around it, with
/// single quotes, comments and trailing commas.
fn import_answer(bench: &BenchRun) {
    let steps: String = (0..20)
        .map(|n| {
            let needs = if n == 0 { String::new() } else { format!("'s{}'", n - 1) };
            format!("  {{'id': 's{n}', 'title': 'Step {n}', 'tool': 'fs.read', 'args': {{'path': 'f{n}.txt',}}, 'depends_on': [{needs}],}}, // {n}\n")
        })
        .collect();
    let answer =
        format!("Sure, here is the plan:\n```json\n{{'steps': [\n{steps}]}}\n```\nGood luck!");
    bench.micros("import_answer", 50, || {
        let imported = read_answer(black_box(&answer), ReadingMode::default()).expect("a plan");
        black_box(imported);
    });
}

fn goal_check(bench: &BenchRun) {
    let text =
        "Compare the figures of this month with those of the last one, please. ".repeat(1_429);
    let text: String = text.chars().take(100_000).collect();
    let check = |policy| assert!(input::check(black_box(&text), policy).is_ok());
    bench.micros("goal_check/100000", 20, || check(input::InputPolicy::Strict));
    bench.micros("goal_check/100000_prose", 2, || check(input::InputPolicy::Prose));
}

/// From a document's tasks to the graph with its order, levels and critical path.
fn resolve(bench: &BenchRun) {
    let small = layered(10, 20, 42);
    bench.micros("resolve/200", 100, || {
        let structure = PlanStructure::build(black_box(&small), &mut Vec::new()).expect("acyclic");
        black_box(structure.graph().critical_path(&[1.0; 200]));
    });
    if bench.wants("resolve/1000000") {
        let large = chain(1_000_000);
        let seconds = vec![1.0; 1_000_000];
        let samples = (0..SAMPLES_MIN)
            .map(|_| {
                let start = Instant::now();
                let structure =
                    PlanStructure::build(black_box(&large), &mut Vec::new()).expect("acyclic");
                black_box(structure.graph().critical_path(&seconds));
                start.elapsed().as_secs_f64()
            })
            .collect();
        bench.report("resolve/1000000", "s", samples);
    }
    if bench.wants("graph/1000000") {
        let edge = |t: u32| Edge { from: TaskIndex(t - 1), to: TaskIndex(t) };
        let samples = (0..SAMPLES_MIN)
            .map(|_| {
                let edges = (1..1_000_000).map(edge).collect();
                let start = Instant::now();
                black_box(DependencyGraph::build(1_000_000, edges).expect("acyclic"));
                start.elapsed().as_secs_f64()
            })
            .collect();
        bench.report("graph/1000000", "s", samples);
    }
}

/// All four levels over typed references. `validate/200` is what a service does: its catalogue is
/// compiled and knows the flows between its tools. `_cold` compiles the catalogue and compares
/// everything anew, `_plain` has no schemas.
fn validation(bench: &BenchRun) {
    let knowledge = EstimateBasis::default();
    let limits = PlanLimits { tasks_max: 100_000, complexity_max: 1e9, ..PlanLimits::default() };
    let typed_catalog = || ToolCatalog::new(typed_tools()).expect("the schemas compile");
    let check = |catalog: &ToolCatalog, document: &PlanDocument| {
        let around = ValidationContext {
            limits,
            ..ValidationContext::elsewhere(catalog, &knowledge, Timestamp(0))
        };
        let validation = validate(black_box(document.clone()), &around);
        assert!(validation.is_valid() && validation.warnings.is_empty());
    };
    let catalog = typed_catalog();
    let document = typed(200);
    bench.micros("validate/200", 20, || check(&catalog, &document));
    bench.micros("validate/200_cold", 2, || check(&typed_catalog(), &document));
    let plain = ToolCatalog::new(NoopExecutor.tools()).expect("no schemas, no problem");
    let layers = layered(10, 20, 42);
    bench.micros("validate/200_plain", 20, || check(&plain, &layers));
    for tasks in [1_000, 10_000, 100_000] {
        let name = format!("validate/{tasks}");
        if bench.wants(&name) {
            let document = typed(tasks);
            bench.micros(&name, 1, || check(&catalog, &document));
        }
    }
}

/// Schedules with the search for a better one, lower bound included.
fn simulation(bench: &BenchRun) {
    let document = layered(10, 20, 42);
    let structure = PlanStructure::build(&document, &mut Vec::new()).expect("acyclic");
    let seconds: Vec<f64> = (0..200).map(|i| f64::from(1 + i * 7 % 10)).collect();
    let job = ScheduleJob { graph: structure.graph(), seconds: &seconds, needs: &[] };
    bench.micros("simulate/200", 1, || {
        let found = schedule(black_box(&job), &WorkerPool::Equal(8), RoutingStrategy::Balanced, 1);
        assert!(found.expect("equal workers can do all").gap() < 0.1);
    });
}

/// A goal through the whole way: policy, template, validation, signature, memory store.
/// The same goal again and again: planned each time, and copied from the cache.
fn create_plan(bench: &BenchRun) {
    let cases =
        [("create_plan/template", CacheRules::off()), ("cache_hit/l1", CacheRules::default())];
    for (name, rules) in cases {
        if bench.wants(name) {
            let samples = created(bench, rules);
            bench.report(name, "us", samples);
        }
    }
}

fn created(bench: &BenchRun, rules: CacheRules) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let tools = BuiltinTools::new(bench.dir().join("scratch"), &[]);
        let service = PlanningService::builder()
            .executor(Arc::new(tools))
            .workspace(WorkspaceFolder::new(bench.dir()))
            .templates(templates::builtin())
            .rules(ServiceRules { cache: rules, ..ServiceRules::default() })
            .build()
            .expect("the built-in parts fit together");
        let per_sample = 200;
        let mut samples = Vec::new();
        for _ in 0..=SAMPLES_MIN {
            let start = Instant::now();
            for i in 0..per_sample {
                let id = GoalId::new(format!("goal-{i}")).expect("URL-safe");
                let goal =
                    Goal::new(id, AgentDid::local(), "Create a summary of the project status");
                black_box(service.create_plan(goal).await.expect("a template fits"));
            }
            samples.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(per_sample));
        }
        // The first sample warms up.
        samples.remove(0);
        service.shutdown().await;
        samples
    })
}
