//! Workflows written as `Node:` with numbered lines and `Edge:` with pairs (WorFBench's form):
//!
//! ```text
//! Node:
//! 1: go to the armchair
//! Edge: (START,1) (1,END)
//! ```
//!
//! Bullets, bold type and plurals around these words are looked through, and `1 -> 2` is a pair.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

use super::links::pattern;
use super::{ImportDraft, ImportedStep, STEPS_MAX};

/// Reads a text of this form; `None` when it is none.
pub(super) fn read(text: &str) -> Option<ImportDraft> {
    let begin =
        text.lines().position(|line| keyword(line).is_some_and(|(w, _)| w == Word::Node))?;
    let mut reader = WorkflowReader::default();
    reader.head(text.lines().take(begin));
    for line in text.lines().skip(begin) {
        reader.line(line);
        if reader.draft.steps.len() > STEPS_MAX {
            // The caller refuses so many; where the edges begin no longer matters.
            return Some(reader.draft);
        }
    }
    if reader.part != WorkflowPart::Edges {
        return None;
    }
    check_edges(&mut reader.draft, &reader.numbers);
    Some(reader.draft)
}

/// Words that begin a part of a workflow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Node,
    Edge,
    /// A heading above both or one of them.
    Graph,
}

/// The word at the beginning of a line, and the text behind it.
fn keyword(line: &str) -> Option<(Word, &str)> {
    static WORD: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)^[\s>*_#`+-]*(nodes?|edges?|graph|workflow|dependencies)[*_`]*\s*[:：][*_`]*\s*(.*)$",
        )
    });
    let found = WORD.captures(line)?;
    let word = match found[1].to_ascii_lowercase().as_str() {
        "node" | "nodes" => Word::Node,
        "edge" | "edges" | "dependencies" => Word::Edge,
        _ => Word::Graph,
    };
    found.get(2).map(|rest| (word, rest.as_str()))
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum WorkflowPart {
    #[default]
    Nodes,
    Edges,
}

#[derive(Default)]
struct WorkflowReader {
    draft: ImportDraft,
    part: WorkflowPart,
    numbers: HashSet<String>,
}

impl WorkflowReader {
    /// The last line before the workflow says what it is for.
    fn head<'l>(&mut self, lines: impl Iterator<Item = &'l str>) {
        let plain =
            |line: &'l str| line.trim().trim_start_matches(['#', ' ', '*']).trim_end_matches('*');
        let mut lines: Vec<&str> = lines.map(plain).filter(|line| !line.is_empty()).collect();
        self.draft.goal = lines.pop().unwrap_or("workflow").to_owned();
        for line in lines {
            self.not_understood(line);
        }
    }

    fn line(&mut self, line: &str) {
        let rest = match keyword(line) {
            Some((Word::Node, rest)) => {
                self.part = WorkflowPart::Nodes;
                rest
            }
            Some((Word::Edge, rest)) => {
                self.part = WorkflowPart::Edges;
                rest
            }
            Some((Word::Graph, rest)) => rest,
            None => line,
        };
        let rest = rest.trim();
        if rest.is_empty() || rest.starts_with("```") {
            return;
        }
        match self.part {
            WorkflowPart::Nodes => self.node(rest),
            WorkflowPart::Edges => self.edges(rest),
        }
    }

    fn node(&mut self, line: &str) {
        static NODE: LazyLock<Regex> = LazyLock::new(|| {
            pattern(r"(?i)^[*_`+-]*\s*(?:node\s*)?\(?(\d+)\)?[*_`]*\s*[:.)：][*_`]*\s*(.*)$")
        });
        let Some(node) = NODE.captures(line) else {
            match self.draft.steps.last_mut() {
                Some(step) => step.notes.push(line.to_owned()),
                None => self.not_understood(line),
            }
            return;
        };
        let number = node[1].to_owned();
        if !self.numbers.insert(number.clone()) {
            let warning =
                format!("node {number} is there twice: the second was left out: \"{line}\"");
            self.draft.warnings.push(warning);
            return;
        }
        self.draft.steps.push(ImportedStep {
            number,
            text: node[2].trim().to_owned(),
            ..ImportedStep::default()
        });
    }

    fn edges(&mut self, line: &str) {
        static PAIR: LazyLock<Regex> = LazyLock::new(|| {
            pattern(concat!(
                r"\(\s*([A-Za-z0-9]+)\s*,\s*([A-Za-z0-9]+)\s*\)",
                r"|\(?\b[A-Za-z0-9]+(?:\s*(?:-{1,2}>|→|=>)\s*[A-Za-z0-9]+)+\b\)?"
            ))
        });
        static END: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z0-9]+"));
        for found in PAIR.find_iter(line) {
            let ends: Vec<&str> = END.find_iter(found.as_str()).map(|end| end.as_str()).collect();
            let pairs = ends.windows(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
            self.draft.edges.extend(pairs);
        }
        let other = PAIR.replace_all(line, "");
        if other.chars().any(char::is_alphanumeric) {
            self.not_understood(other.trim());
        }
    }

    fn not_understood(&mut self, line: &str) {
        self.draft.warnings.push(format!("not understood: the line \"{line}\""));
    }
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
