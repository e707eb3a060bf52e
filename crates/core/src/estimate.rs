//! What a task will probably take, before anything is known of it: by its type alone.

use crate::task::{Task, TaskType};

/// The expected duration in seconds: the author's, else a first guess by type. The guesses order
/// tasks (a model is slower than a tool, an agent than a model); they promise nothing.
pub fn expected_seconds(task: &Task) -> f64 {
    task.expected_seconds.unwrap_or(match task.task_type {
        TaskType::ToolCall => 1.0,
        TaskType::LlmCall => 5.0,
        TaskType::Atomic | TaskType::Compound => 30.0,
    })
}
