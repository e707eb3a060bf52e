//! `fs.write`: a text into a file; never over one.

use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BuiltinTool, ToolContext, in_thread};
use crate::workspace;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriteFileInput {
    /// The path, relative to the workspace.
    #[schemars(length(min = 1, max = 4096))]
    path: String,
    /// The text to write.
    text: String,
    /// The rule for a file that is there already: `fail`, `number` (take the next free name) or
    /// `append`.
    #[serde(default)]
    if_exists: WriteConflict,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum WriteConflict {
    #[default]
    Fail,
    Number,
    Append,
    #[serde(rename = "append_linked")]
    AppendLinked,
}

impl From<WriteConflict> for workspace::IfExists {
    fn from(word: WriteConflict) -> workspace::IfExists {
        match word {
            WriteConflict::Fail => workspace::IfExists::Fail,
            WriteConflict::Number => workspace::IfExists::Number,
            WriteConflict::Append => workspace::IfExists::Append,
            WriteConflict::AppendLinked => workspace::IfExists::AppendLinked,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct WriteFileOutput {
    /// The path of the written file.
    #[schemars(length(min = 1, max = 4096))]
    path: String,
    /// The length in bytes.
    bytes: usize,
    /// The written path once more, in the field that every writing tool has.
    files_written: Vec<String>,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "fs.write",
    spec,
    start: |context, call| Box::pin(in_thread(context, call.inputs, |c, i| run(c, &i))),
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    let description = "Writes a text to a file in the workspace; never overwrites one.";
    Some(super::spec::<WriteFileInput, WriteFileOutput>(TOOL.name, description, false))
}

fn run(bench: &ToolContext, input: &WriteFileInput) -> Result<WriteFileOutput, TaskError> {
    let bytes = input.text.as_bytes();
    let path = bench.workspace()?.write(&input.path, bytes, input.if_exists.into())?;
    Ok(WriteFileOutput { files_written: vec![path.clone()], path, bytes: bytes.len() })
}
