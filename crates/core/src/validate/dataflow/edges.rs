//! What is wrong with whole edges: kinds, output keys, optional joins; and one finding for each.

use serde_json::json;

use super::{BadValue, CheckedCall};
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::id::TaskIndex;
use crate::task::Join;
use crate::validate::FindingList;

impl CheckedCall<'_> {
    pub(super) fn check_output_keys(&mut self, findings: &mut FindingList) {
        for (d, dependency) in self.task.dependencies.iter().enumerate() {
            let Some(named) = dependency.named_output() else { continue };
            let field = format!("dependencies[{d}].output_key");
            match named {
                Ok(reference) => self.check_path(&reference, &field),
                Err(error) => findings.errors.push(
                    Finding::new(
                        ErrorCode::PlanMalformed,
                        ValidationLevel::Syntax,
                        error.to_string(),
                    )
                    .task(&self.task.task_id)
                    .field(format!("tasks[{}].{field}", self.index.0)),
                ),
            }
        }
    }

    /// Coarse types of tools, where schemas do not decide.
    pub(super) fn check_kinds(&mut self) {
        let Some(consumer) = self.tool.filter(|tool| !tool.spec.accepts.is_empty()) else { return };
        let graph = self.structure.graph();
        for edge in graph.edges_in(self.index) {
            let from = graph.edge(*edge).from;
            let producer = self.document.tasks[from.at()].tool.as_deref();
            let Some(producer) = producer.and_then(|name| self.catalog.get(name)) else { continue };
            let typed =
                producer.spec.output_schema.is_some() && consumer.spec.input_schema.is_some();
            let Some(gives) = &producer.spec.produces else { continue };
            let takes = &consumer.spec.accepts;
            if typed || gives.iter().any(|kind| takes.contains(kind)) {
                continue;
            }
            let message = format!(
                "`{}` gives {}, and `{}` takes {} only",
                producer.spec.name,
                if gives.is_empty() { "nothing".to_owned() } else { gives.join(", ") },
                consumer.spec.name,
                takes.join(", ")
            );
            let details = json!({ "produces": gives, "accepts": takes });
            self.bad.push(BadValue {
                from,
                field: "dependencies".to_owned(),
                message,
                suggestion: "put a tool that converts it between, or depend on another task"
                    .to_owned(),
                details: details.as_object().cloned().unwrap_or_default(),
                references: Vec::new(),
            });
        }
    }

    /// With `join: any` a reference to a task that has not completed is null.
    pub(super) fn check_join(&mut self, findings: &mut FindingList) {
        let several = self.structure.graph().edges_in(self.index).len() > 1;
        if self.task.join != Join::Any || !several {
            return;
        }
        let mut references = Vec::new();
        for binding in self.structure.bindings(self.index).all() {
            binding.for_each_reference(&mut |reference| {
                references.extend(reference.task().map(|_| reference.to_string()));
            });
        }
        if !references.is_empty() {
            let message = format!(
                "with join: any, {} is null when that task has not completed",
                references.iter().map(|r| format!("`{r}`")).collect::<Vec<_>>().join(", ")
            );
            findings.warnings.push(
                Finding::new(ErrorCode::TypeMismatch, ValidationLevel::Semantic, message)
                    .task(&self.task.task_id)
                    .field(format!("tasks[{}].inputs", self.index.0))
                    .suggest("use join: all, or a tool that takes null"),
            );
        }
    }

    /// One finding an edge.
    pub(super) fn report(self, findings: &mut FindingList) {
        let mut edges: Vec<(TaskIndex, Vec<BadValue>)> = Vec::new();
        for bad in self.bad {
            match edges.iter_mut().find(|(from, _)| *from == bad.from) {
                Some((_, list)) => list.push(bad),
                None => edges.push((bad.from, vec![bad])),
            }
        }
        for (from, list) in edges {
            let mut list = list.into_iter();
            let Some(first) = list.next() else { continue };
            let mut message = first.message;
            let mut references = first.references;
            for more in list {
                message.push_str("; and ");
                message.push_str(&more.message);
                if !references.is_empty() {
                    references.extend(more.references);
                }
            }
            let mut finding =
                Finding::new(ErrorCode::TypeMismatch, ValidationLevel::Semantic, message)
                    .task(&self.task.task_id)
                    .field(format!("tasks[{}].{}", self.index.0, first.field))
                    .suggest(first.suggestion)
                    .detail("from", self.document.tasks[from.at()].task_id.as_str())
                    .detail("to", self.task.task_id.as_str());
            finding.details.extend(first.details);
            if !references.is_empty() {
                finding.details.insert("references".to_owned(), references.into());
            }
            findings.errors.push(finding);
        }
    }
}
