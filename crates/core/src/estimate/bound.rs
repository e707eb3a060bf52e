//! What a plan can take at worst, with the arithmetic.

use super::EstimateBasis;
use crate::graph::DependencyGraph;
use crate::plan::{PlanBound, PlanDocument, TaskBound};
use crate::resource::rounded;
use crate::task::{RetryPolicy, Task, TaskType};

/// No class of errors is retried more often, whatever a task's policy says (spec 03, 3.3).
const CLASS_RETRIES_MAX: u8 = 3;

impl EstimateBasis {
    /// The worst case of a plan.
    pub fn bound(&self, document: &PlanDocument, graph: &DependencyGraph) -> PlanBound {
        let tasks: Vec<TaskBound> = document.tasks.iter().map(|task| self.worst(task)).collect();
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
            tasks,
        }
    }

    fn worst(&self, task: &Task) -> TaskBound {
        let quota = task.resource_quota.clone().unwrap_or_default();
        let said = task.resource_estimate.clone().unwrap_or_default();
        let said_tokens = [said.tokens_in, said.tokens_out].into_iter().flatten();
        let said_tokens = said_tokens.map(|range| range.high.max(0.0).ceil() as u64).sum::<u64>();
        // A side that the quota leaves open may take all that one task may.
        let side = |quota: Option<u64>| quota.unwrap_or(self.tokens_per_task_max);
        let attempt_tokens = match (task.task_type, quota.tokens_in, quota.tokens_out) {
            (TaskType::LlmCall, None, None) => self.tokens_per_task_max.max(said_tokens),
            (TaskType::LlmCall, input, output) => side(input).saturating_add(side(output)),
            (TaskType::ToolCall | TaskType::Atomic | TaskType::Compound, _, _) => said_tokens,
        };
        let price = self.prices.model(task.model());
        let per_token = price.input_usd_per_million.max(price.output_usd_per_million) / 1e6;
        let call = task.tool.as_deref().map_or(0.0, |tool| self.prices.tool(tool));
        let by_price = attempt_tokens as f64 * per_token + call;
        let said_cost = said.cost_usd.map_or(0.0, |range| range.high);
        let retries = task.retry_policy.max_retries.min(CLASS_RETRIES_MAX);
        TaskBound {
            task: task.task_id.clone(),
            attempts: 1 + u32::from(retries),
            items: task.for_each.as_ref().map_or(1, |each| each.max_items),
            attempt_seconds: task.timeout_seconds,
            wait_seconds: rounded(longest_waits(&task.retry_policy, retries)),
            attempt_tokens,
            attempt_cost_usd: rounded_up(by_price.max(said_cost)),
        }
    }
}

/// A bound is never rounded below itself; what is left of sums of decimals does not count.
fn rounded_up(value: f64) -> f64 {
    rounded((value * 1e6 - 1e-3).ceil().max(0.0) / 1e6)
}

fn longest_waits(policy: &RetryPolicy, retries: u8) -> f64 {
    let wait = |retry: u8| policy.base_seconds * policy.multiplier.powi(i32::from(retry));
    (0..retries).map(|retry| wait(retry).min(policy.cap_seconds) * (1.0 + policy.jitter)).sum()
}
