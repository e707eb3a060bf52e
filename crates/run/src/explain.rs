//! Decisions as data, and the same in sentences (spec 02, 2.10).
//!
//! Planning records each decision in the plan's metadata when it makes it; what happens in a run
//! is in the journal. `explain` only retells: nothing here decides or guesses.

use serde::Serialize;

use crate::public_event::{BudgetUse, PublicEvent, PublicEventKind};
use l05_core::choices;
use l05_core::plan::PlanDocument;
use l05_core::plan::{LimitUse, PlanBound, PlanDecision, PlanEstimate};
use l05_core::resource::EstimateMethod;

choices! {
    /// Topics that can be explained.
    pub enum Topic {
        /// Strategy and template scores.
        Decomposition = "decomposition",
        /// Findings of validation.
        Validation = "validation",
        /// Agents and alternatives.
        Assignment = "assignment",
        /// Critical path and schedule.
        Scheduling = "scheduling",
        /// Estimate, bound and what the limits leave.
        Estimate = "estimate",
        /// The fate of attempts: retries, cascades, skips.
        Retry = "retry",
    }
}

/// A topic in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The topic.
    pub decision: Topic,
    /// In one sentence.
    pub explanation: String,
    /// Step by step.
    pub reasoning_steps: Vec<String>,
    /// high, medium or low: whether it rests on proof, on history or on first guesses.
    pub confidence: &'static str,
    /// The records that it retells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<PlanDecision>,
}

/// Retells one topic. `events` are the run's so far.
pub fn explain(document: &PlanDocument, events: &[PublicEvent], topic: Topic) -> Explanation {
    let mut told = ExplanationWriter { steps: Vec::new(), records: Vec::new() };
    for decision in document.metadata.decisions.iter().filter(|d| topic_of(d) == topic) {
        told.decision(decision);
    }
    let confidence = match topic {
        Topic::Estimate => {
            if let Some(estimate) = &document.metadata.estimate {
                told.estimate(estimate);
            }
            if let Some(bound) = &document.metadata.bound {
                told.bound(bound);
            }
            match document.metadata.estimate.as_ref().map_or(0.0, |e| e.confidence) {
                c if c >= 0.85 => "high",
                c if c >= 0.6 => "medium",
                _ => "low",
            }
        }
        Topic::Retry => {
            told.run(events);
            "high"
        }
        Topic::Scheduling => match document.metadata.estimate.as_ref().map(|e| e.method) {
            Some(EstimateMethod::Historical | EstimateMethod::Hybrid) => "medium",
            Some(EstimateMethod::Deterministic) | None => "low",
        },
        Topic::Assignment => {
            told.choices(events);
            "high"
        }
        Topic::Decomposition | Topic::Validation => "high",
    };
    let nothing = "nothing was recorded about this".to_owned();
    let explanation = told.steps.first().cloned().unwrap_or(nothing);
    let reasoning_steps = told.steps;
    Explanation { decision: topic, explanation, reasoning_steps, confidence, records: told.records }
}

fn topic_of(decision: &PlanDecision) -> Topic {
    match decision {
        PlanDecision::Strategy { .. }
        | PlanDecision::Model { .. }
        | PlanDecision::Fallback { .. } => Topic::Decomposition,
        PlanDecision::Validation { .. } => Topic::Validation,
        PlanDecision::Assignment { .. } => Topic::Assignment,
        PlanDecision::CriticalPath { .. } | PlanDecision::Schedule { .. } => Topic::Scheduling,
        PlanDecision::Constraints { .. } => Topic::Estimate,
    }
}

/// The most tasks that a sentence names.
const NAMED_MAX: usize = 10;

struct ExplanationWriter {
    steps: Vec<String>,
    records: Vec<PlanDecision>,
}

impl ExplanationWriter {
    fn say(&mut self, sentence: String) {
        self.steps.push(sentence);
    }

    fn decision(&mut self, decision: &PlanDecision) {
        self.records.push(decision.clone());
        match decision {
            PlanDecision::Strategy { asked, template, why, considered } => {
                self.say(format!("The template `{template}` was taken (strategy {asked}): {why}."));
                for other in considered.iter().filter(|other| other.template != *template) {
                    let missing = if other.missing.is_empty() { String::new() } else { format!(", and `{}` was missing", other.missing.join("`, `")) };
                    self.say(format!(
                        "`{}` fits with {:.2}{missing}.",
                        other.template, other.confidence
                    ));
                }
            }
            PlanDecision::Model { asked, gateway, model, prompt_version, why, rounds } => {
                let tokens: u64 = rounds.iter().map(|r| r.input_tokens + r.output_tokens).sum();
                self.say(format!(
                    "The model `{model}` ({gateway}) made the plan (strategy {asked}): {why}. It took {} answers and {tokens} tokens with prompts of version {prompt_version}.",
                    rounds.len()
                ));
                for (round, answer) in (1..).zip(rounds) {
                    for problem in answer.problems.iter().take(NAMED_MAX) {
                        self.say(format!("Answer {round} was sent back: {problem}."));
                    }
                }
            }
            PlanDecision::Fallback { failed, taken } => {
                self.say(format!("{failed}; {taken}."));
            }
            PlanDecision::Validation { tasks, edges, implied, redundant, undecided, warnings } => {
                self.say(format!(
                    "All four levels passed for {tasks} tasks and {edges} dependencies, with {warnings} warnings."
                ));
                for edge in implied.iter().take(NAMED_MAX) {
                    self.say(format!(
                        "`{}` needs `{}` because it refers to its output; it does not state it.",
                        edge.to, edge.from
                    ));
                }
                for edge in redundant.iter().take(NAMED_MAX) {
                    self.say(format!(
                        "`{}` states that it needs `{}`, which another path implies anyway.",
                        edge.to, edge.from
                    ));
                }
                if *undecided > 0 {
                    self.say(format!(
                        "Of {undecided} references only the run shows whether they fit."
                    ));
                }
            }
            PlanDecision::CriticalPath { tasks, seconds, next } => {
                self.say(format!(
                    "The plan takes at least {seconds} s, the length of its longest chain: {}.",
                    names(tasks)
                ));
                if let Some(next) = next {
                    self.say(format!(
                        "Beside it `{}` can be late the least: by {} s.",
                        next.task, next.seconds
                    ));
                }
            }
            PlanDecision::Assignment { agents, routing } => match agents.as_slice() {
                [only] => self.say(format!(
                    "All tasks go to `{only}`: no other agent is registered, so there was nothing to choose. A second agent with the tools would make it a choice by {routing}."
                )),
                several => self.say(format!(
                    "Tasks are given to {} by {routing} when they are ready.",
                    names(several)
                )),
            },
            PlanDecision::Schedule { parallelism, makespan_seconds, lower_bound_seconds } => {
                self.say(format!(
                    "At most {parallelism} tasks run at once, those with the longest way to the end first: {makespan_seconds} s are expected, and no order is faster than {lower_bound_seconds} s."
                ));
            }
            PlanDecision::Constraints { limits } => limits.iter().for_each(|limit| self.limit(limit)),
        }
    }

    fn limit(&mut self, limit: &LimitUse) {
        self.say(format!(
            "{} allows {}; {} are expected, and {} are kept back.",
            limit.constraint, limit.allowed, limit.expected, limit.reserve
        ));
        let shares = limit.shares.iter().take(NAMED_MAX);
        let shares: Vec<String> = shares.map(|s| format!("`{}` {}", s.task, s.share)).collect();
        if !shares.is_empty() {
            let what = if limit.constraint.contains("token") || limit.constraint.contains("usd") {
                "Shares"
            } else {
                "Latest starts in seconds"
            };
            self.say(format!("{what}: {}.", shares.join(", ")));
        }
    }

    fn estimate(&mut self, estimate: &PlanEstimate) {
        let how = match estimate.method {
            EstimateMethod::Deterministic => "from the tasks alone",
            EstimateMethod::Historical => "from earlier runs",
            EstimateMethod::Hybrid => "from the tasks and from earlier runs",
        };
        self.say(format!(
            "{} s are expected ({} to {}), {} tokens and ${}, estimated {how}.",
            estimate.seconds.expected,
            estimate.seconds.low,
            estimate.seconds.high,
            estimate.tokens.expected,
            estimate.cost_usd.expected
        ));
        for task in estimate.tasks.iter().filter(|task| task.runs > 0).take(NAMED_MAX) {
            self.say(format!(
                "`{}`: history was used, {} earlier runs say {} s.",
                task.task, task.runs, task.seconds.expected
            ));
        }
    }

    fn bound(&mut self, bound: &PlanBound) {
        self.say(format!(
            "At worst it takes {} tokens, ${} and {} s: every attempt fails but the last, each takes its whole timeout.",
            bound.tokens, bound.cost_usd, bound.seconds
        ));
        for task in bound.tasks.iter().take(NAMED_MAX) {
            let items =
                if task.items > 1 { format!(" x {} items", task.items) } else { String::new() };
            self.say(format!(
                "`{}`: {} attempts{items} x {} s + {} s of waiting, {} tokens and ${} an attempt.",
                task.task,
                task.attempts,
                task.attempt_seconds,
                task.wait_seconds,
                task.attempt_tokens,
                task.attempt_cost_usd
            ));
        }
    }

    /// Tells which agents got which attempts, where there was a choice.
    fn choices(&mut self, events: &[PublicEvent]) {
        let chosen = events.iter().filter_map(|event| {
            let PublicEventKind::TaskAssigned(assigned) = &event.kind else { return None };
            Some((assigned, assigned.score?, assigned.others.as_deref()?))
        });
        for (assigned, score, others) in chosen.take(NAMED_MAX) {
            let others: Vec<String> =
                others.iter().map(|other| scored(&other.agent_id, other.score)).collect();
            let others = if others.is_empty() {
                "nobody else was free for it".to_owned()
            } else {
                format!("before {}", others.join(", "))
            };
            let (task, agent) = (&assigned.task_id, scored(&assigned.agent_id, score));
            self.say(format!("`{task}` went to {agent}, {others}."));
        }
    }

    fn run(&mut self, events: &[PublicEvent]) {
        let mut began = false;
        for event in events {
            began |= matches!(event.kind, PublicEventKind::PlanDispatched(_));
            let task = event.task_id.as_deref().unwrap_or_default();
            if let Some(sentence) = retold(task, &event.kind) {
                self.say(sentence);
            }
        }
        if self.steps.is_empty() {
            self.say(if began {
                "No attempt failed and nothing was blocked or skipped.".to_owned()
            } else {
                "The plan has not run.".to_owned()
            });
        }
    }
}

fn scored(agent: &str, score: f64) -> String {
    format!("`{agent}` ({score:.2})")
}

/// An event that explains how a run went, in a sentence.
fn retold(task: &str, kind: &PublicEventKind) -> Option<String> {
    Some(match kind {
        PublicEventKind::TaskRetried(retried) => format!(
            "Attempt {} of `{task}` failed ({} {}) and was retried at {}.",
            retried.attempt, retried.error_code, retried.error_message, retried.next_attempt_at
        ),
        PublicEventKind::TaskFailed(failed) | PublicEventKind::TaskTimedOut(failed) => {
            format!("`{task}` failed for good: {} {}.", failed.error_code, failed.error_message)
        }
        PublicEventKind::CascadeFailed(cascade) => {
            let blocked = serde_json::json!(cascade.blocked_task_ids);
            format!("What needs `{task}` was blocked: {blocked}.")
        }
        PublicEventKind::TaskReturned(returned) => format!(
            "The agent of attempt {} of `{task}` was lost; the attempt went elsewhere.",
            returned.attempt
        ),
        PublicEventKind::TaskDeferred(deferred) => format!(
            "Nobody was there for `{task}` ({}); it was tried again at {}.",
            deferred.error_message, deferred.next_attempt_at
        ),
        PublicEventKind::TaskStraggling(slow) => format!(
            "Attempt {} of `{task}` had taken {:?} s where {:?} s were expected.",
            slow.attempt, slow.elapsed_seconds, slow.expected_seconds
        ),
        PublicEventKind::PlanDeadlineAtRisk(risk) => format!(
            "The plan was late for its deadline {}: it could end at {} at the earliest.",
            risk.deadline, risk.forecast_finish_at
        ),
        PublicEventKind::BudgetBreached(breach) => {
            let over = |over: &BudgetUse| {
                format!("{:?} {} where it was told {:?}", over.used, over.kind, over.limit)
            };
            let over: Vec<String> = breach.over.iter().map(over).collect();
            let what = if breach.stops { "; nothing further was started" } else { "" };
            format!("Attempt {} of `{task}` used {}{what}.", breach.attempt, over.join(", "))
        }
        PublicEventKind::TaskCompleted(done) if done.tokens_counted_here => format!(
            "The gateway reported no tokens for `{task}` that can be right; they were counted here."
        ),
        PublicEventKind::TaskSkipped(skipped) => {
            format!("`{task}` was skipped because of `{}`.", skipped.cause)
        }
        PublicEventKind::PlanSuspended(suspended) => format!(
            "{} processes died in a row with `{}` in flight: the plan was suspended.",
            suspended.deaths,
            suspended.task_ids.join("`, `")
        ),
        PublicEventKind::PlanResumed(resumed) => {
            format!("`{}` let the suspended plan go on.", resumed.by)
        }
        // Nothing went another way than planned.
        PublicEventKind::PlanCreated(_)
        | PublicEventKind::PlanValidated(_)
        | PublicEventKind::PlanDispatched(_)
        | PublicEventKind::PlanAdopted(_)
        | PublicEventKind::TaskConditionDecided(_)
        | PublicEventKind::PlanApprovalRequested(_)
        | PublicEventKind::PlanApproved(_)
        | PublicEventKind::PlanRejected(_)
        | PublicEventKind::BudgetApprovalRequested(_)
        | PublicEventKind::BudgetApproved(_)
        | PublicEventKind::BudgetRejected(_)
        | PublicEventKind::TaskApprovalRequested(_)
        | PublicEventKind::TaskApproved(_)
        | PublicEventKind::TaskRejected(_)
        | PublicEventKind::TaskExpanded(_)
        | PublicEventKind::TaskAssigned(_)
        | PublicEventKind::TaskStarted(_)
        | PublicEventKind::TaskCompleted(_)
        | PublicEventKind::TaskBlocked(_)
        | PublicEventKind::PlanCancelRequested(_)
        | PublicEventKind::TaskCancelled(_)
        | PublicEventKind::TaskReportIgnored(_)
        | PublicEventKind::PlanStuck(_)
        | PublicEventKind::BudgetWarning(_)
        | PublicEventKind::PlanCompleted(_)
        | PublicEventKind::PlanFailed(_)
        | PublicEventKind::PlanCancelled(_) => return None,
    })
}

fn names(ids: &[String]) -> String {
    let shown: Vec<String> = ids.iter().take(NAMED_MAX).map(|id| format!("`{id}`")).collect();
    let more = ids.len().saturating_sub(NAMED_MAX);
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
