//! What evaluator processes of this program do: work of the built-in tools, and evaluations of the core.
//!
//! `l05` calls [`serve`] in such a process, and hands [`PooledEvaluator`] to the engine.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use l05_core::evaluation::{Evaluation, EvaluationAnswer, EvaluationFailure};
use l05_engine::port::{BoxFuture, Evaluator};

use crate::evaluator::{self, EvaluatorPool, MEMORY_MB};
use crate::tools::{TOOL_WORK, answer_tool_work, limit_sqlite_heap};

/// The name of a core evaluation.
const EVALUATION_WORK: &str = "evaluation";

/// The engine's evaluator over a pool of processes.
#[derive(Debug)]
pub struct PooledEvaluator(pub Arc<EvaluatorPool>);

impl Evaluator for PooledEvaluator {
    fn evaluate(
        &self,
        evaluation: Evaluation,
        within: Duration,
    ) -> BoxFuture<'static, Result<EvaluationAnswer, EvaluationFailure>> {
        let pool = self.0.clone();
        Box::pin(async move {
            let work = serde_json::to_vec(&evaluation).expect("values have a text");
            let answer = pool.run(EVALUATION_WORK, &work, within).await?;
            serde_json::from_slice(&answer).map_err(|_| EvaluationFailure::Panicked)
        })
    }
}

/// The main function of an evaluator process.
pub fn serve() -> ExitCode {
    // SQLite tells what is too much where it can, instead of the process being ended.
    limit_sqlite_heap(MEMORY_MB << 19);
    evaluator::serve(answer)
}

/// An evaluator process's answer to a piece of work. Panics on what no version of this program sends.
fn answer(name: &str, work: &[u8]) -> Vec<u8> {
    match name {
        TOOL_WORK => answer_tool_work(work),
        EVALUATION_WORK => {
            let evaluation: Evaluation =
                serde_json::from_slice(work).expect("the parent is the same program");
            serde_json::to_vec(&evaluation.run()).expect("values have a text")
        }
        other => panic!("no work is called `{other}`"),
    }
}
