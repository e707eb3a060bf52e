//! How events change the state. Total, and never a decision: whatever a journal says happened.

use std::cmp::Reverse;

use super::budget::{BudgetAccount, TaskSize};
use super::map::MapProgress;
use super::transition::{StatusChange, next_status};
use super::{DependencyFate, ReadyTask, Run, RunTimer, TaskPhase, TaskState, TimerKind};
use crate::amounts::Usage;
use crate::amounts::{Amounts, BudgetKind};
use crate::event::{AfterFailure, ConditionVerdict, RunEvent, TaskOutput};
use crate::record::Record;
use l05_core::graph::EdgeIndex;
use l05_core::id::{Attempt, Sequence, TaskIndex};
use l05_core::plan::PlanStatus;
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;

/// A record that does not follow the one before.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("event {missing} is missing: the next record begins at {found}")]
pub struct JournalGap {
    /// The number that should come next.
    pub missing: u64,
    /// The number that came.
    pub found: u64,
}

/// The outcome of a dependency.
#[derive(Clone, Copy)]
enum DependencyOutcome {
    Satisfied,
    Skipped,
    Failed,
}

impl Run {
    /// Folds one journal record. Events that are applied already change nothing.
    pub fn replay(&mut self, record: &Record) -> Result<(), JournalGap> {
        let expected = self.sequence.0 + 1;
        if record.first.0 > expected {
            return Err(JournalGap { missing: expected, found: record.first.0 });
        }
        let known = expected - record.first.0;
        for event in record.events.iter().skip(usize::try_from(known).unwrap_or(usize::MAX)) {
            self.apply(event);
        }
        // Effects of the past have been carried out or will be asked for again by `Adopt`.
        self.fresh_lists.clear();
        self.trim_timers();
        Ok(())
    }

    /// Applies the next event.
    pub(super) fn apply(&mut self, event: &RunEvent) {
        self.sequence = Sequence(self.sequence.0 + 1);
        if event.shows_life() {
            self.deaths = 0;
        }
        if let Some(task) = event.named_task()
            && task.at() >= self.tasks.len()
        {
            return;
        }
        match event {
            RunEvent::RunStarted {
                run,
                keep,
                kept_maps,
                deadline,
                began,
                account,
                workspace,
                ..
            } => {
                self.workspace.clone_from(workspace);
                self.begin(*run, keep, kept_maps, (*began, *deadline));
                if let Some(opening) = account {
                    self.account = BudgetAccount::opened(self.plan.document(), opening);
                }
            }
            RunEvent::RunAdopted { epoch, after_death } => {
                self.epoch = *epoch;
                self.deaths = self.deaths.saturating_add(u16::from(*after_death));
            }
            RunEvent::RunSuspended { .. } => self.status = PlanStatus::Suspended,
            RunEvent::RunResumed { .. } => self.status = PlanStatus::Executing,
            RunEvent::EdgeDecided { edge, verdict } => self.decide_edge(*edge, *verdict),
            RunEvent::GateOpened { gate, expires_at } => self.open_gate(*gate, *expires_at),
            RunEvent::GateDecided { gate, approved, by, reason, .. } => {
                self.answer_gate(*gate, *approved, by, reason);
            }
            RunEvent::MapExpanded { task, first, count, items } => {
                if self.change(*task, StatusChange::Expanded) {
                    self.expand(*task, *first, *count, items);
                }
            }
            RunEvent::MapCompleted { task } => {
                let output = self.gathered_output(*task);
                if self.change(*task, StatusChange::Completed) {
                    self.tasks[task.at()].output = output;
                    self.meet_dependents(*task, DependencyOutcome::Satisfied);
                }
            }
            RunEvent::BudgetWarned { kind, .. } => self.account.warned.push(*kind),
            RunEvent::BudgetBreached { task, allowed, used, stops, .. } => {
                if *stops {
                    self.account.breach = Some(self.tell_breach(*task, *allowed, *used));
                }
            }
            RunEvent::TaskDispatched { task, attempt, not_after, reserved, placed } => {
                self.launch(*task, *attempt, *not_after, *reserved, StatusChange::Dispatched);
                self.hand_to(*task, placed.as_deref());
            }
            RunEvent::TaskRedispatched { task, attempt, not_after, reserved, placed } => {
                // What the first owner's executor used, nobody knows.
                self.charge_share(*task, None);
                self.launch(*task, *attempt, *not_after, *reserved, StatusChange::Redispatched);
                self.hand_to(*task, placed.as_deref());
            }
            RunEvent::AttemptReturned { task, attempt } => self.take_back(*task, *attempt),
            RunEvent::TaskDeferred { task, error, at } => {
                self.tasks[task.at()].error = Some(Box::new(error.clone()));
                self.wait_until(*task, *at, StatusChange::Deferred);
            }
            RunEvent::TaskCompleted { task, output, usage, .. } => {
                self.spend(*task, Some(usage));
                if self.change(*task, StatusChange::Completed) {
                    self.output_bytes += weight(output);
                    self.tasks[task.at()].output = Some(output.clone());
                    match self.item_of(*task) {
                        Some(item) => self.item_ended(item, false, false),
                        None => self.meet_dependents(*task, DependencyOutcome::Satisfied),
                    }
                }
            }
            RunEvent::AttemptFailed { task, error, usage, lost, next, .. } => {
                self.spend(*task, (!lost).then_some(usage));
                self.tasks[task.at()].error = Some(Box::new(error.clone()));
                match next {
                    AfterFailure::Retry { at } => {
                        self.wait_until(*task, *at, StatusChange::Retried);
                    }
                    AfterFailure::Final { status: TaskStatus::TimedOut } => {
                        self.fail(*task, StatusChange::TimedOut);
                    }
                    AfterFailure::Final { .. } => self.fail(*task, StatusChange::Failed),
                }
            }
            RunEvent::TaskFailed { task, error } => {
                self.tasks[task.at()].error = Some(Box::new(error.clone()));
                self.fail(*task, StatusChange::Failed);
            }
            RunEvent::TasksBlocked { tasks, .. } => {
                for task in tasks {
                    self.fail(*task, StatusChange::Blocked);
                }
            }
            RunEvent::TasksSkipped { tasks, .. } => {
                for task in tasks {
                    if self.change(*task, StatusChange::Skipped) {
                        self.meet_dependents(*task, DependencyOutcome::Skipped);
                    }
                }
            }
            RunEvent::CancelRequested { scope, cause, reason, grace_until, .. } => {
                self.begin_cancel(*scope, *cause, reason, *grace_until);
            }
            RunEvent::TasksCancelled { tasks, .. } => {
                for task in tasks {
                    self.charge_share(*task, None);
                    self.fail(*task, StatusChange::Cancelled);
                }
            }
            RunEvent::Noticed { notice } => self.keep_notice(notice),
            // Kept for the record; the state does not depend on it.
            RunEvent::ReportIgnored { .. } => {}
            RunEvent::RunFinished { status, partial } => {
                self.status = *status;
                self.partial = *partial;
                self.drop_gates();
            }
        }
    }

    fn begin(
        &mut self,
        run: u16,
        keep: &[TaskIndex],
        kept_maps: &[TaskIndex],
        (began, deadline): (Option<Timestamp>, Option<Timestamp>),
    ) {
        let plan = self.plan.clone();
        self.clear_for_new_run();
        self.run = run;
        self.began = began;
        self.deadline = deadline;
        let mut kept = vec![false; self.tasks.len()];
        for task in keep.iter().filter(|task| task.at() < self.tasks.len()) {
            kept[task.at()] = self.tasks[task.at()].status == TaskStatus::Completed;
        }
        for (map, span) in &mut self.maps {
            span.stand =
                if kept_maps.contains(map) { MapProgress::Kept } else { MapProgress::Past };
            // What the items of a completed fan-out were stays to be shown.
            if kept[map.at()] {
                span.indices().for_each(|item| kept[item.at()] = true);
            }
        }
        let plan_tasks = plan.graph().len();
        for (at, state) in self.tasks.iter_mut().enumerate() {
            if !kept[at] {
                let task = TaskIndex(at as u32);
                let waiting = if at < plan_tasks { plan.graph().edges_in(task).len() } else { 0 };
                *state = TaskState::fresh(waiting as u32, state.attempt);
            }
        }
        self.output_bytes = self.tasks.iter().filter_map(|t| t.output.as_ref()).map(weight).sum();
        self.left = kept[..plan_tasks].iter().filter(|kept| !**kept).count() as u32;
        if let Some(at) = deadline {
            self.push_timer(at, TimerKind::Deadline, TaskIndex(0), Attempt(0));
            if let Some(began) = began {
                let near = began.plus_millis(at.millis_since(began) / 5 * 4);
                self.push_timer(near, TimerKind::DeadlineNear, TaskIndex(0), Attempt(0));
            }
        }
        for task in plan.graph().indices() {
            if kept[task.at()] {
                self.meet_dependents(task, DependencyOutcome::Satisfied);
            } else if plan.graph().edges_in(task).is_empty() {
                self.free(task);
            }
        }
    }

    fn clear_for_new_run(&mut self) {
        self.status = PlanStatus::Executing;
        self.partial = false;
        self.cancel = None;
        self.forget_notices();
        self.declined.clear();
        self.why = None;
        self.gates.clear();
        // Records of older versions have no opening account: a retry had the whole budget again.
        self.account = BudgetAccount::of(self.plan.document());
        self.reservations.clear();
        self.running = 0;
        self.size_in_flight = TaskSize::default();
        self.mapping = 0;
        self.cancelling = 0;
        self.failed_for_good = 0;
        self.agent_loads.fill(0);
        self.ready.clear();
        self.queues.clear();
        self.lacks_agents = false;
        self.lacks_budget = false;
        self.timers.clear();
        self.doomed.clear();
        self.winners.clear();
        self.not_needed.clear();
        self.decidable.clear();
        self.gated.clear();
        self.expandable.clear();
        self.fresh_lists.clear();
        self.known_lists.clear();
        self.gathered.clear();
    }

    /// Moves a task along the table; false when the event does not fit, and then nothing changed.
    pub(super) fn change(&mut self, task: TaskIndex, change: StatusChange) -> bool {
        let state = &mut self.tasks[task.at()];
        let before = state.status;
        let Some(after) = next_status(before, change) else { return false };
        let phase = match change {
            StatusChange::Dispatched | StatusChange::Redispatched => TaskPhase::InFlight,
            StatusChange::Gated => TaskPhase::Gate,
            StatusChange::Expanded => TaskPhase::Mapping,
            StatusChange::Freed
            | StatusChange::Deferred
            | StatusChange::Completed
            | StatusChange::Retried
            | StatusChange::Failed
            | StatusChange::TimedOut
            | StatusChange::Blocked
            | StatusChange::Skipped
            | StatusChange::Cancelled => TaskPhase::Idle,
        };
        // One executor, one list, one question at a time.
        let begins = matches!(change, StatusChange::Dispatched | StatusChange::Expanded);
        if begins && state.phase != TaskPhase::Idle {
            return false;
        }
        state.status = after;
        self.set_phase(task, phase);
        if after.has_ended() || change == StatusChange::Expanded {
            // Nobody needs its list any more.
            self.expandable.remove(&task);
        }
        if after.has_ended() {
            self.left -= 1;
            // Nobody needs to answer any more.
            if !self.gates.is_empty() {
                self.gates.remove(&crate::event::Gate::Task(task));
                self.gates.remove(&crate::event::Gate::Recovery(task));
            }
        }
        if after != TaskStatus::Pending
            && !self.decidable.is_empty()
            && self.item_of(task).is_none()
        {
            // Its conditions make no difference any more.
            for edge in self.plan.graph().edges_in(task) {
                self.decidable.remove(edge);
            }
        }
        true
    }

    pub(super) fn set_phase(&mut self, task: TaskIndex, phase: TaskPhase) {
        let state = &mut self.tasks[task.at()];
        let before = std::mem::replace(&mut state.phase, phase);
        if phase != TaskPhase::InFlight && state.cancelling {
            state.cancelling = false;
            self.cancelling -= 1;
        }
        self.running += u32::from(phase == TaskPhase::InFlight);
        self.running -= u32::from(before == TaskPhase::InFlight);
        if self.size_limit.is_some() {
            let size = self.size(task);
            if phase == TaskPhase::InFlight {
                self.size_in_flight = self.size_in_flight.plus(size);
            }
            if before == TaskPhase::InFlight {
                self.size_in_flight = self.size_in_flight.minus(size);
            }
        }
        let load = &mut self.agent_loads[usize::from(self.tasks[task.at()].agent)];
        *load += u32::from(phase == TaskPhase::InFlight);
        *load -= u32::from(before == TaskPhase::InFlight);
        self.mapping += u32::from(phase == TaskPhase::Mapping);
        self.mapping -= u32::from(before == TaskPhase::Mapping);
    }

    fn launch(
        &mut self,
        task: TaskIndex,
        attempt: Attempt,
        not_after: Timestamp,
        reserved: Amounts,
        change: StatusChange,
    ) {
        if !self.change(task, change) {
            return;
        }
        if !reserved.is_none() {
            self.reservations.insert(task, reserved);
            self.account.reserve(reserved);
        }
        self.stuck_noticed = false;
        let state = &mut self.tasks[task.at()];
        state.attempt = attempt;
        state.again = false;
        state.not_after = not_after;
        state.not_before = None;
        self.push_timer(not_after, TimerKind::Timeout, task, attempt);
    }

    fn wait_until(&mut self, task: TaskIndex, at: Timestamp, change: StatusChange) {
        if !self.change(task, change) {
            return;
        }
        let state = &mut self.tasks[task.at()];
        state.failures = state.failures.saturating_add(1);
        state.again = false;
        state.not_before = Some(at);
        let attempt = state.attempt;
        self.push_timer(at, TimerKind::Retry, task, attempt);
    }

    /// Ends a task without success; with `allow_failure` its dependents do not mind.
    pub(super) fn fail(&mut self, task: TaskIndex, change: StatusChange) {
        if task.at() >= self.tasks.len() || !self.change(task, change) {
            return;
        }
        if self.not_needed.contains(&task) && self.item_of(task).is_none() {
            self.meet_dependents(task, DependencyOutcome::Skipped);
            return;
        }
        let allowed = self.spec(task).allow_failure || self.is_item_not_needed(task);
        let cancelled = change == StatusChange::Cancelled;
        self.failed_for_good += u32::from(!allowed);
        if let Some(item) = self.item_of(task) {
            self.item_ended(item, !allowed && !cancelled, !allowed && cancelled);
        } else {
            let met =
                if allowed { DependencyOutcome::Satisfied } else { DependencyOutcome::Failed };
            self.meet_dependents(task, met);
        }
    }

    /// True of an item whose fan-out nobody needs any more.
    fn is_item_not_needed(&self, task: TaskIndex) -> bool {
        !self.not_needed.is_empty()
            && self.item_of(task).is_some()
            && self.not_needed.contains(&self.origin(task))
    }

    /// Tells a task's dependents that it ended. A satisfied dependency with a condition waits for
    /// the condition.
    fn meet_dependents(&mut self, task: TaskIndex, met: DependencyOutcome) {
        let plan = self.plan.clone();
        for edge in plan.graph().edges_out(task) {
            let conditional = plan.structure().is_conditional(*edge);
            match met {
                DependencyOutcome::Satisfied if conditional => {
                    let to = &self.tasks[plan.graph().edge(*edge).to.at()];
                    if to.status == TaskStatus::Pending && !to.attempt_pending() {
                        self.decidable.insert(*edge);
                    }
                }
                DependencyOutcome::Satisfied
                | DependencyOutcome::Skipped
                | DependencyOutcome::Failed => self.meet(*edge, met),
            }
        }
    }

    fn decide_edge(&mut self, edge: EdgeIndex, verdict: ConditionVerdict) {
        if self.decidable.remove(&edge) {
            match verdict {
                ConditionVerdict::Satisfied => self.meet(edge, DependencyOutcome::Satisfied),
                ConditionVerdict::Unsatisfied => self.meet(edge, DependencyOutcome::Skipped),
            }
        }
    }

    fn meet(&mut self, edge: EdgeIndex, met: DependencyOutcome) {
        let edge = self.plan.graph().edge(edge);
        let join = self.join(edge.to);
        let state = &mut self.tasks[edge.to.at()];
        state.needs.waiting = state.needs.waiting.saturating_sub(1);
        match met {
            DependencyOutcome::Satisfied => state.needs.satisfied += 1,
            DependencyOutcome::Skipped => state.needs.skipped += 1,
            DependencyOutcome::Failed => state.needs.failed += 1,
        }
        // READY and beyond: a second dependency of a `join: any` makes no difference any more.
        if state.status != TaskStatus::Pending || state.attempt_pending() {
            return;
        }
        match state.needs.fate(join) {
            DependencyFate::Run => self.free(edge.to),
            DependencyFate::Skip | DependencyFate::Block => self.doomed.push((edge.from, edge.to)),
            DependencyFate::Wait => {}
        }
    }

    /// All that it needs is there.
    pub(super) fn free(&mut self, task: TaskIndex) {
        if !self.change(task, StatusChange::Freed) {
            return;
        }
        if self.item_of(task).is_none() && self.plan.task(task).cancel_others {
            self.winners.push(task);
        }
        if self.item_of(task).is_none() && self.plan.task(task).asks_first() {
            self.gated.push(task);
        } else {
            self.start_or_expand(task);
        }
    }

    /// Starts a task, or asks for its list, when nothing keeps it any more.
    pub(super) fn start_or_expand(&mut self, task: TaskIndex) {
        if self.item_of(task).is_some() || self.plan.task(task).for_each.is_none() {
            self.push_ready(task);
        } else if self.maps.get(&task).is_some_and(|span| span.stand == MapProgress::Kept) {
            self.known_lists.push(task);
        } else {
            self.expandable.insert(task);
            self.fresh_lists.push(task);
        }
    }

    pub(super) fn push_ready(&mut self, task: TaskIndex) {
        let rank_bits = self.plan.rank(self.origin(task)).to_bits();
        self.ready.push(ReadyTask { rank_bits, task: Reverse(task) });
        // It may need less than what waits.
        self.lacks_budget = false;
    }

    pub(super) fn push_timer(
        &mut self,
        at: Timestamp,
        kind: TimerKind,
        task: TaskIndex,
        attempt: Attempt,
    ) {
        self.timers.push(Reverse(RunTimer { at, kind, task, attempt }));
    }

    /// Drops timers at the top that no longer mean anything, so that `wake_at` is exact.
    pub(super) fn trim_timers(&mut self) {
        while let Some(Reverse(timer)) = self.timers.peek() {
            if self.is_live(timer) {
                return;
            }
            self.timers.pop();
        }
    }

    pub(super) fn is_live(&self, timer: &RunTimer) -> bool {
        let state = &self.tasks[timer.task.at()];
        match timer.kind {
            TimerKind::Retry => {
                state.status == TaskStatus::Pending
                    && state.attempt == timer.attempt
                    && state.not_before == Some(timer.at)
                    && self.is_going_on()
            }
            TimerKind::Timeout => {
                state.phase == TaskPhase::InFlight
                    && state.attempt == timer.attempt
                    && state.not_after == timer.at
                    && !state.cancelling
            }
            TimerKind::Grace => self.cancelling > 0,
            TimerKind::DeadlineNear => {
                self.is_going_on() && !self.account.warned.contains(&BudgetKind::Time)
            }
            TimerKind::Deadline => self.is_going_on() && self.deadline == Some(timer.at),
            TimerKind::Gate(gate) => self.gates.get(&gate) == Some(&Some(timer.at)),
        }
    }

    /// An attempt ended; without a usage nobody knows what it used.
    fn spend(&mut self, task: TaskIndex, usage: Option<&Usage>) {
        self.charge_share(task, usage);
        if let Some(usage) = usage {
            self.used.tokens = self.used.tokens.saturating_add(usage.tokens);
            self.used.cost_usd += usage.cost_usd;
            self.used.tokens_out = self.used.tokens_out.saturating_add(usage.tokens_out);
            self.counted_attempts += u32::from(usage.is_counted);
        }
    }
}

/// The size of an output as JSON text, more or less: whole numbers and escapes are not written out.
pub(super) fn weight(output: &TaskOutput) -> u64 {
    fn of(value: &serde_json::Value) -> u64 {
        use serde_json::Value;
        match value {
            Value::Null | Value::Bool(_) => 5,
            Value::Number(_) => 8,
            Value::String(text) => text.len() as u64 + 3,
            Value::Array(items) => 2 + items.iter().map(of).sum::<u64>(),
            Value::Object(map) => {
                2 + map.iter().map(|(key, value)| key.len() as u64 + 4 + of(value)).sum::<u64>()
            }
        }
    }
    match output {
        TaskOutput::Inline(value) => of(value),
        TaskOutput::Blob { bytes, .. } => *bytes,
        // Its parts were counted when they came.
        TaskOutput::List(_) => 0,
    }
}

impl TaskState {
    /// PENDING between two attempts, not before the first.
    pub(super) fn attempt_pending(&self) -> bool {
        self.not_before.is_some()
    }
}
