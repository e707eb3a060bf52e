//! A plan on its way from an answer to a plan file: steps by id, and what they need.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

/// Steps as a model gave them, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DraftPlan {
    /// The plan's purpose, where the answer says it.
    pub goal: Option<String>,
    /// The steps.
    pub steps: Vec<DraftStep>,
    /// Fields of the plan beside its steps, by the plan file's names.
    pub fields: Map<String, Value>,
    /// The reference that stands for the whole plan's result: `$[id].output…`.
    pub output: Option<String>,
    /// Notes on what was understood beyond the letter.
    pub repairs: Vec<String>,
    /// Notes on what was not understood and left out.
    pub warnings: Vec<String>,
    /// Those of the warnings that speak of something without which the plan means something else: a
    /// dependency, a second list of steps, a key that stands twice.
    pub lost: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DraftStep {
    /// The task's id.
    pub id: String,
    /// Dependencies.
    pub needs: Vec<DraftNeed>,
    /// The rest, by the plan file's names.
    pub fields: Map<String, Value>,
}

/// One dependency.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftNeed {
    /// The id of the step that is needed.
    pub task: String,
    /// `type`, `condition`, `output_key`, where they are said.
    pub terms: Map<String, Value>,
}

impl DraftNeed {
    /// A plain dependency.
    pub fn on(task: impl Into<String>) -> DraftNeed {
        DraftNeed { task: task.into(), terms: Map::new() }
    }
}

impl DraftPlan {
    /// As a plan file has it.
    pub fn plan_file(&self) -> Value {
        let mut plan = Map::new();
        plan.insert("goal".to_owned(), json!(self.goal.as_deref().unwrap_or("imported plan")));
        plan.extend(self.fields.clone());
        plan.insert("tasks".to_owned(), self.steps.iter().map(DraftStep::task).collect());
        Value::Object(plan)
    }

    /// States each dependency that a reference implies (spec 02, 2.6); what was added is reported.
    pub fn state_implied(&mut self) {
        let ids: HashSet<String> = self.steps.iter().map(|step| step.id.clone()).collect();
        for step in &mut self.steps {
            let mut named = Vec::new();
            for value in step.fields.values() {
                each_reference(value, &mut |id| named.push(id.to_owned()));
            }
            let mut known: HashSet<String> =
                step.needs.iter().map(|need| need.task.clone()).collect();
            for id in named {
                let is_new = ids.contains(&id) && id != step.id && known.insert(id.clone());
                if is_new {
                    let note =
                        format!("`{}` uses the output of `{id}`: it waits for it now", step.id);
                    self.repairs.push(note);
                    step.needs.push(DraftNeed::on(id));
                }
            }
        }
    }

    /// Puts the steps of `sub` in the place of a step, as `parent.child`. Its roots inherit what the
    /// parent needs, and what needs the parent needs its leaves. References to the parent's output
    /// are bound to what the sub-plan declares as its own, else to its only leaf.
    ///
    /// Err: what is referenced has no such stand-in, in words for whoever wrote the plan.
    ///
    /// `is_asked`: whether [`DraftPlan::referenced`] holds the parent.
    pub fn splice(&mut self, parent: &str, sub: DraftPlan, is_asked: bool) -> Result<(), String> {
        let Some(at) = self.steps.iter().position(|step| step.id == parent) else { return Ok(()) };
        let ids: HashSet<&str> = sub.steps.iter().map(|step| step.id.as_str()).collect();
        let renamed: HashMap<String, String> =
            ids.iter().map(|id| ((*id).to_owned(), format!("{parent}.{id}"))).collect();
        let needed: HashSet<&str> =
            sub.steps.iter().flat_map(|step| &step.needs).map(|need| need.task.as_str()).collect();
        let referenced = sub.referenced();
        let gate = self.steps[at].fields.get("gate").filter(|gate| **gate == true).cloned();
        self.say_dropped(at);
        let mut leaves: Vec<String> = Vec::new();
        let inherited = self.steps[at].needs.clone();
        let mut steps = Vec::with_capacity(sub.steps.len());
        for step in &sub.steps {
            let is_used = needed.contains(step.id.as_str()) || referenced.contains(&step.id);
            if !is_used {
                leaves.push(renamed[&step.id].clone());
            }
            let mut step = step.clone();
            let is_root = !step.needs.iter().any(|need| ids.contains(need.task.as_str()));
            for need in &mut step.needs {
                if let Some(name) = renamed.get(&need.task) {
                    need.task.clone_from(name);
                }
            }
            if is_root {
                step.needs.extend(inherited.iter().cloned());
                // Who was to be asked before the parent is asked before what stands for it begins.
                if let Some(gate) = &gate {
                    step.fields.insert("gate".to_owned(), gate.clone());
                }
            }
            rename(&mut step.fields, &mut |id| renamed.get(id).map(|new| format!("[{new}]")));
            step.id = renamed[&step.id].clone();
            steps.push(step);
        }
        let stand_in = if is_asked { stand_in(parent, &sub, &renamed, &leaves)? } else { None };
        self.steps.splice(at..=at, steps);
        for step in &mut self.steps {
            redirect(&mut step.needs, parent, &leaves);
            if let Some(stand_in) = &stand_in {
                rename_output(&mut step.fields, parent, stand_in);
            }
        }
        self.repairs.extend(sub.repairs.into_iter().map(|what| format!("{parent}: {what}")));
        self.warnings.extend(sub.warnings.into_iter().map(|what| format!("{parent}: {what}")));
        self.lost.extend(sub.lost.into_iter().map(|what| format!("{parent}: {what}")));
        Ok(())
    }

    /// The ids that references in the steps' fields name.
    pub fn referenced(&self) -> HashSet<String> {
        let mut ids = HashSet::new();
        for value in self.steps.iter().flat_map(|step| step.fields.values()) {
            each_reference(value, &mut |id| {
                ids.insert(id.to_owned());
            });
        }
        ids
    }

    /// Tells what a step said of itself that its parts cannot take over.
    fn say_dropped(&mut self, at: usize) {
        const TAKEN_OVER: [&str; 6] = ["name", "description", "action", "goal", "type", "gate"];
        let step = &self.steps[at];
        let lost: Vec<&str> = step
            .fields
            .keys()
            .map(String::as_str)
            .filter(|name| !TAKEN_OVER.contains(name))
            .collect();
        if !lost.is_empty() {
            let warning = format!(
                "`{}` of `{}` was dropped: the steps within it took its place",
                lost.join("`, `"),
                step.id
            );
            self.warnings.push(warning);
        }
    }
}

/// Puts something in place of `$[parent].output`.
fn stand_in(
    parent: &str,
    sub: &DraftPlan,
    renamed: &HashMap<String, String>,
    leaves: &[String],
) -> Result<Option<String>, String> {
    if let Some(declared) = &sub.output {
        let mut value = json!(declared);
        rename_value(&mut value, &mut |id| renamed.get(id).map(|new| format!("[{new}]")));
        return Ok(value.as_str().map(ToOwned::to_owned));
    }
    match leaves {
        [only] => Ok(Some(format!("$[{only}].output"))),
        _ => Err(format!(
            "`$[{parent}].output` is referenced, but the plan for `{parent}` ends in {} tasks and declares no `output`",
            leaves.len()
        )),
    }
}

impl DraftStep {
    fn task(&self) -> Value {
        let mut task = Map::new();
        task.insert("id".to_owned(), json!(self.id));
        task.extend(self.fields.clone());
        if !self.needs.is_empty() {
            let needs: Vec<Value> = self.needs.iter().map(DraftNeed::written).collect();
            task.insert("depends_on".to_owned(), Value::Array(needs));
        }
        Value::Object(task)
    }

    /// True if the task stands for a plan of its own.
    pub fn is_compound(&self) -> bool {
        let of_type =
            |kind: &Value| kind.as_str().is_some_and(|k| k.eq_ignore_ascii_case("compound"));
        match self.fields.get("type") {
            Some(kind) => of_type(kind),
            None => {
                let has = |name: &str| self.fields.contains_key(name);
                has("goal") && !has("tool") && !has("prompt")
            }
        }
    }
}

impl DraftNeed {
    fn written(&self) -> Value {
        if self.terms.is_empty() {
            return json!(self.task);
        }
        let mut need = Map::new();
        need.insert("task".to_owned(), json!(self.task));
        need.extend(self.terms.clone());
        Value::Object(need)
    }
}

/// Tells the id of each reference in a value.
fn each_reference(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => {
            let _ = renamed_text(text, &mut |id| {
                found(id);
                None
            });
        }
        Value::Array(items) => items.iter().for_each(|item| each_reference(item, found)),
        Value::Object(members) => members.values().for_each(|item| each_reference(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Gives each dependent of the parent each of its leaves, once.
fn redirect(needs: &mut Vec<DraftNeed>, parent: &str, leaves: &[String]) {
    let Some(at) = needs.iter().position(|need| need.task == parent) else { return };
    let terms = needs[at].terms.clone();
    let to_leaf = |leaf: &String| DraftNeed { task: leaf.clone(), terms: terms.clone() };
    needs.splice(at..=at, leaves.iter().map(to_leaf));
}

/// Puts other ids into the references of all texts; `new(id)` gives the brackets with the new id.
pub(super) fn rename(fields: &mut Map<String, Value>, new: &mut dyn FnMut(&str) -> Option<String>) {
    for value in fields.values_mut() {
        rename_value(value, new);
    }
}

fn rename_value(value: &mut Value, new: &mut dyn FnMut(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(renamed) = renamed_text(text, new) {
                *text = renamed;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename_value(item, new)),
        Value::Object(members) => members.values_mut().for_each(|item| rename_value(item, new)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text with each `$[id]` and `${[id]` renamed; none when there is nothing to rename.
fn renamed_text(text: &str, new: &mut dyn FnMut(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let dollar = at + found;
        at = dollar + 1;
        if text[at..].starts_with('$') {
            // `$$[` is the text `$[` itself.
            at += 1;
            continue;
        }
        let brackets = at + usize::from(text[at..].starts_with('{'));
        let Some(inner) = text[brackets..].strip_prefix('[') else { continue };
        let Some(end) = inner.find(']') else { break };
        if let Some(replacement) = new(inner[..end].trim().trim_matches(['\'', '"'])) {
            out.push_str(&text[copied..brackets]);
            out.push_str(&replacement);
            copied = brackets + 1 + end + 1;
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
}

/// `$[parent].output.path` becomes `stand_in` with the path behind it.
fn rename_output(fields: &mut Map<String, Value>, parent: &str, stand_in: &str) {
    // `$[child].output.x`: what stands between the dollar and the reader's own path.
    let Some(target) = stand_in.strip_prefix('$') else { return };
    rename(fields, &mut |id| (id == parent).then(|| format!("{target}\u{0}")));
    for value in fields.values_mut() {
        join_paths(value, target);
    }
}

/// Takes out the mark that [`rename_output`] leaves, with the `.output` of the old reference. The error
/// of the parent is that of the task whose output stands for its.
fn join_paths(value: &mut Value, target: &str) {
    match value {
        Value::String(text) if text.contains('\u{0}') => {
            let task = target.split_inclusive(']').next().unwrap_or(target);
            *text = text
                .replace(&format!("{target}\u{0}.error"), &format!("{task}.error"))
                .replace("\u{0}.output", "")
                .replace('\u{0}', "");
        }
        Value::Array(items) => items.iter_mut().for_each(|item| join_paths(item, target)),
        Value::Object(members) => members.values_mut().for_each(|item| join_paths(item, target)),
        _ => {}
    }
}
