//! Ids that look alike: a reader would take two tasks for one, and a reference for another.

use std::collections::HashMap;

use unicode_security::skeleton;

use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::plan::PlanDocument;
use crate::printable::is_invisible;

/// A character that nobody sees, or that changes how others are shown; inside an id it can only mislead.
pub(super) fn invisible(text: &str) -> Option<char> {
    text.chars().find(|c| is_invisible(*c))
}

/// Ids of which one is not plain ASCII and that have the same skeleton (Unicode TS 39, section 4): composed and
/// decomposed letters, letters of another script. Plain ids differ to whoever types them.
pub(super) fn check(document: &PlanDocument, errors: &mut Vec<Finding>) {
    if document.tasks.iter().all(|task| task.task_id.is_ascii()) {
        return;
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (i, task) in document.tasks.iter().enumerate() {
        let shape: String = skeleton(&task.task_id).collect();
        let first = *seen.entry(shape).or_insert(i);
        let other = &document.tasks[first].task_id;
        let same = *other == task.task_id || (other.is_ascii() && task.task_id.is_ascii());
        if first == i || same {
            continue;
        }
        let message = format!(
            "the id `{}` looks like `{other}` of tasks[{first}] and is another ({} and {})",
            task.task_id,
            task.task_id.escape_unicode(),
            other.escape_unicode()
        );
        errors.push(
            Finding::new(ErrorCode::PlanMalformed, ValidationLevel::Syntax, message)
                .task(&task.task_id)
                .field(format!("tasks[{i}].task_id"))
                .suggest("give one of them a name of its own"),
        );
    }
}
