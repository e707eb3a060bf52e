//! `json.select`: what a JSONPath finds in a value.

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_core::json_path::{is_small, parse_json_path};
use l05_run::event::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::boxed::{BoxedWork, in_box};
use super::{BuiltinTool, decode, encode};
use crate::workspace::final_error;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SelectInput {
    /// The value to look into.
    value: Value,
    /// An RFC 9535 JSONPath: `$.items[*].name`.
    #[schemars(length(min = 1, max = 10_000))]
    path: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct SelectOutput {
    /// Everything it finds, in order.
    matches: Vec<Value>,
    /// The number of selected values.
    count: usize,
    /// The first; null when there is none.
    first: Value,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "json.select",
    spec,
    start: |context, call| Box::pin(in_box(context, &SELECT, call.inputs)),
};

/// Its work. Paths of names, indices and wildcards take no more than the value.
pub(super) static SELECT: BoxedWork = BoxedWork {
    name: "json.select",
    run: |_, inputs| encode(&run(&decode(inputs)?)?),
    uses_workspace: false,
    is_small: |inputs| inputs["path"].as_str().is_none_or(is_small),
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    Some(super::spec::<SelectInput, SelectOutput>(
        TOOL.name,
        "Finds values in a JSON value by JSONPath.",
        true,
    ))
}

fn run(input: &SelectInput) -> Result<SelectOutput, TaskError> {
    let path =
        parse_json_path(&input.path).map_err(|why| final_error(ErrorCode::TypeMismatch, why))?;
    let matches: Vec<Value> = path.query(&input.value).into_iter().cloned().collect();
    Ok(SelectOutput {
        count: matches.len(),
        first: matches.first().cloned().unwrap_or(Value::Null),
        matches,
    })
}
