//! Who means whom: steps call each other by id, number or name, in whatever shape (spec 08). Called by
//! `steps`.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::draft::DraftStep;
use super::found_steps::plain;
use crate::import::written_number;

/// A dependency before it is known whom it means.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StatedLink {
    pub(super) whom: StatedWhom,
    /// `type`, `condition`, `output_key`, where they are said.
    pub(super) terms: Map<String, Value>,
}

/// The step that a dependency speaks of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StatedWhom {
    /// A step by id, name, or number.
    Named { text: String, is_number: bool },
    /// The step before it in the list.
    Previous,
    /// All steps before it in the list.
    AllBefore,
    /// Something of another shape, in which steps may be named.
    Unclear(Value),
}

impl StatedLink {
    fn named(text: &str, is_number: bool) -> Option<StatedLink> {
        let text = text.trim();
        let whom = StatedWhom::Named { text: text.to_owned(), is_number };
        (!text.is_empty()).then(|| StatedLink { whom, terms: Map::new() })
    }

    fn of(whom: StatedWhom) -> StatedLink {
        StatedLink { whom, terms: Map::new() }
    }
}

/// The dependencies of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StatedLinks {
    pub(super) links: Vec<StatedLink>,
    /// One of them is enough: `{any: […]}`.
    pub(super) any: bool,
    /// The step says of its dependencies that there are such, or none.
    pub(super) is_stated: bool,
    /// What was said of a dependency and is not understood: `"status": "failed"`.
    pub(super) dropped: Vec<String>,
}

impl StatedLinks {
    /// Takes over what stands under `depends_on` and the like.
    pub(super) fn read(&mut self, value: &Value) {
        self.is_stated = true;
        self.add(value);
    }

    fn add(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Number(number) => {
                let is_none = number.as_i64().is_some_and(|n| n < 0);
                if !is_none {
                    self.links.extend(StatedLink::named(&number.to_string(), true));
                }
            }
            Value::String(text) => self.add_text(text),
            Value::Object(members) => self.add_object(members),
            Value::Null | Value::Bool(false) => {}
            Value::Bool(true) => {
                self.links.push(StatedLink::of(StatedWhom::Unclear(value.clone())));
            }
        }
    }

    fn add_text(&mut self, text: &str) {
        // `1, 2` and `fetch, clean`: a comma is no part of an id that anybody gives.
        for part in text.split([',', ';']) {
            let part = part.trim();
            match before_of(part) {
                Some(whom) => self.links.push(StatedLink::of(whom)),
                None => self.links.extend(StatedLink::named(part, is_number(part))),
            }
        }
    }

    fn add_object(&mut self, members: &Map<String, Value>) {
        const WHOM: [&str; 15] = [
            "task",
            "taskid",
            "id",
            "step",
            "stepid",
            "source",
            "name",
            "ref",
            "from",
            "node",
            "dependency",
            "dependson",
            "on",
            "reference",
            "key",
        ];
        const SEVERAL: [&str; 8] =
            ["all", "any", "tasks", "steps", "allof", "anyof", "dependencies", "ids"];
        let short: Vec<(String, &Value)> =
            members.iter().map(|(name, held)| (plain(name), held)).collect();
        let of = |names: &[&str]| {
            short.iter().find(|(name, held)| names.contains(&&**name) && !held.is_null())
        };
        if let Some((name, held)) =
            of(&SEVERAL).filter(|(_, held)| held.is_array() || held.is_string())
        {
            self.any |= name.starts_with("any");
            return self.add(held);
        }
        let named = of(&WHOM).filter(|(_, held)| !matches!(held, Value::Bool(_)));
        let Some((_, held)) = named else {
            if !members.is_empty() {
                let whole = Value::Object(members.clone());
                self.links.push(StatedLink::of(StatedWhom::Unclear(whole)));
            }
            return;
        };
        let first = self.links.len();
        self.add(held);
        let mut terms = Map::new();
        for (name, held) in short.iter().filter(|(_, held)| !held.is_null()) {
            match name.as_str() {
                "type" | "condition" => terms.insert(name.clone(), (*held).clone()),
                "outputkey" => terms.insert("output_key".to_owned(), (*held).clone()),
                other => {
                    if !WHOM.contains(&other) && !is_done(held) {
                        self.dropped.push(format!("`{other}`: {held}"));
                    }
                    None
                }
            };
        }
        for link in &mut self.links[first..] {
            link.terms.clone_from(&terms);
        }
    }
}

/// True for what says of a dependency no more than that it is one: that it has to be done.
pub(super) fn is_done(said: &Value) -> bool {
    const DONE: [&str; 13] = [
        "done",
        "completed",
        "complete",
        "success",
        "succeeded",
        "successful",
        "finished",
        "ok",
        "required",
        "data",
        "control",
        "blocking",
        "sequential",
    ];
    match said {
        Value::String(word) => DONE.contains(&word.trim().to_ascii_lowercase().as_str()),
        Value::Bool(_) | Value::Null => true,
        Value::Object(members) => members.values().all(is_done),
        _ => false,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `the previous step`, `all previous steps`.
fn before_of(text: &str) -> Option<StatedWhom> {
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower
        .split_whitespace()
        .filter(|word| !matches!(*word, "the" | "of" | "step" | "steps" | "task" | "tasks" | "one"))
        .collect();
    match words.as_slice() {
        ["previous" | "preceding" | "prior" | "last"] => Some(StatedWhom::Previous),
        ["all"] | ["all", "previous" | "preceding" | "prior" | "above" | "earlier" | "other"] => {
            Some(StatedWhom::AllBefore)
        }
        _ => None,
    }
}

/// Steps by everything that others may call them.
pub(super) struct StepNames {
    pub(super) ids: Vec<String>,
    by_id: HashMap<String, usize>,
    by_name: HashMap<String, Vec<usize>>,
    /// The number of the first step, where numbers are places.
    first: Option<usize>,
}

impl StepNames {
    pub(super) fn of(steps: &[DraftStep], said: &[StatedLinks]) -> StepNames {
        let (mut by_id, mut by_name) = (HashMap::new(), HashMap::<String, Vec<usize>>::new());
        for (at, step) in steps.iter().enumerate() {
            by_id.entry(step.id.clone()).or_insert(at);
            let mut called = |name: String| {
                let places = by_name.entry(name).or_default();
                if places.last() != Some(&at) {
                    places.push(at);
                }
            };
            for key in ["name", "description", "tool"] {
                if let Some(name) = step.fields.get(key).and_then(Value::as_str) {
                    called(name.trim().to_lowercase());
                    if key == "name"
                        && let Some((number, rest)) = written_number(name)
                    {
                        called(number);
                        called(rest.trim().to_lowercase());
                    }
                }
            }
        }
        // Where steps are numbered by themselves, a number is never a place.
        let are_numbered = steps.iter().any(|s| s.id.bytes().all(|b| b.is_ascii_digit()));
        let is_zero = |link: &StatedLink| matches!(&link.whom, StatedWhom::Named { text, is_number: true } if text == "0");
        let counts_from_zero = said.iter().flat_map(|said| &said.links).any(is_zero);
        let ids = steps.iter().map(|step| step.id.clone()).collect();
        StepNames {
            ids,
            by_id,
            by_name,
            first: (!are_numbered).then_some(usize::from(!counts_from_zero)),
        }
    }

    pub(super) fn find(&self, whom: &str, is_number: bool) -> Option<String> {
        self.place(whom, is_number).map(|at| self.ids[at].clone())
    }

    fn place(&self, whom: &str, is_number: bool) -> Option<usize> {
        if let Some(at) = self.by_id.get(whom) {
            return Some(*at);
        }
        let lower = whom.trim().to_lowercase();
        if let Some(at) = self.by_name.get(&lower).and_then(|places| places.first()) {
            return Some(*at);
        }
        // `step 3`, `task-3`, `#3`
        let digits = if is_number {
            lower.as_str()
        } else {
            ["step", "task", "node", "#"]
                .iter()
                .find_map(|word| lower.strip_prefix(word))?
                .trim_start_matches([' ', '-', '_', '#', ':'])
        };
        if let Some(at) = self.by_id.get(digits) {
            return Some(*at);
        }
        if let Some(at) = self.by_name.get(digits).and_then(|places| places.first()) {
            return Some(*at);
        }
        let at = digits.parse::<usize>().ok()?.checked_sub(self.first?)?;
        (at < self.ids.len()).then_some(at)
    }

    /// Several steps in one text: `fetch and clean`, `1 & 2`.
    pub(super) fn several(&self, text: &str) -> Option<Vec<String>> {
        let parts: Vec<&str> =
            text.split([',', '&', '+']).flat_map(|part| part.split(" and ")).collect();
        let found = parts.iter().map(|part| self.find(part.trim(), is_number(part.trim())));
        found.collect::<Option<Vec<String>>>().filter(|found| found.len() > 1)
    }

    /// The steps that a value of unknown shape names: the keys of a map of states, or the one id that
    /// stands in it.
    pub(super) fn within(&self, value: &Value) -> Vec<String> {
        if let Value::Object(members) = value {
            let is_wanted = |held: &Value| *held != Value::Bool(false);
            let keys: Option<Vec<String>> = members
                .iter()
                .filter(|(_, held)| is_wanted(held))
                .map(|(key, _)| self.find(key, is_number(key)))
                .collect();
            if let Some(keys) = keys.filter(|_| members.values().any(is_wanted)) {
                return keys;
            }
            // `{"0": "fetch", "1": "clean"}`
            let values: Vec<Value> = members.values().cloned().collect();
            if self.are_ids(&values) {
                return values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            }
        }
        let mut texts = Vec::new();
        texts_in(value, &mut texts);
        let mut ids: HashSet<&str> = HashSet::new();
        for text in texts {
            let words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_')));
            ids.extend(words.filter(|word| self.by_id.contains_key(*word)));
        }
        match (ids.len(), ids.into_iter().next()) {
            (1, Some(id)) => vec![id.to_owned()],
            _ => Vec::new(),
        }
    }

    /// True if a value is the id of a step, or a list of such.
    pub(super) fn names_ids(&self, value: &Value) -> bool {
        match value {
            Value::Array(items) => self.are_ids(items),
            one => self.are_ids(std::slice::from_ref(one)),
        }
    }

    /// True if all of these name steps by their ids.
    pub(super) fn are_ids(&self, values: &[Value]) -> bool {
        let is_id = |value: &Value| value.as_str().is_some_and(|id| self.by_id.contains_key(id));
        !values.is_empty() && values.iter().all(is_id)
    }

    /// Both ends of a link; a tool that is linked to itself is two uses of it.
    pub(super) fn pair(&self, from: &str, to: &str) -> (Option<usize>, Option<usize>) {
        let end = |whom: &str| self.place(whom, whom.bytes().all(|b| b.is_ascii_digit()));
        let (source, target) = (end(from), end(to));
        if source != target {
            return (source, target);
        }
        let places = self.by_name.get(&to.trim().to_lowercase());
        (source, places.and_then(|places| places.get(1)).copied().or(target))
    }
}

/// All texts of a value, keys included. Nesting is bounded by the reader.
fn texts_in<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts_in(item, texts)),
        Value::Object(members) => {
            for (name, held) in members {
                texts.push(name);
                texts_in(held, texts);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Words for "nothing" and for the ends of a workflow, where no step is called so.
pub(super) fn is_nobody(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "" | "none" | "null" | "n/a" | "-" | "start" | "end" | "nothing" | "[]"
    )
}

/// A link as an object with two ends, as a pair, or as `a -> b`.
pub(super) fn pair(value: &Value) -> Option<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let (from, to) = match value {
        Value::Array(ends) => match ends.as_slice() {
            [from, to] => (text(from)?, text(to)?),
            _ => return None,
        },
        Value::Object(members) => {
            let end = |names: [&str; 4]| {
                members
                    .iter()
                    .find(|(name, _)| names.contains(&&*plain(name)))
                    .and_then(|(_, v)| text(v))
            };
            (end(["source", "from", "start", "src"])?, end(["target", "to", "end", "dst"])?)
        }
        Value::String(both) => {
            let (from, to) = both.split_once("->").or_else(|| both.split_once('→'))?;
            (from.trim().to_owned(), to.trim().to_owned())
        }
        _ => return None,
    };
    Some((from, to))
}
