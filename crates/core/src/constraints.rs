//! Constraint propagation: what a plan's limits leave to its tasks, and what cannot fit
//! (spec 02, 2.8).
//!
//! What cannot fit is named by a minimal conflict set: take any member away and the rest fits.
//! Every check here is a sum of what some tasks need against what a limit allows, so the set is
//! found by dropping the smallest needs as long as the rest is still too much (deletion-based, and
//! linear after a sort).

use serde::Serialize;
use serde_json::json;

use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::graph::DependencyGraph;
use crate::id::TaskIndex;
use crate::plan::PlanDocument;
use crate::plan::{LimitUse, TaskShare};
use crate::plan::{PlanBound, PlanEstimate, TaskBound};
use crate::resource::rounded;
use crate::task::Task;
use crate::time::Timestamp;

/// The part of a budget that is not shared out, because estimates are wrong.
const RESERVE_SHARE: f64 = 0.1;
/// Shares are kept for plans of up to so many tasks; larger ones would only be repeated.
const SHARES_TASKS_MAX: usize = 1_000;
/// The most tasks that a message names.
const NAMED_MAX: usize = 8;

/// Things that cannot hold together; without any one of them the rest can.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ConflictSet {
    /// Fields of the constraints.
    pub(crate) constraints: Vec<String>,
    /// Tasks.
    pub(crate) tasks: Vec<String>,
    /// The amount that the tasks need together.
    pub(crate) needed: f64,
    /// The amount that the constraints allow.
    pub(crate) allowed: f64,
}

/// Limits that come from outside the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuotaLimits {
    /// Tokens of a plan whose goal sets no budget.
    pub(crate) tokens_per_plan: u64,
    /// Tokens of one task.
    pub(crate) tokens_per_task: u64,
}

/// The outcome of propagation.
#[derive(Default)]
pub(crate) struct PropagatedLimits {
    pub(crate) errors: Vec<Finding>,
    pub(crate) warnings: Vec<Finding>,
    pub(crate) limits: Vec<LimitUse>,
}

/// Compares a plan's estimate and bound with its limits.
pub(crate) fn propagate(
    document: &PlanDocument,
    graph: &DependencyGraph,
    estimate: &PlanEstimate,
    bound: &PlanBound,
    quotas: QuotaLimits,
    now: Timestamp,
) -> PropagatedLimits {
    let mut check =
        LimitCheck { document, graph, estimate, bound, out: PropagatedLimits::default() };
    check.tokens(quotas);
    check.cost();
    check.time(now);
    check.out
}

struct LimitCheck<'a> {
    document: &'a PlanDocument,
    graph: &'a DependencyGraph,
    estimate: &'a PlanEstimate,
    bound: &'a PlanBound,
    out: PropagatedLimits,
}

/// One limit on a sum over tasks.
struct SumLimit<'s> {
    field: &'s str,
    /// The name under which its author gave it.
    name: &'s str,
    allowed: f64,
    unit: fn(f64) -> String,
    /// Words for the change that makes it fit, given the smallest limit that would do.
    remedy: fn(f64) -> String,
    needs: Vec<f64>,
    bound: f64,
    /// The part that planning took already.
    planning: f64,
}

impl LimitCheck<'_> {
    fn tokens(&mut self, quotas: QuotaLimits) {
        let needs: Vec<f64> =
            self.estimate.tasks.iter().map(|t| t.tokens_of_all().expected).collect();
        let goal = self.document.constraints.max_token_budget;
        let (field, allowed) = match goal {
            Some(budget) => ("max_token_budget", budget),
            None => ("quotas.token_budget_per_plan", quotas.tokens_per_plan),
        };
        let unit = |n: f64| format!("{n:.0} tokens");
        let bound = if goal.is_some() { self.bound.tokens as f64 } else { 0.0 };
        let remedy = match goal {
            Some(_) => |n: f64| format!("--token-budget {:.0}", n.ceil()),
            None => |n: f64| format!("--set quotas.token_budget_per_plan={:.0}", n.ceil()),
        };
        let planning = self.document.planning_spent().0 as f64;
        let allowed = allowed as f64;
        let name = match goal {
            Some(_) => self.document.constraints.names.tokens,
            None => field,
        };
        self.sum(&SumLimit { field, name, allowed, unit, remedy, needs, bound, planning });
        let most = quotas.tokens_per_task as f64;
        for (i, task) in self.estimate.tasks.iter().enumerate() {
            if task.tokens.expected > most {
                let message = format!(
                    "task `{}` is expected to take {:.0} tokens; one task may take {most:.0}",
                    task.task, task.tokens.expected
                );
                self.out.errors.push(
                    Finding::new(ErrorCode::BudgetExceeded, ValidationLevel::Feasibility, message)
                        .task(&task.task)
                        .field(format!("tasks[{i}]"))
                        .suggest("shorten the prompt, or raise quotas.token_budget_per_task"),
                );
            }
        }
        let budget = self.document.resource_budget.clone().unwrap_or_default();
        let sides = [
            ("resource_budget.tokens_in", budget.tokens_in),
            ("resource_budget.tokens_out", budget.tokens_out),
        ];
        for (field, allowed) in sides {
            let Some(allowed) = allowed else { continue };
            let side = |task: &crate::plan::TaskEstimate| match field {
                "resource_budget.tokens_in" => task.tokens_in * task.items as f64,
                _ => (task.tokens.expected - task.tokens_in) * task.items as f64,
            };
            let needs = self.estimate.tasks.iter().map(side).collect();
            let remedy = |n: f64| format!("{:.0}", n.ceil());
            let bound = self.side_bound(field == "resource_budget.tokens_in");
            let (allowed, planning) = (allowed as f64, 0.0);
            self.sum(&SumLimit {
                field,
                name: field,
                allowed,
                unit,
                remedy,
                needs,
                bound,
                planning,
            });
        }
    }

    /// Tokens that may go in, or come out, at worst.
    fn side_bound(&self, is_input: bool) -> f64 {
        let side = |(task, bound): (&Task, &TaskBound)| {
            let quota = task.resource_quota.as_ref();
            let quota = quota.and_then(|q| if is_input { q.tokens_in } else { q.tokens_out });
            let most = quota.unwrap_or(u64::MAX).min(bound.attempt_tokens);
            most as f64 * f64::from(bound.attempts) * bound.items as f64
        };
        self.document.tasks.iter().zip(&self.bound.tasks).map(side).sum()
    }

    fn cost(&mut self) {
        let budget = self.document.resource_budget.as_ref().and_then(|b| b.cost_usd);
        let limits = [
            ("cost_limit_usd", self.document.constraints.cost_limit_usd),
            ("resource_budget.cost_usd", budget),
        ];
        for (field, allowed) in limits {
            let Some(allowed) = allowed else { continue };
            self.sum(&SumLimit {
                field,
                name: field,
                allowed,
                unit: |n| format!("${}", rounded(n)),
                // Up to a hundredth of a cent, so that the sum fits.
                remedy: if field == "cost_limit_usd" {
                    |n| format!("--budget-usd {}", (n * 1e4 - 1e-6).ceil() / 1e4)
                } else {
                    |n| format!("resource_budget.cost_usd {}", (n * 1e4 - 1e-6).ceil() / 1e4)
                },
                needs: self.estimate.tasks.iter().map(|t| t.cost_of_all().expected).collect(),
                bound: self.bound.cost_usd,
                planning: self.document.planning_spent().1,
            });
        }
    }

    fn sum(&mut self, limit: &SumLimit<'_>) {
        let needed: f64 = limit.planning + limit.needs.iter().sum::<f64>();
        let planning = match limit.planning {
            took if took > 0.0 => format!(" (making the plan took {})", (limit.unit)(took)),
            _ => String::new(),
        };
        if exceeds(needed, limit.allowed) {
            let left = (limit.allowed - limit.planning).max(0.0);
            let tasks = heaviest(&limit.needs, left);
            let conflict = self.conflict(vec![limit.field], &tasks, &limit.needs, limit.allowed);
            let message = format!(
                "{} allows {}, and the plan is expected to take {}{planning}: {}",
                limit.name,
                (limit.unit)(limit.allowed),
                (limit.unit)(needed),
                self.named(&tasks, &limit.needs, limit.unit)
            );
            self.out.errors.push(
                Finding::new(ErrorCode::BudgetExceeded, ValidationLevel::Feasibility, message)
                    .field(place(limit.field))
                    .suggest(format!(
                        "these tasks alone exceed it; the smallest that would do is {}",
                        (limit.remedy)(needed)
                    ))
                    .detail("conflict", json!(conflict))
                    .detail("needed", rounded(needed))
                    .detail("allowed", limit.allowed),
            );
        } else if exceeds(limit.bound + limit.planning, limit.allowed) {
            let message = format!(
                "{} allows {}; the plan is expected to take {}, but at worst it takes {}{planning}",
                limit.name,
                (limit.unit)(limit.allowed),
                (limit.unit)(needed),
                (limit.unit)(limit.bound + limit.planning)
            );
            self.out.warnings.push(
                Finding::new(ErrorCode::BudgetExceeded, ValidationLevel::Feasibility, message)
                    .field(place(limit.field))
                    .suggest("fewer retries or a resource_quota for the tasks lower the bound"),
            );
        }
        if needed > 0.0 {
            let shared = limit.allowed * (1.0 - RESERVE_SHARE);
            let share = |need: f64| rounded(shared * need / needed);
            let shares = self.shares(|t| Some(share(limit.needs[t])).filter(|s| *s > 0.0));
            self.out.limits.push(LimitUse {
                constraint: limit.field.to_owned(),
                allowed: limit.allowed,
                expected: rounded(needed),
                reserve: rounded(limit.allowed - shared),
                shares,
            });
        }
    }

    fn time(&mut self, now: Timestamp) {
        let constraints = &self.document.constraints;
        let until = constraints
            .deadline_unix_ms
            .map(|at| Timestamp(at).millis_since(now) as f64 / 1e3)
            .filter(|seconds| *seconds > 0.0);
        let budget = self.document.resource_budget.as_ref().and_then(|b| b.execution_seconds);
        let limits = [
            ("max_execution_time_sec", constraints.max_execution_time_sec),
            ("deadline_unix_ms", until),
            ("resource_budget.execution_seconds", budget),
        ];
        for (field, allowed) in limits {
            if let Some(allowed) = allowed {
                self.deadline(field, allowed);
            }
        }
    }

    /// Not even the longest chain fits, or not all the work at the plan's parallelism.
    fn deadline(&mut self, field: &'static str, allowed: f64) {
        let parallelism = self.document.parallelism();
        let tasks = self.estimate.tasks.iter();
        let seconds: Vec<f64> = tasks.map(|t| t.seconds_of_all(parallelism).expected).collect();
        let expected = self.estimate.seconds.expected;
        let workers = f64::from(self.document.parallelism());
        let work: f64 = seconds.iter().sum();
        let chain: f64 = self.estimate.critical_path_seconds;
        let would_do = (expected * 1e3 - 1e-6).ceil() / 1e3;
        let refuse = |message: String, conflict: ConflictSet| {
            Finding::new(ErrorCode::DeadlineMissed, ValidationLevel::Feasibility, message)
                .field(place(field))
                .suggest(format!(
                    "these tasks alone exceed it; {} would do",
                    if field == "max_execution_time_sec" {
                        format!("--deadline {would_do}s")
                    } else {
                        format!("{field} {would_do} s later or longer")
                    }
                ))
                .detail("conflict", json!(conflict))
                .detail("needed", expected)
                .detail("allowed", allowed)
        };
        let unit = |n: f64| format!("{} s", rounded(n));
        let name = match field {
            "max_execution_time_sec" => self.document.constraints.names.seconds,
            other => other,
        };
        if exceeds(chain, allowed) {
            let on_path: std::collections::HashSet<usize> =
                self.graph.critical_path(&seconds).iter().map(|task| task.at()).collect();
            let only = |t: usize| if on_path.contains(&t) { seconds[t] } else { 0.0 };
            let needs: Vec<f64> = (0..seconds.len()).map(only).collect();
            let tasks = heaviest(&needs, allowed);
            let conflict = self.conflict(vec![field], &tasks, &needs, allowed);
            let message = format!(
                "{name} allows {}, and the longest chain of tasks takes {}: {}",
                unit(allowed),
                unit(chain),
                self.named(&tasks, &needs, unit)
            );
            self.out.errors.push(refuse(message, conflict));
        } else if exceeds(work / workers, allowed) {
            let tasks = heaviest(&seconds, allowed * workers);
            let both = vec![field, "max_parallelism"];
            let conflict = self.conflict(both, &tasks, &seconds, allowed * workers);
            let message = format!(
                "{name} allows {}, and at most {workers} tasks at once the work takes {}: {}",
                unit(allowed),
                unit(work / workers),
                self.named(&tasks, &seconds, unit)
            );
            self.out.errors.push(refuse(message, conflict));
        } else if exceeds(expected, allowed) {
            let message = format!(
                "{name} allows {}; {} are expected, so it will hardly be kept",
                unit(allowed),
                unit(expected)
            );
            self.out.warnings.push(
                Finding::new(ErrorCode::DeadlineMissed, ValidationLevel::Feasibility, message)
                    .field(place(field)),
            );
        }
        let rank = self.graph.upward_rank(&seconds);
        let shares = self.shares(|t| Some(rounded(allowed - rank[t])));
        self.out.limits.push(LimitUse {
            constraint: field.to_owned(),
            allowed,
            expected,
            reserve: rounded((allowed - expected).max(0.0)),
            shares,
        });
    }

    fn shares(&self, share: impl Fn(usize) -> Option<f64>) -> Vec<TaskShare> {
        let tasks = &self.estimate.tasks;
        if tasks.len() > SHARES_TASKS_MAX {
            return Vec::new();
        }
        let of = |(t, task): (usize, &crate::plan::TaskEstimate)| {
            Some(TaskShare { task: task.task.clone(), share: share(t)? })
        };
        tasks.iter().enumerate().filter_map(of).collect()
    }

    fn conflict(
        &self,
        constraints: Vec<&str>,
        tasks: &[TaskIndex],
        needs: &[f64],
        allowed: f64,
    ) -> ConflictSet {
        ConflictSet {
            constraints: constraints.into_iter().map(str::to_owned).collect(),
            tasks: tasks.iter().map(|t| self.document.tasks[t.at()].task_id.clone()).collect(),
            needed: rounded(tasks.iter().map(|t| needs[t.at()]).sum()),
            allowed,
        }
    }

    fn named(&self, tasks: &[TaskIndex], needs: &[f64], unit: fn(f64) -> String) -> String {
        let name = |t: &TaskIndex| {
            format!("`{}` {}", self.document.tasks[t.at()].task_id, unit(needs[t.at()]))
        };
        let shown: Vec<String> = tasks.iter().take(NAMED_MAX).map(name).collect();
        match tasks.len().saturating_sub(NAMED_MAX) {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }
}

/// Sums of estimates carry the noise of addition.
fn exceeds(needed: f64, allowed: f64) -> bool {
    needed > allowed * (1.0 + 1e-9)
}

/// The fewest large needs that are together more than `allowed`, the largest first: without any
/// one of them the others fit.
pub(crate) fn heaviest(needs: &[f64], allowed: f64) -> Vec<TaskIndex> {
    let mut tasks: Vec<TaskIndex> = (0..needs.len() as u32).map(TaskIndex).collect();
    tasks.retain(|task| needs[task.at()] > 0.0);
    tasks.sort_by(|a, b| needs[a.at()].total_cmp(&needs[b.at()]).then(b.cmp(a)));
    let mut sum: f64 = needs.iter().sum();
    tasks.retain(|task| {
        let rest = sum - needs[task.at()];
        let needed = !exceeds(rest, allowed);
        if !needed {
            sum = rest;
        }
        needed
    });
    tasks.reverse();
    tasks
}

fn place(field: &str) -> String {
    if field.contains('.') { field.to_owned() } else { format!("constraints.{field}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::catalog::{ToolCatalog, ToolSpec};
    use crate::estimate::EstimateBasis;
    use crate::validate::{ValidationContext, validate};

    /// The finding of one code on a plan of tasks that need nothing of each other.
    fn finding(tasks: &[(usize, Value)], constraints: &Value, code: ErrorCode) -> Option<Finding> {
        let tasks: Vec<Value> = tasks
            .iter()
            .map(|(i, extra)| {
                let mut task = json!({ "id": format!("t{i}"), "tool": "noop" });
                task.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
                task
            })
            .collect();
        let document = json!({ "goal": "x", "tasks": tasks, "constraints": constraints });
        let document = PlanDocument::read(&document).expect("the plan reads");
        let catalog = ToolCatalog::new([ToolSpec::bare("noop")]).expect("no schemas");
        let knowledge = EstimateBasis::default();
        let around = ValidationContext::elsewhere(&catalog, &knowledge, Timestamp(0));
        validate(document, &around).errors.into_iter().find(|f| f.code == code)
    }

    /// Through validation: the members of the conflict conflict by themselves, and without any one
    /// of them, limits too, the rest fits.
    fn check_minimal(tasks: &[(usize, Value)], constraints: &Value, code: ErrorCode) {
        let Some(found) = finding(tasks, constraints, code) else { return };
        let members = found.details["conflict"]["tasks"].as_array().unwrap().clone();
        let is_member = |i: usize| members.contains(&json!(format!("t{i}")));
        let set: Vec<(usize, Value)> =
            tasks.iter().filter(|(i, _)| is_member(*i)).cloned().collect();
        assert_eq!(set.len(), members.len());
        assert!(finding(&set, constraints, code).is_some(), "{found:?}");
        for without in 0..set.len() {
            let mut rest = set.clone();
            rest.remove(without);
            if !rest.is_empty() {
                assert!(finding(&rest, constraints, code).is_none(), "{found:?} {without}");
            }
        }
        for limit in found.details["conflict"]["constraints"].as_array().unwrap() {
            let mut eased = constraints.clone();
            eased.as_object_mut().unwrap().remove(limit.as_str().unwrap());
            assert!(finding(&set, &eased, code).is_none(), "{found:?} {limit}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn conflicts_of_plans_are_minimal(
            needs in prop::collection::vec(1u32..50, 1..12), allowed in 1u32..150, workers in 1u32..4,
        ) {
            let range = |n: &u32| json!({ "low": n, "expected": n, "high": n });
            let each = |extra: &dyn Fn(&u32) -> Value| -> Vec<(usize, Value)> {
                needs.iter().enumerate().map(|(i, n)| (i, extra(n))).collect()
            };
            let tokens = each(&|n| json!({ "resource_estimate": { "tokens_in": range(n) } }));
            let limits = json!({ "max_token_budget": allowed });
            check_minimal(&tokens, &limits, ErrorCode::BudgetExceeded);
            let costs = each(&|n| json!({ "resource_estimate": { "cost_usd": range(n) } }));
            let limits = json!({ "cost_limit_usd": allowed });
            check_minimal(&costs, &limits, ErrorCode::BudgetExceeded);
            let times = each(&|n| json!({ "expected_seconds": n }));
            let limits = json!({ "max_execution_time_sec": allowed, "max_parallelism": workers });
            check_minimal(&times, &limits, ErrorCode::DeadlineMissed);
        }

        #[test]
        fn conflict_sets_are_minimal(needs in prop::collection::vec(0u32..50, 0..20), allowed in 0u32..200) {
            let needs: Vec<f64> = needs.into_iter().map(f64::from).collect();
            let allowed = f64::from(allowed);
            let set = heaviest(&needs, allowed);
            let sum = |without: Option<TaskIndex>| -> f64 {
                set.iter().filter(|t| Some(**t) != without).map(|t| needs[t.at()]).sum()
            };
            if needs.iter().sum::<f64>() <= allowed {
                return Ok(());
            }
            prop_assert!(sum(None) > allowed, "{set:?} conflicts");
            for member in &set {
                prop_assert!(sum(Some(*member)) <= allowed, "without {member:?} the rest fits");
            }
        }
    }
}
