//! Level 4: forbidden and destructive tools, and secrets in plain sight. Signatures are checked
//! where signed plans are opened, sizes and depths at level 1, agent types with the agents.

use super::ValidationContext;
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::plan::{PlanDocument, PlanStructure};
use serde_json::json;

/// Names of fields that hold secrets (spec 04, 4.3).
const SECRET_NAMES: [&str; 6] = ["password", "token", "key", "secret", "api_key", "credentials"];

pub(super) fn check(
    document: &PlanDocument,
    structure: Option<&PlanStructure>,
    around: &ValidationContext<'_>,
    errors: &mut Vec<Finding>,
    warnings: &mut Vec<Finding>,
) {
    let catalog = around.catalog;
    let forbidden = &document.constraints.forbidden_tools;
    for (i, task) in document.tasks.iter().enumerate() {
        if let Some(tool) = task.tool.as_ref().filter(|tool| forbidden.contains(tool)) {
            let message = format!("task `{}` uses `{tool}`, which the goal forbids", task.task_id);
            errors.push(
                Finding::new(ErrorCode::ToolForbidden, ValidationLevel::Security, message)
                    .task(&task.task_id)
                    .field(format!("tasks[{i}].tool"))
                    .detail("conflict", json!({
                        "constraints": ["forbidden_tools"], "tasks": [task.task_id], "tools": [tool],
                    })),
            );
        }
        let known = task.tool.as_deref().and_then(|tool| catalog.get(tool));
        let asked = task.asks_first() || around.limits.approval.destructive;
        let unasked = known.filter(|_| !asked);
        if let Some(tool) = unasked.filter(|tool| tool.spec.destructive) {
            let message = format!(
                "task `{}` uses `{}`, which may destroy what was there, and nobody is asked",
                task.task_id, tool.spec.name
            );
            warnings.push(
                Finding::new(ErrorCode::SecurityCheckFailed, ValidationLevel::Security, message)
                    .task(&task.task_id)
                    .field(format!("tasks[{i}].tool"))
                    .suggest("give the task `gate: true`, or turn approvals.destructive on"),
            );
        }
        if structure.is_none() {
            continue;
        }
        for (name, value) in &task.inputs {
            let Some(text) = value.as_str().filter(|s| !s.is_empty()) else { continue };
            let named = SECRET_NAMES.contains(&name.to_ascii_lowercase().as_str());
            let bound = text.starts_with("secret://") || text.starts_with("$[");
            if (named && !bound) || looks_like_a_key(text) {
                let message = format!(
                    "input `{name}` of task `{}` looks like a secret in plain text",
                    task.task_id
                );
                warnings.push(
                    Finding::new(
                        ErrorCode::SecurityCheckFailed,
                        ValidationLevel::Security,
                        message,
                    )
                    .task(&task.task_id)
                    .field(format!("tasks[{i}].inputs.{name}"))
                    .suggest("keep it in a secret store and write `secret://name`"),
                );
            }
        }
    }
}

/// Beginnings that vendors give their keys, so that they can be found.
const KEY_PREFIXES: [&str; 10] =
    ["sk-", "sk_live_", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "AKIA", "AIza"];

/// One long word without the regularity of words: letters and digits mixed, and more than 4 bits
/// a character by Shannon's measure (random base64 has nearly 6, hexadecimal 4, English some 2.5).
fn looks_like_a_key(text: &str) -> bool {
    const LENGTH_MIN: usize = 24;
    const LENGTH_MAX: usize = 512;
    const BITS_MIN: f64 = 4.0;
    let word = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=+/.".contains(&b));
    let length = text.len();
    if !word || !(LENGTH_MIN / 2..=LENGTH_MAX).contains(&length) {
        return false;
    }
    if KEY_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
        return true;
    }
    // Paths and dotted names are long and mixed, too.
    let mixed = text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && text.bytes().any(|b| b.is_ascii_uppercase());
    length >= LENGTH_MIN && mixed && !text.contains('.') && bits_per_byte(text) >= BITS_MIN
}

fn bits_per_byte(text: &str) -> f64 {
    let mut counts = [0u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let total = text.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / total);
    -shares.map(|share| share * share.log2()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_words_and_paths() {
        for key in [
            "sk-proj-abcdefghijklmnop",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY1",
        ] {
            assert!(looks_like_a_key(key), "{key}");
        }
        for word in [
            "reports/2026-11-24/Summary-of-the-project.md",
            "a plain sentence with Words and 3 numbers",
            "org.example.Application2Controller",
            "project-status",
            "550e8400-e29b-41d4-a716-446655440000",
        ] {
            assert!(!looks_like_a_key(word), "{word}");
        }
    }
}
