//! What is worth a word about a run that goes on: stragglers, a deadline at risk, no movement.
//!
//! The engine looks now and then ([`Run::observe`]); what is new goes into the journal, once.

use std::cmp::Reverse;

use super::{Run, RunTimer, TaskPhase, TimerKind};
use crate::event::{RunEvent, RunNotice};
use l05_core::id::{Attempt, TaskIndex};
use l05_core::plan::PlanStatus;
use l05_core::plan::TaskEstimate;
use l05_core::time::Timestamp;

/// An attempt that takes so many times what was expected is a straggler (spec 03, 3.12).
const STRAGGLER_FACTOR: u64 = 2;
/// Nobody minds what takes less, whatever was expected.
const STRAGGLER_MILLIS_MIN: u64 = 1_000;
/// The time for which a run may stand still, with nothing in flight and nobody asked, before it is
/// told.
const STUCK_MILLIS: u64 = 30_000;
/// The most waiting tasks that a notice names.
const NAMED_MAX: usize = 10;

impl Run {
    /// Finds what there is to notice. `began` tells when this process started an attempt,
    /// `moved_at` when the run last moved.
    pub fn observe(
        &self,
        now: Timestamp,
        moved_at: Timestamp,
        began: impl Fn(TaskIndex, Attempt) -> Option<Timestamp>,
    ) -> Vec<RunNotice> {
        if self.status != PlanStatus::Executing || self.cancel.is_some() {
            return Vec::new();
        }
        let mut notices = Vec::new();
        if self.running > 0 {
            notices.extend(self.stragglers(now, began));
        }
        notices.extend(self.deadline_at_risk(now));
        notices.extend(self.stuck(now, moved_at));
        notices
    }

    fn stragglers(
        &self,
        now: Timestamp,
        began: impl Fn(TaskIndex, Attempt) -> Option<Timestamp>,
    ) -> Vec<RunNotice> {
        let straggler = |task: TaskIndex| {
            let state = &self.tasks[task.at()];
            let known = self.noticed.contains(&(task, state.attempt));
            let elapsed_millis = now.millis_since(began(task, state.attempt)?);
            let expected_millis = self.known_millis(task)?;
            let late = elapsed_millis >= STRAGGLER_MILLIS_MIN
                && elapsed_millis > expected_millis * STRAGGLER_FACTOR;
            (late && !known && state.phase == TaskPhase::InFlight).then_some(RunNotice::Straggler {
                task,
                attempt: state.attempt,
                elapsed_millis,
                expected_millis,
            })
        };
        self.all_tasks().filter_map(straggler).collect()
    }

    fn estimate(&self, task: TaskIndex) -> Option<&TaskEstimate> {
        let estimate = self.plan.document().metadata.estimate.as_ref()?;
        estimate.tasks.get(self.origin(task).at())
    }

    fn expected_millis(&self, task: TaskIndex) -> u64 {
        self.estimate(task).map_or(0, |estimate| (estimate.seconds.expected * 1e3) as u64)
    }

    /// The expected duration where the author or earlier runs say so; a tool's own guess knows
    /// nothing of what it is given.
    fn known_millis(&self, task: TaskIndex) -> Option<u64> {
        let by_runs = self.estimate(task).is_some_and(|estimate| estimate.runs > 0);
        let known = by_runs || self.spec(task).expected_seconds.is_some();
        known.then(|| self.expected_millis(task))
    }

    /// Looks at the longest chain alone: a plan that is late by it is late in any case.
    fn deadline_at_risk(&self, now: Timestamp) -> Option<RunNotice> {
        let deadline = self.deadline.filter(|_| !self.deadline_noticed)?;
        let left = |task: TaskIndex| {
            let state = &self.tasks[task.at()];
            let rest = self.plan.rank(task);
            match state.phase {
                _ if state.status.has_ended() => 0.0,
                // How far it has come is not known: its own time may be over soon.
                TaskPhase::InFlight | TaskPhase::Mapping => {
                    (rest - self.expected_millis(task) as f64 / 1e3).max(0.0)
                }
                TaskPhase::Idle | TaskPhase::Gate => rest,
            }
        };
        let seconds = self.plan.graph().indices().map(left).fold(0.0, f64::max);
        let forecast = now.plus_millis((seconds * 1e3) as u64);
        (forecast > deadline).then_some(RunNotice::DeadlineAtRisk { forecast, deadline })
    }

    fn stuck(&self, now: Timestamp, moved_at: Timestamp) -> Option<RunNotice> {
        let idle_millis = now.millis_since(moved_at);
        let still = self.running == 0 && self.gates.is_empty() && !self.stuck_noticed;
        if idle_millis < STUCK_MILLIS || !still || self.wakes_itself() {
            return None;
        }
        let waiting = self.ready.iter().chain(self.queues.values().flatten());
        let mut waiting: Vec<TaskIndex> = waiting.map(|next| next.task.0).collect();
        waiting.sort_unstable();
        waiting.truncate(NAMED_MAX);
        Some(RunNotice::Stuck { idle_millis, waiting, lacks_agents: self.lacks_agents })
    }

    /// A retry, or whatever else has its time, is no standstill; the plan's end is.
    fn wakes_itself(&self) -> bool {
        let moves = |timer: &RunTimer| match timer.kind {
            TimerKind::Retry | TimerKind::Timeout | TimerKind::Grace | TimerKind::Gate(_) => true,
            TimerKind::DeadlineNear | TimerKind::Deadline => false,
        };
        self.timers.iter().any(|Reverse(timer)| moves(timer) && self.is_live(timer))
    }

    /// Only what is still so, and was not told before.
    pub(super) fn decide_noticed(&self, notices: Vec<RunNotice>) -> Vec<RunEvent> {
        let is_new = |notice: &RunNotice| match notice {
            RunNotice::Straggler { task, attempt, .. } => {
                self.tasks.get(task.at()).is_some_and(|state| {
                    state.phase == TaskPhase::InFlight && state.attempt == *attempt
                }) && !self.noticed.contains(&(*task, *attempt))
            }
            RunNotice::DeadlineAtRisk { .. } => !self.deadline_noticed && self.deadline.is_some(),
            RunNotice::Stuck { .. } => !self.stuck_noticed && self.running == 0,
        };
        if self.status != PlanStatus::Executing {
            return Vec::new();
        }
        notices.into_iter().filter(is_new).map(|notice| RunEvent::Noticed { notice }).collect()
    }

    pub(super) fn keep_notice(&mut self, notice: &RunNotice) {
        match notice {
            RunNotice::Straggler { task, attempt, .. } => {
                self.noticed.insert((*task, *attempt));
            }
            RunNotice::DeadlineAtRisk { .. } => self.deadline_noticed = true,
            RunNotice::Stuck { .. } => self.stuck_noticed = true,
        }
    }

    /// A new run is watched anew.
    pub(super) fn forget_notices(&mut self) {
        self.noticed.clear();
        self.deadline_noticed = false;
        self.stuck_noticed = false;
    }
}
