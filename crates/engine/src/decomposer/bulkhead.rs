//! Bulkheads: one kind of work cannot take what the others need. Each has a bounded number at work
//! and a bounded queue; a full queue answers at once (spec 02, 2.4).

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use tokio::sync::{Semaphore, SemaphorePermit};

/// A queue in which nothing has moved for so long means that the process is stuck.
const STALLED_MILLIS: u64 = 30_000;

/// The numbers that may work, and that may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadSize {
    /// At work at once.
    pub places: usize,
    /// Waiting at most.
    pub queue: usize,
}

/// One kind of work.
pub struct Bulkhead {
    name: &'static str,
    code: ErrorCode,
    size: BulkheadSize,
    places: Semaphore,
    waiting: AtomicUsize,
    refused: AtomicUsize,
    /// The time at which somebody last began or ended.
    moved_at: AtomicI64,
}

/// The state of a bulkhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadState {
    /// The owner's name.
    pub name: &'static str,
    /// At work.
    pub busy: usize,
    /// Waiting.
    pub waiting: usize,
    /// Refused so far.
    pub refused: usize,
    /// Somebody waits, and nothing has moved for 30 s.
    pub is_stalled: bool,
}

impl Bulkhead {
    /// `code` is what a full queue answers.
    pub fn new(name: &'static str, size: BulkheadSize, code: ErrorCode) -> Bulkhead {
        Bulkhead {
            name,
            code,
            size,
            places: Semaphore::new(size.places),
            waiting: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            moved_at: AtomicI64::new(0),
        }
    }

    /// A place, at once or after waiting for one.
    pub async fn enter(&self, now: Timestamp) -> Result<BulkheadPlace<'_>, Error> {
        let permit = match self.places.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.wait()?;
                self.places.acquire().await.expect("the bulkhead's semaphore is never closed")
            }
        };
        self.moved_at.fetch_max(now.0, Ordering::Relaxed);
        Ok(BulkheadPlace { _permit: permit })
    }

    fn wait(&self) -> Result<WaitingCaller<'_>, Error> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = WaitingCaller(&self.waiting);
        if before >= self.size.queue {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let message = format!(
                "{}: {} are at work and {} wait, which is all that may",
                self.name, self.size.places, self.size.queue
            );
            return Err(Error::new(self.code, message)
                .detail("bulkhead", self.name)
                .detail("places", self.size.places)
                .detail("queue", self.size.queue));
        }
        Ok(waiting)
    }

    /// The present state.
    pub fn state(&self, now: Timestamp) -> BulkheadState {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let moved_at = Timestamp(self.moved_at.load(Ordering::Relaxed));
        BulkheadState {
            name: self.name,
            busy: self.size.places - self.places.available_permits(),
            waiting,
            refused: self.refused.load(Ordering::Relaxed),
            is_stalled: waiting > 0 && now.millis_since(moved_at) > STALLED_MILLIS,
        }
    }
}

/// A place, given back when dropped.
pub struct BulkheadPlace<'b> {
    _permit: SemaphorePermit<'b>,
}

struct WaitingCaller<'b>(&'b AtomicUsize);

impl Drop for WaitingCaller<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn a_full_queue_answers_at_once_and_who_leaves_gives_way() {
        let size = BulkheadSize { places: 1, queue: 1 };
        let bulkhead = Bulkhead::new("validator", size, ErrorCode::ValidatorBusy);
        let now = Timestamp(1_000);
        let place = bulkhead.enter(now).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(bulkhead.enter(now));
        assert!(second.as_mut().now_or_never().is_none());
        let third = bulkhead.enter(now).now_or_never().unwrap();
        assert_eq!(third.err().map(|e| e.code), Some(ErrorCode::ValidatorBusy));
        let state = bulkhead.state(Timestamp(40_000));
        assert_eq!((state.busy, state.waiting, state.refused, state.is_stalled), (1, 1, 1, true));
        drop(place);
        assert!(second.now_or_never().unwrap().is_ok());
        assert!(!bulkhead.state(Timestamp(40_000)).is_stalled);
    }
}
