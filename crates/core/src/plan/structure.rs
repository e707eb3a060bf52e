//! What a document's tasks say once parsed: ids, bindings, conditions and the graph.
//!
//! Built once per plan, by validation and by opening a signed plan; the run machine and the
//! executors only ever see the result.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::condition::Condition;
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::graph::{CyclicEdges, DependencyCycle, DependencyGraph, Edge, EdgeIndex};
use crate::id::TaskIndex;
use crate::plan::PlanDocument;
use crate::reference::{InputBinding, Reference, ReferencePlace, ReferenceSource};
use crate::suggest::{did_you_mean, nearest};
use crate::task::{Task, TaskDependency};

/// Ids come from models and users: a quick hash, but a keyed one.
type Ids = ahash::HashMap<String, TaskIndex>;

/// The parsed form of a plan's tasks.
#[derive(Debug)]
pub struct PlanStructure {
    ids: Ids,
    bindings: Vec<TaskBindings>,
    conditions: BTreeMap<EdgeIndex, Vec<Condition>>,
    graph: DependencyGraph,
    /// False where edges were left out, because with them there is no graph.
    is_whole: bool,
}

/// A task's values with their references parsed.
#[derive(Debug, Default)]
pub struct TaskBindings {
    /// The task's inputs, by name.
    pub inputs: Vec<(String, InputBinding)>,
    /// The prompt of an LLM_CALL.
    pub prompt: Option<InputBinding>,
    /// The list of a fan-out.
    pub list: Option<Reference>,
    /// Outputs that DATA dependencies name: they must be there when the task starts.
    pub named_outputs: Vec<Reference>,
}

impl TaskBindings {
    /// All values of the task that may hold references; the list of a fan-out is none of them.
    pub fn all(&self) -> impl Iterator<Item = &InputBinding> {
        self.inputs.iter().map(|(_, binding)| binding).chain(self.prompt.as_ref())
    }

    /// Every reference of the task, that of a fan-out's list included.
    pub fn for_each_reference<'b>(&'b self, visit: &mut impl FnMut(&'b Reference)) {
        for binding in self.all() {
            binding.for_each_reference(visit);
        }
        self.list.iter().for_each(visit);
    }
}

/// Suggestions cost a comparison with every id: only the first few missing ones get them.
const SUGGESTIONS_MAX: usize = 20;

impl PlanStructure {
    /// Parses all tasks. Every missing and duplicate id, bad reference, bad condition and cycle is
    /// a finding; with any of those that leave no graph the answer is `None`.
    pub fn build(document: &PlanDocument, findings: &mut Vec<Finding>) -> Option<PlanStructure> {
        Some(PlanStructure::partial(document, findings)).filter(|structure| structure.is_whole)
    }

    /// As [`PlanStructure::build`], but where there are cycles some of their edges are left out, so that the rest
    /// can be looked at.
    pub fn partial(document: &PlanDocument, findings: &mut Vec<Finding>) -> PlanStructure {
        let ids = index_ids(&document.tasks, findings);
        let mut bindings = Vec::with_capacity(document.tasks.len());
        let mut edges = Vec::with_capacity(document.tasks.len());
        let mut conditions = BTreeMap::new();
        let mut needs = Vec::new();
        let mut resolver = StructureResolver { ids: &ids, suggestions: 0, findings };
        for (i, task) in document.tasks.iter().enumerate() {
            let parsed = resolver.bindings(task, i);
            resolver.needs(task, i, &parsed, &mut needs);
            let first = edges.len();
            let to = TaskIndex(i as u32);
            edges.extend(needs.iter().map(|from| Edge { from: *from, to }));
            for (from, condition) in resolver.conditions(task, i) {
                let at = needs.binary_search(&from).expect("every dependency is a need");
                let edge = EdgeIndex((first + at) as u32);
                conditions.entry(edge).or_insert_with(Vec::new).push(condition);
            }
            bindings.push(parsed);
        }
        match DependencyGraph::build(document.tasks.len(), edges) {
            Ok(graph) => PlanStructure { ids, bindings, conditions, graph, is_whole: true },
            Err(CyclicEdges { cycles, edges }) => {
                findings.extend(cycles.iter().map(|cycle| cycle_finding(document, cycle)));
                let (graph, conditions) = without_cycles(document.tasks.len(), &edges, conditions);
                PlanStructure { ids, bindings, conditions, graph, is_whole: false }
            }
        }
    }

    /// True unless edges of a cycle were left out.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The graph.
    pub fn graph(&self) -> &DependencyGraph {
        &self.graph
    }

    /// A task's place by its id.
    pub fn index_of(&self, task_id: &str) -> Option<TaskIndex> {
        self.ids.get(task_id).copied()
    }

    /// A task's parsed values.
    pub fn bindings(&self, task: TaskIndex) -> &TaskBindings {
        &self.bindings[task.at()]
    }

    /// The conditions of one edge; all must hold.
    pub fn conditions(&self, edge: EdgeIndex) -> &[Condition] {
        self.conditions.get(&edge).map_or(&[], Vec::as_slice)
    }

    /// All conditions, by edge.
    pub fn all_conditions(&self) -> impl Iterator<Item = (EdgeIndex, &[Condition])> {
        self.conditions.iter().map(|(edge, conditions)| (*edge, conditions.as_slice()))
    }

    /// The most items of a fan-out: those of the list where it stands in the plan, else what the task
    /// allows; 1 for a task that is none.
    pub fn items_max(&self, document: &PlanDocument, task: TaskIndex) -> u64 {
        let Some(each) = &document.tasks[task.at()].for_each else { return 1 };
        let list = self.bindings(task).list.as_ref();
        let known = list.and_then(|list| document.known_list(list));
        known.map_or(each.max_items, |items| each.max_items.min(items.len() as u64))
    }

    /// True if an edge has a condition.
    pub fn is_conditional(&self, edge: EdgeIndex) -> bool {
        !self.conditions.is_empty() && self.conditions.contains_key(&edge)
    }
}

fn index_ids(tasks: &[Task], findings: &mut Vec<Finding>) -> Ids {
    let mut ids = Ids::with_capacity_and_hasher(tasks.len(), ahash::RandomState::default());
    for (i, task) in tasks.iter().enumerate() {
        let index = TaskIndex(i as u32);
        match ids.entry(task.task_id.clone()) {
            Entry::Vacant(slot) => {
                slot.insert(index);
            }
            Entry::Occupied(first) => {
                let first: &TaskIndex = first.get();
                let message =
                    format!("the id `{}` is used by tasks[{}] already", task.task_id, first.0);
                findings.push(
                    Finding::new(ErrorCode::DuplicateTaskId, ValidationLevel::Semantic, message)
                        .task(&task.task_id)
                        .field(format!("tasks[{i}].task_id")),
                );
            }
        }
    }
    ids
}

/// The graph of the edges that lead to a later task, with the conditions on them: no cycle can be among those.
fn without_cycles(
    tasks: usize,
    edges: &[Edge],
    mut conditions: BTreeMap<EdgeIndex, Vec<Condition>>,
) -> (DependencyGraph, BTreeMap<EdgeIndex, Vec<Condition>>) {
    let (mut kept, mut kept_conditions) = (Vec::new(), BTreeMap::new());
    for (i, edge) in edges.iter().enumerate().filter(|(_, edge)| edge.from < edge.to) {
        if let Some(found) = conditions.remove(&EdgeIndex(i as u32)) {
            kept_conditions.insert(EdgeIndex(kept.len() as u32), found);
        }
        kept.push(*edge);
    }
    let graph = DependencyGraph::build(tasks, kept).expect("every edge leads to a later task");
    (graph, kept_conditions)
}

fn cycle_finding(document: &PlanDocument, cycle: &DependencyCycle) -> Finding {
    let names: Vec<&str> =
        cycle.0.iter().map(|task| document.tasks[task.at()].task_id.as_str()).collect();
    // A long circle is shown by its ends; the details hold all of it.
    let shown = if names.len() > CYCLE_SHOWN_MAX {
        let half = CYCLE_SHOWN_MAX / 2;
        let (head, tail) = (&names[..half], &names[names.len() - half..]);
        format!("{} -> … -> {}", head.join(" -> "), tail.join(" -> "))
    } else {
        names.join(" -> ")
    };
    let message = format!("{} tasks depend on each other in a circle: {shown}", names.len() - 1);
    let task = names.first().copied().unwrap_or_default().to_owned();
    let at = cycle.0.first().map_or(0, |task| task.at());
    Finding::new(ErrorCode::CircularDependency, ValidationLevel::Semantic, message)
        .task(task)
        .field(format!("tasks[{at}].dependencies"))
        .detail("cycle", names)
}

/// The most ids of a circle that a message shows.
const CYCLE_SHOWN_MAX: usize = 12;

struct StructureResolver<'a> {
    ids: &'a Ids,
    suggestions: usize,
    findings: &'a mut Vec<Finding>,
}

impl StructureResolver<'_> {
    fn bindings(&mut self, task: &Task, i: usize) -> TaskBindings {
        let mut errors = Vec::new();
        let inputs = task
            .inputs
            .iter()
            .map(|(name, value)| {
                let place = ReferencePlace::Field("inputs");
                (name.clone(), InputBinding::parse(value, &place.key(name), &mut errors))
            })
            .collect();
        let prompt = task.prompt.as_ref().map(|prompt| {
            let text = Value::String(prompt.clone());
            InputBinding::parse(&text, &ReferencePlace::Field("prompt"), &mut errors)
        });
        for (path, error) in errors {
            self.findings.push(
                Finding::new(ErrorCode::PlanMalformed, ValidationLevel::Syntax, error.to_string())
                    .task(&task.task_id)
                    .field(format!("tasks[{i}].{path}"))
                    .suggest("write `$[task].output.path`, or `$$[` for the text itself"),
            );
        }
        // A key that is no path is told where the data flow is checked.
        let named_outputs = task.dependencies.iter().filter_map(TaskDependency::named_output);
        let named_outputs = named_outputs.filter_map(Result::ok).collect();
        TaskBindings { inputs, prompt, list: self.list(task, i), named_outputs }
    }

    /// A list is one reference, to something that is known before the items are.
    fn list(&mut self, task: &Task, i: usize) -> Option<Reference> {
        let each = task.for_each.as_ref()?;
        let why = match Reference::parse(&each.list) {
            Ok(reference) => match reference.source {
                ReferenceSource::Inputs | ReferenceSource::Output(_) => return Some(reference),
                ReferenceSource::Error(_) | ReferenceSource::Item | ReferenceSource::Index => {
                    format!("`{}` is no list: it must be an output or an input", each.list)
                }
            },
            Err(error) => error.to_string(),
        };
        self.findings.push(
            Finding::new(ErrorCode::PlanMalformed, ValidationLevel::Syntax, why)
                .task(&task.task_id)
                .field(format!("tasks[{i}].for_each.in"))
                .suggest("write `$[task].output.path` or `$[inputs].name`"),
        );
        None
    }

    /// Collects the dependencies of a task, each once and in order: stated dependencies and those
    /// that references imply. `needs` is the caller's, so that a plan of many tasks asks for memory
    /// once.
    fn needs(
        &mut self,
        task: &Task,
        i: usize,
        bindings: &TaskBindings,
        needs: &mut Vec<TaskIndex>,
    ) {
        needs.clear();
        let mut missing: HashSet<&str> = HashSet::new();
        for (d, dependency) in task.dependencies.iter().enumerate() {
            let id = dependency.task_id.as_str();
            match self.ids.get(id) {
                Some(from) => needs.push(*from),
                None if missing.insert(id) => {
                    self.missing(task, id, &format!("tasks[{i}].dependencies[{d}]"), "depends on");
                }
                None => {}
            }
        }
        needs.sort_unstable();
        needs.dedup();
        if needs.len() < task.dependencies.len() {
            self.listed_twice(task, i);
        }
        let listed = needs.len();
        bindings.for_each_reference(&mut |reference| {
            let Some(id) = reference.task() else { return };
            match self.ids.get(id) {
                Some(from) => needs.push(*from),
                None if missing.insert(id) => {
                    self.missing(task, id, &format!("tasks[{i}].inputs"), "refers to");
                }
                None => {}
            }
        });
        if needs.len() > listed {
            needs.sort_unstable();
            needs.dedup();
        }
    }

    /// Two dependencies on one task are well when they differ: both conditions must hold.
    fn listed_twice(&mut self, task: &Task, i: usize) {
        let mut listed: HashSet<&TaskDependency> = HashSet::new();
        for (d, dependency) in task.dependencies.iter().enumerate() {
            if listed.insert(dependency) {
                continue;
            }
            let (id, needed) = (&task.task_id, &dependency.task_id);
            let message = format!("task `{id}` lists its dependency on `{needed}` twice");
            self.findings.push(
                Finding::new(ErrorCode::DependencyInvalid, ValidationLevel::Semantic, message)
                    .task(id)
                    .field(format!("tasks[{i}].dependencies[{d}]"))
                    .suggest("take one of the two away"),
            );
        }
    }

    fn missing(&mut self, task: &Task, id: &str, field: &str, verb: &str) {
        let near = if self.suggestions < SUGGESTIONS_MAX {
            self.suggestions += 1;
            nearest(id, self.ids.keys().map(String::as_str))
        } else {
            Vec::new()
        };
        let message = format!(
            "task `{}` {verb} `{id}`, which does not exist{}",
            task.task_id,
            did_you_mean(&near)
        );
        self.findings.push(
            Finding::new(ErrorCode::UnresolvableDependency, ValidationLevel::Semantic, message)
                .task(&task.task_id)
                .field(field)
                .detail("missing", id)
                .detail("nearest", near),
        );
    }

    /// The task's conditions with the producers on whose edges they stand.
    fn conditions(&mut self, task: &Task, i: usize) -> Vec<(TaskIndex, Condition)> {
        let mut compiled = Vec::new();
        for (d, dependency) in task.dependencies.iter().enumerate() {
            let Some(text) = &dependency.condition else { continue };
            let Some(from) = self.ids.get(&dependency.task_id) else { continue };
            match Condition::compile(text) {
                Ok(condition) => compiled.push((*from, condition)),
                Err(error) => self.findings.push(
                    Finding::new(
                        ErrorCode::DependencyInvalid,
                        ValidationLevel::Syntax,
                        error.to_string(),
                    )
                    .task(&task.task_id)
                    .field(format!("tasks[{i}].dependencies[{d}].condition"))
                    .suggest("write CEL over `outputs`, `inputs` and `status`"),
                ),
            }
        }
        compiled
    }
}
