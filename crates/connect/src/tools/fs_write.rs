//! `fs.write`: a text into a file; never over one.

use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Bench;
use crate::workspace;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Where, relative to the workspace.
    #[schemars(length(min = 1, max = 4096))]
    path: String,
    /// What.
    text: String,
    /// What to do when the file is there: `fail`, `number` (take the next free name) or `append`.
    #[serde(default)]
    if_exists: IfExists,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum IfExists {
    #[default]
    Fail,
    Number,
    Append,
}

impl From<IfExists> for workspace::IfExists {
    fn from(word: IfExists) -> workspace::IfExists {
        match word {
            IfExists::Fail => workspace::IfExists::Fail,
            IfExists::Number => workspace::IfExists::Number,
            IfExists::Append => workspace::IfExists::Append,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Output {
    /// Where it was written.
    #[schemars(length(min = 1, max = 4096))]
    path: String,
    /// How many bytes.
    bytes: usize,
    /// The same path, as every writing tool reports it.
    files_written: Vec<String>,
}

pub(super) fn spec() -> ToolSpec {
    let description = "Writes a text to a file in the workspace; never overwrites one.";
    super::spec::<Input, Output>("fs.write", description, false)
}

pub(super) fn run(bench: &Bench, input: &Input) -> Result<Output, TaskError> {
    let bytes = input.text.as_bytes();
    let path = bench.workspace.write(&input.path, bytes, input.if_exists.into())?;
    Ok(Output { files_written: vec![path.clone()], path, bytes: bytes.len() })
}
