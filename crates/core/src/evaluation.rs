//! Evaluations of text that others wrote, apart from who asks for them and where they run.
//!
//! Conditions, paths and schemas of a plan can be written so that a short text takes hours or gigabytes. What is
//! provably small is evaluated where it stands. Everything else is an [`Evaluation`]: validation says which ones it
//! needs ([`crate::validate::examine`]), a run asks for them one by one, and the engine's evaluator port answers,
//! in a process that can be stopped where there is one.

mod over_schema;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::condition::{Condition, ConditionError};
use crate::flow::FlowVerdict;
use crate::json_path::parse_json_path;
use crate::json_schema::schema_problem;
use crate::reference::Reference;
use crate::task::TaskStatus;
pub(crate) use over_schema::verdict_over;

/// One piece of work on a text that others wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evaluation {
    /// A condition's verdict. The answer is [`EvaluationAnswer::Verdict`].
    Condition {
        /// The condition, as written.
        condition: String,
        /// The dependency's outputs.
        outputs: Value,
        /// The plan's inputs.
        inputs: Value,
        /// The dependency's status.
        status: TaskStatus,
    },
    /// Whether a condition can be evaluated over the outputs that a schema describes. The answer is
    /// [`EvaluationAnswer::Flow`].
    ConditionOverSchema {
        /// The condition, as written.
        condition: String,
        /// The schema of the dependency's outputs.
        schema: Value,
        /// The plan's inputs.
        inputs: Value,
    },
    /// The matches of a JSONPath. The answer is [`EvaluationAnswer::Matches`].
    Query {
        /// The path, with its `$`.
        path: String,
        /// The value to look into.
        value: Value,
    },
    /// The first thing that a schema refuses about a value. The answer is [`EvaluationAnswer::Problem`].
    Schema {
        /// The JSON Schema.
        schema: Value,
        /// The value.
        value: Value,
    },
}

/// The result of an [`Evaluation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationAnswer {
    /// Of a condition: true, false, or the reason for which there is no verdict.
    Verdict(Result<bool, ConditionError>),
    /// Of a condition over a schema.
    Flow(FlowVerdict),
    /// Of a query: all that it finds, in order.
    Matches(Vec<Value>),
    /// Of a schema: none where it takes the value.
    Problem(Option<String>),
}

/// The reason for which an evaluation has no answer. None of them goes away when it is tried again, but for
/// [`EvaluationFailure::Unavailable`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationFailure {
    /// The time was over.
    #[error("evaluating it takes longer than {} s", *millis as f64 / 1000.0)]
    TimedOut {
        /// The time it had, in milliseconds.
        millis: u64,
    },
    /// The process that evaluated it ended without an answer.
    #[error(
        "evaluating it needs more than {memory_mb} MB of memory, {stack_mb} MB of stack or {file_mb} MB of \
         temporary files, or crashes the evaluator"
    )]
    Died {
        /// The memory it had, in MB.
        memory_mb: u64,
        /// The stack it had, in MB.
        stack_mb: u64,
        /// The file it may write, in MB.
        file_mb: u64,
    },
    /// The evaluation panicked.
    #[error("evaluating it crashed; this is a bug of L05")]
    Panicked,
    /// No process could be had.
    #[error("no evaluator process can be started: {0}")]
    Unavailable(String),
}

impl Evaluation {
    /// The query of a reference that is not small, into the value it points at.
    pub fn query(reference: &Reference, value: &Value) -> Evaluation {
        Evaluation::Query { path: reference.json_path(), value: value.clone() }
    }

    /// Does the work in this thread, however long it takes.
    pub fn run(&self) -> EvaluationAnswer {
        match self {
            Evaluation::Condition { condition, outputs, inputs, status } => {
                let compiled = Condition::compile(condition);
                EvaluationAnswer::Verdict(
                    compiled.and_then(|c| c.evaluate(outputs, inputs, *status)),
                )
            }
            Evaluation::ConditionOverSchema { condition, schema, inputs } => {
                EvaluationAnswer::Flow(match Condition::compile(condition) {
                    Ok(condition) => verdict_over(&condition, schema, inputs),
                    Err(error) => FlowVerdict::Undecided { why: error.to_string() },
                })
            }
            Evaluation::Query { path, value } => EvaluationAnswer::Matches(
                // One that does not parse was refused where the plan was read.
                parse_json_path(path)
                    .map(|path| path.query(value).into_iter().cloned().collect())
                    .unwrap_or_default(),
            ),
            Evaluation::Schema { schema, value } => {
                EvaluationAnswer::Problem(schema_problem(schema, value))
            }
        }
    }
}

/// Answers that are there, for a second look at the same document.
#[derive(Clone, Debug, Default)]
pub struct EvaluationAnswers {
    known: HashMap<Evaluation, Result<EvaluationAnswer, EvaluationFailure>>,
}

impl EvaluationAnswers {
    /// Adds an answer.
    pub fn add(
        &mut self,
        evaluation: Evaluation,
        answer: Result<EvaluationAnswer, EvaluationFailure>,
    ) {
        self.known.insert(evaluation, answer);
    }

    /// An answer; none where it has to be asked for.
    pub(crate) fn get(
        &self,
        evaluation: &Evaluation,
    ) -> Option<&Result<EvaluationAnswer, EvaluationFailure>> {
        self.known.get(evaluation)
    }
}
