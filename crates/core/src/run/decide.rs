//! What a command means in a state: the events it causes, or why it is refused.

use super::command::{Command, Decision, Effect, Outcome, Rejected, Rerun};
use super::event::{CancelCause, Event, Ignored, Next, Scope, TaskError, Usage, Verdict};
use super::retry::{backoff_millis, may_retry};
use super::{GRACE_MILLIS, Run, has_ended, is_in_flight};
use crate::error::ErrorCode;
use crate::graph::EdgeIndex;
use crate::id::{Attempt, Epoch, TaskIndex};
use crate::plan::PlanStatus;
use crate::task::{OnRecovery, TaskStatus};
use crate::time::Timestamp;

impl Run {
    /// Decides a command, applies what follows from it, and says what to journal and then do.
    /// `running_max` is how many attempts the process lets this run have in flight.
    pub fn handle(
        &mut self,
        command: Command,
        now: Timestamp,
        running_max: u32,
    ) -> Result<Decision, Rejected> {
        let mut decision = Decision::default();
        let readopt = matches!(command, Command::Adopt { .. });
        for event in self.decide(command, now)? {
            self.commit(event, &mut decision);
        }
        if readopt {
            self.ask_for(self.decidable.iter().copied().collect(), &mut decision);
        }
        self.settle(now, running_max, &mut decision);
        Ok(decision)
    }

    /// What a driver that knows nothing but the durable state has to do: attempts in flight,
    /// conditions to evaluate, an end to tell. Asked for when effects may have been lost.
    pub fn outstanding(&self) -> Vec<Effect> {
        let mut decision = Decision::default();
        for task in self.in_flight_in(Scope::Plan) {
            let state = &self.tasks[task.at()];
            let attempt = state.attempt;
            decision.effects.push(if state.cancelling {
                Effect::Stop { task, attempt }
            } else {
                Effect::Dispatch { task, attempt }
            });
        }
        self.ask_for(self.decidable.iter().copied().collect(), &mut decision);
        match self.status {
            PlanStatus::Completed | PlanStatus::Failed | PlanStatus::Cancelled => {
                decision.effects.push(Effect::Finished);
            }
            PlanStatus::Draft
            | PlanStatus::Validated
            | PlanStatus::PendingApproval
            | PlanStatus::Approved
            | PlanStatus::Executing => {}
        }
        decision.effects
    }

    /// The events of a command. Reads the state only.
    fn decide(&self, command: Command, now: Timestamp) -> Result<Vec<Event>, Rejected> {
        match command {
            Command::Start { from } => self.decide_start(from, now),
            Command::Adopt { epoch } => Ok(self.decide_adopt(epoch, now)),
            Command::Resolved { task, edges } => Ok(self.decide_resolved(task, edges)),
            Command::Report { task, attempt, outcome, usage } => {
                self.decide_report(task, attempt, outcome, usage, now)
            }
            Command::Cancel { scope, reason } => self.decide_cancel(scope, reason, now),
            // Everything that time brings is found by `settle`.
            Command::Wake => Ok(Vec::new()),
        }
    }

    fn decide_start(&self, from: Rerun, now: Timestamp) -> Result<Vec<Event>, Rejected> {
        let keep = match (self.status, from) {
            (PlanStatus::Validated | PlanStatus::Approved, Rerun::Fresh) => Vec::new(),
            (PlanStatus::Failed | PlanStatus::Cancelled, Rerun::Failed) => self.completed(),
            (
                PlanStatus::Completed | PlanStatus::Failed | PlanStatus::Cancelled,
                Rerun::From(task),
            ) if task.at() < self.tasks.len() => self.completed_outside(task),
            (
                PlanStatus::Draft
                | PlanStatus::Validated
                | PlanStatus::PendingApproval
                | PlanStatus::Approved
                | PlanStatus::Executing
                | PlanStatus::Completed
                | PlanStatus::Failed
                | PlanStatus::Cancelled,
                Rerun::Fresh | Rerun::Failed | Rerun::From(_),
            ) => return Err(self.cannot_start(from)),
        };
        let constraints = &self.plan.document().constraints;
        let relative = constraints
            .max_execution_time_sec
            .map(|seconds| now.plus_millis((seconds * 1000.0) as u64));
        let absolute = constraints.deadline_unix_ms.map(Timestamp);
        let deadline = relative.into_iter().chain(absolute).min();
        Ok(vec![Event::RunStarted { run: self.run.saturating_add(1), keep, deadline }])
    }

    fn cannot_start(&self, from: Rerun) -> Rejected {
        let status = self.status;
        let message = match (status, from) {
            (PlanStatus::Completed, Rerun::Fresh) => {
                "the plan has completed; `l05 retry ID --from TASK` runs a part of it again"
                    .to_owned()
            }
            (PlanStatus::Failed | PlanStatus::Cancelled, Rerun::Fresh) => {
                format!("the plan is {status}; `l05 retry ID` runs what did not complete")
            }
            (PlanStatus::Completed, _) => {
                "the plan has completed: there is nothing to retry".to_owned()
            }
            (_, _) => format!("the plan is {status}"),
        };
        Rejected::new(ErrorCode::PLAN_NOT_EXECUTABLE, message)
    }

    fn completed(&self) -> Vec<TaskIndex> {
        let done = |task: &TaskIndex| self.task_status(*task) == TaskStatus::Completed;
        self.plan.graph().indices().filter(done).collect()
    }

    /// Completed tasks that do not depend on `task`.
    fn completed_outside(&self, task: TaskIndex) -> Vec<TaskIndex> {
        let graph = self.plan.graph();
        let mut behind = vec![false; self.tasks.len()];
        let mut stack = vec![task];
        while let Some(task) = stack.pop() {
            if !std::mem::replace(&mut behind[task.at()], true) {
                stack.extend(graph.edges_out(task).iter().map(|edge| graph.edge(*edge).to));
            }
        }
        self.completed().into_iter().filter(|task| !behind[task.at()]).collect()
    }

    fn decide_adopt(&self, epoch: Epoch, now: Timestamp) -> Vec<Event> {
        let mut events = vec![Event::RunAdopted { epoch }];
        if self.status != PlanStatus::Executing {
            return events;
        }
        let in_flight = |task: &TaskIndex| is_in_flight(self.task_status(*task));
        let mut gone = Vec::new();
        for task in self.plan.graph().indices().filter(in_flight) {
            let state = &self.tasks[task.at()];
            if state.cancelling {
                // Its executor died with its owner.
                gone.push(task);
                continue;
            }
            match self.plan.task(task).on_recovery {
                OnRecovery::Rerun => events.push(Event::TaskRedispatched {
                    task,
                    attempt: state.attempt,
                    not_after: self.attempt_deadline(task, now),
                }),
                // Validation refuses `ask` in this version; a person's plan fails rather than runs.
                OnRecovery::Fail | OnRecovery::Ask => events.push(Event::AttemptFailed {
                    task,
                    attempt: state.attempt,
                    error: TaskError {
                        code: ErrorCode::AGENT_CRASHED,
                        message: "the process that ran it stopped, and on_recovery is not rerun"
                            .to_owned(),
                        is_final: true,
                    },
                    usage: Usage::default(),
                    next: Next::Final { status: TaskStatus::Failed },
                }),
            }
        }
        if !gone.is_empty() {
            events.push(Event::TasksCancelled { tasks: gone, abandoned: true });
        }
        events
    }

    fn decide_resolved(
        &self,
        task: TaskIndex,
        edges: Vec<(EdgeIndex, Result<Verdict, TaskError>)>,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        if task.at() >= self.tasks.len() || self.task_status(task) != TaskStatus::Pending {
            return events;
        }
        for (edge, verdict) in edges {
            if !self.decidable.contains(&edge) || self.plan.graph().edge(edge).to != task {
                continue;
            }
            match verdict {
                Ok(verdict) => events.push(Event::EdgeDecided { edge, verdict }),
                Err(error) => {
                    events.push(Event::TaskFailed { task, error });
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
        outcome: Outcome,
        usage: Usage,
        now: Timestamp,
    ) -> Result<Vec<Event>, Rejected> {
        let Some(state) = self.tasks.get(task.at()) else {
            let message = format!("the plan has no task number {}", task.0);
            return Err(Rejected::new(ErrorCode::COMPLETION_REPORT_INVALID, message));
        };
        if !is_in_flight(state.status) || state.attempt != attempt {
            return Ok(self.ignored(task, attempt, &outcome));
        }
        Ok(match outcome {
            Outcome::Completed(output) => {
                vec![Event::TaskCompleted { task, attempt, output, usage }]
            }
            Outcome::Stopped | Outcome::Failed(_) if state.cancelling => {
                vec![Event::TasksCancelled { tasks: vec![task], abandoned: false }]
            }
            Outcome::Failed(error) => {
                vec![self.attempt_failed(task, attempt, error, usage, TaskStatus::Failed, now)]
            }
            Outcome::Stopped => {
                let error = TaskError {
                    code: ErrorCode::AGENT_CRASHED,
                    message: "the executor stopped without a result".to_owned(),
                    is_final: false,
                };
                vec![self.attempt_failed(task, attempt, error, usage, TaskStatus::Failed, now)]
            }
        })
    }

    /// A report for an attempt that is not in flight. The same result again is no event at all.
    fn ignored(&self, task: TaskIndex, attempt: Attempt, outcome: &Outcome) -> Vec<Event> {
        let state = &self.tasks[task.at()];
        let same_attempt = state.attempt == attempt;
        let why = match (outcome, &state.output) {
            (Outcome::Completed(new), Some(old)) if same_attempt && new == old => {
                return Vec::new();
            }
            (Outcome::Completed(_) | Outcome::Failed(_), Some(_)) if same_attempt => {
                Ignored::Conflict
            }
            (Outcome::Stopped, _) => return Vec::new(),
            (Outcome::Completed(_) | Outcome::Failed(_), _) => Ignored::Late,
        };
        vec![Event::ReportIgnored { task, attempt, why }]
    }

    /// The failure of an attempt, with what follows from error class and policy.
    pub(super) fn attempt_failed(
        &self,
        task: TaskIndex,
        attempt: Attempt,
        error: TaskError,
        usage: Usage,
        last_status: TaskStatus,
        now: Timestamp,
    ) -> Event {
        let policy = &self.plan.task(task).retry_policy;
        let failures = self.tasks[task.at()].failures.saturating_add(1);
        let seed =
            u64::from_le_bytes(self.plan.digest()[..8].try_into().expect("a digest has 32 bytes"));
        let at = now.plus_millis(backoff_millis(policy, failures, seed, task, attempt));
        let in_time = self.deadline.is_none_or(|deadline| at < deadline);
        let next = if may_retry(&error, policy, failures) && in_time && self.may_dispatch() {
            Next::Retry { at }
        } else {
            Next::Final { status: last_status }
        };
        Event::AttemptFailed { task, attempt, error, usage, next }
    }

    /// When an attempt that starts now times out: after its own limit, never past the deadline.
    pub(super) fn attempt_deadline(&self, task: TaskIndex, now: Timestamp) -> Timestamp {
        let own = now.plus_millis((self.plan.task(task).timeout_seconds * 1000.0).ceil() as u64);
        self.deadline.map_or(own, |deadline| own.min(deadline))
    }

    fn decide_cancel(
        &self,
        scope: Scope,
        reason: String,
        now: Timestamp,
    ) -> Result<Vec<Event>, Rejected> {
        let ended = match scope {
            Scope::Plan => match self.status {
                PlanStatus::Completed | PlanStatus::Failed | PlanStatus::Cancelled => true,
                PlanStatus::Draft
                | PlanStatus::Validated
                | PlanStatus::PendingApproval
                | PlanStatus::Approved
                | PlanStatus::Executing => false,
            },
            Scope::Task(task) => {
                let Some(state) = self.tasks.get(task.at()) else {
                    let message = format!("the plan has no task number {}", task.0);
                    return Err(Rejected::new(ErrorCode::PLAN_NOT_FOUND, message));
                };
                has_ended(state.status) || self.status != PlanStatus::Executing
            }
        };
        if ended {
            let message = format!("the plan is {}: there is nothing left to cancel", self.status);
            return Err(Rejected::new(ErrorCode::STATE_TRANSITION_INVALID, message));
        }
        if self.cancel.is_some() {
            return Ok(Vec::new());
        }
        let grace_until = now.plus_millis(GRACE_MILLIS);
        let cause = CancelCause::Request;
        let mut events = vec![Event::CancelRequested { scope, cause, reason, grace_until }];
        match scope {
            // Those in flight end with their executors or with the grace.
            Scope::Task(task) if is_in_flight(self.task_status(task)) => {}
            Scope::Task(task) => {
                events.push(Event::TasksCancelled { tasks: vec![task], abandoned: false });
            }
            Scope::Plan => {}
        }
        Ok(events)
    }

    /// Applies an event and notes what must be done because of it.
    pub(super) fn commit(&mut self, event: Event, decision: &mut Decision) {
        let tasks_to_stop = match &event {
            Event::CancelRequested { scope, .. } => self.in_flight_in(*scope),
            _ => Vec::new(),
        };
        self.apply(&event);
        match &event {
            Event::TaskDispatched { task, attempt, .. }
            | Event::TaskRedispatched { task, attempt, .. } => {
                decision.effects.push(Effect::Dispatch { task: *task, attempt: *attempt });
            }
            Event::RunFinished { .. } => decision.effects.push(Effect::Finished),
            _ => {}
        }
        for task in tasks_to_stop {
            let attempt = self.tasks[task.at()].attempt;
            decision.effects.push(Effect::Stop { task, attempt });
        }
        if !self.decidable.is_empty() {
            let fresh = self.fresh_edges(&event);
            self.ask_for(fresh, decision);
        }
        decision.events.push(event);
    }

    /// Conditional dependencies that this event made decidable.
    fn fresh_edges(&self, event: &Event) -> Vec<EdgeIndex> {
        let ended: &[TaskIndex] = match event {
            Event::TaskCompleted { task, .. }
            | Event::AttemptFailed { task, .. }
            | Event::TaskFailed { task, .. } => std::slice::from_ref(task),
            Event::TasksBlocked { tasks, .. } | Event::TasksCancelled { tasks, .. } => tasks,
            Event::RunStarted { keep, .. } => keep,
            Event::RunAdopted { .. }
            | Event::EdgeDecided { .. }
            | Event::TaskDispatched { .. }
            | Event::TaskRedispatched { .. }
            | Event::TasksSkipped { .. }
            | Event::CancelRequested { .. }
            | Event::ReportIgnored { .. }
            | Event::RunFinished { .. } => &[],
        };
        let out = ended.iter().flat_map(|task| self.plan.graph().edges_out(*task));
        out.copied().filter(|edge| self.decidable.contains(edge)).collect()
    }

    fn ask_for(&self, edges: Vec<EdgeIndex>, decision: &mut Decision) {
        for edge in edges {
            let to = self.plan.graph().edge(edge).to;
            match decision.effects.last_mut() {
                Some(Effect::Resolve { task, edges }) if *task == to => edges.push(edge),
                _ => decision.effects.push(Effect::Resolve { task: to, edges: vec![edge] }),
            }
        }
    }

    fn in_flight_in(&self, scope: Scope) -> Vec<TaskIndex> {
        let in_flight = |task: &TaskIndex| is_in_flight(self.task_status(*task));
        match scope {
            Scope::Plan => self.plan.graph().indices().filter(in_flight).collect(),
            Scope::Task(task) => Some(task).into_iter().filter(in_flight).collect(),
        }
    }
}
