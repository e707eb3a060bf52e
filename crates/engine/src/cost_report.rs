//! Estimate, bound and actual use side by side, and the forecast of a running plan.

use l05_core::plan::PlanDocument;
use l05_core::plan::{PlanBound, PlanEstimate, TaskBound, TaskEstimate};
use l05_core::resource::{EstimateMethod, EstimateRange};
use l05_core::schedule::makespan;
use l05_core::time::Timestamp;
use l05_run::amounts::Usage;
use l05_run::history::RunHistory;
use serde::Serialize;

/// The use of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct CostReport {
    /// From start to end, in seconds.
    pub seconds: CostFigure,
    /// Model tokens, in and out.
    pub tokens: CostFigure,
    /// US dollars.
    pub cost_usd: CostFigure,
    /// The method of the estimate.
    pub method: EstimateMethod,
    /// 0 to 1.
    pub confidence: f64,
    /// The goal's limits on these.
    pub limits: CostLimits,
    /// Each task.
    pub tasks: Vec<TaskCosts>,
    /// The use of its runs so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<RunUsage>,
}

/// One quantity: estimate and worst case.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CostFigure {
    /// A value that the truth will hardly be below.
    pub low: f64,
    /// The best guess.
    pub expected: f64,
    /// A value that the truth will hardly be above.
    pub high: f64,
    /// The largest value, as far as executors keep to their quotas ([`PlanBound`]).
    pub bound: f64,
}

/// The limits that a goal sets.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CostLimits {
    /// `max_execution_time_sec`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// `max_token_budget`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// `cost_limit_usd`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// One task's share.
#[derive(Debug, Clone, Serialize)]
pub struct TaskCosts {
    /// The task.
    pub task: String,
    /// Seconds of one successful attempt; the bound is over all attempts and waits.
    pub seconds: CostFigure,
    /// Model tokens.
    pub tokens: CostFigure,
    /// US dollars.
    pub cost_usd: CostFigure,
    /// The method of the estimate.
    pub method: EstimateMethod,
    /// Earlier runs behind it.
    pub history_runs: usize,
    /// The arithmetic of the bound.
    pub bound: TaskBound,
}

/// The use of a run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RunUsage {
    /// Model tokens.
    pub tokens: u64,
    /// US dollars.
    pub cost_usd: f64,
    /// From the start of the first run to the end of the last.
    pub seconds: f64,
    /// Attempts whose tokens were counted here, because their gateway reported none that can be right.
    #[serde(skip_serializing_if = "is_none")]
    pub counted_attempts: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives the field by reference")]
fn is_none(n: &u32) -> bool {
    *n == 0
}

/// The probable end of a running plan.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RunForecast {
    /// Seconds from now.
    pub remaining_seconds: f64,
    /// The point in time.
    pub finish_at: Timestamp,
}

impl CostReport {
    pub(crate) fn of(
        document: &PlanDocument,
        estimate: PlanEstimate,
        bound: PlanBound,
    ) -> CostReport {
        let constraints = &document.constraints;
        let tasks = estimate.tasks.into_iter().zip(bound.tasks);
        CostReport {
            seconds: figure(estimate.seconds, bound.seconds),
            tokens: figure(estimate.tokens, bound.tokens as f64),
            cost_usd: figure(estimate.cost_usd, bound.cost_usd),
            method: estimate.method,
            confidence: estimate.confidence,
            limits: CostLimits {
                seconds: constraints.max_execution_time_sec,
                tokens: constraints.max_token_budget,
                cost_usd: constraints.cost_limit_usd,
            },
            tasks: tasks.map(|(estimate, bound)| task_costs(estimate, bound)).collect(),
            actual: None,
        }
    }
}

fn figure(range: EstimateRange, bound: f64) -> CostFigure {
    let EstimateRange { low, expected, high } = range;
    CostFigure { low, expected, high, bound }
}

fn task_costs(estimate: TaskEstimate, bound: TaskBound) -> TaskCosts {
    TaskCosts {
        task: estimate.task,
        seconds: figure(estimate.seconds, bound.seconds()),
        tokens: figure(estimate.tokens, bound.tokens() as f64),
        cost_usd: figure(estimate.cost_usd, bound.cost_usd()),
        method: estimate.method,
        history_runs: estimate.runs,
        bound,
    }
}

/// The use of the runs, once there was one.
pub(crate) fn actual(history: &RunHistory) -> Option<RunUsage> {
    let started = history.started_at?;
    let Usage { tokens, cost_usd, .. } = history.run().spent();
    let counted_attempts = history.run().counted_attempts();
    let millis = history.completed_at.map_or(0, |end| end.millis_since(started));
    Some(RunUsage { tokens, cost_usd, seconds: millis as f64 / 1e3, counted_attempts })
}

/// The rest of a running plan, scheduled as the run does: what has ended takes no more time, what
/// runs takes the rest of its estimate.
pub(crate) fn forecast(history: &RunHistory, now: Timestamp) -> Option<RunForecast> {
    let run = history.run();
    let plan = run.plan();
    let estimate = plan.document().metadata.estimate.as_ref()?;
    if run.status() != l05_core::plan::PlanStatus::Executing {
        return None;
    }
    let left = |task| {
        if run.task_status(task).has_ended() {
            return 0.0;
        }
        let expected = estimate.tasks.get(task.at()).map_or(0.0, |e| e.seconds.expected);
        let running = history.attempts(task).last().filter(|a| a.completed_at.is_none());
        let elapsed = running.map_or(0.0, |a| now.millis_since(a.started_at) as f64 / 1e3);
        (expected - elapsed).max(0.0)
    };
    let seconds: Vec<f64> = plan.graph().indices().map(left).collect();
    let remaining = makespan(plan.graph(), &seconds, plan.document().parallelism());
    let finish_at = Timestamp(now.0 + (remaining * 1e3) as i64);
    Some(RunForecast { remaining_seconds: remaining, finish_at })
}
