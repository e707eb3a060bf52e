//! Questions to the evaluator port, as runs and planning ask them: what is small is answered here.

use std::sync::Arc;
use std::time::Duration;

use l05_core::ErrorCode;
use l05_core::condition::Condition;
use l05_core::context::json_len;
use l05_core::evaluation::{Evaluation, EvaluationAnswer, EvaluationAnswers, EvaluationFailure};
use l05_core::json_schema::{is_small_check, schema_problem};
use l05_core::plan::DocumentReading;
use l05_core::reference::Reference;
use l05_core::task::TaskStatus;
use l05_core::validate::{Examined, Validation};
use l05_run::event::TaskError;
use serde_json::Value;

use crate::port::Evaluator;

/// Validates a document: `look` examines it once with the answers that are there, as often as it needs more of them.
pub async fn validate_in_rounds<F>(
    evaluator: &dyn Evaluator,
    mut reading: DocumentReading,
    mut look: impl FnMut(DocumentReading, Arc<EvaluationAnswers>) -> F,
) -> Validation
where
    F: Future<Output = Examined>,
{
    let mut answers = Arc::new(EvaluationAnswers::default());
    loop {
        match look(reading, answers.clone()).await {
            Examined::Done(validation) => return *validation,
            Examined::Needs { evaluations, reading: again } => {
                reading = *again;
                let answers = Arc::make_mut(&mut answers);
                for evaluation in evaluations {
                    let asked = evaluator.evaluate(evaluation.clone(), EVALUATION_TIME_MAX);
                    answers.add(evaluation, asked.await);
                }
            }
        }
    }
}

/// The longest time that one evaluation may take.
const EVALUATION_TIME_MAX: Duration = Duration::from_secs(5);

/// The evaluator of a service.
#[derive(Clone)]
pub(crate) struct EvaluationPort(Arc<dyn Evaluator>);

impl EvaluationPort {
    pub(crate) fn new(evaluator: Arc<dyn Evaluator>) -> EvaluationPort {
        EvaluationPort(evaluator)
    }

    /// The evaluator itself.
    pub(crate) fn evaluator(&self) -> &dyn Evaluator {
        &*self.0
    }

    async fn ask(&self, evaluation: Evaluation) -> Result<EvaluationAnswer, EvaluationFailure> {
        self.0.evaluate(evaluation, EVALUATION_TIME_MAX).await
    }

    /// A condition's verdict.
    pub(crate) async fn condition(
        &self,
        condition: &Condition,
        outputs: &Value,
        inputs: &Value,
        status: TaskStatus,
    ) -> Result<bool, TaskError> {
        let refused = |why: String| TaskError::new(ErrorCode::DependencyInvalid, why);
        if condition.is_small() {
            return condition.evaluate(outputs, inputs, status).map_err(|e| refused(e.to_string()));
        }
        let asked = self.ask(Evaluation::Condition {
            condition: condition.text().to_owned(),
            outputs: outputs.clone(),
            inputs: inputs.clone(),
            status,
        });
        match asked.await {
            Ok(EvaluationAnswer::Verdict(verdict)) => verdict.map_err(|e| refused(e.to_string())),
            other => {
                let what = format!("the condition `{}`", condition.text());
                Err(unanswered(ErrorCode::DependencyInvalid, &what, other.err()))
            }
        }
    }

    /// The value that a reference which is not small finds in what it points at.
    pub(crate) async fn query(
        &self,
        reference: &Reference,
        value: &Value,
    ) -> Result<Value, TaskError> {
        match self.ask(Evaluation::query(reference, value)).await {
            Ok(EvaluationAnswer::Matches(found)) => Ok(Value::Array(found)),
            other => {
                let what = format!("`{reference}`");
                Err(unanswered(ErrorCode::ReferenceUnresolved, &what, other.err()))
            }
        }
    }

    /// The first thing that a schema refuses about a value.
    pub(crate) async fn schema_problem(
        &self,
        schema: &Value,
        value: &Value,
    ) -> Result<Option<String>, TaskError> {
        if is_small_check(schema, json_len(value)) {
            return Ok(schema_problem(schema, value));
        }
        let asked = Evaluation::Schema { schema: schema.clone(), value: value.clone() };
        match self.ask(asked).await {
            Ok(EvaluationAnswer::Problem(problem)) => Ok(problem),
            other => Err(unanswered(ErrorCode::TypeMismatch, "the task's schema", other.err())),
        }
    }
}

/// The error of an evaluation without an answer. Only where no process could be had is it worth another try.
fn unanswered(code: ErrorCode, what: &str, failure: Option<EvaluationFailure>) -> TaskError {
    match failure.unwrap_or(EvaluationFailure::Panicked) {
        failure @ EvaluationFailure::Unavailable(_) => {
            TaskError::new(ErrorCode::ContextInjectionFailed, format!("{what}: {failure}"))
        }
        failure => TaskError::last(code, format!("{what}: {failure}")),
    }
}
