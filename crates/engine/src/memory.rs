//! The store that forgets: journal and catalogue in memory.
//!
//! For embedded use without a disk, for tests, and as the yardstick of the conformance suite. It
//! keeps all the promises of the ports but the one about power cuts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use l05_core::id::{Epoch, PlanId, Sequence, WorkerId};
use l05_core::plan::PlanStatus;
use l05_run::record::Record;

use crate::port::{
    AppendRefusal, AppendResult, BoxFuture, ClaimResult, FailedGoalsKept, GoalQuery, HistoryPage,
    HistoryQuery, Journal, LeaseRenewal, PlanCatalog, PlanSummary, PostedCommand, RemoteCommand,
    StoreError, StoredGoal, StoredPlan,
};

/// Everything in one process's memory.
#[derive(Default)]
pub struct MemoryStore {
    // Synchronous and short: the lock is never held across an await.
    plans: Mutex<PlanTable>,
}

#[derive(Default)]
struct PlanTable {
    by_id: HashMap<PlanId, PlanEntry>,
    /// UUIDs v7 sort by age.
    ids: BTreeMap<PlanId, ()>,
    last_posted: u64,
    goals: Vec<StoredGoal>,
}

struct PlanEntry {
    plan: StoredPlan,
    status: PlanStatus,
    owner: Option<WorkerId>,
    epoch: Epoch,
    next: Sequence,
    records: Vec<Arc<Record>>,
    blobs: HashMap<String, Vec<u8>>,
    posted: Vec<PostedCommand>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn plans(&self) -> MutexGuard<'_, PlanTable> {
        self.plans.lock().expect("no code panics while it holds this lock")
    }
}

impl PlanEntry {
    fn append(&mut self, record: &Arc<Record>) -> AppendResult {
        if record.epoch != self.epoch {
            return AppendResult::Refused(AppendRefusal::StaleEpoch);
        }
        if record.first != self.next {
            return AppendResult::Refused(AppendRefusal::WrongSequence);
        }
        self.next = record.next();
        if let Some(status) = record.status_after() {
            self.status = status;
            if status != PlanStatus::Executing {
                // Meant for the run that ended, not for the next one.
                self.posted.clear();
            }
            if status.has_ended() {
                self.owner = None;
            }
        }
        for blob in &record.blobs {
            self.blobs.insert(blob.sha256.clone(), blob.json.clone());
        }
        self.records.push(record.clone());
        AppendResult::Appended
    }
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

impl Journal for MemoryStore {
    fn append(
        &self,
        batch: Vec<Arc<Record>>,
    ) -> BoxFuture<'_, Result<Vec<AppendResult>, StoreError>> {
        let mut plans = self.plans();
        let unknown = AppendResult::Refused(AppendRefusal::UnknownPlan);
        let results = batch
            .iter()
            .map(|record| plans.by_id.get_mut(&record.plan).map_or(unknown, |e| e.append(record)))
            .collect();
        ready(Ok(results))
    }

    fn read(&self, plan: PlanId, from: Sequence) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let plans = self.plans();
        let records = plans.by_id.get(&plan).map(|entry| {
            let reaches = |record: &&Arc<Record>| record.next() > from;
            entry.records.iter().filter(reaches).map(|record| (**record).clone()).collect()
        });
        ready(Ok(records.unwrap_or_default()))
    }

    fn blob(&self, plan: PlanId, sha256: String) -> BoxFuture<'_, Result<Vec<u8>, StoreError>> {
        let plans = self.plans();
        let blob = plans.by_id.get(&plan).and_then(|entry| entry.blobs.get(&sha256)).cloned();
        ready(blob.ok_or_else(|| StoreError::Corrupt(format!("output {sha256} is missing"))))
    }

    fn claim(
        &self,
        plan: PlanId,
        worker: WorkerId,
    ) -> BoxFuture<'_, Result<ClaimResult, StoreError>> {
        let mut plans = self.plans();
        let claim = match plans.by_id.get_mut(&plan) {
            None => ClaimResult::UnknownPlan,
            Some(entry) if entry.owner.is_some_and(|owner| owner != worker) => ClaimResult::Held,
            Some(entry) => {
                entry.owner = Some(worker);
                entry.epoch = Epoch(entry.epoch.0 + 1);
                // Nobody outlives this process, and nobody dies before it.
                ClaimResult::Granted { epoch: entry.epoch, after_death: false }
            }
        };
        ready(Ok(claim))
    }

    fn release(
        &self,
        plan: PlanId,
        worker: WorkerId,
        epoch: Epoch,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut plans = self.plans();
        if let Some(entry) = plans.by_id.get_mut(&plan)
            && entry.owner == Some(worker)
            && entry.epoch == epoch
        {
            entry.owner = None;
        }
        ready(Ok(()))
    }

    fn renew(&self, _worker: WorkerId) -> BoxFuture<'_, Result<LeaseRenewal, StoreError>> {
        ready(Ok(LeaseRenewal::Unneeded))
    }

    fn resign(&self, _worker: WorkerId) -> BoxFuture<'_, Result<(), StoreError>> {
        // Nobody outlives this process to claim anything.
        ready(Ok(()))
    }

    fn unowned(&self, limit: usize) -> BoxFuture<'_, Result<Vec<PlanId>, StoreError>> {
        let plans = self.plans();
        let is_free = |id: &&PlanId| {
            let entry = &plans.by_id[*id];
            let goes_on = matches!(entry.status, PlanStatus::Executing | PlanStatus::Approved);
            goes_on && entry.owner.is_none()
        };
        ready(Ok(plans.ids.keys().filter(is_free).take(limit).copied().collect()))
    }

    fn is_owned(&self, plan: PlanId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let owned = self.plans().by_id.get(&plan).is_some_and(|entry| entry.owner.is_some());
        ready(Ok(owned))
    }

    fn post(&self, plan: PlanId, command: RemoteCommand) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut plans = self.plans();
        plans.last_posted += 1;
        let position = plans.last_posted;
        if let Some(entry) = plans.by_id.get_mut(&plan) {
            entry.posted.push(PostedCommand { position, plan, command });
        }
        ready(Ok(()))
    }

    fn posted(&self, worker: WorkerId) -> BoxFuture<'_, Result<Vec<PostedCommand>, StoreError>> {
        let plans = self.plans();
        let owned = plans.by_id.iter().filter(|(_, entry)| entry.owner == Some(worker));
        let mut posted: Vec<PostedCommand> =
            owned.flat_map(|(_, entry)| entry.posted.iter().cloned()).collect();
        posted.sort_unstable_by_key(|posted| posted.position);
        ready(Ok(posted))
    }

    fn settle_posted(&self, settled: Vec<(PlanId, u64)>) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut plans = self.plans();
        for (plan, position) in settled {
            if let Some(entry) = plans.by_id.get_mut(&plan) {
                entry.posted.retain(|posted| posted.position != position);
            }
        }
        ready(Ok(()))
    }
}

impl PlanCatalog for MemoryStore {
    fn put(&self, plan: StoredPlan) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut plans = self.plans();
        let (id, asked) = (plan.plan_id, plan.asked);
        let plan = StoredPlan { asked: None, ..plan };
        if !plans.by_id.contains_key(&id) {
            plans.goals.extend(asked);
        }
        plans.ids.insert(id, ());
        plans.by_id.entry(id).or_insert_with(|| PlanEntry {
            plan,
            status: PlanStatus::Validated,
            owner: None,
            epoch: Epoch(0),
            next: Sequence(1),
            records: Vec::new(),
            blobs: HashMap::new(),
            posted: Vec::new(),
        });
        ready(Ok(()))
    }

    fn put_failed(
        &self,
        goal: StoredGoal,
        keep: FailedGoalsKept,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut plans = self.plans();
        plans.goals.push(goal);
        let failed = plans.goals.iter().filter(|goal| goal.plan.is_none()).count();
        let mut over = failed.saturating_sub(keep.count as usize);
        plans.goals.retain(|goal| {
            let is_old = goal.plan.is_none() && (goal.created_at < keep.since || over > 0);
            over -= usize::from(goal.plan.is_none() && over > 0);
            !is_old
        });
        ready(Ok(()))
    }

    fn goals(&self, query: GoalQuery) -> BoxFuture<'_, Result<Vec<StoredGoal>, StoreError>> {
        let plans = self.plans();
        let wanted = |goal: &&StoredGoal| {
            query.goal_id.as_ref().is_none_or(|id| *id == goal.goal_id)
                && query.parent.as_ref().is_none_or(|id| Some(id) == goal.parent.as_ref())
                && query.status.is_none_or(|status| status == goal.status)
        };
        let found = plans.goals.iter().rev().filter(wanted).take(query.limit);
        ready(Ok(found.cloned().collect()))
    }

    fn get(&self, plan: PlanId) -> BoxFuture<'_, Result<Option<StoredPlan>, StoreError>> {
        ready(Ok(self.plans().by_id.get(&plan).map(|entry| entry.plan.clone())))
    }

    fn list(&self, query: HistoryQuery) -> BoxFuture<'_, Result<HistoryPage, StoreError>> {
        let plans = self.plans();
        let mut page = HistoryPage::default();
        for id in plans.ids.keys().rev() {
            let entry = &plans.by_id[id];
            let wanted = query.before.is_none_or(|before| *id < before)
                && query.status.is_none_or(|status| entry.status == status);
            if !wanted {
                continue;
            }
            if page.plans.len() == query.limit {
                page.next = page.plans.last().map(|plan| plan.plan_id);
                break;
            }
            page.plans.push(PlanSummary {
                plan_id: *id,
                goal: entry.plan.goal.clone(),
                status: entry.status,
                created_at: entry.plan.created_at,
            });
        }
        ready(Ok(page))
    }

    fn find(&self, prefix: String) -> BoxFuture<'_, Result<Vec<PlanId>, StoreError>> {
        let plans = self.plans();
        let matches = |id: &&PlanId| id.to_string().starts_with(&prefix);
        ready(Ok(plans.ids.keys().filter(matches).take(2).copied().collect()))
    }
}
