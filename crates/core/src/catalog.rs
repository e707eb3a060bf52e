//! The tools a plan may use: what validation checks calls against.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use jsonschema::Validator;
use serde::Serialize;
use serde_json::Value;

use crate::document::reader::{DocumentReader, FieldName, plain};
use crate::finding::Finding;
use crate::flow::{FlowMemo, project, samples};
use crate::json_schema::compile_schema;
use crate::reference::PathStep;
use crate::resource::QuotaKind;

/// A tool's description of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolSpec {
    /// The tool's name: `fs.read`, `mcp:server/tool`.
    pub name: String,
    /// The tool's purpose, in a sentence.
    pub description: String,
    /// JSON Schema of its inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema of its outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Coarse types it takes, for tools without schemas.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepts: Vec<String>,
    /// Coarse types it gives. An empty list: it gives nothing; none: nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub produces: Option<Vec<String>>,
    /// True if a second call changes nothing that the first has not.
    pub idempotent: bool,
    /// True if a call may destroy what was there.
    pub destructive: bool,
    /// Capabilities that an agent needs to run it, beside the tool itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The probable time of a call, in seconds, before earlier runs tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<f64>,
    /// True if it works in the workspace: a run with such a task belongs to the one it was started in.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub uses_workspace: bool,
    /// Quotas that its executor holds a call to; a plan that asks for others is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enforces: Vec<QuotaKind>,
}

impl ToolSpec {
    /// A tool of which only the name is known: no schemas, harmless, not repeatable.
    pub fn bare(name: impl Into<String>) -> ToolSpec {
        ToolSpec {
            name: name.into(),
            description: String::new(),
            input_schema: None,
            output_schema: None,
            accepts: Vec::new(),
            produces: None,
            idempotent: false,
            destructive: false,
            capabilities: Vec::new(),
            expected_seconds: None,
            uses_workspace: false,
            enforces: Vec::new(),
        }
    }
}

/// A tool with its schemas compiled.
pub struct Tool {
    /// The tool's description of itself.
    pub spec: ToolSpec,
    /// Checks inputs.
    pub inputs: Option<Validator>,
    /// Checks outputs.
    pub outputs: Option<Validator>,
    /// For each declared input a value that its own schema takes. Made when the tool is first used:
    /// most of a catalogue is not.
    stand_ins: OnceLock<BTreeMap<String, Value>>,
}

impl Tool {
    /// A value that the tool takes for an input, in place of one that is not known yet.
    pub(crate) fn stand_in(&self, input: &str) -> Option<&Value> {
        self.stand_ins.get_or_init(|| stand_ins(self.spec.input_schema.as_ref())).get(input)
    }
}

/// All tools, by name. Compiled once; plans are checked against it any number of times.
#[derive(Default)]
pub struct ToolCatalog {
    tools: BTreeMap<String, Tool>,
    flows: FlowMemo,
}

/// A tool whose schema is no schema.
#[derive(Debug, thiserror::Error)]
#[error("the {which} schema of tool `{tool}` is not a JSON Schema: {why}")]
pub struct SchemaError {
    tool: String,
    which: &'static str,
    why: String,
}

impl ToolCatalog {
    /// Compiles the schemas of all tools. A name given twice keeps the later tool.
    pub fn new(specs: impl IntoIterator<Item = ToolSpec>) -> Result<ToolCatalog, SchemaError> {
        let mut tools = BTreeMap::new();
        for spec in specs {
            let compile = |schema: Option<&Value>, which| {
                schema.map(compile_schema).transpose().map_err(|why| SchemaError {
                    tool: spec.name.clone(),
                    which,
                    why,
                })
            };
            let inputs = compile(spec.input_schema.as_ref(), "input")?;
            let outputs = compile(spec.output_schema.as_ref(), "output")?;
            let stand_ins = OnceLock::new();
            tools.insert(spec.name.clone(), Tool { spec, inputs, outputs, stand_ins });
        }
        Ok(ToolCatalog { tools, flows: FlowMemo::default() })
    }

    /// One tool.
    pub fn get(&self, name: &str) -> Option<&Tool> {
        self.tools.get(name)
    }

    /// Verdicts on data that flows between these tools.
    pub(crate) fn flows(&self) -> &FlowMemo {
        &self.flows
    }

    /// All tools, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Tool> {
        self.tools.values()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(String::as_str)
    }
}

impl fmt::Debug for ToolCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

fn stand_ins(schema: Option<&Value>) -> BTreeMap<String, Value> {
    let Some(schema) = schema else { return BTreeMap::new() };
    let names = schema.get("properties").and_then(Value::as_object);
    let names = names.into_iter().flat_map(|properties| properties.keys());
    names
        .filter_map(|name| {
            let part = project(schema, &[PathStep::Name(name.clone())]).schema;
            let validator = compile_schema(&part).ok()?;
            let value = samples(&part).into_iter().find(|value| validator.is_valid(value))?;
            Some((name.clone(), value))
        })
        .collect()
}

static CATALOG_FIELDS: &[FieldName] = &[plain("tools")];
static TOOL_FIELDS: &[FieldName] = &[
    plain("uses_workspace"),
    plain("name"),
    plain("description"),
    plain("input_schema"),
    plain("output_schema"),
    plain("accepts"),
    plain("produces"),
    plain("idempotent"),
    plain("destructive"),
    plain("capabilities"),
    plain("expected_seconds"),
    plain("enforces"),
];

/// Reads a catalogue document (`--catalog FILE`).
pub fn read_catalog(value: &Value) -> Result<Vec<ToolSpec>, Vec<Finding>> {
    let reader = DocumentReader::default();
    let mut specs = Vec::new();
    if let Some(object) = reader.object(value, "", CATALOG_FIELDS) {
        if object.value("tools").is_none() {
            object.problem("tools", "is missing; a catalogue has a list of tools");
        }
        for (i, tool) in object.list("tools").iter().enumerate() {
            specs.extend(read_tool(&reader, tool, i));
        }
    }
    let findings = reader.into_findings();
    if findings.is_empty() { Ok(specs) } else { Err(findings) }
}

fn read_tool(reader: &DocumentReader, value: &Value, i: usize) -> Option<ToolSpec> {
    let object = reader.object(value, format!("tools[{i}]"), TOOL_FIELDS)?;
    if object.value("name").is_none() {
        object.problem("name", "is missing; a tool has a name");
    }
    Some(ToolSpec {
        name: object.text("name")?,
        description: object.text("description").unwrap_or_default(),
        input_schema: object.value("input_schema").cloned(),
        output_schema: object.value("output_schema").cloned(),
        accepts: object.texts("accepts"),
        produces: object.value("produces").map(|_| object.texts("produces")),
        idempotent: object.boolean("idempotent").unwrap_or(false),
        destructive: object.boolean("destructive").unwrap_or(false),
        capabilities: object.texts("capabilities"),
        expected_seconds: object.number("expected_seconds", 0.0..=1e9),
        uses_workspace: object.boolean("uses_workspace").unwrap_or(false),
        enforces: object.typed_document("enforces").unwrap_or_default(),
    })
}
