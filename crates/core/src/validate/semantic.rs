//! Level 2: tools, inputs against their schemas, and what references may find.

use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};
use std::convert::Infallible;

use super::dataflow::ProducerPromises;
use super::{AskedEvaluations, FindingList, conditions, dataflow, near_references};
use crate::catalog::{Tool, ToolCatalog};
use crate::document::reader::kind;
use crate::error::ErrorCode;
use crate::evaluation::{Evaluation, EvaluationAnswer};
use crate::finding::{Finding, ValidationLevel};
use crate::id::TaskIndex;
use crate::json_schema::{LITERAL_KEYWORD, compile_schema, is_small_check};
use crate::plan::{PlanDocument, PlanStructure};
use crate::reference::{InputBinding, PathStep, Reference, ReferencePath, ReferenceSource};
use crate::suggest::{did_you_mean, nearest};
use crate::task::{Task, TaskType};

/// The most messages that one task's inputs may give; a hostile value could break thousands of
/// rules.
const INPUT_FINDINGS_MAX: usize = 20;

pub(super) fn check(
    document: &PlanDocument,
    structure: &PlanStructure,
    catalog: &ToolCatalog,
    asked: &AskedEvaluations<'_>,
    findings: &mut FindingList,
) {
    let errors = &mut findings.errors;
    let plan_inputs = Value::Object(document.inputs.clone());
    for (i, task) in document.tasks.iter().enumerate() {
        let tool = match tool_of(task, i, catalog) {
            Ok(tool) => tool,
            Err(finding) => {
                // An unknown tool is one finding: nothing else can be said of the call.
                errors.push(*finding);
                continue;
            }
        };
        let index = TaskIndex(i as u32);
        let call =
            ToolCallCheck { document, structure, plan_inputs: &plan_inputs, task, index, asked };
        if let Some(tool) = tool {
            call.check_inputs(tool, errors);
        }
        call.check_own_schema(errors);
        call.check_references(errors);
    }
    let promises = ProducerPromises::of(&document.tasks, catalog);
    dataflow::check(document, structure, catalog, &promises, findings);
    conditions::check(document, structure, catalog, &promises, asked, findings);
    near_references::check(document, structure, catalog, &mut findings.warnings);
}

/// True if an error is about which inputs there are, not about what they are.
fn is_structural(kind: &ValidationErrorKind) -> bool {
    matches!(
        kind,
        ValidationErrorKind::Required { .. }
            | ValidationErrorKind::AdditionalProperties { .. }
            | ValidationErrorKind::FalseSchema
            | ValidationErrorKind::UnevaluatedProperties { .. }
    )
}

fn tool_of<'c>(
    task: &Task,
    i: usize,
    catalog: &'c ToolCatalog,
) -> Result<Option<&'c Tool>, Box<Finding>> {
    let (TaskType::ToolCall, Some(name)) = (task.task_type, &task.tool) else { return Ok(None) };
    if let Some(tool) = catalog.get(name) {
        return Ok(Some(tool));
    }
    let near = nearest(name, catalog.names());
    let message = format!("there is no tool `{name}`{}", did_you_mean(&near));
    Err(Box::new(
        Finding::new(ErrorCode::ToolUnknown, ValidationLevel::Semantic, message)
            .task(&task.task_id)
            .field(format!("tasks[{i}].tool"))
            .suggest("`l05 tools list` shows the tools there are")
            .detail("tool", name.as_str())
            .detail("nearest", near),
    ))
}

struct ToolCallCheck<'a> {
    document: &'a PlanDocument,
    structure: &'a PlanStructure,
    plan_inputs: &'a Value,
    task: &'a Task,
    index: TaskIndex,
    asked: &'a AskedEvaluations<'a>,
}

impl ToolCallCheck<'_> {
    fn finding(&self, code: ErrorCode, field: &str, message: String) -> Finding {
        Finding::new(code, ValidationLevel::Semantic, message)
            .task(&self.task.task_id)
            .field(format!("tasks[{}].{field}", self.index.0))
    }

    /// The bound inputs against the tool's schema. A reference stands for a value that is not
    /// known yet: what the schema says of that place is left to the data-flow check.
    fn check_inputs(&self, tool: &Tool, errors: &mut Vec<Finding>) {
        self.check_literals(tool, errors);
        let Some(validator) = &tool.inputs else { return };
        let bindings = &self.structure.bindings(self.index).inputs;
        // Most calls are right: that is asked first, with values that fit in the places of those
        // that are not known, because listing errors costs far more than finding none.
        if validator.is_valid(&self.known_inputs(bindings, Some(tool))) {
            return;
        }
        let instance = self.known_inputs(bindings, None);
        for error in validator.iter_errors(&instance).take(INPUT_FINDINGS_MAX) {
            let pointer = error.instance_path().to_string();
            if !is_structural(error.kind()) && holds_reference(bindings, &pointer) {
                continue;
            }
            errors.push(self.input_finding(tool, &pointer, &error));
        }
    }

    /// Checks the inputs against what the task itself says of them.
    fn check_own_schema(&self, errors: &mut Vec<Finding>) {
        let Some(schema) = self.task.input_schema.as_ref() else { return };
        // One that does not compile is the syntax level's finding.
        let Ok(validator) = compile_schema(schema) else { return };
        let bindings = &self.structure.bindings(self.index).inputs;
        let instance = self.known_inputs(bindings, None);
        if !is_small_check(schema, instance.to_string().len()) {
            self.check_large_schema(schema, instance, errors);
            return;
        }
        for error in validator.iter_errors(&instance).take(INPUT_FINDINGS_MAX) {
            let pointer = error.instance_path().to_string();
            if !is_structural(error.kind()) && holds_reference(bindings, &pointer) {
                continue;
            }
            let field = format!("inputs{}", pointer.replace('/', "."));
            let message = format!("the task's input_schema refuses this input: {error}");
            errors.push(self.finding(ErrorCode::TypeMismatch, &field, message));
        }
    }

    /// The same, of a schema that may look at the inputs in very many ways.
    fn check_large_schema(&self, schema: &Value, value: Value, errors: &mut Vec<Finding>) {
        let told = match self.asked.ask(Evaluation::Schema { schema: schema.clone(), value }) {
            Some(Ok(EvaluationAnswer::Problem(Some(problem)))) => {
                format!("refuses the input at {problem}")
            }
            Some(Err(failure)) => format!("is refused: {failure}"),
            Some(Ok(_)) | None => return,
        };
        let message = format!("the task's input_schema {told}");
        errors.push(self.finding(ErrorCode::TypeMismatch, "input_schema", message));
    }

    /// The inputs as far as they are known: the plan's own inputs stand in their places. What comes
    /// from other tasks stands as it is written, or as a value that the tool takes there.
    fn known_inputs(&self, bindings: &[(String, InputBinding)], tool: Option<&Tool>) -> Value {
        let mut lookup = |reference: &Reference| -> Result<Value, Infallible> {
            let known = match reference.source {
                ReferenceSource::Inputs => self.plan_input(reference),
                ReferenceSource::Output(_)
                | ReferenceSource::Error(_)
                | ReferenceSource::Item
                | ReferenceSource::Index => None,
            };
            Ok(known.unwrap_or_else(|| Value::String(reference.to_string())))
        };
        let mut inputs = Map::new();
        for (name, binding) in bindings {
            let fitting = match binding {
                InputBinding::Whole(reference) if reference.source != ReferenceSource::Inputs => {
                    tool.and_then(|tool| tool.stand_in(name)).cloned()
                }
                _ => None,
            };
            let value = fitting.unwrap_or_else(|| {
                let Ok(value) = binding.resolve(&mut lookup);
                value
            });
            inputs.insert(name.clone(), value);
        }
        Value::Object(inputs)
    }

    /// The value of a reference to the plan's inputs; none where there is none, or its evaluation is asked for.
    fn plan_input(&self, reference: &Reference) -> Option<Value> {
        if reference.is_small() {
            return reference.resolve(self.plan_inputs).ok();
        }
        match self.asked.ask(Evaluation::query(reference, self.plan_inputs)) {
            Some(Ok(EvaluationAnswer::Matches(found))) => Some(Value::Array(found)),
            _ => None,
        }
    }

    fn input_finding(
        &self,
        tool: &Tool,
        pointer: &str,
        error: &jsonschema::ValidationError<'_>,
    ) -> Finding {
        let name = &tool.spec.name;
        let field = format!("inputs{}", pointer.replace('/', "."));
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let missing = property.as_str().unwrap_or_default();
                let message = format!("tool `{name}` needs the input `{missing}`");
                self.finding(ErrorCode::InputMissing, &format!("{field}.{missing}"), message)
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = properties(tool.spec.input_schema.as_ref());
                let unknown = unexpected.join("`, `");
                let near = unexpected
                    .first()
                    .map(|u| nearest(u, known.iter().copied()))
                    .unwrap_or_default();
                let message =
                    format!("tool `{name}` has no input `{unknown}`{}", did_you_mean(&near));
                self.finding(ErrorCode::TypeMismatch, &field, message)
                    .suggest(format!("its inputs are: {}", known.join(", ")))
            }
            _ => {
                let message = format!("tool `{name}` refuses this input: {error}");
                self.finding(ErrorCode::TypeMismatch, &field, message)
            }
        }
    }

    /// Inputs that are programs must stand in the plan as they are.
    fn check_literals(&self, tool: &Tool, errors: &mut Vec<Finding>) {
        for (name, binding) in &self.structure.bindings(self.index).inputs {
            let schema = property(tool.spec.input_schema.as_ref(), name);
            let literal = schema.and_then(|s| s.get(LITERAL_KEYWORD)) == Some(&Value::Bool(true));
            if literal && !binding.is_literal() {
                let message = format!(
                    "`{name}` of `{}` must be written out: a reference in it would be run as code",
                    tool.spec.name
                );
                errors.push(
                    self.finding(ErrorCode::TypeMismatch, &format!("inputs.{name}"), message)
                        .suggest("pass the value as data, through another input of the tool"),
                );
            }
        }
    }

    fn check_references(&self, errors: &mut Vec<Finding>) {
        let bindings = self.structure.bindings(self.index);
        for (name, binding) in &bindings.inputs {
            binding.for_each_reference(&mut |reference| {
                errors.extend(self.reference_finding(&format!("inputs.{name}"), reference));
            });
        }
        if let Some(prompt) = &bindings.prompt {
            prompt.for_each_reference(&mut |reference| {
                errors.extend(self.reference_finding("prompt", reference));
            });
        }
        if let Some(list) = &bindings.list {
            errors.extend(self.list_finding(list));
        }
    }

    /// A list among the plan's own inputs is known: it must be one, and not too long.
    fn list_finding(&self, list: &Reference) -> Option<Finding> {
        const FIELD: &str = "for_each.in";
        if list.source != ReferenceSource::Inputs {
            return None;
        }
        if let Some(finding) = self.plan_input_finding(FIELD, list) {
            return Some(finding);
        }
        let value = match list.resolve(self.plan_inputs) {
            Ok(value) => value,
            Err(error) => {
                return Some(self.finding(
                    ErrorCode::ReferenceUnresolved,
                    FIELD,
                    error.to_string(),
                ));
            }
        };
        let Some(items) = value.as_array() else {
            let message = format!("`{list}` is {}, not a list", kind(&value));
            return Some(self.finding(ErrorCode::TypeMismatch, FIELD, message));
        };
        let most = self.task.for_each.as_ref()?.max_items;
        (items.len() as u64 > most).then(|| {
            let message = format!("`{list}` has {} items, and max_items is {most}", items.len());
            self.finding(ErrorCode::QuotaExceeded, FIELD, message)
                .suggest("raise max_items, or shorten the list")
        })
    }

    fn reference_finding(&self, field: &str, reference: &Reference) -> Option<Finding> {
        match &reference.source {
            ReferenceSource::Inputs => self.plan_input_finding(field, reference),
            // What an output holds is the data-flow check's question.
            ReferenceSource::Output(_) => None,
            ReferenceSource::Error(id) => {
                let producer = self.structure.index_of(id)?;
                let allowed = self.document.tasks[producer.at()].allow_failure;
                (!allowed).then(|| {
                    let message =
                        format!("`{reference}` is only there when `{id}` has allow_failure");
                    self.finding(ErrorCode::TypeMismatch, field, message)
                })
            }
            ReferenceSource::Item | ReferenceSource::Index if self.task.for_each.is_some() => None,
            ReferenceSource::Item | ReferenceSource::Index => {
                let message = format!("`{reference}` only means something inside a for_each");
                Some(self.finding(ErrorCode::PlanMalformed, field, message))
            }
        }
    }

    fn plan_input_finding(&self, field: &str, reference: &Reference) -> Option<Finding> {
        let ReferencePath::Singular(steps) = &reference.path else { return None };
        let Some(PathStep::Name(name)) = steps.first() else { return None };
        if self.document.inputs.contains_key(name) {
            return None;
        }
        let near = nearest(name, self.document.inputs.keys().map(String::as_str));
        let message = format!("the plan has no input `{name}`{}", did_you_mean(&near));
        Some(
            self.finding(ErrorCode::InputMissing, field, message)
                .suggest(format!("add `{name}` under `inputs:`, or give --input {name}=…")),
        )
    }
}

/// The schema of one property, where it is declared.
fn property<'s>(schema: Option<&'s Value>, name: &str) -> Option<&'s Value> {
    schema?.get("properties")?.get(name)
}

fn properties(schema: Option<&Value>) -> Vec<&str> {
    let properties = schema.and_then(|s| s.get("properties")).and_then(Value::as_object);
    properties.map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// True if the value at a JSON pointer is, holds or lies inside something that is bound late.
fn holds_reference(inputs: &[(String, InputBinding)], pointer: &str) -> bool {
    let mut parts = pointer.split('/').skip(1);
    let Some(name) = parts.next() else {
        return inputs.iter().any(|(_, binding)| binding.is_late());
    };
    let Some((_, first)) = inputs.iter().find(|(key, _)| key == name) else { return false };
    let mut at: &InputBinding = first;
    for part in parts {
        at = match at {
            InputBinding::List(items) => {
                match part.parse::<usize>().ok().and_then(|i| items.get(i)) {
                    Some(item) => item,
                    None => return true,
                }
            }
            InputBinding::Map(entries) => match entries.iter().find(|(key, _)| key == part) {
                Some((_, entry)) => entry,
                None => return true,
            },
            InputBinding::Literal(_) => return false,
            InputBinding::Whole(_) | InputBinding::Text(_) | InputBinding::Secret(_) => {
                return at.is_late();
            }
        };
    }
    at.is_late()
}
