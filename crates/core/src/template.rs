//! Templates: plans that are known to work, found by what a goal says.
//!
//! A template's parameters become the *inputs* of the plan and `{{ name }}` in a task's inputs
//! becomes a reference to one, so a parameter's value is data for ever: it is never spliced into
//! anything that is parsed again. That also makes the tasks of a template constant: they are read
//! once, when the library is loaded.

mod coarse;
mod library;
mod pattern;
mod read;
mod substitute;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value, json};

use crate::agent::MODEL_CAPABILITY;
use crate::document::choice::choices;
use crate::error::{Error, ErrorCode};
use crate::plan::{OnFailure, PlanDocument, PlanMetadata, Strategy};
use crate::suggest::{did_you_mean, nearest};
use crate::task::{Task, TaskType};

pub use library::{Confidence, TemplateLibrary, TemplateMatch};
pub(crate) use read::{TEMPLATE_FIELD_TABLES, TemplateFields};

choices! {
    /// Types of a parameter's value.
    pub enum ParameterType {
        /// Text.
        String = "string",
        /// A word of a closed set, in lower case however it was written.
        Word = "word",
        /// A whole number.
        Integer = "integer",
        /// A number.
        Number = "number",
        /// `true` or `false`.
        Boolean = "boolean",
        /// Texts, separated by commas when they come from a goal or a command line.
        List = "list",
    }
}

/// Something a template wants to know.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TemplateParameter {
    /// The parameter's name, in `{{ name }}` and as `--input name=…`.
    pub name: String,
    /// The meaning.
    pub description: String,
    /// The value's type.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// True if the template is of no use without it.
    pub required: bool,
    /// The value when nobody gives one. `{{ today }}` in it is the date of planning, `{{ name }}` the value of
    /// a parameter before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The values that a goal may give it, each with other words for it. Empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<ParameterChoice>,
    /// Words of a goal that are no value of it: a regular expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejects: Option<String>,
}

/// A value of a parameter, and the words that stand for it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ParameterChoice {
    /// The value.
    pub value: String,
    /// Other words for it.
    pub words: Vec<String>,
}

impl TemplateParameter {
    fn as_written(&self) -> Value {
        let mut written = serde_json::to_value(self).expect("a parameter is plain data");
        if !self.choices.is_empty() {
            let choices = self.choices.iter().map(|c| (c.value.clone(), json!(c.words)));
            written["choices"] = Value::Object(choices.collect());
        }
        written
    }

    /// The value that a word stands for; none where the parameter knows no such word.
    fn chosen(&self, word: &str) -> Option<&str> {
        let stands = |choice: &&ParameterChoice| {
            let mut words = std::iter::once(&choice.value).chain(&choice.words);
            words.any(|known| known.eq_ignore_ascii_case(word))
        };
        self.choices.iter().find(stands).map(|choice| choice.value.as_str())
    }
}

/// A goal that must match, with what is then known.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TemplateExample {
    /// A goal that somebody might ask for.
    pub goal: String,
    /// Parameters that the goal's words give.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
}

/// A plan for goals of one kind.
#[derive(Clone, Debug)]
pub struct Template {
    /// The template's name.
    pub id: String,
    /// Semver; part of a plan's metadata.
    pub version: String,
    /// The purpose, in a sentence.
    pub description: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Regular expressions over the whole goal, with named groups for parameters.
    pub patterns: Vec<String>,
    /// Words with weights, for goals that are only alike.
    pub keywords: Vec<(String, f64)>,
    /// Parameters.
    pub parameters: Vec<TemplateParameter>,
    /// Goals that must match.
    pub examples: Vec<TemplateExample>,
    /// Goals that must not.
    pub counterexamples: Vec<String>,
    /// The meaning of a failed task for the rest.
    pub on_failure: OnFailure,
    /// The steps.
    pub tasks: Vec<Task>,
}

/// In the form of a template's file, so that what is shown can be read.
impl Serialize for Template {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let keywords: Map<String, Value> =
            self.keywords.iter().map(|(word, weight)| (word.clone(), (*weight).into())).collect();
        // In a file a parameter's choices are a mapping.
        let parameters: Vec<Value> =
            self.parameters.iter().map(TemplateParameter::as_written).collect();
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("description", &self.description)?;
        map.serialize_entry("tags", &self.tags)?;
        map.serialize_entry("match", &json!({ "patterns": self.patterns, "keywords": keywords }))?;
        map.serialize_entry("parameters", &parameters)?;
        let examples = json!({ "match": self.examples, "no_match": self.counterexamples });
        map.serialize_entry("examples", &examples)?;
        map.serialize_entry("on_failure", &self.on_failure)?;
        map.serialize_entry("tasks", &self.tasks.iter().map(as_written).collect::<Vec<_>>())?;
        map.end()
    }
}

/// A task as a template's file has it: inputs in which braces mean something else are `raw`.
fn as_written(task: &Task) -> Value {
    let mut written = serde_json::to_value(task).expect("a task is plain data");
    let has_braces = |(_, value): &(&String, &Value)| value.to_string().contains("{{");
    let raw: Vec<&String> = task.inputs.iter().filter(has_braces).map(|(name, _)| name).collect();
    if !raw.is_empty() {
        written["raw"] = json!(raw);
    }
    written
}

impl Template {
    /// A draft plan for a goal. `parameters` are as [`Template::bind`] gives them.
    pub fn instantiate(
        &self,
        goal: &str,
        parameters: Map<String, Value>,
        confidence: f64,
    ) -> PlanDocument {
        let mut tasks = self.tasks.clone();
        for task in &mut tasks {
            substitute::label(&mut task.name, &parameters);
            substitute::label(&mut task.description, &parameters);
        }
        let mut document = PlanDocument::draft(goal, tasks);
        document.inputs = parameters;
        document.on_failure = self.on_failure;
        document.metadata = PlanMetadata {
            strategy: Some(Strategy::Template),
            template_id: Some(self.id.clone()),
            template_version: Some(self.version.clone()),
            confidence: Some(confidence),
            tags: self.tags.clone(),
            ..PlanMetadata::default()
        };
        document
    }

    /// The capabilities that its tasks need of a place: `tool:fs.read`, `llm`.
    pub fn needs(&self) -> Vec<String> {
        let mut needs: Vec<String> = Vec::new();
        for task in &self.tasks {
            needs.extend(task.tool.iter().map(|tool| format!("tool:{tool}")));
            needs.extend(task.capability_requirements.iter().cloned());
            if task.task_type == TaskType::LlmCall {
                needs.push(MODEL_CAPABILITY.to_owned());
            }
        }
        needs.sort();
        needs.dedup();
        needs
    }

    /// The value of every parameter: what the caller gives, else what the goal says, else the
    /// default. Missing, mistyped and unknown ones are one E5113 that names them all.
    pub fn bind(
        &self,
        given: &Map<String, Value>,
        said: &Map<String, Value>,
        today: &str,
    ) -> Result<Map<String, Value>, Error> {
        let mut bound = Map::new();
        let mut problems = Vec::new();
        for parameter in &self.parameters {
            let value = given.get(&parameter.name).or_else(|| said.get(&parameter.name));
            // What the caller gives need not be one of the choices: the caller knows what it is.
            let chosen = value.and_then(Value::as_str).and_then(|word| parameter.chosen(word));
            let chosen = chosen.map(Value::from);
            match chosen.as_ref().or(value).map(|value| coerce(value, parameter.kind)) {
                Some(Some(value)) => {
                    bound.insert(parameter.name.clone(), value);
                }
                Some(None) => {
                    problems
                        .push(format!("`{}` must be of type {}", parameter.name, parameter.kind));
                }
                None => match &parameter.default {
                    Some(default) => {
                        let filled = substitute::default(default, &bound, today);
                        bound.insert(parameter.name.clone(), filled);
                    }
                    None if parameter.required => {
                        problems.push(format!(
                            "`{}` is missing ({})",
                            parameter.name, parameter.description
                        ));
                    }
                    None => {
                        bound.insert(parameter.name.clone(), Value::Null);
                    }
                },
            }
        }
        for name in given.keys().filter(|name| self.parameter(name).is_none()) {
            let near = nearest(name, self.parameters.iter().map(|p| p.name.as_str()));
            problems.push(format!("`{name}` is unknown{}", did_you_mean(&near)));
        }
        if problems.is_empty() {
            return Ok(bound);
        }
        let message = format!("template `{}`: {}", self.id, problems.join("; "));
        let first = self.parameters.iter().find(|p| p.required).map_or("name", |p| &p.name);
        Err(Error::new(ErrorCode::TemplateParameterMissing, message)
            .detail("template", self.id.as_str())
            .detail("problems", problems)
            .suggest(format!(
                "give it with --input {first}=…; `l05 templates show {}` lists all",
                self.id
            )))
    }

    fn parameter(&self, name: &str) -> Option<&TemplateParameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

/// A value in the form of its type, where it has one: words of a goal and of a command line are
/// texts and are read as what the parameter is.
fn coerce(value: &Value, kind: ParameterType) -> Option<Value> {
    match (kind, value) {
        (ParameterType::String, Value::String(_))
        | (ParameterType::Number, Value::Number(_))
        | (ParameterType::Boolean, Value::Bool(_)) => Some(value.clone()),
        (ParameterType::Word, Value::String(s)) => Some(Value::from(s.trim().to_lowercase())),
        (ParameterType::String, Value::Number(n)) => Some(Value::String(n.to_string())),
        (ParameterType::Integer, Value::Number(n)) => {
            (n.is_i64() || n.is_u64()).then(|| value.clone())
        }
        (ParameterType::Integer, Value::String(s)) => s.trim().parse::<i64>().ok().map(Value::from),
        (ParameterType::Number, Value::String(s)) => {
            let number = s.trim().parse::<f64>().ok().filter(|n| n.is_finite())?;
            serde_json::Number::from_f64(number).map(Value::Number)
        }
        (ParameterType::Boolean, Value::String(s)) => {
            s.trim().parse::<bool>().ok().map(Value::from)
        }
        (ParameterType::List, Value::Array(items)) => {
            items.iter().all(Value::is_string).then(|| value.clone())
        }
        (ParameterType::List, Value::String(s)) => {
            Some(s.split(',').map(|item| Value::from(item.trim())).collect())
        }
        (_, _) => None,
    }
}
