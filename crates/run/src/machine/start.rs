//! The start of a run: what stays of earlier ones, its deadline, its account and its workspace.

use std::sync::Arc;

use super::Run;
use super::map::MapProgress;
use crate::command::{CommandRejected, NewBudget, RerunScope, RunLimits};
use crate::event::{Actor, Gate, RunEvent};
use l05_core::error::ErrorCode;
use l05_core::id::TaskIndex;
use l05_core::plan::PlanStatus;
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;

impl Run {
    pub(super) fn decide_start(
        &self,
        from: RerunScope,
        budget: NewBudget,
        by: Actor,
        now: Timestamp,
        terms: RunLimits<'_>,
    ) -> Result<Vec<RunEvent>, CommandRejected> {
        let keep = match (self.status, from) {
            // Refused or cancelled before it ever ran: the question is asked again.
            (PlanStatus::Validated, RerunScope::Fresh)
            | (PlanStatus::Failed | PlanStatus::Cancelled, RerunScope::Failed)
                if self.run == 0 && self.needs_approval() =>
            {
                let expires_at = terms.answer_within_millis.map(|millis| now.plus_millis(millis));
                return Ok(vec![RunEvent::GateOpened { gate: Gate::Plan, expires_at }]);
            }
            (PlanStatus::Validated | PlanStatus::Approved, RerunScope::Fresh) => Vec::new(),
            (PlanStatus::Failed | PlanStatus::Cancelled, RerunScope::Failed) => self.completed(),
            (
                PlanStatus::Completed | PlanStatus::Failed | PlanStatus::Cancelled,
                RerunScope::From(task),
            ) if self.run > 0 && task.at() < self.plan.graph().len() => {
                self.completed_outside(task)
            }
            (
                PlanStatus::Draft
                | PlanStatus::Validated
                | PlanStatus::PendingApproval
                | PlanStatus::Approved
                | PlanStatus::Executing
                | PlanStatus::Suspended
                | PlanStatus::Completed
                | PlanStatus::Failed
                | PlanStatus::Cancelled,
                RerunScope::Fresh | RerunScope::Failed | RerunScope::From(_),
            ) => return Err(self.cannot_start(from)),
        };
        let deadline = self.deadline_from(now);
        let (keep, kept_maps) = self.with_lists(keep, from);
        let (run, began) = (self.run.saturating_add(1), deadline.map(|_| now));
        let (by, account) = (Some(by), self.opening_account(budget)?);
        let workspace = self.workspace_of_run(terms);
        Ok(vec![RunEvent::RunStarted {
            run,
            keep,
            kept_maps,
            deadline,
            began,
            by,
            account,
            workspace,
        }])
    }

    /// The workspace of earlier runs, else that of this process where a tool of the plan works in it.
    fn workspace_of_run(&self, terms: RunLimits<'_>) -> Option<Arc<str>> {
        if self.workspace.is_some() {
            return self.workspace.clone();
        }
        let own = terms.workspace?;
        let mut tools = self.plan.document().tasks.iter().filter_map(|task| task.tool.as_ref());
        tools.any(|tool| own.tools.contains(tool)).then(|| own.identity.clone())
    }

    fn deadline_from(&self, now: Timestamp) -> Option<Timestamp> {
        let document = self.plan.document();
        let budget = document.resource_budget.as_ref().and_then(|b| b.execution_seconds);
        let seconds = document.constraints.max_execution_time_sec.into_iter().chain(budget);
        let relative = seconds.map(|seconds| now.plus_millis((seconds * 1000.0) as u64));
        relative.chain(document.constraints.deadline_unix_ms.map(Timestamp)).min()
    }

    /// Fan-outs that did not complete keep their list and the items that did, where all that the
    /// list was made from is kept.
    fn with_lists(
        &self,
        mut keep: Vec<TaskIndex>,
        from: RerunScope,
    ) -> (Vec<TaskIndex>, Vec<TaskIndex>) {
        if self.maps.is_empty() {
            return (keep, Vec::new());
        }
        let mut is_kept = vec![false; self.plan.graph().len()];
        keep.iter().for_each(|task| is_kept[task.at()] = true);
        let graph = self.plan.graph();
        let stays = |map: &TaskIndex| {
            let again = matches!(from, RerunScope::From(task) if task == *map);
            let made_from = graph.edges_in(*map).iter().map(|edge| graph.edge(*edge).from);
            !again && !is_kept[map.at()] && made_from.into_iter().all(|task| is_kept[task.at()])
        };
        let open =
            self.maps.iter().filter(|(map, span)| span.stand != MapProgress::Past && stays(map));
        let mut kept_maps = Vec::new();
        for (map, span) in open {
            kept_maps.push(*map);
            let done = |item: &TaskIndex| self.task_status(*item) == TaskStatus::Completed;
            keep.extend(span.indices().filter(done));
        }
        (keep, kept_maps)
    }

    fn cannot_start(&self, from: RerunScope) -> CommandRejected {
        let status = self.status;
        let message = match (status, from) {
            (PlanStatus::Completed, RerunScope::Fresh) => {
                "the plan has completed; `l05 retry ID --from TASK` runs a part of it again"
                    .to_owned()
            }
            (PlanStatus::Failed | PlanStatus::Cancelled, RerunScope::Fresh) => {
                format!("the plan is {status}; `l05 retry ID` runs what did not complete")
            }
            (PlanStatus::Completed, _) => {
                "the plan has completed: there is nothing to retry".to_owned()
            }
            (PlanStatus::PendingApproval, _) => {
                "the plan waits for approval; `l05 approve ID` or `l05 reject ID` answers"
                    .to_owned()
            }
            (PlanStatus::Failed | PlanStatus::Cancelled, RerunScope::From(_)) if self.run == 0 => {
                format!("the plan is {status} and never ran; `l05 retry ID` starts it")
            }
            (PlanStatus::Suspended, _) => format!(
                "the plan is suspended: {}; `l05 retry ID` or `l05 execute --force ID` goes on",
                self.tell_suspension()
            ),
            (_, _) => format!("the plan is {status}"),
        };
        CommandRejected::new(ErrorCode::PlanNotExecutable, message)
            .suggest("`l05 status ID` shows how it stands")
    }

    fn completed(&self) -> Vec<TaskIndex> {
        let done = |task: &TaskIndex| self.task_status(*task) == TaskStatus::Completed;
        self.plan.graph().indices().filter(done).collect()
    }

    /// Completed tasks that do not depend on `task`.
    fn completed_outside(&self, task: TaskIndex) -> Vec<TaskIndex> {
        let graph = self.plan.graph();
        let mut behind = vec![false; graph.len()];
        let mut stack = vec![task];
        while let Some(task) = stack.pop() {
            if !std::mem::replace(&mut behind[task.at()], true) {
                stack.extend(graph.edges_out(task).iter().map(|edge| graph.edge(*edge).to));
            }
        }
        self.completed().into_iter().filter(|task| !behind[task.at()]).collect()
    }
}
