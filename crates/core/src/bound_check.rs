//! A second opinion on a plan's bound, from its document alone.
//!
//! Budgets rest on the bound: what it says is what a run reserves. Validation has it checked here before
//! anything is signed. This file shares the document's types with the estimator and no code: its own
//! sums, its own graph, its own reading of references. Whoever changes one of the two has to know the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::plan::{PlanBound, PlanDocument, TaskBound};
use crate::task::{Task, TaskType};

/// Figures are kept with six decimals; sums of them may be off by half of the last one each.
const TOLERANCE: f64 = 1e-6;

/// Everything in which a document's bound differs from what its tasks say; empty: the bound holds.
/// A document without one has nothing to check and is a problem of its own.
pub fn bound_problems(document: &PlanDocument) -> Vec<String> {
    match &document.metadata.bound {
        Some(bound) => problems_of(document, bound),
        None => vec!["the plan has no bound".to_owned()],
    }
}

pub(crate) fn problems_of(document: &PlanDocument, bound: &PlanBound) -> Vec<String> {
    let mut problems = Vec::new();
    if bound.tasks.len() != document.tasks.len() {
        let (has, tasks) = (bound.tasks.len(), document.tasks.len());
        return vec![format!("the bound has {has} tasks, and the plan {tasks}")];
    }
    for (task, told) in document.tasks.iter().zip(&bound.tasks) {
        check_task(document, task, told, bound.call_tokens_max, &mut problems);
    }
    check_sums(document, bound, &mut problems);
    problems
}

fn check_task(
    document: &PlanDocument,
    task: &Task,
    told: &TaskBound,
    call_tokens_max: u64,
    problems: &mut Vec<String>,
) {
    let id = &task.task_id;
    let mut expect = |what: &str, told: f64, right: f64| {
        if !same(told, right) {
            problems.push(format!("task `{id}`: {what} is {told}, not {right}"));
        }
    };
    // Spec 03, 3.3: no class of errors is retried more than three times.
    let retries = i32::from(task.retry_policy.max_retries).min(3);
    expect("attempts", f64::from(told.attempts), f64::from(retries + 1));
    let most = task.for_each.as_ref().map_or(1, |each| each.max_items);
    expect(
        "items",
        told.items as f64,
        items(document, task).unwrap_or(told.items.min(most)) as f64,
    );
    let quota = task.resource_quota.clone().unwrap_or_default();
    let limit = quota.execution_seconds.unwrap_or(f64::INFINITY);
    let seconds = if limit < task.timeout_seconds { limit } else { task.timeout_seconds };
    expect("attempt_seconds", told.attempt_seconds, seconds);
    let policy = &task.retry_policy;
    let mut wait = policy.base_seconds;
    let mut waits = 0.0;
    for _ in 0..retries {
        waits += wait.min(policy.cap_seconds) * (1.0 + policy.jitter);
        wait *= policy.multiplier;
    }
    expect("wait_seconds", told.wait_seconds, waits);
    let tokens = attempt_tokens(task, call_tokens_max);
    expect("attempt_tokens", told.attempt_tokens as f64, tokens as f64);
    match attempt_cost(task, told, tokens) {
        Some(cost) => expect("attempt_cost_usd", told.attempt_cost_usd, cost),
        None => problems.push(format!("task `{id}`: the price of its model call is missing")),
    }
    if told.task != *id {
        problems.push(format!("task `{id}`: the bound calls it `{}`", told.task));
    }
}

/// None: the path to the list is one that this file does not read; then `max_items` is all that holds.
fn items(document: &PlanDocument, task: &Task) -> Option<u64> {
    let Some(each) = &task.for_each else { return Some(1) };
    let Some(path) = each.list.trim().strip_prefix("$[inputs]") else {
        return Some(each.max_items);
    };
    let steps = path_steps(path)?;
    let (first, rest) = steps.split_first()?;
    let mut value = document.inputs.get(first);
    for step in rest {
        value = value.and_then(|value| match value {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            other => other.get(step),
        });
    }
    let known = value.and_then(Value::as_array).map(|items| items.len() as u64);
    Some(known.unwrap_or(each.max_items).min(each.max_items))
}

/// The names and numbers of a plain path; none for anything with wildcards, filters or escapes.
fn path_steps(path: &str) -> Option<Vec<String>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (step, behind) = if let Some(inside) = rest.strip_prefix('[') {
            let (step, behind) = inside.split_once(']')?;
            (step.trim().trim_matches(['\'', '"']), behind)
        } else {
            let name = rest.strip_prefix('.')?;
            name.split_at(name.find(['.', '[']).unwrap_or(name.len()))
        };
        if step.is_empty() || step.contains(['*', '?', ':', ',', '\\', '-', '@', '.']) {
            return None;
        }
        steps.push(step.to_owned());
        rest = behind;
    }
    Some(steps)
}

fn attempt_tokens(task: &Task, call_tokens_max: u64) -> u64 {
    let quota = task.resource_quota.clone().unwrap_or_default();
    let said = task.resource_estimate.as_ref();
    let high = |range: Option<crate::resource::EstimateRange>| {
        range.map_or(0, |range| range.high.max(0.0).ceil() as u64)
    };
    let said = said.map_or(0, |said| high(said.tokens_in) + high(said.tokens_out));
    match (task.task_type, quota.tokens_in, quota.tokens_out) {
        (TaskType::LlmCall, None, None) => said.max(call_tokens_max),
        (TaskType::LlmCall, Some(one), None) | (TaskType::LlmCall, None, Some(one)) => {
            one.saturating_add(call_tokens_max)
        }
        (TaskType::LlmCall, Some(input), Some(output)) => input.saturating_add(output),
        (_, Some(input), Some(output)) => said.min(input.saturating_add(output)),
        (_, _, _) => said,
    }
}

/// None: a model call without a price.
fn attempt_cost(task: &Task, told: &TaskBound, tokens: u64) -> Option<f64> {
    let quota = task.resource_quota.clone().unwrap_or_default();
    let by_price = if task.task_type == TaskType::LlmCall {
        let price = told.price?;
        let most_in = quota.tokens_in.unwrap_or(u64::MAX).min(tokens);
        let most_out = quota.tokens_out.unwrap_or(u64::MAX).min(tokens);
        // The cost is linear in the split, so one of its two ends is the dearest.
        let cost = |tokens_in: u64, tokens_out: u64| {
            tokens_in as f64 * (price.input_usd_per_million / 1e6)
                + tokens_out as f64 * (price.output_usd_per_million / 1e6)
        };
        let first_in = cost(most_in, most_out.min(tokens - most_in));
        let first_out = cost(most_in.min(tokens - most_out), most_out);
        first_in.max(first_out)
    } else {
        let said = task.resource_estimate.as_ref().and_then(|said| said.cost_usd);
        told.call_usd.max(said.map_or(0.0, |range| range.high))
    };
    let cost = by_price.min(quota.cost_usd.unwrap_or(f64::INFINITY));
    // Kept with six decimals, never rounded down; a thousandth of the last one is noise.
    Some((cost * 1e6 - 1e-3).ceil().max(0.0) / 1e6)
}

fn check_sums(document: &PlanDocument, bound: &PlanBound, problems: &mut Vec<String>) {
    let times = |task: &TaskBound| u128::from(task.attempts) * u128::from(task.items);
    let tokens: u128 =
        bound.tasks.iter().map(|task| u128::from(task.attempt_tokens) * times(task)).sum();
    let cost: f64 = bound.tasks.iter().map(|task| task.attempt_cost_usd * times(task) as f64).sum();
    let seconds: Vec<f64> = bound
        .tasks
        .iter()
        .map(|task| {
            let once = f64::from(task.attempts) * task.attempt_seconds + task.wait_seconds;
            once * task.items as f64
        })
        .collect();
    let work: f64 = seconds.iter().sum();
    let mut expect = |what: &str, told: f64, right: f64| {
        if !same(told, right) {
            problems.push(format!("{what} of the plan are {told}, not {right}"));
        }
    };
    expect("tokens", bound.tokens as f64, tokens.min(u128::from(u64::MAX)) as f64);
    expect("cost_usd", bound.cost_usd, (cost * 1e6 - 1e-3).ceil().max(0.0) / 1e6);
    let Some(chain) = longest_chain(document, &seconds) else {
        problems.push("the tasks form a circle".to_owned());
        return;
    };
    expect("chain_seconds", bound.chain_seconds, chain);
    // Graham (1969): no list schedule takes longer.
    let budget = document.resource_budget.as_ref().and_then(|budget| budget.max_parallel_tasks);
    let parallel = document.constraints.max_parallelism.min(budget.unwrap_or(u32::MAX)).max(1);
    let workers = f64::from(parallel).min(document.tasks.len().max(1) as f64);
    expect("seconds", bound.seconds, (work - chain) / workers + chain);
}

/// Kahn's order over the stated dependencies and the tasks that texts refer to; none for a circle.
fn longest_chain(document: &PlanDocument, seconds: &[f64]) -> Option<f64> {
    let places: BTreeMap<&str, usize> =
        document.tasks.iter().enumerate().map(|(i, task)| (task.task_id.as_str(), i)).collect();
    let needs: Vec<BTreeSet<usize>> =
        document.tasks.iter().map(|task| needed(task, &places)).collect();
    let mut dependents = vec![Vec::new(); needs.len()];
    for (task, needs) in needs.iter().enumerate() {
        needs.iter().for_each(|need| dependents[*need].push(task));
    }
    let mut waits: Vec<usize> = needs.iter().map(BTreeSet::len).collect();
    let mut ready: VecDeque<usize> = (0..needs.len()).filter(|task| waits[*task] == 0).collect();
    let mut end = vec![0.0_f64; needs.len()];
    let mut done = 0;
    while let Some(task) = ready.pop_front() {
        done += 1;
        let begin = needs[task].iter().map(|need| end[*need]).fold(0.0, f64::max);
        end[task] = begin + seconds[task];
        for dependent in &dependents[task] {
            waits[*dependent] -= 1;
            if waits[*dependent] == 0 {
                ready.push_back(*dependent);
            }
        }
    }
    (done == needs.len()).then(|| end.into_iter().fold(0.0, f64::max))
}

fn needed(task: &Task, places: &BTreeMap<&str, usize>) -> BTreeSet<usize> {
    let mut ids: Vec<String> = task.dependencies.iter().map(|d| d.task_id.clone()).collect();
    task.inputs.values().for_each(|value| named_in(value, &mut ids));
    let texts = task.prompt.iter().chain(task.for_each.as_ref().map(|each| &each.list));
    texts.for_each(|text| named_in_text(text, &mut ids));
    ids.iter().filter_map(|id| places.get(id.as_str()).copied()).collect()
}

fn named_in(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::String(text) => named_in_text(text, ids),
        Value::Array(items) => items.iter().for_each(|item| named_in(item, ids)),
        Value::Object(map) => map.values().for_each(|item| named_in(item, ids)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `$[id].output` is a reference where a text begins with it, `${[id].output}` anywhere.
fn named_in_text(text: &str, ids: &mut Vec<String>) {
    let id_of = |rest: &str| {
        let (id, rest) = rest.split_once(']')?;
        let id = id.trim().trim_matches(['\'', '"']);
        let names_task = rest.starts_with(".output") || rest.starts_with(".error");
        names_task.then(|| id.to_owned())
    };
    if text.starts_with("secret://") {
        return;
    }
    if let Some(rest) = text.strip_prefix("$[") {
        ids.extend(id_of(rest));
        return;
    }
    for (at, _) in text.match_indices("${[") {
        if !text[..at].ends_with('$') {
            ids.extend(id_of(&text[at + 3..]));
        }
    }
}

fn same(told: f64, right: f64) -> bool {
    (told - right).abs() <= TOLERANCE * right.abs().max(told.abs()).max(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::catalog::{ToolCatalog, ToolSpec};
    use crate::estimate::{EstimateBasis, ModelPrice};
    use crate::plan::PlanStructure;

    /// Tasks of all kinds: calls with and without quotas, tools with and without prices, fan-outs over
    /// lists that are known and lists that are not, references of every form.
    fn any_plan() -> impl Strategy<Value = Value> {
        let one = (any::<u64>(), 0u64..6, 1u64..1_000, 1u64..1_000);
        proptest::collection::vec(one, 1..8).prop_map(|shape| {
            let tasks: Vec<Value> = shape.iter().enumerate().map(task).collect();
            let list: Vec<u64> = (0..shape.len() as u64).collect();
            json!({"goal": "x", "tasks": tasks, "inputs": {"list": list, "deep": {"er": [1, 2]}},
                "constraints": {"max_parallelism": 1 + shape[0].1}})
        })
    }

    fn task((i, (flags, retries, input, output)): (usize, &(u64, u64, u64, u64))) -> Value {
        let bit = |n: u64| flags >> n & 1 == 1;
        let mut task = json!({"id": format!("t{i}"), "timeout_seconds": 1 + input % 50,
            "retry": {"max_retries": (*retries).min(5), "base_seconds": output % 40, "multiplier": 1.5,
                "jitter": 0.25, "cap_seconds": 20}});
        let before = |n: u64| format!("t{}", (flags >> n) % i as u64);
        let text = match i > 0 && bit(0) {
            true if bit(1) => format!("$[{}].output.x", before(20)),
            true => format!("so ${{[{}].output.x}} it is, and $${{[t0].output}} not", before(20)),
            false => "text".to_owned(),
        };
        if bit(2) {
            task["prompt"] = json!(text);
        } else {
            task["tool"] = json!(if bit(3) { "free" } else { "paid" });
            task["inputs"] = json!({"a": {"b": [text]}});
        }
        if i > 0 && bit(4) {
            task["depends_on"] = json!([before(30)]);
        }
        match flags >> 5 & 7 {
            0 => task["resource_quota"] = json!({"tokens_in": input}),
            1 => task["resource_quota"] = json!({"tokens_out": output}),
            2 => task["resource_quota"] = json!({"tokens_in": input, "tokens_out": output}),
            3 => task["resource_quota"] = json!({"cost_usd": *input as f64 / 1e4}),
            4 => task["resource_quota"] = json!({"execution_seconds": *output as f64 / 100.0}),
            5 => {
                let range = json!({"low": 0, "expected": 1, "high": output});
                task["resource_estimate"] = json!({"tokens_in": range, "cost_usd": range});
            }
            _ => {}
        }
        match flags >> 8 & 7 {
            0 => task["for_each"] = json!({"in": "$[inputs].list", "max_items": 1 + input % 9}),
            1 => task["for_each"] = json!({"in": "$[inputs]['deep'].er", "max_items": 9}),
            2 => task["for_each"] = json!({"in": "$[inputs].deep.er[0:1]", "max_items": 9}),
            3 if i > 0 => {
                task["for_each"] =
                    json!({"in": format!("$[{}].output.l", before(40)), "max_items": 7});
            }
            _ => {}
        }
        task
    }

    fn bounded(plan: &Value) -> PlanDocument {
        let mut basis = EstimateBasis { tokens_per_task_max: 900, ..EstimateBasis::default() };
        let price = ModelPrice { input_usd_per_million: 7.0, output_usd_per_million: 3.0 };
        basis.prices.other_models = price;
        basis.prices.tools.insert("paid".to_owned(), 0.125);
        let mut document = PlanDocument::read(plan).expect("the plan reads");
        let structure = PlanStructure::build(&document, &mut Vec::new()).expect("acyclic");
        let catalog = ToolCatalog::new(["free", "paid"].map(ToolSpec::bare)).expect("no schemas");
        assert!(basis.estimate(&document, &structure, &catalog).tokens.high >= 0.0);
        document.metadata.bound = Some(basis.bound(&document, &structure));
        document
    }

    /// The figures of a bound, each changed by itself; what they are made from (prices, and what a call may
    /// take) is not among them.
    fn mutations(bound: &PlanBound) -> Vec<(String, PlanBound)> {
        let mut all = Vec::new();
        let whole = serde_json::to_value(bound).expect("plain data");
        let mut change = |place: String, factor: f64| {
            let mut mutated = whole.clone();
            let value = mutated.pointer_mut(&place).expect("the place is there");
            let changed = value.as_f64().expect("a number") * factor + (factor - 1.0).signum();
            *value = if value.is_u64() { json!(changed.max(0.0) as u64) } else { json!(changed) };
            let same = whole.pointer(&place) == mutated.pointer(&place);
            if let (false, Ok(bound)) = (same, serde_json::from_value(mutated)) {
                all.push((format!("{place} x {factor}"), bound));
            }
        };
        for factor in [0.5, 2.0] {
            for name in ["tokens", "cost_usd", "chain_seconds", "seconds"] {
                change(format!("/{name}"), factor);
            }
            for (i, task) in whole["tasks"].as_array().expect("a list").iter().enumerate() {
                let figures =
                    ["attempts", "items", "attempt_seconds", "wait_seconds", "attempt_tokens"];
                for name in figures.into_iter().chain(["attempt_cost_usd"]) {
                    // A figure of nothing is not written.
                    if task.get(name).is_some_and(Value::is_number) {
                        change(format!("/tasks/{i}/{name}"), factor);
                    }
                }
            }
        }
        if bound.tasks.len() > 1 {
            let mut swapped = bound.clone();
            swapped.tasks.swap(0, 1);
            all.push(("two tasks swapped".to_owned(), swapped));
        }
        let mut shorter = bound.clone();
        shorter.tasks.pop();
        all.push(("a task less".to_owned(), shorter));
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn every_bound_holds_and_no_mutated_one_does(plan in any_plan()) {
            let mut document = bounded(&plan);
            prop_assert_eq!(bound_problems(&document), Vec::<String>::new());
            let bound = document.metadata.bound.clone().expect("just made");
            for (what, mutated) in mutations(&bound) {
                document.metadata.bound = Some(mutated);
                prop_assert!(!bound_problems(&document).is_empty(), "{} passes: {:?}", what, bound);
            }
            document.metadata.bound = None;
            prop_assert!(!bound_problems(&document).is_empty());
        }
    }
}
