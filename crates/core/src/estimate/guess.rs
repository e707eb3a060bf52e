//! The estimate of a task from the plan alone, before anything is known of earlier runs.

use serde_json::Value;

use super::EstimateBasis;
use super::size::tokens_at;
use crate::catalog::ToolCatalog;
use crate::id::TaskIndex;
use crate::json_schema::SECONDS_KEYWORD;
use crate::plan::{PlanDocument, PlanStructure, TaskEstimate};
use crate::reference::{InputBinding, Reference, ReferenceSource, TextPiece};
use crate::resource::{EstimateMethod, EstimateRange};
use crate::task::{Task, TaskType, expected_seconds};

/// Probable tokens of an answer.
const ANSWER_TOKENS: f64 = 500.0;
/// Tokens of the instructions that stand before each prompt.
const INSTRUCTION_TOKENS: f64 = 20.0;
/// Probable tokens of a referenced text whose length its producer's schema leaves open.
const OPEN_TEXT_TOKENS: f64 = 200.0;

/// A plan and its tools, as estimates look at them.
#[derive(Clone, Copy)]
pub(super) struct PlanView<'p> {
    pub(super) document: &'p PlanDocument,
    pub(super) structure: &'p PlanStructure,
    pub(super) catalog: &'p ToolCatalog,
}

impl EstimateBasis {
    /// The figures of one task, by its type and what its author says.
    pub(super) fn guess(&self, plan: PlanView<'_>, index: TaskIndex) -> TaskEstimate {
        let task = &plan.document.tasks[index.at()];
        let said = task.resource_estimate.clone().unwrap_or_default();
        let tool = task.tool.as_deref().and_then(|name| plan.catalog.get(name));
        let stated = plan.stated_seconds(index);
        let seconds = match (task.expected_seconds, stated, said.execution_seconds) {
            (Some(seconds), _, _) => EstimateRange::around(seconds, 2.0),
            (None, Some(seconds), _) => EstimateRange::exactly(seconds),
            (None, None, Some(range)) => range,
            (None, None, None) => match tool.and_then(|tool| tool.spec.expected_seconds) {
                Some(seconds) => EstimateRange::around(seconds, 4.0),
                None => EstimateRange::around(expected_seconds(task), 10.0),
            },
        };
        let (tokens_in, tokens_out) = self.tokens(plan, index);
        let (tokens_in, tokens_out) =
            (said.tokens_in.unwrap_or(tokens_in), said.tokens_out.unwrap_or(tokens_out));
        let cost_usd = said.cost_usd.unwrap_or_else(|| {
            let price = self.price_of(task);
            let per_call = task.tool.as_deref().map_or(0.0, |tool| self.prices.tool(tool));
            tokens_in
                .times(price.input_usd_per_million / 1e6)
                .plus(tokens_out.times(price.output_usd_per_million / 1e6))
                .plus(EstimateRange::exactly(per_call))
        });
        let (cpu_cores, memory_mb) = size_by_type(task);
        TaskEstimate {
            task: task.task_id.clone(),
            seconds: seconds.rounded(),
            tokens: tokens_in.plus(tokens_out).rounded(),
            tokens_in: tokens_in.expected,
            cost_usd: cost_usd.rounded(),
            cpu_cores: said.cpu_cores.unwrap_or(cpu_cores),
            memory_mb: said.memory_mb.unwrap_or(memory_mb),
            method: EstimateMethod::Deterministic,
            runs: 0,
            items: plan.document.tasks[index.at()].for_each.as_ref().map_or(1, |_| {
                let list = plan.structure.bindings(index).list.as_ref();
                let known = list.and_then(|list| plan.document.known_list(list));
                known.map_or(1, |items| items.len() as u64)
            }),
        }
    }

    /// Tokens in and out; only models take any, unless the author says so.
    fn tokens(&self, plan: PlanView<'_>, index: TaskIndex) -> (EstimateRange, EstimateRange) {
        let task = &plan.document.tasks[index.at()];
        let bindings = plan.structure.bindings(index);
        let Some(prompt) = bindings.prompt.as_ref().filter(|_| task.task_type == TaskType::LlmCall)
        else {
            return (EstimateRange::exactly(0.0), EstimateRange::exactly(0.0));
        };
        let quota = task.resource_quota.clone().unwrap_or_default();
        let most = self.tokens_per_task_max as f64;
        let most_in = quota.tokens_in.map_or(most / 2.0, |quota| quota as f64);
        let most_out = quota.tokens_out.map_or(most / 2.0, |quota| quota as f64);
        let told = self.told(plan, prompt);
        let data = bindings.inputs.iter().map(|(_, binding)| self.told(plan, binding));
        let told = data.fold(told, EstimateRange::plus);
        let input = told.plus(EstimateRange::exactly(INSTRUCTION_TOKENS));
        let input = EstimateRange {
            high: if input.high.is_finite() { input.high } else { input.expected.max(most_in) },
            ..input
        };
        let output = EstimateRange {
            low: (ANSWER_TOKENS / 10.0).min(most_out),
            expected: ANSWER_TOKENS.min(most_out),
            high: most_out,
        };
        (input, output)
    }

    /// Tokens of a value with references in it, as a prompt shows it.
    fn told(&self, plan: PlanView<'_>, binding: &InputBinding) -> EstimateRange {
        let text = |text: &str| EstimateRange::exactly((self.count_tokens)(text) as f64);
        match binding {
            InputBinding::Literal(Value::String(words)) => text(words),
            InputBinding::Literal(value) => text(&value.to_string()),
            InputBinding::Secret(_) => EstimateRange::exactly(0.0),
            InputBinding::Whole(reference) => self.referenced(plan, reference),
            InputBinding::Text(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    TextPiece::Text(words) => text(words),
                    TextPiece::Reference(reference) => self.referenced(plan, reference),
                })
                .fold(EstimateRange::exactly(0.0), EstimateRange::plus),
            InputBinding::List(items) => {
                let items = items.iter().map(|item| self.told(plan, item));
                items.fold(EstimateRange::exactly(0.0), EstimateRange::plus)
            }
            InputBinding::Map(entries) => {
                let entries = entries.iter().map(|(_, value)| self.told(plan, value));
                entries.fold(EstimateRange::exactly(0.0), EstimateRange::plus)
            }
        }
    }

    /// The plan's own inputs are counted; of an output its producer's schema says how long it may be.
    fn referenced(&self, plan: PlanView<'_>, reference: &Reference) -> EstimateRange {
        let open = EstimateRange { low: 1.0, expected: OPEN_TEXT_TOKENS, high: f64::INFINITY };
        let small = EstimateRange { low: 1.0, expected: 2.0, high: 8.0 };
        match &reference.source {
            ReferenceSource::Inputs => {
                let inputs = Value::Object(plan.document.inputs.clone());
                let Ok(value) = reference.resolve(&inputs) else { return open };
                self.told(plan, &InputBinding::Literal(value))
            }
            ReferenceSource::Output(task) => {
                let schema = plan.output_schema(task);
                schema.and_then(|schema| tokens_at(schema, reference)).unwrap_or(open)
            }
            ReferenceSource::Index => small,
            ReferenceSource::Error(_) | ReferenceSource::Item => open,
        }
    }
}

impl PlanView<'_> {
    /// The duration that an input of the call determines ([`SECONDS_KEYWORD`]), where its value stands
    /// in the plan.
    pub(super) fn stated_seconds(&self, index: TaskIndex) -> Option<f64> {
        let task = &self.document.tasks[index.at()];
        let tool = self.catalog.get(task.tool.as_deref()?)?;
        let properties = tool.spec.input_schema.as_ref()?.get("properties")?.as_object()?;
        let determines = |schema: &Value| schema.get(SECONDS_KEYWORD) == Some(&Value::Bool(true));
        let (name, _) = properties.iter().find(|(_, schema)| determines(schema))?;
        let bindings = self.structure.bindings(index);
        let (_, binding) = bindings.inputs.iter().find(|(input, _)| input == name)?;
        let value = match binding {
            InputBinding::Literal(value) => value.clone(),
            InputBinding::Whole(reference) if reference.source == ReferenceSource::Inputs => {
                reference.resolve(&Value::Object(self.document.inputs.clone())).ok()?
            }
            _ => return None,
        };
        value.as_f64().filter(|seconds| *seconds >= 0.0)
    }

    /// The schema of a task's output: its own, else its tool's.
    fn output_schema(&self, task_id: &str) -> Option<&Value> {
        let task = &self.document.tasks[self.structure.index_of(task_id)?.at()];
        let tool = || self.catalog.get(task.tool.as_deref()?)?.spec.output_schema.as_ref();
        task.output_schema.as_ref().or_else(tool)
    }
}

/// Cores and megabytes by type: a tool has a thread and its data, a model call waits for somebody else's
/// machine, an agent is a process of its own. The guesses compare plans; they promise nothing.
fn size_by_type(task: &Task) -> (EstimateRange, EstimateRange) {
    let (cores, memory_mb) = match task.task_type {
        TaskType::ToolCall => (0.5, 64.0),
        TaskType::LlmCall => (0.1, 16.0),
        TaskType::Atomic | TaskType::Compound => (1.0, 256.0),
    };
    (EstimateRange::around(cores, 2.0), EstimateRange::around(memory_mb, 4.0))
}
