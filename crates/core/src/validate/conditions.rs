//! Level 2: whether conditions can be evaluated over what their dependency gives.
//!
//! A condition is run over values of the dependency's output schema, by the evaluator that will
//! run it: one that fails on every value is wrong, one that fails on some is worth a warning.

use std::sync::Arc;

use serde_json::Value;

use super::FindingList;
use super::dataflow::ProducerPromises;
use crate::catalog::ToolCatalog;
use crate::condition::{Condition, ConditionError};
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::flow::{DataFlow, FlowKey, FlowVerdict, SchemaDocument, ValuePresence, samples, shown};
use crate::json_schema::compile_schema;
use crate::plan::{PlanDocument, PlanStructure};
use crate::task::TaskStatus;

pub(super) fn check(
    document: &PlanDocument,
    structure: &PlanStructure,
    catalog: &ToolCatalog,
    promises: &ProducerPromises,
    findings: &mut FindingList,
) {
    let inputs = Value::Object(document.inputs.clone());
    for (edge, conditions) in structure.all_conditions() {
        let edge = structure.graph().edge(edge);
        let (from, to) = (&document.tasks[edge.from.at()], &document.tasks[edge.to.at()]);
        for condition in conditions.iter().filter(|c| never_holds(c, from.allow_failure, &inputs)) {
            let why = if from.allow_failure {
                "no status with which the task goes on makes it true"
            } else {
                "the condition is read only when that task has COMPLETED, unless it has allow_failure"
            };
            let message = format!("the condition `{}` can never hold: {why}", condition.text());
            findings.warnings.push(
                Finding::new(ErrorCode::DependencyInvalid, ValidationLevel::Semantic, message)
                    .task(&to.task_id)
                    .field(format!("tasks[{}].dependencies", edge.to.0))
                    .suggest(format!(
                        "give `{}` allow_failure, or ask for another status",
                        from.task_id
                    )),
            );
        }
        let Some((schema, identity)) = promises.schema(edge.from, from, catalog) else { continue };
        for condition in conditions {
            let flow = judge(condition, schema, identity, &inputs, catalog);
            let finding = |message: String, suggestion: &str| {
                Finding::new(ErrorCode::DependencyInvalid, ValidationLevel::Semantic, message)
                    .task(&to.task_id)
                    .field(format!("tasks[{}].dependencies", edge.to.0))
                    .suggest(suggestion)
                    .detail("from", from.task_id.as_str())
                    .detail("to", to.task_id.as_str())
            };
            match &flow.verdict {
                FlowVerdict::Fits => {}
                FlowVerdict::Misfit { witness, why } => findings.errors.push(
                    finding(
                        format!(
                            "the condition cannot be evaluated over what `{}` gives, such as {}: {why}",
                            from.task_id,
                            shown(witness)
                        ),
                        "compare like with like, and read what the output has",
                    )
                    .detail("witness", witness.clone()),
                ),
                FlowVerdict::Undecided { why } => findings.warnings.push(finding(
                    format!("the condition may fail on what `{}` gives: {why}", from.task_id),
                    "ask with `has(outputs.name)` first, or declare it in the output schema",
                )),
            }
        }
    }
}

/// True if no status with which the condition is read makes it true, and nothing that is known only while the
/// plan runs has a say.
fn never_holds(condition: &Condition, allow_failure: bool, inputs: &Value) -> bool {
    if condition.reads("outputs") {
        return false;
    }
    let ended: &[TaskStatus] = if allow_failure {
        &[TaskStatus::Completed, TaskStatus::Failed, TaskStatus::TimedOut, TaskStatus::Cancelled]
    } else {
        &[TaskStatus::Completed]
    };
    let holds = |status: &TaskStatus| condition.evaluate(&Value::Null, inputs, *status);
    ended.iter().all(|status| holds(status) == Ok(false))
}

fn judge(
    condition: &Condition,
    schema: &Value,
    identity: &str,
    inputs: &Value,
    catalog: &ToolCatalog,
) -> Arc<DataFlow> {
    let make = || DataFlow {
        presence: ValuePresence::Always,
        branching: false,
        verdict: verdict(condition, schema, inputs),
    };
    if condition.reads("inputs") {
        return Arc::new(make());
    }
    let key = FlowKey {
        producer: identity.into(),
        path: condition.text().into(),
        consumer: "condition".into(),
        place: "".into(),
    };
    catalog.flows().get(key, make)
}

fn verdict(condition: &Condition, schema: &Value, inputs: &Value) -> FlowVerdict {
    let document = SchemaDocument::new(schema, "p".to_owned());
    let (mut never, mut always) = (false, true);
    for path in condition.output_paths() {
        let part = document.project(&path);
        never |= matches!(part.presence, ValuePresence::Never { .. });
        always &= part.presence == ValuePresence::Always;
        if !matches!(part.presence, ValuePresence::Never { .. }) && !part.declared {
            let why = "the output's schema says nothing of what it reads".to_owned();
            return FlowVerdict::Undecided { why };
        }
    }
    let Ok(validator) = compile_schema(schema) else { return FlowVerdict::Fits };
    let (mut passed, mut failed, mut of_types) = (0, None, true);
    for value in samples(schema).into_iter().filter(|value| validator.is_valid(value)) {
        match condition.evaluate(&value, inputs, TaskStatus::Completed) {
            Ok(_) => passed += 1,
            Err(error) => {
                of_types &= matches!(error, ConditionError::Evaluation { of_types: true, .. });
                failed = failed.or(Some((value, error.to_string())));
            }
        }
    }
    match failed {
        None => FlowVerdict::Fits,
        // The values are some of many: that all of them fail is a proof only where what is read
        // is never there, or always and of types that do not go together.
        Some((witness, why)) if passed == 0 && (never || (always && of_types)) => {
            FlowVerdict::Misfit { witness, why }
        }
        Some((witness, why)) => {
            FlowVerdict::Undecided { why: format!("for instance on {}: {why}", shown(&witness)) }
        }
    }
}
