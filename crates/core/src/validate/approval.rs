//! Which plans a person has to approve before they run (spec 03, 3.7).

use super::{PlanFigures, ValidationContext};
use crate::plan::{ApprovalReason, PlanDocument};

/// Rules for approvals, beside plans whose goal asks for one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApprovalPolicy {
    /// Plans that may cost more than so many US dollars, by the high end of the estimate.
    pub cost_over_usd: Option<f64>,
    /// Plans with a higher complexity score.
    pub complexity_over: Option<f64>,
    /// Plans with destructive tools, but for tasks that have a gate of their own.
    pub destructive: bool,
}

impl Default for ApprovalPolicy {
    fn default() -> ApprovalPolicy {
        ApprovalPolicy { cost_over_usd: None, complexity_over: None, destructive: true }
    }
}

/// The reasons for which a plan has to be approved; empty: it has not.
pub(super) fn reasons(
    document: &PlanDocument,
    around: &ValidationContext<'_>,
    figures: Option<&PlanFigures>,
    complexity: f64,
) -> Vec<ApprovalReason> {
    let policy = around.limits.approval;
    let mut reasons = Vec::new();
    // Who writes a plan may ask in its metadata, too; what stands there is never taken back.
    let asked =
        document.metadata.requires_approval && document.metadata.approval_needed_for.is_empty();
    if document.constraints.require_approval == Some(true) || asked {
        reasons.push(ApprovalReason::Goal);
    }
    let cost = figures.map_or(0.0, |figures| figures.estimate.cost_usd.high);
    if let Some(most) = policy.cost_over_usd.filter(|most| cost > *most) {
        reasons.push(ApprovalReason::Cost { usd: cost, over_usd: most });
    }
    if let Some(most) = policy.complexity_over.filter(|most| complexity > *most) {
        reasons.push(ApprovalReason::Complexity { score: complexity, over: most });
    }
    for task in document.tasks.iter().filter(|task| policy.destructive && !task.asks_first()) {
        let tool = task.tool.as_deref().and_then(|tool| around.catalog.get(tool));
        if let Some(tool) = tool.filter(|tool| tool.spec.destructive) {
            let (task, tool) = (task.task_id.clone(), tool.spec.name.clone());
            reasons.push(ApprovalReason::Destructive { task, tool });
        }
    }
    reasons
}
