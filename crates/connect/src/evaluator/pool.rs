//! The pool of evaluator processes.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use l05_core::evaluation::EvaluationFailure;
use tokio::sync::Semaphore;

use super::process::{EvaluatorProcess, ProcessAnswer, died};

/// The fewest processes that may work at once: work that takes long must not hold up all that is short.
const PROCESSES_MIN: usize = 4;
/// How often a piece of work whose process was killed from outside is given to another.
const KILLED_RETRIES: u32 = 2;

/// Processes that evaluate; at most as many as the machine has cores, and no fewer than four.
pub struct EvaluatorPool {
    program: PathBuf,
    places: Semaphore,
    idle: Mutex<Vec<EvaluatorProcess>>,
}

impl EvaluatorPool {
    /// A pool of processes of `program`, whose main function calls [`super::serve`]. None is started yet.
    pub fn new(program: impl Into<PathBuf>) -> EvaluatorPool {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        EvaluatorPool {
            program: program.into(),
            places: Semaphore::new(cores.max(PROCESSES_MIN)),
            idle: Mutex::default(),
        }
    }

    /// Does a piece of work in a process, once one has room. `within` counts from then. Dropping the future kills the
    /// process that is at it.
    pub async fn run(
        &self,
        name: &str,
        work: &[u8],
        within: Duration,
    ) -> Result<Vec<u8>, EvaluationFailure> {
        let _place = self.places.acquire().await.expect("the pool never closes its places");
        let mut killed = 0;
        loop {
            let mut process = match self.take() {
                Some(process) => process,
                None => EvaluatorProcess::start(&self.program)
                    .map_err(|error| EvaluationFailure::Unavailable(error.to_string()))?,
            };
            let exchange = process.exchange(name, work, within);
            let Ok(ended) = tokio::time::timeout(within, exchange).await else {
                let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                return Err(EvaluationFailure::TimedOut { millis });
            };
            if let Ok(ProcessAnswer { answer, is_reusable }) = ended {
                if is_reusable {
                    self.idle().push(process);
                }
                return answer;
            }
            if killed == KILLED_RETRIES || !process.was_killed().await {
                return Err(died());
            }
            killed += 1;
        }
    }

    /// The process that was used last: the others may rest.
    fn take(&self) -> Option<EvaluatorProcess> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<EvaluatorProcess>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for EvaluatorPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EvaluatorPool({})", self.program.display())
    }
}
