//! The order of steps that state none: numbered ones follow each other, and so do those of which the
//! answer says so. Called by `steps`.

use serde_json::Value;

use super::draft::{DraftNeed, DraftPlan};
use crate::import::written_number;

/// What a step's number was read from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StepNumber {
    /// A field of its own: steps with one number run side by side.
    Field(u64),
    /// The beginning of its text: `2.1 Pay`. The list is in order.
    Text,
}

/// The number that the answer gives a step, if it gives one.
pub(super) fn number_of(
    fields: &[(String, &str, &Value)],
    id: &str,
    name: &str,
) -> Option<StepNumber> {
    const FIELDS: [&str; 8] =
        ["step", "stepnumber", "stepno", "order", "sequence", "position", "index", "number"];
    let of_field = fields.iter().filter(|(short, ..)| FIELDS.contains(&short.as_str()));
    let whole = |value: &Value| match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let of_id = || {
        let digits =
            id.strip_prefix("step").map_or(id, |rest| rest.trim_start_matches(['-', '_', ' ']));
        digits.parse().ok()
    };
    let given = fields.iter().any(|(short, ..)| is_id_field(short));
    let number = of_field.map(|(_, _, value)| whole(value)).find(Option::is_some).flatten();
    let number = number.or_else(|| given.then(of_id).flatten());
    // `"step": "3 Pay"`: under this name a number is one, whatever follows it.
    let is_step_text = fields.iter().any(|(short, _, value)| {
        let text = value.as_str().filter(|_| short == "step").unwrap_or_default();
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.len() < text.len() && rest.starts_with([' ', '.'])
    });
    let has_text = is_step_text || written_number(name).is_some();
    number.map(StepNumber::Field).or_else(|| has_text.then_some(StepNumber::Text))
}

fn is_id_field(short: &str) -> bool {
    matches!(short, "id" | "taskid" | "stepid" | "nodeid")
}

/// Gives steps that state no order the one that their numbers or the answer's words have.
///
/// `says_order`: the answer says in words that its steps come one after the other.
pub(super) fn state_order(draft: &mut DraftPlan, numbers: &[Option<StepNumber>], says_order: bool) {
    let all: Option<Vec<StepNumber>> = numbers.iter().cloned().collect();
    let groups: Vec<Vec<usize>> = match all {
        Some(numbers) => groups_of(&numbers),
        None if says_order => (0..draft.steps.len()).map(|at| vec![at]).collect(),
        None => {
            draft.warnings.push(format!(
                "the {} steps state no order: nothing waits for anything",
                draft.steps.len()
            ));
            return;
        }
    };
    for pair in groups.windows(2) {
        let needs: Vec<DraftNeed> =
            pair[0].iter().map(|at| DraftNeed::on(draft.steps[*at].id.clone())).collect();
        for at in &pair[1] {
            draft.steps[*at].needs.clone_from(&needs);
        }
    }
    let why =
        if says_order { "the answer says that they come in order" } else { "they are numbered" };
    draft.repairs.push(format!(
        "the {} steps state no dependencies, but {why}: each waits for the one before it",
        draft.steps.len()
    ));
}

/// Steps by their numbers; those of one number together.
fn groups_of(numbers: &[StepNumber]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    let by_field = numbers.iter().all(|number| matches!(number, StepNumber::Field(_)));
    if !by_field {
        return order.into_iter().map(|at| vec![at]).collect();
    }
    order.sort_by(|a, b| numbers[*a].cmp(&numbers[*b]));
    let chunks = order.chunk_by(|a, b| numbers[*a] == numbers[*b]);
    chunks.map(<[usize]>::to_vec).collect()
}

/// True if words around a plan say that its steps come one after the other.
pub(super) fn says_order(words: &str) -> bool {
    use std::sync::LazyLock;
    static ORDER: LazyLock<regex::Regex> = LazyLock::new(|| {
        regex::Regex::new(
            r"(?i)\b(?:in\s+(?:this|that|the\s+following|the\s+given|the\s+listed|sequential)\s+order\b|in\s+order(?:\s*[.,:;)]|$)|sequential(?:ly)?\b|one\s+after\s+(?:the\s+other|another)|in\s+sequence\b|serially\b)",
        )
        .expect("a fixed pattern, which the tests run")
    });
    ORDER.is_match(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_speak_of_order() {
        for words in
            ["Do them in this order:", "run sequentially", "one after the other", "in order."]
        {
            assert!(says_order(words), "{words}");
        }
        for words in ["in order to win", "a serial number's steps", "side by side"] {
            assert!(!says_order(words), "{words}");
        }
    }
}
