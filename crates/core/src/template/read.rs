//! Reading a template file; every problem at once.

use serde_json::Value;

use super::{ParameterChoice, ParameterType, Template, TemplateExample, TemplateParameter};
use super::{pattern, substitute};
use crate::document::reader::{DocumentReader, FieldName, ObjectReader, kind, plain};
use crate::error::ErrorCode;
use crate::finding::Finding;
use crate::plan::{OnFailure, PlanDocument, PlanStructure};
use crate::task::{Task, read_task};

static TEMPLATE_FIELDS: &[FieldName] = &[
    plain("id"),
    plain("version"),
    plain("description"),
    plain("tags"),
    plain("match"),
    plain("parameters"),
    plain("examples"),
    plain("on_failure"),
    plain("tasks"),
];
static MATCH_FIELDS: &[FieldName] = &[plain("patterns"), plain("keywords")];
static PARAMETER_FIELDS: &[FieldName] = &[
    plain("name"),
    plain("description"),
    plain("type"),
    plain("required"),
    plain("default"),
    plain("choices"),
    plain("rejects"),
];
static EXAMPLES_FIELDS: &[FieldName] = &[plain("match"), plain("no_match")];
static EXAMPLE_FIELDS: &[FieldName] = &[plain("goal"), plain("parameters")];

/// The field tables, for the JSON Schema.
pub(crate) struct TemplateFields {
    pub(crate) template: &'static [FieldName],
    pub(crate) matching: &'static [FieldName],
    pub(crate) parameter: &'static [FieldName],
    pub(crate) examples: &'static [FieldName],
    pub(crate) example: &'static [FieldName],
}

pub(crate) static TEMPLATE_FIELD_TABLES: TemplateFields = TemplateFields {
    template: TEMPLATE_FIELDS,
    matching: MATCH_FIELDS,
    parameter: PARAMETER_FIELDS,
    examples: EXAMPLES_FIELDS,
    example: EXAMPLE_FIELDS,
};

impl Template {
    /// Reads a parsed template file.
    pub fn read(value: &Value) -> Result<Template, Vec<Finding>> {
        let reader = DocumentReader::default();
        let template = read_template(&reader, value);
        let mut findings = reader.into_findings();
        if let Some(template) = &template {
            // Ids, references and cycles, as in any plan.
            let draft = PlanDocument::draft(&template.id, template.tasks.clone());
            PlanStructure::build(&draft, &mut findings);
        }
        match template {
            Some(template) if findings.is_empty() => Ok(template),
            _ => Err(findings
                .into_iter()
                .map(|finding| Finding { code: ErrorCode::TemplateInvalid, ..finding })
                .collect()),
        }
    }
}

fn read_template(reader: &DocumentReader, value: &Value) -> Option<Template> {
    let object = reader.object(value, "", TEMPLATE_FIELDS)?;
    for required in ["id", "version", "description", "match", "tasks"] {
        if object.value(required).is_none() {
            object.problem(required, "is missing");
        }
    }
    let version = object.text("version").unwrap_or_default();
    if let Err(error) = semver::Version::parse(&version) {
        object.problem("version", format!("`{version}` is no semver version: {error}"));
    }
    let parameters = read_parameters(reader, &object);
    let (patterns, keywords) = read_match(reader, &object, &parameters);
    let (examples, counterexamples) = read_examples(reader, &object);
    Some(Template {
        id: object.text("id")?,
        version,
        description: object.text("description").unwrap_or_default(),
        tags: object.texts("tags"),
        patterns,
        keywords,
        examples,
        counterexamples,
        on_failure: object.choice("on_failure").unwrap_or(OnFailure::Continue),
        tasks: read_tasks(reader, &object, &parameters),
        parameters,
    })
}

fn read_parameters(reader: &DocumentReader, template: &ObjectReader<'_>) -> Vec<TemplateParameter> {
    let mut parameters: Vec<TemplateParameter> = Vec::new();
    for (i, value) in template.list("parameters").iter().enumerate() {
        let Some(object) = reader.object(value, format!("parameters[{i}]"), PARAMETER_FIELDS)
        else {
            continue;
        };
        if object.value("name").is_none() {
            object.problem("name", "is missing");
        }
        let Some(name) = object.text("name") else { continue };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            object.problem("name", "may have letters, digits and `_` only");
        }
        let default = object.value("default").cloned();
        let text = default.as_ref().and_then(Value::as_str).unwrap_or_default();
        let known = |name: &str| name == "today" || parameters.iter().any(|p| p.name == name);
        for unknown in substitute::names(text).into_iter().filter(|name| !known(name)) {
            object
                .problem("default", format!("`{{{{ {unknown} }}}}` names no parameter before it"));
        }
        parameters.push(TemplateParameter {
            name,
            description: object.text("description").unwrap_or_default(),
            kind: object.choice("type").unwrap_or(ParameterType::String),
            required: object.boolean("required").unwrap_or(false),
            default,
            choices: read_choices(&object),
            rejects: read_rejects(&object),
        });
    }
    parameters
}

fn read_choices(object: &ObjectReader<'_>) -> Vec<ParameterChoice> {
    let mut choices = Vec::new();
    for (value, words) in object.map("choices") {
        let words = words.as_array().map(|words| words.iter().map(Value::as_str).collect());
        match words {
            Some(Some(words)) => {
                let words: Vec<&str> = words;
                let words = words.into_iter().map(str::to_owned).collect();
                choices.push(ParameterChoice { value, words });
            }
            Some(None) | None => {
                object.problem(
                    "choices",
                    format!("`{value}` must have a list of other words for it"),
                );
            }
        }
    }
    choices
}

fn read_rejects(object: &ObjectReader<'_>) -> Option<String> {
    let text = object.text("rejects")?;
    if let Err(why) = pattern::check(&text) {
        object.problem("rejects", why);
    }
    Some(text)
}

fn read_match(
    reader: &DocumentReader,
    template: &ObjectReader<'_>,
    parameters: &[TemplateParameter],
) -> (Vec<String>, Vec<(String, f64)>) {
    let read = template.value("match").and_then(|v| reader.object(v, "match", MATCH_FIELDS));
    let Some(object) = read else { return (Vec::new(), Vec::new()) };
    let patterns = object.texts("patterns");
    for (i, text) in patterns.iter().enumerate() {
        let field = format!("patterns[{i}]");
        match pattern::check(text) {
            Err(why) => object.problem(&field, why),
            Ok(groups) => {
                for group in groups.iter().filter(|g| !parameters.iter().any(|p| p.name == **g)) {
                    object.problem(&field, format!("the group `{group}` names no parameter"));
                }
            }
        }
    }
    let mut keywords = Vec::new();
    for (word, weight) in object.map("keywords") {
        match weight.as_f64().filter(|w| *w > 0.0) {
            Some(weight) => keywords.push((word.to_lowercase(), weight)),
            None => object.problem("keywords", format!("`{word}` must have a weight above 0")),
        }
    }
    (patterns, keywords)
}

fn read_examples(
    reader: &DocumentReader,
    template: &ObjectReader<'_>,
) -> (Vec<TemplateExample>, Vec<String>) {
    let read =
        template.value("examples").and_then(|v| reader.object(v, "examples", EXAMPLES_FIELDS));
    let Some(object) = read else { return (Vec::new(), Vec::new()) };
    let mut examples = Vec::new();
    for (i, value) in object.list("match").iter().enumerate() {
        match value {
            Value::String(goal) => {
                examples.push(TemplateExample {
                    goal: goal.clone(),
                    parameters: serde_json::Map::new(),
                });
            }
            Value::Object(_) => {
                let path = format!("examples.match[{i}]");
                let Some(example) = reader.object(value, path, EXAMPLE_FIELDS) else { continue };
                let goal = example.text("goal").unwrap_or_default();
                examples.push(TemplateExample { goal, parameters: example.map("parameters") });
            }
            other => object.problem("match", format!("must hold goals, not {}", kind(other))),
        }
    }
    (examples, object.texts("no_match"))
}

/// Tasks as in a plan, with two more words: `{{ name }}` in inputs and labels, and `raw`, the list
/// of inputs in which braces mean something else.
fn read_tasks(
    reader: &DocumentReader,
    template: &ObjectReader<'_>,
    parameters: &[TemplateParameter],
) -> Vec<Task> {
    let known = |name: &str| parameters.iter().any(|parameter| parameter.name == name);
    let mut tasks = Vec::new();
    for (i, value) in template.list("tasks").iter().enumerate() {
        let path = format!("tasks[{i}]");
        let mut value = value.clone();
        let mut unknown = Vec::new();
        if let Value::Object(task) = &mut value {
            let raw = task.shift_remove("raw");
            let raw: Vec<&str> = raw
                .as_ref()
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            if let Some(Value::Object(inputs)) = task.get_mut("inputs") {
                for (name, input) in inputs {
                    if !raw.contains(&name.as_str()) {
                        substitute::into_references(input, &known, &mut unknown);
                    }
                }
            }
            if let Some(prompt) = task.get_mut("prompt") {
                substitute::into_references(prompt, &known, &mut unknown);
            }
            for label in ["name", "description"] {
                let text = task.get(label).and_then(Value::as_str).unwrap_or_default();
                let names = substitute::names(text).into_iter().filter(|name| !known(name));
                unknown.extend(names.map(str::to_owned));
            }
        }
        for name in unknown {
            reader
                .malformed(&path, format!("`{{{{ {name} }}}}` names no parameter of the template"));
        }
        tasks.extend(read_task(reader, &value, &path));
    }
    tasks
}
