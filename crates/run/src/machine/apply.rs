//! How events change the state. Total, and never a decision: whatever a journal says happened.

use std::cmp::Reverse;

use super::budget::Account;
use super::map::Stand;
use super::transition::{Change, next_status};
use super::{Fate, Phase, ReadyTask, Run, TaskState, Timer, TimerKind, has_ended};
use crate::amounts::Usage;
use crate::amounts::{Amounts, BudgetKind};
use crate::event::{CancelCause, Event, Next, Output, Scope, TaskError, Verdict};
use crate::record::Record;
use l05_core::error::ErrorCode;
use l05_core::graph::EdgeIndex;
use l05_core::id::{Attempt, Sequence, TaskIndex};
use l05_core::plan::PlanStatus;
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;

/// A record that does not follow the one before.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("event {missing} is missing: the next record begins at {found}")]
pub struct Gap {
    /// The number that should come next.
    pub missing: u64,
    /// The number that came.
    pub found: u64,
}

/// What became of a dependency.
#[derive(Clone, Copy)]
enum Met {
    Satisfied,
    Skipped,
    Failed,
}

impl Run {
    /// Folds one journal record. Events that are applied already change nothing.
    pub fn replay(&mut self, record: &Record) -> Result<(), Gap> {
        let expected = self.sequence.0 + 1;
        if record.first.0 > expected {
            return Err(Gap { missing: expected, found: record.first.0 });
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
    pub(super) fn apply(&mut self, event: &Event) {
        self.sequence = Sequence(self.sequence.0 + 1);
        if let Some(task) = named_task(event)
            && task.at() >= self.tasks.len()
        {
            return;
        }
        match event {
            Event::RunStarted { run, keep, kept_maps, deadline, began } => {
                self.begin(*run, keep, kept_maps, (*began, *deadline));
            }
            Event::RunAdopted { epoch } => self.epoch = *epoch,
            Event::EdgeDecided { edge, verdict } => self.decide_edge(*edge, *verdict),
            Event::GateOpened { gate, expires_at } => self.open_gate(*gate, *expires_at),
            Event::GateDecided { gate, approved, by, reason } => {
                self.answer_gate(*gate, *approved, by, reason);
            }
            Event::MapExpanded { task, first, count, items } => {
                if self.change(*task, Change::Expanded) {
                    self.expand(*task, *first, *count, items);
                }
            }
            Event::MapCompleted { task } => {
                let output = self.gathered_output(*task);
                if self.change(*task, Change::Completed) {
                    self.tasks[task.at()].output = output;
                    self.meet_dependents(*task, Met::Satisfied);
                }
            }
            Event::BudgetWarned { kind, .. } => self.account.warned.push(*kind),
            Event::TaskDispatched { task, attempt, not_after, reserved, placed } => {
                self.launch(*task, *attempt, *not_after, *reserved, Change::Dispatched);
                self.hand_to(*task, placed.as_deref());
            }
            Event::TaskRedispatched { task, attempt, not_after, reserved, placed } => {
                // What the first owner's executor used, nobody knows.
                self.settle_share(*task, None);
                self.launch(*task, *attempt, *not_after, *reserved, Change::Redispatched);
                self.hand_to(*task, placed.as_deref());
            }
            Event::AttemptReturned { task, attempt } => self.take_back(*task, *attempt),
            Event::TaskDeferred { task, error, at } => {
                self.tasks[task.at()].error = Some(Box::new(error.clone()));
                self.wait_until(*task, *at, Change::Deferred);
            }
            Event::TaskCompleted { task, output, usage, .. } => {
                self.spend(*task, Some(usage));
                if self.change(*task, Change::Completed) {
                    self.output_bytes += weight(output);
                    self.tasks[task.at()].output = Some(output.clone());
                    match self.item_of(*task) {
                        Some(item) => self.item_ended(item, false, false),
                        None => self.meet_dependents(*task, Met::Satisfied),
                    }
                }
            }
            Event::AttemptFailed { task, error, usage, lost, next, .. } => {
                self.spend(*task, (!lost).then_some(usage));
                self.tasks[task.at()].error = Some(Box::new(error.clone()));
                match next {
                    Next::Retry { at } => self.wait_until(*task, *at, Change::Retried),
                    Next::Final { status: TaskStatus::TimedOut } => {
                        self.fail(*task, Change::TimedOut);
                    }
                    Next::Final { .. } => self.fail(*task, Change::Failed),
                }
            }
            Event::TaskFailed { task, error } => {
                self.tasks[task.at()].error = Some(Box::new(error.clone()));
                self.fail(*task, Change::Failed);
            }
            Event::TasksBlocked { tasks, .. } => {
                for task in tasks {
                    self.fail(*task, Change::Blocked);
                }
            }
            Event::TasksSkipped { tasks, .. } => {
                for task in tasks {
                    if self.change(*task, Change::Skipped) {
                        self.meet_dependents(*task, Met::Skipped);
                    }
                }
            }
            Event::CancelRequested { scope, cause, reason, grace_until } => {
                self.begin_cancel(*scope, *cause, reason, *grace_until);
            }
            Event::TasksCancelled { tasks, .. } => {
                for task in tasks {
                    self.settle_share(*task, None);
                    self.fail(*task, Change::Cancelled);
                }
            }
            Event::Noticed { notice } => self.keep_notice(notice),
            // Kept for the record; the state does not depend on it.
            Event::ReportIgnored { .. } => {}
            Event::RunFinished { status, partial } => {
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
            span.stand = if kept_maps.contains(map) { Stand::Kept } else { Stand::Past };
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
                self.meet_dependents(task, Met::Satisfied);
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
        self.why = None;
        self.gates.clear();
        // A new run is somebody's wish: it has the plan's budget again.
        self.account = Account::of(self.plan.document());
        self.reservations.clear();
        self.running = 0;
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
        self.decidable.clear();
        self.gated.clear();
        self.expandable.clear();
        self.fresh_lists.clear();
        self.known_lists.clear();
        self.gathered.clear();
    }

    /// Moves a task along the table; false when the event does not fit, and then nothing changed.
    pub(super) fn change(&mut self, task: TaskIndex, change: Change) -> bool {
        let state = &mut self.tasks[task.at()];
        let before = state.status;
        let Some(after) = next_status(before, change) else { return false };
        let phase = match change {
            Change::Dispatched | Change::Redispatched => Phase::InFlight,
            Change::Gated => Phase::Gate,
            Change::Expanded => Phase::Mapping,
            Change::Freed
            | Change::Deferred
            | Change::Completed
            | Change::Retried
            | Change::Failed
            | Change::TimedOut
            | Change::Blocked
            | Change::Skipped
            | Change::Cancelled => Phase::Idle,
        };
        // One executor, one list, one question at a time.
        let begins = matches!(change, Change::Dispatched | Change::Expanded);
        if begins && state.phase != Phase::Idle {
            return false;
        }
        state.status = after;
        self.set_phase(task, phase);
        if has_ended(after) || change == Change::Expanded {
            // Nobody needs its list any more.
            self.expandable.remove(&task);
        }
        if has_ended(after) {
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

    pub(super) fn set_phase(&mut self, task: TaskIndex, phase: Phase) {
        let state = &mut self.tasks[task.at()];
        let before = std::mem::replace(&mut state.phase, phase);
        if phase != Phase::InFlight && state.cancelling {
            state.cancelling = false;
            self.cancelling -= 1;
        }
        self.running += u32::from(phase == Phase::InFlight);
        self.running -= u32::from(before == Phase::InFlight);
        let load = &mut self.agent_loads[usize::from(self.tasks[task.at()].agent)];
        *load += u32::from(phase == Phase::InFlight);
        *load -= u32::from(before == Phase::InFlight);
        self.mapping += u32::from(phase == Phase::Mapping);
        self.mapping -= u32::from(before == Phase::Mapping);
    }

    fn launch(
        &mut self,
        task: TaskIndex,
        attempt: Attempt,
        not_after: Timestamp,
        reserved: Amounts,
        change: Change,
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

    fn wait_until(&mut self, task: TaskIndex, at: Timestamp, change: Change) {
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
    pub(super) fn fail(&mut self, task: TaskIndex, change: Change) {
        if task.at() >= self.tasks.len() || !self.change(task, change) {
            return;
        }
        let allowed = self.spec(task).allow_failure;
        let cancelled = change == Change::Cancelled;
        self.failed_for_good += u32::from(!allowed);
        if let Some(item) = self.item_of(task) {
            self.item_ended(item, !allowed && !cancelled, !allowed && cancelled);
        } else {
            let met = if allowed { Met::Satisfied } else { Met::Failed };
            self.meet_dependents(task, met);
        }
    }

    /// Tells a task's dependents that it ended. A satisfied dependency with a condition waits for
    /// the condition.
    fn meet_dependents(&mut self, task: TaskIndex, met: Met) {
        let plan = self.plan.clone();
        for edge in plan.graph().edges_out(task) {
            let conditional = plan.structure().is_conditional(*edge);
            match met {
                Met::Satisfied if conditional => {
                    let to = &self.tasks[plan.graph().edge(*edge).to.at()];
                    if to.status == TaskStatus::Pending && !to.attempt_pending() {
                        self.decidable.insert(*edge);
                    }
                }
                Met::Satisfied | Met::Skipped | Met::Failed => self.meet(*edge, met),
            }
        }
    }

    fn decide_edge(&mut self, edge: EdgeIndex, verdict: Verdict) {
        if self.decidable.remove(&edge) {
            match verdict {
                Verdict::Satisfied => self.meet(edge, Met::Satisfied),
                Verdict::Unsatisfied => self.meet(edge, Met::Skipped),
            }
        }
    }

    fn meet(&mut self, edge: EdgeIndex, met: Met) {
        let edge = self.plan.graph().edge(edge);
        let join = self.join(edge.to);
        let state = &mut self.tasks[edge.to.at()];
        state.needs.waiting = state.needs.waiting.saturating_sub(1);
        match met {
            Met::Satisfied => state.needs.satisfied += 1,
            Met::Skipped => state.needs.skipped += 1,
            Met::Failed => state.needs.failed += 1,
        }
        // READY and beyond: a second dependency of a `join: any` makes no difference any more.
        if state.status != TaskStatus::Pending || state.attempt_pending() {
            return;
        }
        match state.needs.fate(join) {
            Fate::Run => self.free(edge.to),
            Fate::Skip | Fate::Block => self.doomed.push((edge.from, edge.to)),
            Fate::Wait => {}
        }
    }

    /// All that it needs is there.
    pub(super) fn free(&mut self, task: TaskIndex) {
        if !self.change(task, Change::Freed) {
            return;
        }
        if self.item_of(task).is_none() && self.plan.task(task).asks_first() {
            self.gated.push(task);
        } else {
            self.start_or_expand(task);
        }
    }

    /// What a task does when nothing keeps it any more.
    pub(super) fn start_or_expand(&mut self, task: TaskIndex) {
        if self.item_of(task).is_some() || self.plan.task(task).for_each.is_none() {
            self.push_ready(task);
        } else if self.maps.get(&task).is_some_and(|span| span.stand == Stand::Kept) {
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

    fn begin_cancel(
        &mut self,
        scope: Scope,
        cause: CancelCause,
        reason: &str,
        grace_until: Timestamp,
    ) {
        match scope {
            Scope::Plan => {
                self.cancel = Some(cause);
                self.note_cause(cause, reason);
                self.drop_gates();
                for task in self.all_tasks().collect::<Vec<_>>() {
                    self.mark_cancelling(task);
                }
            }
            Scope::Task(task) => {
                self.mark_cancelling(task);
                for item in self.live_items(task) {
                    self.mark_cancelling(item);
                }
            }
        }
        self.push_timer(grace_until, TimerKind::Grace, TaskIndex(0), Attempt(0));
    }

    fn note_cause(&mut self, cause: CancelCause, reason: &str) {
        let code = match cause {
            CancelCause::Deadline => ErrorCode::DEADLINE_MISSED,
            CancelCause::Budget => ErrorCode::BUDGET_EXCEEDED,
            // A failed task says more, or it was somebody's wish.
            CancelCause::FailFast | CancelCause::Request => return,
        };
        let error = TaskError { code, message: reason.to_owned(), is_final: true };
        self.why = Some(Box::new(error));
    }

    fn mark_cancelling(&mut self, task: TaskIndex) {
        let Some(state) = self.tasks.get_mut(task.at()) else { return };
        if state.phase == Phase::InFlight && !state.cancelling {
            state.cancelling = true;
            self.cancelling += 1;
        }
    }

    pub(super) fn push_timer(
        &mut self,
        at: Timestamp,
        kind: TimerKind,
        task: TaskIndex,
        attempt: Attempt,
    ) {
        self.timers.push(Reverse(Timer { at, kind, task, attempt }));
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

    pub(super) fn is_live(&self, timer: &Timer) -> bool {
        let state = &self.tasks[timer.task.at()];
        match timer.kind {
            TimerKind::Retry => {
                state.status == TaskStatus::Pending
                    && state.attempt == timer.attempt
                    && state.not_before == Some(timer.at)
                    && self.is_going_on()
            }
            TimerKind::Timeout => {
                state.phase == Phase::InFlight
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
        self.settle_share(task, usage);
        if let Some(usage) = usage {
            self.used.tokens = self.used.tokens.saturating_add(usage.tokens);
            self.used.cost_usd += usage.cost_usd;
        }
    }
}

/// The size of an output as JSON text, more or less: whole numbers and escapes are not written out.
pub(super) fn weight(output: &Output) -> u64 {
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
        Output::Inline(value) => of(value),
        Output::Blob { bytes, .. } => *bytes,
        // Its parts were counted when they came.
        Output::List(_) => 0,
    }
}

impl TaskState {
    /// PENDING between two attempts, not before the first.
    pub(super) fn attempt_pending(&self) -> bool {
        self.not_before.is_some()
    }
}

/// The task an event is about, where it is about one; out of range it is a broken journal's.
fn named_task(event: &Event) -> Option<TaskIndex> {
    match event {
        Event::TaskDispatched { task, .. }
        | Event::TaskRedispatched { task, .. }
        | Event::AttemptReturned { task, .. }
        | Event::TaskDeferred { task, .. }
        | Event::TaskCompleted { task, .. }
        | Event::AttemptFailed { task, .. }
        | Event::MapExpanded { task, .. }
        | Event::MapCompleted { task }
        | Event::TaskFailed { task, .. } => Some(*task),
        Event::GateOpened { gate, .. } | Event::GateDecided { gate, .. } => gate.task(),
        Event::RunStarted { .. }
        | Event::RunAdopted { .. }
        | Event::EdgeDecided { .. }
        | Event::BudgetWarned { .. }
        | Event::TasksBlocked { .. }
        | Event::TasksSkipped { .. }
        | Event::CancelRequested { .. }
        | Event::TasksCancelled { .. }
        | Event::ReportIgnored { .. }
        | Event::Noticed { .. }
        | Event::RunFinished { .. } => None,
    }
}
