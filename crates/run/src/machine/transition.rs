//! The task states as a table: which change leads where.

use l05_core::task::TaskStatus;

/// Something that happens to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusChange {
    /// The task's dependencies are satisfied.
    Freed,
    /// A person is asked before its first attempt, or about another try of the attempt in flight.
    Gated,
    /// The fan-out's list is known and its items are being done.
    Expanded,
    /// An attempt was given to a local executor, which begins at once.
    Dispatched,
    /// The attempt in flight was given out again by a new owner.
    Redispatched,
    /// Nobody was there to do it; it comes again later.
    Deferred,
    /// The attempt succeeded.
    Completed,
    /// The attempt failed and another will follow.
    Retried,
    /// The task failed for good.
    Failed,
    /// The last attempt took too long.
    TimedOut,
    /// Something it needs failed for good.
    Blocked,
    /// The task is not needed.
    Skipped,
    /// The task was ended on request.
    Cancelled,
}

/// All changes, for tables in tests.
#[cfg(test)]
pub(super) const CHANGES: [StatusChange; 13] = [
    StatusChange::Freed,
    StatusChange::Gated,
    StatusChange::Expanded,
    StatusChange::Dispatched,
    StatusChange::Redispatched,
    StatusChange::Deferred,
    StatusChange::Completed,
    StatusChange::Retried,
    StatusChange::Failed,
    StatusChange::TimedOut,
    StatusChange::Blocked,
    StatusChange::Skipped,
    StatusChange::Cancelled,
];

/// The state after a change, or `None` where the change does not fit the state.
pub(super) fn next_status(status: TaskStatus, change: StatusChange) -> Option<TaskStatus> {
    use StatusChange as C;
    use TaskStatus as S;
    let next = match (status, change) {
        (S::Pending, C::Freed) => S::Ready,
        // EXECUTING: another try of an attempt whose process died.
        (S::Ready | S::Executing, C::Gated) => S::Executing,
        // EXECUTING: a person agreed before.
        (S::Ready | S::Executing, C::Expanded) => S::Executing,
        // A retry goes out straight from PENDING: its dependencies were satisfied before. EXECUTING:
        // a person agreed before.
        (S::Pending | S::Ready | S::Executing, C::Dispatched) => S::Executing,
        (S::Assigned | S::Executing, C::Redispatched) => S::Executing,
        // EXECUTING: a person agreed before.
        (S::Pending | S::Ready | S::Executing, C::Deferred) => S::Pending,
        (S::Assigned | S::Executing, C::Completed) => S::Completed,
        // The one way back.
        (S::Assigned | S::Executing, C::Retried) => S::Pending,
        // PENDING, READY: a condition or a list could not be evaluated.
        (S::Pending | S::Ready | S::Assigned | S::Executing, C::Failed) => S::Failed,
        (S::Assigned | S::Executing, C::TimedOut) => S::TimedOut,
        (S::Pending | S::Ready, C::Blocked) => S::Blocked,
        (S::Pending | S::Ready, C::Skipped) => S::Skipped,
        (S::Pending | S::Ready | S::Assigned | S::Executing, C::Cancelled) => S::Cancelled,

        (
            S::Pending,
            C::Gated | C::Expanded | C::Redispatched | C::Completed | C::Retried | C::TimedOut,
        ) => return None,
        (S::Ready, C::Freed | C::Redispatched | C::Completed | C::Retried | C::TimedOut) => {
            return None;
        }
        (
            S::Assigned,
            C::Freed
            | C::Gated
            | C::Expanded
            | C::Dispatched
            | C::Deferred
            | C::Blocked
            | C::Skipped,
        ) => return None,
        (S::Executing, C::Freed | C::Blocked | C::Skipped) => return None,
        // No way out.
        (
            S::Completed | S::Failed | S::TimedOut | S::Cancelled | S::Blocked | S::Skipped,
            C::Freed
            | C::Gated
            | C::Expanded
            | C::Dispatched
            | C::Redispatched
            | C::Deferred
            | C::Completed
            | C::Retried
            | C::Failed
            | C::TimedOut
            | C::Blocked
            | C::Skipped
            | C::Cancelled,
        ) => return None,
    };
    Some(next)
}
