//! The form that a model's answer is asked to have, as JSON Schema: one shape for each tool with its own
//! inputs, one for prompts, one for agents and for parts where there are such. Nearly every answer that
//! fits is a valid plan, and none of them is long. What comes back is read by `steps`, which forgives
//! more than the schema allows.

use serde_json::{Map, Value, json};

use l05_core::catalog::ToolSpec;

use super::input_form::{
    EarlierOutput, InputForm, References, any_output, free_text, input_form, output_fields,
    stands_alone,
};

/// The longest id, in characters.
const ID_MAX_CHARS: usize = 32;
/// The longest name of a task, in characters.
const NAME_MAX_CHARS: usize = 80;
/// The most tasks that one task waits for.
const NEEDS_MAX: usize = 6;
/// The most tasks of which each has a place of its own in the schema.
const PLACES_MAX: usize = 6;
/// Bounds of the longest text in an input, in characters.
const TEXT_CHARS: std::ops::RangeInclusive<usize> = 120..=1_000;
/// Characters of one token, at the least, in answers that are mostly JSON and English.
const CHARS_PER_TOKEN: usize = 3;
/// Tokens of an answer around its tasks.
const TOKENS_AROUND: u32 = 64;
/// Tokens of a task around its texts: names, ids, brackets.
const TOKENS_OF_TASK: usize = 120;

/// What the answer may hold.
pub struct AnswerForm<'a> {
    /// The tools that the model was told.
    pub tools: &'a [&'a ToolSpec],
    /// True if there are agents for tasks that only have a name.
    pub agents: bool,
    /// True if a task may stand for a plan of its own.
    pub compound: bool,
    /// The most tasks.
    pub tasks_max: usize,
    /// The most tokens that the answer may take.
    pub tokens_max: u32,
    /// True for servers that hold a small model to each letter of the schema: a task is called after its
    /// tool and its place (`fs_read_1`), it waits only for places before its own, and it refers only to
    /// what the tool that a name holds can give.
    pub by_place: bool,
}

/// The schema of an answer, and what follows from it.
pub struct AnswerSchema {
    /// The schema.
    pub schema: Value,
    /// The most tasks that fit it.
    pub tasks_max: usize,
    /// The most tokens that an answer of this form needs.
    pub tokens_max: u32,
}

/// The schema of an answer.
pub fn answer_schema(form: &AnswerForm<'_>) -> AnswerSchema {
    let tasks_max = if form.by_place { form.tasks_max.min(PLACES_MAX) } else { form.tasks_max };
    let tasks_max = tasks_max.max(1);
    let room = (form.tokens_max.saturating_sub(TOKENS_AROUND)) as usize / tasks_max;
    // Two long texts a task is what most tools take.
    let text_chars = room.saturating_sub(TOKENS_OF_TASK) * CHARS_PER_TOKEN / 2;
    let text_chars = text_chars.clamp(*TEXT_CHARS.start(), *TEXT_CHARS.end());
    let builder = SchemaBuilder { form, text_chars };
    let tokens_of_task = TOKENS_OF_TASK + 2 * text_chars / CHARS_PER_TOKEN;
    let needed = u32::try_from(tasks_max * tokens_of_task).unwrap_or(u32::MAX);
    AnswerSchema {
        schema: if form.by_place { builder.by_place(tasks_max) } else { builder.by_id(tasks_max) },
        tasks_max,
        tokens_max: needed.saturating_add(TOKENS_AROUND).min(form.tokens_max),
    }
}

struct SchemaBuilder<'a> {
    form: &'a AnswerForm<'a>,
    text_chars: usize,
}

/// What the tasks of one place have in common.
enum TaskPlace {
    /// Any place: ids are the model's own.
    Any {
        id: Value,
        needs: Value,
        /// The pattern of a reference.
        reference: String,
    },
    /// This one, counted from 1.
    Counted(usize),
}

/// Names of tasks that no tool does, where names tell what does them.
const ASK: &str = "ask";
const AGENT: &str = "agent";
const PART: &str = "part";

impl SchemaBuilder<'_> {
    /// Tasks with ids of their own choice.
    fn by_id(&self, tasks_max: usize) -> Value {
        let id = json!({ "type": "string", "pattern": format!("^[a-z][a-z0-9_]{{0,{}}}$", ID_MAX_CHARS - 1) });
        let place = TaskPlace::Any {
            id: id.clone(),
            needs: json!({ "type": "array", "items": id, "maxItems": NEEDS_MAX.max(tasks_max.min(20)) }),
            reference: reference_pattern("[a-z][a-z0-9_]{0,31}"),
        };
        let task = json!({ "anyOf": self.tasks(&place) });
        let tasks = json!({ "type": "array", "minItems": 1, "maxItems": tasks_max, "items": task });
        let mut properties = Map::new();
        properties.insert("tasks".to_owned(), tasks);
        let mut required = vec!["tasks"];
        if self.form.compound {
            let text = reference_pattern("[a-z][a-z0-9_]{0,31}");
            properties.insert("output".to_owned(), json!({ "type": "string", "pattern": text }));
            required.truncate(1);
        }
        object(&properties, &required)
    }

    /// Tasks with a place each: what a task waits for and refers to stands before it.
    fn by_place(&self, tasks_max: usize) -> Value {
        let mut definitions = Map::new();
        for place in 1..=tasks_max {
            let shapes = self.tasks(&TaskPlace::Counted(place));
            definitions.insert(format!("task{place}"), json!({ "anyOf": shapes }));
        }
        let item = |place: usize| json!({ "$ref": format!("#/$defs/task{place}") });
        let tuple = |length: usize| {
            let items: Vec<Value> = (1..=length).map(item).collect();
            json!({ "type": "array", "prefixItems": items, "minItems": length, "maxItems": length })
        };
        let lists: Vec<Value> = (1..=tasks_max).map(tuple).collect();
        let mut properties = Map::new();
        properties.insert("tasks".to_owned(), json!({ "anyOf": lists }));
        let mut schema = object(&properties, &["tasks"]);
        schema["$defs"] = Value::Object(definitions);
        schema
    }

    /// The shapes of one task.
    fn tasks(&self, place: &TaskPlace) -> Vec<Value> {
        let outputs = match place {
            TaskPlace::Any { .. } => Vec::new(),
            TaskPlace::Counted(place) => self.outputs_before(*place),
        };
        let references = match place {
            TaskPlace::Any { reference, .. } => References::Any(reference),
            TaskPlace::Counted(_) => References::Fitting(&outputs),
        };
        let form = InputForm { text_chars: self.text_chars, references };
        let tools = self.form.tools.iter();
        let tools = tools.filter(|tool| stands_alone(tool.input_schema.as_ref(), &form));
        let mut shapes: Vec<Value> = tools.map(|tool| self.tool_task(tool, place, &form)).collect();
        let text = || free_text(&form);
        shapes.push(self.task(place, ASK, [("prompt", text())]));
        if let Some(data) = any_output(&form) {
            // A prompt sees earlier outputs as its inputs.
            let inputs = [("data".to_owned(), data)].into_iter().collect();
            let own = [("prompt", text()), ("inputs", object(&inputs, &["data"]))];
            shapes.push(self.task(place, ASK, own));
        }
        if self.form.agents {
            shapes.push(self.task(place, AGENT, [("description", text())]));
        }
        if self.form.compound {
            shapes.push(self.task(place, PART, [("goal", text())]));
        }
        shapes
    }

    fn tool_task(&self, tool: &ToolSpec, place: &TaskPlace, form: &InputForm<'_>) -> Value {
        let inputs = input_form(tool.input_schema.as_ref(), form);
        let own = [("tool", json!({ "const": tool.name })), ("inputs", inputs)];
        self.task(place, &slug(&tool.name), own)
    }

    /// All that tasks at the places before one may give: the outputs of the tools, and the answers to
    /// prompts.
    fn outputs_before(&self, place: usize) -> Vec<EarlierOutput> {
        let mut kinds: Vec<(String, Vec<(String, Value)>)> = self
            .form
            .tools
            .iter()
            .map(|tool| (slug(&tool.name), output_fields(tool.output_schema.as_ref())))
            .collect();
        kinds.push((ASK.to_owned(), vec![("response".to_owned(), json!({ "type": "string" }))]));
        let at = |place: usize| {
            kinds.iter().flat_map(move |(kind, fields)| {
                fields.iter().map(move |(name, schema)| EarlierOutput {
                    task: format!("{kind}_{place}"),
                    name: name.clone(),
                    schema: schema.clone(),
                })
            })
        };
        (1..place).flat_map(at).collect()
    }

    /// A task whose own fields stand between its name and what it needs: models that are held to the
    /// order of a schema think in that order.
    fn task<const N: usize>(
        &self,
        place: &TaskPlace,
        kind: &str,
        own: [(&str, Value); N],
    ) -> Value {
        let (id, needs) = match place {
            TaskPlace::Any { id, needs, .. } => (id.clone(), needs.clone()),
            TaskPlace::Counted(place) => {
                let needs = match place {
                    1 => json!({ "const": [] }),
                    _ => {
                        let before: Vec<usize> = (1..*place).collect();
                        json!({ "type": "array", "items": { "enum": before }, "maxItems": place - 1 })
                    }
                };
                (json!({ "const": format!("{kind}_{place}") }), needs)
            }
        };
        let mut properties = Map::new();
        properties.insert("id".to_owned(), id);
        let name = json!({ "type": "string", "minLength": 1, "maxLength": NAME_MAX_CHARS });
        properties.insert("name".to_owned(), name);
        let mut required = vec!["id", "name"];
        for (field, schema) in own {
            properties.insert(field.to_owned(), schema);
            required.push(field);
        }
        properties.insert("depends_on".to_owned(), needs);
        required.push("depends_on");
        object(&properties, &required)
    }
}

/// A tool's name as the beginning of an id.
fn slug(tool: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    tool.chars().take(ID_MAX_CHARS).map(plain).collect()
}

/// `$[id].output.path`, for these ids.
fn reference_pattern(ids: &str) -> String {
    format!(r"^\$\[{ids}\]\.output(\.[a-z][a-z0-9_]{{0,30}}){{0,3}}$")
}

fn object(properties: &Map<String, Value>, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_file() -> ToolSpec {
        ToolSpec {
            input_schema: Some(json!({
                "type": "object", "required": ["path"], "additionalProperties": false,
                "properties": {"path": {"type": "string"}, "lines": {"type": "integer", "minimum": 1}},
            })),
            output_schema: Some(
                json!({"type": "object", "properties": {"bytes": {"type": "integer"}}}),
            ),
            ..ToolSpec::bare("fs.read")
        }
    }

    fn schema(by_place: bool, agents: bool) -> AnswerSchema {
        let tool = read_file();
        answer_schema(&AnswerForm {
            tools: &[&tool],
            agents,
            compound: false,
            tasks_max: 20,
            tokens_max: 4_096,
            by_place,
        })
    }

    fn is_valid(schema: &Value, tasks: &Value) -> bool {
        jsonschema::validator_for(schema).unwrap().is_valid(&json!({ "tasks": tasks }))
    }

    #[test]
    fn only_tasks_that_somebody_does_fit() {
        let AnswerSchema { schema, tasks_max, tokens_max } = schema(false, false);
        assert_eq!((tasks_max, tokens_max), (20, 4_064));
        for (task, fits) in [
            (
                json!({"id": "a", "name": "A", "tool": "fs.read", "inputs": {"path": "x"}, "depends_on": []}),
                true,
            ),
            (
                json!({"id": "a", "name": "A", "tool": "fs.read", "inputs": {"path": "x", "lines": "$[b].output.n"}, "depends_on": ["b"]}),
                true,
            ),
            (json!({"id": "a", "name": "A", "prompt": "Why?", "depends_on": []}), true),
            (
                json!({"id": "a", "name": "A", "tool": "fs.burn", "inputs": {}, "depends_on": []}),
                false,
            ),
            (
                json!({"id": "a", "name": "A", "tool": "fs.read", "inputs": {}, "depends_on": []}),
                false,
            ),
            (
                json!({"id": "a", "name": "A", "tool": "fs.read", "inputs": {"path": "x", "lines": "many"}, "depends_on": []}),
                false,
            ),
            (json!({"id": "a", "name": "A", "depends_on": []}), false),
            (json!({"id": "a", "name": "A", "description": "Do it", "depends_on": []}), false),
            (json!({"id": "A b", "name": "A", "prompt": "Why?", "depends_on": []}), false),
            (json!({"id": "a", "name": "A", "prompt": "x".repeat(5_000), "depends_on": []}), false),
        ] {
            assert_eq!(is_valid(&schema, &json!([task])), fits, "{task}");
        }
        assert!(!is_valid(&schema, &json!([])));
        let agent = json!([{"id": "a", "name": "A", "description": "Do it", "depends_on": []}]);
        assert!(is_valid(&self::schema(false, true).schema, &agent));
    }

    #[test]
    fn by_place_a_task_waits_only_for_those_before_it() {
        let AnswerSchema { schema, tasks_max, .. } = schema(true, false);
        assert_eq!(tasks_max, PLACES_MAX);
        let task = |id: &str, needs: Value, lines: Value| json!({"id": id, "name": "A", "tool": "fs.read", "inputs": {"path": "x", "lines": lines}, "depends_on": needs});
        let ask = |id: &str, needs: Value| json!({"id": id, "name": "A", "prompt": "Why?", "depends_on": needs});
        for (tasks, fits) in [
            (json!([task("fs_read_1", json!([]), json!(1))]), true),
            (
                json!([
                    task("fs_read_1", json!([]), json!(1)),
                    task("fs_read_2", json!([1]), json!("$[fs_read_1].output.bytes"))
                ]),
                true,
            ),
            (json!([task("fs_read_1", json!([]), json!(1)), ask("ask_2", json!([1]))]), true),
            (json!([task("fs_read_1", json!([2]), json!(1)), ask("ask_2", json!([]))]), false),
            (json!([task("fs_read_1", json!([]), json!("$[fs_read_2].output.bytes"))]), false),
            (json!([ask("fs_read_1", json!([]))]), false),
            (json!([task("fs_read_2", json!([]), json!(1))]), false),
        ] {
            assert_eq!(is_valid(&schema, &tasks), fits, "{tasks}");
        }
    }
}
