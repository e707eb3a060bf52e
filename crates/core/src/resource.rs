//! What tasks use: estimates as ranges, budgets as maxima.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::choice::choices;

/// A quantity as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EstimateRange {
    /// A value that the truth will hardly be below.
    pub low: f64,
    /// The best guess.
    pub expected: f64,
    /// A value that the truth will hardly be above.
    pub high: f64,
}

impl EstimateRange {
    /// A quantity that is known.
    pub fn exactly(value: f64) -> EstimateRange {
        EstimateRange { low: value, expected: value, high: value }
    }

    /// A guess that may be wrong by a factor either way.
    pub fn around(expected: f64, factor: f64) -> EstimateRange {
        EstimateRange { low: expected / factor, expected, high: expected * factor }
    }

    /// True if it is nothing for certain.
    pub fn is_zero(&self) -> bool {
        self.low == 0.0 && self.expected == 0.0 && self.high == 0.0
    }

    pub(crate) fn plus(self, other: EstimateRange) -> EstimateRange {
        EstimateRange {
            low: self.low + other.low,
            expected: self.expected + other.expected,
            high: self.high + other.high,
        }
    }

    pub(crate) fn times(self, factor: f64) -> EstimateRange {
        EstimateRange {
            low: self.low * factor,
            expected: self.expected * factor,
            high: self.high * factor,
        }
    }

    /// As documents hold it.
    pub(crate) fn rounded(self) -> EstimateRange {
        EstimateRange {
            low: rounded(self.low),
            expected: rounded(self.expected),
            high: rounded(self.high),
        }
    }
}

choices! {
    /// The method of an estimate.
    pub enum EstimateMethod {
        /// From the task alone.
        Deterministic = "deterministic",
        /// From past runs.
        Historical = "historical",
        /// From both.
        Hybrid = "hybrid",
    }
}

/// The probable use of a task or plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceEstimate {
    /// Model tokens in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_in: Option<EstimateRange>,
    /// Model tokens out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<EstimateRange>,
    /// Processor cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<EstimateRange>,
    /// Memory, in MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<EstimateRange>,
    /// Execution time, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_seconds: Option<EstimateRange>,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<EstimateRange>,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<EstimateMethod>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
}

/// The most that a task or plan may use (the platform's budget).
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

/// A model's price, in US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// Of what goes in.
    pub input_usd_per_million: f64,
    /// Of what comes out.
    pub output_usd_per_million: f64,
}

impl ModelPrice {
    /// US dollars for so many tokens in and out.
    pub fn cost_usd(self, tokens_in: f64, tokens_out: f64) -> f64 {
        (tokens_in * self.input_usd_per_million + tokens_out * self.output_usd_per_million) / 1e6
    }
}

choices! {
    /// A quantity that a task's `resource_quota` limits and that an executor may hold a task to.
    /// Seconds are not among them: those the engine itself keeps, for every executor.
    pub enum QuotaKind {
        /// Model tokens, in and out.
        Tokens = "tokens",
        /// US dollars.
        Cost = "cost_usd",
        /// Processor cores.
        Cpu = "cpu_cores",
        /// Memory.
        Memory = "memory_mb",
    }
}

/// Six decimals: microseconds and millionths of a dollar, and short numbers in documents.
pub(crate) fn rounded(value: f64) -> f64 {
    let scaled = (value * 1e6).round();
    if scaled.abs() < 9e15 { scaled / 1e6 } else { value }
}
