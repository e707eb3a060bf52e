//! JSON Schemas of the documents that people write, for editors and for other programs.
//!
//! Generated from the Rust types; the other spellings come from the same field tables that the
//! readers use, so a schema accepts what the reader accepts.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::document::reader::FieldName;
use crate::goal::CONSTRAINT_FIELDS;
use crate::plan::{METADATA_FIELDS, PLAN_FIELDS, PlanDocument, SIGNATURE_FIELDS};
use crate::task::{DEPENDENCY_FIELDS, FOR_EACH_FIELDS, RETRY_FIELDS, TASK_FIELDS};
use crate::template::{TEMPLATE_FIELD_TABLES, TemplateFields};

/// The schema of plan files.
pub fn plan() -> Value {
    let mut schema = generated::<PlanDocument>();
    open(&mut schema, PLAN_FIELDS);
    schema["title"] = json!("L05 plan");
    schema["required"] = json!(["tasks"]);
    schema["anyOf"] = json!([
        { "required": ["goal"] }, { "required": ["goal_text"] }, { "required": ["name"] }
    ]);
    let properties = &mut schema["properties"];
    open(&mut properties["constraints"], CONSTRAINT_FIELDS);
    open(&mut properties["metadata"], METADATA_FIELDS);
    open(&mut properties["signature"], SIGNATURE_FIELDS);
    open_task(&mut properties["tasks"]["items"]);
    schema
}

fn open_task(task: &mut Value) {
    open(task, TASK_FIELDS);
    task["anyOf"] = json!([{ "required": ["id"] }, { "required": ["task_id"] }]);
    let id = json!({ "type": ["string", "integer"], "description": task["properties"]["task_id"]["description"] });
    task["properties"]["id"] = id.clone();
    task["properties"]["task_id"] = id;
    open(&mut task["properties"]["retry_policy"], RETRY_FIELDS);
    task["properties"]["retry"] = task["properties"]["retry_policy"].clone();
    open(&mut task["properties"]["for_each"], FOR_EACH_FIELDS);
    let mut dependency = task["properties"]["dependencies"]["items"].clone();
    open(&mut dependency, DEPENDENCY_FIELDS);
    let either = json!({ "anyOf": [{ "type": ["string", "integer"] }, dependency] });
    task["properties"]["dependencies"]["items"] = either;
    task["properties"]["depends_on"] = task["properties"]["dependencies"].clone();
}

/// The schema of template files.
pub fn template() -> Value {
    let mut task = plan()["properties"]["tasks"]["items"].clone();
    task["properties"]["raw"] = json!({
        "type": "array", "items": { "type": "string" },
        "description": "Inputs in which `{{ … }}` is not the template's."
    });
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": text });
    let TemplateFields { template, matching, parameter, examples, example } = TEMPLATE_FIELD_TABLES;
    let mut schema = closed(
        template,
        &[
            ("id", text.clone()),
            ("version", json!({ "type": "string", "description": "Semver." })),
            ("description", text.clone()),
            ("tags", texts.clone()),
            (
                "match",
                closed(
                    matching,
                    &[
                        ("patterns", texts.clone()),
                        (
                            "keywords",
                            json!({ "type": "object", "additionalProperties": { "type": "number" } }),
                        ),
                    ],
                ),
            ),
            (
                "parameters",
                json!({ "type": "array", "items": closed(parameter, &[
            ("name", text.clone()),
            ("description", text.clone()),
            ("type", generated::<crate::template::ParameterType>()),
            ("required", json!({ "type": "boolean" })),
            ("default", json!(true)),
            ("choices", json!({ "type": "object", "additionalProperties": { "type": "array", "items": { "type": "string" } } })),
            ("rejects", text.clone()),
        ]) }),
            ),
            (
                "examples",
                closed(
                    examples,
                    &[
                        (
                            "match",
                            json!({ "type": "array", "items": { "anyOf": [text, closed(example, &[
                ("goal", json!({ "type": "string" })), ("parameters", json!({ "type": "object" })),
            ])] } }),
                        ),
                        ("no_match", texts),
                    ],
                ),
            ),
            ("on_failure", generated::<crate::plan::OnFailure>()),
            ("tasks", json!({ "type": "array", "items": task })),
        ],
    );
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("L05 template");
    schema["required"] = json!(["id", "version", "description", "match", "tasks"]);
    schema
}

/// Without `$ref`, so that each place can be opened for other spellings by itself.
fn generated<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Makes a generated object schema accept what the reader of `fields` accepts: every spelling,
/// fields of a run, `null` for absent, nothing required, nothing unknown.
fn open(schema: &mut Value, fields: &[FieldName]) {
    let Some(object) = object_part(schema) else { return };
    object.remove("required");
    object.insert("additionalProperties".to_owned(), json!(false));
    let Some(Value::Object(properties)) = object.get_mut("properties") else { return };
    for field in fields {
        let known = properties.entry(field.name).or_insert(json!(true)).clone();
        let nullable = nullable(known);
        properties.insert(field.name.to_owned(), nullable.clone());
        for alias in field.aliases {
            properties.insert((*alias).to_owned(), nullable.clone());
        }
    }
}

fn nullable(schema: Value) -> Value {
    match schema {
        Value::Object(mut object) => {
            // A reader takes null for absent; defaults of the writer mean nothing here.
            object.remove("default");
            if let Some(Value::String(kind)) = object.get("type") {
                let kind = kind.clone();
                if !object.contains_key("enum") {
                    object.insert("type".to_owned(), json!([kind, "null"]));
                }
            }
            Value::Object(object)
        }
        other => other,
    }
}

/// The object inside `{anyOf: [object, null]}`, as optional fields are generated.
fn object_part(schema: &mut Value) -> Option<&mut Map<String, Value>> {
    if schema.get("properties").is_some() {
        return schema.as_object_mut();
    }
    let options = schema.get_mut("anyOf")?.as_array_mut()?;
    options.iter_mut().find(|option| option.get("properties").is_some())?.as_object_mut()
}

/// An object schema with exactly these fields; a field without a schema is a bug the test finds.
fn closed(fields: &[FieldName], schemas: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let schema = schemas.iter().find(|(name, _)| *name == field.name);
            (field.name.to_owned(), schema.map_or(json!(true), |(_, schema)| schema.clone()))
        })
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{DocumentFormat, TextLimits, parse};

    fn accepts(schema: &Value, text: &str) -> Result<(), String> {
        let document = parse(text, DocumentFormat::Yaml, TextLimits::default()).expect("it parses");
        let validator = crate::json_schema::compile_schema(schema).expect("a schema");
        validator.validate(&document).map_err(|e| format!("{e} at {}", e.instance_path()))
    }

    #[test]
    fn both_spellings_are_accepted_and_nothing_unknown() {
        let short = "goal: x\ntasks:\n  - {id: a, type: tool_call, tool: t, retry: {max_retries: 1}, needs: [x]}\n  - {id: b, tool: t, depends_on: [a, {task: a, condition: 'true'}]}\nconstraints: {token_budget: 5, deadline_seconds: 3}";
        let full = "goal_text: x\ntasks:\n  - {task_id: a, task_type: TOOL_CALL, tool: t, retry_policy: {max_retries: 1}, capability_requirements: [x], status: READY}\n  - {task_id: b, tool: t, dependencies: [{task_id: a, type: BLOCKING}]}\nconstraints: {max_token_budget: 5}";
        for text in [short, full] {
            assert_eq!(accepts(&plan(), text), Ok(()), "{text}");
            let value = parse(text, DocumentFormat::Yaml, TextLimits::default()).unwrap();
            assert!(PlanDocument::read(&value).is_ok(), "the reader agrees");
        }
        assert!(accepts(&plan(), "goal: x\ntasks: [{id: a, tol: t}]").is_err());
        assert!(accepts(&plan(), "goal: x\ntaks: []").is_err());
    }

    #[test]
    fn a_written_plan_fits_its_schema() {
        let text =
            "goal: x\ntasks: [{id: a, tool: t, for_each: {in: '$[b].output'}}, {id: b, tool: t}]";
        let value = parse(text, DocumentFormat::Yaml, TextLimits::default()).unwrap();
        let document = PlanDocument::read(&value).unwrap();
        let written = serde_json::to_string(&document).unwrap();
        assert_eq!(accepts(&plan(), &written), Ok(()));
    }
}
