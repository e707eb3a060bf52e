//! Plans that people and models wrote for people, read into plan files.
//!
//! Nothing is invented: a step becomes one task, and an edge needs a word that says it or the
//! order of a numbered list. What was understood beyond the letter is listed in `repairs`, what
//! was not in `warnings`.

mod label;
mod links;
mod numbering;
mod outline;
mod sections;
mod sequence;
mod workflow;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use l05_core::error::{Error, ErrorCode};

/// The longest text that is read, in bytes.
pub const IMPORT_BYTES_MAX: usize = 16 << 20;
/// The most steps that are read.
const STEPS_MAX: usize = 100_000;

/// The most dependencies that are read.
const EDGES_MAX: usize = 1_000_000;

/// Reads a Markdown plan, as people and coding assistants write them: numbered, checkbox or bulleted
/// steps, nested ones, numbered headings, fenced commands, names of files; or nodes and edges.
///
/// Err: E5102 for a text with more steps or dependencies than are read, E5103 for one that is too
/// long, E5604 for one without steps.
pub fn read_markdown(text: &str) -> Result<ImportedPlan, Error> {
    if text.len() > IMPORT_BYTES_MAX {
        let message = format!("the text has {} bytes; at most {IMPORT_BYTES_MAX}", text.len());
        return Err(Error::new(ErrorCode::RequestTooLarge, message));
    }
    let text = text.trim_start_matches('\u{feff}');
    if let Some(draft) = workflow::read(text) {
        return draft.finish();
    }
    let outline = outline::outline(text).ok_or_else(too_many)?;
    sequence::resolve(sections::steps_of(outline)).finish()
}

/// The number at the beginning of a step's text, and the text behind it: `2.1 Pay`.
pub(crate) fn written_number(text: &str) -> Option<(String, &str)> {
    let found = label::numbered(text)?;
    let parts: Vec<String> = found.number.iter().map(u64::to_string).collect();
    Some((parts.join("."), found.text))
}

fn too_many() -> Error {
    let message = format!("the text has more than {STEPS_MAX} steps or {EDGES_MAX} dependencies");
    Error::new(ErrorCode::PlanSizeInvalid, message)
}

/// The plan of a text.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ImportedPlan {
    /// The plan, as a plan file has it.
    pub plan: Value,
    /// Notes on what was understood beyond the letter.
    pub repairs: Vec<String>,
    /// Notes on what was not understood and left out.
    pub warnings: Vec<String>,
}

/// One step on its way to a task.
#[derive(Clone, Debug, Default)]
struct ImportedStep {
    /// The name that other steps give it: `3`, `2.1`.
    number: String,
    /// The step's text.
    text: String,
    /// The notes below it.
    notes: Vec<String>,
    /// Fenced blocks below it: language and text.
    commands: Vec<(String, String)>,
    /// Names of files it speaks of.
    files: Vec<String>,
    /// Parts of the text that it stands in, by what the steps say.
    part_of: Vec<String>,
    /// Steps within it.
    children: Vec<ImportedStep>,
    /// The step's checkbox is ticked.
    done: bool,
    /// The step may be left out: its box has a star.
    optional: bool,
    /// The step has a number in the text.
    is_numbered: bool,
    /// The step is a heading.
    is_heading: bool,
    /// The steps within it run side by side, as its text says: `do in parallel:`.
    is_fork: bool,
}

/// Tasks and edges by number.
#[derive(Default)]
struct ImportDraft {
    goal: String,
    steps: Vec<ImportedStep>,
    edges: Vec<(String, String)>,
    repairs: Vec<String>,
    warnings: Vec<String>,
    /// There are more edges than [`EDGES_MAX`].
    has_too_many_edges: bool,
}

impl ImportDraft {
    /// The plan file. `steps` are flat by now: those with children have been replaced.
    fn finish(self) -> Result<ImportedPlan, Error> {
        if self.steps.is_empty() {
            let message = "there is no step in the text: no numbered, checkbox or bulleted list, and no numbered headings";
            return Err(Error::new(ErrorCode::PlanMalformed, message)
                .suggest("write the steps as `1. …` or `- [ ] …`"));
        }
        if self.steps.len() > STEPS_MAX || self.has_too_many_edges {
            return Err(too_many());
        }
        let mut tasks = Vec::with_capacity(self.steps.len());
        let mut needs: std::collections::HashMap<&str, Vec<&str>> =
            std::collections::HashMap::new();
        for (from, to) in &self.edges {
            needs.entry(to.as_str()).or_default().push(from);
        }
        for step in &self.steps {
            let needed = needs.get(step.number.as_str()).map_or(&[][..], Vec::as_slice);
            tasks.push(task(step, needed));
        }
        let plan = json!({ "goal": self.goal, "tasks": tasks });
        Ok(ImportedPlan { plan, repairs: self.repairs, warnings: self.warnings })
    }
}

fn id(number: &str) -> String {
    format!("step-{number}")
}

fn task(step: &ImportedStep, needs: &[&str]) -> Value {
    /// A name is a title: the rest of a long text is the description.
    const NAME_MAX_CHARS: usize = 120;
    let mut task = Map::new();
    let mut put = |key: &str, value: Value| {
        task.insert(key.to_owned(), value);
    };
    put("id", json!(id(&step.number)));
    let short = step.text.chars().count() <= NAME_MAX_CHARS;
    let name: String = if short {
        step.text.clone()
    } else {
        step.text.chars().take(NAME_MAX_CHARS - 1).chain(['…']).collect()
    };
    put("name", json!(name));
    let mut description = step.notes.clone();
    description.extend(step.part_of.iter().cloned());
    if !short {
        description.insert(0, step.text.clone());
    }
    if !description.is_empty() {
        put("description", json!(description.join("\n")));
    }
    put("type", json!("ATOMIC"));
    let mut seen: std::collections::HashSet<&str> = std::collections::HashSet::new();
    let listed: Vec<String> =
        needs.iter().filter(|need| seen.insert(need)).map(|need| id(need)).collect();
    if !listed.is_empty() {
        put("depends_on", json!(listed));
    }
    let mut metadata = Map::new();
    if !step.commands.is_empty() {
        let command =
            |(language, text): &(String, String)| json!({ "language": language, "text": text });
        metadata.insert("commands".to_owned(), step.commands.iter().map(command).collect());
    }
    if !step.files.is_empty() {
        metadata.insert("files".to_owned(), json!(step.files));
    }
    if step.done {
        metadata.insert("done".to_owned(), json!(true));
    }
    if step.optional {
        metadata.insert("optional".to_owned(), json!(true));
    }
    if !metadata.is_empty() {
        put("metadata", Value::Object(metadata));
    }
    Value::Object(task)
}
