//! Limits and names of what an attempt works with.

use crate::id::{Attempt, PlanId};

/// The largest context of an attempt, in bytes: its inputs with all references resolved.
pub const CONTEXT_BYTES_MAX: usize = 10 << 20;

/// `plan_id/task_id/attempt`: the same for every repetition of an attempt.
pub fn idempotency_key(plan: PlanId, task_id: &str, attempt: Attempt) -> String {
    format!("{plan}/{task_id}/{}", attempt.0)
}
