//! From an outline to tasks and edges: numbers, nesting, and what steps say of each other.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::Regex;

use super::links::{StepLinks, links};
use super::markdown::{DEPTH_MAX, ItemKind, MarkdownItem};
use super::{ImportDraft, ImportedStep};

/// Numbers, nesting and statements become tasks and edges.
pub(super) fn resolve(
    (items, goal, left_out): (Vec<MarkdownItem>, String, Vec<String>),
) -> ImportDraft {
    let mut draft = ImportDraft {
        goal,
        steps: Vec::new(),
        edges: Vec::new(),
        repairs: Vec::new(),
        warnings: left_out.into_iter().map(|what| format!("not understood: {what}")).collect(),
    };
    let steps = number(items, "", 0, &mut draft);
    let mut flat = FlatStep { draft: &mut draft, leaves: HashMap::new() };
    flat.level(&steps, &[]);
    // Steps that were placed out of turn stand where they stood.
    draft.steps.sort_by_cached_key(|step| number_parts(&step.number));
    draft
}

/// Gives every item a number of its own; plain bullets below a step are its notes.
fn number(
    items: Vec<MarkdownItem>,
    prefix: &str,
    depth: usize,
    draft: &mut ImportDraft,
) -> Vec<(ImportedStep, bool)> {
    let mut used: HashSet<String> = HashSet::new();
    let mut steps = Vec::new();
    for (place, item) in (1u64..).zip(items) {
        let wanted = match item.kind {
            ItemKind::Numbered(number) => number,
            ItemKind::Checkbox | ItemKind::Bullet => place,
        };
        let mut number = format!("{prefix}{wanted}");
        if !used.insert(number.clone()) {
            let fresh = (place..).map(|n| format!("{prefix}{n}")).find(|n| !used.contains(n));
            number = fresh.expect("there is always a further number");
            used.insert(number.clone());
            draft.repairs.push(format!("a second step {prefix}{wanted} is step {number}"));
        }
        let mut step = ImportedStep {
            text: item.text,
            notes: item.notes,
            commands: item.commands,
            files: item.files,
            done: item.done,
            number: number.clone(),
            children: Vec::new(),
            part_of: Vec::new(),
        };
        let (below, notes): (Vec<MarkdownItem>, Vec<MarkdownItem>) = item
            .children
            .into_iter()
            .partition(|child| child.kind != ItemKind::Bullet && depth + 1 < DEPTH_MAX);
        for note in notes {
            note_below(&mut step, note);
        }
        if step.text.is_empty() {
            step.text = format!("step {number}");
            draft.warnings.push(format!("step {number} has no text"));
        }
        let children = number_children(below, &number, depth, draft);
        step.children = children;
        let numbered = matches!(item.kind, ItemKind::Numbered(_));
        steps.push((step, numbered));
    }
    steps
}

fn number_children(
    items: Vec<MarkdownItem>,
    parent: &str,
    depth: usize,
    draft: &mut ImportDraft,
) -> Vec<ImportedStep> {
    let steps = number(items, &format!("{parent}."), depth + 1, draft);
    steps.into_iter().map(|(step, _)| step).collect()
}

/// A bullet and all below it become notes of a step. Depth is bounded by the parser's nesting.
fn note_below(step: &mut ImportedStep, item: MarkdownItem) {
    let mut stack = vec![item];
    while let Some(mut item) = stack.pop() {
        step.notes.push(item.text);
        step.notes.append(&mut item.notes);
        step.commands.append(&mut item.commands);
        step.files.append(&mut item.files);
        stack.extend(item.children.into_iter().rev());
    }
}

/// Replaces steps that have steps within them by those, and finds the edges.
struct FlatStep<'d> {
    draft: &'d mut ImportDraft,
    /// For every number, also of steps that were replaced: the tasks that end it.
    leaves: HashMap<String, GroupEnds>,
}

#[derive(Clone, Default)]
struct GroupEnds {
    last: Vec<String>,
    /// Dependencies that the step itself was found to have.
    needs: Vec<String>,
}

impl FlatStep<'_> {
    /// One list of steps that all need `before`; gives the tasks that end it.
    fn level(&mut self, steps: &[(ImportedStep, bool)], before: &[String]) -> Vec<String> {
        let mut said: Vec<StepLinks> = steps
            .iter()
            .map(|(step, _)| links(&format!("{}\n{}", step.text, step.notes.join("\n"))))
            .collect();
        self.resolve_names(steps, &mut said);
        let any_said = said.iter().any(|links| !links.needs.is_empty() || links.free);
        let mut ends_of: Vec<Option<GroupEnds>> = vec![None; steps.len()];
        let mut ended: HashSet<String> = HashSet::new();
        let turns = StepTurns::of(steps, &said);
        for at in turns.order.iter().copied() {
            let ((step, numbered), links) = (&steps[at], &said[at]);
            // Boxes and bullets are in order unless the list says of some what they need.
            let follows = *numbered || !any_said;
            let previous = turns.follows[at].and_then(|at| ends_of[at].clone());
            let needs = self.needs(step, links, previous.as_ref(), &ended, before, follows);
            let ends = self.place(step, &needs);
            for task in &needs {
                ended.remove(task);
            }
            ended.extend(ends.last.iter().cloned());
            self.leaves.insert(step.number.clone(), ends.clone());
            ends_of[at] = Some(ends);
        }
        in_order(ended)
    }

    /// Names and ids become numbers of this list's steps: `Fetch data`, `T002`.
    fn resolve_names(&mut self, steps: &[(ImportedStep, bool)], said: &mut [StepLinks]) {
        if said.iter().all(|links| links.names.is_empty()) {
            return;
        }
        let mut by_name: HashMap<String, usize> = HashMap::new();
        for (at, (step, _)) in steps.iter().enumerate() {
            for name in names_of(&step.text) {
                by_name.entry(name).or_insert(at);
            }
        }
        for (at, links) in said.iter_mut().enumerate() {
            for name in std::mem::take(&mut links.names) {
                let plain = name.to_lowercase();
                let plain = plain.trim_start_matches("the ").trim_start_matches("task ").trim();
                match by_name.get(plain).filter(|found| **found != at) {
                    Some(found) => links.needs.push(steps[*found].0.number.clone()),
                    None => self.draft.warnings.push(format!(
                        "step {}: \"{name}\" names no step of its list: left out",
                        steps[at].0.number
                    )),
                }
            }
        }
    }

    fn needs(
        &mut self,
        step: &ImportedStep,
        links: &StepLinks,
        previous: Option<&GroupEnds>,
        ended: &HashSet<String>,
        before: &[String],
        follows: bool,
    ) -> Vec<String> {
        let number = &step.number;
        let mut needs: Vec<String> = Vec::new();
        if let Some(named) = &links.beside {
            let beside: Vec<GroupEnds> = match (named.is_empty(), previous) {
                (true, Some(previous)) => vec![previous.clone()],
                (true, None) => Vec::new(),
                (false, _) => named.iter().filter_map(|other| self.ends(other, number)).collect(),
            };
            self.draft.repairs.push(format!(
                "step {number} runs beside {}",
                if named.is_empty() { "the step before it".to_owned() } else { named.join(", ") }
            ));
            needs.extend(beside.into_iter().flat_map(|ends| ends.needs));
        }
        for other in &links.needs {
            needs.extend(self.ends(other, number).into_iter().flat_map(|ends| ends.last));
        }
        if links.needs_all {
            needs.extend(ended.iter().cloned());
        }
        if links.needs_previous {
            needs.extend(previous.into_iter().flat_map(|ends| ends.last.clone()));
        }
        // What was said and not understood is no statement.
        let lost = !links.needs.is_empty() && needs.is_empty() && links.beside.is_none();
        if (!links.is_stated() || lost) && follows {
            match previous {
                Some(previous) => needs.extend(previous.last.iter().cloned()),
                None => needs.extend(before.iter().cloned()),
            }
        } else if needs.is_empty() && links.beside.is_none() {
            needs.extend(before.iter().cloned());
        }
        in_order(needs.into_iter().collect())
    }

    /// Gives a step the beginning and end of another one; steps that come later may not have been
    /// placed.
    fn ends(&mut self, other: &str, number: &str) -> Option<GroupEnds> {
        // `2` inside `1.x` means its sibling `1.2` where there is one.
        let sibling = || {
            let (prefix, _) = number.rsplit_once('.')?;
            let full = format!("{prefix}.{other}");
            self.leaves.get(&full)
        };
        let ends = sibling().or_else(|| self.leaves.get(other)).cloned();
        if ends.is_none() {
            let what = if other == number { "names itself" } else { "names" };
            self.draft.warnings.push(format!(
                "step {number} {what} step {other}, which is no step before it: left out"
            ));
        }
        ends
    }

    /// A step without steps in it is a task; another is replaced by those.
    fn place(&mut self, step: &ImportedStep, needs: &[String]) -> GroupEnds {
        if step.children.is_empty() {
            let edges = needs.iter().map(|need| (need.clone(), step.number.clone()));
            self.draft.edges.extend(edges);
            let flat = ImportedStep { children: Vec::new(), ..step.clone() };
            self.draft.steps.push(flat);
            let itself = vec![step.number.clone()];
            return GroupEnds { last: itself, needs: needs.to_vec() };
        }
        self.draft.repairs.push(format!(
            "step {} (\"{}\") is its {} steps",
            step.number,
            step.text,
            step.children.len()
        ));
        let children: Vec<(ImportedStep, bool)> = step
            .children
            .iter()
            .enumerate()
            .map(|(i, c)| (within(c, step, i == 0), true))
            .collect();
        let last = self.level(&children, needs);
        GroupEnds { last, needs: needs.to_vec() }
    }
}

/// The turns of the steps of one list, before any is placed.
struct StepTurns {
    /// The order in which they are placed: all that is needed, and the step that it follows.
    order: Vec<usize>,
    /// The step that each follows where nothing is said: the last one before it that needs nothing
    /// which stands later. A step that does is out of turn, and nothing follows it.
    follows: Vec<Option<usize>>,
}

impl StepTurns {
    fn of(steps: &[(ImportedStep, bool)], said: &[StepLinks]) -> StepTurns {
        let places: HashMap<&str, usize> =
            steps.iter().enumerate().map(|(at, (step, _))| (step.number.as_str(), at)).collect();
        let place_of = |at: usize, other: &str| {
            let number = &steps[at].0.number;
            let sibling = number.rsplit_once('.').map(|(prefix, _)| format!("{prefix}.{other}"));
            let found = sibling.as_deref().and_then(|full| places.get(full));
            found.or(places.get(other)).copied().filter(|found| *found != at)
        };
        let needs: Vec<Vec<usize>> = (0..steps.len())
            .map(|at| said[at].needs.iter().filter_map(|other| place_of(at, other)).collect())
            .collect();
        let mut follows = Vec::with_capacity(steps.len());
        let mut last = None;
        for (at, needs) in needs.iter().enumerate() {
            follows.push(last);
            if needs.iter().all(|need| *need < at) {
                last = Some(at);
            }
        }
        StepTurns { order: StepTurns::order(&needs, &follows), follows }
    }

    /// Depth first; a step that is met again on the way closes a circle and stays where it stands.
    fn order(needs: &[Vec<usize>], follows: &[Option<usize>]) -> Vec<usize> {
        let mut placed = vec![false; needs.len()];
        let mut on_way = vec![false; needs.len()];
        let mut order = Vec::with_capacity(needs.len());
        for first in 0..needs.len() {
            let mut stack = vec![(first, false)];
            while let Some((at, ready)) = stack.pop() {
                if placed[at] || (on_way[at] && !ready) {
                    continue;
                }
                if ready {
                    placed[at] = true;
                    order.push(at);
                    continue;
                }
                on_way[at] = true;
                stack.push((at, true));
                stack.extend(needs[at].iter().chain(&follows[at]).map(|need| (*need, false)));
            }
        }
        order
    }
}

/// Names that others may give a step: its whole text, the text before what it says of others, and
/// an id at its beginning.
fn names_of(text: &str) -> Vec<String> {
    static ID: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^([A-Za-z]{1,4}-?\d{1,5})\b").expect("a fixed pattern"));
    let whole = text.trim().to_lowercase();
    let title = whole.split(['(', ',', ':', '.', ';']).next().unwrap_or_default().trim().to_owned();
    let id = ID.captures(text.trim()).map(|found| found[1].to_lowercase());
    let rest = id.as_ref().map(|id| title[id.len().min(title.len())..].trim().to_owned());
    let all = [Some(whole), Some(title), id, rest];
    all.into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// By number: 2 before 10, 2.1 behind 2.
fn in_order(tasks: HashSet<String>) -> Vec<String> {
    let mut tasks: Vec<String> = tasks.into_iter().collect();
    tasks.sort_by_cached_key(|task| number_parts(task));
    tasks
}

fn number_parts(number: &str) -> Vec<u64> {
    number.split('.').map(|part| part.parse().unwrap_or(u64::MAX)).collect()
}

/// A nested step keeps the words of the step it belongs to; the first one its notes, too. They are
/// kept apart from its own, because what they say of other steps is said of the outer step.
fn within(child: &ImportedStep, parent: &ImportedStep, is_first: bool) -> ImportedStep {
    let mut child = child.clone();
    child.part_of.push(format!("Part of: {}", parent.text));
    if is_first {
        child.part_of.extend(parent.notes.iter().cloned());
    }
    child.part_of.extend(parent.part_of.iter().take(1).cloned());
    child
}
