//! Steps in a value, whatever their fields are called (spec 08, `--format answer`).
//!
//! Names are compared without case, dashes and underscores. A field that is not known is dropped and
//! named in a warning; a task, a tool or a value is never made up.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::answer::{ReadingMode, malformed};
use super::draft::{DraftNeed, DraftPlan, DraftStep, rename};
use super::found_steps::{FoundSteps, INPUTS, STEPS, TOOLS, find, is_list_name, is_step, plain};
use super::links::{StatedLinks, StatedWhom, StepNames, is_done, is_nobody, pair};
use super::order::{StepNumber, number_of, says_order, state_order};
use super::step_fields::{ends_within_value, inputs_of, name_and_description, take_id, take_name};
use l05_core::error::{Error, ErrorCode};
use l05_core::finding::brief;
use l05_core::reference::RESERVED_IDS;

const NEEDS: [&str; 27] = [
    "dependson",
    "dependencies",
    "deps",
    "requires",
    "after",
    "prerequisites",
    "dependency",
    "dependon",
    "dependsupon",
    "dep",
    "dependencyids",
    "dependencytaskids",
    "dependenttasks",
    "prerequisite",
    "predecessors",
    "predecessor",
    "previoussteps",
    "previousstep",
    "parents",
    "waitfor",
    "waitsfor",
    "blockedby",
    "requiredsteps",
    "requiredtasks",
    "runafter",
    "upstream",
    "depend",
];
/// Fields that name the steps that come behind.
const NEXT: [&str; 7] =
    ["next", "nextstep", "nextsteps", "successors", "successor", "downstream", "then"];
/// Fields that say how all steps follow each other.
const ORDERS: [&str; 8] = [
    "order",
    "execution",
    "executionorder",
    "executionmode",
    "mode",
    "process",
    "flow",
    "strategy",
];
const LINKS: [&str; 5] = ["links", "edges", "tasklinks", "dependencies", "connections"];
const GOALS: [&str; 5] = ["goal", "goaltext", "objective", "title", "name"];
/// The most steps of an answer, and links of all of them: no model writes more.
const ANSWER_STEPS_MAX: usize = 10_000;
const ANSWER_LINKS_MAX: usize = 100_000;
/// The most steps that have steps within them, in one list.
const NESTED_MAX: usize = 500;
/// Fields that say at which place of an order a step stands.
const ORDER_FIELDS: [&str; 5] = ["stepnumber", "stepno", "order", "sequence", "position"];

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

/// The draft that a value holds. `words` stand around it in the answer.
pub(super) fn read(value: &Value, words: &str, reading: ReadingMode) -> Result<DraftPlan, Error> {
    let nothing = || malformed("nothing in the answer's JSON is a step".to_owned(), "");
    let found = find(value).ok_or_else(nothing)?;
    if found.steps.len() > ANSWER_STEPS_MAX {
        return Err(too_many(found.steps.len()));
    }
    let mut reader = StepReader::new(reading);
    reader.says_order = says_order(words);
    let links = reader.plan(&found);
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
    said: Vec<StatedLinks>,
    /// The numbers that the answer gives the steps.
    numbers: Vec<Option<StepNumber>>,
    /// Steps that a step names as those behind it, by its id.
    next: Vec<(String, StatedLinks)>,
    /// The answer says that all steps come one after the other.
    says_order: bool,
    /// The answer has a list of links, which may be empty.
    has_links: bool,
    /// Steps within a step, by its id.
    nested: Vec<(String, DraftPlan)>,
}

impl StepReader {
    fn new(reading: ReadingMode) -> StepReader {
        StepReader {
            reading,
            draft: DraftPlan::default(),
            said: Vec::new(),
            numbers: Vec::new(),
            next: Vec::new(),
            says_order: false,
            has_links: false,
            nested: Vec::new(),
        }
    }

    /// The plan's own fields; gives what links its steps.
    fn plan(&mut self, found: &FoundSteps<'_>) -> Vec<(String, String)> {
        let mut links = Vec::new();
        let own = found.plan.into_iter().flatten().map(|(name, held)| (name.as_str(), held));
        let own: Vec<(&str, &Value)> = own.filter(|(name, _)| Some(*name) != found.field).collect();
        for (name, value) in own.into_iter().chain(found.around.iter().copied()) {
            let short = plain(name);
            let short = short.as_str();
            if LINKS.contains(&short) && value.is_array() {
                self.has_links = true;
                let listed = value.as_array().into_iter().flatten();
                for link in listed {
                    match pair(link) {
                        Some(ends) => links.push(ends),
                        None => {
                            self.lose(format!("a link of `{name}` was dropped: {}", shown(link)));
                        }
                    }
                }
            } else if is_list_name(short) && !value.is_null() {
                self.second_list(name, value, found.field);
            } else if GOALS.contains(&short) && value.is_string() {
                if self.draft.goal.is_none() || short == "goal" {
                    self.draft.goal = value.as_str().map(ToOwned::to_owned);
                }
            } else if ORDERS.contains(&short) && value.as_str().is_some_and(says_order) {
                self.says_order = true;
            } else if short == "output" && value.is_string() {
                self.draft.output = value.as_str().map(ToOwned::to_owned);
            } else if let Some((_, kept)) = KEPT_OF_PLAN.iter().find(|(plain, _)| *plain == short) {
                self.draft.fields.insert((*kept).to_owned(), value.clone());
            } else if !value.is_null() {
                self.draft.warnings.push(format!(
                    "`{}` was dropped: a plan has no such field: {}",
                    brief(name),
                    shown(value)
                ));
            }
        }
        links
    }

    /// A list of steps beside the one that is read.
    fn second_list(&mut self, name: &str, value: &Value, read: Option<&str>) {
        let warning = format!(
            "`{}` was dropped: the steps were read from `{}`: {}",
            brief(name),
            read.unwrap_or_default(),
            shown(value)
        );
        // Words about the steps are no steps.
        match value.as_array() {
            Some(items) if items.iter().any(Value::is_object) => self.lose(warning),
            _ => self.draft.warnings.push(warning),
        }
    }

    /// Tells what was left out and would have changed the plan.
    fn lose(&mut self, warning: String) {
        self.draft.lost.push(warning.clone());
        self.draft.warnings.push(warning);
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
        self.numbers.push(number_of(&[], "", text));
        self.draft.steps.push(step);
        self.said.push(StatedLinks::default());
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
        let name = step.fields.get("name").and_then(Value::as_str).unwrap_or_default();
        self.numbers.push(number_of(&fields, &step.id, name));
        let mut said = StatedLinks::default();
        let mut next = StatedLinks::default();
        let mut below: Vec<&Value> = Vec::new();
        for (at, (short, name, value)) in fields.iter().enumerate() {
            let short = short.as_str();
            if short == "type" || short == "tasktype" {
                self.task_type(&step.id, value, &mut step.fields);
            } else if NEEDS.contains(&short) {
                said.read(value);
            } else if NEXT.contains(&short) {
                next.read(value);
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
            } else if !used.contains(&at) && !ORDER_FIELDS.contains(&short) {
                let dropped = format!(
                    "`{}` of task `{}` was dropped: a task has no such field: {}",
                    brief(name),
                    brief(&step.id),
                    shown(value)
                );
                self.draft.warnings.push(dropped);
            }
        }
        if said.any {
            step.fields.entry("join").or_insert_with(|| json!("any"));
        }
        if next.is_stated {
            self.next.push((step.id.clone(), next));
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
        if ends_within_value(value) {
            let warning = format!(
                "the arguments of task `{}` end within a value: {}",
                brief(id),
                shown(value)
            );
            self.lose(warning);
        }
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
        let needs: usize = self.said.iter().map(|said| said.links.len()).sum();
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
        let mut is_stated = self.has_links || !self.next.is_empty();
        for at in 0..self.draft.steps.len() {
            let mut said = std::mem::take(&mut self.said[at]);
            self.needs_that_are_steps(at, &names, &mut said);
            is_stated |= said.is_stated;
            for what in std::mem::take(&mut said.dropped) {
                let id = brief(&self.draft.steps[at].id).into_owned();
                self.lose(format!("{what} of a dependency of task `{id}` was dropped"));
            }
            for link in said.links {
                let needed = self.needed(at, &link.whom, &names);
                let step = &mut self.draft.steps[at];
                for task in needed {
                    if !step.needs.iter().any(|need| need.task == task) {
                        step.needs.push(DraftNeed { task, terms: link.terms.clone() });
                    }
                }
            }
            rename(&mut self.draft.steps[at].fields, &mut |id| {
                if RESERVED_IDS.contains(&id) {
                    return None;
                }
                let is_number = id.bytes().all(|b| b.is_ascii_digit());
                let found = names.find(id, is_number).filter(|found| found != id)?;
                Some(format!("[{found}]"))
            });
        }
        self.link_next(&names);
        self.link_pairs(links, &names);
        let referenced = self.draft.referenced();
        is_stated |= self.draft.steps.iter().any(|step| referenced.contains(&step.id));
        if !is_stated && self.draft.steps.len() > 1 {
            state_order(&mut self.draft, &self.numbers, self.says_order);
        }
        for (parent, inner) in self.nested {
            let told = self.draft.splice(&parent, inner, referenced.contains(&parent));
            self.draft.warnings.extend(told.err());
        }
        Ok(self.draft)
    }

    /// `needs: [a, b]` are dependencies where a and b are steps; capabilities have other names.
    fn needs_that_are_steps(&mut self, at: usize, names: &StepNames, said: &mut StatedLinks) {
        let fields = &mut self.draft.steps[at].fields;
        let listed = fields.get("needs").and_then(Value::as_array);
        if listed.is_some_and(|listed| names.are_ids(listed))
            && let Some(needs) = fields.shift_remove("needs")
        {
            said.read(&needs);
        }
    }

    /// The ids of the steps that are meant; what is not understood is told.
    fn needed(&mut self, at: usize, whom: &StatedWhom, names: &StepNames) -> Vec<String> {
        let id = self.draft.steps[at].id.clone();
        let (text, is_number) = match whom {
            StatedWhom::Previous => return names.ids[..at].last().cloned().into_iter().collect(),
            StatedWhom::AllBefore => return names.ids[..at].to_vec(),
            StatedWhom::Named { text, is_number } => (text, *is_number),
            StatedWhom::Unclear(value) => {
                let found = names.within(value);
                let read = format!("the dependency {} of task `{}`", shown(value), brief(&id));
                let states = value.as_object().into_iter().flat_map(|states| states.values());
                if found.is_empty() {
                    self.lose(format!("{read} was dropped: it names no task"));
                } else if states.into_iter().any(|state| !is_done(state) && !names.names_ids(state))
                {
                    let tasks = found.join("`, `");
                    self.lose(format!(
                        "{read} means `{tasks}`; what it says beside that was dropped"
                    ));
                } else {
                    self.draft.repairs.push(format!("{read} means `{}`", found.join("`, `")));
                }
                return found;
            }
        };
        if let Some(task) = names.find(text, is_number) {
            return vec![task];
        }
        if is_nobody(text) {
            return Vec::new();
        }
        if let Some(several) = names.several(text) {
            return several;
        }
        let found = names.within(&json!(text));
        if !found.is_empty() {
            let read = format!("the dependency \"{}\" of task `{}`", brief(text), brief(&id));
            self.draft.repairs.push(format!("{read} means `{}`", found[0]));
            return found;
        }
        self.draft.warnings.push(format!(
            "task `{}` needs `{}`, which is no task",
            brief(&id),
            brief(text)
        ));
        vec![text.clone()]
    }

    /// Steps that a step names as those behind it need it.
    fn link_next(&mut self, names: &StepNames) {
        for (from, next) in std::mem::take(&mut self.next) {
            for link in next.links {
                let to = match &link.whom {
                    StatedWhom::Named { text, is_number } => names.find(text, *is_number),
                    _ => None,
                };
                let place = to.and_then(|to| self.draft.steps.iter().position(|s| s.id == to));
                match (place, &link.whom) {
                    (Some(place), _) => self.need(place, &from),
                    (None, StatedWhom::Named { text, .. }) if is_nobody(text) => {}
                    (None, whom) => self.lose(format!(
                        "what task `{}` names behind it was dropped, it is no task: {}",
                        brief(&from),
                        whom_shown(whom)
                    )),
                }
            }
        }
    }

    fn need(&mut self, at: usize, from: &str) {
        let step = &mut self.draft.steps[at];
        if step.id != from && !step.needs.iter().any(|need| need.task == from) {
            step.needs.push(DraftNeed::on(from));
        }
    }

    fn link_pairs(&mut self, links: Vec<(String, String)>, names: &StepNames) {
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
                _ => {
                    let warning = format!(
                        "the link from `{}` to `{}` names no task",
                        brief(&from),
                        brief(&to)
                    );
                    self.lose(warning);
                }
            }
        }
    }
}

fn whom_shown(whom: &StatedWhom) -> String {
    match whom {
        StatedWhom::Named { text, .. } => brief(text).into_owned(),
        StatedWhom::Previous => "the previous step".to_owned(),
        StatedWhom::AllBefore => "all steps before".to_owned(),
        StatedWhom::Unclear(value) => shown(value),
    }
}

/// A dropped value in words, so that nothing of it is lost without being told.
fn shown(value: &Value) -> String {
    const SHOWN_MAX_CHARS: usize = 8_000;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_MAX_CHARS) {
        None => text,
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}
