//! The registry: every error code that may leave a public boundary, with what is decided by it and its
//! fixed texts.
//!
//! The rows repeat `error-codes.toml` (the contract with callers); a test compares the two row by
//! row. A code is never renumbered or reused: programs match on it. Code here decides on the columns
//! kind and retry class, never on single codes.

use super::{ErrorInfo, ErrorKind, RetryClass};

/// Declares the codes and the table of all rows: number, name, kind, retry class, whether a caller may
/// send the same request again, gRPC status, HTTP status, message, suggestion.
macro_rules! codes {
    ($($number:literal $name:ident, $kind:ident, $retry:ident, $retryable:literal, $grpc:ident, $http:literal,
       $message:literal, $suggestion:literal;)*) => {
        /// A stable error code, E5000 to E5999. Written `E5301`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(
                #[doc = concat!("E", $number, ": ", $message, ".")]
                $name,
            )*
            /// A code that this version does not know: an agent or a journal of another one has it.
            Unknown(u16),
        }

        impl ErrorCode {
            /// The digits behind the E.
            pub fn number(self) -> u16 {
                match self {
                    $(ErrorCode::$name => $number,)*
                    ErrorCode::Unknown(number) => number,
                }
            }
        }

        /// All rows, ordered by code.
        pub static REGISTRY: &[ErrorInfo] = &[$(
            ErrorInfo {
                code: ErrorCode::$name,
                variant: stringify!($name),
                kind: ErrorKind::$kind,
                retry: RetryClass::$retry,
                message: $message,
                retryable: $retryable,
                grpc: stringify!($grpc),
                http: $http,
                suggestion: $suggestion,
            },
        )*];
    };
}

codes! {
    5000 ConfigError, Usage, Never, false, FAILED_PRECONDITION, 500,
        "configuration is invalid",
        "run `l05 config check`; `l05 config keys` lists every key with its range";
    5001 GoalFormatInvalid, Refused, Never, false, INVALID_ARGUMENT, 400,
        "goal text is empty or longer than 100,000 characters",
        "shorten the goal, or split it";
    5002 PlanNotFound, NotFound, Never, false, NOT_FOUND, 404,
        "no plan has this id",
        "`l05 history` lists the plans";
    5003 CacheMiss, NotFound, Temporary, false, NOT_FOUND, 404,
        "the plan cache has no such entry",
        "plan the goal; lookups by hand say this, planning never does";
    5004 GoalInputRefused, Refused, Never, false, INVALID_ARGUMENT, 400,
        "goal text contains invalid characters or an injection pattern",
        "remove what the details name, or set input.policy";
    5005 CacheEntryCorrupt, Refused, Never, true, INTERNAL, 500,
        "a cache entry failed its signature or format check",
        "the entry was dropped and the goal is planned afresh";
    5006 RequestTooLarge, Refused, Never, false, RESOURCE_EXHAUSTED, 413,
        "the request is larger than allowed",
        "send less, or raise the limit";
    5007 IdempotencyConflict, Refused, Never, false, ALREADY_EXISTS, 422,
        "this idempotency key was used with another request",
        "use a new key for a new request";
    5008 CacheUnavailable, Unavailable, Temporary, true, UNAVAILABLE, 503,
        "the plan cache cannot be reached",
        "planning goes on without it; check the Redis URL";
    5009 IdempotencyInProgress, Refused, Never, true, ABORTED, 409,
        "the first request with this idempotency key is still running",
        "wait and send the same request again";
    5010 RateLimited, Refused, Never, true, RESOURCE_EXHAUSTED, 429,
        "too many requests",
        "wait for the time in Retry-After";
    5100 DecompositionFailed, Refused, Never, false, FAILED_PRECONDITION, 422,
        "the goal could not be decomposed",
        "see what was tried in the details";
    5101 ModelDecompositionFailed, Unavailable, Temporary, true, UNAVAILABLE, 502,
        "the model gave no usable plan",
        "check the gateway with `l05 doctor`, or use a template";
    5102 PlanSizeInvalid, Refused, Never, false, FAILED_PRECONDITION, 422,
        "the plan has no task, or more than allowed",
        "split the goal or raise decomposition.max_tasks";
    5103 PlanTooDeep, Refused, Never, false, FAILED_PRECONDITION, 422,
        "the plan is nested deeper than allowed",
        "split the goal or raise decomposition.max_depth";
    5104 ValidatorBusy, Refused, Never, true, RESOURCE_EXHAUSTED, 503,
        "too many validations are waiting",
        "try again shortly";
    5105 NoTemplateMatches, Refused, Never, false, NOT_FOUND, 422,
        "no template matches the goal well enough",
        "`l05 templates list`, name one with --template, or start a model gateway";
    5106 ModelAnswerMalformed, Refused, Never, true, INTERNAL, 502,
        "the model's answer is not a plan, even after repair",
        "try another model, or raise the repair rounds";
    5107 ResolverBusy, Refused, Never, true, RESOURCE_EXHAUSTED, 503,
        "too many graphs are waiting",
        "try again shortly";
    5108 TemplateMatcherBusy, Refused, Never, true, RESOURCE_EXHAUSTED, 503,
        "too many template matches are waiting",
        "try again shortly";
    5109 DecomposerBusy, Refused, Never, true, RESOURCE_EXHAUSTED, 503,
        "too many model decompositions are waiting",
        "try again shortly";
    5110 CircuitOpen, Unavailable, Temporary, true, UNAVAILABLE, 503,
        "the gateway failed too often and is not being called",
        "it is tried again after the time in the details";
    5111 GoalAmbiguous, Refused, Never, false, INVALID_ARGUMENT, 422,
        "the goal can be read in several ways",
        "choose one of the readings in the details";
    5112 PlanTooComplex, Refused, Never, false, FAILED_PRECONDITION, 422,
        "the plan's complexity score is over the limit",
        "split the goal or raise the limit";
    5113 TemplateParameterMissing, Refused, Never, false, INVALID_ARGUMENT, 422,
        "a template parameter is missing or of the wrong type",
        "give it with --input name=value";
    5114 TemplateInvalid, Refused, Never, false, INVALID_ARGUMENT, 422,
        "a template file is invalid",
        "`l05 templates test` names file, line and reason";
    5120 CostEstimationFailed, Refused, Never, false, INTERNAL, 500,
        "the cost could not be estimated",
        "add the model to the price table";
    5121 BudgetExceeded, Refused, Never, false, FAILED_PRECONDITION, 422,
        "the token or cost budget does not suffice",
        "raise the budget, or drop the tasks in the details";
    5201 TaskSequenceInvalid, WrongState, Never, false, FAILED_PRECONDITION, 409,
        "the task cannot run at this point",
        "wait for what it depends on";
    5202 StateTransitionInvalid, WrongState, Never, false, FAILED_PRECONDITION, 409,
        "this transition is not allowed from the current state",
        "the details name the state and what is allowed";
    5203 DispatchFailed, Refused, Temporary, true, UNAVAILABLE, 502,
        "the task could not be dispatched",
        "it is tried again by the task's retry policy; `l05 doctor` shows what is reachable";
    5204 PlanNotExecutable, WrongState, Never, false, FAILED_PRECONDITION, 409,
        "the plan is not in a state to be executed",
        "validate or approve it first";
    5209 NoAgents, Refused, Never, true, UNAVAILABLE, 503,
        "no agent is registered",
        "start one with `l05 agent`, or configure a runtime";
    5210 AgentUnavailable, Refused, Agent, true, UNAVAILABLE, 503,
        "no capable agent is available",
        "see the capabilities in the details";
    5211 AgentVersionMismatch, Refused, Never, false, FAILED_PRECONDITION, 422,
        "no agent satisfies the version requirement",
        "the details list the versions there are";
    5220 TaskTimeout, Refused, Timeout, true, DEADLINE_EXCEEDED, 504,
        "the task exceeded its timeout",
        "raise timeout_seconds, or make the task smaller";
    5230 RetriesExhausted, Refused, Never, false, ABORTED, 502,
        "the task failed on its last attempt",
        "`l05 retry` runs it again";
    5240 Cancelled, Cancelled, Never, false, CANCELLED, 409,
        "the plan or task was cancelled",
        "`l05 retry` starts it again";
    5241 ApprovalRefused, Refused, Never, false, FAILED_PRECONDITION, 409,
        "a person refused the approval, or nobody answered in time",
        "the details name who and why; make a new plan, or `l05 retry` asks again";
    5301 CircularDependency, Refused, Never, false, INVALID_ARGUMENT, 422,
        "the tasks depend on each other in a circle",
        "remove one dependency of the cycle in the details";
    5302 UnresolvableDependency, Refused, Never, false, INVALID_ARGUMENT, 422,
        "a dependency names a task that does not exist",
        "name an existing task; the details list the nearest ids";
    5303 DuplicateTaskId, Refused, Never, false, INVALID_ARGUMENT, 422,
        "two tasks have the same id",
        "give each task its own id";
    5310 DependencyInvalid, Refused, Never, false, INVALID_ARGUMENT, 422,
        "a dependency or its condition is not valid",
        "the details name the task, the dependency and what cannot be evaluated";
    5401 ContextInjectionFailed, Refused, Never, true, INTERNAL, 500,
        "the task's context could not be built",
        "the details name the input that could not be built";
    5402 SecretNotFound, Refused, Never, false, NOT_FOUND, 422,
        "the secret does not exist or its key is gone",
        "check the secret's name and store";
    5403 AccessDenied, Refused, Never, false, PERMISSION_DENIED, 403,
        "the requester may not use this",
        "ask for the role or capability in the details";
    5404 ReferenceUnresolved, Refused, Never, false, FAILED_PRECONDITION, 422,
        "an input refers to an output that is not there",
        "the details list the nearest keys";
    5405 InputMissing, Refused, Never, false, INVALID_ARGUMENT, 422,
        "a required input is missing",
        "give the input, or a default in the template";
    5410 ContextTooLarge, Refused, Never, false, RESOURCE_EXHAUSTED, 413,
        "the context or the outputs are larger than allowed",
        "pass large data by file or reference";
    5411 DecryptionFailed, Refused, Never, false, DATA_LOSS, 500,
        "a sealed value could not be opened",
        "check that the key version in the details still exists";
    5501 EstimateUnavailable, Refused, Never, false, INTERNAL, 500,
        "there is nothing to estimate from",
        "give expected_seconds or a price for the model";
    5502 ResourcesInsufficient, Refused, Never, true, RESOURCE_EXHAUSTED, 503,
        "the resources are not there",
        "lower what the task needs, or add an agent";
    5510 QuotaExceeded, Refused, Never, false, RESOURCE_EXHAUSTED, 429,
        "a quota would be exceeded",
        "wait, or raise the quota";
    5520 EstimateInaccurate, Refused, Never, false, INTERNAL, 500,
        "actual use is far from the estimate",
        "look at `l05 cost`: history will correct the next estimate";
    5601 PlanInvalid, Refused, Never, false, INVALID_ARGUMENT, 422,
        "the plan did not pass validation",
        "all findings are in the details";
    5602 TypeMismatch, Refused, Output, false, INVALID_ARGUMENT, 422,
        "a value does not fit the schema it must fit",
        "make producer and consumer agree; the details show a value that does not fit";
    5603 ConstraintViolated, Refused, Never, false, FAILED_PRECONDITION, 422,
        "the plan cannot meet its constraints",
        "the details name the smallest set that conflicts";
    5604 PlanMalformed, Refused, Never, false, INVALID_ARGUMENT, 400,
        "a field of the plan is missing or malformed",
        "the details name the field and what it must be";
    5605 ToolUnknown, Refused, Never, false, INVALID_ARGUMENT, 422,
        "the plan uses a tool that does not exist",
        "the details list the nearest names";
    5606 ToolForbidden, Refused, Never, false, PERMISSION_DENIED, 403,
        "the plan uses a tool that the goal forbids",
        "use another tool, or change the goal's constraint";
    5610 SignatureInvalid, Refused, Never, false, PERMISSION_DENIED, 403,
        "the plan's signature does not match its content",
        "plan the goal again";
    5611 SignatureMissing, Refused, Never, false, FAILED_PRECONDITION, 422,
        "the plan has no signature",
        "validate the plan through L05 first";
    5612 SigningKeyUnavailable, Unavailable, Never, true, UNAVAILABLE, 503,
        "the signing key is not available",
        "check the key source with `l05 doctor`";
    5613 SecurityCheckFailed, Refused, Never, false, PERMISSION_DENIED, 403,
        "the plan did not pass a security check",
        "the details name the check";
    5700 PeerRefused, Refused, Never, false, PERMISSION_DENIED, 403,
        "the peer or origin is not allowed",
        "add the origin or peer to the allow-list";
    5701 CompletionReportInvalid, Refused, Never, false, INVALID_ARGUMENT, 422,
        "a completion report is malformed or not for a running task",
        "report once, for the attempt that was assigned";
    5702 CompletionReportsConflict, Refused, Never, false, ALREADY_EXISTS, 409,
        "two different completion reports came for one attempt",
        "the first report stands; find out why the agent reported twice";
    5703 CertificateInvalid, Refused, Never, false, UNAUTHENTICATED, 401,
        "the peer's certificate is not valid",
        "check the certificate's dates, chain and name";
    5710 TaskFailed, Refused, Temporary, true, ABORTED, 502,
        "the task failed",
        "see the task's attempts with `l05 show`";
    5720 CascadeFailure, Refused, Never, false, ABORTED, 502,
        "tasks were blocked because one they need failed",
        "fix the task named first, then `l05 retry`";
    5730 DeadlineMissed, Refused, Never, false, DEADLINE_EXCEEDED, 504,
        "the deadline cannot be or was not met",
        "the details say by how much; while planning this is FAILED_PRECONDITION / 422, not to be retried";
    5740 AgentCrashed, Refused, Agent, true, UNAVAILABLE, 502,
        "the agent stopped while working",
        "it is given to another agent where there is one";
    5801 StorageFailed, Unavailable, Temporary, true, UNAVAILABLE, 503,
        "the store did not accept the write",
        "check the store with `l05 doctor`; nothing was acknowledged";
    5802 HistoryUnavailable, Unavailable, Temporary, true, UNAVAILABLE, 503,
        "the history cannot be read",
        "check the store with `l05 doctor`";
    5803 VersionConflict, Conflict, Never, true, ABORTED, 409,
        "somebody else changed this first",
        "read it again and retry";
    5804 AuditFailed, Damaged, Never, false, DATA_LOSS, 500,
        "the audit trail is broken or cannot be written",
        "`l05 audit verify` names the entry";
    5805 JournalCorrupt, Damaged, Never, false, DATA_LOSS, 500,
        "the journal holds an entry that cannot be read",
        "restore a backup, or export what is readable with `l05 events`";
    5810 MetadataMissing, Refused, Never, false, INTERNAL, 500,
        "required metadata is missing",
        "report this: L05 wrote an incomplete record";
    5820 EventUndeliverable, Refused, Never, true, UNAVAILABLE, 503,
        "an event could not be delivered and is in the dead-letter queue",
        "`l05 dlq list`";
    5901 AgentUnknown, Refused, Never, false, NOT_FOUND, 404,
        "the agent is not registered",
        "register the agent first";
    5902 CapabilityMismatch, Refused, Never, false, FAILED_PRECONDITION, 422,
        "no agent has the required capabilities",
        "the details name what is missing";
    5903 IdentityUnverified, Refused, Never, false, UNAUTHENTICATED, 401,
        "the signature or credential does not belong to this identity",
        "check the agent's key or certificate";
    5904 CredentialExpired, Refused, Never, false, UNAUTHENTICATED, 401,
        "the credential has expired or was revoked",
        "issue a new credential";
    5910 BalancingFailed, Refused, Never, true, INTERNAL, 500,
        "the task could not be placed",
        "the details list the candidates and why each was refused";
    5920 AgentPoolExhausted, Refused, Never, true, RESOURCE_EXHAUSTED, 503,
        "all capable agents are busy and the queue is full",
        "wait, or add agents";
    5930 HealthCheckFailed, Refused, Agent, true, UNAVAILABLE, 503,
        "a health check failed",
        "see `l05 doctor`";
}
