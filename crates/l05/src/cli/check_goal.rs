//! `l05 check-goal`: the input policy's word on a text, nothing else.

use l05_core::Error;
use l05_core::goal::input::{Refusal, check};
use serde::Serialize;

use super::Context;
use super::exit::Exit;

/// Check a goal's text against the input policy
#[derive(Debug, clap::Args)]
pub(crate) struct CheckGoalArgs {
    /// The text
    text: String,
}

#[derive(Serialize)]
struct Verdict {
    accepted: bool,
    policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<l05_core::ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
}

pub(crate) fn check_goal(context: &Context, args: &CheckGoalArgs) -> Result<Exit, Error> {
    let policy = context.config.policy;
    let mut verdict = Verdict {
        accepted: true,
        policy: policy.as_str(),
        code: None,
        rule: None,
        found: None,
        position: None,
    };
    let refusal = check(&args.text, policy).err();
    if let Some(refusal) = &refusal {
        verdict.accepted = false;
        verdict.code = Some(refusal.clone().into_error().code);
        verdict.rule = Some("length".to_owned());
        if let Refusal::Rule(violation) = refusal {
            verdict.rule = Some(violation.rule.to_owned());
            verdict.found = Some(violation.found.clone());
            verdict.position = Some(violation.position);
        }
    }
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
    Ok(if verdict.accepted { Exit::Done } else { Exit::Refused })
}
