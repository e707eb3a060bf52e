//! What the driver has to do with the journal: append, fold again, wait when it refuses, give up.

use std::sync::Arc;
use std::time::Duration;

use l05_core::Error;
use l05_core::id::{Epoch, PlanId, WorkerId};
use l05_run::record::Record;
use tokio::sync::oneshot;

use super::{Driver, RunEnd};
use crate::port::{Journal, StoreError};
use crate::records::fold;
use crate::shard::ShardInput;

/// The number of times that a store that refuses is tried again before the plans pause, and the
/// first wait; it doubles (0.1 + 0.2 + 0.4 + 0.8 s: long enough for a rotation or a checkpoint,
/// short enough for a person). Where there is a lease, as long as it lasts: a server may need
/// seconds to start again.
const STORE_TRIES: u32 = 5;
const STORE_WAIT: Duration = Duration::from_millis(100);
const STORE_WAIT_MAX: Duration = Duration::from_secs(1);
/// The number of tries where there is a lease, which a server in trouble may go on renewing: about
/// half a minute.
const LEASED_TRIES: u32 = 32;
/// The pause between two tries to give up ownership. Without limit: what a living process owns and
/// does not drive nobody would ever go on with.
const RELEASE_WAIT: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) async fn append(&mut self, batch: Vec<Arc<Record>>) {
        match self.lease.asking(self.writer.append(batch)).await {
            Ok(results) => {
                self.refusals = 0;
                self.shard.appended(Some(&results));
            }
            Err(error) => {
                self.shard.appended(None);
                self.refused(&error).await;
            }
        }
    }

    /// Folds runs from the journal again after an append of which nothing is known.
    pub(super) async fn reload(&mut self) {
        while let Some(plan) = self.lost.pop() {
            let Some((shared, epoch)) = self.plans.get(&plan).cloned() else { continue };
            match self.lease.asking(fold(&*self.journal, shared)).await {
                Ok(run) => self.shard.handle(ShardInput::Open { run: Box::new(run), epoch }),
                Err(error @ StoreError::Corrupt(_)) => self.pause(plan, &error.into()),
                Err(error @ StoreError::Unavailable(_)) => {
                    self.lost.push(plan);
                    return self.refused(&error).await;
                }
            }
        }
    }

    /// The store did not do what it was asked: waits before the next try, or pauses all runs.
    pub(super) async fn refused(&mut self, error: &StoreError) {
        self.refusals += 1;
        tracing::warn!(%error, tries = self.refusals, "the store refused");
        let tries = if self.lease.is_unneeded() { STORE_TRIES } else { LEASED_TRIES };
        if self.lease.is_over() {
            // Whatever the store said, this is why there is no further try.
            self.refusals = 0;
            return self.pause_all(&super::lease::lost());
        }
        if self.refusals >= tries {
            self.refusals = 0;
            return self.pause_all(error);
        }
        let doubled = STORE_WAIT * (1 << (self.refusals - 1).min(STORE_TRIES));
        tokio::select! {
            () = tokio::time::sleep(doubled.min(STORE_WAIT_MAX)) => {}
            () = self.lease.over() => {}
        }
    }

    /// The store has refused for too long: runs go on in a later process, nothing is lost.
    pub(super) fn pause_all(&mut self, error: &StoreError) {
        let error = Error::from(error.clone());
        for plan in self.plans.keys().copied().collect::<Vec<_>>() {
            self.pause(plan, &error);
        }
    }

    pub(super) fn pause(&mut self, plan: PlanId, error: &Error) {
        self.stop_executors(plan);
        let epoch = self.let_go(plan);
        let error = Error::new(error.code, format!("the plan is paused: {}", error.message))
            .detail("plan_id", plan.to_string())
            .suggest(format!(
                "nothing acknowledged is lost; make the store writable, then `l05 execute {plan}`"
            ));
        tracing::error!(%plan, "{error}");
        self.shard.handle(ShardInput::Close { plan, error: Some(error.clone()) });
        self.release(plan, epoch, None);
        self.tell_end(plan, &RunEnd::Paused(error));
    }

    /// Gives up ownership; tried again while the store refuses, which it may for the same reason
    /// that paused the run.
    pub(super) fn release(
        &self,
        plan: PlanId,
        epoch: Option<Epoch>,
        told: Option<oneshot::Sender<bool>>,
    ) {
        let Some(epoch) = epoch else { return };
        let (journal, worker) = (self.journal.clone(), self.worker);
        tokio::spawn(async move {
            release(&*journal, plan, worker, epoch).await;
            if let Some(told) = told {
                let _ = told.send(true);
            }
        });
    }
}

/// Gives up the ownership of this epoch; returns when the store has taken note.
pub(crate) async fn release(journal: &dyn Journal, plan: PlanId, worker: WorkerId, epoch: Epoch) {
    while let Err(error) = journal.release(plan, worker, epoch).await {
        tracing::warn!(%error, %plan, "the run's ownership was not given back");
        tokio::time::sleep(RELEASE_WAIT).await;
    }
}
