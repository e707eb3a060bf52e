//! Level 3: quotas of tasks and resources of the plan. Each limit that is accepted is one that the run keeps;
//! the others are refused here, with the reason.

use super::{FindingList, ValidationContext};
use crate::error::ErrorCode;
use crate::estimate::stated_seconds;
use crate::finding::{Finding, ValidationLevel};
use crate::id::TaskIndex;
use crate::plan::{PlanDocument, PlanStructure, TaskEstimate};
use crate::resource::{QuotaKind, ResourceConstraints, rounded};
use crate::task::{Task, TaskType};

pub(super) fn check(
    document: &PlanDocument,
    structure: &PlanStructure,
    estimates: &[TaskEstimate],
    around: &ValidationContext<'_>,
    findings: &mut FindingList,
) {
    if let Some(budget) = &document.resource_budget {
        check_values(budget, "resource_budget", None, &mut findings.errors);
        check_size(document, budget, &mut findings.errors);
    }
    for (i, (task, estimate)) in document.tasks.iter().zip(estimates).enumerate() {
        if let Some(quota) = &task.resource_quota {
            let place = format!("tasks[{i}].resource_quota");
            check_values(quota, &place, Some(task), &mut findings.errors);
            check_enforced(task, quota, &place, around, &mut findings.errors);
            check_expected(task, estimate, quota, &place, findings);
        }
        let seconds = stated_seconds(document, structure, around.catalog, TaskIndex(i as u32));
        check_seconds(task, seconds, i, findings);
    }
}

/// Nothing can be done with nothing, or with less.
fn check_values(
    limits: &ResourceConstraints,
    place: &str,
    task: Option<&Task>,
    errors: &mut Vec<Finding>,
) {
    let numbers = [
        ("tokens_in", limits.tokens_in.map(|n| n as f64)),
        ("tokens_out", limits.tokens_out.map(|n| n as f64)),
        ("cpu_cores", limits.cpu_cores),
        ("memory_mb", limits.memory_mb.map(|n| n as f64)),
        ("execution_seconds", limits.execution_seconds),
        ("cost_usd", limits.cost_usd),
        ("max_parallel_tasks", limits.max_parallel_tasks.map(f64::from)),
    ];
    for (name, value) in numbers {
        if value.is_some_and(|value| value <= 0.0 || !value.is_finite()) {
            let message = format!("`{place}.{name}` must be more than 0");
            errors.push(finding(
                ErrorCode::PlanMalformed,
                message,
                task,
                &format!("{place}.{name}"),
            ));
        }
    }
    if let (Some(task), Some(_)) = (task, limits.max_parallel_tasks) {
        let message = format!("`{place}.max_parallel_tasks` is of the whole plan, not of a task");
        let place = format!("{place}.max_parallel_tasks");
        errors.push(
            finding(ErrorCode::PlanMalformed, message, Some(task), &place)
                .suggest("write it into `resource_budget`"),
        );
    }
}

/// No task may be expected to need more than the whole plan may have.
fn check_size(document: &PlanDocument, budget: &ResourceConstraints, errors: &mut Vec<Finding>) {
    for (i, task) in document.tasks.iter().enumerate() {
        let (cores, memory_mb) = task.expected_size();
        let over = |name: &str, needed: f64, allowed: Option<f64>| {
            let allowed = allowed.filter(|allowed| needed > *allowed)?;
            let message = format!(
                "task `{}` is expected to need {needed} {name}, and resource_budget.{name} allows {allowed}",
                task.task_id
            );
            let place = format!("tasks[{i}].resource_estimate.{name}");
            Some(finding(ErrorCode::ResourcesInsufficient, message, Some(task), &place))
        };
        errors.extend(over("cpu_cores", cores, budget.cpu_cores));
        errors.extend(over("memory_mb", memory_mb, budget.memory_mb.map(|mb| mb as f64)));
    }
}

/// A quota counts where somebody holds the task to it: the engine for time and for model calls, else the
/// executor that says so.
fn check_enforced(
    task: &Task,
    quota: &ResourceConstraints,
    place: &str,
    around: &ValidationContext<'_>,
    errors: &mut Vec<Finding>,
) {
    let tool = task.tool.as_deref().and_then(|name| around.catalog.get(name));
    // An unknown tool is another finding.
    if task.tool.is_some() && tool.is_none() {
        return;
    }
    let declared = |kind| tool.is_some_and(|tool| tool.spec.enforces.contains(&kind));
    let is_call = task.task_type == TaskType::LlmCall;
    let price = task.tool.as_deref().map_or(0.0, |name| around.knowledge.prices.tool(name));
    let asked = [
        ("tokens_in", quota.tokens_in.is_some(), QuotaKind::Tokens, is_call),
        ("tokens_out", quota.tokens_out.is_some(), QuotaKind::Tokens, is_call),
        ("cost_usd", quota.cost_usd.is_some(), QuotaKind::Cost, is_call || price > 0.0),
        ("cpu_cores", quota.cpu_cores.is_some(), QuotaKind::Cpu, false),
        ("memory_mb", quota.memory_mb.is_some(), QuotaKind::Memory, false),
    ];
    for (name, is_asked, kind, is_kept) in asked {
        if !is_asked || is_kept || declared(kind) {
            continue;
        }
        let who = match (task.task_type, &task.tool) {
            (TaskType::LlmCall, _) => "a model call".to_owned(),
            (_, Some(tool)) => format!("the tool `{tool}`"),
            (_, None) => "an agent".to_owned(),
        };
        let message = format!(
            "task `{}` has a quota of {name}, and nothing here can hold {who} to it",
            task.task_id
        );
        let hint = format!(
            "drop it; where the executor does hold calls to it, its tool says so with `enforces: [{kind}]`"
        );
        errors.push(
            finding(ErrorCode::PlanMalformed, message, Some(task), &format!("{place}.{name}"))
                .suggest(hint),
        );
    }
    if quota.cost_usd.is_some_and(|quota| price > quota) {
        let message = format!(
            "a call of the tool of task `{}` costs ${price}, and its quota is ${}",
            task.task_id,
            quota.cost_usd.unwrap_or_default()
        );
        errors.push(finding(ErrorCode::BudgetExceeded, message, Some(task), place));
    }
}

/// Compares what a task is expected to take with its quota.
fn check_expected(
    task: &Task,
    estimate: &TaskEstimate,
    quota: &ResourceConstraints,
    place: &str,
    findings: &mut FindingList,
) {
    let said = task.resource_estimate.clone().unwrap_or_default();
    let tokens_in = estimate.tokens_in;
    let tokens_out = said.tokens_out.map_or(0.0, |range| range.expected);
    let over = [
        ("tokens_in", tokens_in, quota.tokens_in.map(|n| n as f64)),
        ("tokens_out", tokens_out, quota.tokens_out.map(|n| n as f64)),
        ("cost_usd", estimate.cost_usd.expected, quota.cost_usd),
    ];
    for (name, needed, allowed) in over {
        let Some(allowed) = allowed.filter(|allowed| needed > *allowed * (1.0 + 1e-9)) else {
            continue;
        };
        let message = format!(
            "task `{}` is expected to take {} {name}, and its quota is {allowed}",
            task.task_id,
            rounded(needed)
        );
        findings.errors.push(
            finding(ErrorCode::BudgetExceeded, message, Some(task), &format!("{place}.{name}"))
                .suggest("shorten what it is given, or raise the quota"),
        );
    }
    let seconds = estimate.seconds.expected;
    if quota
        .execution_seconds
        .is_some_and(|quota| seconds > quota && estimate.seconds.low < seconds)
    {
        let message = format!(
            "task `{}` is expected to take {seconds} s, and its quota is {} s",
            task.task_id,
            quota.execution_seconds.unwrap_or_default()
        );
        let place = format!("{place}.execution_seconds");
        findings.warnings.push(finding(ErrorCode::BudgetExceeded, message, Some(task), &place));
    }
}

/// A duration that stands in the plan fits into the time that the attempt has, or the task will hardly
/// complete.
fn check_seconds(task: &Task, seconds: Option<f64>, i: usize, findings: &mut FindingList) {
    let Some(seconds) = seconds.filter(|seconds| *seconds > task.attempt_seconds()) else { return };
    let quota = task.resource_quota.as_ref().and_then(|quota| quota.execution_seconds);
    let place = format!("tasks[{i}].inputs");
    let hint = "shorten it, or give the task more time";
    match quota.filter(|quota| *quota < task.timeout_seconds) {
        Some(quota) => {
            let message =
                format!("task `{}` takes {seconds} s, and its quota is {quota} s", task.task_id);
            let code = ErrorCode::BudgetExceeded;
            findings.errors.push(finding(code, message, Some(task), &place).suggest(hint));
        }
        None => {
            let limit = task.timeout_seconds;
            let message =
                format!("task `{}` takes {seconds} s, and its timeout is {limit} s", task.task_id);
            let code = ErrorCode::TaskTimeout;
            findings.warnings.push(finding(code, message, Some(task), &place).suggest(hint));
        }
    }
}

fn finding(code: ErrorCode, message: String, task: Option<&Task>, place: &str) -> Finding {
    let finding = Finding::new(code, ValidationLevel::Feasibility, message).field(place);
    match task {
        Some(task) => finding.task(&task.task_id),
        None => finding,
    }
}
