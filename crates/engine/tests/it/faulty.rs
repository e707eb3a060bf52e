//! A journal that fails as it is told to; everything else it does is the memory store's.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use l05_core::id::{Epoch, PlanId, Sequence, WorkerId};
use l05_engine::memory::MemoryStore;
use l05_engine::port::{
    AppendRefusal, AppendResult, BoxFuture, ClaimResult, FailedGoalsKept, GoalQuery, HistoryPage,
    HistoryQuery, Journal, LeaseRenewal, PlanCatalog, PostedCommand, RemoteCommand, StoreError,
    StoredGoal, StoredPlan,
};
use l05_run::record::Record;

#[derive(Default)]
pub(crate) struct FaultyStore {
    pub(crate) inner: MemoryStore,
    /// How many of the next appends fail.
    pub(crate) failures: AtomicU32,
    /// Failing appends are durable all the same: only the answer is lost.
    pub(crate) durable: bool,
    /// Large outputs cannot be read: it crashes.
    pub(crate) crashes: bool,
    /// Large outputs come back damaged.
    pub(crate) garbled: bool,
    /// Says of every append that the journal goes on elsewhere.
    pub(crate) contradicts: bool,
    /// Appends take a while, as on a disk: others run meanwhile.
    pub(crate) slow: bool,
    /// How often a journal was read, and asked whether somebody owns its run.
    pub(crate) looks: AtomicU32,
    /// Whose records each batch had.
    pub(crate) batches: Mutex<Vec<Vec<PlanId>>>,
}

impl Journal for FaultyStore {
    fn append(
        &self,
        batch: Vec<Arc<Record>>,
    ) -> BoxFuture<'_, Result<Vec<AppendResult>, StoreError>> {
        self.batches.lock().unwrap().push(batch.iter().map(|record| record.plan).collect());
        if self.contradicts {
            let refused = vec![AppendResult::Refused(AppendRefusal::WrongSequence); batch.len()];
            return Box::pin(async { Ok(refused) });
        }
        let take_one = |n: u32| n.checked_sub(1);
        let fails =
            self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok();
        if fails && !self.durable {
            return Box::pin(async { Err(StoreError::Unavailable("scripted".to_owned())) });
        }
        let appended = self.inner.append(batch);
        Box::pin(async move {
            for _ in 0..if self.slow { 50 } else { 0 } {
                tokio::task::yield_now().await;
            }
            let appended = appended.await;
            if fails { Err(StoreError::Unavailable("scripted".to_owned())) } else { appended }
        })
    }

    fn read(&self, plan: PlanId, from: Sequence) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.inner.read(plan, from)
    }
    fn blob(&self, plan: PlanId, sha256: String) -> BoxFuture<'_, Result<Vec<u8>, StoreError>> {
        assert!(!self.crashes, "scripted");
        if self.garbled {
            return Box::pin(async { Ok(b"{".to_vec()) });
        }
        self.inner.blob(plan, sha256)
    }
    fn claim(
        &self,
        plan: PlanId,
        worker: WorkerId,
    ) -> BoxFuture<'_, Result<ClaimResult, StoreError>> {
        self.inner.claim(plan, worker)
    }
    fn release(
        &self,
        plan: PlanId,
        worker: WorkerId,
        epoch: Epoch,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.release(plan, worker, epoch)
    }
    fn renew(&self, worker: WorkerId) -> BoxFuture<'_, Result<LeaseRenewal, StoreError>> {
        self.inner.renew(worker)
    }
    fn resign(&self, worker: WorkerId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.resign(worker)
    }
    fn unowned(&self, limit: usize) -> BoxFuture<'_, Result<Vec<PlanId>, StoreError>> {
        self.inner.unowned(limit)
    }
    fn is_owned(&self, plan: PlanId) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.inner.is_owned(plan)
    }
    fn post(&self, plan: PlanId, command: RemoteCommand) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.post(plan, command)
    }
    fn posted(&self, worker: WorkerId) -> BoxFuture<'_, Result<Vec<PostedCommand>, StoreError>> {
        self.inner.posted(worker)
    }
    fn settle_posted(&self, settled: Vec<(PlanId, u64)>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.settle_posted(settled)
    }
}

impl PlanCatalog for FaultyStore {
    fn put(&self, plan: StoredPlan) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.put(plan)
    }
    fn put_failed(
        &self,
        goal: StoredGoal,
        keep: FailedGoalsKept,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.put_failed(goal, keep)
    }
    fn goals(&self, query: GoalQuery) -> BoxFuture<'_, Result<Vec<StoredGoal>, StoreError>> {
        self.inner.goals(query)
    }
    fn get(&self, plan: PlanId) -> BoxFuture<'_, Result<Option<StoredPlan>, StoreError>> {
        self.inner.get(plan)
    }
    fn list(&self, query: HistoryQuery) -> BoxFuture<'_, Result<HistoryPage, StoreError>> {
        self.inner.list(query)
    }
    fn find(&self, prefix: String) -> BoxFuture<'_, Result<Vec<PlanId>, StoreError>> {
        self.inner.find(prefix)
    }
}
