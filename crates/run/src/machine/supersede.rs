//! `cancel_others`: a task with `join: any` that may start ends what only it still needed.

use std::collections::HashMap;

use super::{GRACE_MILLIS, Run, TaskPhase};
use crate::event::{CancelCause, CancelScope, RunEvent};
use l05_core::id::TaskIndex;
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;

impl Run {
    /// The end of tasks that a freed task makes useless: those that run are told to stop, the others are skipped.
    pub(super) fn supersede(&mut self, now: Timestamp) -> Option<Vec<RunEvent>> {
        while let Some(winner) = self.winners.pop() {
            if self.cancel.is_some() {
                continue;
            }
            let mut events = Vec::new();
            let mut skipped = Vec::new();
            for task in self.superseded_by(winner) {
                match self.tasks[task.at()].phase {
                    TaskPhase::Idle => skipped.push(task),
                    TaskPhase::InFlight | TaskPhase::Gate | TaskPhase::Mapping => {
                        events.extend(self.end_of(task, winner, now));
                    }
                }
            }
            if !skipped.is_empty() {
                events.insert(0, RunEvent::TasksSkipped { cause: winner, tasks: skipped });
            }
            if !events.is_empty() {
                return Some(events);
            }
        }
        None
    }

    fn end_of(&self, task: TaskIndex, winner: TaskIndex, now: Timestamp) -> Vec<RunEvent> {
        let scope = CancelScope::Task(task);
        let mut events = vec![RunEvent::CancelRequested {
            scope,
            cause: CancelCause::NotNeeded,
            reason: format!("`{}` went on without it", self.name(winner)),
            grace_until: now.plus_millis(GRACE_MILLIS),
            by: None,
        }];
        let idle = self.idle_in(task);
        if !idle.is_empty() {
            events.push(RunEvent::TasksCancelled { tasks: idle, abandoned: false });
        }
        events
    }

    /// Ancestors of `winner` that nobody needs any more, what needs others before those. A leaf is an output of the
    /// plan, and always needed.
    fn superseded_by(&self, winner: TaskIndex) -> Vec<TaskIndex> {
        let graph = self.plan.graph();
        let mut open = Vec::new();
        let mut seen: HashMap<TaskIndex, bool> = HashMap::new();
        let mut stack = vec![winner];
        while let Some(task) = stack.pop() {
            for edge in graph.edges_in(task) {
                let from = graph.edge(*edge).from;
                if !self.task_status(from).has_ended() && seen.insert(from, true).is_none() {
                    open.push(from);
                    stack.push(from);
                }
            }
        }
        // Consumers come before their producers.
        open.sort_unstable_by_key(|task| std::cmp::Reverse(graph.level(*task)));
        for task in &open {
            let needs_it = |to: TaskIndex| match seen.get(&to) {
                _ if to == winner => false,
                Some(is_needed) => *is_needed,
                None => !self.task_status(to).has_ended() && !self.is_past_joining(to),
            };
            let mut consumers = graph.edges_out(*task).iter().map(|edge| graph.edge(*edge).to);
            let is_needed = consumers.any(needs_it);
            seen.insert(*task, is_needed);
        }
        open.retain(|task| !seen[task] && !self.tasks[task.at()].cancelling);
        open
    }

    /// True if a task has started, or may: with `join: any` it waits for nothing more.
    fn is_past_joining(&self, task: TaskIndex) -> bool {
        self.plan.task(task).cancel_others && self.task_status(task) != TaskStatus::Pending
    }
}
