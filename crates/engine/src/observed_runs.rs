//! What earlier runs took, read from the journal for estimates.
//!
//! Loaded at the first estimate, then refreshed beside the work: an estimate never waits for more
//! than the first look. Only completed attempts count; what failed or was given out twice says
//! nothing about how long the work takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use l05_core::estimate::{EstimateBasis, RunExperience, RunObservation};
use l05_core::id::{Attempt, TaskIndex};
use l05_core::plan::Plan;
use l05_core::time::Timestamp;
use l05_run::event::RunEvent;
use l05_run::record::Record;

/// The most plans that are read, newest first; with those, a tool in use has its 20 runs many
/// times.
pub(crate) const PLANS_MAX: usize = 100;
/// Plans with more tasks are left out: one would take longer to read than all others.
pub(crate) const TASKS_MAX: usize = 2_000;
/// The age of the figures, in milliseconds, at which they are read anew.
const REFRESH_MILLIS: u64 = 60_000;

/// The knowledge of a service, with its experience as last read.
pub(crate) struct ObservedRuns {
    // Short and synchronous: never held across an await.
    state: Mutex<ObservationState>,
}

struct ObservationState {
    knowledge: Arc<EstimateBasis>,
    read_at: Option<Timestamp>,
}

/// The work that is due before estimating.
pub(crate) enum RefreshDue {
    /// Nothing.
    No,
    /// Read before estimating: nothing is known yet.
    Now,
    /// Read beside the work.
    Soon,
}

impl ObservedRuns {
    pub(crate) fn new(knowledge: EstimateBasis) -> ObservedRuns {
        ObservedRuns {
            state: Mutex::new(ObservationState { knowledge: Arc::new(knowledge), read_at: None }),
        }
    }

    pub(crate) fn knowledge(&self) -> Arc<EstimateBasis> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).knowledge.clone()
    }

    /// True if the journal should be read; the caller who is told so is the only one.
    pub(crate) fn due(&self, now: Timestamp) -> RefreshDue {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = match state.read_at {
            None => RefreshDue::Now,
            Some(at) if now.millis_since(at) > REFRESH_MILLIS => RefreshDue::Soon,
            Some(_) => return RefreshDue::No,
        };
        state.read_at = Some(now);
        due
    }

    pub(crate) fn replace(&self, experience: RunExperience) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let knowledge = EstimateBasis { experience, ..(*state.knowledge).clone() };
        state.knowledge = Arc::new(knowledge);
    }
}

/// Adds what one plan's runs took.
pub(crate) fn absorb(experience: &mut RunExperience, plan: &Plan, records: &[Record]) {
    let template = plan.document().metadata.template_id.as_deref();
    let mut began: HashMap<(TaskIndex, Attempt), Timestamp> = HashMap::new();
    // Items of fan-outs count for the fan-out's tool.
    let mut maps: Vec<(TaskIndex, TaskIndex, u32)> = Vec::new();
    for record in records {
        for event in &record.events {
            match event {
                RunEvent::TaskDispatched { task, attempt, .. } => {
                    began.insert((*task, *attempt), record.at);
                }
                RunEvent::MapExpanded { task, first, count, .. } => {
                    maps.push((*task, *first, *count));
                }
                RunEvent::TaskRedispatched { task, attempt, .. } => {
                    began.remove(&(*task, *attempt));
                }
                RunEvent::TaskCompleted { task, attempt, usage, .. } => {
                    let Some(began) = began.remove(&(*task, *attempt)) else { continue };
                    let observation = RunObservation {
                        at: record.at,
                        seconds: record.at.millis_since(began) as f64 / 1e3,
                        tokens: usage.tokens as f64,
                        cost_usd: usage.cost_usd,
                    };
                    let holds = |(_, first, count): &&(TaskIndex, TaskIndex, u32)| {
                        (first.0..first.0.saturating_add(*count)).contains(&task.0)
                    };
                    let map = maps.iter().rev().find(holds).map(|(map, ..)| *map);
                    let origin = map.unwrap_or(*task);
                    if origin.at() >= plan.graph().len() {
                        continue;
                    }
                    let task = plan.task(origin);
                    if let Some(tool) = &task.tool {
                        experience.observe(tool, observation);
                    }
                    if let Some(template) = template {
                        let key = RunExperience::template_key(template, &task.task_id);
                        experience.observe(&key, observation);
                    }
                }
                _ => {}
            }
        }
    }
}
