//! Level 2: whether conditions can be evaluated over what their dependency gives.
//!
//! A condition is run over values of the dependency's output schema ([`verdict_over`]); one that is not small is asked
//! for.

use std::sync::Arc;

use serde_json::Value;

use super::dataflow::ProducerPromises;
use super::{AskedEvaluations, FindingList};
use crate::catalog::ToolCatalog;
use crate::condition::Condition;
use crate::error::ErrorCode;
use crate::evaluation::{Evaluation, EvaluationAnswer, EvaluationFailure, verdict_over};
use crate::finding::{Finding, ValidationLevel};
use crate::flow::{DataFlow, FlowKey, FlowVerdict, ValuePresence, shown};
use crate::plan::{PlanDocument, PlanStructure};
use crate::task::TaskStatus;

pub(super) fn check(
    document: &PlanDocument,
    structure: &PlanStructure,
    catalog: &ToolCatalog,
    promises: &ProducerPromises,
    asked: &AskedEvaluations<'_>,
    findings: &mut FindingList,
) {
    let inputs = Value::Object(document.inputs.clone());
    for (edge, conditions) in structure.all_conditions() {
        let edge = structure.graph().edge(edge);
        let (from, to) = (&document.tasks[edge.from.at()], &document.tasks[edge.to.at()]);
        let never = |c: &&Condition| never_holds(c, from.allow_failure, &inputs, asked);
        for condition in conditions.iter().filter(never) {
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
            let judged = judge(condition, schema, identity, &inputs, catalog, asked);
            let finding = |message: String, suggestion: &str| {
                Finding::new(ErrorCode::DependencyInvalid, ValidationLevel::Semantic, message)
                    .task(&to.task_id)
                    .field(format!("tasks[{}].dependencies", edge.to.0))
                    .suggest(suggestion)
                    .detail("from", from.task_id.as_str())
                    .detail("to", to.task_id.as_str())
            };
            let flow = match judged {
                None => continue,
                Some(Ok(flow)) => flow,
                Some(Err(failure)) => {
                    findings.errors.push(finding(
                        format!("the condition `{}` is refused: {failure}", condition.text()),
                        "ask for less: fewer loops, or a task that works out what is compared",
                    ));
                    continue;
                }
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
fn never_holds(
    condition: &Condition,
    allow_failure: bool,
    inputs: &Value,
    asked: &AskedEvaluations<'_>,
) -> bool {
    if condition.reads("outputs") {
        return false;
    }
    let ended: &[TaskStatus] = if allow_failure {
        &[TaskStatus::Completed, TaskStatus::Failed, TaskStatus::TimedOut, TaskStatus::Cancelled]
    } else {
        &[TaskStatus::Completed]
    };
    let holds = |status: &TaskStatus| -> Option<bool> {
        if condition.is_small() {
            return condition.evaluate(&Value::Null, inputs, *status).ok();
        }
        let asked = asked.ask(Evaluation::Condition {
            condition: condition.text().to_owned(),
            outputs: Value::Null,
            inputs: inputs.clone(),
            status: *status,
        });
        match asked {
            Some(Ok(EvaluationAnswer::Verdict(verdict))) => verdict.ok(),
            _ => None,
        }
    };
    ended.iter().all(|status| holds(status) == Some(false))
}

/// The verdict on a condition; none where it is asked for.
fn judge(
    condition: &Condition,
    schema: &Value,
    identity: &str,
    inputs: &Value,
    catalog: &ToolCatalog,
    asked: &AskedEvaluations<'_>,
) -> Option<Result<Arc<DataFlow>, EvaluationFailure>> {
    let flow = |verdict| DataFlow { presence: ValuePresence::Always, branching: false, verdict };
    if !condition.is_small() {
        let answer = asked.ask(Evaluation::ConditionOverSchema {
            condition: condition.text().to_owned(),
            schema: schema.clone(),
            inputs: inputs.clone(),
        })?;
        return match answer {
            Ok(EvaluationAnswer::Flow(verdict)) => Some(Ok(Arc::new(flow(verdict)))),
            Ok(_) => Some(Err(EvaluationFailure::Panicked)),
            Err(failure) => Some(Err(failure)),
        };
    }
    let make = || flow(verdict_over(condition, schema, inputs));
    if condition.reads("inputs") {
        return Some(Ok(Arc::new(make())));
    }
    let key = FlowKey {
        producer: identity.into(),
        path: condition.text().into(),
        consumer: "condition".into(),
        place: "".into(),
    };
    Some(Ok(catalog.flows().get(key, make)))
}
