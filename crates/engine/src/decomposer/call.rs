//! One call of the gateway: within its time, through the circuit breaker, its failures in words.

use std::time::{Duration, Instant};

use l05_core::{Error, ErrorCode};

use super::ModelDecomposer;
use super::breaker::CallVerdict;
use crate::port::{Clock, ModelAnswer, ModelError, ModelFailure, ModelRequest};

/// With less time left than this, nothing is asked (spec 02, 2.4).
pub(crate) const TIME_LEFT_MIN: Duration = Duration::from_secs(1);

/// A call that gave no answer.
#[derive(Debug)]
pub(crate) struct CallFailure {
    pub(crate) kind: CallFailureKind,
    /// The failure for people.
    pub(crate) error: Error,
    /// The time after which to come again, where the gateway says so.
    pub(crate) retry_after: Option<Duration>,
}

/// Kinds of failed calls, as far as callers go on differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallFailureKind {
    /// Nothing was sent: too little was left of the caller's time.
    OutOfTime,
    /// Nothing was sent: the gateway failed too often.
    CircuitOpen,
    /// The gateway was asked.
    Gateway(ModelFailure),
}

impl CallFailureKind {
    /// True if it is due to the caller's own time: another may have more.
    pub(crate) fn is_out_of_time(self) -> bool {
        match self {
            CallFailureKind::OutOfTime | CallFailureKind::Gateway(ModelFailure::Timeout) => true,
            CallFailureKind::CircuitOpen
            | CallFailureKind::Gateway(
                ModelFailure::Unreachable
                | ModelFailure::RateLimited
                | ModelFailure::OutOfQuota
                | ModelFailure::Unavailable
                | ModelFailure::Rejected
                | ModelFailure::Malformed
                | ModelFailure::Refused,
            ) => false,
        }
    }

    /// True if the model certainly never began, so that nothing is charged.
    pub(crate) fn is_free(self) -> bool {
        match self {
            CallFailureKind::OutOfTime
            | CallFailureKind::CircuitOpen
            | CallFailureKind::Gateway(
                ModelFailure::Unreachable
                | ModelFailure::RateLimited
                | ModelFailure::OutOfQuota
                | ModelFailure::Rejected,
            ) => true,
            CallFailureKind::Gateway(
                ModelFailure::Timeout
                | ModelFailure::Unavailable
                | ModelFailure::Malformed
                | ModelFailure::Refused,
            ) => false,
        }
    }

    /// True if the gateway may do better when it is asked again later.
    pub(crate) fn is_asked_again(self) -> bool {
        matches!(
            self,
            CallFailureKind::Gateway(ModelFailure::RateLimited | ModelFailure::Unavailable)
        )
    }

    /// True if a second call of the same kind would fail again.
    pub(crate) fn is_final(self) -> bool {
        match self {
            CallFailureKind::Gateway(ModelFailure::Rejected | ModelFailure::OutOfQuota) => true,
            CallFailureKind::OutOfTime | CallFailureKind::CircuitOpen => false,
            CallFailureKind::Gateway(
                ModelFailure::Unreachable
                | ModelFailure::Timeout
                | ModelFailure::RateLimited
                | ModelFailure::Unavailable
                | ModelFailure::Malformed
                | ModelFailure::Refused,
            ) => false,
        }
    }
}

/// The purpose of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallPurpose {
    /// A plan: somebody waits for it, and slowness is a fault.
    Plan,
    /// A task, which may take its time.
    Task,
}

/// What bounds the time of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeLimit {
    /// The configured time of one call.
    Gateway,
    /// The time that the caller had left.
    Caller,
    /// The time that the task's attempt had left.
    Task,
}

impl ModelDecomposer {
    /// Asks the model. `left` is what is left of the caller's time.
    pub(crate) async fn call(
        &self,
        clock: &dyn Clock,
        request: &ModelRequest,
        left: Option<Duration>,
        purpose: CallPurpose,
    ) -> Result<ModelAnswer, CallFailure> {
        if left.is_some_and(|left| left < TIME_LEFT_MIN) {
            let message = format!("less than 1 s is left for a call of {}", self.identity.shown());
            let error = self
                .error(ErrorCode::ModelDecompositionFailed, message)
                .detail("out_of_time", true);
            let kind = CallFailureKind::OutOfTime;
            return Err(CallFailure { kind, error, retry_after: None });
        }
        let within = left.map_or(request.within, |left| left.min(request.within));
        let limit = match purpose {
            _ if within == request.within => TimeLimit::Gateway,
            CallPurpose::Plan => TimeLimit::Caller,
            CallPurpose::Task => TimeLimit::Task,
        };
        let permit = self.breaker.admit(clock.now()).map_err(|until| {
            let message = format!("{} failed too often and is left alone", self.identity.shown());
            let error = self
                .error(ErrorCode::CircuitOpen, message)
                .detail("tried_again_at", until.to_string());
            CallFailure { kind: CallFailureKind::CircuitOpen, error, retry_after: None }
        })?;
        let request = ModelRequest { within, ..request.clone() };
        let start = Instant::now();
        // The adapter keeps its own time; one that does not is given up here.
        let called = match tokio::time::timeout(within, self.gateway.infer(request)).await {
            Ok(called) => called,
            Err(_) => Err(ModelError {
                kind: ModelFailure::Timeout,
                message: format!("{}: no answer within {within:.1?}", self.identity.address),
                retry_after: None,
            }),
        };
        let verdict = match &called {
            Ok(_) => CallVerdict::Answered(match purpose {
                CallPurpose::Plan => start.elapsed(),
                CallPurpose::Task => Duration::ZERO,
            }),
            Err(error) if error.kind.is_of_gateway() => CallVerdict::Failed,
            Err(_) => CallVerdict::Neutral,
        };
        permit.conclude(clock.now(), verdict);
        called.map_err(|failure| CallFailure {
            kind: CallFailureKind::Gateway(failure.kind),
            error: self.failed(&failure, limit),
            retry_after: failure.retry_after,
        })
    }

    fn failed(&self, failure: &ModelError, limit: TimeLimit) -> Error {
        let mut error = self.error(ErrorCode::ModelDecompositionFailed, failure.message.clone());
        if let Some(after) = failure.retry_after {
            error = error.detail("retry_after_seconds", after.as_secs_f64());
        }
        match failure.kind {
            ModelFailure::Unreachable => error.detail("failure", "unreachable").suggest(
                "start the gateway or set model.url; `l05 doctor` shows what is looked for",
            ),
            ModelFailure::Timeout => error
                .detail("failure", "timeout")
                .detail("out_of_time", true)
                .suggest(self.more_time(limit)),
            ModelFailure::RateLimited => {
                error.detail("failure", "rate limited").suggest("try again later")
            }
            ModelFailure::OutOfQuota => error.detail("failure", "out of quota").suggest(
                "the account at the provider has nothing left: top it up or take another key",
            ),
            ModelFailure::Unavailable => error.detail("failure", "unavailable"),
            ModelFailure::Rejected => error
                .detail("failure", "rejected")
                .suggest("check model.name and the key; `l05 doctor` lists the models there"),
            ModelFailure::Malformed => error.detail("failure", "malformed answer"),
            ModelFailure::Refused => {
                error.detail("failure", "refused").suggest("put the goal in other words")
            }
        }
    }

    /// The way to more time, by what was the limit.
    fn more_time(&self, limit: TimeLimit) -> &'static str {
        match limit {
            TimeLimit::Gateway if self.identity.is_local => {
                "raise model.local_timeout_ms, or use a smaller model"
            }
            TimeLimit::Gateway => "raise model.timeout_ms, or use a smaller model",
            TimeLimit::Caller => {
                "no more time was left for planning: raise --plan-within, or use a smaller model"
            }
            TimeLimit::Task => "raise the task's timeout_seconds, or use a smaller model",
        }
    }

    pub(super) fn error(&self, code: ErrorCode, message: impl Into<String>) -> Error {
        Error::new(code, message)
            .detail("gateway", self.identity.provider)
            .detail("address", self.identity.address.as_str())
            .detail("model", self.identity.model.as_str())
    }
}
