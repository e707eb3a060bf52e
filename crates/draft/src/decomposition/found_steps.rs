//! Where the steps stand in a value, and what their fields are called (spec 08, `--format answer`).
//! Called by `answer`, which chooses among values, and by `steps`, which reads the chosen one.

use serde_json::{Map, Value};

pub(super) const STEPS: [&str; 7] =
    ["tasks", "steps", "subtasks", "plan", "nodes", "tasknodes", "tasksteps"];
pub(super) const IDS: [&str; 7] = ["id", "taskid", "stepid", "nodeid", "step", "index", "number"];
pub(super) const NAMES: [&str; 6] = ["name", "title", "task", "step", "description", "action"];
pub(super) const TOOLS: [&str; 6] =
    ["tool", "toolname", "function", "functionname", "api", "apiname"];
pub(super) const INPUTS: [&str; 20] = [
    "inputs",
    "arguments",
    "args",
    "parameters",
    "params",
    "input",
    "param",
    "parameter",
    "argument",
    "arg",
    "kwargs",
    "toolinput",
    "toolinputs",
    "toolargs",
    "toolarguments",
    "toolparameters",
    "toolparams",
    "actioninput",
    "inputparameters",
    "payload",
];
/// Around the value that is meant: `{"plan": {"steps": […]}}`, a tool call's `arguments`.
const WRAPPERS: [&str; 8] =
    ["plan", "result", "response", "output", "workflow", "answer", "arguments", "parameters"];
/// The most wrappers that are looked through.
const WRAPPERS_MAX: usize = 4;

/// Counts the steps of a value.
pub(super) fn count(value: &Value) -> usize {
    find(value).map_or(0, |found| found.steps.len())
}

/// Counts the steps of a value found in the middle of prose, where `[a, b]` is a remark and no
/// plan.
pub(super) fn count_in_prose(value: &Value) -> usize {
    match find(value) {
        Some(FoundSteps { plan: None, steps, .. })
            if steps.iter().any(|(_, step)| step.is_string()) =>
        {
            0
        }
        found => found.map_or(0, |found| found.steps.len()),
    }
}

/// True for names of fields that hold steps.
pub(super) fn is_list_name(name: &str) -> bool {
    STEPS.contains(&name)
}

/// The place of the steps.
pub(super) struct FoundSteps<'v> {
    /// The object that holds them, where there is one.
    pub(super) plan: Option<&'v Map<String, Value>>,
    pub(super) steps: Vec<(Option<&'v str>, &'v Value)>,
    /// The name of the field that holds them.
    pub(super) field: Option<&'v str>,
    /// What stands around the plan.
    pub(super) around: Vec<(&'v str, &'v Value)>,
}

pub(super) fn find(value: &Value) -> Option<FoundSteps<'_>> {
    let mut value = value;
    let mut around: Vec<(&str, &Value)> = Vec::new();
    for _ in 0..WRAPPERS_MAX {
        let members = match value {
            Value::Array(items) => {
                return list(None, items).map(|found| FoundSteps { around, ..found });
            }
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
                Some((field, Value::Array(items))) => {
                    if let Some(found) = list(Some(members), items) {
                        return Some(FoundSteps { field: Some(field), around, ..found });
                    }
                }
                Some((field, held @ Value::Object(named))) => {
                    if named.keys().any(|key| STEPS.contains(&&*plain(key))) {
                        inner.get_or_insert((field.as_str(), held));
                    } else if let Some(found) = keyed(members, named) {
                        return Some(FoundSteps { field: Some(field), around, ..found });
                    }
                }
                _ => {}
            }
        }
        let (field, within) = match inner {
            Some(inner) => inner,
            None => {
                let (field, held) = WRAPPERS.iter().find_map(|name| by_name(name))?;
                (field.as_str(), held)
            }
        };
        let others = members.iter().filter(|(name, _)| name.as_str() != field);
        around.extend(others.map(|(name, held)| (name.as_str(), held)));
        value = within;
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
    let steps = || items.iter().map(|item| (None, item)).collect();
    known.then(|| FoundSteps { plan, steps: steps(), field: None, around: Vec::new() })
}

/// `{"fetch": {…}, "report": {…}}`: steps by id.
fn keyed<'v>(
    plan: &'v Map<String, Value>,
    named: &'v Map<String, Value>,
) -> Option<FoundSteps<'v>> {
    let is_whole =
        !named.is_empty() && named.values().all(|step| step.as_object().is_some_and(is_step));
    let steps = || named.iter().map(|(id, step)| (Some(id.as_str()), step)).collect();
    is_whole.then(|| FoundSteps {
        plan: Some(plan),
        steps: steps(),
        field: None,
        around: Vec::new(),
    })
}

pub(super) fn is_step(members: &Map<String, Value>) -> bool {
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
