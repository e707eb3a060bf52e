//! Whatever evaluates text that others wrote.

use std::time::Duration;

use l05_core::evaluation::{Evaluation, EvaluationAnswer, EvaluationFailure};

use super::BoxFuture;

/// Evaluates conditions, paths and schemas that are not provably small.
pub trait Evaluator: Send + Sync {
    /// The answer, or the reason for which there is none. An implementation that can stops the evaluation after
    /// `within`, and when the future is dropped.
    fn evaluate(
        &self,
        evaluation: Evaluation,
        within: Duration,
    ) -> BoxFuture<'static, Result<EvaluationAnswer, EvaluationFailure>>;
}

/// Evaluates in threads of this process: for programs that host no evaluator processes. Only the static limits on the
/// text bound what an evaluation takes; one that is given up goes on in its thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadEvaluator;

impl Evaluator for ThreadEvaluator {
    fn evaluate(
        &self,
        evaluation: Evaluation,
        within: Duration,
    ) -> BoxFuture<'static, Result<EvaluationAnswer, EvaluationFailure>> {
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || evaluation.run());
            match tokio::time::timeout(within, work).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(EvaluationFailure::Panicked),
                Err(_) => Err(EvaluationFailure::TimedOut { millis: within.as_millis() as u64 }),
            }
        })
    }
}
