//! Decisions of planning, recorded in the plan's document when they are made (spec 02, 2.10).
//!
//! Plain data: whoever decides writes one, and `explain` retells it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One decision of planning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "decision", rename_all = "snake_case", deny_unknown_fields)]
pub enum PlanDecision {
    /// The way from goal to tasks.
    Strategy {
        /// The requested strategy.
        asked: String,
        /// The template that was taken.
        template: String,
        /// The reason for it and not another.
        why: String,
        /// All that fit at all, best first.
        considered: Vec<ConsideredTemplate>,
    },
    /// A model made the plan.
    Model {
        /// The requested model.
        asked: String,
        /// The kind of gateway.
        gateway: String,
        /// The model that answered.
        model: String,
        /// The version of the prompts.
        prompt_version: u32,
        /// The reason for a model and no template.
        why: String,
        /// Each answer, with what was wrong with it.
        rounds: Vec<ModelRound>,
    },
    /// The first choice failed, and something else was taken.
    Fallback {
        /// The failed choice, with its failure.
        failed: String,
        /// The choice in its stead.
        taken: String,
    },
    /// The checks and their outcome.
    Validation {
        /// Tasks.
        tasks: usize,
        /// Dependencies, implied ones included.
        edges: usize,
        /// Dependencies that no task states: a reference implies them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        implied: Vec<StatedEdge>,
        /// Stated dependencies that another path implies anyway.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        redundant: Vec<StatedEdge>,
        /// References of which only the run shows whether they fit.
        undecided: usize,
        /// Warnings in all.
        warnings: usize,
    },
    /// The chain on which the plan's length depends.
    CriticalPath {
        /// The longest chain by expected time.
        tasks: Vec<String>,
        /// The chain's length in seconds.
        seconds: f64,
        /// The task beside it that can be late the least, and by how much.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<TaskSlack>,
    },
    /// The agents that can do the tasks.
    Assignment {
        /// The agents that there were.
        agents: Vec<String>,
        /// The rule for the choice among several.
        routing: String,
    },
    /// The spread of the tasks over time.
    Schedule {
        /// The number that run at once.
        parallelism: u32,
        /// The expected length by list scheduling, the longest remaining path first, in seconds.
        makespan_seconds: f64,
        /// No schedule is shorter, in seconds.
        lower_bound_seconds: f64,
    },
    /// The limits that the goal leaves to each task.
    Constraints {
        /// Each limit with what is expected of it.
        limits: Vec<LimitUse>,
    },
}

/// One answer of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRound {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Problems that made it unusable; empty: it was used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// A template that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsideredTemplate {
    /// The template's id.
    pub template: String,
    /// The fit, 0 to 1.
    pub confidence: f64,
    /// Required parameters that the goal does not give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// A dependency by ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatedEdge {
    /// The task that is needed.
    pub from: String,
    /// By whom.
    pub to: String,
}

/// The time by which a task may be late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSlack {
    /// The task.
    pub task: String,
    /// Seconds it may be late without delaying the plan.
    pub seconds: f64,
}

/// One limit and what is expected of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitUse {
    /// The field in the constraints.
    pub constraint: String,
    /// The allowed amount.
    pub allowed: f64,
    /// The expected amount.
    pub expected: f64,
    /// Kept back from the shares, for estimates that are wrong.
    pub reserve: f64,
    /// The share of the rest that each task gets by its estimate; for a deadline, its latest start
    /// in seconds. Tasks that need nothing are left out.
    pub shares: Vec<TaskShare>,
}

/// A task's part of a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskShare {
    /// The task.
    pub task: String,
    /// In the limit's unit.
    pub share: f64,
}

/// A reason for which a plan has to be approved before it runs (spec 03, 3.7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case", deny_unknown_fields)]
pub enum ApprovalReason {
    /// The goal asks for it: `constraints.require_approval`.
    Goal,
    /// The estimate is over the configured cost: `approvals.cost_over_usd`.
    Cost {
        /// The high end of the estimate, in US dollars.
        usd: f64,
        /// The threshold.
        over_usd: f64,
    },
    /// The plan is more complex than configured: `approvals.complexity_over`.
    Complexity {
        /// The plan's score.
        score: f64,
        /// The threshold.
        over: f64,
    },
    /// A task uses a tool that may destroy something: `approvals.destructive`.
    Destructive {
        /// The task.
        task: String,
        /// The tool.
        tool: String,
    },
}

impl ApprovalReason {
    /// True if the configuration reserves the answer to an approver, so that whoever starts the
    /// plan cannot give it along (`--yes`).
    pub fn is_reserved(&self) -> bool {
        match self {
            ApprovalReason::Cost { .. } | ApprovalReason::Complexity { .. } => true,
            ApprovalReason::Goal | ApprovalReason::Destructive { .. } => false,
        }
    }
}

impl fmt::Display for ApprovalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApprovalReason::Goal => {
                f.write_str("the goal asks for it (constraints.require_approval)")
            }
            ApprovalReason::Cost { usd, over_usd } => {
                write!(f, "it may cost {usd} USD, more than {over_usd} (approvals.cost_over_usd)")
            }
            ApprovalReason::Complexity { score, over } => {
                write!(f, "its complexity is {score}, more than {over} (approvals.complexity_over)")
            }
            ApprovalReason::Destructive { task, tool } => write!(
                f,
                "task `{task}` uses `{tool}`, which may destroy what was there (approvals.destructive)"
            ),
        }
    }
}
