//! Conditions of CONDITIONAL dependencies: CEL over `outputs`, `inputs` and `status`.
//!
//! `outputs` and `status` are those of the dependency, `inputs` the plan's. A condition that does
//! not evaluate is an error, never "false" (spec 03, 3.5).

mod shape;

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::{Context, ExecutionError, Program, Value as CelValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reference::PathStep;
use crate::task::TaskStatus;
use shape::ExpressionShape;

/// The longest condition, in bytes; CEL's parser recurses, so its input is kept short.
pub const CONDITION_MAX_BYTES: usize = 2_000;

/// A compiled condition.
pub struct Condition {
    program: Program,
    text: String,
    is_small: bool,
}

/// Reasons for which a condition gives no verdict.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error, PartialEq)]
pub enum ConditionError {
    /// The text is not CEL.
    #[error("`{text}` is not a condition: {why}")]
    Syntax {
        /// As written.
        text: String,
        /// The compiler's words.
        why: String,
    },
    /// The condition refers to something that is not there, or compares unlike types.
    #[error("condition `{text}` cannot be evaluated: {why}")]
    Evaluation {
        /// As written.
        text: String,
        /// The evaluator's words.
        why: String,
        /// True if the types are wrong, whatever the values.
        of_types: bool,
    },
}

/// The parser's first error without its list of tokens. The words are for people alone; nothing is decided on them.
fn plain_words(errors: &cel::ParseErrors) -> String {
    let Some(error) = errors.errors.first() else { return "it does not parse".to_owned() };
    let column = error.pos.1.max(1);
    let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    let told = |prefix: &str| message.strip_prefix(prefix).and_then(|rest| rest.split('\'').next());
    let input = told("mismatched input '").or_else(|| told("extraneous input '"));
    match (input, told("token recognition error at: '")) {
        (Some("<EOF>"), _) => format!("something is missing at its end (column {column})"),
        (Some(token), _) => {
            let hint = match token {
                "and" | "AND" => "; write `&&`",
                "or" | "OR" => "; write `||`",
                "not" | "NOT" => "; write `!`",
                _ => "",
            };
            format!("`{token}` cannot stand at column {column}{hint}")
        }
        (None, Some("=")) => format!("`=` at column {column} compares nothing: write `==`"),
        (None, Some(token)) => format!("`{token}` at column {column} is no part of CEL"),
        (None, None) => {
            let first = message.split(" expecting ").next().unwrap_or(message);
            format!("{first} (column {column})")
        }
    }
}

impl Condition {
    /// Compiles; variables other than `outputs`, `inputs` and `status` are refused here.
    pub fn compile(text: &str) -> Result<Condition, ConditionError> {
        let fail = |why: String| ConditionError::Syntax { text: text.to_owned(), why };
        if text.len() > CONDITION_MAX_BYTES {
            return Err(fail(format!("it is longer than {CONDITION_MAX_BYTES} bytes")));
        }
        let program = Program::compile(text).map_err(|e| fail(plain_words(&e)))?;
        let shape = ExpressionShape::of(program.expression());
        if let Some(problem) = shape.problem() {
            return Err(fail(problem));
        }
        let references = program.references();
        let unknown: Vec<&str> = references
            .variables()
            .into_iter()
            .filter(|name| !["outputs", "inputs", "status"].contains(name))
            .filter(|name| !shape.bound.contains(name))
            .collect();
        if !unknown.is_empty() {
            return Err(fail(format!(
                "`{}` is unknown; there are `outputs`, `inputs` and `status`",
                unknown.join("`, `")
            )));
        }
        let is_small = shape.is_small();
        Ok(Condition { program, text: text.to_owned(), is_small })
    }

    /// True if a verdict takes no more time and memory than the values it reads; other conditions are evaluated where
    /// they can be stopped ([`crate::evaluation`]).
    pub fn is_small(&self) -> bool {
        self.is_small
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True if the condition reads a variable: `outputs`, `inputs` or `status`.
    pub fn reads(&self, variable: &str) -> bool {
        self.program.references().variables().contains(&variable)
    }

    /// The paths into `outputs` that it reads; not those it only asks for with `has`.
    pub fn output_paths(&self) -> Vec<Vec<PathStep>> {
        let mut paths = Vec::new();
        output_paths(self.program.expression(), &mut paths);
        paths
    }

    /// The verdict over the dependency's outputs and status and the plan's inputs.
    pub fn evaluate(
        &self,
        outputs: &Value,
        inputs: &Value,
        status: TaskStatus,
    ) -> Result<bool, ConditionError> {
        let fail = |why: String, of_types: bool| ConditionError::Evaluation {
            text: self.text.clone(),
            why,
            of_types,
        };
        let mut context = Context::default();
        context.add_variable_from_value("outputs", cel_value(outputs));
        context.add_variable_from_value("inputs", cel_value(inputs));
        context.add_variable_from_value("status", status.as_str());
        match self.program.execute(&context) {
            Ok(CelValue::Bool(verdict)) => Ok(verdict),
            Ok(other) => {
                Err(fail(format!("it gives {}, not true or false", other.type_of()), true))
            }
            Err(error) => Err(fail(in_plain_words(&error), is_of_types(&error))),
        }
    }
}

/// JSON as CEL has it: whole numbers are `int`, the type of a literal, whatever their sign; those beyond it
/// `uint`.
fn cel_value(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(b) => CelValue::Bool(*b),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(n), _) => CelValue::Int(n),
            (None, Some(n)) => CelValue::UInt(n),
            (None, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => CelValue::String(Arc::new(text.clone())),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(cel_value).collect())),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| (key.clone(), cel_value(value)));
            CelValue::from(entries.collect::<HashMap<String, CelValue>>())
        }
    }
}

/// An error in words of the condition, where CEL names its own functions.
fn in_plain_words(error: &ExecutionError) -> String {
    match error {
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            let sign = match *operator {
                "add" => "+",
                "sub" => "-",
                "mul" => "*",
                "div" => "/",
                "rem" => "%",
                other => other,
            };
            let (left, right) = (left.type_of(), right.type_of());
            format!(
                "`{sign}` does not take {left} and {right}: `double(x)`, `int(x)` and `string(x)` convert"
            )
        }
        error => error.to_string(),
    }
}

/// True if an error comes from what the values are, not from which: a key that is missing here and
/// a text that is no number there say nothing of the next value.
fn is_of_types(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::InvalidArgumentCount { .. }
            | ExecutionError::UnsupportedTargetType { .. }
            | ExecutionError::NotSupportedAsMethod { .. }
            | ExecutionError::UnsupportedKeyType(_)
            | ExecutionError::UnexpectedType { .. }
            | ExecutionError::NoSuchOverload(_)
            | ExecutionError::UndeclaredReference(_)
            | ExecutionError::MissingArgumentOrTarget
            | ExecutionError::ValuesNotComparable(..)
            | ExecutionError::UnsupportedBinaryOperator(..)
            | ExecutionError::UnsupportedIndex(..)
    )
}

/// Collects the longest selections that begin at `outputs`.
fn output_paths(expression: &IdedExpr, paths: &mut Vec<Vec<PathStep>>) {
    if let Some(path) = selection(expression) {
        paths.push(path);
        return;
    }
    match &expression.expr {
        Expr::Comprehension(each) => {
            for part in
                [&each.iter_range, &each.accu_init, &each.loop_cond, &each.loop_step, &each.result]
            {
                output_paths(part, paths);
            }
        }
        Expr::Call(call) => {
            for part in call.target.as_deref().into_iter().chain(&call.args) {
                output_paths(part, paths);
            }
        }
        Expr::List(list) => list.elements.iter().for_each(|part| output_paths(part, paths)),
        // `has(outputs.a.b)` asks for b and reads a.
        Expr::Select(select) => output_paths(&select.operand, paths),
        Expr::Map(map) => {
            map.entries
                .iter()
                .flat_map(|e| entry_parts(&e.expr))
                .for_each(|p| output_paths(p, paths));
        }
        Expr::Struct(fields) => {
            fields
                .entries
                .iter()
                .flat_map(|e| entry_parts(&e.expr))
                .for_each(|p| output_paths(p, paths));
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

/// `outputs.a[0].b` as steps; nothing for a bare `outputs`, which everything has.
fn selection(expression: &IdedExpr) -> Option<Vec<PathStep>> {
    let (operand, step) = match &expression.expr {
        Expr::Select(select) if !select.test => {
            (select.operand.as_ref(), PathStep::Name(select.field.clone()))
        }
        Expr::Call(call) if call.func_name == "_[_]" => {
            let [operand, index] = call.args.as_slice() else { return None };
            (operand, constant_step(index)?)
        }
        _ => return None,
    };
    let mut steps = match &operand.expr {
        Expr::Ident(name) if name == "outputs" => Vec::new(),
        _ => selection(operand)?,
    };
    steps.push(step);
    Some(steps)
}

fn constant_step(index: &IdedExpr) -> Option<PathStep> {
    match &index.expr {
        Expr::Literal(LiteralValue::Int(i)) => Some(PathStep::Index(*i.inner())),
        Expr::Literal(LiteralValue::String(name)) => Some(PathStep::Name(name.inner().to_owned())),
        _ => None,
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
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
    fn whole_numbers_count_as_literals_do() {
        let outputs = json!({"count": 2, "matches": [0, 1]});
        let inputs = json!({"x": 5, "neg": -5, "y": 8, "half": 0.5, "most": i64::MAX});
        let check = |text: &str| {
            let condition = Condition::compile(text).unwrap();
            condition.evaluate(&outputs, &inputs, TaskStatus::Completed)
        };
        for text in [
            "outputs.count % 2 == 0",
            "inputs.x + 1 == 6",
            "inputs.x - inputs.y < 0",
            "inputs.neg + inputs.y == 3",
            "inputs.x / 2 == 2",
            "-inputs.x < 0",
            "inputs.neg % 2 == -1",
            "outputs.count - 1 == 1",
            "outputs.matches[outputs.count - 1] == 1",
            "inputs.x == 5 ? inputs.x + 1 == 6 : false",
            "double(inputs.x) + inputs.half == 5.5",
            "inputs.x > inputs.half",
        ] {
            assert_eq!(check(text), Ok(true), "{text}");
        }
        for (text, told) in [
            ("inputs.most + 1 > 0", "overflow"),
            ("inputs.x / 0 == 1", "zero"),
            ("inputs.x + inputs.half > 1.0", "`+` does not take int and float"),
        ] {
            let error = check(text).unwrap_err().to_string();
            assert!(error.to_lowercase().contains(told), "{text}: {error}");
        }
    }

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
        assert_eq!(check("[1, 2].all(x, x > 0) && [1].exists(x, x == 1)"), Ok(true));
        assert_eq!(check("[1, 2].all(x, [1].all(y, y < x))"), Err(false), "nested loops");
        assert_eq!(
            check("[[1].map(y, y + 1)].all(x, true)"),
            Ok(true),
            "a loop over a loop's result is linear"
        );
    }
}
