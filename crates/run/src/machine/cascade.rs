//! The whole cascade at once: which tasks never start because one ended as it did.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{DependencyCounts, DependencyFate, Run};
use l05_core::id::TaskIndex;
use l05_core::task::TaskStatus;

/// All tasks of one cascade, in the order in which they follow from each other.
#[derive(Debug, Default)]
pub(super) struct Cascade {
    pub(super) blocked: Vec<TaskIndex>,
    pub(super) skipped: Vec<TaskIndex>,
}

impl Run {
    /// Follows the fates of `seeds` through the graph, on a copy of the counters it touches.
    pub(super) fn cascade(&self, seeds: &[TaskIndex]) -> Cascade {
        let mut found = Cascade::default();
        let mut needs: HashMap<TaskIndex, DependencyCounts> = HashMap::new();
        let mut seen: HashSet<TaskIndex> = HashSet::new();
        let mut queue: VecDeque<(TaskIndex, DependencyFate)> = VecDeque::new();
        for task in seeds {
            let fate = self.tasks[task.at()].needs.fate(self.join(*task));
            if self.is_open(*task)
                && matches!(fate, DependencyFate::Skip | DependencyFate::Block)
                && seen.insert(*task)
            {
                queue.push_back((*task, fate));
            }
        }
        while let Some((task, fate)) = queue.pop_front() {
            match fate {
                DependencyFate::Block => found.blocked.push(task),
                DependencyFate::Skip => found.skipped.push(task),
                DependencyFate::Wait | DependencyFate::Run => {
                    unreachable!("only doomed tasks are queued")
                }
            }
            for edge in self.plan.graph().edges_out(task) {
                let to = self.plan.graph().edge(*edge).to;
                if !self.is_open(to) || seen.contains(&to) {
                    continue;
                }
                let counts = needs.entry(to).or_insert(self.tasks[to.at()].needs);
                if fate == DependencyFate::Block && self.plan.task(task).allow_failure {
                    // Satisfied, or a condition to evaluate: neither dooms it.
                    continue;
                }
                counts.waiting = counts.waiting.saturating_sub(1);
                match fate {
                    DependencyFate::Block => counts.failed += 1,
                    DependencyFate::Skip | DependencyFate::Wait | DependencyFate::Run => {
                        counts.skipped += 1;
                    }
                }
                let next = counts.fate(self.join(to));
                if matches!(next, DependencyFate::Skip | DependencyFate::Block) {
                    seen.insert(to);
                    queue.push_back((to, next));
                }
            }
        }
        found
    }

    /// Waiting for its dependencies, not for a retry.
    fn is_open(&self, task: TaskIndex) -> bool {
        let state = &self.tasks[task.at()];
        state.status == TaskStatus::Pending && !state.attempt_pending()
    }
}
