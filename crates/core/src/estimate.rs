//! What a plan will take: per task by type, then by what earlier runs took (spec 02, 2.7).
//!
//! Called by validation, which compares the sums with the goal's constraints, and by `cost` and
//! `explain`, which show them. Beside the estimate stands the [bound](crate::plan::PlanBound): what the plan can take at
//! worst.

mod bound;
mod experience;
mod guess;
mod prices;
mod size;

#[cfg(test)]
mod tests;

pub use crate::resource::ModelPrice;
pub use experience::{ObservedFigures, RunExperience, RunObservation};
pub use prices::PriceTable;

use crate::catalog::ToolCatalog;
use crate::id::TaskIndex;
use crate::plan::{PlanDocument, PlanEstimate, PlanStructure, TaskEstimate};
use crate::resource::{EstimateMethod, EstimateRange, rounded};
use crate::schedule::makespan;
use crate::task::Task;
use guess::PlanView;

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

/// Counts the tokens of a text.
pub type TokenCounter = fn(&str) -> u64;

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
    /// The model that answers where a task asks for none; its price is that of such a task.
    pub default_model: Option<String>,
    /// Counts the tokens of a text, well enough for an estimate.
    pub count_tokens: TokenCounter,
    /// Counts as one model does, by its name: never less than it. None: its tokenizer is not known.
    pub tokenizer_of: fn(&str) -> Option<TokenCounter>,
}

impl Default for EstimateBasis {
    fn default() -> EstimateBasis {
        EstimateBasis {
            prices: PriceTable::default(),
            experience: RunExperience::default(),
            model: CostModel::Hybrid,
            observations_min: 5,
            tokens_per_task_max: 10_000,
            default_model: None,
            count_tokens: approximate_tokens,
            tokenizer_of: |_| None,
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
        structure: &PlanStructure,
        catalog: &ToolCatalog,
    ) -> PlanEstimate {
        let graph = structure.graph();
        let plan = PlanView { document, structure, catalog };
        let tasks: Vec<TaskEstimate> = graph.indices().map(|task| self.task(plan, task)).collect();
        let parallelism = document.parallelism();
        let of = |pick: fn(&EstimateRange) -> f64| {
            let seconds: Vec<f64> =
                tasks.iter().map(|task| pick(&task.seconds_of_all(parallelism))).collect();
            rounded(makespan(graph, &seconds, parallelism))
        };
        let expected: Vec<f64> =
            tasks.iter().map(|task| task.seconds_of_all(parallelism).expected).collect();
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
            tokens: sum(TaskEstimate::tokens_of_all),
            cost_usd: sum(TaskEstimate::cost_of_all),
            method: overall_method(&tasks),
            confidence: confidence(document, &tasks, self.observations_min),
            tasks,
        }
    }

    fn task(&self, plan: PlanView<'_>, index: TaskIndex) -> TaskEstimate {
        let guess = self.guess(plan, index);
        let task = &plan.document.tasks[index.at()];
        if task.expected_seconds.is_none() && plan.stated_seconds(index).is_some() {
            return guess;
        }
        let template = plan.document.metadata.template_id.as_deref();
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

    /// The price of a task's tokens: that of the model it asks for, else of the one that is configured.
    fn price_of(&self, task: &Task) -> ModelPrice {
        self.prices.model(task.model().or(self.default_model.as_deref()))
    }
}

/// The duration of a task that an input of its call determines, where its value stands in the plan.
pub(crate) fn stated_seconds(
    document: &PlanDocument,
    structure: &PlanStructure,
    catalog: &ToolCatalog,
    task: TaskIndex,
) -> Option<f64> {
    PlanView { document, structure, catalog }.stated_seconds(task)
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
        cpu_cores: guess.cpu_cores,
        memory_mb: guess.memory_mb,
        method: if guess_weight > 0.0 {
            EstimateMethod::Hybrid
        } else {
            EstimateMethod::Historical
        },
        runs: known.runs,
        items: guess.items,
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
