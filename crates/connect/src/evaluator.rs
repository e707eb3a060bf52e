//! Evaluator processes: where text that others wrote is evaluated, because there it can be stopped.
//!
//! [`EvaluatorPool`] keeps a few processes of this program, started when they are first needed and used again. One piece
//! of work at a time goes to a process; a process that takes too long, or whose caller has gone, is killed, and so is
//! none but that one. [`serve`] is the other end: the main function of such a process, which limits itself first
//! (memory, stack, files, processor time). What work is, neither end knows: tools and core evaluations give a name and bytes.

mod limits;
mod pool;
mod process;
mod serve;

pub use limits::{FILE_MB, MEMORY_MB, STACK_MB};
pub use pool::EvaluatorPool;
pub use serve::{CHILD_ARGUMENT, EVALUATOR_WORK, serve};
