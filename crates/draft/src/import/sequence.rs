//! From an outline to tasks and edges: numbers, nesting, and what steps say of each other.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::Regex;

use super::links::{PHASE, StepLinks, heading_links, links, side_by_side};
use super::numbering::{NumberedSteps, number};
use super::sections::OutlineSteps;
use super::{EDGES_MAX, ImportDraft, ImportedStep};

/// Numbers, nesting and statements become tasks and edges.
pub(super) fn resolve(outline: OutlineSteps) -> ImportDraft {
    let NumberedSteps { steps, repairs, mut warnings } = number(outline.steps);
    let names = StepPlaces::of(&steps, &outline.left_out);
    let left_out = outline.left_out.into_iter().map(|what| format!("not understood: {what}"));
    warnings.splice(0..0, left_out);
    let mut draft = ImportDraft { goal: outline.goal, repairs, warnings, ..ImportDraft::default() };
    let mut flat =
        FlatStep { draft: &mut draft, names, leaves: HashMap::new(), placed: HashMap::new() };
    flat.level(&steps, &[], ListContext::default());
    let places = flat.names.places;
    // Steps that were placed out of turn stand where they stood.
    draft.steps.sort_by_key(|step| places.get(&step.number).copied());
    draft
}

/// Steps of the whole text by everything that others may call them.
struct StepPlaces {
    /// The place in the text, by number.
    places: HashMap<String, usize>,
    /// Numbers by name or id, in lower case.
    by_name: HashMap<String, String>,
    /// Numbers by the last part of the number, as it is written; none where two steps have it.
    by_last: HashMap<String, Option<String>>,
    /// A list of boxes with marks of what may run side by side is in order otherwise.
    is_marked_parallel: bool,
    /// Steps of which a sentence outside of them says that they run beside another one.
    beside: HashMap<String, String>,
}

impl StepPlaces {
    fn of(steps: &[ImportedStep], remarks: &[String]) -> StepPlaces {
        let mut all = StepPlaces {
            places: HashMap::new(),
            by_name: HashMap::new(),
            by_last: HashMap::new(),
            is_marked_parallel: false,
            beside: HashMap::new(),
        };
        all.add(steps, true);
        for group in remarks.iter().flat_map(|remark| side_by_side(remark)) {
            let known = group.iter().filter_map(|name| {
                let by_name = all.named(name);
                by_name.or_else(|| all.meant(name, "").map(ToOwned::to_owned))
            });
            let known: Vec<String> = known.collect();
            let Some((first, others)) = known.split_first() else { continue };
            let pairs = others.iter().map(|other| (other.clone(), first.clone()));
            all.beside.extend(pairs.filter(|(other, first)| parent(other) == parent(first)));
        }
        all
    }

    fn named(&self, name: &str) -> Option<String> {
        self.by_name.get(&name.to_lowercase()).cloned()
    }

    fn add(&mut self, steps: &[ImportedStep], is_outermost: bool) {
        for step in steps {
            let place = self.places.len();
            self.places.insert(step.number.clone(), place);
            for name in names_of(&step.text) {
                self.by_name.entry(name).or_insert_with(|| step.number.clone());
            }
            if let Some((_, last)) = step.number.rsplit_once('.').filter(|_| !is_outermost) {
                let of_last = self.by_last.entry(last.to_owned());
                of_last
                    .and_modify(|known| *known = None)
                    .or_insert_with(|| Some(step.number.clone()));
            }
            self.is_marked_parallel |= step.children.is_empty() && step.text.contains("[P]");
            self.add(&step.children, false);
        }
    }

    /// By place in the text.
    fn in_order(&self, tasks: HashSet<String>) -> Vec<String> {
        let mut tasks: Vec<String> = tasks.into_iter().collect();
        tasks.sort_by_key(|task| self.places.get(task).copied());
        tasks
    }
}

/// What a list of steps stands in.
#[derive(Clone, Copy, Default)]
struct ListContext {
    /// The list stands within a step: its order counts whatever marks its items have.
    in_step: bool,
    /// Within a phase, each task waits for the phase before, whatever else it says.
    in_phase: bool,
}

/// Replaces steps that have steps within them by those, and finds the edges.
struct FlatStep<'d> {
    draft: &'d mut ImportDraft,
    names: StepPlaces,
    /// For every number, also of steps that were replaced: the tasks that end it.
    leaves: HashMap<String, GroupEnds>,
    /// Places of tasks among those that were placed.
    placed: HashMap<String, usize>,
}

#[derive(Clone, Default)]
struct GroupEnds {
    last: Vec<String>,
    /// Dependencies that the step itself was found to have.
    needs: Vec<String>,
}

/// What a step finds where it stands in its list.
struct StepSurroundings<'s> {
    /// The step before it.
    previous: Option<&'s GroupEnds>,
    /// The steps that it follows: the one before it with all that runs beside that.
    follows: Option<Vec<String>>,
    /// The tasks so far that nothing waits for.
    ended: &'s HashSet<String>,
    /// The tasks that the whole list waits for.
    before: &'s [String],
}

impl FlatStep<'_> {
    /// One list of steps that all need `before`; gives the tasks that end it.
    fn level(
        &mut self,
        steps: &[ImportedStep],
        before: &[String],
        context: ListContext,
    ) -> Vec<String> {
        let said: Vec<StepLinks> = steps.iter().map(|step| self.said(step)).collect();
        let any_said = said.iter().any(|links| !links.needs.is_empty() || links.free);
        // Boxes and bullets are in order unless the list says of some what they need.
        let in_turn = context.in_step || !any_said || self.names.is_marked_parallel;
        let mut ends_of: Vec<Option<GroupEnds>> = vec![None; steps.len()];
        let mut ended: HashSet<String> = HashSet::new();
        let first = self.draft.steps.len();
        let turns = StepTurns::of(steps, &said);
        for at in turns.order.iter().copied() {
            // The text is refused: what more it says need not be known.
            if self.draft.has_too_many_edges {
                break;
            }
            let (step, links) = (&steps[at], &said[at]);
            let last_of = |at: &usize| ends_of[*at].iter().flat_map(|ends| ends.last.clone());
            let follows =
                turns.follows[at].map(|group| turns.groups[group].iter().flat_map(last_of));
            let around = StepSurroundings {
                previous: turns.previous[at].and_then(|at| ends_of[at].as_ref()),
                follows: (step.is_numbered || step.is_heading || in_turn)
                    .then(|| follows.map_or_else(|| before.to_vec(), Iterator::collect)),
                ended: &ended,
                before,
            };
            let mut needs = self.needs(step, links, &around);
            if context.in_phase && !self.any_placed_since(first, &needs) {
                needs.extend(before.iter().cloned());
            }
            let needs = self.names.in_order(needs);
            let ends = self.place(step, &needs);
            for task in &needs {
                ended.remove(task);
            }
            ended.extend(ends.last.iter().cloned());
            self.leaves.insert(step.number.clone(), ends.clone());
            ends_of[at] = Some(ends);
        }
        self.names.in_order(ended)
    }

    fn any_placed_since(&self, first: usize, needs: &HashSet<String>) -> bool {
        needs.iter().any(|need| self.placed.get(need).is_some_and(|at| *at >= first))
    }

    /// What a step says of others. Notes below a heading speak of what is to come, unless they begin
    /// by naming dependencies.
    fn said(&mut self, step: &ImportedStep) -> StepLinks {
        let mut links = if step.is_heading {
            heading_links(&step.text, &step.notes)
        } else {
            links(&format!("{}\n{}", step.text, step.notes.join("\n")))
        };
        for name in std::mem::take(&mut links.names) {
            let plain = name.text.to_lowercase();
            let plain = plain.trim_start_matches("the ").trim_start_matches("task ").trim();
            match self.names.by_name.get(plain).filter(|found| **found != step.number) {
                Some(found) => links.needs.push(found.clone()),
                None if name.is_certain => self.draft.warnings.push(format!(
                    "step {}: \"{}\" names no step: left out",
                    step.number, name.text
                )),
                None => {}
            }
        }
        if let Some(other) = self.names.beside.get(&step.number)
            && !links.is_stated()
        {
            links.beside = Some(vec![other.clone()]);
        }
        if step.is_fork {
            links.beside = None;
        }
        links
    }

    fn needs(
        &mut self,
        step: &ImportedStep,
        links: &StepLinks,
        around: &StepSurroundings<'_>,
    ) -> HashSet<String> {
        let number = &step.number;
        let mut needs: HashSet<String> = HashSet::new();
        let mut is_beside = false;
        if let Some(named) = &links.beside {
            let beside: Vec<GroupEnds> = match (named.is_empty(), around.previous) {
                (true, Some(previous)) => vec![previous.clone()],
                (true, None) => Vec::new(),
                (false, _) => named.iter().filter_map(|other| self.ends(other, number)).collect(),
            };
            if !beside.is_empty() {
                is_beside = true;
                self.draft.repairs.push(format!(
                    "step {number} runs beside {}",
                    if named.is_empty() {
                        "the step before it".to_owned()
                    } else {
                        named.join(", ")
                    }
                ));
            }
            needs.extend(beside.into_iter().flat_map(|ends| ends.needs));
        }
        for other in &links.needs {
            needs.extend(self.ends(other, number).into_iter().flat_map(|ends| ends.last));
        }
        if links.needs_all {
            needs.extend(around.ended.iter().cloned());
        }
        if links.needs_previous {
            needs.extend(around.previous.into_iter().flat_map(|ends| ends.last.clone()));
        }
        // What was said and not understood is no statement.
        let lost = needs.is_empty() && !is_beside && !links.free;
        match &around.follows {
            Some(follows) if !links.is_stated() || lost => needs.extend(follows.iter().cloned()),
            _ if needs.is_empty() && !is_beside => needs.extend(around.before.iter().cloned()),
            _ => {}
        }
        needs
    }

    /// Gives a step the beginning and end of another one; steps that come later may not have been
    /// placed.
    fn ends(&mut self, other: &str, number: &str) -> Option<GroupEnds> {
        let found = self.names.meant(other, number);
        let ends = found.and_then(|found| self.leaves.get(found)).cloned();
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
            return self.place_task(step, needs);
        }
        // A step that is followed by nothing but options is there without them, too.
        let is_task = !step.is_heading && step.children.iter().all(|child| child.optional);
        let mut before = needs.to_vec();
        if is_task {
            before = self.place_task(step, needs).last;
            self.draft.repairs.push(format!(
                "step {} (\"{}\") is a task, and the steps within it are optional",
                step.number, step.text
            ));
        } else {
            self.draft.repairs.push(told_group(step));
        }
        let children: Vec<ImportedStep> = step
            .children
            .iter()
            .enumerate()
            .map(|(i, c)| if is_task { c.clone() } else { within(c, step, i == 0) })
            .collect();
        let context = ListContext { in_step: true, in_phase: step.is_heading };
        let last = if step.is_fork {
            self.fork(&children, &before, context)
        } else {
            self.level(&children, &before, context)
        };
        GroupEnds { last, needs: needs.to_vec() }
    }

    /// Steps that begin together.
    fn fork(
        &mut self,
        steps: &[ImportedStep],
        before: &[String],
        context: ListContext,
    ) -> Vec<String> {
        let ends = steps.iter().map(|step| self.level(std::slice::from_ref(step), before, context));
        let ends: Vec<Vec<String>> = ends.collect();
        ends.concat()
    }

    fn place_task(&mut self, step: &ImportedStep, needs: &[String]) -> GroupEnds {
        if self.draft.edges.len() + needs.len() <= EDGES_MAX {
            let edges = needs.iter().map(|need| (need.clone(), step.number.clone()));
            self.draft.edges.extend(edges);
        } else {
            self.draft.has_too_many_edges = true;
        }
        if step.optional {
            self.draft.repairs.push(format!("step {} is marked as optional", step.number));
        }
        self.placed.insert(step.number.clone(), self.draft.steps.len());
        self.draft.steps.push(ImportedStep { children: Vec::new(), ..step.clone() });
        GroupEnds { last: vec![step.number.clone()], needs: needs.to_vec() }
    }
}

fn told_group(step: &ImportedStep) -> String {
    let steps = match step.children.len() {
        1 => "one step".to_owned(),
        steps => format!("{steps} steps"),
    };
    if step.is_fork {
        return format!(
            "the {steps} within step {} (\"{}\") begin together",
            step.number, step.text
        );
    }
    if step.number.contains('#') {
        return format!("\"{}\" is a group of {steps}", step.text);
    }
    format!("step {} (\"{}\") is a group of {steps}", step.number, step.text)
}

impl StepPlaces {
    /// The number of the step that `other` means, said by step `number`: `2` inside `1.x` is its
    /// sibling `1.2` where there is one, else the only step that is written with this number.
    fn meant<'s>(&'s self, other: &'s str, number: &str) -> Option<&'s str> {
        if let Some(phase) = other.strip_prefix(PHASE) {
            return self.places.contains_key(phase).then_some(phase);
        }
        let sibling = number.rsplit_once('.').and_then(|(prefix, _)| {
            self.places.get_key_value(&format!("{prefix}.{other}")).map(|(key, _)| key.as_str())
        });
        let only = || self.by_last.get(other)?.as_deref();
        let whole = || self.places.contains_key(other).then_some(other);
        if number.contains('.') {
            sibling.or_else(only).or_else(whole)
        } else {
            whole().or_else(only)
        }
    }
}

/// The number of the step that a step stands in.
fn parent(number: &str) -> &str {
    number.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// The turns of the steps of one list, before any is placed.
struct StepTurns {
    /// The order in which they are placed: all that is needed, and the step that it follows.
    order: Vec<usize>,
    /// Steps that run side by side, each group after the one before it. A step that needs what
    /// stands later is out of turn, and nothing follows it.
    groups: Vec<Vec<usize>>,
    /// The group that each step follows where nothing else is said.
    follows: Vec<Option<usize>>,
    /// The last step in turn before each.
    previous: Vec<Option<usize>>,
}

impl StepTurns {
    fn of(steps: &[ImportedStep], said: &[StepLinks]) -> StepTurns {
        let places: HashMap<&str, usize> =
            steps.iter().enumerate().map(|(at, step)| (step.number.as_str(), at)).collect();
        let place_of = |at: usize, other: &str| {
            let number = &steps[at].number;
            let sibling = number.rsplit_once('.').map(|(prefix, _)| format!("{prefix}.{other}"));
            let found = sibling.as_deref().and_then(|full| places.get(full));
            found.or(places.get(other)).copied().filter(|found| *found != at)
        };
        let places_of = |at: usize, others: &[String]| -> Vec<usize> {
            others.iter().filter_map(|other| place_of(at, other)).collect()
        };
        let mut turns = StepTurns {
            order: Vec::new(),
            groups: Vec::new(),
            follows: Vec::with_capacity(steps.len()),
            previous: Vec::with_capacity(steps.len()),
        };
        let mut needs: Vec<Vec<usize>> = Vec::with_capacity(steps.len());
        let mut last = None;
        for (at, links) in said.iter().enumerate() {
            let mut needed = places_of(at, &links.needs);
            let beside = links.beside.as_ref();
            needed.extend(beside.iter().flat_map(|named| places_of(at, named)));
            turns.previous.push(last);
            let group = turns.groups.len().checked_sub(1);
            let joins = beside.is_some() && group.is_some();
            turns.follows.push(if joins { group.and_then(|g| g.checked_sub(1)) } else { group });
            if needed.iter().all(|need| *need < at) {
                match turns.groups.last_mut().filter(|_| joins) {
                    Some(group) => group.push(at),
                    None => turns.groups.push(vec![at]),
                }
                last = Some(at);
            }
            needs.push(needed);
        }
        turns.order = turns.order(&needs);
        turns
    }

    /// Depth first; a step that is met again on the way closes a circle and stays where it stands.
    fn order(&self, needs: &[Vec<usize>]) -> Vec<usize> {
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
                let before = needs[at].iter().chain(&self.previous[at]);
                stack.extend(before.map(|need| (*need, false)));
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

/// A nested step keeps the words of the step it belongs to; the first one its notes, too. They are
/// kept apart from its own, because what they say of other steps is said of the outer step.
fn within(child: &ImportedStep, parent: &ImportedStep, is_first: bool) -> ImportedStep {
    let mut child = child.clone();
    child.part_of.push(format!("Part of: {}", parent.text));
    if is_first {
        child.part_of.extend(parent.notes.iter().cloned());
        child.commands.splice(0..0, parent.commands.iter().cloned());
        child.files.splice(0..0, parent.files.iter().cloned());
    }
    child.part_of.extend(parent.part_of.iter().take(1).cloned());
    child
}
