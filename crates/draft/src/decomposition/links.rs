//! Who means whom: steps call each other by id, number or name (spec 08). Called by `steps`.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::draft::DraftStep;
use super::steps::plain;

/// A dependency before it is known whom it means.
pub(super) struct StatedLinks {
    pub(super) whom: String,
    pub(super) is_number: bool,
    pub(super) terms: Map<String, Value>,
}

/// Steps by everything that others may call them.
pub(super) struct StepNames {
    pub(super) ids: Vec<String>,
    by_id: HashMap<String, usize>,
    by_name: HashMap<String, Vec<usize>>,
    /// The number of the first step, where numbers are places.
    first: Option<usize>,
}

impl StepNames {
    pub(super) fn of(steps: &[DraftStep], said: &[Vec<StatedLinks>]) -> StepNames {
        let (mut by_id, mut by_name) = (HashMap::new(), HashMap::<String, Vec<usize>>::new());
        for (at, step) in steps.iter().enumerate() {
            by_id.entry(step.id.clone()).or_insert(at);
            for key in ["name", "description", "tool"] {
                if let Some(name) = step.fields.get(key).and_then(Value::as_str) {
                    let places = by_name.entry(name.trim().to_lowercase()).or_default();
                    if places.last() != Some(&at) {
                        places.push(at);
                    }
                }
            }
        }
        // Where steps are numbered by themselves, a number is never a place.
        let are_numbered = steps.iter().any(|s| s.id.bytes().all(|b| b.is_ascii_digit()));
        let counts_from_zero = said.iter().flatten().any(|one| one.is_number && one.whom == "0");
        let ids = steps.iter().map(|step| step.id.clone()).collect();
        StepNames {
            ids,
            by_id,
            by_name,
            first: (!are_numbered).then_some(usize::from(!counts_from_zero)),
        }
    }

    pub(super) fn find(&self, whom: &str, is_number: bool) -> Option<String> {
        self.place(whom, is_number).map(|at| self.ids[at].clone())
    }

    fn place(&self, whom: &str, is_number: bool) -> Option<usize> {
        if let Some(at) = self.by_id.get(whom) {
            return Some(*at);
        }
        let lower = whom.trim().to_lowercase();
        if let Some(at) = self.by_name.get(&lower).and_then(|places| places.first()) {
            return Some(*at);
        }
        // `step 3`, `task-3`, `#3`
        let digits = if is_number {
            lower.as_str()
        } else {
            ["step", "task", "node", "#"]
                .iter()
                .find_map(|word| lower.strip_prefix(word))?
                .trim_start_matches([' ', '-', '_', '#', ':'])
        };
        if let Some(at) = self.by_id.get(digits) {
            return Some(*at);
        }
        let at = digits.parse::<usize>().ok()?.checked_sub(self.first?)?;
        (at < self.ids.len()).then_some(at)
    }

    /// Both ends of a link; a tool that is linked to itself is two uses of it.
    pub(super) fn pair(&self, from: &str, to: &str) -> (Option<usize>, Option<usize>) {
        let end = |whom: &str| self.place(whom, whom.bytes().all(|b| b.is_ascii_digit()));
        let (source, target) = (end(from), end(to));
        if source != target {
            return (source, target);
        }
        let places = self.by_name.get(&to.trim().to_lowercase());
        (source, places.and_then(|places| places.get(1)).copied().or(target))
    }
}

/// The names under `depends_on` and the like.
pub(super) fn needs_of(value: &Value) -> Vec<StatedLinks> {
    let said = |whom: &str, is_number, terms| {
        let whom = whom.trim();
        (!whom.is_empty()).then(|| StatedLinks { whom: whom.to_owned(), is_number, terms })
    };
    match value {
        Value::Array(items) => items.iter().flat_map(needs_of).collect(),
        Value::Number(number) => {
            let is_none = number.as_i64().is_some_and(|n| n < 0);
            let one = (!is_none).then(|| said(&number.to_string(), true, Map::new())).flatten();
            one.into_iter().collect()
        }
        Value::String(text) => {
            let is_number = |part: &str| {
                !part.trim().is_empty() && part.trim().bytes().all(|b| b.is_ascii_digit())
            };
            // `1, 2` and `fetch, clean`: a comma is no part of an id that anybody gives.
            let parts: Vec<&str> = text.split(',').collect();
            parts.iter().filter_map(|part| said(part, is_number(part), Map::new())).collect()
        }
        Value::Object(members) => {
            let mut whom = Vec::new();
            let mut terms = Map::new();
            for (name, held) in members {
                match plain(name).as_str() {
                    "task" | "taskid" | "id" | "step" | "source" | "name" if whom.is_empty() => {
                        whom = needs_of(held);
                    }
                    "type" | "condition" => {
                        terms.insert(plain(name), held.clone());
                    }
                    "outputkey" => {
                        terms.insert("output_key".to_owned(), held.clone());
                    }
                    _ => {}
                }
            }
            terms.retain(|_, held| !held.is_null());
            for one in &mut whom {
                one.terms.clone_from(&terms);
            }
            whom
        }
        Value::Null | Value::Bool(_) => Vec::new(),
    }
}

/// Words for "nothing" and for the ends of a workflow, where no step is called so.
pub(super) fn is_nobody(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "" | "none" | "null" | "n/a" | "-" | "start" | "end" | "nothing"
    )
}

/// A link as an object with two ends, or as a pair.
pub(super) fn pair(value: &Value) -> Option<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let (from, to) = match value {
        Value::Array(ends) => match ends.as_slice() {
            [from, to] => (text(from)?, text(to)?),
            _ => return None,
        },
        Value::Object(members) => {
            let end = |names: [&str; 3]| {
                members
                    .iter()
                    .find(|(name, _)| names.contains(&&*plain(name)))
                    .and_then(|(_, v)| text(v))
            };
            (end(["source", "from", "start"])?, end(["target", "to", "end"])?)
        }
        _ => return None,
    };
    Some((from, to))
}
