//! What is checked beside what the oracle reads from the journal.

use l05_core::id::PlanId;
use l05_engine::shard::{Shard, ShardAction};
use l05_run::Run;
use l05_run::event::RunEvent;
use l05_run::record::Record;

use super::{Promise, World, plan_of};
use crate::process::{AGENT_SLOTS, AGENTS};

impl World {
    pub(super) fn fold(&self, plan: PlanId) -> Run {
        let stored = &self.journal[&plan];
        let mut run = Run::new(stored.plan.clone());
        for record in &stored.records {
            run.replay(record).unwrap();
        }
        run
    }

    /// The fold of the journal is the live state.
    pub(super) fn compare(&mut self, who: usize) {
        let Some(plan) = self.any_plan_of(who) else { return };
        let shard: &Shard = &self.processes[who].shard;
        let last = self.journal[&plan].records.last().map_or(1, |record| record.next().0);
        if let Some(live) = shard.durable(plan)
            && live.sequence().0 + 1 == last
        {
            assert!(live.agrees_with(&self.fold(plan)), "the journal tells another state");
        }
    }

    /// Nothing leaves a shard that is not in the journal.
    pub(super) fn check_action(&self, who: usize, action: &ShardAction) {
        let (ShardAction::Start(_) | ShardAction::Finished { .. }) = action else { return };
        let (ShardAction::Start(_), plan) = (action, plan_of(action)) else {
            let stored = &self.journal[&plan_of(action)];
            let rests = stored.oracle.is_over() || stored.oracle.suspended;
            let told = rests || stored.owner != Some(who);
            return assert!(told, "an end was told that is not in the journal");
        };
        let stored = &self.journal[&plan];
        if let ShardAction::Start(it) = action
            && stored.owner == Some(who)
        {
            let flight = stored.oracle.in_flight.get(&it.task);
            let known = flight.is_some_and(|flight| flight.attempt == it.attempt);
            assert!(known, "an attempt starts that is not in the journal");
        }
    }

    /// No agent has more than it takes. Told of one process, with what its runs have in the journal.
    pub(super) fn check_agents(&self) {
        for who in 0..self.processes.len() {
            for agent in AGENTS {
                // What it has taken over and not adopted yet is at agents of the last owner.
                let owned = self.journal.values().filter(|stored| {
                    let last = stored.records.last().map_or(0, |record| record.epoch.0);
                    stored.owner == Some(who) && last == stored.epoch
                });
                let load: usize = owned.map(|stored| stored.oracle.load_of(agent)).sum();
                assert!(load <= AGENT_SLOTS, "agent {agent} has {load} attempts");
            }
        }
    }

    /// What was acknowledged is in the journal.
    pub(super) fn check_promise(&self, plan: PlanId, promise: Promise) {
        let oracle = &self.journal[&plan].oracle;
        let kept = match promise {
            Promise::Started(run) => oracle.runs >= run || oracle.asked_about_the_plan,
            Promise::Cancelled => oracle.cancelled || oracle.is_over() || oracle.runs > 1,
            Promise::Answered(before) => oracle.answers > before || oracle.is_over(),
        };
        assert!(kept, "acknowledged, and the journal does not have it: {promise:?}");
    }

    pub(super) fn check_the_end(&self) {
        for process in &self.processes {
            let left = process
                .works
                .iter()
                .find(|work| !work.told_to_stop && self.journal[&work.plan].owner.is_none());
            assert!(left.is_none(), "an executor works on after the end of its plan");
        }
    }
}

/// A caller's act is filed under the caller, and so is nobody else's.
pub(super) fn check_filing(record: &Record) {
    let by = |event: &RunEvent| match event {
        RunEvent::RunStarted { by, .. } | RunEvent::CancelRequested { by, .. } => by.clone(),
        RunEvent::GateDecided { by, .. } if by != "system" => Some(by.as_str().into()),
        _ => None,
    };
    let of_executors = |event: &RunEvent| {
        matches!(event, RunEvent::TaskCompleted { .. } | RunEvent::ReportIgnored { .. })
    };
    if let Some(by) = record.events.iter().find_map(by) {
        assert_eq!(record.actor, by, "{record:?}");
        assert!(!record.events.iter().any(of_executors), "two actors in one record: {record:?}");
    }
}
