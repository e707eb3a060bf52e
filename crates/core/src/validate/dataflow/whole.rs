//! All inputs of a task at once, for consumers whose schema has branches.

use serde_json::{Map, Value, json};

use super::Call;
use super::known::{Consumer, field_of, projected};
use crate::flow::{SchemaDocument, compare};
use crate::id::TaskIndex;
use crate::reference::{Binding, Piece, Reference, Source, Step};
use crate::validate::Findings;

impl<'a> Call<'a> {
    /// Where the consumer's schema has branches, a place alone does not tell what fits: all inputs
    /// are compared at once.
    pub(super) fn check_whole(&mut self, consumer: &Consumer<'a>, findings: &mut Findings) {
        let bindings = &self.structure.bindings(self.index).inputs;
        let document = SchemaDocument::new(consumer.schema, "c".to_owned());
        let mut late = None;
        for (name, binding) in bindings {
            let mut place = vec![Step::Name(name.clone())];
            self.first_inexact(&document, binding, &mut place, &mut late);
        }
        let Some((from, reference, field)) = late.filter(|(from, ..)| {
            // What is wrong at its own place has been said.
            !self.bad.iter().any(|bad| bad.from == *from)
        }) else {
            return;
        };
        let mut whole = Whole { call: self, definitions: Map::new(), exact: true, known: true };
        let mut properties = Map::new();
        for (name, binding) in bindings {
            properties.insert(name.clone(), whole.produced(binding));
        }
        let Whole { definitions, exact, known, .. } = whole;
        if !known {
            return;
        }
        let names: Vec<&String> = properties.keys().collect();
        let produced = json!({
            "type": "object", "required": names, "additionalProperties": false,
            "properties": properties, "$defs": definitions,
        });
        let verdict = compare(&produced, consumer.schema, exact);
        self.judge(&verdict, from, &reference, &field, consumer, findings);
    }

    fn first_inexact(
        &self,
        document: &SchemaDocument,
        binding: &Binding,
        place: &mut Vec<Step>,
        found: &mut Option<(TaskIndex, String, String)>,
    ) {
        match binding {
            Binding::Literal(_) | Binding::Secret(_) => {}
            Binding::Whole(reference) => {
                let from = reference.task().and_then(|id| self.structure.index_of(id));
                if let Some(from) =
                    from.filter(|_| found.is_none() && !document.project(place).exact)
                {
                    *found = Some((from, reference.to_string(), field_of(place)));
                }
            }
            // A text's place was compared as a text; its branch is the literals' matter.
            Binding::Text(_) => {}
            Binding::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    place.push(Step::Index(i as i64));
                    self.first_inexact(document, item, place, found);
                    place.pop();
                }
            }
            Binding::Map(entries) => {
                for (key, entry) in entries {
                    place.push(Step::Name(key.clone()));
                    self.first_inexact(document, entry, place, found);
                    place.pop();
                }
            }
        }
    }
}

/// Builds the schema of all inputs together.
struct Whole<'c, 'a> {
    call: &'c Call<'a>,
    definitions: Map<String, Value>,
    exact: bool,
    known: bool,
}

impl Whole<'_, '_> {
    fn produced(&mut self, binding: &Binding) -> Value {
        match binding {
            Binding::Literal(value) => json!({ "const": value }),
            Binding::Secret(_) => json!({ "type": "string" }),
            Binding::Text(pieces) => {
                self.exact = false;
                text_schema(pieces)
            }
            Binding::List(items) => {
                let items: Vec<Value> = items.iter().map(|item| self.produced(item)).collect();
                let count = items.len();
                json!({ "type": "array", "prefixItems": items, "items": false, "minItems": count })
            }
            Binding::Map(entries) => {
                let names: Vec<&String> = entries.iter().map(|(key, _)| key).collect();
                let properties: Map<String, Value> = entries
                    .iter()
                    .map(|(key, entry)| (key.clone(), self.produced(entry)))
                    .collect();
                json!({
                    "type": "object", "required": names, "additionalProperties": false,
                    "properties": properties,
                })
            }
            Binding::Whole(reference) => self.referenced(reference),
        }
    }

    fn referenced(&mut self, reference: &Reference) -> Value {
        if reference.source == Source::Inputs {
            let inputs = Value::Object(self.call.document.inputs.clone());
            return reference.resolve(&inputs).map_or(Value::Bool(true), |v| json!({ "const": v }));
        }
        let from = reference.task().and_then(|id| self.call.structure.index_of(id));
        let Some(producer) = from.and_then(|from| self.call.producer(from)) else {
            self.known = false;
            return Value::Bool(true);
        };
        let name = format!("p{}", self.definitions.len());
        let document = SchemaDocument::new(producer.schema, name);
        let mut part = projected(&document, reference);
        self.exact &= part.exact;
        self.known &= part.declared;
        if let Some((name, definition)) = document.definition() {
            self.definitions.insert(name.to_owned(), definition.clone());
            if let Value::Object(map) = &mut part.schema {
                map.remove("$defs");
            }
        }
        part.schema
    }
}

/// Texts of this form: the written parts stand, anything may stand between them.
pub(super) fn text_schema(pieces: &[Piece]) -> Value {
    let written: usize = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.chars().count(),
            Piece::Reference(_) => 0,
        })
        .sum();
    if written == 0 {
        json!({ "type": "string" })
    } else {
        json!({ "type": "string", "minLength": written })
    }
}
