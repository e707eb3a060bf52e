//! Conditions of CONDITIONAL dependencies: CEL over `outputs`, `inputs` and `status`.
//!
//! `outputs` and `status` are those of the dependency, `inputs` the plan's. A condition that does
//! not evaluate is an error, never "false" (spec 03, 3.5).

use cel::{Context, Program, Value as CelValue};
use serde_json::Value;

use crate::task::TaskStatus;

/// The longest condition, in bytes; CEL's parser recurses, so its input is kept short.
pub const CONDITION_MAX_BYTES: usize = 2_000;

/// A compiled condition.
pub struct Condition {
    program: Program,
    text: String,
}

/// Why a condition gives no verdict.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConditionError {
    /// It is not CEL.
    #[error("`{text}` is not a condition: {why}")]
    Syntax {
        /// As written.
        text: String,
        /// What the compiler says.
        why: String,
    },
    /// It refers to something that is not there, or compares unlike types.
    #[error("condition `{text}` cannot be evaluated: {why}")]
    Evaluation {
        /// As written.
        text: String,
        /// What the evaluator says.
        why: String,
    },
}

impl Condition {
    /// Compiles; variables other than `outputs`, `inputs` and `status` are refused here.
    pub fn compile(text: &str) -> Result<Condition, ConditionError> {
        let fail = |why: String| ConditionError::Syntax { text: text.to_owned(), why };
        if text.len() > CONDITION_MAX_BYTES {
            return Err(fail(format!("it is longer than {CONDITION_MAX_BYTES} bytes")));
        }
        let program = Program::compile(text).map_err(|e| {
            fail(e.to_string().lines().next().unwrap_or("it does not parse").to_owned())
        })?;
        let references = program.references();
        let unknown: Vec<&str> = references
            .variables()
            .into_iter()
            .filter(|name| !["outputs", "inputs", "status"].contains(name))
            .collect();
        if !unknown.is_empty() {
            return Err(fail(format!(
                "`{}` is unknown; there are `outputs`, `inputs` and `status`",
                unknown.join("`, `")
            )));
        }
        Ok(Condition { program, text: text.to_owned() })
    }

    /// The verdict over the dependency's outputs and status and the plan's inputs.
    pub fn evaluate(
        &self,
        outputs: &Value,
        inputs: &Value,
        status: TaskStatus,
    ) -> Result<bool, ConditionError> {
        let fail = |why: String| ConditionError::Evaluation { text: self.text.clone(), why };
        let mut context = Context::default();
        context.add_variable("outputs", outputs).map_err(|e| fail(e.to_string()))?;
        context.add_variable("inputs", inputs).map_err(|e| fail(e.to_string()))?;
        context.add_variable_from_value("status", status.as_str());
        match self.program.execute(&context) {
            Ok(CelValue::Bool(verdict)) => Ok(verdict),
            Ok(other) => Err(fail(format!("it gives {}, not true or false", other.type_of()))),
            Err(error) => Err(fail(error.to_string())),
        }
    }
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Condition({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn verdicts_and_errors() {
        let outputs = json!({"count": 3, "name": "x", "deep": {"ok": true}});
        let inputs = json!({"limit": 2});
        let check = |text: &str| -> Result<bool, bool> {
            Condition::compile(text)
                .map_err(|_| false)?
                .evaluate(&outputs, &inputs, TaskStatus::Completed)
                .map_err(|_| true)
        };
        assert_eq!(check("outputs.count > inputs.limit"), Ok(true));
        assert_eq!(check("outputs.count > 5"), Ok(false));
        assert_eq!(check("outputs.deep.ok && status == 'COMPLETED'"), Ok(true));
        assert_eq!(check("has(outputs.missing)"), Ok(false));
        assert_eq!(check("outputs.missing > 1"), Err(true), "a missing field is an error");
        assert_eq!(check("outputs.name"), Err(true), "not a boolean");
        assert_eq!(check("outputs.name > 1"), Err(true), "unlike types");
        assert_eq!(check("output.count > 1"), Err(false), "unknown variable");
        assert_eq!(check("outputs.count >"), Err(false));
    }
}
