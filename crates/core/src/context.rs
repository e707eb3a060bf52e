//! What an attempt works with, as data: resolved inputs, scope and limits. Secrets are not here:
//! their values have types of their own and are never part of a document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::document::choice::choices;
use crate::id::{Attempt, PlanId};

/// The largest context, in bytes.
pub const CONTEXT_BYTES_MAX: usize = 10 << 20;

choices! {
    /// How far a value may travel.
    pub enum Classification {
        /// Anywhere.
        Public = "PUBLIC",
        /// Inside the platform.
        Internal = "INTERNAL",
        /// To those whom its policy allows.
        Sensitive = "SENSITIVE",
        /// Sealed, never shown.
        Secret = "SECRET",
    }
}

/// What an attempt is permitted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContextScope {
    /// Permissions by name.
    pub permissions: Vec<String>,
    /// Names of secrets that may be opened.
    pub secrets: Vec<String>,
}

/// The limits an attempt works within.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContextConstraints {
    /// When it times out, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_unix_ms: Option<i64>,
    /// Model tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_budget: Option<u64>,
    /// Tasks at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallelism: Option<u32>,
}

/// Everything one attempt of one task works with, but for the values of secrets.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ExecutionContext {
    /// The plan.
    pub plan_id: PlanId,
    /// The task.
    pub task_id: String,
    /// Which attempt.
    #[schemars(with = "u16")]
    pub attempt: Attempt,
    /// Its inputs, references resolved.
    pub inputs: Map<String, Value>,
    /// What it is permitted.
    pub scope: ContextScope,
    /// Variables handed down to a sub-plan.
    pub parent: Map<String, Value>,
    /// Its limits.
    pub constraints: ContextConstraints,
    /// What is known of the field the plan is about.
    pub domain: Map<String, Value>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl ExecutionContext {
    /// `plan_id/task_id/attempt`: the same for every repetition of the attempt.
    pub fn idempotency_key(&self) -> String {
        idempotency_key(self.plan_id, &self.task_id, self.attempt)
    }
}

/// `plan_id/task_id/attempt`.
pub fn idempotency_key(plan: PlanId, task_id: &str, attempt: Attempt) -> String {
    format!("{plan}/{task_id}/{}", attempt.0)
}
