//! Steps in a value, whatever their fields are called (spec 08, `--format answer`).
//!
//! Names are compared without case, dashes and underscores. A field that is not known is dropped and
//! named in a warning; a task, a tool or a value is never made up.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::answer::{ReadingMode, malformed};
use super::draft::{DraftNeed, DraftPlan, DraftStep, rename};
use super::json;
use super::links::{StatedLinks, StepNames, is_nobody, needs_of, pair};
use l05_core::error::{Error, ErrorCode};
use l05_core::finding::brief;
use l05_core::reference::RESERVED_IDS;

const STEPS: [&str; 7] = ["tasks", "steps", "subtasks", "plan", "nodes", "tasknodes", "tasksteps"];
const IDS: [&str; 7] = ["id", "taskid", "stepid", "nodeid", "step", "index", "number"];
const NAMES: [&str; 6] = ["name", "title", "task", "step", "description", "action"];
const NEEDS: [&str; 6] =
    ["dependson", "dependencies", "deps", "requires", "after", "prerequisites"];
const TOOLS: [&str; 4] = ["tool", "toolname", "function", "api"];
const INPUTS: [&str; 6] = ["inputs", "arguments", "args", "parameters", "params", "input"];
const LINKS: [&str; 4] = ["links", "edges", "tasklinks", "dependencies"];
const GOALS: [&str; 5] = ["goal", "goaltext", "objective", "title", "name"];
/// Around the value that is meant: `{"plan": {"steps": […]}}`, a tool call's `arguments`.
const WRAPPERS: [&str; 8] =
    ["plan", "result", "response", "output", "workflow", "answer", "arguments", "parameters"];
/// The most wrappers that are looked through.
const WRAPPERS_MAX: usize = 4;
/// The most steps of an answer, and links of all of them: no model writes more.
const ANSWER_STEPS_MAX: usize = 10_000;
const ANSWER_LINKS_MAX: usize = 100_000;
/// The most steps that have steps within them, in one list.
const NESTED_MAX: usize = 500;
/// A name is a title: the rest of a long text is the description.
const NAME_MAX_CHARS: usize = 120;

/// Fields that a plan file has, by their plain names; they are taken over as they are.
const KEPT: [(&str, &str); 19] = [
    ("prompt", "prompt"),
    ("goal", "goal"),
    ("outputschema", "output_schema"),
    ("inputschema", "input_schema"),
    ("needs", "needs"),
    ("capabilityrequirements", "needs"),
    ("agentversion", "agent_version"),
    ("agentversionconstraint", "agent_version"),
    ("resourceestimate", "resource_estimate"),
    ("resourcequota", "resource_quota"),
    ("timeoutseconds", "timeout_seconds"),
    ("retry", "retry"),
    ("retrypolicy", "retry"),
    ("join", "join"),
    ("foreach", "for_each"),
    ("allowfailure", "allow_failure"),
    ("gate", "gate"),
    ("onrecovery", "on_recovery"),
    ("expectedseconds", "expected_seconds"),
];
/// Fields that are kept of the plan.
const KEPT_OF_PLAN: [(&str, &str); 4] = [
    ("inputs", "inputs"),
    ("constraints", "constraints"),
    ("onfailure", "on_failure"),
    ("onbudget", "on_budget"),
];

/// Counts the steps of a value.
pub(super) fn count(value: &Value) -> usize {
    find(value).map_or(0, |found| found.steps.len())
}

/// Counts the steps of a value found in the middle of prose, where `[a, b]` is a remark and no
/// plan.
pub(super) fn count_in_prose(value: &Value) -> usize {
    match find(value) {
        Some(FoundSteps { plan: None, steps })
            if steps.iter().any(|(_, step)| step.is_string()) =>
        {
            0
        }
        found => found.map_or(0, |found| found.steps.len()),
    }
}

/// The place of the steps.
struct FoundSteps<'v> {
    /// The object that holds them, where there is one.
    plan: Option<&'v Map<String, Value>>,
    steps: Vec<(Option<&'v str>, &'v Value)>,
}

fn find(value: &Value) -> Option<FoundSteps<'_>> {
    let mut value = value;
    for _ in 0..WRAPPERS_MAX {
        let members = match value {
            Value::Array(items) => return list(None, items),
            Value::Object(members) => members,
            _ => return None,
        };
        let by_name = |wanted: &str| {
            members.iter().find(|(name, held)| {
                plain(name) == wanted && matches!(held, Value::Array(_) | Value::Object(_))
            })
        };
        let mut inner = None;
        for name in STEPS {
            match by_name(name) {
                Some((_, Value::Array(items))) => {
                    if let Some(found) = list(Some(members), items) {
                        return Some(found);
                    }
                }
                Some((_, held @ Value::Object(named))) => {
                    if named.keys().any(|key| STEPS.contains(&&*plain(key))) {
                        inner.get_or_insert(held);
                    } else if let Some(found) = keyed(members, named) {
                        return Some(found);
                    }
                }
                _ => {}
            }
        }
        value = match inner {
            Some(inner) => inner,
            None => WRAPPERS.iter().find_map(|name| by_name(name))?.1,
        };
    }
    None
}

fn list<'v>(plan: Option<&'v Map<String, Value>>, items: &'v [Value]) -> Option<FoundSteps<'v>> {
    // A list of one plan is that plan.
    if let ([only @ Value::Object(members)], None) = (items, plan)
        && members.iter().any(|(name, held)| STEPS.contains(&&*plain(name)) && held.is_array())
    {
        return find(only);
    }
    let known = items.iter().any(|item| match item {
        Value::Object(members) => is_step(members),
        Value::String(_) => plan.is_some() || items.len() > 1,
        _ => false,
    });
    known.then(|| FoundSteps { plan, steps: items.iter().map(|item| (None, item)).collect() })
}

/// `{"fetch": {…}, "report": {…}}`: steps by id.
fn keyed<'v>(
    plan: &'v Map<String, Value>,
    named: &'v Map<String, Value>,
) -> Option<FoundSteps<'v>> {
    let is_whole =
        !named.is_empty() && named.values().all(|step| step.as_object().is_some_and(is_step));
    let steps = || named.iter().map(|(id, step)| (Some(id.as_str()), step)).collect();
    is_whole.then(|| FoundSteps { plan: Some(plan), steps: steps() })
}

fn is_step(members: &Map<String, Value>) -> bool {
    members.keys().any(|name| {
        let name = plain(name);
        let name = name.as_str();
        name != "type"
            && (IDS.contains(&name)
                || NAMES.contains(&name)
                || TOOLS.contains(&name)
                || name == "prompt")
    })
}

/// A name without case, dashes and underscores.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// The draft that a value holds.
pub(super) fn read(value: &Value, reading: ReadingMode) -> Result<DraftPlan, Error> {
    let nothing = || malformed("nothing in the answer's JSON is a step".to_owned(), "");
    let found = find(value).ok_or_else(nothing)?;
    if found.steps.len() > ANSWER_STEPS_MAX {
        return Err(too_many(found.steps.len()));
    }
    let mut reader = StepReader::new(reading);
    let links = reader.plan(found.plan);
    for (place, (id, step)) in (1..).zip(found.steps) {
        reader.step(place, id, step)?;
    }
    reader.finish(links)
}

fn too_many(steps: usize) -> Error {
    let message = format!(
        "the answer has {steps} steps; at most {ANSWER_STEPS_MAX} are read, and {NESTED_MAX} of a list may have steps within them"
    );
    Error::new(ErrorCode::PlanSizeInvalid, message)
}

struct StepReader {
    reading: ReadingMode,
    draft: DraftPlan,
    /// The dependencies that each step states, in the answer's own words.
    said: Vec<Vec<StatedLinks>>,
    /// Steps within a step, by its id.
    nested: Vec<(String, DraftPlan)>,
}

impl StepReader {
    fn new(reading: ReadingMode) -> StepReader {
        StepReader { reading, draft: DraftPlan::default(), said: Vec::new(), nested: Vec::new() }
    }

    /// The plan's own fields; gives what links its steps.
    fn plan(&mut self, members: Option<&Map<String, Value>>) -> Vec<(String, String)> {
        let mut links = Vec::new();
        let Some(members) = members else { return links };
        for (name, value) in members {
            let short = plain(name);
            let short = short.as_str();
            if STEPS.contains(&short) && !value.is_string() {
                continue;
            }
            if LINKS.contains(&short) && value.is_array() {
                links.extend(value.as_array().into_iter().flatten().filter_map(pair));
            } else if GOALS.contains(&short) && value.is_string() {
                if self.draft.goal.is_none() || short == "goal" {
                    self.draft.goal = value.as_str().map(ToOwned::to_owned);
                }
            } else if short == "output" && value.is_string() {
                self.draft.output = value.as_str().map(ToOwned::to_owned);
            } else if let Some((_, kept)) = KEPT_OF_PLAN.iter().find(|(plain, _)| *plain == short) {
                self.draft.fields.insert((*kept).to_owned(), value.clone());
            } else {
                self.draft
                    .warnings
                    .push(format!("`{}` was dropped: a plan has no such field", brief(name)));
            }
        }
        links
    }

    fn step(&mut self, place: usize, id: Option<&str>, value: &Value) -> Result<(), Error> {
        // `{"task": {…}}` around each step.
        let inner = value.as_object().filter(|m| m.len() == 1).and_then(|m| m.values().next());
        let value = inner.filter(|inner| inner.as_object().is_some_and(is_step)).unwrap_or(value);
        match value {
            Value::Object(members) if is_step(members) => self.object(place, id, members),
            Value::String(text) => {
                self.keep(place, text);
                Ok(())
            }
            other if self.reading.lenient => {
                self.draft.repairs.push(format!("step {place} has an unknown shape: kept as text"));
                self.keep(place, &other.to_string());
                Ok(())
            }
            other => {
                let shown = other.to_string();
                let message = format!("step {place} is no step: {}", brief(&shown));
                Err(malformed(message, &shown)
                    .detail("step", place)
                    .suggest("--lenient keeps it as a task that is described by its text"))
            }
        }
    }

    /// A step that is no more than its text.
    fn keep(&mut self, place: usize, text: &str) {
        let mut step = DraftStep { id: format!("step-{place}"), ..DraftStep::default() };
        name_and_description(&mut step.fields, text, None);
        self.draft.steps.push(step);
        self.said.push(Vec::new());
    }

    fn object(
        &mut self,
        place: usize,
        id: Option<&str>,
        members: &Map<String, Value>,
    ) -> Result<(), Error> {
        let fields: Vec<(String, &str, &Value)> = members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (plain(name), name.as_str(), value))
            .collect();
        let mut used: HashSet<usize> = HashSet::new();
        let mut step = DraftStep::default();
        let own_id = id.map(ToOwned::to_owned).or_else(|| take_id(&fields, &mut used));
        step.id = own_id.unwrap_or_else(|| format!("step-{place}"));
        take_name(&fields, &mut used, &mut step.fields);
        let mut said = Vec::new();
        let mut below: Vec<&Value> = Vec::new();
        for (at, (short, name, value)) in fields.iter().enumerate() {
            let short = short.as_str();
            if short == "type" || short == "tasktype" {
                self.task_type(&step.id, value, &mut step.fields);
            } else if NEEDS.contains(&short) {
                said.extend(needs_of(value));
            } else if TOOLS.contains(&short) && !used.contains(&at) {
                self.tool(value, &mut step.fields);
            } else if INPUTS.contains(&short) {
                self.inputs(&step.id, value, &mut step.fields);
            } else if STEPS.contains(&short) && value.is_array() {
                below.extend(value.as_array().into_iter().flatten());
            } else if short == "metadata" && value.is_object() {
                step.fields.insert("metadata".to_owned(), (*value).clone());
            } else if let Some((_, kept)) = KEPT.iter().find(|(plain, _)| *plain == short) {
                step.fields.insert((*kept).to_owned(), (*value).clone());
            } else if !used.contains(&at) {
                let dropped = format!(
                    "`{}` of task `{}` was dropped: a task has no such field",
                    brief(name),
                    brief(&step.id)
                );
                self.draft.warnings.push(dropped);
            }
        }
        if !below.is_empty() {
            step.fields.insert("type".to_owned(), json!("COMPOUND"));
        }
        let parent = step.id.clone();
        self.draft.steps.push(step);
        self.said.push(said);
        self.below(&parent, &below)
    }

    /// Steps within a step take its place.
    fn below(&mut self, parent: &str, below: &[&Value]) -> Result<(), Error> {
        if below.is_empty() {
            return Ok(());
        }
        let mut inner = StepReader::new(self.reading);
        for (place, value) in (1..).zip(below) {
            inner.step(place, None, value)?;
        }
        self.draft.repairs.push(format!("the steps within `{parent}` took its place"));
        self.nested.push((parent.to_owned(), inner.finish(Vec::new())?));
        Ok(())
    }

    fn task_type(&mut self, id: &str, value: &Value, fields: &mut Map<String, Value>) {
        let word = value.as_str().unwrap_or_default().trim().to_ascii_uppercase();
        let kind = match word.replace(['-', ' '], "_").as_str() {
            "ATOMIC" => "ATOMIC",
            "COMPOUND" => "COMPOUND",
            "TOOL_CALL" | "TOOL" | "FUNCTION" | "FUNCTION_CALL" => "TOOL_CALL",
            "LLM_CALL" | "LLM" | "PROMPT" | "INFERENCE" => "LLM_CALL",
            _ => {
                let shown = value.to_string();
                self.draft.warnings.push(format!(
                    "the type {} of task `{}` was dropped: there is no such type",
                    brief(&shown),
                    brief(id)
                ));
                return;
            }
        };
        fields.insert("type".to_owned(), json!(kind));
    }

    /// A tool by name, or as a function call with its arguments.
    fn tool(&mut self, value: &Value, fields: &mut Map<String, Value>) {
        match value {
            Value::Object(call) => {
                for (name, held) in call {
                    match plain(name).as_str() {
                        "name" | "tool" | "function" | "toolname" => self.tool(held, fields),
                        short if INPUTS.contains(&short) => {
                            if let Some(inputs) = inputs_of(held) {
                                fields.entry("inputs").or_insert(inputs);
                            }
                        }
                        _ => {}
                    }
                }
            }
            Value::String(name)
                // Words for "no tool"; a tool may have any other name.
                if !matches!(name.trim().to_ascii_lowercase().as_str(), "" | "none" | "null") =>
            {
                fields.entry("tool").or_insert_with(|| json!(name.trim()));
            }
            _ => {}
        }
    }

    fn inputs(&mut self, id: &str, value: &Value, fields: &mut Map<String, Value>) {
        match inputs_of(value) {
            Some(inputs) => {
                fields.insert("inputs".to_owned(), inputs);
            }
            None if value.as_array().is_some_and(Vec::is_empty) => {}
            None => {
                let note = format!(
                    "the arguments of task `{}` have no names: kept as `arguments`",
                    brief(id)
                );
                self.draft.repairs.push(note);
                fields.insert("inputs".to_owned(), json!({ "arguments": value }));
            }
        }
    }

    /// Refuses what would take long to put together.
    fn check_size(&self, links: usize) -> Result<(), Error> {
        let needs: usize = self.said.iter().map(Vec::len).sum();
        if self.draft.steps.len() > ANSWER_STEPS_MAX || self.nested.len() > NESTED_MAX {
            return Err(too_many(self.draft.steps.len()));
        }
        if needs + links > ANSWER_LINKS_MAX {
            let message = format!(
                "the answer has {} dependencies; at most {ANSWER_LINKS_MAX} are read",
                needs + links
            );
            return Err(Error::new(ErrorCode::PlanSizeInvalid, message));
        }
        Ok(())
    }

    /// Every dependency finds its step, and steps within steps take their place.
    fn finish(mut self, links: Vec<(String, String)>) -> Result<DraftPlan, Error> {
        self.check_size(links.len())?;
        let names = StepNames::of(&self.draft.steps, &self.said);
        let mut missed = Vec::new();
        for (step, said) in self.draft.steps.iter_mut().zip(&self.said) {
            let mut known: HashSet<String> = HashSet::new();
            for one in said {
                let task = match names.find(&one.whom, one.is_number) {
                    Some(task) => task,
                    None if is_nobody(&one.whom) => continue,
                    None => {
                        missed.push(format!(
                            "task `{}` needs `{}`, which is no task",
                            brief(&step.id),
                            brief(&one.whom)
                        ));
                        one.whom.clone()
                    }
                };
                if known.insert(task.clone()) {
                    step.needs.push(DraftNeed { task, terms: one.terms.clone() });
                }
            }
            rename(&mut step.fields, &mut |id| {
                if RESERVED_IDS.contains(&id) {
                    return None;
                }
                let is_number = id.bytes().all(|b| b.is_ascii_digit());
                let found = names.find(id, is_number).filter(|found| found != id)?;
                Some(format!("[{found}]"))
            });
        }
        for (from, to) in links {
            match names.pair(&from, &to) {
                (Some(source), Some(target)) => {
                    let step = &mut self.draft.steps[target];
                    let source = names.ids[source].clone();
                    if !step.needs.iter().any(|need| need.task == source) {
                        step.needs.push(DraftNeed::on(source));
                    }
                }
                _ if is_nobody(&from) || is_nobody(&to) => {}
                _ => missed.push(format!(
                    "the link from `{}` to `{}` names no task",
                    brief(&from),
                    brief(&to)
                )),
            }
        }
        self.draft.warnings.extend(missed);
        let referenced = self.draft.referenced();
        for (parent, inner) in self.nested {
            let told = self.draft.splice(&parent, inner, referenced.contains(&parent));
            self.draft.warnings.extend(told.err());
        }
        Ok(self.draft)
    }
}

/// The id, where there is one: a number or a word; `step` and `task` may be titles instead.
fn take_id(fields: &[(String, &str, &Value)], used: &mut HashSet<usize>) -> Option<String> {
    for wanted in IDS {
        let Some(at) = fields.iter().position(|(short, ..)| short == wanted) else { continue };
        let id = match fields[at].2 {
            Value::Number(number) => number.to_string(),
            Value::String(text) => {
                let text = text.trim();
                let is_title = wanted == "step" && text.contains(char::is_whitespace);
                if text.is_empty() || is_title {
                    continue;
                }
                text.to_owned()
            }
            _ => continue,
        };
        used.insert(at);
        return Some(id);
    }
    None
}

/// Name, description and action, from whatever holds the words.
fn take_name(
    fields: &[(String, &str, &Value)],
    used: &mut HashSet<usize>,
    out: &mut Map<String, Value>,
) {
    let mut texts = Vec::new();
    for wanted in NAMES {
        let Some(at) = fields.iter().position(|(short, ..)| short == wanted) else { continue };
        let Some(text) = fields[at].2.as_str().filter(|_| !used.contains(&at)) else { continue };
        used.insert(at);
        match wanted {
            "action" => {
                out.insert("action".to_owned(), json!(text));
            }
            _ => texts.push((wanted, text)),
        }
    }
    let description =
        texts.iter().find(|(wanted, _)| *wanted == "description").map(|(_, text)| *text);
    let action = out.get("action").and_then(Value::as_str).map(ToOwned::to_owned);
    match texts.iter().find(|(wanted, _)| *wanted != "description") {
        Some((_, name)) => name_and_description(out, name, description),
        None => {
            if let Some(text) = description.or(action.as_deref()) {
                name_and_description(out, text, None);
            }
        }
    }
}

fn name_and_description(out: &mut Map<String, Value>, text: &str, description: Option<&str>) {
    let text = text.trim();
    let is_short = text.chars().count() <= NAME_MAX_CHARS;
    let name: String = if is_short {
        text.to_owned()
    } else {
        text.chars().take(NAME_MAX_CHARS - 1).chain(['…']).collect()
    };
    out.insert("name".to_owned(), json!(name));
    let whole = match (is_short, description) {
        (true, told) => told.map(ToOwned::to_owned),
        (false, None) => Some(text.to_owned()),
        (false, Some(told)) => Some(format!("{text}\n{told}")),
    };
    if let Some(whole) = whole {
        out.insert("description".to_owned(), json!(whole));
    }
}

/// Arguments by name: an object, an object in a text, or a list of `{name, value}`.
fn inputs_of(value: &Value) -> Option<Value> {
    match value {
        Value::Object(_) => Some(value.clone()),
        Value::String(text) if text.trim_start().starts_with('{') => {
            json::read(text).ok().map(|(value, _)| value).filter(Value::is_object)
        }
        Value::Array(items) if !items.is_empty() => {
            let named = items.iter().map(|item| {
                let item = item.as_object()?;
                let name = item.get("name").or(item.get("key"))?.as_str()?;
                Some((name.to_owned(), item.get("value")?.clone()))
            });
            named.collect::<Option<Map<String, Value>>>().map(Value::Object)
        }
        _ => None,
    }
}
