//! Numbers for the steps of an outline. Written numbers count, whatever their gaps; `1.1` stands below
//! `1`; what has no number is counted in its list.

use std::collections::{HashMap, HashSet};

use super::ImportedStep;
use super::label::WrittenNumber;
use super::sections::OutlineStep;

/// Steps with numbers, and what was noticed on the way.
pub(super) struct NumberedSteps {
    pub(super) steps: Vec<ImportedStep>,
    pub(super) repairs: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Gives every step a number of its own.
pub(super) fn number(steps: Vec<OutlineStep>) -> NumberedSteps {
    let mut numbering = StepNumbering::default();
    let steps = numbering.list(nested(steps), "", &mut 0);
    NumberedSteps { steps, repairs: numbering.repairs, warnings: numbering.warnings }
}

/// Puts `1.1` below `1` where both stand in one list.
fn nested(steps: Vec<OutlineStep>) -> Vec<OutlineStep> {
    let mut list: Vec<OutlineStep> = Vec::with_capacity(steps.len());
    // The way to the last step with a written number, from the list down.
    for mut step in steps {
        step.children = nested(std::mem::take(&mut step.children));
        let parent = step.written.as_ref().filter(|number| number.len() > 1).and_then(|number| {
            let last = list.iter_mut().rfind(|other| other.written.is_some())?;
            deepest_prefix(last, number)
        });
        match parent {
            Some(parent) => parent.children.push(step),
            None => list.push(step),
        }
    }
    list
}

/// The deepest last step whose number begins the given one.
fn deepest_prefix<'s>(step: &'s mut OutlineStep, number: &[u64]) -> Option<&'s mut OutlineStep> {
    let is_prefix = |other: &OutlineStep| {
        let written = other.written.as_ref();
        written.is_some_and(|w| w.len() < number.len() && number.starts_with(w))
    };
    if !is_prefix(step) {
        return None;
    }
    match step.children.last() {
        Some(last) if is_prefix(last) => {
            let last = step.children.last_mut().expect("there is one");
            deepest_prefix(last, number)
        }
        _ => Some(step),
    }
}

#[derive(Default)]
struct StepNumbering {
    used: HashSet<String>,
    repairs: Vec<String>,
    warnings: Vec<String>,
}

impl StepNumbering {
    /// `last`: the last number that was given in the list, which headings without a number share.
    fn list(&mut self, steps: Vec<OutlineStep>, prefix: &str, last: &mut u64) -> Vec<ImportedStep> {
        let as_written = self.written_counts(&steps, prefix);
        // Lists below headings that each begin anew are told apart by the headings' places.
        let are_groups = headings_begin_anew(&steps);
        let mut highest = highest(&steps);
        let mut numbered = Vec::with_capacity(steps.len());
        for (place, outline) in steps.into_iter().enumerate() {
            let OutlineStep { mut step, written, is_plain_heading, children } = outline;
            if is_plain_heading && !are_groups {
                // Such a group has no number that anybody could mean.
                step.number = format!("{prefix}#{}", place + 1);
                step.children = self.list(children, prefix, last);
                numbered.push(step);
                continue;
            }
            let wanted = match written.as_deref().filter(|_| as_written) {
                Some([one]) => format!("{prefix}{one}"),
                Some(parts) if fits(parts, prefix) || prefix.is_empty() => joined(parts),
                _ => format!("{prefix}{}", *last + 1),
            };
            step.number = self.fresh(wanted, prefix, &mut highest);
            *last = last_part(&step.number).unwrap_or(*last);
            highest = highest.max(*last);
            if step.text.is_empty() {
                step.text = format!("step {}", step.number);
                self.warnings.push(format!("step {} has no text", step.number));
            }
            let below = format!("{}.", step.number);
            step.children = self.list(children, &below, &mut 0);
            numbered.push(step);
        }
        numbered
    }

    /// False where the written numbers of a list say nothing: `1. 1. 1.` is counted. What else is
    /// odd about them is told.
    fn written_counts(&mut self, steps: &[OutlineStep], prefix: &str) -> bool {
        let written: Vec<&WrittenNumber> =
            steps.iter().filter_map(|step| step.written.as_ref()).collect();
        let of_list = if prefix.is_empty() {
            String::new()
        } else {
            format!(" of step {}", prefix.trim_end_matches('.'))
        };
        let is_one = written.len() > 1 && written.iter().all(|number| *number == written[0]);
        if is_one {
            self.repairs.push(format!(
                "all steps{of_list} have the number {}: they are counted as they stand",
                joined(written[0])
            ));
            return false;
        }
        if written.windows(2).any(|pair| pair[1] < pair[0]) {
            let shown: Vec<String> = written.iter().take(12).map(|number| joined(number)).collect();
            self.warnings.push(format!(
                "the numbers of the steps{of_list} run backwards ({}): their order is the one in which they stand",
                shown.join(", ")
            ));
        }
        true
    }

    /// A number that no other step has.
    fn fresh(&mut self, wanted: String, prefix: &str, highest: &mut u64) -> String {
        if self.used.insert(wanted.clone()) {
            return wanted;
        }
        let fresh = loop {
            *highest += 1;
            let fresh = format!("{prefix}{highest}");
            if self.used.insert(fresh.clone()) {
                break fresh;
            }
        };
        self.warnings.push(format!(
            "a second step {wanted} is step {fresh}: what names step {wanted} means the first one"
        ));
        fresh
    }
}

/// True if lists below headings without numbers use a number twice.
fn headings_begin_anew(steps: &[OutlineStep]) -> bool {
    let headings = steps.iter().filter(|step| step.is_plain_heading);
    let mut seen: HashMap<&WrittenNumber, usize> = HashMap::new();
    for (at, heading) in headings.enumerate() {
        for number in heading.children.iter().filter_map(|child| child.written.as_ref()) {
            if *seen.entry(number).or_insert(at) != at {
                return true;
            }
        }
    }
    false
}

/// The highest last part of the numbers written in a list.
fn highest(steps: &[OutlineStep]) -> u64 {
    let last = |step: &OutlineStep| step.written.as_ref().and_then(|number| number.last().copied());
    steps.iter().filter_map(last).max().unwrap_or(0)
}

fn fits(parts: &[u64], prefix: &str) -> bool {
    joined(parts).starts_with(prefix)
}

fn joined(parts: &[u64]) -> String {
    let parts: Vec<String> = parts.iter().map(u64::to_string).collect();
    parts.join(".")
}

fn last_part(number: &str) -> Option<u64> {
    number.rsplit('.').next()?.parse().ok()
}
