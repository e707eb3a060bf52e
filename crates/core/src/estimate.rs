//! What a plan will take: per task by type, then by what earlier runs took (spec 02, 2.7).
//!
//! Called by validation, which compares the sums with the goal's constraints, and by `cost` and
//! `explain`, which show them. Beside the estimate stands the [bound](crate::plan::PlanBound): what the plan can take at
//! worst.

mod bound;
mod experience;
mod prices;

#[cfg(test)]
mod tests;

pub use experience::{ObservedFigures, RunExperience, RunObservation};
pub use prices::{ModelPrice, PriceTable};

use crate::catalog::ToolCatalog;
use crate::graph::DependencyGraph;
use crate::plan::{PlanDocument, PlanEstimate, TaskEstimate};
use crate::resource::{EstimateMethod, EstimateRange, rounded};
use crate::schedule::makespan;
use crate::task::{Task, TaskType, expected_seconds};

/// The source of estimates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostModel {
    /// The task alone.
    Deterministic,
    /// Earlier runs alone, once there are enough.
    Historical,
    /// Both, and earlier runs the more the more there are.
    Hybrid,
}

/// Figures that estimates are made from, beside the plan itself.
#[derive(Clone, Debug)]
pub struct EstimateBasis {
    /// Prices of models and tools.
    pub prices: PriceTable,
    /// Measurements of earlier runs.
    pub experience: RunExperience,
    /// The source that counts.
    pub model: CostModel,
    /// Runs of a tool before its history counts.
    pub observations_min: usize,
    /// Tokens that one call of a model may take, in and out, where the task sets no quota.
    pub tokens_per_task_max: u64,
    /// Counts the tokens of a text.
    pub count_tokens: fn(&str) -> u64,
}

impl Default for EstimateBasis {
    fn default() -> EstimateBasis {
        EstimateBasis {
            prices: PriceTable::default(),
            experience: RunExperience::default(),
            model: CostModel::Hybrid,
            observations_min: 5,
            tokens_per_task_max: 10_000,
            count_tokens: approximate_tokens,
        }
    }
}

/// Four characters of English are about a token (OpenAI's rule of thumb); of other scripts, one.
pub fn approximate_tokens(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    let other = text.chars().filter(|c| !c.is_ascii()).count() as u64;
    ascii.div_ceil(4) + other
}

impl EstimateBasis {
    /// The figures of a whole plan.
    pub fn estimate(
        &self,
        document: &PlanDocument,
        graph: &DependencyGraph,
        catalog: &ToolCatalog,
    ) -> PlanEstimate {
        let template = document.metadata.template_id.as_deref();
        let tasks: Vec<TaskEstimate> =
            document.tasks.iter().map(|task| self.task(task, template, catalog)).collect();
        let parallelism = document.parallelism();
        let of = |pick: fn(&EstimateRange) -> f64| {
            let seconds: Vec<f64> = tasks.iter().map(|task| pick(&task.seconds)).collect();
            rounded(makespan(graph, &seconds, parallelism))
        };
        let expected: Vec<f64> = tasks.iter().map(|task| task.seconds.expected).collect();
        let path = graph.critical_path(&expected);
        let sum = |pick: fn(&TaskEstimate) -> EstimateRange| {
            let sum =
                |part: fn(&EstimateRange) -> f64| tasks.iter().map(|task| part(&pick(task))).sum();
            EstimateRange {
                low: sum(|r| r.low),
                expected: sum(|r| r.expected),
                high: sum(|r| r.high),
            }
            .rounded()
        };
        PlanEstimate {
            seconds: EstimateRange {
                low: of(|r| r.low),
                expected: of(|r| r.expected),
                high: of(|r| r.high),
            },
            critical_path_seconds: rounded(path.iter().map(|task| expected[task.at()]).sum()),
            tokens: sum(|task| task.tokens),
            cost_usd: sum(|task| task.cost_usd),
            method: overall_method(&tasks),
            confidence: confidence(document, &tasks, self.observations_min),
            tasks,
        }
    }

    fn task(&self, task: &Task, template: Option<&str>, catalog: &ToolCatalog) -> TaskEstimate {
        let guess = self.guess(task, catalog);
        let specific = template.and_then(|template| {
            self.experience.observed(&RunExperience::template_key(template, &task.task_id))
        });
        // What the author says of this task is worth more than what its tool took elsewhere.
        let by_tool = || match (task.expected_seconds, &task.tool) {
            (None, Some(tool)) => self.experience.observed(tool),
            _ => None,
        };
        let enough = |observed: &ObservedFigures| observed.runs >= self.observations_min;
        let known = specific.filter(enough).or_else(|| by_tool().filter(enough));
        match (known, self.model) {
            (None, _) | (_, CostModel::Deterministic) => guess,
            (Some(known), CostModel::Historical) => blended(&guess, &known, 0.0),
            (Some(known), CostModel::Hybrid) => {
                blended(&guess, &known, guess_weight(known.runs, self.observations_min))
            }
        }
    }

    /// Before anything is known of earlier runs.
    fn guess(&self, task: &Task, catalog: &ToolCatalog) -> TaskEstimate {
        let said = task.resource_estimate.clone().unwrap_or_default();
        let tool = task.tool.as_deref().and_then(|name| catalog.get(name));
        let seconds = match (task.expected_seconds, said.execution_seconds) {
            (Some(seconds), _) => EstimateRange::around(seconds, 2.0),
            (None, Some(range)) => range,
            (None, None) => match tool.and_then(|tool| tool.spec.expected_seconds) {
                Some(seconds) => EstimateRange::around(seconds, 4.0),
                None => EstimateRange::around(expected_seconds(task), 10.0),
            },
        };
        let (tokens_in, tokens_out) = self.tokens(task, said.tokens_in, said.tokens_out);
        let cost_usd = said.cost_usd.unwrap_or_else(|| {
            let price = self.prices.model(task.model());
            let per_call = task.tool.as_deref().map_or(0.0, |tool| self.prices.tool(tool));
            tokens_in
                .times(price.input_usd_per_million / 1e6)
                .plus(tokens_out.times(price.output_usd_per_million / 1e6))
                .plus(EstimateRange::exactly(per_call))
        });
        TaskEstimate {
            task: task.task_id.clone(),
            seconds: seconds.rounded(),
            tokens: tokens_in.plus(tokens_out).rounded(),
            tokens_in: tokens_in.expected,
            cost_usd: cost_usd.rounded(),
            method: EstimateMethod::Deterministic,
            runs: 0,
        }
    }

    /// Tokens in and out; only models take any, unless the author says so.
    fn tokens(
        &self,
        task: &Task,
        said_in: Option<EstimateRange>,
        said_out: Option<EstimateRange>,
    ) -> (EstimateRange, EstimateRange) {
        /// Probable tokens of a reference in a prompt, and of an answer.
        const REFERENCE_TOKENS: u64 = 200;
        const ANSWER_TOKENS: f64 = 500.0;
        let zero = EstimateRange::exactly(0.0);
        let Some(prompt) = task.prompt.as_deref().filter(|_| task.task_type == TaskType::LlmCall)
        else {
            return (said_in.unwrap_or(zero), said_out.unwrap_or(zero));
        };
        let most = self.tokens_per_task_max as f64;
        let written = (self.count_tokens)(prompt) as f64;
        let references = prompt.matches("$[").count() + prompt.matches("${[").count();
        let expected = written + (references as u64 * REFERENCE_TOKENS) as f64;
        let input = EstimateRange { low: written, expected, high: expected.max(most / 2.0) };
        let output =
            EstimateRange { low: ANSWER_TOKENS / 10.0, expected: ANSWER_TOKENS, high: most / 2.0 };
        (said_in.unwrap_or(input), said_out.unwrap_or(output))
    }
}

/// The weight that the guess still has: half at the least number of runs, nothing at four times
/// that.
fn guess_weight(runs: usize, runs_min: usize) -> f64 {
    let (runs, least) = (runs as f64, runs_min.max(1) as f64);
    (0.5 * (4.0 * least - runs) / (3.0 * least)).clamp(0.0, 0.5)
}

fn blended(guess: &TaskEstimate, known: &ObservedFigures, guess_weight: f64) -> TaskEstimate {
    let blend = |guess: EstimateRange, known: EstimateRange| {
        guess.times(guess_weight).plus(known.times(1.0 - guess_weight)).rounded()
    };
    // A tool that has never reported tokens or costs has not told that they are nothing.
    let told = |guess: EstimateRange, known: EstimateRange| {
        if known.is_zero() { guess } else { blend(guess, known) }
    };
    let tokens = told(guess.tokens, known.tokens);
    let share_in = guess.tokens_in / guess.tokens.expected.max(1.0);
    TaskEstimate {
        task: guess.task.clone(),
        seconds: blend(guess.seconds, known.seconds),
        tokens_in: tokens.expected * share_in.min(1.0),
        tokens,
        cost_usd: told(guess.cost_usd, known.cost_usd),
        method: if guess_weight > 0.0 {
            EstimateMethod::Hybrid
        } else {
            EstimateMethod::Historical
        },
        runs: known.runs,
    }
}

fn overall_method(tasks: &[TaskEstimate]) -> EstimateMethod {
    let count = |method| tasks.iter().filter(|task| task.method == method).count();
    if count(EstimateMethod::Deterministic) == tasks.len() {
        EstimateMethod::Deterministic
    } else if count(EstimateMethod::Historical) == tasks.len() {
        EstimateMethod::Historical
    } else {
        EstimateMethod::Hybrid
    }
}

/// Each task's time counts by how it is known: 0.5 for a guess (`confidence_interval_initial`), 0.7
/// for the author's word, up to 0.95 for earlier runs.
fn confidence(document: &PlanDocument, tasks: &[TaskEstimate], runs_min: usize) -> f64 {
    let total: f64 = tasks.iter().map(|task| task.seconds.expected).sum();
    if total <= 0.0 {
        return 0.5;
    }
    let known = |(task, figures): (&Task, &TaskEstimate)| {
        let share = match (figures.runs, task.expected_seconds) {
            (0, None) => 0.5,
            (0, Some(_)) => 0.7,
            (runs, _) => 0.95 - 0.3 * guess_weight(runs, runs_min),
        };
        share * figures.seconds.expected
    };
    rounded(document.tasks.iter().zip(tasks).map(known).sum::<f64>() / total)
}
