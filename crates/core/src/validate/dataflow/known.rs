//! What is known of a flow, from the catalogue's memo or worked out and kept there.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::catalog::ToolCatalog;
use crate::flow::{
    DataFlow, FlowKey, FlowMemo, FlowVerdict, SchemaDocument, SchemaProjection, ValuePresence,
    compare,
};
use crate::id::TaskIndex;
use crate::reference::{PathStep, Reference, ReferencePath};
use crate::task::Task;

/// A schema that inputs must fit, and who says so.
pub(super) struct ConsumerSchema<'a> {
    pub(super) schema: &'a Value,
    /// For the memo: a tool's name, or the text of the schema.
    pub(super) identity: Cow<'a, str>,
    /// For messages.
    pub(super) name: String,
}

/// A schema of what a task gives.
pub(super) struct ProducerSchema<'a> {
    pub(super) schema: &'a Value,
    pub(super) identity: &'a str,
}

/// Promises of a plan's tasks beside what their tools do, each made and named once.
pub(in crate::validate) struct ProducerPromises {
    outputs: Vec<Option<ProducerPromise>>,
}

struct ProducerPromise {
    /// None: the task's own `output_schema`.
    made: Option<Value>,
    name: String,
}

impl ProducerPromises {
    pub(in crate::validate) fn of(tasks: &[Task], catalog: &ToolCatalog) -> ProducerPromises {
        let promise = |task: &Task| {
            let own = task.output_schema.as_ref();
            if task.for_each.is_none() {
                return Some(ProducerPromise { made: None, name: digest_of(&own?.to_string()) });
            }
            let tool = task.tool.as_deref().and_then(|tool| catalog.get(tool));
            let item = own.or_else(|| tool?.spec.output_schema.as_ref());
            let made = list_of(item, task.allow_failure);
            Some(ProducerPromise { name: digest_of(&made.to_string()), made: Some(made) })
        };
        ProducerPromises { outputs: tasks.iter().map(promise).collect() }
    }

    /// The output that a task promises, and a name for that in the memo: its own word, else its
    /// tool's; a list of these for a fan-out.
    pub(in crate::validate) fn schema<'a>(
        &'a self,
        index: TaskIndex,
        task: &'a Task,
        catalog: &'a ToolCatalog,
    ) -> Option<(&'a Value, &'a str)> {
        match &self.outputs[index.at()] {
            Some(ProducerPromise { made: Some(schema), name }) => return Some((schema, name)),
            Some(ProducerPromise { made: None, name }) => {
                return task.output_schema.as_ref().map(|schema| (schema, name.as_str()));
            }
            None => {}
        }
        let tool = catalog.get(task.tool.as_deref()?)?;
        Some((tool.spec.output_schema.as_ref()?, &tool.spec.name))
    }
}

/// The list of what a fan-out's items give; null stands for one that was allowed to fail. Schemas
/// that refer to their own root cannot be put inside another and promise nothing.
fn list_of(item: Option<&Value>, may_fail: bool) -> Value {
    match item.filter(|schema| !refers(schema)) {
        None => json!({ "type": "array" }),
        Some(item) if may_fail => {
            json!({ "type": "array", "items": { "anyOf": [item, { "type": "null" }] } })
        }
        Some(item) => json!({ "type": "array", "items": item }),
    }
}

fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => {
            map.iter().any(|(key, value)| key == "$ref" || key == "$dynamicRef" || refers(value))
        }
        Value::Array(items) => items.iter().any(refers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

pub(super) fn projected(document: &SchemaDocument, reference: &Reference) -> SchemaProjection {
    match &reference.path {
        ReferencePath::Singular(steps) => document.project(steps),
        ReferencePath::Query { runs: Some(runs), .. } => document.project_all(runs),
        ReferencePath::Query { runs: None, .. } => SchemaProjection {
            schema: json!({ "type": "array" }),
            presence: ValuePresence::Always,
            exact: false,
            declared: false,
            branching: false,
        },
    }
}

/// The part of a schema at a reference's path, whoever takes it.
pub(super) fn presence(
    memo: &FlowMemo,
    producer: &ProducerSchema<'_>,
    reference: &Reference,
) -> Arc<DataFlow> {
    let key = FlowKey {
        producer: producer.identity.into(),
        path: reference.path_text().into(),
        consumer: "".into(),
        place: "".into(),
    };
    memo.get(key, || {
        let document = SchemaDocument::new(producer.schema, "p".to_owned());
        let presence = projected(&document, reference).presence;
        DataFlow { presence, branching: false, verdict: FlowVerdict::Fits }
    })
}

pub(super) fn flow(
    memo: &FlowMemo,
    producer: &ProducerSchema<'_>,
    reference: &Reference,
    consumer: &ConsumerSchema<'_>,
    place: &[PathStep],
) -> Arc<DataFlow> {
    let key = FlowKey {
        producer: producer.identity.into(),
        path: reference.path_text().into(),
        consumer: consumer.identity.as_ref().into(),
        place: pointer_of(place).into(),
    };
    memo.get(key, || {
        let gives = SchemaDocument::new(producer.schema, "p".to_owned());
        let produced = projected(&gives, reference);
        let asked = asked(consumer, place);
        let (verdict, branching) = match (&gives.opaque, asked) {
            (Some(why), Ok(_)) => (FlowVerdict::Undecided { why: (*why).to_owned() }, false),
            (_, Err(verdict)) => (verdict, false),
            (None, Ok(asked)) => (of_parts(&produced, &asked), asked.branching || !asked.exact),
        };
        DataFlow { presence: produced.presence, branching, verdict }
    })
}

/// The schema that a consumer asks of a place; else the verdict that needs no comparison.
pub(super) fn asked(
    consumer: &ConsumerSchema<'_>,
    place: &[PathStep],
) -> Result<SchemaProjection, FlowVerdict> {
    let document = SchemaDocument::new(consumer.schema, "c".to_owned());
    let asked = document.project(place);
    match (document.opaque, &asked.presence) {
        (Some(why), _) => Err(FlowVerdict::Undecided { why: why.to_owned() }),
        // An input that does not exist is the schema check's finding.
        (None, ValuePresence::Never { .. }) => Err(FlowVerdict::Fits),
        (None, ValuePresence::Always | ValuePresence::Sometimes) => Ok(asked),
    }
}

fn of_parts(produced: &SchemaProjection, consumed: &SchemaProjection) -> FlowVerdict {
    match compare(&produced.schema, &consumed.schema, produced.exact && produced.declared) {
        FlowVerdict::Undecided { .. } if !produced.declared => {
            FlowVerdict::Undecided { why: "the output's schema says nothing of it".to_owned() }
        }
        verdict => verdict,
    }
}

/// A text with `written` characters that stand in the plan, at a place of a consumer.
pub(super) fn text_flow(
    memo: &FlowMemo,
    written: usize,
    consumer: &ConsumerSchema<'_>,
    place: &[PathStep],
) -> Arc<DataFlow> {
    let key = FlowKey {
        producer: "text".into(),
        path: written.to_string().into(),
        consumer: consumer.identity.as_ref().into(),
        place: pointer_of(place).into(),
    };
    memo.get(key, || {
        let (verdict, branching) = match asked(consumer, place) {
            Err(verdict) => (verdict, false),
            Ok(asked) => {
                let verdict = compare(&text_schema(written), &asked.schema, false);
                (verdict, asked.branching || !asked.exact)
            }
        };
        DataFlow { presence: ValuePresence::Always, branching, verdict }
    })
}

/// All inputs at once: `produced` is a schema of them.
pub(super) fn whole_flow(
    memo: &FlowMemo,
    produced: &Value,
    exact: bool,
    consumer: &ConsumerSchema<'_>,
) -> Arc<DataFlow> {
    let key = FlowKey {
        producer: digest_of(&produced.to_string()).into(),
        path: if exact { "exact" } else { "" }.into(),
        consumer: consumer.identity.as_ref().into(),
        place: "".into(),
    };
    memo.get(key, || {
        let verdict = compare(produced, consumer.schema, exact);
        DataFlow { presence: ValuePresence::Always, branching: false, verdict }
    })
}

/// A list or mapping at a place; `shape` says all that its schema is made from.
pub(super) fn container_flow(
    memo: &FlowMemo,
    shape: &str,
    consumer: &ConsumerSchema<'_>,
    place: &[PathStep],
    make: impl FnOnce() -> FlowVerdict,
) -> Arc<DataFlow> {
    let key = FlowKey {
        producer: digest_of(shape).into(),
        path: "container".into(),
        consumer: consumer.identity.as_ref().into(),
        place: pointer_of(place).into(),
    };
    memo.get(key, || DataFlow {
        presence: ValuePresence::Always,
        branching: false,
        verdict: make(),
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

/// A place as a key: unlike a field's name it says where a member's name ends (RFC 6901).
fn pointer_of(place: &[PathStep]) -> String {
    let mut pointer = String::new();
    for step in place {
        match step {
            PathStep::Name(name) => {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
            PathStep::Index(i) => pointer.push_str(&format!("/[{i}]")),
        }
    }
    pointer
}

/// A short name for a schema that a plan brought along.
pub(super) fn digest_of(text: &str) -> String {
    crate::plan::digest_hex(
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref(),
    )
}

/// A place as findings name it: `inputs.rows[0].name`.
pub(super) fn field_of(place: &[PathStep]) -> String {
    let mut field = "inputs".to_owned();
    for step in place {
        match step {
            PathStep::Name(name) => {
                field.push('.');
                field.push_str(name);
            }
            PathStep::Index(i) => field.push_str(&format!("[{i}]")),
        }
    }
    field
}
