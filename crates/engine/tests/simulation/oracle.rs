//! What may never happen, told from the durable events alone: written without the machine's code,
//! slowly and plainly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use l05_core::id::{Attempt, TaskIndex};
use l05_core::plan::{Plan, PlanStatus};
use l05_core::task::Join;
use l05_core::time::Timestamp;
use l05_run::amounts::Usage;
use l05_run::event::{AfterFailure, AgentPlacement, CancelScope, ConditionVerdict, Gate, RunEvent};
use l05_run::record::Record;

/// One plan's life as its journal tells it.
pub(crate) struct Oracle {
    plan: Arc<Plan>,
    pub(crate) runs: u16,
    pub(crate) finished: Option<PlanStatus>,
    pub(crate) gates: BTreeSet<Gate>,
    /// How many questions were answered.
    pub(crate) answers: usize,
    pub(crate) cancelled: bool,
    pub(crate) asked_about_the_plan: bool,
    pub(crate) in_flight: BTreeMap<TaskIndex, Flight>,
    ended: BTreeMap<TaskIndex, End>,
    verdicts: BTreeMap<u32, ConditionVerdict>,
    items: BTreeMap<TaskIndex, TaskIndex>,
    pub(crate) last_attempt: BTreeMap<TaskIndex, Attempt>,
    completions: BTreeSet<(TaskIndex, Attempt)>,
    not_before: BTreeMap<TaskIndex, Timestamp>,
    again: BTreeSet<TaskIndex>,
    limit: u64,
    spent: u64,
    /// Owners that died in a row and did nothing but take the run up.
    deaths: u16,
    /// Taken out of execution, until somebody lets it go on.
    pub(crate) suspended: bool,
    /// How often it was suspended.
    pub(crate) suspensions: u32,
}

/// An attempt that an executor should be working on.
pub(crate) struct Flight {
    pub(crate) attempt: Attempt,
    pub(crate) reserved: u64,
    not_after: Timestamp,
    /// Its owner is gone.
    orphan: bool,
    /// It was told to stop.
    stopping: bool,
    /// Whose it is.
    pub(crate) agent: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Completed,
    Failed,
    Skipped,
}

/// The deaths in a row after which a run is suspended.
pub(crate) const DEATHS_MAX: u16 = 3;
/// How long what was told to stop may take.
const GRACE_MILLIS: u64 = 10_000;

impl Oracle {
    pub(crate) fn new(plan: Arc<Plan>) -> Oracle {
        let limit = plan.document().constraints.max_token_budget.unwrap_or(u64::MAX);
        Oracle {
            plan,
            runs: 0,
            finished: None,
            gates: BTreeSet::new(),
            answers: 0,
            cancelled: false,
            asked_about_the_plan: false,
            in_flight: BTreeMap::new(),
            ended: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            items: BTreeMap::new(),
            last_attempt: BTreeMap::new(),
            completions: BTreeSet::new(),
            not_before: BTreeMap::new(),
            again: BTreeSet::new(),
            limit,
            spent: 0,
            deaths: 0,
            suspended: false,
            suspensions: 0,
        }
    }

    /// Whether the run is over, or was never to begin.
    pub(crate) fn is_over(&self) -> bool {
        self.finished.is_some()
    }

    /// Takes a durable record; panics where it tells of something that must not be.
    pub(crate) fn record(&mut self, record: &Record) {
        let is_poisonous = self.is_poisonous(record);
        let suspends =
            record.events.iter().any(|event| matches!(event, RunEvent::RunSuspended { .. }));
        assert_eq!(suspends, is_poisonous, "suspended after {} deaths", self.deaths);
        for event in &record.events {
            self.count_deaths(event);
            self.event(event, record.at);
        }
        let adopted =
            record.events.iter().any(|event| matches!(event, RunEvent::RunAdopted { .. }));
        // Of a suspended run they wait for whoever lets it go on.
        if adopted && !self.suspended {
            let forgotten = self.in_flight.iter().find(|(_, flight)| flight.orphan);
            assert!(forgotten.is_none(), "adopted, and an attempt in flight was forgotten");
        }
    }

    /// The record takes up a run that its owners died of, one after the other, with the same attempts in flight.
    fn is_poisonous(&self, record: &Record) -> bool {
        let died =
            |event: &RunEvent| matches!(event, RunEvent::RunAdopted { after_death: true, .. });
        let open = self.in_flight.values().any(|flight| !flight.stopping);
        let taken_up = record.events.first().is_some_and(died);
        taken_up && self.deaths + 1 >= DEATHS_MAX && open && !self.cancelled && !self.suspended
    }

    fn count_deaths(&mut self, event: &RunEvent) {
        match event {
            RunEvent::RunAdopted { after_death, .. } => self.deaths += u16::from(*after_death),
            RunEvent::TaskRedispatched { .. }
            | RunEvent::AttemptReturned { .. }
            | RunEvent::TaskDeferred { .. }
            | RunEvent::RunSuspended { .. } => {}
            _ => self.deaths = 0,
        }
    }

    fn event(&mut self, event: &RunEvent, at: Timestamp) {
        if self.is_over() {
            let allowed = matches!(
                event,
                RunEvent::RunStarted { .. }
                    | RunEvent::ReportIgnored { .. }
                    | RunEvent::RunAdopted { .. }
                    | RunEvent::GateOpened { gate: Gate::Plan, .. }
            );
            assert!(allowed, "after the end: {event:?}");
        }
        match event {
            RunEvent::RunStarted { run, keep, kept_maps, .. } => self.begin(*run, keep, kept_maps),
            RunEvent::RunAdopted { .. } => {
                self.in_flight.values_mut().for_each(|flight| flight.orphan = true);
            }
            RunEvent::RunSuspended { .. } => {
                (self.suspended, self.suspensions) = (true, self.suspensions + 1);
            }
            RunEvent::RunResumed { .. } => {
                assert!(self.suspended, "what was not suspended goes on");
                self.suspended = false;
            }
            RunEvent::EdgeDecided { edge, verdict } => {
                self.verdicts.insert(edge.0, *verdict);
            }
            RunEvent::GateOpened { gate, .. } => {
                self.finished = None;
                self.gates.insert(*gate);
                self.asked_about_the_plan |= *gate == Gate::Plan;
                if let Gate::Recovery(task) = gate {
                    let lost = self.leave(*task, "asked about");
                    self.spent += lost.reserved;
                }
            }
            RunEvent::GateDecided { gate, approved, .. } => self.answered(*gate, *approved),
            RunEvent::MapExpanded { task, first, count, .. } => {
                self.check_needs(*task);
                self.items.extend((0..*count).map(|n| (TaskIndex(first.0 + n), *task)));
            }
            RunEvent::MapCompleted { task } => self.end(*task, End::Completed),
            RunEvent::BudgetWarned { .. }
            | RunEvent::BudgetBreached { .. }
            | RunEvent::ReportIgnored { .. }
            | RunEvent::Noticed { .. } => {}
            RunEvent::AttemptReturned { task, attempt } => {
                let before = self.leave(*task, "returned");
                assert_eq!(before.attempt, *attempt, "another attempt was returned");
                self.spent += before.reserved;
                self.again.insert(*task);
            }
            RunEvent::TaskDeferred { task, at, .. } => {
                self.check_needs(*task);
                self.not_before.insert(*task, *at);
            }
            RunEvent::TaskDispatched { task, attempt, not_after, reserved, placed } => {
                self.check_needs(*task);
                let last = self.last_attempt.insert(*task, *attempt);
                assert!(last.is_none_or(|last| last < *attempt), "an attempt's number came twice");
                let early = self.not_before.remove(task).filter(|not_before| at < *not_before);
                assert!(early.is_none(), "a retry did not wait for its time");
                self.fly(*task, *attempt, *not_after, reserved.tokens, placed.as_deref());
            }
            RunEvent::TaskRedispatched { task, attempt, not_after, reserved, placed } => {
                assert_eq!(self.last_attempt.get(task), Some(attempt), "another attempt's number");
                if !self.again.remove(task) {
                    let before = self.leave(*task, "given out again");
                    assert!(before.orphan, "given out again although its owner lives");
                    self.spent += before.reserved;
                }
                self.fly(*task, *attempt, *not_after, reserved.tokens, placed.as_deref());
            }
            RunEvent::TaskCompleted { task, attempt, usage, .. } => {
                self.settle(*task, *attempt, Some(usage));
                assert!(self.completions.insert((*task, *attempt)), "completed twice");
                self.end(*task, End::Completed);
            }
            RunEvent::AttemptFailed { task, attempt, usage, lost, next, .. } => {
                self.settle(*task, *attempt, (!lost).then_some(usage));
                match next {
                    AfterFailure::Retry { at } => drop(self.not_before.insert(*task, *at)),
                    AfterFailure::Final { .. } => self.end(*task, End::Failed),
                }
            }
            RunEvent::TaskFailed { task, .. } => self.end(*task, End::Failed),
            RunEvent::TasksBlocked { tasks, .. } => {
                tasks.iter().for_each(|task| self.end(*task, End::Failed));
            }
            RunEvent::TasksSkipped { tasks, .. } => {
                tasks.iter().for_each(|task| self.end(*task, End::Skipped));
            }
            RunEvent::CancelRequested { scope, grace_until, .. } => {
                self.cancelled |= *scope == CancelScope::Plan;
                let items = &self.items;
                for (task, flight) in &mut self.in_flight {
                    flight.not_after = flight.not_after.max(*grace_until);
                    flight.stopping |= match scope {
                        CancelScope::Plan => true,
                        CancelScope::Task(of) => task == of || items.get(task) == Some(of),
                    };
                }
            }
            RunEvent::TasksCancelled { tasks, .. } => {
                for task in tasks {
                    self.spent += self.in_flight.remove(task).map_or(0, |flight| flight.reserved);
                    self.end(*task, End::Failed);
                }
            }
            RunEvent::RunFinished { status, .. } => self.finish(*status),
        }
    }

    /// Attempts that an agent has, of those whose owner lives.
    pub(crate) fn load_of(&self, agent: &str) -> usize {
        let has = |flight: &&Flight| !flight.orphan && flight.agent.as_deref() == Some(agent);
        self.in_flight.values().filter(has).count()
    }

    /// No attempt outlives its time by more than the grace, where its owner had time to say so.
    pub(crate) fn check_timers(&self, now: Timestamp) {
        if self.suspended {
            return;
        }
        let late = |flight: &&Flight| now.millis_since(flight.not_after) > GRACE_MILLIS;
        let forgotten = self.in_flight.values().find(late);
        assert!(forgotten.is_none(), "an attempt is in flight long after its time");
    }

    fn begin(&mut self, run: u16, keep: &[TaskIndex], kept_maps: &[TaskIndex]) {
        assert!(self.in_flight.is_empty(), "a run began while attempts were in flight");
        assert_eq!(run, self.runs + 1);
        let plan_tasks = self.plan.graph().len();
        let completed: BTreeSet<TaskIndex> =
            self.ended.iter().filter(|(_, end)| **end == End::Completed).map(|(t, _)| *t).collect();
        let kept: BTreeSet<TaskIndex> = keep.iter().copied().collect();
        let forgotten = completed.iter().find(|t| t.at() < plan_tasks && !kept.contains(t));
        assert!(forgotten.is_none(), "what completed would run again: {forgotten:?}");
        assert!(kept.is_subset(&completed), "kept what did not complete");
        self.items.retain(|_, map| kept.contains(map) || kept_maps.contains(map));
        self.ended = kept.into_iter().map(|task| (task, End::Completed)).collect();
        // A new run has what is left.
        (self.runs, self.finished, self.cancelled) = (run, None, false);
        self.verdicts.clear();
        self.not_before.clear();
        self.again.clear();
        self.gates.clear();
    }

    fn answered(&mut self, gate: Gate, approved: bool) {
        assert!(self.gates.remove(&gate), "an answer to what nobody asked");
        self.answers += 1;
        match (gate, approved) {
            (Gate::Recovery(task), true) => drop(self.again.insert(task)),
            (Gate::Budget, true) => {
                let once = self.plan.document().constraints.max_token_budget;
                self.limit = self.limit.saturating_add(once.unwrap_or(0));
            }
            // What follows from a refusal is told by events of its own, or ends the task.
            (Gate::Task(task) | Gate::Recovery(task), false) => {
                self.ended.entry(task).or_insert(End::Failed);
            }
            (Gate::Plan, _) | (Gate::Task(_), true) | (Gate::Budget, false) => {}
        }
    }

    fn fly(
        &mut self,
        task: TaskIndex,
        attempt: Attempt,
        not_after: Timestamp,
        reserved: u64,
        placed: Option<&AgentPlacement>,
    ) {
        assert!(!self.ended.contains_key(&task), "{task:?} runs although it has ended");
        assert!(!self.suspended, "{task:?} runs although the run is suspended");
        let flight = Flight {
            attempt,
            reserved,
            not_after,
            orphan: false,
            stopping: false,
            agent: placed.map(|p| p.agent.clone()),
        };
        assert!(self.in_flight.insert(task, flight).is_none(), "{task:?} is in flight twice");
        let most = self.plan.document().parallelism() as usize;
        assert!(self.in_flight.len() <= most, "{} in flight, not {most}", self.in_flight.len());
        let held: u64 = self.in_flight.values().map(|flight| flight.reserved).sum();
        assert!(self.spent + held <= self.limit, "{} + {held} of {}", self.spent, self.limit);
        let needs = self.plan.document().constraints.max_token_budget.is_some();
        assert!(!needs || reserved > 0, "it goes out without a reservation");
    }

    fn leave(&mut self, task: TaskIndex, why: &str) -> Flight {
        self.in_flight.remove(&task).unwrap_or_else(|| panic!("{task:?} {why}: not in flight"))
    }

    fn settle(&mut self, task: TaskIndex, attempt: Attempt, usage: Option<&Usage>) {
        // A refused second try ends an attempt that is with nobody.
        // One that was returned and found nobody any more was with nobody either.
        let Some(flight) = self.in_flight.remove(&task) else {
            let with_nobody = self.again.remove(&task) || self.ended.contains_key(&task);
            assert!(with_nobody, "{task:?} ended an attempt it did not have");
            return;
        };
        assert_eq!(flight.attempt, attempt, "another attempt's report counted");
        self.spent += usage.map_or(flight.reserved, |usage| usage.tokens);
    }

    fn end(&mut self, task: TaskIndex, end: End) {
        assert!(!self.in_flight.contains_key(&task), "{task:?} ended while in flight");
        let before = self.ended.insert(task, end);
        let refused = end == End::Failed && before == Some(End::Failed);
        assert!(before.is_none() || refused, "{task:?} ended twice: {before:?}, {end:?}");
    }

    /// A task starts, or its list is made: what it needs has to be there.
    fn check_needs(&self, task: TaskIndex) {
        assert!(self.finished.is_none() && self.runs > 0, "{task:?} starts outside a run");
        assert!(!self.cancelled, "{task:?} starts in a cancelled run");
        let Some(origin) = self.items.get(&task).or(Some(&task)) else { return };
        let graph = self.plan.graph();
        let is_met = |edge: &l05_core::graph::EdgeIndex| {
            let from = graph.edge(*edge).from;
            let allowed = self.plan.task(from).allow_failure;
            let ended_well = match self.ended.get(&from) {
                Some(End::Completed) => true,
                Some(End::Failed) => allowed,
                Some(End::Skipped) | None => false,
            };
            let asked = self.plan.structure().is_conditional(*edge);
            let says_yes = self.verdicts.get(&edge.0) == Some(&ConditionVerdict::Satisfied);
            ended_well && (!asked || says_yes)
        };
        let edges = graph.edges_in(*origin);
        let met = match self.plan.task(*origin).join {
            Join::All => edges.iter().all(is_met),
            Join::Any => edges.is_empty() || edges.iter().any(is_met),
        };
        assert!(met, "{task:?} starts before what it needs");
    }

    fn finish(&mut self, status: PlanStatus) {
        assert!(self.in_flight.is_empty(), "the run ended with attempts in flight");
        self.finished = Some(status);
        self.gates.clear();
        if self.runs == 0 {
            // Refused or cancelled before it ever ran.
            return;
        }
        let tasks = self.plan.graph().indices();
        let open: Vec<TaskIndex> = tasks.filter(|t| !self.ended.contains_key(t)).collect();
        assert!(open.is_empty(), "the run ended and {open:?} did not");
        let bad = |task: &TaskIndex| {
            self.ended[task] == End::Failed && !self.plan.task(*task).allow_failure
        };
        let failed = self.plan.graph().indices().any(|task| bad(&task));
        assert!(!(failed && status == PlanStatus::Completed), "COMPLETED, and a task failed");
    }
}
