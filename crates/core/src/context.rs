//! Limits and names of what an attempt works with.

use serde_json::Value;

use crate::id::{Attempt, PlanId};

/// The largest context of an attempt, in bytes: its inputs with all references resolved.
pub const CONTEXT_BYTES_MAX: usize = 10 << 20;

/// `plan_id/task_id/attempt`: the same for every repetition of an attempt.
pub fn idempotency_key(plan: PlanId, task_id: &str, attempt: Attempt) -> String {
    format!("{plan}/{task_id}/{}", attempt.0)
}

/// The length of a value's JSON text in bytes, without writing it down.
pub fn json_len(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("counting does not fail");
    count.0
}
