//! `time.wait`: nothing, for a while.

use std::time::Duration;

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_engine::port::CancelSignal;
use l05_run::event::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BuiltinTool, decode, encode};
use crate::workspace::final_error;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitInput {
    /// The time to wait, in seconds.
    #[schemars(range(min = 0.0, max = 604_800.0), extend("x-l05-seconds" = true))]
    seconds: f64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct WaitOutput {
    /// The time that was waited, in seconds.
    waited_seconds: f64,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "time.wait",
    spec,
    start: |context, call| {
        Box::pin(async move { encode(&run(context.cancel, &decode(call.inputs)?).await?) })
    },
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    Some(super::spec::<WaitInput, WaitOutput>(TOOL.name, "Waits for a number of seconds.", true))
}

async fn run(mut cancel: CancelSignal, input: &WaitInput) -> Result<WaitOutput, TaskError> {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs_f64(input.seconds)) => {
            Ok(WaitOutput { waited_seconds: input.seconds })
        }
        () = cancel.cancelled() => {
            Err(final_error(ErrorCode::Cancelled, "the wait was cut short"))
        }
    }
}
