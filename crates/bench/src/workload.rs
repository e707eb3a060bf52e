//! The plans of spec 08 and an executor that does nothing, as fast as it can.

use l05_core::catalog::ToolSpec;
use l05_core::plan::PlanDocument;
use l05_core::run::event::TaskError;
use l05_engine::port::{BoxFuture, Executor, ToolCall};
use serde_json::{Value, json};

/// Returns a small JSON at once.
pub(crate) struct Noop;

impl Executor for Noop {
    fn tools(&self) -> Vec<ToolSpec> {
        vec![ToolSpec::bare("noop")]
    }

    fn execute(&self, _: ToolCall) -> BoxFuture<'static, Result<Value, TaskError>> {
        Box::pin(async { Ok(json!({ "ok": true })) })
    }
}

fn plan(tasks: &[Value], parallelism: u32) -> PlanDocument {
    let document = json!({ "goal": "bench", "tasks": tasks, "constraints": { "max_parallelism": parallelism } });
    PlanDocument::read(&document).expect("the bench plans are well formed")
}

fn task(id: usize, needs: &[usize]) -> Value {
    let needs: Vec<String> = needs.iter().map(|n| format!("t{n}")).collect();
    json!({ "id": format!("t{id}"), "tool": "noop", "depends_on": needs })
}

/// `tasks` in a row.
pub(crate) fn chain(tasks: usize) -> PlanDocument {
    let tasks = (0..tasks).map(|i| if i == 0 { task(0, &[]) } else { task(i, &[i - 1]) });
    plan(&tasks.collect::<Vec<_>>(), 1_000)
}

/// 1 + `width` parallel + 1.
pub(crate) fn fan(width: usize, parallelism: u32) -> PlanDocument {
    let mut tasks = vec![task(0, &[])];
    tasks.extend((1..=width).map(|i| task(i, &[0])));
    tasks.push(task(width + 1, &(1..=width).collect::<Vec<_>>()));
    plan(&tasks, parallelism)
}

/// `layers` of `width`; each task needs 3 of the layer before, drawn with a fixed seed.
pub(crate) fn layered(layers: usize, width: usize, seed: u64) -> PlanDocument {
    let mut state = seed;
    let mut draw = move |below: usize| {
        // Knuth's MMIX generator: any will do, as long as it stays the same.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut tasks = Vec::new();
    for layer in 0..layers {
        for i in 0..width {
            let mut needs = Vec::new();
            while layer > 0 && needs.len() < 3 {
                let need = (layer - 1) * width + draw(width);
                if !needs.contains(&need) {
                    needs.push(need);
                }
            }
            tasks.push(task(layer * width + i, &needs));
        }
    }
    plan(&tasks, 1_000)
}
