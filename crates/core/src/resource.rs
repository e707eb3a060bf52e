//! What tasks use: estimates as ranges, budgets as maxima.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A quantity as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// It will hardly be less.
    pub low: f64,
    /// The best guess.
    pub expected: f64,
    /// It will hardly be more.
    pub high: f64,
}

/// How an estimate was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EstimateMethod {
    /// From the task alone.
    Deterministic,
    /// From past runs.
    Historical,
    /// From both.
    Hybrid,
}

/// What a task or plan will probably use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceEstimate {
    /// Model tokens in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_in: Option<Range>,
    /// Model tokens out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<Range>,
    /// Processor cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<Range>,
    /// Memory, in MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<Range>,
    /// Execution time, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_seconds: Option<Range>,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Range>,
    /// How it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<EstimateMethod>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
}

/// What a task or plan may use at most (the platform's budget).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceConstraints {
    /// Model tokens in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_in: Option<u64>,
    /// Model tokens out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<u64>,
    /// Processor cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<f64>,
    /// Memory, in MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
    /// Execution time, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_seconds: Option<f64>,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Tasks at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel_tasks: Option<u32>,
}
