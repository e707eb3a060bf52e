//! All inputs of a task at once, for consumers whose schema has branches.

use serde_json::{Map, Value, json};

use super::known::{
    ConsumerSchema, asked, container_flow, field_of, projected, text_schema, whole_flow,
};
use super::{CheckedCall, written};
use crate::finding::Finding;
use crate::flow::{FlowVerdict, SchemaDocument, compare, takes_anything};
use crate::id::TaskIndex;
use crate::reference::{InputBinding, PathStep, Reference, ReferenceSource};
use crate::validate::FindingList;

/// The most findings back that one of the same task may lie.
const RECENT_FINDINGS: usize = 50;

impl<'a> CheckedCall<'a> {
    /// A list or mapping with references in it: its parts were compared at their places, here it
    /// is compared itself (its type, its size, its members together). Only what is certainly wrong
    /// is said: what is not has been, of the parts.
    pub(super) fn check_container(
        &mut self,
        binding: &InputBinding,
        place: &[PathStep],
        consumers: &[ConsumerSchema<'a>],
        findings: &mut FindingList,
    ) {
        // A literal in it that is wrong has been named by the schema check, just before.
        let named = |f: &Finding| f.task.as_deref() == Some(self.task.task_id.as_str());
        if findings.errors.iter().rev().take(RECENT_FINDINGS).any(named) {
            return;
        }
        let mut first = None;
        binding.for_each_reference(&mut |reference| {
            let from = reference.task().and_then(|id| self.structure.index_of(id));
            first = first.take().or(from.map(|from| (from, reference.to_string())));
        });
        let Some((from, reference)) =
            first.filter(|(from, _)| !self.bad.iter().any(|bad| bad.from == *from))
        else {
            return;
        };
        let mut shape = String::new();
        self.shape(binding, &mut shape);
        for consumer in consumers {
            let make = || self.container(binding, consumer, place);
            let flow = container_flow(self.catalog.flows(), &shape, consumer, place, make);
            if matches!(flow.verdict, FlowVerdict::Misfit { .. }) {
                self.judge(&flow.verdict, from, &reference, &field_of(place), consumer, findings);
            }
        }
    }

    fn container(
        &self,
        binding: &InputBinding,
        consumer: &ConsumerSchema<'a>,
        place: &[PathStep],
    ) -> FlowVerdict {
        let asked = match asked(consumer, place) {
            Ok(asked) if takes_anything(&asked.schema) => return FlowVerdict::Fits,
            Ok(asked) => asked,
            Err(verdict) => return verdict,
        };
        let mut whole = WholeInputs::of(self);
        let mut produced = whole.produced(binding);
        let WholeInputs { definitions, exact, known, .. } = whole;
        if let Value::Object(map) = &mut produced {
            map.insert("$defs".to_owned(), Value::Object(definitions));
        }
        compare(&produced, &asked.schema, exact && known)
    }

    /// Names the sources of a binding's schema, as a short text: its literals, and for each
    /// reference whose part of what it is.
    fn shape(&self, binding: &InputBinding, out: &mut String) {
        match binding {
            InputBinding::Literal(value) => out.push_str(&value.to_string()),
            InputBinding::Secret(_) => out.push_str("secret"),
            InputBinding::Text(pieces) => out.push_str(&format!("text {}", written(pieces))),
            InputBinding::Whole(reference) => {
                let from = reference.task().and_then(|id| self.structure.index_of(id));
                match from.and_then(|from| self.producer(from)) {
                    Some(producer) => out.push_str(producer.identity),
                    None => out.push_str(&self.referenced_input(reference)),
                }
                out.push_str(&reference.to_string());
            }
            InputBinding::List(items) => {
                out.push('[');
                for item in items {
                    self.shape(item, out);
                    out.push(',');
                }
                out.push(']');
            }
            InputBinding::Map(entries) => {
                out.push('{');
                for (key, entry) in entries {
                    out.push_str(&format!("{key:?}:"));
                    self.shape(entry, out);
                    out.push(',');
                }
                out.push('}');
            }
        }
    }

    /// The value of a plan input, as text; nothing for other references.
    fn referenced_input(&self, reference: &Reference) -> String {
        if reference.source != ReferenceSource::Inputs {
            return String::new();
        }
        let inputs = Value::Object(self.document.inputs.clone());
        reference.resolve(&inputs).map_or_else(|_| String::new(), |value| value.to_string())
    }

    /// Checks a whole input: where the consumer's schema has branches, a place alone does not tell
    /// what fits: all inputs are compared at once.
    pub(super) fn check_whole(
        &mut self,
        consumer: &ConsumerSchema<'a>,
        findings: &mut FindingList,
    ) {
        let first = self.branching.iter().position(|b| b.consumer == consumer.identity);
        let Some(first) = first.map(|at| self.branching.swap_remove(at)) else { return };
        // What is wrong at its own place has been said.
        if self.bad.iter().any(|bad| bad.from == first.from) {
            return;
        }
        let bindings = &self.structure.bindings(self.index).inputs;
        let mut whole = WholeInputs::of(self);
        let mut properties = Map::new();
        for (name, binding) in bindings {
            properties.insert(name.clone(), whole.produced(binding));
        }
        let WholeInputs { definitions, exact, known, .. } = whole;
        if !known {
            let why = "the schema has branches, and not all that flows in is known".to_owned();
            let verdict = FlowVerdict::Undecided { why };
            return self.judge(
                &verdict,
                first.from,
                &first.reference,
                &first.field,
                consumer,
                findings,
            );
        }
        let names: Vec<&String> = properties.keys().collect();
        let produced = json!({
            "type": "object", "required": names, "additionalProperties": false,
            "properties": properties, "$defs": definitions,
        });
        let flow = whole_flow(self.catalog.flows(), &produced, exact, consumer);
        self.judge(&flow.verdict, first.from, &first.reference, &first.field, consumer, findings);
    }
}

/// Builds the schema of all inputs together.
struct WholeInputs<'c, 'a> {
    call: &'c CheckedCall<'a>,
    definitions: Map<String, Value>,
    /// Producers that are referred to; two parts of one output go together.
    seen: Vec<TaskIndex>,
    exact: bool,
    known: bool,
}

impl<'c, 'a> WholeInputs<'c, 'a> {
    fn of(call: &'c CheckedCall<'a>) -> WholeInputs<'c, 'a> {
        WholeInputs { call, definitions: Map::new(), seen: Vec::new(), exact: true, known: true }
    }

    fn produced(&mut self, binding: &InputBinding) -> Value {
        match binding {
            InputBinding::Literal(value) => json!({ "const": value }),
            InputBinding::Secret(_) => json!({ "type": "string" }),
            InputBinding::Text(pieces) => {
                self.exact = false;
                text_schema(written(pieces))
            }
            InputBinding::List(items) => {
                let items: Vec<Value> = items.iter().map(|item| self.produced(item)).collect();
                let count = items.len();
                json!({
                    "type": "array", "prefixItems": items, "items": false,
                    "minItems": count, "maxItems": count,
                })
            }
            InputBinding::Map(entries) => {
                let names: Vec<&String> = entries.iter().map(|(key, _)| key).collect();
                let properties: Map<String, Value> = entries
                    .iter()
                    .map(|(key, entry)| (key.clone(), self.produced(entry)))
                    .collect();
                let count = names.len();
                json!({
                    "type": "object", "required": names, "additionalProperties": false,
                    "properties": properties, "minProperties": count,
                })
            }
            InputBinding::Whole(reference) => self.referenced(reference),
        }
    }

    fn referenced(&mut self, reference: &Reference) -> Value {
        if reference.source == ReferenceSource::Inputs {
            let inputs = Value::Object(self.call.document.inputs.clone());
            return reference.resolve(&inputs).map_or(Value::Bool(true), |v| json!({ "const": v }));
        }
        let from = match &reference.source {
            ReferenceSource::Output(id) => self.call.structure.index_of(id),
            ReferenceSource::Inputs
            | ReferenceSource::Error(_)
            | ReferenceSource::Item
            | ReferenceSource::Index => None,
        };
        if let Some(from) = from {
            self.exact &= !self.seen.contains(&from);
            self.seen.push(from);
        }
        let Some(producer) = from.and_then(|from| self.call.producer(from)) else {
            self.known = false;
            return Value::Bool(true);
        };
        let name = format!("p{}", self.definitions.len());
        let document = SchemaDocument::new(producer.schema, name);
        let mut part = projected(&document, reference);
        self.exact &= part.exact;
        self.known &= part.declared && document.opaque.is_none();
        if let Some((name, definition)) = document.definition() {
            self.definitions.insert(name.to_owned(), definition.clone());
            if let Value::Object(map) = &mut part.schema {
                map.remove("$defs");
            }
        }
        part.schema
    }
}
