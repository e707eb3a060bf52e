//! Whether a condition can be evaluated over what its dependency gives.
//!
//! The condition is run over values of the dependency's output schema, by the evaluator that will run it: one that
//! fails on every value is wrong, one that fails on some is worth a warning.

use serde_json::Value;

use crate::condition::{Condition, ConditionError};
use crate::flow::{FlowVerdict, SchemaDocument, ValuePresence, samples, shown};
use crate::json_schema::{compile_schema, is_bounded};
use crate::task::TaskStatus;

/// The verdict on a condition over the outputs that `schema` describes, with the plan's inputs.
pub(crate) fn verdict_over(condition: &Condition, schema: &Value, inputs: &Value) -> FlowVerdict {
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
    if !is_bounded(schema) {
        let why = "the output's schema refers to its parts in too many ways".to_owned();
        return FlowVerdict::Undecided { why };
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
