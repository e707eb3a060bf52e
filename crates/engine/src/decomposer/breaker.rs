//! A circuit breaker: a gateway that fails again and again is left alone for a while.
//!
//! ```text
//! closed --(5 failures, or 5 slow calls, in a row)--> open --(its time is up)--> trial
//! trial --(success)--> closed        trial --(failure)--> open, for longer
//! ```

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use l05_core::time::Timestamp;

/// Rules for opening, and for the time until it closes (spec 02, 2.4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerRules {
    /// Failures in a row, and slow calls in a row, that open it.
    pub threshold: u32,
    /// The time for which it stays open at first.
    pub reset: Duration,
    /// A call that takes longer is slow; none: no call is, as with local models.
    pub slow: Option<Duration>,
}

impl Default for BreakerRules {
    fn default() -> BreakerRules {
        let (reset, slow) = (Duration::from_secs(60), Some(Duration::from_secs(4)));
        BreakerRules { threshold: 5, reset, slow }
    }
}

/// Multiples of the first time open, one for each further one: 60, 120, 240, 600 s.
const LONGER: [u32; 4] = [1, 2, 4, 10];

/// The outcome of a call, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallVerdict {
    /// An answer, after this time.
    Answered(Duration),
    /// The gateway failed.
    Failed,
    /// Neither speaks for nor against the gateway: the caller went away, the request was refused.
    Neutral,
}

/// The state of the breaker, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls go through.
    Closed,
    /// Calls are refused until then.
    Open(Timestamp),
    /// One call is tried.
    Trial,
}

/// One gateway's breaker.
pub struct CircuitBreaker {
    rules: BreakerRules,
    // Short and synchronous: never held across an await.
    state: Mutex<BreakerShared>,
}

/// The state, and how often it has changed its kind: a call that began before says nothing now.
struct BreakerShared {
    state: BreakerState,
    generation: u64,
}

#[derive(Clone, Copy)]
enum BreakerState {
    Closed { failures: u32, slow: u32 },
    Open { until: Timestamp, times: usize },
    Trial { times: usize },
}

impl CircuitBreaker {
    /// A closed one.
    pub fn new(rules: BreakerRules) -> CircuitBreaker {
        CircuitBreaker {
            rules,
            state: Mutex::new(BreakerShared {
                state: BreakerState::Closed { failures: 0, slow: 0 },
                generation: 0,
            }),
        }
    }

    /// Lets a call through, or tells when the next is tried. What was let through must be settled:
    /// dropping the pass counts as neutral.
    pub fn admit(&self, now: Timestamp) -> Result<CallPermit<'_>, Timestamp> {
        let mut held = self.state();
        match held.state {
            BreakerState::Closed { .. } => {}
            BreakerState::Open { until, times } if now >= until => {
                *held = BreakerShared {
                    state: BreakerState::Trial { times },
                    generation: held.generation + 1,
                };
            }
            BreakerState::Open { until, .. } => return Err(until),
            // One trial at a time; its end is soon, and nobody knows when.
            BreakerState::Trial { .. } => return Err(now),
        }
        let generation = held.generation;
        drop(held);
        Ok(CallPermit { breaker: self, generation, now, verdict: None })
    }

    /// The present state.
    pub fn circuit(&self) -> CircuitState {
        match self.state().state {
            BreakerState::Closed { .. } => CircuitState::Closed,
            BreakerState::Open { until, .. } => CircuitState::Open(until),
            BreakerState::Trial { .. } => CircuitState::Trial,
        }
    }

    fn conclude(&self, generation: u64, now: Timestamp, verdict: CallVerdict) {
        let mut held = self.state();
        // A call from before it opened, or from before the trial.
        if generation != held.generation {
            return;
        }
        let before = held.state;
        let is_slow = |took| self.rules.slow.is_some_and(|slow| took > slow);
        held.state = match (before, verdict) {
            (BreakerState::Closed { failures, slow }, CallVerdict::Neutral) => {
                BreakerState::Closed { failures, slow }
            }
            (BreakerState::Closed { slow, .. }, CallVerdict::Answered(took)) => {
                let slow = if is_slow(took) { slow + 1 } else { 0 };
                self.closed_or_open(now, 0, slow)
            }
            (BreakerState::Closed { failures, .. }, CallVerdict::Failed) => {
                self.closed_or_open(now, failures + 1, 0)
            }
            (BreakerState::Trial { .. }, CallVerdict::Answered(took)) if !is_slow(took) => {
                tracing::info!("the model gateway is back: its circuit is closed");
                BreakerState::Closed { failures: 0, slow: 0 }
            }
            (BreakerState::Trial { times }, CallVerdict::Answered(_) | CallVerdict::Failed) => {
                self.open(now, times + 1)
            }
            // Nothing was learned: the next caller tries.
            (BreakerState::Trial { times }, CallVerdict::Neutral) => {
                BreakerState::Open { until: now, times }
            }
            (open @ BreakerState::Open { .. }, _) => open,
        };
        if std::mem::discriminant(&before) != std::mem::discriminant(&held.state) {
            held.generation += 1;
        }
    }

    fn closed_or_open(&self, now: Timestamp, failures: u32, slow: u32) -> BreakerState {
        if failures.max(slow) >= self.rules.threshold {
            self.open(now, 0)
        } else {
            BreakerState::Closed { failures, slow }
        }
    }

    fn open(&self, now: Timestamp, times: usize) -> BreakerState {
        let longer = LONGER[times.min(LONGER.len() - 1)];
        let until = Timestamp(now.0 + (self.rules.reset * longer).as_millis() as i64);
        tracing::warn!(%until, "the model gateway failed too often: its circuit is open");
        BreakerState::Open { until, times }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, BreakerShared> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was let through.
pub struct CallPermit<'b> {
    breaker: &'b CircuitBreaker,
    generation: u64,
    now: Timestamp,
    verdict: Option<CallVerdict>,
}

impl CallPermit<'_> {
    /// Tells the outcome of the call, at its end.
    pub fn conclude(mut self, now: Timestamp, verdict: CallVerdict) {
        (self.now, self.verdict) = (now, Some(verdict));
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        self.breaker.conclude(
            self.generation,
            self.now,
            self.verdict.unwrap_or(CallVerdict::Neutral),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000)
    }

    fn call(breaker: &CircuitBreaker, seconds: i64, verdict: CallVerdict) {
        let Ok(pass) = breaker.admit(at(seconds)) else { panic!("it is not let through") };
        pass.conclude(at(seconds), verdict);
    }

    const QUICK: CallVerdict = CallVerdict::Answered(Duration::from_millis(10));
    const SLOW: CallVerdict = CallVerdict::Answered(Duration::from_secs(5));

    #[test]
    fn opens_after_five_in_a_row_and_for_longer_each_time() {
        for bad in [CallVerdict::Failed, SLOW] {
            let breaker = CircuitBreaker::new(BreakerRules::default());
            for _ in 0..4 {
                call(&breaker, 0, bad);
            }
            call(&breaker, 0, QUICK);
            for _ in 0..5 {
                assert_eq!(breaker.circuit(), CircuitState::Closed);
                call(&breaker, 0, bad);
            }
            let mut opened = 0;
            for seconds in [60, 120, 240, 600, 600] {
                assert_eq!(
                    breaker.admit(at(opened + seconds - 1)).err(),
                    Some(at(opened + seconds))
                );
                opened += seconds;
                call(&breaker, opened, bad);
            }
            call(&breaker, opened + 600, QUICK);
            assert_eq!(breaker.circuit(), CircuitState::Closed);
        }
    }

    #[test]
    fn one_trial_at_a_time_and_a_caller_that_leaves_decides_nothing() {
        let breaker = CircuitBreaker::new(BreakerRules::default());
        (0..5).for_each(|_| call(&breaker, 0, CallVerdict::Failed));
        let trial = breaker.admit(at(60)).ok().unwrap();
        assert!(breaker.admit(at(60)).is_err());
        drop(trial);
        call(&breaker, 60, QUICK);
        assert_eq!(breaker.circuit(), CircuitState::Closed);
    }

    #[test]
    fn calls_from_before_say_nothing_about_the_trial() {
        let breaker = CircuitBreaker::new(BreakerRules::default());
        let Ok(early) = breaker.admit(at(0)) else { panic!("it is let through") };
        (0..5).for_each(|_| call(&breaker, 0, CallVerdict::Failed));
        let Ok(trial) = breaker.admit(at(60)) else { panic!("a trial") };
        early.conclude(at(61), CallVerdict::Failed);
        assert_eq!(breaker.circuit(), CircuitState::Trial);
        trial.conclude(at(62), QUICK);
        assert_eq!(breaker.circuit(), CircuitState::Closed);
    }

    #[test]
    fn slowness_of_local_models_is_no_fault() {
        let breaker = CircuitBreaker::new(BreakerRules { slow: None, ..BreakerRules::default() });
        (0..20).for_each(|_| call(&breaker, 0, SLOW));
        assert_eq!(breaker.circuit(), CircuitState::Closed);
    }
}
