//! The plan among the values in an answer: models quote examples, draft, and think again. Called by
//! `answer`.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::found_steps::{count, count_in_prose, find};
use super::json::{self, UnreadableJson};
use super::json_notes::{JsonNotes, JsonRepair};
use super::wrapped::unwrapped;

/// Values in one answer that are looked at; more of them is noise.
const CANDIDATES_MAX: usize = 10_000;
/// The bytes before a value that say what it is.
const INTRODUCTION_BYTES: usize = 120;

/// A value with steps in it.
struct PlanCandidate {
    value: Value,
    notes: JsonNotes,
    steps: usize,
    /// The value is an object that holds a list of steps: more likely the plan than a bare list.
    is_object: bool,
    /// The words before it call it an example, a format, or the like.
    is_example: bool,
    at: Range<usize>,
}

/// The plan that was found.
#[derive(Debug)]
pub(super) struct FoundPlan {
    pub(super) value: Value,
    pub(super) notes: JsonNotes,
    /// The steps of other plans in the answer, which were passed over.
    pub(super) passed_over: Vec<usize>,
    /// The words around the plan.
    pub(super) words: String,
}

/// Reasons for which no plan was found.
pub(super) enum NoPlan {
    /// No value has steps; the first one, if there is any.
    NoSteps(Option<Value>),
    /// The text cannot be read.
    Unreadable(UnreadableJson),
}

impl From<UnreadableJson> for NoPlan {
    fn from(why: UnreadableJson) -> NoPlan {
        match why {
            UnreadableJson::Empty => NoPlan::NoSteps(None),
            why => NoPlan::Unreadable(why),
        }
    }
}

/// Finds the plan: the last one that is no example. Models correct themselves by writing on.
pub(super) fn find_plan(text: &str) -> Result<FoundPlan, NoPlan> {
    let mut candidates = fenced_plans(text)?;
    let mut first = None;
    if candidates.is_empty() {
        let trimmed = text.trim_start_matches(['\u{feff}', ' ', '\n', '\t', '\r']);
        let mut at = text.len() - trimmed.len();
        // A plan as a text; words in quotes begin many an answer in prose.
        let is_text = trimmed.starts_with('"') && serde_json::from_str::<String>(trimmed).is_ok();
        if is_text || trimmed.starts_with(['{', '[', '`']) || trimmed.starts_with("\\\"") {
            let (value, notes, end) = json::read_to_end(trimmed)?;
            let range = at..at + end;
            at += end;
            match candidate(value, notes, text, range, count) {
                Ok(found) => candidates.push(found),
                // Prose may begin with a quote.
                Err(value) => first = Some(value),
            }
            if candidates.is_empty() {
                at = text.len() - trimmed.len();
            }
        }
        scan(text, at, &mut candidates, &mut first)?;
    }
    choose(text, candidates).ok_or(NoPlan::NoSteps(first))
}

/// Looks at each value behind a place.
fn scan(
    text: &str,
    mut at: usize,
    candidates: &mut Vec<PlanCandidate>,
    first: &mut Option<Value>,
) -> Result<(), UnreadableJson> {
    let mut budget = json::RepairBudget::for_text(text);
    let mut looked_at = 0;
    while let Some(found) = text[at..].find(['{', '[']) {
        let begin = at + found;
        let (value, end, mut notes) = json::read_at(text, begin, &mut budget)?;
        notes.repair(JsonRepair::TextAround);
        at = end.max(begin + 1);
        match candidate(value, notes, text, begin..end, count_in_prose) {
            Ok(found) => candidates.push(found),
            Err(value) => {
                first.get_or_insert(value);
            }
        }
        looked_at += 1;
        if looked_at > CANDIDATES_MAX || at >= text.len() {
            break;
        }
    }
    Ok(())
}

/// The plans in fenced blocks.
fn fenced_plans(text: &str) -> Result<Vec<PlanCandidate>, UnreadableJson> {
    let mut candidates = Vec::new();
    for range in fenced(text) {
        let (value, mut notes) = json::read(&text[range.clone()])?;
        notes.repair(JsonRepair::CodeFences);
        if let Ok(found) = candidate(value, notes, text, range, count) {
            candidates.push(found);
        }
    }
    Ok(candidates)
}

/// Texts between fences at the beginning of lines, without the fence's own line.
fn fenced(text: &str) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let (mut open, mut at) = (None, 0);
    for line in text.split_inclusive('\n') {
        let begin = at;
        at += line.len();
        if line.trim_start().starts_with("```") {
            match open.take() {
                None => open = Some(at),
                Some(from) => blocks.push(from..begin),
            }
        }
    }
    blocks.extend(open.map(|from| from..text.len()));
    blocks.retain(|block| text[block.clone()].trim_start().starts_with(['{', '[']));
    blocks
}

/// A value as a plan; the value itself where it has no steps.
fn candidate(
    value: Value,
    mut notes: JsonNotes,
    text: &str,
    at: Range<usize>,
    count: fn(&Value) -> usize,
) -> Result<PlanCandidate, Value> {
    let value = match unwrapped(&value) {
        Some((inner, more)) => {
            notes.add(more);
            inner
        }
        None => value,
    };
    let steps = count(&value);
    if steps == 0 {
        return Err(value);
    }
    let is_object = find(&value).is_some_and(|found| found.plan.is_some());
    let is_example = is_example(&text[..at.start]);
    Ok(PlanCandidate { value, notes, steps, is_object, is_example, at })
}

/// True if the words before a value say that it is not the plan itself.
fn is_example(before: &str) -> bool {
    static EXAMPLE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?i)\b(?:examples?|e\.g\.|for\s+instance|format|template|schema|sample|draft|alternative(?:ly)?|instead\s+of|wrong|incorrect|first\s+(?:idea|thought|attempt|version)|you\s+gave)\b[^{}\[\]]*$",
        )
        .expect("a fixed pattern, which the tests run")
    });
    let mut begin = before.len().saturating_sub(INTRODUCTION_BYTES);
    while !before.is_char_boundary(begin) {
        begin += 1;
    }
    EXAMPLE.is_match(&before[begin..])
}

/// The best candidate, with what was passed over for it.
fn choose(text: &str, mut candidates: Vec<PlanCandidate>) -> Option<FoundPlan> {
    let rank = |candidate: &PlanCandidate| (!candidate.is_example, candidate.is_object);
    let best = (0..candidates.len()).max_by_key(|at| (rank(&candidates[*at]), *at))?;
    let chosen = candidates.remove(best);
    let words = format!("{} {}", &text[..chosen.at.start], &text[chosen.at.end..]);
    // A bare list beside a plan is more often a value that the words speak of.
    let others = candidates.iter().filter(|other| other.is_object || !chosen.is_object);
    Some(FoundPlan {
        passed_over: others.map(|other| other.steps).collect(),
        value: chosen.value,
        notes: chosen.notes,
        words,
    })
}
