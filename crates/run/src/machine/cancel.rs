//! A cancellation under way: who is told to stop, and what the plan's end will say.

use super::{Run, TaskPhase, TimerKind};
use crate::event::{CancelCause, CancelScope, TaskError};
use l05_core::error::ErrorCode;
use l05_core::id::{Attempt, TaskIndex};
use l05_core::time::Timestamp;

impl Run {
    pub(super) fn begin_cancel(
        &mut self,
        scope: CancelScope,
        cause: CancelCause,
        reason: &str,
        grace_until: Timestamp,
    ) {
        match scope {
            CancelScope::Plan => {
                self.cancel = Some(cause);
                self.note_cause(cause, reason);
                self.drop_gates();
                for task in self.all_tasks().collect::<Vec<_>>() {
                    self.mark_cancelling(task);
                }
            }
            CancelScope::Task(task) => {
                if cause == CancelCause::NotNeeded {
                    self.not_needed.insert(task);
                }
                self.mark_cancelling(task);
                for item in self.live_items(task) {
                    self.mark_cancelling(item);
                }
            }
        }
        self.push_timer(grace_until, TimerKind::Grace, TaskIndex(0), Attempt(0));
    }

    /// A task and its items, as far as they can end at once; those in flight end with their executors or with the
    /// grace.
    pub(super) fn idle_in(&self, task: TaskIndex) -> Vec<TaskIndex> {
        let idle = |task: &TaskIndex| {
            let state = &self.tasks[task.at()];
            !state.status.has_ended() && matches!(state.phase, TaskPhase::Idle | TaskPhase::Gate)
        };
        std::iter::once(task).chain(self.live_items(task)).filter(idle).collect()
    }

    fn note_cause(&mut self, cause: CancelCause, reason: &str) {
        let code = match cause {
            CancelCause::Deadline => ErrorCode::DeadlineMissed,
            CancelCause::Budget => ErrorCode::BudgetExceeded,
            // A failed task says more, or it was somebody's wish.
            CancelCause::FailFast | CancelCause::Request | CancelCause::NotNeeded => return,
        };
        let error = TaskError::last(code, reason);
        self.why = Some(Box::new(error));
    }

    fn mark_cancelling(&mut self, task: TaskIndex) {
        let Some(state) = self.tasks.get_mut(task.at()) else { return };
        if state.phase == TaskPhase::InFlight && !state.cancelling {
            state.cancelling = true;
            self.cancelling += 1;
        }
    }
}
