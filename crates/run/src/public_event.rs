//! Public events: what callers read of a plan and its runs, under the names of spec 05, 5.7.
//!
//! A journal event may give several public ones (a cascade names each task): they share its number and
//! have ids of their own. [`data`] holds what each kind says, [`project`] makes them of journal records.
//! Streams, `explain` and progress match the kind; programs read the JSON that is written here and
//! nowhere else.

pub mod data;
mod projection;

use std::fmt;
use std::str::FromStr;

use l05_core::time::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Value;

use data::KindData;
pub use data::{BudgetUse, PublicEventKind};
pub use projection::{planned, project};

/// The id of a public event: unique and ordered in its plan, and the same whenever it is told.
///
/// `seq.n`: the number of the journal event that it comes from (0: planning, before any run), and its
/// place among the public events of that one. A new kind of projection is told behind those that are
/// there, so that a place never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The number of the journal event.
    pub seq: u64,
    /// The place among what that journal event says, from 0.
    pub n: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.n)
    }
}

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<EventId, NoEventId> {
        let parse = || {
            let (seq, n) = text.split_once('.')?;
            Some(EventId { seq: seq.parse().ok()?, n: n.parse().ok()? })
        };
        parse().ok_or_else(|| NoEventId(text.to_owned()))
    }
}

/// A text that is no [`EventId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no event id; one is written `12.0`")]
pub struct NoEventId(String);

/// One event as callers read it.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicEvent {
    /// The event's own name; `id.seq` is the number of its journal event.
    pub id: EventId,
    /// The time of the decision.
    pub time: Timestamp,
    /// The task, where it is about one.
    pub task_id: Option<String>,
    /// The kind, with what belongs to it.
    pub kind: PublicEventKind,
}

impl PublicEvent {
    /// The data as callers read them.
    pub fn data(&self) -> Value {
        serde_json::to_value(KindData(&self.kind)).expect("events are plain data")
    }
}

/// The one form in which programs read events.
impl Serialize for PublicEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let fields = if self.task_id.is_some() { 6 } else { 5 };
        let mut out = serializer.serialize_struct("PublicEvent", fields)?;
        out.serialize_field("id", &self.id.to_string())?;
        out.serialize_field("seq", &self.id.seq)?;
        out.serialize_field("time", &self.time)?;
        out.serialize_field("type", self.kind.name())?;
        if let Some(task_id) = &self.task_id {
            out.serialize_field("task_id", task_id)?;
        }
        out.serialize_field("data", &KindData(&self.kind))?;
        out.end()
    }
}

impl JsonSchema for PublicEvent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PublicEvent".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<Timestamp>();
        let kinds = PublicEventKind::schemas(generator);
        json_schema!({
            "type": "object",
            "required": ["id", "seq", "time", "type", "data"],
            "properties": {
                "id": { "type": "string", "pattern": "^[0-9]+\\.[0-9]+$",
                    "description": "Unique and ordered in its plan; the same whenever it is told." },
                "seq": { "type": "integer", "minimum": 0,
                    "description": "The number of its journal event; 0 before any run." },
                "time": time,
                "type": { "enum": PublicEventKind::NAMES },
                "task_id": { "type": "string" },
                "data": { "type": "object" },
            },
            "oneOf": kinds,
        })
    }
}

/// The JSON Schema of public events.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(PublicEvent).to_value();
    schema["title"] = "L05 event".into();
    schema
}

/// A gate's question, in a word.
pub fn asked_about(gate: crate::event::Gate) -> &'static str {
    data::GateQuestion::of(gate).as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_by_number_and_read_as_they_are_written() {
        let ids = ["0.0", "0.1", "2.0", "10.0", "10.2", "10.11"];
        let read: Vec<EventId> = ids.iter().map(|id| id.parse().expect("an id")).collect();
        assert!(read.is_sorted());
        assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), ids);
        for text in ["", "1", "1.", ".1", "1.2.3", "a.0", "-1.0"] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }
}
