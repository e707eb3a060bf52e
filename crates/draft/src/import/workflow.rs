//! Workflows written as `Node:` with numbered lines and `Edge:` with pairs (WorFBench's form):
//!
//! ```text
//! Node:
//! 1: go to the armchair
//! Edge: (START,1) (1,END)
//! ```

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

use super::{ImportDraft, ImportedStep, STEPS_MAX};

/// Reads a text of this form; `None` when it is none.
pub(super) fn read(text: &str) -> Option<ImportDraft> {
    static NODE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^\s*(\d+)\s*[:.]\s*(.*)$").expect("a fixed pattern"));
    static PAIR: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\(\s*([A-Za-z0-9]+)\s*,\s*([A-Za-z0-9]+)\s*\)").expect("a fixed pattern")
    });
    let begin = text.lines().position(|line| line.trim().eq_ignore_ascii_case("node:"))?;
    let head: Vec<&str> = text.lines().take(begin).map(str::trim).collect();
    let goal = head.into_iter().rfind(|line| !line.is_empty()).unwrap_or("workflow").to_owned();
    let mut draft = ImportDraft {
        goal,
        steps: Vec::new(),
        edges: Vec::new(),
        repairs: Vec::new(),
        warnings: Vec::new(),
    };
    let mut in_edges = false;
    let mut numbers: HashSet<String> = HashSet::new();
    for line in text.lines().skip(begin + 1) {
        let edges = line.trim().get(..5).filter(|word| word.eq_ignore_ascii_case("edge:"));
        in_edges |= edges.is_some();
        if in_edges {
            for pair in PAIR.captures_iter(line) {
                draft.edges.push((pair[1].to_owned(), pair[2].to_owned()));
            }
        } else if let Some(node) = NODE.captures(line) {
            let number = node[1].to_owned();
            if draft.steps.len() > STEPS_MAX {
                // The caller refuses so many; where the edges begin no longer matters.
                in_edges = true;
                break;
            }
            if !numbers.insert(number.clone()) {
                draft
                    .warnings
                    .push(format!("node {number} is there twice: the second was left out"));
                continue;
            }
            draft.steps.push(ImportedStep {
                number,
                text: node[2].trim().to_owned(),
                ..ImportedStep::default()
            });
        } else if let (Some(step), false) = (draft.steps.last_mut(), line.trim().is_empty()) {
            step.notes.push(line.trim().to_owned());
        }
    }
    if !in_edges {
        return None;
    }
    check_edges(&mut draft, &numbers);
    Some(draft)
}

/// START and END are the ends of the plan, not tasks of it.
fn check_edges(draft: &mut ImportDraft, numbers: &HashSet<String>) {
    let edges = std::mem::take(&mut draft.edges);
    let is_end = |word: &str| ["START", "END"].iter().any(|end| word.eq_ignore_ascii_case(end));
    for (from, to) in edges {
        if is_end(&from) || is_end(&to) {
            continue;
        }
        let known = |number: &str| numbers.contains(number);
        if !known(&from) || !known(&to) {
            let missing = if known(&from) { &to } else { &from };
            draft
                .warnings
                .push(format!("the edge ({from},{to}) was left out: there is no node {missing}"));
        } else if from == to {
            draft.warnings.push(format!("the edge ({from},{to}) was left out: it leads to itself"));
        } else {
            draft.edges.push((from, to));
        }
    }
}
