//! Everything before a run: goals, graphs, validation.

use std::sync::Arc;
use std::time::Instant;

use l05_connect::{BuiltinTools, Workspace, templates};
use l05_core::catalog::Catalog;
use l05_core::estimate::Knowledge;
use l05_core::goal::{Goal, input};
use l05_core::graph::{DependencyGraph, Edge};
use l05_core::id::{AgentDid, GoalId, TaskIndex};
use l05_core::plan::{PlanDocument, Structure};
use l05_core::schedule::{Job, Pool, RoutingStrategy, schedule};
use l05_core::time::Timestamp;
use l05_core::validate::{Limits, Surroundings, validate};
use l05_engine::PlanningService;
use l05_engine::cache::CacheRules;
use l05_engine::port::Executor as _;
use std::hint::black_box;

use crate::measure::{Bench, SAMPLES_MIN};
use crate::workload::{Noop, chain, layered, typed, typed_tools};

pub(crate) fn run(bench: &Bench) {
    goal_check(bench);
    resolve(bench);
    validation(bench);
    simulation(bench);
    create_plan(bench);
}

fn goal_check(bench: &Bench) {
    let text =
        "Compare the figures of this month with those of the last one, please. ".repeat(1_429);
    let text: String = text.chars().take(100_000).collect();
    let check = |policy| assert!(input::check(black_box(&text), policy).is_ok());
    bench.micros("goal_check/100000", 20, || check(input::Policy::Strict));
    bench.micros("goal_check/100000_prose", 2, || check(input::Policy::Prose));
}

/// From a document's tasks to the graph with its order, levels and critical path.
fn resolve(bench: &Bench) {
    let small = layered(10, 20, 42);
    bench.micros("resolve/200", 100, || {
        let structure = Structure::build(black_box(&small), &mut Vec::new()).expect("acyclic");
        black_box(structure.graph().critical_path(&[1.0; 200]));
    });
    if bench.wants("resolve/1000000") {
        let large = chain(1_000_000);
        let seconds = vec![1.0; 1_000_000];
        let samples = (0..SAMPLES_MIN)
            .map(|_| {
                let start = Instant::now();
                let structure =
                    Structure::build(black_box(&large), &mut Vec::new()).expect("acyclic");
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
fn validation(bench: &Bench) {
    let knowledge = Knowledge::default();
    let limits = Limits { tasks_max: 100_000, complexity_max: 1e9, ..Limits::default() };
    let typed_catalog = || Catalog::new(typed_tools()).expect("the schemas compile");
    let check = |catalog: &Catalog, document: &PlanDocument| {
        let around =
            Surroundings { limits, ..Surroundings::elsewhere(catalog, &knowledge, Timestamp(0)) };
        let validation = validate(black_box(document.clone()), &around);
        assert!(validation.is_valid() && validation.warnings.is_empty());
    };
    let catalog = typed_catalog();
    let document = typed(200);
    bench.micros("validate/200", 20, || check(&catalog, &document));
    bench.micros("validate/200_cold", 2, || check(&typed_catalog(), &document));
    let plain = Catalog::new(Noop.tools()).expect("no schemas, no problem");
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
fn simulation(bench: &Bench) {
    let document = layered(10, 20, 42);
    let structure = Structure::build(&document, &mut Vec::new()).expect("acyclic");
    let seconds: Vec<f64> = (0..200).map(|i| f64::from(1 + i * 7 % 10)).collect();
    let job = Job { graph: structure.graph(), seconds: &seconds, needs: &[] };
    bench.micros("simulate/200", 1, || {
        let found = schedule(black_box(&job), &Pool::Equal(8), RoutingStrategy::Balanced, 1);
        assert!(found.expect("equal workers can do all").gap() < 0.1);
    });
}

/// A goal through the whole way: policy, template, validation, signature, memory store.
/// The same goal again and again: planned each time, and copied from the cache.
fn create_plan(bench: &Bench) {
    let cases =
        [("create_plan/template", CacheRules::off()), ("cache_hit/l1", CacheRules::default())];
    for (name, rules) in cases {
        if bench.wants(name) {
            let samples = created(bench, rules);
            bench.report(name, "us", samples);
        }
    }
}

fn created(bench: &Bench, rules: CacheRules) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let workspace = Workspace::open(bench.dir()).expect("the bench folder is there");
        let tools = BuiltinTools::new(workspace, bench.dir().join("scratch"), &[]);
        let service = PlanningService::builder()
            .executor(Arc::new(tools))
            .templates(templates::builtin())
            .cache(rules)
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
