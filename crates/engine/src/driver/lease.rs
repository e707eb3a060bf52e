//! The lease on the store, where the store has leases: a task of its own renews it, and the driver
//! stops working when it could not be renewed for too long.
//!
//! ```text
//! renewed ── 3 s ──▶ renew ── 6 s without an answer ──▶ over: executors are stopped
//!                                             ── 10 s (the store's clock) ──▶ others may take over
//! ```

use std::sync::Arc;
use std::time::Duration;

use l05_core::id::WorkerId;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::port::{Journal, LeaseRenewal, StoreError};

/// The interval at which the lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// The pause after a renewal that failed, and the longest time of one.
const RENEW_AGAIN: Duration = Duration::from_millis(500);
const RENEW_PATIENCE: Duration = Duration::from_secs(2);
/// The time after the last renewal was asked for in which this process still works. Others wait ten
/// seconds by the store's clock: the rest is for what stops slowly and for clocks that run
/// unevenly.
const WORK_FOR: Duration = Duration::from_secs(6);

/// The lease, as far as this process knows; cheap to ask.
pub(super) struct Lease {
    held: watch::Receiver<LeaseState>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum LeaseState {
    /// The store knows by itself who lives.
    Always,
    Until(Instant),
}

impl Lease {
    /// Starts to renew; ends with the lease's owner.
    pub(super) fn keep(journal: Arc<dyn Journal>, worker: WorkerId) -> Lease {
        let (told, held) = watch::channel(LeaseState::Until(Instant::now() + WORK_FOR));
        tokio::spawn(renew(journal, worker, told));
        Lease { held }
    }

    /// True if there is no lease to lose.
    pub(super) fn is_unneeded(&self) -> bool {
        *self.held.borrow() == LeaseState::Always
    }

    /// True if this process may no longer work.
    pub(super) fn is_over(&self) -> bool {
        matches!(*self.held.borrow(), LeaseState::Until(until) if Instant::now() >= until)
    }

    /// Returns when the lease is over; at once if it is.
    pub(super) async fn over(&self) {
        let mut held = self.held.clone();
        loop {
            let until = match *held.borrow_and_update() {
                LeaseState::Always => None,
                LeaseState::Until(until) => Some(until),
            };
            tokio::select! {
                () = sleep_until(until) => return,
                changed = held.changed() => {
                    // The keeper ends only when it is not needed, or with the runtime.
                    if changed.is_err() {
                        return sleep_until(until).await;
                    }
                }
            }
        }
    }

    /// Waits for the store's answer, unless the lease is over first: then nothing is known of it.
    pub(super) async fn asking<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.is_unneeded() {
            return work.await;
        }
        tokio::select! {
            answer = work => answer,
            () = self.over() => Err(lost()),
        }
    }
}

/// The reason for which everything stops when the lease is over.
pub(super) fn lost() -> StoreError {
    let seconds = WORK_FOR.as_secs();
    StoreError::Unavailable(format!(
        "the store has not renewed this process's lease for {seconds} s; others may take over"
    ))
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

async fn renew(journal: Arc<dyn Journal>, worker: WorkerId, told: watch::Sender<LeaseState>) {
    while !told.is_closed() {
        let asked = Instant::now();
        let wait = match tokio::time::timeout(RENEW_PATIENCE, journal.renew(worker)).await {
            Ok(Ok(LeaseRenewal::Unneeded)) => {
                told.send_replace(LeaseState::Always);
                return;
            }
            // This process slept, or was cut off: it is over for what it does now, and the next answer
            // begins anew.
            Ok(Ok(LeaseRenewal::Lapsed)) => {
                told.send_replace(LeaseState::Until(Instant::now()));
                RENEW_AGAIN
            }
            Ok(Ok(LeaseRenewal::Renewed)) => {
                // Counted from the question: the store cannot have counted from earlier.
                told.send_replace(LeaseState::Until(asked + WORK_FOR));
                RENEW_EVERY
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease was not renewed");
                RENEW_AGAIN
            }
            Err(_) => {
                tracing::warn!("the store does not answer: the lease was not renewed");
                RENEW_AGAIN
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = told.closed() => {}
        }
    }
}
