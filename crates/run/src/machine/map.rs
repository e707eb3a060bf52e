//! Fan-outs: a task with `for_each` becomes one task of the run per item of a list (spec 03, 3.6).
//!
//! The signed plan stays as it is; items get indices behind the plan's own tasks. A list is kept
//! by a new run that keeps what it was made from, and its items keep their indices: attempt numbers
//! of an item never restart.

use super::{Run, TaskPhase, TaskState};
use crate::event::{RunEvent, TaskError, TaskOutput};
use l05_core::error::ErrorCode;
use l05_core::id::TaskIndex;
use l05_core::task::TaskStatus;

/// The items of one fan-out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MapSpan {
    pub(super) first: TaskIndex,
    pub(super) count: u32,
    /// The number of indices that belong to it.
    pub(super) capacity: u32,
    pub(super) items: TaskOutput,
    pub(super) stand: MapProgress,
    /// Items that have not ended.
    pub(super) left: u32,
    /// Items that failed and were not allowed to.
    pub(super) failed: u32,
    /// Items that ended on request.
    pub(super) cancelled: u32,
}

/// The state of a list of items in the present run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapProgress {
    /// The items are tasks of the run.
    Live,
    /// Known from an earlier run, and right for this one when the fan-out is reached again.
    Kept,
    /// From an earlier run; the list is made anew.
    Past,
}

/// The fan-out that an index behind the plan's tasks belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapMember {
    pub(super) map: TaskIndex,
    pub(super) index: u32,
}

/// An item of a fan-out, for whoever resolves `$[item]` and `$[index]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MapItem {
    /// The list.
    pub items: TaskOutput,
    /// The place in the list.
    pub index: u32,
}

impl MapSpan {
    pub(super) fn indices(&self) -> impl Iterator<Item = TaskIndex> + use<> {
        (self.first.0..self.first.0 + self.count).map(TaskIndex)
    }
}

impl Run {
    /// The plan's task that a task of the run is, or is an item of.
    pub fn origin(&self, task: TaskIndex) -> TaskIndex {
        self.item_of(task).map_or(task, |item| item.map)
    }

    /// The name of a task of the run: items are `map[3]`.
    pub fn name(&self, task: TaskIndex) -> String {
        match self.item_of(task) {
            Some(item) => format!("{}[{}]", self.plan.task(item.map).task_id, item.index),
            None if task.at() < self.plan.graph().len() => self.plan.task(task).task_id.clone(),
            None => format!("#{}", task.0),
        }
    }

    /// The task that is called so, items included.
    pub fn find(&self, name: &str) -> Option<TaskIndex> {
        if let Some(task) = self.plan.structure().index_of(name) {
            return Some(task);
        }
        let (map, rest) = name.strip_suffix(']')?.rsplit_once('[')?;
        let span = self.maps.get(&self.plan.structure().index_of(map)?)?;
        let index: u32 = rest.parse().ok()?;
        (index < span.count).then(|| TaskIndex(span.first.0 + index))
    }

    /// The item that a task of the run stands for, if it does.
    pub fn map_item(&self, task: TaskIndex) -> Option<MapItem> {
        let item = self.item_of(task)?;
        let items = self.maps.get(&item.map)?.items.clone();
        Some(MapItem { items, index: item.index })
    }

    /// The items of a fan-out, once its list is known.
    pub fn items(&self, map: TaskIndex) -> Vec<TaskIndex> {
        self.maps.get(&map).map_or_else(Vec::new, |span| span.indices().collect())
    }

    /// All tasks that the present run has: the plan's, then items.
    pub fn all_tasks(&self) -> impl Iterator<Item = TaskIndex> + '_ {
        let live = self.maps.values().filter(|span| span.stand == MapProgress::Live);
        self.plan.graph().indices().chain(live.flat_map(MapSpan::indices))
    }

    /// All tasks for people: the plan's in its order, each fan-out followed by its items.
    pub fn in_order(&self) -> impl Iterator<Item = TaskIndex> + '_ {
        let tasks = self.plan.graph().indices();
        tasks.flat_map(|task| std::iter::once(task).chain(self.items(task)))
    }

    /// The items of a fan-out that are tasks of the present run.
    pub(super) fn live_items(&self, map: TaskIndex) -> Vec<TaskIndex> {
        let span = self.maps.get(&map).filter(|span| span.stand == MapProgress::Live);
        span.map_or_else(Vec::new, |span| span.indices().collect())
    }

    pub(super) fn item_of(&self, task: TaskIndex) -> Option<MapMember> {
        let behind = task.at().checked_sub(self.plan.graph().len())?;
        self.item_origins.get(behind).copied()
    }

    /// The event that makes items of a list: on the indices that the fan-out had before, if they
    /// suffice.
    pub(super) fn expansion(&self, task: TaskIndex, items: TaskOutput, count: u32) -> RunEvent {
        let first = match self.maps.get(&task) {
            Some(span) if count <= span.capacity => span.first,
            Some(_) | None => TaskIndex(self.tasks.len() as u32),
        };
        RunEvent::MapExpanded { task, first, count, items }
    }

    pub(super) fn expand(
        &mut self,
        map: TaskIndex,
        first: TaskIndex,
        count: u32,
        items: &TaskOutput,
    ) {
        let end = u64::from(first.0) + u64::from(count);
        let known = self.tasks.len() as u64;
        // Out of range: a broken journal's.
        if map.at() >= self.plan.graph().len() || (end > known && u64::from(first.0) != known) {
            return;
        }
        let before = self.maps.remove(&map);
        let keeps = before.as_ref().is_some_and(|span| {
            span.stand == MapProgress::Kept && span.first == first && span.count == count
        });
        for index in 0..count {
            let at = TaskIndex(first.0 + index);
            if at.at() == self.tasks.len() {
                // A longer list than before: each item goes on counting where it was.
                let old = before.as_ref().filter(|span| index < span.count);
                let attempt = old.map(|span| self.tasks[span.first.at() + index as usize].attempt);
                self.tasks.push(TaskState::fresh(0, attempt.unwrap_or_default()));
                self.item_origins.push(MapMember { map, index });
            } else if !keeps {
                let attempt = self.tasks[at.at()].attempt;
                self.tasks[at.at()] = TaskState::fresh(0, attempt);
            }
        }
        let capacity = before.filter(|span| span.first == first).map_or(0, |span| span.capacity);
        let mut span = MapSpan {
            first,
            count,
            capacity: capacity.max(count),
            items: items.clone(),
            stand: MapProgress::Live,
            left: 0,
            failed: 0,
            cancelled: 0,
        };
        let open: Vec<TaskIndex> = span
            .indices()
            .filter(|item| self.tasks[item.at()].status == TaskStatus::Pending)
            .collect();
        span.left = open.len() as u32;
        self.left += span.left;
        if span.left == 0 {
            self.gathered.push(map);
        }
        self.maps.insert(map, span);
        for item in open {
            self.free(item);
        }
    }

    /// An item ended; the last one lets the fan-out end.
    pub(super) fn item_ended(&mut self, item: MapMember, failed: bool, cancelled: bool) {
        let Some(span) = self.maps.get_mut(&item.map) else { return };
        span.left = span.left.saturating_sub(1);
        span.failed += u32::from(failed);
        span.cancelled += u32::from(cancelled);
        if span.left == 0 {
            self.gathered.push(item.map);
        }
    }

    /// Ends a fan-out whose items all have ended.
    pub(super) fn gather(&mut self) -> Option<RunEvent> {
        while let Some(map) = self.gathered.pop() {
            if self.tasks[map.at()].phase != TaskPhase::Mapping {
                continue;
            }
            let Some(span) = self.maps.get(&map) else { continue };
            return Some(if span.failed > 0 {
                RunEvent::TaskFailed { task: map, error: self.items_error(span) }
            } else if span.cancelled > 0 {
                RunEvent::TasksCancelled { tasks: vec![map], abandoned: false }
            } else {
                RunEvent::MapCompleted { task: map }
            });
        }
        None
    }

    fn items_error(&self, span: &MapSpan) -> TaskError {
        let errors = span.indices().filter_map(|item| Some((item, self.error(item)?)));
        let mut failed = errors.filter(|(item, _)| {
            matches!(self.task_status(*item), TaskStatus::Failed | TaskStatus::TimedOut)
        });
        let (code, first) = failed.next().map_or_else(
            || (ErrorCode::TaskFailed, String::new()),
            |(item, error)| (error.code, format!("; {}: {}", self.name(item), error.message)),
        );
        let message = format!("{} of {} items failed{first}", span.failed, span.count);
        TaskError::last(code, message)
    }

    /// The list of what a fan-out's items gave.
    pub(super) fn gathered_output(&self, map: TaskIndex) -> Option<TaskOutput> {
        let span = self.maps.get(&map)?;
        let outputs = span.indices().map(|item| self.tasks[item.at()].output.clone());
        Some(TaskOutput::List(outputs.collect()))
    }
}
