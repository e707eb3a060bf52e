//! What a goal allows its plan to use.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::document::reader::{FieldName, ObjectReader, aliased, plain};
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::time::Timestamp;

/// The parallelism of a plan that says nothing.
pub const PARALLELISM_DEFAULT: u32 = 10;
/// The most tasks of one plan that may ever run at once.
pub const PARALLELISM_MAX: u32 = 10_000;
/// Whole numbers in documents stay within what every JSON reader keeps exactly (RFC 7493).
pub(crate) const INTEGER_MAX: u64 = (1 << 53) - 1;

/// All optional; what is absent is not limited (but for the parallelism).
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct GoalConstraints {
    /// Model tokens, in and out together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_token_budget: Option<u64>,
    /// Seconds from the start of the run to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_execution_time_sec: Option<f64>,
    /// Tasks of the plan that run at once.
    pub max_parallelism: u32,
    /// The point in time by which the run has ended, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_unix_ms: Option<i64>,
    /// Wait for a person's approval before the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_approval: Option<bool>,
    /// Agent types that may be used; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_agent_types: Vec<String>,
    /// Tools that may not be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forbidden_tools: Vec<String>,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_limit_usd: Option<f64>,
    /// The caller's own.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub additional_constraints: Map<String, Value>,
    /// The names under which its author gave limits.
    #[serde(skip)]
    pub names: LimitNames,
}

/// The spelling of limits that have two, for messages to whoever wrote them.
#[derive(Clone, Copy, Debug)]
pub struct LimitNames {
    /// Of `max_token_budget`.
    pub tokens: &'static str,
    /// Of `max_execution_time_sec`.
    pub seconds: &'static str,
}

impl Default for LimitNames {
    fn default() -> LimitNames {
        LimitNames { tokens: "max_token_budget", seconds: "max_execution_time_sec" }
    }
}

impl PartialEq for LimitNames {
    /// The spelling is no part of what a limit is.
    fn eq(&self, _: &LimitNames) -> bool {
        true
    }
}

impl Default for GoalConstraints {
    fn default() -> GoalConstraints {
        GoalConstraints {
            max_token_budget: None,
            max_execution_time_sec: None,
            max_parallelism: PARALLELISM_DEFAULT,
            deadline_unix_ms: None,
            require_approval: None,
            allowed_agent_types: Vec::new(),
            forbidden_tools: Vec::new(),
            cost_limit_usd: None,
            additional_constraints: Map::new(),
            names: LimitNames::default(),
        }
    }
}

impl GoalConstraints {
    /// Checks what only the present time can tell: a deadline that is over (E5730).
    pub fn check(&self, now: Timestamp) -> Vec<Finding> {
        let Some(deadline) = self.deadline_unix_ms.filter(|at| Timestamp(*at) <= now) else {
            return Vec::new();
        };
        let late = now.millis_since(Timestamp(deadline));
        vec![
            Finding::new(
                ErrorCode::DeadlineMissed,
                ValidationLevel::Syntax,
                format!("the deadline {} was {late} ms ago", Timestamp(deadline)),
            )
            .field("constraints.deadline_unix_ms")
            .suggest("set a deadline that lies ahead"),
        ]
    }
}

pub(crate) static CONSTRAINT_FIELDS: &[FieldName] = &[
    aliased("max_token_budget", &["token_budget"]),
    aliased("max_execution_time_sec", &["deadline_seconds"]),
    plain("max_parallelism"),
    plain("deadline_unix_ms"),
    plain("require_approval"),
    plain("allowed_agent_types"),
    plain("forbidden_tools"),
    plain("cost_limit_usd"),
    plain("additional_constraints"),
];

pub(crate) fn read_constraints(object: &ObjectReader<'_>) -> GoalConstraints {
    let parallelism = object.integer("max_parallelism", 1..=u64::from(PARALLELISM_MAX));
    // The least is a millionth: below it a limit is a mistake.
    let positive = 1e-6..=1e15;
    GoalConstraints {
        max_token_budget: object.integer("max_token_budget", 1..=INTEGER_MAX),
        max_execution_time_sec: object.number("max_execution_time_sec", positive.clone()),
        max_parallelism: parallelism
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(PARALLELISM_DEFAULT),
        deadline_unix_ms: object
            .integer("deadline_unix_ms", 1..=INTEGER_MAX)
            .and_then(|n| i64::try_from(n).ok()),
        require_approval: object.boolean("require_approval"),
        allowed_agent_types: object.texts("allowed_agent_types"),
        forbidden_tools: object.texts("forbidden_tools"),
        cost_limit_usd: object.number("cost_limit_usd", positive),
        additional_constraints: object.map("additional_constraints"),
        names: LimitNames {
            tokens: object.spelled("max_token_budget"),
            seconds: object.spelled("max_execution_time_sec"),
        },
    }
}
