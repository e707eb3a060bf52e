//! Level 2: types along references, and kinds along edges.
//!
//! Each edge that carries wrong data is one finding, however many of its references are wrong;
//! what cannot be decided is a warning that says why.

mod edges;
mod known;
mod whole;

use serde_json::{Map, Value, json};

use super::FindingList;
use crate::catalog::{Tool, ToolCatalog};
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::flow::{FlowVerdict, ValuePresence, compare, shown};
use crate::id::TaskIndex;
use crate::plan::{PlanDocument, PlanStructure};
use crate::reference::{
    InputBinding, PathStep, Reference, ReferencePath, ReferenceSource, TextPiece,
};
use crate::suggest::{did_you_mean, nearest};
use crate::task::Task;
pub(super) use known::ProducerPromises;
use known::{
    ConsumerSchema, ProducerSchema, asked, digest_of, field_of, flow, presence, text_flow,
};

pub(super) fn check(
    document: &PlanDocument,
    structure: &PlanStructure,
    catalog: &ToolCatalog,
    promises: &ProducerPromises,
    findings: &mut FindingList,
) {
    for i in 0..document.tasks.len() {
        let task = &document.tasks[i];
        let tool = task.tool.as_deref().map(|name| catalog.get(name));
        // An unknown tool is one finding: nothing else can be said of the call.
        let Some(tool) = tool.map_or(Some(None), |tool| tool.map(Some)) else { continue };
        let index = TaskIndex(i as u32);
        let mut call = CheckedCall {
            document,
            structure,
            catalog,
            promises,
            task,
            tool,
            index,
            bad: Vec::new(),
            branching: Vec::new(),
        };
        call.check_list(findings);
        call.check_inputs(findings);
        call.check_prompt();
        call.check_output_keys(findings);
        call.check_kinds();
        call.check_join(findings);
        call.report(findings);
    }
}

/// One task's view of what flows into it.
struct CheckedCall<'a> {
    document: &'a PlanDocument,
    structure: &'a PlanStructure,
    catalog: &'a ToolCatalog,
    promises: &'a ProducerPromises,
    task: &'a Task,
    tool: Option<&'a Tool>,
    index: TaskIndex,
    /// Values that do not fit, by producer.
    bad: Vec<BadValue>,
    /// References whose places lie behind branches of a consumer's schema.
    branching: Vec<BranchPaths>,
}

struct BranchPaths {
    /// The owner of the schema.
    consumer: String,
    from: TaskIndex,
    reference: String,
    field: String,
}

struct BadValue {
    from: TaskIndex,
    field: String,
    message: String,
    suggestion: String,
    details: Map<String, Value>,
    /// The references that carry it; a finding lists all of its edge.
    references: Vec<String>,
}

impl<'a> CheckedCall<'a> {
    fn consumers(&self) -> Vec<ConsumerSchema<'a>> {
        let mut consumers = Vec::new();
        if let Some(tool) = self.tool
            && let Some(schema) = &tool.spec.input_schema
        {
            let name = format!("`{}`", tool.spec.name);
            consumers.push(ConsumerSchema {
                schema,
                identity: tool.spec.name.as_str().into(),
                name,
            });
        }
        if let Some(schema) = &self.task.input_schema {
            let identity = digest_of(&schema.to_string()).into();
            consumers.push(ConsumerSchema {
                schema,
                identity,
                name: "the task's input_schema".to_owned(),
            });
        }
        consumers
    }

    fn producer(&self, from: TaskIndex) -> Option<ProducerSchema<'a>> {
        let task = &self.document.tasks[from.at()];
        let (schema, identity) = self.promises.schema(from, task, self.catalog)?;
        Some(ProducerSchema { schema, identity })
    }

    fn check_inputs(&mut self, findings: &mut FindingList) {
        let bindings = &self.structure.bindings(self.index).inputs;
        if bindings.iter().all(|(_, binding)| !binding.is_late()) {
            return;
        }
        let consumers = self.consumers();
        for (name, binding) in bindings {
            let mut place = vec![PathStep::Name(name.clone())];
            self.binding(binding, &mut place, &consumers, findings);
        }
        for consumer in &consumers {
            self.check_whole(consumer, findings);
        }
    }

    /// Checks that a fan-out runs over a list.
    fn check_list(&mut self, findings: &mut FindingList) {
        let Some(list) = &self.structure.bindings(self.index).list else { return };
        let schema = json!({ "type": "array" });
        let consumer = ConsumerSchema {
            schema: &schema,
            identity: "for_each".into(),
            name: "for_each".to_owned(),
        };
        let before = (self.bad.len(), findings.warnings.len());
        self.flows(list, &[], std::slice::from_ref(&consumer), findings);
        let field = "for_each.in";
        self.bad[before.0..].iter_mut().for_each(|bad| bad.field = field.to_owned());
        for warning in &mut findings.warnings[before.1..] {
            warning.field = Some(format!("tasks[{}].{field}", self.index.0));
        }
    }

    /// An item as a part of the list that it comes from; none where the list is the plan's own or
    /// its path selects.
    fn item_of_list(&self, item: &Reference) -> Option<Reference> {
        let list = self.structure.bindings(self.index).list.as_ref()?;
        let singular = matches!(
            (&list.path, &item.path),
            (ReferencePath::Singular(_), ReferencePath::Singular(_))
        );
        (singular && list.task().is_some())
            .then(|| Reference::parse(&format!("{list}[0]{}", item.path_text())).ok())?
    }

    fn binding(
        &mut self,
        binding: &InputBinding,
        place: &mut Vec<PathStep>,
        consumers: &[ConsumerSchema<'a>],
        findings: &mut FindingList,
    ) {
        match binding {
            InputBinding::Literal(_) | InputBinding::Secret(_) => {}
            InputBinding::Whole(reference) => self.whole(reference, place, consumers, findings),
            InputBinding::Text(pieces) => {
                for piece in pieces {
                    if let TextPiece::Reference(reference) = piece {
                        self.whole(reference, place, &[], findings);
                    }
                }
                self.text(pieces, place, consumers, findings);
            }
            InputBinding::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    place.push(PathStep::Index(i as i64));
                    self.binding(item, place, consumers, findings);
                    place.pop();
                }
                self.check_container(binding, place, consumers, findings);
            }
            InputBinding::Map(entries) => {
                for (key, entry) in entries {
                    place.push(PathStep::Name(key.clone()));
                    self.binding(entry, place, consumers, findings);
                    place.pop();
                }
                self.check_container(binding, place, consumers, findings);
            }
        }
    }

    /// A reference that stands for a value, at a place that consumers have a say about.
    fn whole(
        &mut self,
        reference: &Reference,
        place: &[PathStep],
        consumers: &[ConsumerSchema<'a>],
        findings: &mut FindingList,
    ) {
        if reference.source == ReferenceSource::Item {
            if let Some(part) = self.item_of_list(reference) {
                self.flows(&part, place, consumers, findings);
            }
            return;
        }
        self.flows(reference, place, consumers, findings);
    }

    fn flows(
        &mut self,
        reference: &Reference,
        place: &[PathStep],
        consumers: &[ConsumerSchema<'_>],
        findings: &mut FindingList,
    ) {
        let ReferenceSource::Output(id) = &reference.source else { return };
        let Some(from) = self.structure.index_of(id) else { return };
        let Some(producer) = self.producer(from) else {
            return self.unknown_producer(reference, from, place, consumers, findings);
        };
        let memo = self.catalog.flows();
        let field = field_of(place);
        let presence = presence(memo, &producer, reference);
        if let ValuePresence::Never { at, known } = &presence.presence {
            return self.never(from, reference, &field, at, known);
        }
        if presence.presence == ValuePresence::Sometimes && names_only(reference) {
            let message = format!(
                "`{reference}` may be missing: the output of `{id}` need not have it, and the task fails then"
            );
            findings.warnings.push(self.warning(&field, message, from));
        }
        for consumer in consumers {
            let flow = flow(memo, &producer, reference, consumer, place);
            if flow.branching {
                self.branching.push(BranchPaths {
                    consumer: consumer.identity.to_string(),
                    from,
                    reference: reference.to_string(),
                    field: field.clone(),
                });
            }
            self.judge(&flow.verdict, from, &reference.to_string(), &field, consumer, findings);
        }
    }

    fn judge(
        &mut self,
        verdict: &FlowVerdict,
        from: TaskIndex,
        what: &str,
        field: &str,
        consumer: &ConsumerSchema<'_>,
        findings: &mut FindingList,
    ) {
        let input = field.strip_prefix("inputs.").unwrap_or(field);
        match verdict {
            FlowVerdict::Fits => {}
            FlowVerdict::Misfit { witness, why } => {
                let message = format!(
                    "`{what}` can give {}, which {} does not take for `{input}`: {why}",
                    shown(witness),
                    consumer.name
                );
                let details = json!({ "witness": witness, "why": why });
                self.bad.push(BadValue {
                    from,
                    field: field.to_owned(),
                    message,
                    suggestion:
                        "pass another part, convert it by a task between, or promise less in the producer's own `output_schema`"
                            .to_owned(),
                    details: details.as_object().cloned().unwrap_or_default(),
                    references: vec![what.to_owned()],
                });
            }
            FlowVerdict::Undecided { why } => {
                let message = format!(
                    "whether `{what}` fits `{input}` of {} shows only when it runs: {why}",
                    consumer.name
                );
                findings.undecided += 1;
                findings.warnings.push(self.warning(field, message, from));
            }
        }
    }

    fn warning(&self, field: &str, message: String, from: TaskIndex) -> Finding {
        Finding::new(ErrorCode::TypeMismatch, ValidationLevel::Semantic, message)
            .task(&self.task.task_id)
            .field(format!("tasks[{}].{field}", self.index.0))
            .suggest("declare it in the producer's output schema, if it is promised")
            .detail("from", self.id(from))
            .detail("to", self.task.task_id.as_str())
    }

    fn id(&self, task: TaskIndex) -> &'a str {
        &self.document.tasks[task.at()].task_id
    }

    fn never(
        &mut self,
        from: TaskIndex,
        reference: &Reference,
        field: &str,
        at: &str,
        known: &[String],
    ) {
        let near = nearest(at, known.iter().map(String::as_str));
        let message = format!(
            "the output of `{}` never has `{at}` (in `{reference}`){}",
            self.id(from),
            did_you_mean(&near)
        );
        let suggestion = if known.is_empty() {
            "nothing lies below that place".to_owned()
        } else {
            format!("it has: {}", known.join(", "))
        };
        let shown: Vec<&str> =
            if near.is_empty() { known.iter().map(String::as_str).collect() } else { near };
        let details = json!({ "nearest": shown });
        let references = vec![reference.to_string()];
        let details = details.as_object().cloned().unwrap_or_default();
        let field = field.to_owned();
        self.bad.push(BadValue { from, field, message, suggestion, details, references });
    }

    /// The producer promises nothing: worth a word only where the consumer asks for something.
    fn unknown_producer(
        &mut self,
        reference: &Reference,
        from: TaskIndex,
        place: &[PathStep],
        consumers: &[ConsumerSchema<'_>],
        findings: &mut FindingList,
    ) {
        let known_tool = match &self.document.tasks[from.at()].tool {
            Some(tool) => self.catalog.get(tool).is_some(),
            None => true,
        };
        for consumer in consumers.iter().filter(|_| known_tool) {
            let why = format!("`{}` declares no output schema", self.id(from));
            let verdict = match asked(consumer, place) {
                Err(verdict) => verdict,
                Ok(asked) => match compare(&Value::Bool(true), &asked.schema, false) {
                    FlowVerdict::Fits => FlowVerdict::Fits,
                    FlowVerdict::Misfit { .. } | FlowVerdict::Undecided { .. } => {
                        FlowVerdict::Undecided { why }
                    }
                },
            };
            let field = field_of(place);
            self.judge(&verdict, from, &reference.to_string(), &field, consumer, findings);
        }
    }

    /// A text with references in it is a text, whatever they give.
    fn text(
        &mut self,
        pieces: &[TextPiece],
        place: &[PathStep],
        consumers: &[ConsumerSchema<'a>],
        findings: &mut FindingList,
    ) {
        let Some((from, first)) = pieces.iter().find_map(|piece| match piece {
            TextPiece::Reference(reference) => {
                Some((self.structure.index_of(reference.task()?)?, reference))
            }
            TextPiece::Text(_) => None,
        }) else {
            return;
        };
        let written = written(pieces);
        for consumer in consumers {
            let flow = text_flow(self.catalog.flows(), written, consumer, place);
            let what = format!("…${{{}}}…", first.to_string().trim_start_matches('$'));
            self.judge(&flow.verdict, from, &what, &field_of(place), consumer, findings);
        }
    }

    fn check_prompt(&mut self) {
        let Some(prompt) = &self.structure.bindings(self.index).prompt else { return };
        let mut references = Vec::new();
        prompt.for_each_reference(&mut |reference| references.push(reference));
        for reference in references {
            self.check_path(reference, "prompt");
        }
    }

    /// Only whether there can be anything at the path.
    fn check_path(&mut self, reference: &Reference, field: &str) {
        let part =
            (reference.source == ReferenceSource::Item).then(|| self.item_of_list(reference));
        let reference = part.as_ref().map_or(Some(reference), Option::as_ref);
        let Some((reference, ReferenceSource::Output(id))) = reference.map(|r| (r, &r.source))
        else {
            return;
        };
        let Some(from) = self.structure.index_of(id) else { return };
        let Some(producer) = self.producer(from) else { return };
        let flow = presence(self.catalog.flows(), &producer, reference);
        if let ValuePresence::Never { at, known } = &flow.presence {
            self.never(from, reference, field, at, known);
        }
    }
}

fn names_only(reference: &Reference) -> bool {
    match &reference.path {
        ReferencePath::Singular(steps) => {
            steps.iter().all(|step| matches!(step, PathStep::Name(_)))
        }
        ReferencePath::Query { .. } => false,
    }
}

/// Counts the characters of a text that stand in the plan.
fn written(pieces: &[TextPiece]) -> usize {
    let written = |piece: &TextPiece| match piece {
        TextPiece::Text(text) => text.chars().count(),
        TextPiece::Reference(_) => 0,
    };
    pieces.iter().map(written).sum()
}
