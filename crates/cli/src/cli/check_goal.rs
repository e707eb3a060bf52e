//! `l05 check-goal`: the input policy's word on a text, nothing else.

use l05_core::goal::input::{GoalRefusal, InputPolicy, check};
use l05_core::{Error, ErrorCode};
use serde::Serialize;
use serde_json::Value;

use super::CliContext;
use super::batch::{self, BatchArgs};
use super::exit::ExitStatus;

/// Check a goal's text against the input policy
#[derive(Debug, clap::Args)]
pub(crate) struct CheckGoalArgs {
    /// The text
    text: Option<String>,
    #[command(flatten)]
    batch: BatchArgs,
}

#[derive(Serialize)]
struct GoalVerdict {
    accepted: bool,
    policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
}

pub(crate) fn check_goal(context: &CliContext, args: &CheckGoalArgs) -> Result<ExitStatus, Error> {
    let policy = context.config.rules.policy;
    let Some(text) = args.batch.single(&args.text, "a text")? else {
        return batch::run(context.config.text_limits, |line| {
            let Some(text) = line.get("goal").and_then(Value::as_str) else {
                let message = "the line has no text under `goal`";
                return Err(Error::new(ErrorCode::GoalFormatInvalid, message)
                    .suggest("write {\"id\": 1, \"goal\": \"…\"}"));
            };
            let (verdict, _) = judge(text, policy);
            Ok(serde_json::to_value(verdict).expect("results are plain data"))
        });
    };
    let (verdict, refusal) = judge(text, policy);
    context.output.result(&verdict, |verdict| match refusal {
        None => format!("accepted by the {} policy", verdict.policy),
        Some(refusal) => {
            let error = refusal.into_error();
            format!(
                "refused by the {} policy: {error}\nhint: {}",
                verdict.policy,
                error.suggestion()
            )
        }
    });
    Ok(if verdict.accepted { ExitStatus::Done } else { ExitStatus::Refused })
}

fn judge(text: &str, policy: InputPolicy) -> (GoalVerdict, Option<GoalRefusal>) {
    let mut verdict = GoalVerdict {
        accepted: true,
        policy: policy.as_str(),
        code: None,
        rule: None,
        found: None,
        position: None,
    };
    let refusal = check(text, policy).err();
    if let Some(refusal) = &refusal {
        verdict.accepted = false;
        verdict.code = Some(refusal.clone().into_error().code);
        verdict.rule = Some("length".to_owned());
        if let GoalRefusal::Rule(violation) = refusal {
            verdict.rule = Some(violation.rule.to_owned());
            verdict.found = Some(violation.found.clone());
            verdict.position = Some(violation.position);
        }
    }
    (verdict, refusal)
}
