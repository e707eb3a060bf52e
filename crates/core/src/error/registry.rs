//! The registry: every error code that may leave a public boundary, with its fixed texts.
//!
//! The rows repeat `error-codes.toml` (the contract with callers); a test compares the two row by
//! row. A code is never renumbered or reused: programs match on it.

use super::{ErrorCode, ErrorInfo};

/// Declares one constant a code and the table of all rows.
macro_rules! codes {
    ($($number:literal $name:ident, $retryable:literal, $grpc:ident, $http:literal,
       $message:literal, $suggestion:literal;)*) => {
        impl ErrorCode {
            $(
                #[doc = concat!("E", $number, ": ", $message, ".")]
                pub const $name: ErrorCode = ErrorCode($number);
            )*
        }
        /// All rows, ordered by code.
        pub static REGISTRY: &[ErrorInfo] = &[$(
            ErrorInfo {
                code: ErrorCode($number),
                constant: stringify!($name),
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
    5000 CONFIG_ERROR, false, FAILED_PRECONDITION, 500,
        "configuration is invalid",
        "run `l05 config check`; `l05 config keys` lists every key with its range";
    5001 GOAL_FORMAT_INVALID, false, INVALID_ARGUMENT, 400,
        "goal text is empty or longer than 100,000 characters",
        "shorten the goal, or split it";
    5002 PLAN_NOT_FOUND, false, NOT_FOUND, 404,
        "no plan has this id",
        "`l05 history` lists the plans";
    5003 CACHE_MISS, false, NOT_FOUND, 404,
        "the plan cache has no such entry",
        "plan the goal; lookups by hand say this, planning never does";
    5004 GOAL_INPUT_REFUSED, false, INVALID_ARGUMENT, 400,
        "goal text contains invalid characters or an injection pattern",
        "remove what the details name, or set input.policy";
    5005 CACHE_ENTRY_CORRUPT, true, INTERNAL, 500,
        "a cache entry failed its signature or format check",
        "the entry was dropped and the goal is planned afresh";
    5006 REQUEST_TOO_LARGE, false, RESOURCE_EXHAUSTED, 413,
        "the request is larger than allowed",
        "send less, or raise the limit";
    5007 IDEMPOTENCY_CONFLICT, false, ALREADY_EXISTS, 422,
        "this idempotency key was used with another request",
        "use a new key for a new request";
    5008 CACHE_UNAVAILABLE, true, UNAVAILABLE, 503,
        "the plan cache cannot be reached",
        "planning goes on without it; check the Redis URL";
    5009 IDEMPOTENCY_IN_PROGRESS, true, ABORTED, 409,
        "the first request with this idempotency key is still running",
        "wait and send the same request again";
    5010 RATE_LIMITED, true, RESOURCE_EXHAUSTED, 429,
        "too many requests",
        "wait for the time in Retry-After";
    5100 DECOMPOSITION_FAILED, false, FAILED_PRECONDITION, 422,
        "the goal could not be decomposed",
        "see what was tried in the details";
    5101 MODEL_DECOMPOSITION_FAILED, true, UNAVAILABLE, 502,
        "the model gave no usable plan",
        "check the gateway with `l05 doctor`, or use a template";
    5102 PLAN_SIZE_INVALID, false, FAILED_PRECONDITION, 422,
        "the plan has no task, or more than allowed",
        "split the goal or raise decomposition.max_tasks";
    5103 PLAN_TOO_DEEP, false, FAILED_PRECONDITION, 422,
        "the plan is nested deeper than allowed",
        "split the goal or raise decomposition.max_depth";
    5104 VALIDATOR_BUSY, true, RESOURCE_EXHAUSTED, 503,
        "too many validations are waiting",
        "try again shortly";
    5105 NO_TEMPLATE_MATCHES, false, NOT_FOUND, 422,
        "no template matches the goal well enough",
        "`l05 templates list`, name one with --template, or start a model gateway";
    5106 MODEL_ANSWER_MALFORMED, true, INTERNAL, 502,
        "the model's answer is not a plan, even after repair",
        "try another model, or raise the repair rounds";
    5107 RESOLVER_BUSY, true, RESOURCE_EXHAUSTED, 503,
        "too many graphs are waiting",
        "try again shortly";
    5108 TEMPLATE_MATCHER_BUSY, true, RESOURCE_EXHAUSTED, 503,
        "too many template matches are waiting",
        "try again shortly";
    5109 DECOMPOSER_BUSY, true, RESOURCE_EXHAUSTED, 503,
        "too many model decompositions are waiting",
        "try again shortly";
    5110 CIRCUIT_OPEN, true, UNAVAILABLE, 503,
        "the gateway failed too often and is not being called",
        "it is tried again after the time in the details";
    5111 GOAL_AMBIGUOUS, false, INVALID_ARGUMENT, 422,
        "the goal can be read in several ways",
        "choose one of the readings in the details";
    5112 PLAN_TOO_COMPLEX, false, FAILED_PRECONDITION, 422,
        "the plan's complexity score is over the limit",
        "split the goal or raise the limit";
    5113 TEMPLATE_PARAMETER_MISSING, false, INVALID_ARGUMENT, 422,
        "a template parameter is missing or of the wrong type",
        "give it with --input name=value";
    5114 TEMPLATE_INVALID, false, INVALID_ARGUMENT, 422,
        "a template file is invalid",
        "`l05 templates test` names file, line and reason";
    5120 COST_ESTIMATION_FAILED, false, INTERNAL, 500,
        "the cost could not be estimated",
        "add the model to the price table";
    5121 BUDGET_EXCEEDED, false, FAILED_PRECONDITION, 422,
        "the token or cost budget does not suffice",
        "raise the budget, or drop the tasks in the details";
    5201 TASK_SEQUENCE_INVALID, false, FAILED_PRECONDITION, 409,
        "the task cannot run at this point",
        "wait for what it depends on";
    5202 STATE_TRANSITION_INVALID, false, FAILED_PRECONDITION, 409,
        "this transition is not allowed from the current state",
        "the details name the state and what is allowed";
    5203 DISPATCH_FAILED, true, UNAVAILABLE, 502,
        "the task could not be dispatched",
        "it is tried again by the task's retry policy; `l05 doctor` shows what is reachable";
    5204 PLAN_NOT_EXECUTABLE, false, FAILED_PRECONDITION, 409,
        "the plan is not in a state to be executed",
        "validate or approve it first";
    5209 NO_AGENTS, true, UNAVAILABLE, 503,
        "no agent is registered",
        "start one with `l05 agent`, or configure a runtime";
    5210 AGENT_UNAVAILABLE, true, UNAVAILABLE, 503,
        "no capable agent is available",
        "see the capabilities in the details";
    5211 AGENT_VERSION_MISMATCH, false, FAILED_PRECONDITION, 422,
        "no agent satisfies the version requirement",
        "the details list the versions there are";
    5220 TASK_TIMEOUT, true, DEADLINE_EXCEEDED, 504,
        "the task exceeded its timeout",
        "raise timeout_seconds, or make the task smaller";
    5230 RETRIES_EXHAUSTED, false, ABORTED, 502,
        "the task failed on its last attempt",
        "`l05 retry` runs it again";
    5240 CANCELLED, false, CANCELLED, 409,
        "the plan or task was cancelled",
        "`l05 retry` starts it again";
    5241 APPROVAL_REFUSED, false, FAILED_PRECONDITION, 409,
        "a person refused the approval, or nobody answered in time",
        "the details name who and why; make a new plan, or `l05 retry` asks again";
    5301 CIRCULAR_DEPENDENCY, false, INVALID_ARGUMENT, 422,
        "the tasks depend on each other in a circle",
        "remove one dependency of the cycle in the details";
    5302 UNRESOLVABLE_DEPENDENCY, false, INVALID_ARGUMENT, 422,
        "a dependency names a task that does not exist",
        "name an existing task; the details list the nearest ids";
    5303 DUPLICATE_TASK_ID, false, INVALID_ARGUMENT, 422,
        "two tasks have the same id",
        "give each task its own id";
    5310 DEPENDENCY_INVALID, false, INVALID_ARGUMENT, 422,
        "a dependency or its condition is not valid",
        "the details name the task, the dependency and what cannot be evaluated";
    5401 CONTEXT_INJECTION_FAILED, true, INTERNAL, 500,
        "the task's context could not be built",
        "the details name the input that could not be built";
    5402 SECRET_NOT_FOUND, false, NOT_FOUND, 422,
        "the secret does not exist or its key is gone",
        "check the secret's name and store";
    5403 ACCESS_DENIED, false, PERMISSION_DENIED, 403,
        "the requester may not use this",
        "ask for the role or capability in the details";
    5404 REFERENCE_UNRESOLVED, false, FAILED_PRECONDITION, 422,
        "an input refers to an output that is not there",
        "the details list the nearest keys";
    5405 INPUT_MISSING, false, INVALID_ARGUMENT, 422,
        "a required input is missing",
        "give the input, or a default in the template";
    5410 CONTEXT_TOO_LARGE, false, RESOURCE_EXHAUSTED, 413,
        "the context or the outputs are larger than allowed",
        "pass large data by file or reference";
    5411 DECRYPTION_FAILED, false, DATA_LOSS, 500,
        "a sealed value could not be opened",
        "check that the key version in the details still exists";
    5501 ESTIMATE_UNAVAILABLE, false, INTERNAL, 500,
        "there is nothing to estimate from",
        "give expected_seconds or a price for the model";
    5502 RESOURCES_INSUFFICIENT, true, RESOURCE_EXHAUSTED, 503,
        "the resources are not there",
        "lower what the task needs, or add an agent";
    5510 QUOTA_EXCEEDED, false, RESOURCE_EXHAUSTED, 429,
        "a quota would be exceeded",
        "wait, or raise the quota";
    5520 ESTIMATE_INACCURATE, false, INTERNAL, 500,
        "actual use is far from the estimate",
        "look at `l05 cost`: history will correct the next estimate";
    5601 PLAN_INVALID, false, INVALID_ARGUMENT, 422,
        "the plan did not pass validation",
        "all findings are in the details";
    5602 TYPE_MISMATCH, false, INVALID_ARGUMENT, 422,
        "a value does not fit the schema it must fit",
        "make producer and consumer agree; the details show a value that does not fit";
    5603 CONSTRAINT_VIOLATED, false, FAILED_PRECONDITION, 422,
        "the plan cannot meet its constraints",
        "the details name the smallest set that conflicts";
    5604 PLAN_MALFORMED, false, INVALID_ARGUMENT, 400,
        "a field of the plan is missing or malformed",
        "the details name the field and what it must be";
    5605 TOOL_UNKNOWN, false, INVALID_ARGUMENT, 422,
        "the plan uses a tool that does not exist",
        "the details list the nearest names";
    5606 TOOL_FORBIDDEN, false, PERMISSION_DENIED, 403,
        "the plan uses a tool that the goal forbids",
        "use another tool, or change the goal's constraint";
    5610 SIGNATURE_INVALID, false, PERMISSION_DENIED, 403,
        "the plan's signature does not match its content",
        "plan the goal again";
    5611 SIGNATURE_MISSING, false, FAILED_PRECONDITION, 422,
        "the plan has no signature",
        "validate the plan through L05 first";
    5612 SIGNING_KEY_UNAVAILABLE, true, UNAVAILABLE, 503,
        "the signing key is not available",
        "check the key source with `l05 doctor`";
    5613 SECURITY_CHECK_FAILED, false, PERMISSION_DENIED, 403,
        "the plan did not pass a security check",
        "the details name the check";
    5700 PEER_REFUSED, false, PERMISSION_DENIED, 403,
        "the peer or origin is not allowed",
        "add the origin or peer to the allow-list";
    5701 COMPLETION_REPORT_INVALID, false, INVALID_ARGUMENT, 422,
        "a completion report is malformed or not for a running task",
        "report once, for the attempt that was assigned";
    5702 COMPLETION_REPORTS_CONFLICT, false, ALREADY_EXISTS, 409,
        "two different completion reports came for one attempt",
        "the first report stands; find out why the agent reported twice";
    5703 CERTIFICATE_INVALID, false, UNAUTHENTICATED, 401,
        "the peer's certificate is not valid",
        "check the certificate's dates, chain and name";
    5710 TASK_FAILED, true, ABORTED, 502,
        "the task failed",
        "see the task's attempts with `l05 show`";
    5720 CASCADE_FAILURE, false, ABORTED, 502,
        "tasks were blocked because one they need failed",
        "fix the task named first, then `l05 retry`";
    5730 DEADLINE_MISSED, false, DEADLINE_EXCEEDED, 504,
        "the deadline cannot be or was not met",
        "the details say by how much; while planning this is FAILED_PRECONDITION / 422, not to be retried";
    5740 AGENT_CRASHED, true, UNAVAILABLE, 502,
        "the agent stopped while working",
        "it is given to another agent where there is one";
    5801 STORAGE_FAILED, true, UNAVAILABLE, 503,
        "the store did not accept the write",
        "check the store with `l05 doctor`; nothing was acknowledged";
    5802 HISTORY_UNAVAILABLE, true, UNAVAILABLE, 503,
        "the history cannot be read",
        "check the store with `l05 doctor`";
    5803 VERSION_CONFLICT, true, ABORTED, 409,
        "somebody else changed this first",
        "read it again and retry";
    5804 AUDIT_FAILED, false, DATA_LOSS, 500,
        "the audit trail is broken or cannot be written",
        "`l05 audit verify` names the entry";
    5805 JOURNAL_CORRUPT, false, DATA_LOSS, 500,
        "the journal holds an entry that cannot be read",
        "restore a backup, or export what is readable with `l05 events`";
    5810 METADATA_MISSING, false, INTERNAL, 500,
        "required metadata is missing",
        "report this: L05 wrote an incomplete record";
    5820 EVENT_UNDELIVERABLE, true, UNAVAILABLE, 503,
        "an event could not be delivered and is in the dead-letter queue",
        "`l05 dlq list`";
    5901 AGENT_UNKNOWN, false, NOT_FOUND, 404,
        "the agent is not registered",
        "register the agent first";
    5902 CAPABILITY_MISMATCH, false, FAILED_PRECONDITION, 422,
        "no agent has the required capabilities",
        "the details name what is missing";
    5903 IDENTITY_UNVERIFIED, false, UNAUTHENTICATED, 401,
        "the signature or credential does not belong to this identity",
        "check the agent's key or certificate";
    5904 CREDENTIAL_EXPIRED, false, UNAUTHENTICATED, 401,
        "the credential has expired or was revoked",
        "issue a new credential";
    5910 BALANCING_FAILED, true, INTERNAL, 500,
        "the task could not be placed",
        "the details list the candidates and why each was refused";
    5920 AGENT_POOL_EXHAUSTED, true, RESOURCE_EXHAUSTED, 503,
        "all capable agents are busy and the queue is full",
        "wait, or add agents";
    5930 HEALTH_CHECK_FAILED, true, UNAVAILABLE, 503,
        "a health check failed",
        "see `l05 doctor`";
}
