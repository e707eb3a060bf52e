//! What is known of a flow, from the catalogue's memo or worked out and kept there.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::catalog::Catalog;
use crate::flow::{
    Flow, FlowKey, FlowMemo, Presence, Projection, SchemaDocument, Verdict, compare,
};
use crate::reference::{Path, Reference, Step};
use crate::task::Task;

/// A schema that inputs must fit, and who says so.
pub(super) struct Consumer<'a> {
    pub(super) schema: &'a Value,
    /// For the memo: a tool's name, or the text of the schema.
    pub(super) identity: Cow<'a, str>,
    /// For messages.
    pub(super) name: String,
}

/// A schema of what a task gives.
pub(super) struct Producer<'a> {
    pub(super) schema: &'a Value,
    pub(super) identity: Cow<'a, str>,
}

/// What a task promises to give, and a name for that in the memo: its own word, else its tool's.
pub(in crate::validate) fn producer_schema<'a>(
    task: &'a Task,
    catalog: &'a Catalog,
) -> Option<(&'a Value, Cow<'a, str>)> {
    if let Some(schema) = &task.output_schema {
        return Some((schema, schema.to_string().into()));
    }
    let tool = catalog.get(task.tool.as_deref()?)?;
    let schema = tool.spec.output_schema.as_ref()?;
    Some((schema, tool.spec.name.as_str().into()))
}

pub(super) fn projected(document: &SchemaDocument, reference: &Reference) -> Projection {
    match &reference.path {
        Path::Singular(steps) => document.project(steps),
        Path::Query { runs: Some(runs), .. } => document.project_all(runs),
        Path::Query { runs: None, .. } => Projection {
            schema: json!({ "type": "array" }),
            presence: Presence::Always,
            exact: false,
            declared: false,
        },
    }
}

/// What stands at a reference's path, whoever takes it.
pub(super) fn presence(
    memo: &FlowMemo,
    producer: &Producer<'_>,
    reference: &Reference,
) -> Arc<Flow> {
    let key = FlowKey {
        producer: producer.identity.as_ref().into(),
        path: reference.path_text().into(),
        consumer: "".into(),
        place: "".into(),
    };
    memo.get(key, || {
        let document = SchemaDocument::new(producer.schema, "p".to_owned());
        let presence = projected(&document, reference).presence;
        Flow { presence, branching: false, verdict: Verdict::Fits }
    })
}

pub(super) fn flow(
    memo: &FlowMemo,
    producer: &Producer<'_>,
    reference: &Reference,
    consumer: &Consumer<'_>,
    place: &[Step],
) -> Arc<Flow> {
    let key = FlowKey {
        producer: producer.identity.as_ref().into(),
        path: reference.path_text().into(),
        consumer: consumer.identity.as_ref().into(),
        place: field_of(place).into(),
    };
    memo.get(key, || {
        let gives = SchemaDocument::new(producer.schema, "p".to_owned());
        let takes = SchemaDocument::new(consumer.schema, "c".to_owned());
        let (produced, consumed) = (projected(&gives, reference), takes.project(place));
        let verdict = match (&gives.opaque, &takes.opaque) {
            (Some(why), _) | (_, Some(why)) => Verdict::Undecided { why: (*why).to_owned() },
            // An input that does not exist is the schema check's finding.
            _ if matches!(consumed.presence, Presence::Never { .. }) => Verdict::Fits,
            _ => of_parts(&produced, &consumed),
        };
        Flow { presence: produced.presence, branching: !consumed.exact, verdict }
    })
}

fn of_parts(produced: &Projection, consumed: &Projection) -> Verdict {
    match compare(&produced.schema, &consumed.schema, produced.exact && produced.declared) {
        Verdict::Undecided { .. } if !produced.declared => {
            Verdict::Undecided { why: "the output's schema says nothing of it".to_owned() }
        }
        verdict => verdict,
    }
}

/// A text with `written` characters that stand in the plan, at a place of a consumer.
pub(super) fn text_flow(
    memo: &FlowMemo,
    written: usize,
    consumer: &Consumer<'_>,
    place: &[Step],
) -> Arc<Flow> {
    let key = FlowKey {
        producer: "text".into(),
        path: written.to_string().into(),
        consumer: consumer.identity.as_ref().into(),
        place: field_of(place).into(),
    };
    memo.get(key, || {
        let asked = SchemaDocument::new(consumer.schema, "c".to_owned()).project(place);
        let verdict = compare(&text_schema(written), &asked.schema, false);
        Flow { presence: Presence::Always, branching: !asked.exact, verdict }
    })
}

/// All inputs at once: `produced` is a schema of them.
pub(super) fn whole_flow(
    memo: &FlowMemo,
    produced: &Value,
    exact: bool,
    consumer: &Consumer<'_>,
) -> Arc<Flow> {
    let key = FlowKey {
        producer: produced.to_string().into(),
        path: if exact { "exact" } else { "" }.into(),
        consumer: consumer.identity.as_ref().into(),
        place: "".into(),
    };
    memo.get(key, || {
        let verdict = compare(produced, consumer.schema, exact);
        Flow { presence: Presence::Always, branching: false, verdict }
    })
}

/// Texts of which so many characters are written; anything may stand around them.
pub(super) fn text_schema(written: usize) -> Value {
    if written == 0 {
        json!({ "type": "string" })
    } else {
        json!({ "type": "string", "minLength": written })
    }
}

/// A place as findings name it: `inputs.rows[0].name`.
pub(super) fn field_of(place: &[Step]) -> String {
    let mut field = "inputs".to_owned();
    for step in place {
        match step {
            Step::Name(name) => {
                field.push('.');
                field.push_str(name);
            }
            Step::Index(i) => field.push_str(&format!("[{i}]")),
        }
    }
    field
}
