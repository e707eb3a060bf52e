//! A tool's input schema as models are held to it: bounded in length, self-contained, and with references
//! to earlier outputs wherever a value may stand. Called by `schema`.

use serde_json::{Map, Value, json};

/// The most items of a list.
const ITEMS_MAX: usize = 8;
/// The most members of an object whose names are free.
const MEMBERS_MAX: usize = 8;
/// The depth to which a schema is followed; deeper values are scalars.
const DEPTH_MAX: usize = 6;

/// The bounds of inputs.
pub(super) struct InputForm<'a> {
    /// The most characters of a text.
    pub(super) text_chars: usize,
    /// What may be referred to.
    pub(super) references: References<'a>,
}

/// What may stand in place of a value.
#[derive(Clone, Copy)]
pub(super) enum References<'a> {
    /// Any reference of this pattern; texts may hold references as well.
    Any(&'a str),
    /// Outputs of earlier tasks whose kind fits; texts hold no `$`.
    Fitting(&'a [EarlierOutput]),
}

/// One field of what a task before this one may give.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EarlierOutput {
    /// The task's id.
    pub(super) task: String,
    /// The field's name.
    pub(super) name: String,
    /// The field's schema.
    pub(super) schema: Value,
}

/// The fields of a tool's output, by name.
pub(super) fn output_fields(schema: Option<&Value>) -> Vec<(String, Value)> {
    let members = schema.and_then(|schema| schema["properties"].as_object());
    members.into_iter().flatten().map(|(name, schema)| (name.clone(), schema.clone())).collect()
}

/// The form of a tool's inputs. A tool without a schema takes any scalars.
pub(super) fn input_form(schema: Option<&Value>, form: &InputForm<'_>) -> Value {
    let Some(schema) = schema else {
        let builder = FormBuilder { root: &Value::Null, form };
        return builder.free_object(None, 0);
    };
    let builder = FormBuilder { root: schema, form };
    // The inputs themselves are no reference: each of them may be one.
    builder.object(builder.resolved(schema), 0)
}

/// A text in words, at least one character long.
pub(super) fn free_text(form: &InputForm<'_>) -> Value {
    let builder = FormBuilder { root: &Value::Null, form };
    builder.text(&json!({ "minLength": 1 }), form.text_chars as u64)
}

/// A reference to whatever an earlier task gives; none where references are free or there are none.
pub(super) fn any_output(form: &InputForm<'_>) -> Option<Value> {
    match form.references {
        References::Any(_) => None,
        References::Fitting(outputs) => reference_to(outputs.iter()),
    }
}

/// True if a tool can be used where there is nothing to refer to: what it needs can be written down.
pub(super) fn stands_alone(schema: Option<&Value>, form: &InputForm<'_>) -> bool {
    let Some(schema) = schema else { return true };
    let builder = FormBuilder { root: schema, form };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    required.into_iter().all(|name| builder.value(&schema["properties"][name], 1).is_some())
}

struct FormBuilder<'a> {
    root: &'a Value,
    form: &'a InputForm<'a>,
}

impl FormBuilder<'_> {
    /// A value, or a reference to one. None: only a reference would do, and there is nothing to refer
    /// to.
    fn value(&self, schema: &Value, depth: usize) -> Option<Value> {
        let schema = self.resolved(schema);
        match self.form.references {
            References::Any(pattern) => {
                let own = self.own(schema, depth);
                let is_text = own["type"] == "string" && own.get("pattern").is_none();
                // A text without a form of its own may be a reference as it is.
                Some(if is_text { own } else { any_of(vec![own, text_of(pattern)]) })
            }
            References::Fitting(outputs) => {
                let is_literal = schema["x-l05-literal"] == true;
                let fitting = |output: &&EarlierOutput| !is_literal && fits(&output.schema, schema);
                let fitting: Vec<&EarlierOutput> = outputs.iter().filter(fitting).collect();
                let mut choices = Vec::new();
                if !self.is_handle(schema) {
                    choices.push(self.own(schema, depth));
                }
                choices.extend(reference_to(fitting.into_iter()));
                (!choices.is_empty()).then(|| any_of(choices))
            }
        }
    }

    /// True if an input takes an object that only tools give to each other: nobody writes one down.
    fn is_handle(&self, schema: &Value) -> bool {
        let required = schema["required"].as_array().map_or(0, Vec::len);
        kinds(schema).contains(&"object") && schema["additionalProperties"] == false && required > 2
    }

    fn own(&self, schema: &Value, depth: usize) -> Value {
        let schema = self.resolved(schema);
        if depth >= DEPTH_MAX {
            return self.scalar();
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[choice].as_array() {
                let choices: Vec<Value> =
                    choices.iter().map(|one| self.own(one, depth + 1)).collect();
                return json!({ "anyOf": choices });
            }
        }
        if schema.get("enum").is_some() || schema.get("const").is_some() {
            return kept(schema, &["type", "enum", "const"]);
        }
        match &schema["type"] {
            Value::String(kind) => self.of_type(kind, schema, depth),
            Value::Array(kinds) => {
                let kinds = kinds.iter().filter_map(Value::as_str);
                let choices: Vec<Value> =
                    kinds.map(|kind| self.of_type(kind, schema, depth)).collect();
                json!({ "anyOf": choices })
            }
            _ if schema.get("properties").is_some() => self.object(schema, depth),
            _ => self.scalar(),
        }
    }

    fn of_type(&self, kind: &str, schema: &Value, depth: usize) -> Value {
        match kind {
            "string" => {
                let own = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
                let length = own.min(self.form.text_chars as u64);
                self.text(schema, length)
            }
            "integer" | "number" => {
                let mut number = kept(schema, &["minimum", "maximum"]);
                number["type"] = json!(kind);
                number
            }
            "array" => {
                let items = schema.get("items").unwrap_or(&Value::Null);
                let own = schema["maxItems"].as_u64().unwrap_or(u64::MAX);
                let mut list = kept(schema, &["minItems"]);
                list["type"] = json!("array");
                list["items"] = self.value(items, depth + 1).unwrap_or_else(|| self.scalar());
                list["maxItems"] = json!(own.min(ITEMS_MAX as u64));
                list
            }
            "object" => self.object(schema, depth),
            other => json!({ "type": other }),
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let Some(members) = schema["properties"].as_object().filter(|members| !members.is_empty())
        else {
            return self.free_object(schema.get("additionalProperties"), depth);
        };
        let properties: Map<String, Value> = members
            .iter()
            .filter_map(|(name, schema)| Some((name.clone(), self.value(schema, depth + 1)?)))
            .collect();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let known = |name: &&Value| name.as_str().is_some_and(|name| properties.contains_key(name));
        let required: Vec<Value> = required.iter().filter(known).cloned().collect();
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
    }

    /// An object whose names the author chooses.
    fn free_object(&self, members: Option<&Value>, depth: usize) -> Value {
        let member = match members.filter(|members| members.is_object()) {
            Some(schema) => self.value(schema, depth + 1).unwrap_or_else(|| self.scalar()),
            None => self.value(&Value::Bool(true), depth + 1).unwrap_or_else(|| self.scalar()),
        };
        match members {
            Some(Value::Bool(false)) => {
                json!({ "type": "object", "properties": {}, "additionalProperties": false })
            }
            _ => {
                json!({ "type": "object", "additionalProperties": member, "maxProperties": MEMBERS_MAX })
            }
        }
    }

    fn scalar(&self) -> Value {
        let text = self.text(&Value::Null, self.form.text_chars as u64);
        any_of(vec![text, json!({ "type": "number" }), json!({ "type": "boolean" })])
    }

    /// A text of at most so many characters.
    fn text(&self, schema: &Value, length: u64) -> Value {
        let mut text = kept(schema, &["minLength", "pattern"]);
        text["type"] = json!("string");
        match self.form.references {
            References::Any(_) => text["maxLength"] = json!(length),
            References::Fitting(_) if text.get("pattern").is_some() => {}
            // Written as a pattern, since a bound beside one is not kept to everywhere.
            References::Fitting(_) => {
                let least = schema["minLength"].as_u64().unwrap_or(0).min(length);
                text["pattern"] = json!(format!("^{PLAIN_CHARACTER}{{{least},{length}}}$"));
                text.as_object_mut().map(|text| text.remove("minLength"));
            }
        }
        text
    }

    /// The schema that a reference within the document stands for.
    fn resolved<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let pointer = schema["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
        pointer.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema)
    }
}

/// A character that ends no text and begins no reference, as grammars of JSON and regular expressions
/// write it alike.
const PLAIN_CHARACTER: &str = r#"[^$"\\\x00-\x1f]"#;

fn text_of(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn any_of(mut choices: Vec<Value>) -> Value {
    match choices.len() {
        1 => choices.remove(0),
        _ => json!({ "anyOf": choices }),
    }
}

/// True if what an output holds may be of the kind that an input takes.
fn fits(output: &Value, input: &Value) -> bool {
    let (given, taken) = (kinds(output), kinds(input));
    taken.is_empty() || given.iter().any(|kind| *kind != "null" && taken.contains(kind))
}

fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ if schema.get("enum").is_some() => vec!["enum"],
        _ => {
            let choices = ["anyOf", "oneOf"].iter().filter_map(|name| schema[*name].as_array());
            choices.flatten().flat_map(|choice| kinds(choice)).collect()
        }
    }
}

/// A reference to one of these outputs.
fn reference_to<'o>(outputs: impl Iterator<Item = &'o EarlierOutput>) -> Option<Value> {
    let one = |output: &EarlierOutput| format!(r"{}\]\.output\.{}", output.task, output.name);
    let alternatives: Vec<String> = outputs.map(one).collect();
    (!alternatives.is_empty()).then(|| text_of(&format!(r"^\$\[({})$", alternatives.join("|"))))
}

/// These members of a schema.
fn kept(schema: &Value, names: &[&str]) -> Value {
    let members =
        names.iter().filter_map(|name| Some(((*name).to_owned(), schema.get(*name)?.clone())));
    Value::Object(members.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_bounded_and_may_be_references() {
        let schema = json!({
            "type": "object", "required": ["path"],
            "properties": {
                "path": {"type": "string", "description": "words"},
                "kind": {"enum": ["a", "b"]},
                "rows": {"type": ["integer", "null"], "minimum": 1},
                "tags": {"type": "array", "items": {"type": "string"}},
                "map": {"type": "object", "additionalProperties": {"$ref": "#/$defs/one"}},
                "any": true,
            },
            "$defs": {"one": {"type": "boolean"}},
        });
        let any = References::Any("^\\$\\[a\\]");
        let form = input_form(Some(&schema), &InputForm { text_chars: 50, references: any });
        assert_eq!(form["properties"]["path"], json!({"type": "string", "maxLength": 50}));
        assert_eq!(
            form["properties"]["rows"]["anyOf"][0]["anyOf"][0],
            json!({"type": "integer", "minimum": 1})
        );
        assert_eq!(form["properties"]["tags"]["anyOf"][0]["maxItems"], 8);
        let check = jsonschema::validator_for(&form).unwrap();
        for (inputs, fits) in [
            (json!({"path": "x", "kind": "$[a].output", "rows": null, "any": 3}), true),
            (json!({"path": "x", "tags": ["$[a].output"], "map": {"q": true}}), true),
            (json!({"path": "x", "kind": "c"}), false),
            (json!({"path": "x".repeat(51)}), false),
            (json!({"path": "x", "other": 1}), false),
            (json!({}), false),
        ] {
            assert_eq!(check.is_valid(&inputs), fits, "{inputs}");
        }
    }

    #[test]
    fn references_to_outputs_fit_in_kind() {
        let handle = json!({"type": "object", "additionalProperties": false, "required": ["id", "n", "m"],
            "properties": {"id": {"type": "string"}, "n": {"type": "integer"}, "m": {"type": "integer"}}});
        let output = |task: &str, name: &str, schema: Value| EarlierOutput {
            task: task.to_owned(),
            name: name.to_owned(),
            schema,
        };
        let outputs = [
            output("ask_1", "response", json!({"type": "string"})),
            output("read_1", "rows", json!({"type": "integer"})),
            output("read_1", "table", handle.clone()),
        ];
        let schema = json!({"type": "object", "required": ["text", "table"], "properties": {
            "text": {"type": "string"}, "table": handle, "sql": {"type": "string", "x-l05-literal": true}}});
        let form = |outputs| InputForm { text_chars: 50, references: References::Fitting(outputs) };
        let check = jsonschema::validator_for(&input_form(Some(&schema), &form(&outputs))).unwrap();
        for (inputs, fits) in [
            (json!({"text": "hello", "table": "$[read_1].output.table"}), true),
            (json!({"text": "$[ask_1].output.response", "table": "$[read_1].output.table"}), true),
            (json!({"text": "$[read_1].output.rows", "table": "$[read_1].output.table"}), false),
            (json!({"text": "$[ask_2].output.response", "table": "$[read_1].output.table"}), false),
            (json!({"text": "costs $5", "table": "$[read_1].output.table"}), false),
            (json!({"text": "hello", "table": {"id": "x", "n": 1, "m": 2}}), false),
            (
                json!({"text": "hello", "table": "$[read_1].output.table", "sql": "$[ask_1].output.response"}),
                false,
            ),
        ] {
            assert_eq!(check.is_valid(&inputs), fits, "{inputs}");
        }
        assert!(!stands_alone(Some(&schema), &form(&[])), "there is no table yet");
        assert!(stands_alone(None, &form(&[])));
    }
}
