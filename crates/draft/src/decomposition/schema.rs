//! The form that a model's answer is asked to have, as JSON Schema made from these types. What comes
//! back is read by `steps`, which forgives more than the schema allows.

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

/// A plan as a model writes it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct AnswerSchema {
    /// The tasks, in any order.
    tasks: Vec<AnswerTask>,
    /// The reference that is the plan's result: `$[id].output`.
    output: Option<String>,
}

/// One task.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct AnswerTask {
    /// Lower-case letters, digits and `_`.
    id: String,
    /// The purpose, in a few words.
    name: String,
    /// More words, where they are needed.
    description: Option<String>,
    /// The tool that does it.
    tool: Option<String>,
    /// The tool's inputs by name; `$[id].output.path` is an earlier task's output.
    inputs: Option<Map<String, Value>>,
    /// A question to a language model, instead of a tool.
    prompt: Option<String>,
    /// JSON Schema of what the question's answer has to be.
    output_schema: Option<Map<String, Value>>,
    /// A part of the goal that is planned on its own, instead of a tool.
    goal: Option<String>,
    /// Ids of the tasks that have to be done before.
    depends_on: Vec<String>,
}

/// The schema of an answer. Only `tools` may be named, and parts that are planned on their own only
/// where they are wanted.
pub fn answer_schema<'a>(tools: impl Iterator<Item = &'a str>, compound: bool) -> Value {
    let mut schema = schema_for!(AnswerSchema).to_value();
    if let Some(members) = schema.as_object_mut() {
        members.remove("$schema");
        members.remove("title");
        members.remove("description");
    }
    let task = &mut schema["$defs"]["AnswerTask"]["properties"];
    let tools: Vec<&str> = tools.collect();
    if let Some(members) = task.as_object_mut() {
        if !tools.is_empty() {
            members.insert("tool".to_owned(), json!({ "type": "string", "enum": tools }));
        }
        if !compound {
            members.shift_remove("goal");
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_takes_plans_and_refuses_inventions() {
        let schema = answer_schema(["fs.read"].into_iter(), false);
        let check = jsonschema::validator_for(&schema).unwrap();
        let plan = |task: Value| json!({ "tasks": [task] });
        let good = plan(
            json!({"id": "a", "name": "A", "tool": "fs.read", "inputs": {"path": "x"}, "depends_on": []}),
        );
        assert!(check.is_valid(&good), "{schema}");
        for bad in [
            plan(json!({"id": "a", "name": "A", "tool": "fs.burn", "depends_on": []})),
            plan(json!({"id": "a", "name": "A", "goal": "more", "depends_on": []})),
            plan(json!({"id": "a", "name": "A", "colour": "red", "depends_on": []})),
            json!({ "steps": [] }),
        ] {
            assert!(!check.is_valid(&bad), "{bad}");
        }
    }
}
