//! Degradation of the two-level cache: entered and left by itself (spec 02, 2.5).
//!
//! ```text
//! 1 both levels --(a call fails)--> 2 the shared level is down
//! 1 both levels --(p99 over the threshold in two windows)--> 3 it is slow, and bypassed
//! 2, 3 --(two good windows)--> 1
//! 4: in 2 or 3 without a level of the process's own: no cache
//! ```

use std::time::Duration;

use l05_core::time::Timestamp;
use serde::Serialize;

/// The mode of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// Mode 1: every level that is configured.
    Full,
    /// Mode 2: the shared level is down.
    L1Only,
    /// Mode 3: the shared level is slow.
    L2Bypassed,
    /// Mode 4: there is none.
    None,
}

/// Rules by which a shared level counts as slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyRules {
    /// The 99th percentile of a good window is at most this.
    pub threshold: Duration,
    /// The number of windows in a row that decide.
    pub windows: u32,
    /// The length of a window.
    pub window: Duration,
}

impl Default for LatencyRules {
    fn default() -> LatencyRules {
        let (threshold, window) = (Duration::from_millis(100), Duration::from_secs(10));
        LatencyRules { threshold, windows: 2, window }
    }
}

/// Samples of one window that are kept: enough for a 99th percentile.
const SAMPLES_MAX: usize = 10_000;

/// The shared level as it was seen.
pub(super) struct LevelWatch {
    rules: LatencyRules,
    seen: LevelSeen,
    begun: Timestamp,
    samples: Vec<Duration>,
    failed: bool,
    /// Windows in a row that speak for a change.
    streak: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LevelSeen {
    Good,
    Down,
    Slow,
}

impl LevelWatch {
    pub(super) fn new(rules: LatencyRules, now: Timestamp) -> LevelWatch {
        let (seen, samples) = (LevelSeen::Good, Vec::new());
        LevelWatch { rules, seen, begun: now, samples, failed: false, streak: 0 }
    }

    pub(super) fn seen(&self) -> LevelSeen {
        self.seen
    }

    /// One call: how long it took, or that it failed. Gives what it is seen as, when that changed.
    pub(super) fn observe(&mut self, now: Timestamp, took: Option<Duration>) -> Option<LevelSeen> {
        let before = self.seen;
        self.close_window(now);
        match took {
            Some(took) if self.samples.len() < SAMPLES_MAX => self.samples.push(took),
            Some(_) => {}
            None => {
                self.failed = true;
                // Waiting for a second failure would cost every caller the wait.
                if self.seen != LevelSeen::Down {
                    (self.seen, self.streak) = (LevelSeen::Down, 0);
                }
            }
        }
        (self.seen != before).then_some(self.seen)
    }

    fn close_window(&mut self, now: Timestamp) {
        if now.millis_since(self.begun) < self.rules.window.as_millis() as u64 {
            return;
        }
        let verdict = self.verdict();
        self.begun = now;
        self.samples.clear();
        self.failed = false;
        // A window in which nobody asked says nothing.
        let Some(verdict) = verdict else { return };
        match (self.seen, verdict) {
            (LevelSeen::Good, LevelSeen::Good) | (LevelSeen::Slow, LevelSeen::Slow) => {
                self.streak = 0;
            }
            (LevelSeen::Down, LevelSeen::Down) => self.streak = 0,
            (_, LevelSeen::Down) => (self.seen, self.streak) = (LevelSeen::Down, 0),
            // It answers again, but slowly.
            (LevelSeen::Down, LevelSeen::Slow) => (self.seen, self.streak) = (LevelSeen::Slow, 0),
            (LevelSeen::Good, LevelSeen::Slow)
            | (LevelSeen::Slow | LevelSeen::Down, LevelSeen::Good) => {
                self.streak += 1;
                if self.streak >= self.rules.windows {
                    (self.seen, self.streak) = (verdict, 0);
                }
            }
        }
    }

    fn verdict(&mut self) -> Option<LevelSeen> {
        if self.failed {
            return Some(LevelSeen::Down);
        }
        let last = self.samples.len().checked_sub(1)?;
        // The 99th percentile by rank; of fewer than a hundred it is the slowest.
        let rank = (last * 99).div_ceil(100);
        let (_, p99, _) = self.samples.select_nth_unstable(rank);
        Some(if *p99 > self.rules.threshold { LevelSeen::Slow } else { LevelSeen::Good })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Option<Duration> = Some(Duration::from_millis(2));
    const SLOW: Option<Duration> = Some(Duration::from_millis(300));

    /// One call a second; what was seen after each.
    fn seen(calls: &[(usize, Option<Duration>)]) -> Vec<LevelSeen> {
        let mut watch = LevelWatch::new(LatencyRules::default(), Timestamp(0));
        let mut changes = Vec::new();
        let calls = calls.iter().flat_map(|(times, took)| std::iter::repeat_n(*took, *times));
        for (second, took) in (1..).zip(calls) {
            changes.extend(watch.observe(Timestamp(second * 1_000), took));
        }
        changes
    }

    #[test]
    fn slow_after_two_bad_windows_and_back_after_two_good_ones() {
        assert_eq!(seen(&[(19, SLOW)]), []);
        assert_eq!(seen(&[(21, SLOW)]), [LevelSeen::Slow]);
        assert_eq!(seen(&[(9, QUICK), (1, SLOW), (25, QUICK)]), [], "one bad window is none");
        assert_eq!(seen(&[(21, SLOW), (15, QUICK)]), [LevelSeen::Slow]);
        assert_eq!(seen(&[(20, SLOW), (31, QUICK)]), [LevelSeen::Slow, LevelSeen::Good]);
    }

    #[test]
    fn down_at_once_and_back_after_two_good_windows() {
        assert_eq!(seen(&[(3, QUICK), (1, None)]), [LevelSeen::Down]);
        assert_eq!(seen(&[(15, None), (6, QUICK)]), [LevelSeen::Down]);
        assert_eq!(seen(&[(9, None), (40, QUICK)]), [LevelSeen::Down, LevelSeen::Good]);
        assert_eq!(
            seen(&[(9, None), (14, SLOW), (31, QUICK)]),
            [LevelSeen::Down, LevelSeen::Slow, LevelSeen::Good]
        );
    }
}
