//! Which failures are tried again, how often and when (spec 03, 3.3).

use crate::event::TaskError;
use l05_core::error::{ErrorCode, RetryClass};
use l05_core::id::{Attempt, TaskIndex};
use l05_core::random::splitmix64;
use l05_core::task::RetryPolicy;

/// True if an error is the agent's: another may do better.
pub(super) fn is_of_agent(code: ErrorCode) -> bool {
    code.info().retry == RetryClass::Agent
}

/// True if another attempt is due after `failures` failed ones in this run.
pub(super) fn may_retry(error: &TaskError, policy: &RetryPolicy, failures: u8) -> bool {
    // The executor's word that trying again is no use goes before the class.
    let of_class = if error.is_final { 0 } else { error.code.info().retry.retries_max() };
    failures <= of_class.min(policy.max_retries)
}

/// The wait before the next attempt, in milliseconds: exponential, capped, with jitter drawn from
/// the plan's seed, so that the same journal always gives the same times.
pub(super) fn backoff_millis(
    policy: &RetryPolicy,
    failures: u8,
    seed: u64,
    task: TaskIndex,
    attempt: Attempt,
) -> u64 {
    let exponent = i32::from(failures.saturating_sub(1));
    let wait = (policy.base_seconds * policy.multiplier.powi(exponent)).min(policy.cap_seconds);
    let draw = splitmix64(seed ^ (u64::from(task.0) << 16) ^ u64::from(attempt.0));
    // 53 bits make a uniform number in [0, 1).
    let unit = (draw >> 11) as f64 / (1u64 << 53) as f64;
    let jittered = wait * (1.0 + policy.jitter * (2.0 * unit - 1.0));
    (jittered * 1000.0) as u64
}

/// The wait that the one who was asked wants, in milliseconds, as far as the policy's cap goes.
pub(super) fn asked_millis(error: &TaskError, policy: &RetryPolicy) -> u64 {
    let cap = (policy.cap_seconds * 1000.0) as u64;
    error.retry_after_millis.unwrap_or_default().min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_by_class_and_policy() {
        let retries = |code, is_final, policy_max| {
            let error = TaskError { is_final, ..TaskError::new(code, String::new()) };
            let policy = RetryPolicy { max_retries: policy_max, ..RetryPolicy::default() };
            (1..10).take_while(|failures| may_retry(&error, &policy, *failures)).count()
        };
        assert_eq!(retries(ErrorCode::TaskTimeout, false, 5), 3);
        assert_eq!(retries(ErrorCode::AgentCrashed, false, 5), 2);
        assert_eq!(retries(ErrorCode::TaskFailed, false, 5), 3);
        assert_eq!(retries(ErrorCode::TaskFailed, true, 5), 0, "the tool says final");
        assert_eq!(retries(ErrorCode::TaskFailed, false, 1), 1, "the policy is smaller");
        assert_eq!(retries(ErrorCode::TypeMismatch, false, 5), 1);
        assert_eq!(retries(ErrorCode::InputMissing, false, 5), 0);
    }

    #[test]
    fn waits_double_up_to_the_cap_within_the_jitter() {
        let policy = RetryPolicy::default();
        for (failures, wait) in [(1, 1000.0), (2, 2000.0), (3, 4000.0), (9, 30_000.0)] {
            for seed in 0..100 {
                let millis =
                    backoff_millis(&policy, failures, seed, TaskIndex(3), Attempt(1)) as f64;
                assert!((wait * 0.5..=wait * 1.5).contains(&millis), "{failures} {seed} {millis}");
            }
        }
        let draw = |seed| backoff_millis(&policy, 1, seed, TaskIndex(0), Attempt(1));
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn who_is_asked_to_come_later_does() {
        let policy = RetryPolicy { cap_seconds: 60.0, ..RetryPolicy::default() };
        for (asked, waits) in [(None, 0), (Some(2_000), 2_000), (Some(90_000), 60_000)] {
            let error = TaskError {
                retry_after_millis: asked,
                ..TaskError::new(ErrorCode::TaskFailed, "limited")
            };
            assert_eq!(asked_millis(&error, &policy), waits);
        }
    }
}
