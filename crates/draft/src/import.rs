//! Plans that people and models wrote for people, read into plan files.
//!
//! Nothing is invented: a step becomes one task, and an edge needs a word that says it or the
//! order of a numbered list. What was understood beyond the letter is listed in `repairs`, what
//! was not in `warnings`.

mod links;
mod markdown;
mod sequence;
mod workflow;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

pub use markdown::read_markdown;

use l05_core::error::{Error, ErrorCode};

/// The longest text that is read, in bytes.
pub const IMPORT_BYTES_MAX: usize = 16 << 20;
/// The most steps that are read.
const STEPS_MAX: usize = 100_000;

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
}

/// Tasks and edges by number.
struct ImportDraft {
    goal: String,
    steps: Vec<ImportedStep>,
    edges: Vec<(String, String)>,
    repairs: Vec<String>,
    warnings: Vec<String>,
}

impl ImportDraft {
    /// The plan file. `steps` are flat by now: those with children have been replaced.
    fn finish(self) -> Result<ImportedPlan, Error> {
        if self.steps.is_empty() {
            let message = "there is no step in the text: no numbered, checkbox or bulleted list, and no numbered headings";
            return Err(Error::new(ErrorCode::PlanMalformed, message)
                .suggest("write the steps as `1. …` or `- [ ] …`"));
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
    if !metadata.is_empty() {
        put("metadata", Value::Object(metadata));
    }
    Value::Object(task)
}
