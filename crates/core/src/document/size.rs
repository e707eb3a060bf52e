//! The size of a text's document, before the document is built: memory follows the limits, not the text.
//!
//! A short text holds many values (`[1,1,1,…]`), each of which takes some tens of bytes once it is read. Long texts are
//! looked through once without keeping anything, and the first thing that is too much ends that.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::text::{DocumentFormat, TextLimits, yaml_options};

/// Texts up to this length hold too little to be looked through.
const TEXT_BYTES_SMALL: usize = 128 << 10;
/// The most values of a document, where its number of tasks asks for no more.
const NODES_MAX: usize = 2_000_000;
/// Values for each task that is allowed.
const NODES_PER_TASK: usize = 50;
/// The lists whose items are tasks, at any depth: groups have steps of their own.
const TASK_LISTS: [&str; 2] = ["tasks", "steps"];

/// A limit that a document breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentExcess {
    /// It lists more tasks than this.
    Tasks(usize),
    /// It has more values than this.
    Nodes(usize),
}

impl fmt::Display for DocumentExcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocumentExcess::Tasks(most) => write!(f, "the document lists more than {most} tasks"),
            DocumentExcess::Nodes(most) => write!(f, "the document has more than {most} values"),
        }
    }
}

/// The first limit that a text breaks. A text that does not parse breaks none: the reader says what is wrong.
pub(super) fn excess(
    text: &str,
    format: DocumentFormat,
    limits: TextLimits,
) -> Option<DocumentExcess> {
    if text.len() <= TEXT_BYTES_SMALL {
        return None;
    }
    let nodes_max = NODES_MAX.max(limits.tasks_max.saturating_mul(NODES_PER_TASK));
    let count = NodeCount {
        tasks_max: limits.tasks_max,
        nodes_max,
        tasks: Cell::new(0),
        nodes: Cell::new(0),
        broken: Cell::new(None),
    };
    let look = NodeLook { count: &count, is_task_list: false };
    match format {
        DocumentFormat::Json => {
            let mut reader = serde_json::Deserializer::from_str(text);
            let _ = look.deserialize(&mut reader);
        }
        DocumentFormat::Yaml => {
            let _ = serde_saphyr::with_deserializer_from_str_with_options(
                text,
                yaml_options(text),
                |reader| look.deserialize(reader),
            );
        }
    }
    count.broken.get()
}

/// The counts of a document on its way.
struct NodeCount {
    tasks_max: usize,
    nodes_max: usize,
    tasks: Cell<usize>,
    nodes: Cell<usize>,
    broken: Cell<Option<DocumentExcess>>,
}

impl NodeCount {
    fn add<E: Error>(&self, is_task: bool) -> Result<(), E> {
        self.nodes.set(self.nodes.get() + 1);
        self.tasks.set(self.tasks.get() + usize::from(is_task));
        let broken = if self.tasks.get() > self.tasks_max {
            DocumentExcess::Tasks(self.tasks_max)
        } else if self.nodes.get() > self.nodes_max {
            DocumentExcess::Nodes(self.nodes_max)
        } else {
            return Ok(());
        };
        self.broken.set(Some(broken));
        Err(E::custom("too large"))
    }
}

/// A look at one value.
#[derive(Clone, Copy)]
struct NodeLook<'c> {
    count: &'c NodeCount,
    /// Its items are tasks, if it is a list.
    is_task_list: bool,
}

impl<'de> DeserializeSeed<'de> for NodeLook<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeLook<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let item = NodeLook { is_task_list: false, ..self };
        while seq.next_element_seed(item)?.is_some() {
            self.count.add(self.is_task_list)?;
        }
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let is_task_list = TASK_LISTS.contains(&&*key);
            map.next_value_seed(NodeLook { is_task_list, ..self })?;
            self.count.add(false)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_told_without_being_built() {
        let tasks = |n: usize| format!("{{\"tasks\": [{}1]}}", "{\"id\": \"a\"},".repeat(n));
        let grouped =
            |n: usize| format!("{{\"tasks\": [{{\"steps\": [{}1]}}]}}", "{\"id\":1},".repeat(n));
        let numbers = |n: usize| format!("{{\"inputs\": [{}1]}}", "1,".repeat(n));
        let yaml =
            |n: usize| format!("goal: x\ntasks:\n{}", " - {id: a, tool: fs.list}\n".repeat(n));
        let (json, yaml_format) = (DocumentFormat::Json, DocumentFormat::Yaml);
        let cases = [
            (tasks(199), json, None),
            (tasks(200_000), json, Some(DocumentExcess::Tasks(200))),
            (grouped(200_000), json, Some(DocumentExcess::Tasks(200))),
            (numbers(1_000_000), json, None),
            (numbers(2_100_000), json, Some(DocumentExcess::Nodes(NODES_MAX))),
            (yaml(100_000), yaml_format, Some(DocumentExcess::Tasks(200))),
            (format!("{}{{{{", " ".repeat(TEXT_BYTES_SMALL)), json, None),
        ];
        for (text, format, expected) in cases {
            let limits = TextLimits { tasks_max: 200, ..TextLimits::default() };
            let shown: String = text.chars().take(60).collect();
            assert_eq!(excess(&text, format, limits), expected, "{shown}");
        }
    }
}
