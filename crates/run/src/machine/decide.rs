//! What a command means in a state: the events it causes, or why it is refused.

use super::retry::{asked_millis, backoff_millis, may_retry};
use super::{GRACE_MILLIS, OUTPUTS_BYTES_MAX, Run, TaskPhase};
use crate::amounts::Usage;
use crate::command::{
    AttemptOutcome, CommandRejected, OwnWorkspace, RunCommand, RunDecision, RunEffect, RunLimits,
};
use crate::event::{
    Actor, AfterFailure, CancelCause, CancelScope, ConditionVerdict, Gate, IgnoredReport, RunEvent,
    TaskError, TaskOutput,
};
use l05_core::error::ErrorCode;
use l05_core::graph::EdgeIndex;
use l05_core::id::{Attempt, TaskIndex};
use l05_core::plan::PlanStatus;
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;

impl Run {
    /// Decides a command, applies what follows from it, and says what to journal and then do.
    pub fn handle(
        &mut self,
        command: RunCommand,
        now: Timestamp,
        terms: RunLimits<'_>,
    ) -> Result<RunDecision, CommandRejected> {
        let mut decision = RunDecision::default();
        let readopt = matches!(command, RunCommand::Adopt { .. } | RunCommand::Resume { .. });
        if let RunCommand::AgentLost { agent } = &command {
            // Whatever becomes of its attempts, their executors no longer count.
            for task in self.in_flight_in(CancelScope::Plan) {
                if self.agent(task) == agent {
                    let attempt = self.tasks[task.at()].attempt;
                    decision.effects.push(RunEffect::Abandon { task, attempt });
                }
            }
        }
        for event in self.decide(command, now, terms)? {
            self.commit(event, &mut decision);
        }
        if readopt && self.status != PlanStatus::Suspended {
            // All of it is asked at once; what the adoption's own events made askable is in there.
            let asks = |effect: &RunEffect| {
                matches!(effect, RunEffect::Resolve { .. } | RunEffect::Expand { .. })
            };
            decision.effects.retain(|effect| !asks(effect));
            self.ask_again(&mut decision);
        }
        self.run_to_fixpoint(now, terms, &mut decision);
        Ok(decision)
    }

    /// Decides a command for a run that this process does not drive: only what the command itself
    /// says happens, and what follows by itself where no executor is involved. Whoever drives the
    /// run next finds the rest.
    pub fn note(
        &mut self,
        command: RunCommand,
        now: Timestamp,
        answer_within_millis: Option<u64>,
        workspace: Option<&OwnWorkspace>,
    ) -> Result<Vec<RunEvent>, CommandRejected> {
        let terms = RunLimits { answer_within_millis, workspace, ..RunLimits::room(0) };
        let mut decision = RunDecision::default();
        for event in self.decide(command, now, terms)? {
            self.commit(event, &mut decision);
        }
        // What was in flight when its owner died is not this command's to judge.
        if self.running == 0 {
            self.run_to_fixpoint(now, terms, &mut decision);
        }
        Ok(decision.events)
    }

    /// Asks again for what was being evaluated for an owner that is gone.
    fn ask_again(&self, decision: &mut RunDecision) {
        self.ask_for(self.decidable.iter().copied().collect(), decision);
        decision
            .effects
            .extend(self.expandable.iter().map(|task| RunEffect::Expand { task: *task }));
    }

    /// The work of a driver that knows nothing but the durable state: attempts in flight,
    /// conditions to evaluate, an end to tell. Asked for when effects may have been lost.
    pub fn outstanding(&self) -> Vec<RunEffect> {
        let mut decision = RunDecision::default();
        if self.status == PlanStatus::Suspended {
            decision.effects.push(RunEffect::Finished);
            return decision.effects;
        }
        for task in self.in_flight_in(CancelScope::Plan) {
            let state = &self.tasks[task.at()];
            let attempt = state.attempt;
            decision.effects.push(if state.cancelling {
                RunEffect::Stop { task, attempt }
            } else {
                RunEffect::Dispatch { task, attempt }
            });
        }
        self.ask_again(&mut decision);
        match self.status {
            PlanStatus::Completed | PlanStatus::Failed | PlanStatus::Cancelled => {
                decision.effects.push(RunEffect::Finished);
            }
            PlanStatus::Draft
            | PlanStatus::Validated
            | PlanStatus::PendingApproval
            | PlanStatus::Approved
            | PlanStatus::Executing
            | PlanStatus::Suspended => {}
        }
        decision.effects
    }

    /// The events of a command. Reads the state only.
    fn decide(
        &self,
        command: RunCommand,
        now: Timestamp,
        terms: RunLimits<'_>,
    ) -> Result<Vec<RunEvent>, CommandRejected> {
        match command {
            RunCommand::Start { from, budget, by } => {
                self.decide_start(from, budget, by, now, terms)
            }
            RunCommand::Adopt { epoch, after_death } => {
                Ok(self.decide_adopt(epoch, after_death, now, terms))
            }
            RunCommand::Resume { epoch, by } => self.decide_resume(epoch, by, now, terms),
            RunCommand::AgentLost { agent } => Ok(self.decide_lost(&agent, now, terms)),
            RunCommand::Resolved { task, edges } => Ok(self.decide_resolved(task, edges)),
            RunCommand::Expanded { task, items } => Ok(self.decide_expanded(task, items)),
            RunCommand::AnswerGate { gate, approve, by, reason } => {
                self.decide_gate(gate, approve, by, reason, now)
            }
            RunCommand::Report { task, attempt, outcome, usage } => {
                self.decide_report(task, attempt, outcome, usage, now)
            }
            RunCommand::Cancel { scope, reason, by } => self.decide_cancel(scope, reason, by, now),
            RunCommand::Notice { notices } => Ok(self.decide_noticed(notices)),
            // Everything that time brings is found by `run_to_fixpoint`.
            RunCommand::Wake => Ok(Vec::new()),
        }
    }

    fn decide_expanded(
        &self,
        task: TaskIndex,
        items: Result<(TaskOutput, u32), TaskError>,
    ) -> Vec<RunEvent> {
        if !self.expandable.contains(&task) {
            return Vec::new();
        }
        let most = self.plan.task(task).for_each.as_ref().map_or(0, |each| each.max_items);
        let error = match items {
            Ok((items, count)) if u64::from(count) <= most => {
                return vec![self.expansion(task, items, count)];
            }
            Ok((_, count)) => TaskError::last(
                ErrorCode::QuotaExceeded,
                format!("its list has {count} items, and max_items is {most}"),
            ),
            Err(error) => error,
        };
        vec![RunEvent::TaskFailed { task, error }]
    }

    fn decide_resolved(
        &self,
        task: TaskIndex,
        edges: Vec<(EdgeIndex, Result<ConditionVerdict, TaskError>)>,
    ) -> Vec<RunEvent> {
        let mut events = Vec::new();
        if task.at() >= self.tasks.len() || self.task_status(task) != TaskStatus::Pending {
            return events;
        }
        for (edge, verdict) in edges {
            if !self.decidable.contains(&edge) || self.plan.graph().edge(edge).to != task {
                continue;
            }
            match verdict {
                Ok(verdict) => events.push(RunEvent::EdgeDecided { edge, verdict }),
                Err(error) => {
                    events.push(RunEvent::TaskFailed { task, error });
                    break;
                }
            }
        }
        events
    }

    fn decide_report(
        &self,
        task: TaskIndex,
        attempt: Attempt,
        outcome: AttemptOutcome,
        used: Option<Usage>,
        now: Timestamp,
    ) -> Result<Vec<RunEvent>, CommandRejected> {
        let Some(state) = self.tasks.get(task.at()) else {
            let message = format!("the plan has no task number {}", task.0);
            return Err(CommandRejected::new(ErrorCode::CompletionReportInvalid, message));
        };
        if state.phase != TaskPhase::InFlight || state.attempt != attempt {
            return Ok(self.ignored(task, attempt, &outcome));
        }
        let breach = self.breach(task, attempt, used.as_ref());
        let outcome = self.within_limits(outcome);
        let mut events = match outcome {
            AttemptOutcome::Completed(output) => {
                let usage = used.unwrap_or_default();
                vec![RunEvent::TaskCompleted { task, attempt, output, usage }]
            }
            AttemptOutcome::Stopped | AttemptOutcome::Failed(_) if state.cancelling => {
                vec![RunEvent::TasksCancelled { tasks: vec![task], abandoned: false }]
            }
            AttemptOutcome::Failed(error) => {
                vec![self.attempt_failed(task, attempt, error, used, TaskStatus::Failed, now)]
            }
            AttemptOutcome::Stopped => {
                let error = TaskError::new(
                    ErrorCode::AgentCrashed,
                    "the executor stopped without a result",
                );
                vec![self.attempt_failed(task, attempt, error, used, TaskStatus::Failed, now)]
            }
        };
        events.extend(breach);
        Ok(events)
    }

    /// An output that does not fit in with the others is a failure.
    fn within_limits(&self, outcome: AttemptOutcome) -> AttemptOutcome {
        let AttemptOutcome::Completed(output) = &outcome else { return outcome };
        let bytes = super::apply::weight(output);
        if self.output_bytes.saturating_add(bytes) <= OUTPUTS_BYTES_MAX {
            return outcome;
        }
        AttemptOutcome::Failed(TaskError::last(
            ErrorCode::ContextTooLarge,
            format!(
                "its output of {bytes} bytes would bring the outputs of the run to more than \
                 {OUTPUTS_BYTES_MAX} bytes"
            ),
        ))
    }

    /// A report for an attempt that is not in flight. The same result again is no event at all.
    fn ignored(
        &self,
        task: TaskIndex,
        attempt: Attempt,
        outcome: &AttemptOutcome,
    ) -> Vec<RunEvent> {
        let state = &self.tasks[task.at()];
        let same_attempt = state.attempt == attempt;
        let why = match (outcome, &state.output) {
            (AttemptOutcome::Completed(new), Some(old)) if same_attempt && new == old => {
                return Vec::new();
            }
            (AttemptOutcome::Completed(_) | AttemptOutcome::Failed(_), Some(_)) if same_attempt => {
                IgnoredReport::Conflict
            }
            (AttemptOutcome::Stopped, _) => return Vec::new(),
            (AttemptOutcome::Completed(_) | AttemptOutcome::Failed(_), _) => IgnoredReport::Late,
        };
        vec![RunEvent::ReportIgnored { task, attempt, why }]
    }

    /// The failure of an attempt, with what follows from error class and policy.
    pub(super) fn attempt_failed(
        &self,
        task: TaskIndex,
        attempt: Attempt,
        error: TaskError,
        used: Option<Usage>,
        last_status: TaskStatus,
        now: Timestamp,
    ) -> RunEvent {
        let next = match self.next_try(task, attempt, &error, now) {
            Some(at) => AfterFailure::Retry { at },
            None => AfterFailure::Final { status: last_status },
        };
        let (usage, lost) = (used.unwrap_or_default(), used.is_none());
        RunEvent::AttemptFailed { task, attempt, error, usage, lost, next }
    }

    /// The time at which a task is tried again after an error, if it is.
    pub(super) fn next_try(
        &self,
        task: TaskIndex,
        attempt: Attempt,
        error: &TaskError,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let policy = &self.spec(task).retry_policy;
        let failures = self.tasks[task.at()].failures.saturating_add(1);
        let seed =
            u64::from_le_bytes(self.plan.digest()[..8].try_into().expect("a digest has 32 bytes"));
        let wait = backoff_millis(policy, failures, seed, task, attempt);
        let at = now.plus_millis(wait.max(asked_millis(error, policy)));
        let in_time = self.deadline.is_none_or(|deadline| at < deadline);
        (may_retry(error, policy, failures) && in_time && self.is_going_on()).then_some(at)
    }

    /// The time at which an attempt that starts now times out: after its own limit, never past the
    /// deadline.
    pub(super) fn attempt_deadline(&self, task: TaskIndex, now: Timestamp) -> Timestamp {
        let own = now.plus_millis((self.spec(task).attempt_seconds() * 1000.0).ceil() as u64);
        self.deadline.map_or(own, |deadline| own.min(deadline))
    }

    fn decide_cancel(
        &self,
        scope: CancelScope,
        reason: String,
        by: Actor,
        now: Timestamp,
    ) -> Result<Vec<RunEvent>, CommandRejected> {
        let ended = match scope {
            CancelScope::Plan => self.status.has_ended(),
            CancelScope::Task(task) => {
                let Some(state) = self.tasks.get(task.at()) else {
                    let message = format!("the plan has no task number {}", task.0);
                    return Err(CommandRejected::new(ErrorCode::PlanNotFound, message));
                };
                state.status.has_ended() || self.status != PlanStatus::Executing
            }
        };
        if ended {
            let message = format!("the plan is {}: there is nothing left to cancel", self.status);
            return Err(CommandRejected::new(ErrorCode::StateTransitionInvalid, message));
        }
        if self.cancel.is_some() {
            return Ok(Vec::new());
        }
        let grace_until = now.plus_millis(GRACE_MILLIS);
        let cause = CancelCause::Request;
        let by = Some(by);
        let mut events = vec![RunEvent::CancelRequested { scope, cause, reason, grace_until, by }];
        match scope {
            CancelScope::Task(task) => {
                let tasks = self.idle_in(task);
                if !tasks.is_empty() {
                    events.push(RunEvent::TasksCancelled { tasks, abandoned: false });
                }
            }
            CancelScope::Plan => {}
        }
        Ok(events)
    }

    /// Applies an event and notes what must be done because of it.
    pub(super) fn commit(&mut self, event: RunEvent, decision: &mut RunDecision) {
        let tasks_to_stop = if let RunEvent::CancelRequested { scope, .. } = &event {
            self.in_flight_in(*scope)
        } else {
            Vec::new()
        };
        self.apply(&event);
        match &event {
            RunEvent::TaskDispatched { task, attempt, .. }
            | RunEvent::TaskRedispatched { task, attempt, .. } => {
                decision.effects.push(RunEffect::Dispatch { task: *task, attempt: *attempt });
            }
            RunEvent::RunFinished { .. } | RunEvent::RunSuspended { .. } => {
                decision.effects.push(RunEffect::Finished);
            }
            RunEvent::AttemptReturned { .. }
            | RunEvent::TaskDeferred { .. }
            | RunEvent::RunStarted { .. }
            | RunEvent::RunAdopted { .. }
            | RunEvent::RunResumed { .. }
            | RunEvent::EdgeDecided { .. }
            | RunEvent::GateOpened { .. }
            | RunEvent::GateDecided { .. }
            | RunEvent::MapExpanded { .. }
            | RunEvent::MapCompleted { .. }
            | RunEvent::BudgetWarned { .. }
            | RunEvent::BudgetBreached { .. }
            | RunEvent::TaskCompleted { .. }
            | RunEvent::AttemptFailed { .. }
            | RunEvent::TaskFailed { .. }
            | RunEvent::TasksBlocked { .. }
            | RunEvent::TasksSkipped { .. }
            | RunEvent::CancelRequested { .. }
            | RunEvent::TasksCancelled { .. }
            | RunEvent::Noticed { .. }
            | RunEvent::ReportIgnored { .. } => {}
        }
        for task in tasks_to_stop {
            let attempt = self.tasks[task.at()].attempt;
            decision.effects.push(RunEffect::Stop { task, attempt });
        }
        for task in std::mem::take(&mut self.fresh_lists) {
            decision.effects.push(RunEffect::Expand { task });
        }
        if !self.decidable.is_empty() {
            let fresh = self.fresh_edges(&event);
            self.ask_for(fresh, decision);
        }
        decision.events.push(event);
    }

    /// Conditional dependencies that this event made decidable.
    fn fresh_edges(&self, event: &RunEvent) -> Vec<EdgeIndex> {
        let ended: &[TaskIndex] = match event {
            RunEvent::TaskCompleted { task, .. }
            | RunEvent::AttemptFailed { task, .. }
            | RunEvent::MapCompleted { task }
            | RunEvent::TaskFailed { task, .. } => std::slice::from_ref(task),
            RunEvent::GateDecided { gate: Gate::Task(task) | Gate::Recovery(task), .. } => {
                std::slice::from_ref(task)
            }
            RunEvent::TasksBlocked { tasks, .. } | RunEvent::TasksCancelled { tasks, .. } => tasks,
            RunEvent::RunStarted { keep, .. } => keep,
            RunEvent::GateDecided { gate: Gate::Plan | Gate::Budget, .. }
            | RunEvent::GateOpened { .. }
            | RunEvent::MapExpanded { .. }
            | RunEvent::BudgetWarned { .. }
            | RunEvent::BudgetBreached { .. }
            | RunEvent::RunAdopted { .. }
            | RunEvent::RunSuspended { .. }
            | RunEvent::RunResumed { .. }
            | RunEvent::EdgeDecided { .. }
            | RunEvent::TaskDispatched { .. }
            | RunEvent::TaskRedispatched { .. }
            | RunEvent::AttemptReturned { .. }
            | RunEvent::TaskDeferred { .. }
            | RunEvent::TasksSkipped { .. }
            | RunEvent::CancelRequested { .. }
            | RunEvent::ReportIgnored { .. }
            | RunEvent::Noticed { .. }
            | RunEvent::RunFinished { .. } => &[],
        };
        let graph = self.plan.graph();
        let of_plan = ended.iter().filter(|task| task.at() < graph.len());
        let out = of_plan.flat_map(|task| graph.edges_out(*task));
        out.copied().filter(|edge| self.decidable.contains(edge)).collect()
    }

    fn ask_for(&self, edges: Vec<EdgeIndex>, decision: &mut RunDecision) {
        for edge in edges {
            let to = self.plan.graph().edge(edge).to;
            match decision.effects.last_mut() {
                Some(RunEffect::Resolve { task, edges }) if *task == to => edges.push(edge),
                _ => decision.effects.push(RunEffect::Resolve { task: to, edges: vec![edge] }),
            }
        }
    }

    pub(super) fn in_flight_in(&self, scope: CancelScope) -> Vec<TaskIndex> {
        let in_flight = |task: &TaskIndex| self.tasks[task.at()].phase == TaskPhase::InFlight;
        match scope {
            CancelScope::Plan if self.running == 0 => Vec::new(),
            CancelScope::Plan => self.all_tasks().filter(in_flight).collect(),
            CancelScope::Task(task) => {
                std::iter::once(task).chain(self.live_items(task)).filter(in_flight).collect()
            }
        }
    }
}
