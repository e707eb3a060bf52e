use serde_json::{Value, json};

use super::*;
use crate::catalog::ToolSpec;
use crate::plan::PlanBound;
use crate::plan::PlanStructure;
use crate::time::Timestamp;

fn figures(knowledge: &EstimateBasis, plan: &Value) -> (PlanEstimate, PlanBound) {
    let document = PlanDocument::read(plan).expect("the plan reads");
    let structure = PlanStructure::build(&document, &mut Vec::new()).expect("acyclic");
    let catalog = ToolCatalog::new([ToolSpec::bare("t")]).expect("no schemas");
    let estimate = knowledge.estimate(&document, &structure, &catalog);
    (estimate, knowledge.bound(&document, &structure))
}

fn observe(knowledge: &mut EstimateBasis, key: &str, runs: usize, seconds: f64, tokens: f64) {
    for _ in 0..runs {
        let at = Timestamp(0);
        knowledge.experience.observe(key, RunObservation { at, seconds, tokens, cost_usd: 0.0 });
    }
}

#[test]
fn history_replaces_the_guess_step_by_step() {
    let plan = json!({"goal": "x", "tasks": [{"id": "a", "tool": "t"}]});
    let expected = |runs, model| {
        let mut knowledge = EstimateBasis { model, ..EstimateBasis::default() };
        observe(&mut knowledge, "t", runs, 0.2, 1000.0);
        let (estimate, _) = figures(&knowledge, &plan);
        (estimate.seconds.expected, estimate.tokens.expected, estimate.method)
    };
    use EstimateMethod::{Deterministic, Historical, Hybrid};
    assert_eq!(expected(0, CostModel::Hybrid), (1.0, 0.0, Deterministic));
    assert_eq!(expected(4, CostModel::Hybrid), (1.0, 0.0, Deterministic), "too few");
    assert_eq!(expected(5, CostModel::Hybrid), (0.6, 500.0, Hybrid), "half and half");
    assert_eq!(expected(20, CostModel::Hybrid), (0.2, 1000.0, Historical));
    assert_eq!(expected(20, CostModel::Deterministic), (1.0, 0.0, Deterministic));
    assert_eq!(expected(5, CostModel::Historical), (0.2, 1000.0, Historical));
    assert_eq!(expected(4, CostModel::Historical), (1.0, 0.0, Deterministic));
}

#[test]
fn the_author_counts_more_than_the_tool_and_the_template_task_more_than_both() {
    let mut plan = json!({"goal": "x", "tasks": [{"id": "a", "tool": "t", "expected_seconds": 60}],
        "metadata": {"template_id": "p"}});
    let mut knowledge = EstimateBasis::default();
    observe(&mut knowledge, "t", 20, 0.2, 0.0);
    assert_eq!(figures(&knowledge, &plan).0.seconds.expected, 60.0);
    observe(&mut knowledge, &RunExperience::template_key("p", "a"), 20, 3.0, 0.0);
    assert_eq!(figures(&knowledge, &plan).0.seconds.expected, 3.0);
    plan["metadata"] = json!({});
    assert_eq!(figures(&knowledge, &plan).0.seconds.expected, 60.0);
}

#[test]
fn models_cost_tokens_and_tools_calls() {
    let plan = json!({"goal": "x", "tasks": [
        {"id": "ask", "prompt": "Count to ten, please.", "metadata": {"model": "m"}},
        {"id": "call", "tool": "t", "depends_on": ["ask"], "retry": {"max_retries": 1}},
    ]});
    let mut knowledge = EstimateBasis::default();
    let price = ModelPrice { input_usd_per_million: 10.0, output_usd_per_million: 20.0 };
    knowledge.prices.models.insert("m".to_owned(), price);
    knowledge.prices.tools.insert("t".to_owned(), 0.25);
    let (estimate, bound) = figures(&knowledge, &plan);
    let [ask, call] = &estimate.tasks[..] else { panic!("two tasks") };
    assert_eq!(ask.tokens.expected, 526.0, "6 of the prompt, 20 before it, 500 of the answer");
    assert_eq!(ask.cost_usd.expected, 0.01026);
    assert_eq!(call.cost_usd.expected, 0.25);
    assert_eq!(estimate.cost_usd.expected, 0.26026);
    // Four attempts of 10,000 tokens at the dearer price, two calls of the tool.
    assert_eq!((bound.tokens, bound.cost_usd), (40_000, 0.8 + 0.5));
    // Four attempts of 300 s with waits of 1, 2 and 4 s, each half longer; then two with one.
    assert_eq!(bound.chain_seconds, 1200.0 + 10.5 + 600.0 + 1.5);
    assert_eq!(bound.seconds, (1810.5 + 1.5) / 2.0 + 0.5 * 1812.0);
}

#[test]
fn one_slow_run_says_little() {
    let mut knowledge = EstimateBasis::default();
    observe(&mut knowledge, "t", 19, 1.0, 0.0);
    observe(&mut knowledge, "t", 1, 100.0, 0.0);
    let observed = knowledge.experience.observed("t").expect("observed");
    assert_eq!((observed.runs, observed.seconds.expected), (20, 1.0));
    knowledge.experience.forget_before(Timestamp(1));
    assert_eq!(knowledge.experience.observed("t"), None);
}
