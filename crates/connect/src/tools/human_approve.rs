//! `human.approve`: a question to a person, as a task.
//!
//! The run asks before it starts the task (a task of this tool is a gate), so the tool itself only
//! gives on what was answered.

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_core::task::APPROVAL_TOOL;
use l05_run::event::TaskError;
use l05_run::machine::GateApproval;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BuiltinTool, decode, encode};
use crate::workspace::final_error;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApproveInput {
    /// The question.
    #[expect(dead_code, reason = "people read it in the plan")]
    question: String,
    /// Data that the person should see to answer.
    #[serde(default)]
    #[expect(dead_code, reason = "people read it in the plan")]
    details: Option<Value>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ApproveOutput {
    /// True: a refusal fails the task instead.
    approved: bool,
    /// The person who approved.
    by: String,
    /// The person's reason.
    reason: String,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: APPROVAL_TOOL,
    spec,
    start: |_, call| Box::pin(async move { encode(&run(call.answer, decode(call.inputs)?)?) }),
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    let does = "Asks a person; goes on when approved, fails when refused.";
    Some(super::spec::<ApproveInput, ApproveOutput>(TOOL.name, does, true))
}

fn run(answer: Option<GateApproval>, _: ApproveInput) -> Result<ApproveOutput, TaskError> {
    match answer {
        Some(GateApproval { by, reason }) => Ok(ApproveOutput { approved: true, by, reason }),
        None => Err(final_error(ErrorCode::ApprovalRefused, "nobody was asked")),
    }
}
