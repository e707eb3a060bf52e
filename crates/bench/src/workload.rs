//! The plans of spec 08 and an executor that does nothing, as fast as it can.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use l05_core::catalog::ToolSpec;
use l05_core::plan::PlanDocument;
use l05_engine::port::{BoxFuture, Executor, ExecutorOutput, Failure, ToolCall};
use serde_json::{Value, json};

/// The time that the tool `brief` takes: what a quick call of a service takes.
pub(crate) const BRIEF: Duration = Duration::from_millis(5);

/// Returns a small JSON: `noop` at once, `brief` after [`BRIEF`].
pub(crate) struct NoopExecutor;

/// Calls of [`NoopExecutor`], by whatever service.
pub(crate) static CALLS: AtomicUsize = AtomicUsize::new(0);

impl Executor for NoopExecutor {
    fn tools(&self) -> Vec<ToolSpec> {
        vec![ToolSpec::bare("noop"), ToolSpec::bare("brief")]
    }

    fn execute(&self, call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let is_brief = &*call.tool == "brief";
        Box::pin(async move {
            if is_brief {
                tokio::time::sleep(BRIEF).await;
            }
            Ok(json!({ "ok": true }).into())
        })
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

/// A plan of the same form with tasks that take a moment.
pub(crate) fn brief(mut document: PlanDocument) -> PlanDocument {
    document.tasks.iter_mut().for_each(|task| task.tool = Some("brief".to_owned()));
    document
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

/// Tools with schemas that nest: what validation is for.
pub(crate) fn typed_tools() -> Vec<ToolSpec> {
    let person = json!({ "type": "object", "required": ["name", "address"], "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "minLength": 1 },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "address": { "type": "object", "required": ["city"], "properties": {
                "city": { "type": "string", "minLength": 1 }, "zip": { "type": ["string", "null"] } } },
        } });
    let people = json!({ "type": "array", "items": person });
    let text = json!({ "type": "string", "minLength": 1 });
    let object = |properties: Value| {
        let required: Vec<&String> =
            properties.as_object().into_iter().flat_map(|map| map.keys()).collect();
        json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
    };
    let tool = |name: &str, input: Value, output: Value| ToolSpec {
        input_schema: Some(object(input)),
        output_schema: Some(object(output)),
        ..ToolSpec::bare(name)
    };
    vec![
        tool(
            "find",
            json!({ "query": text }),
            json!({ "people": people, "count": { "type": "integer" } }),
        ),
        tool("choose", json!({ "from": people }), json!({ "person": person })),
        tool("letter", json!({ "to": person, "city": text }), json!({ "text": text })),
        tool(
            "send",
            json!({ "text": text, "name": text }),
            json!({ "sent": { "type": "boolean" } }),
        ),
    ]
}

/// Chains of four over [`typed_tools`], each beginning behind the one before.
pub(crate) fn typed(tasks: usize) -> PlanDocument {
    let mut list = Vec::with_capacity(tasks);
    for chain in 0..tasks / 4 {
        let find = format!("find{chain}");
        let before = if chain == 0 { json!([]) } else { json!([format!("send{}", chain - 1)]) };
        list.push(json!({ "id": find, "tool": "find", "inputs": { "query": "who" }, "depends_on": before }));
        list.push(json!({ "id": format!("choose{chain}"), "tool": "choose",
            "inputs": { "from": format!("$[find{chain}].output.people") } }));
        list.push(json!({ "id": format!("letter{chain}"), "tool": "letter", "inputs": {
            "to": format!("$[choose{chain}].output.person"),
            "city": format!("$[choose{chain}].output.person.address.city") } }));
        list.push(json!({ "id": format!("send{chain}"), "tool": "send", "inputs": {
            "text": format!("Dear all, ${{[letter{chain}].output.text}}"),
            "name": format!("$[find{chain}].output.people[0].name") } }));
    }
    plan(&list, 100)
}
