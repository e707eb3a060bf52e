//! Figures in a plan's document: what it will probably take, and what it can take at worst.
//!
//! Plain data. The estimator and the bound ([`crate::estimate`]) fill them in; `cost`, `explain` and the
//! forecast of a running plan read them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::{EstimateMethod, EstimateRange, ModelPrice};

/// One task's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskEstimate {
    /// The task.
    pub task: String,
    /// Execution time of one successful attempt, in seconds.
    pub seconds: EstimateRange,
    /// Model tokens, in and out.
    #[serde(default, skip_serializing_if = "EstimateRange::is_zero")]
    pub tokens: EstimateRange,
    /// Of the expected tokens those that go in. Worked out anew where it is needed, not kept.
    #[serde(skip)]
    pub tokens_in: f64,
    /// US dollars.
    #[serde(default, skip_serializing_if = "EstimateRange::is_zero")]
    pub cost_usd: EstimateRange,
    /// Processor cores: what the author says, else a first guess by type.
    #[serde(default, skip_serializing_if = "EstimateRange::is_zero")]
    pub cpu_cores: EstimateRange,
    /// Memory, in MB: what the author says, else a first guess by type.
    #[serde(default, skip_serializing_if = "EstimateRange::is_zero")]
    pub memory_mb: EstimateRange,
    /// The method of the estimate.
    pub method: EstimateMethod,
    /// Earlier runs behind it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runs: usize,
    /// The number of times that it is done: the items of a fan-out whose list stands in the plan, else 1. The figures above are
    /// those of one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub items: u64,
}

impl TaskEstimate {
    /// Model tokens of all its items.
    pub fn tokens_of_all(&self) -> EstimateRange {
        self.tokens.times(self.items as f64)
    }

    /// US dollars of all its items.
    pub fn cost_of_all(&self) -> EstimateRange {
        self.cost_usd.times(self.items as f64)
    }

    /// Seconds until all its items are done, so many at once.
    pub fn seconds_of_all(&self, parallelism: u32) -> EstimateRange {
        self.seconds.times(self.items.div_ceil(u64::from(parallelism.max(1))) as f64)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives the field by reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// A plan's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanEstimate {
    /// From the start to the end at the plan's parallelism, in seconds.
    pub seconds: EstimateRange,
    /// The longest chain by expected time, in seconds.
    pub critical_path_seconds: f64,
    /// Model tokens, in and out.
    pub tokens: EstimateRange,
    /// US dollars.
    pub cost_usd: EstimateRange,
    /// The method of the estimate: hybrid as soon as any task's history was used.
    pub method: EstimateMethod,
    /// 0 to 1: how much of the time is known from earlier runs or from the author.
    pub confidence: f64,
    /// Each task's share.
    pub tasks: Vec<TaskEstimate>,
}

/// The certificate: what the plan can take when every executor keeps to its quota and no attempt
/// has to be repeated because its process died (such repetitions are not retries, and not counted;
/// where the plan has a budget, each of them reserves its share of that again, or is not made).
///
/// `core::bound_check` verifies it from the document alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanBound {
    /// Model tokens: the sum over the tasks.
    pub tokens: u64,
    /// US dollars: the sum over the tasks.
    pub cost_usd: f64,
    /// The longest chain of timeouts and waits, in seconds.
    pub chain_seconds: f64,
    /// From start to end in seconds, when the plan gets the workers that its parallelism allows:
    /// work / workers + (1 - 1 / workers) x chain (Graham, 1969).
    pub seconds: f64,
    /// Tokens that one call of a model may take, in and out, where its task says nothing.
    #[serde(default, skip_serializing_if = "is_none")]
    pub call_tokens_max: u64,
    /// The arithmetic.
    pub tasks: Vec<TaskBound>,
}

/// One task's worst case: attempts x items x (what one attempt may take).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskBound {
    /// The task.
    pub task: String,
    /// The first and its retries.
    pub attempts: u32,
    /// The most items of a fan-out; 1 for a task that is none.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub items: u64,
    /// Seconds an attempt: its timeout.
    pub attempt_seconds: f64,
    /// Seconds waited between attempts, at the longest.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub wait_seconds: f64,
    /// Tokens an attempt.
    #[serde(default, skip_serializing_if = "is_none")]
    pub attempt_tokens: u64,
    /// US dollars an attempt.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub attempt_cost_usd: f64,
    /// The price of its tokens, where a model does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<ModelPrice>,
    /// The price of one call of its tool, in US dollars.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub call_usd: f64,
}

fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives the field by reference")]
fn is_one(n: &u64) -> bool {
    *n == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives the field by reference")]
fn is_none(n: &u64) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives the field by reference")]
fn is_nothing(n: &f64) -> bool {
    *n == 0.0
}

impl TaskBound {
    /// Tokens in all.
    pub fn tokens(&self) -> u64 {
        self.attempt_tokens.saturating_mul(u64::from(self.attempts)).saturating_mul(self.items)
    }

    /// US dollars in all.
    pub fn cost_usd(&self) -> f64 {
        self.attempt_cost_usd * f64::from(self.attempts) * self.items as f64
    }

    /// Seconds in all, its items one after the other.
    pub fn seconds(&self) -> f64 {
        (self.attempt_seconds * f64::from(self.attempts) + self.wait_seconds) * self.items as f64
    }
}

/// The most that one attempt may use, by the plan's bound and the task's own quota.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttemptAllowance {
    /// Model tokens in and out together.
    pub tokens: u64,
    /// Of those the most that may go in.
    pub tokens_in: u64,
    /// Of those the most that may come out.
    pub tokens_out: u64,
    /// US dollars.
    pub cost_usd: f64,
    /// True if somebody set a limit: a budget of the plan or a quota of the task. Then what cannot be
    /// shown to fit is not tried; else the figures are those of the configuration, and an estimate will do.
    pub is_firm: bool,
}

impl AttemptAllowance {
    /// No limit at all: work outside a plan, or of one that an earlier version signed without a bound.
    pub const UNLIMITED: AttemptAllowance = AttemptAllowance {
        tokens: u64::MAX,
        tokens_in: u64::MAX,
        tokens_out: u64::MAX,
        cost_usd: f64::INFINITY,
        is_firm: false,
    };
}
