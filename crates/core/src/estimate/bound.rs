//! What a plan can take at worst, with the arithmetic.

use super::EstimateBasis;
use crate::id::TaskIndex;
use crate::plan::{PlanBound, PlanDocument, PlanStructure, TaskBound};
use crate::resource::{ModelPrice, rounded};
use crate::task::{RetryPolicy, Task, TaskType};

/// No class of errors is retried more often, whatever a task's policy says (spec 03, 3.3).
const CLASS_RETRIES_MAX: u8 = 3;

impl EstimateBasis {
    /// The worst case of a plan.
    pub fn bound(&self, document: &PlanDocument, structure: &PlanStructure) -> PlanBound {
        let graph = structure.graph();
        let worst = |index| self.worst(document, structure, index);
        let tasks: Vec<TaskBound> = graph.indices().map(worst).collect();
        let seconds: Vec<f64> = tasks.iter().map(TaskBound::seconds).collect();
        let rank = graph.upward_rank(&seconds);
        let chain = rank.into_iter().fold(0.0, f64::max);
        let workers = f64::from(document.parallelism()).min(tasks.len().max(1) as f64);
        let work: f64 = seconds.iter().sum();
        PlanBound {
            tokens: tasks.iter().map(TaskBound::tokens).fold(0, u64::saturating_add),
            cost_usd: rounded_up(tasks.iter().map(TaskBound::cost_usd).sum()),
            chain_seconds: rounded(chain),
            seconds: rounded(work / workers + (1.0 - 1.0 / workers) * chain),
            call_tokens_max: self.tokens_per_task_max,
            tasks,
        }
    }

    fn worst(
        &self,
        document: &PlanDocument,
        structure: &PlanStructure,
        index: TaskIndex,
    ) -> TaskBound {
        let task = &document.tasks[index.at()];
        let retries = task.retry_policy.max_retries.min(CLASS_RETRIES_MAX);
        let attempt = self.worst_attempt(task);
        TaskBound {
            task: task.task_id.clone(),
            attempts: 1 + u32::from(retries),
            items: structure.items_max(document, index),
            attempt_seconds: task.attempt_seconds(),
            wait_seconds: rounded(longest_waits(&task.retry_policy, retries)),
            attempt_tokens: attempt.tokens,
            attempt_cost_usd: rounded_up(attempt.cost_usd),
            price: attempt.price,
            call_usd: attempt.call_usd,
        }
    }

    /// One attempt: what the run holds a model call to, and what the author and the price table say of
    /// the others.
    fn worst_attempt(&self, task: &Task) -> WorstAttempt {
        let quota = task.resource_quota.clone().unwrap_or_default();
        let said = task.resource_estimate.clone().unwrap_or_default();
        let said_tokens = [said.tokens_in, said.tokens_out].into_iter().flatten();
        let said_tokens = said_tokens.map(|range| range.high.max(0.0).ceil() as u64).sum::<u64>();
        match task.task_type {
            TaskType::LlmCall => {
                // A side that the quota leaves open may take all that one task may.
                let side = |quota: Option<u64>| quota.unwrap_or(self.tokens_per_task_max);
                let (most_in, most_out) = (side(quota.tokens_in), side(quota.tokens_out));
                let tokens = match (quota.tokens_in, quota.tokens_out) {
                    (None, None) => self.tokens_per_task_max.max(said_tokens),
                    _ => most_in.saturating_add(most_out),
                };
                let most = |quota: Option<u64>| quota.unwrap_or(tokens).min(tokens);
                let price = self.price_of(task);
                let sides = (most(quota.tokens_in), most(quota.tokens_out));
                let by_price = dearest_split(price, tokens, sides);
                let cost_usd = quota.cost_usd.map_or(by_price, |quota| quota.min(by_price));
                WorstAttempt { tokens, cost_usd, price: Some(price), call_usd: 0.0 }
            }
            TaskType::ToolCall | TaskType::Atomic | TaskType::Compound => {
                let call_usd = task.tool.as_deref().map_or(0.0, |tool| self.prices.tool(tool));
                let said_cost = said.cost_usd.map_or(0.0, |range| range.high.max(0.0));
                let by_quota = match (quota.tokens_in, quota.tokens_out) {
                    (Some(input), Some(output)) => input.saturating_add(output),
                    _ => u64::MAX,
                };
                let cost_usd = call_usd.max(said_cost).min(quota.cost_usd.unwrap_or(f64::INFINITY));
                WorstAttempt { tokens: said_tokens.min(by_quota), cost_usd, price: None, call_usd }
            }
        }
    }
}

struct WorstAttempt {
    tokens: u64,
    cost_usd: f64,
    price: Option<ModelPrice>,
    call_usd: f64,
}

/// The most that `tokens` can cost when no more than `sides` of them go in and come out: the dearer side
/// takes all that it may.
fn dearest_split(price: ModelPrice, tokens: u64, (most_in, most_out): (u64, u64)) -> f64 {
    let (tokens_in, tokens_out) = if price.input_usd_per_million > price.output_usd_per_million {
        (most_in, most_out.min(tokens - most_in))
    } else {
        (most_in.min(tokens - most_out), most_out)
    };
    price.cost_usd(tokens_in as f64, tokens_out as f64)
}

/// A bound is never rounded below itself; what is left of sums of decimals does not count.
fn rounded_up(value: f64) -> f64 {
    rounded((value * 1e6 - 1e-3).ceil().max(0.0) / 1e6)
}

fn longest_waits(policy: &RetryPolicy, retries: u8) -> f64 {
    let wait = |retry: u8| policy.base_seconds * policy.multiplier.powi(i32::from(retry));
    (0..retries).map(|retry| wait(retry).min(policy.cap_seconds) * (1.0 + policy.jitter)).sum()
}
