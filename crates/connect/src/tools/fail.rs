//! `fail`: ends with a message. A condition on the way to it says when a plan has not done what was asked.

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BuiltinTool, in_thread};
use crate::workspace::final_error;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FailInput {
    /// The reason, for whoever reads the result.
    #[schemars(length(min = 1, max = 10_000))]
    message: String,
}

/// Nothing: the tool never completes.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct FailOutput {}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "fail",
    spec,
    start: |context, call| Box::pin(in_thread(context, call.inputs, |_, i| run(&i))),
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    let description =
        "Fails with a message, for plans that find that they cannot do what was asked.";
    Some(super::spec::<FailInput, FailOutput>(TOOL.name, description, true))
}

fn run(input: &FailInput) -> Result<FailOutput, TaskError> {
    Err(final_error(ErrorCode::TaskFailed, input.message.clone()))
}
