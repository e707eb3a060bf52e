//! Requests for plans: a goal with how it is to be planned.

use std::time::Duration;

use l05_core::choices;
use l05_core::goal::Goal;
use l05_core::plan::PlanDocument;
use l05_core::time::Timestamp;
use serde_json::{Map, Value};

choices! {
    /// The way in which a goal is to be decomposed.
    pub enum PlanningStrategy {
        /// From a template or not at all.
        Template = "template",
        /// By a model or not at all.
        Llm = "llm",
        /// The best template that fits well, else a model.
        Hybrid = "hybrid",
    }
}

#[expect(clippy::derivable_impls, reason = "the macro that makes the type derives for all alike")]
impl Default for PlanningStrategy {
    fn default() -> PlanningStrategy {
        PlanningStrategy::Hybrid
    }
}

/// A goal with how to plan it.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// The goal.
    pub goal: Goal,
    /// The way to decompose it.
    pub strategy: PlanningStrategy,
    /// Parameters the caller knows.
    pub inputs: Map<String, Value>,
    /// Use this template, whatever the goal says.
    pub template: Option<String>,
    /// The time that planning may take; none: as long as its parts may.
    pub within: Option<Duration>,
    /// True if warnings are errors.
    pub strict: bool,
}

impl PlanRequest {
    /// Puts into a document what the request says of the plan beside its tasks: nothing else may say
    /// it.
    pub(crate) fn put_into(&self, document: &mut PlanDocument) {
        document.agent_did = self.goal.agent_did.clone();
        document.priority = self.goal.priority;
        document.constraints = self.goal.constraints.clone();
    }

    /// The time by which a plan has to be there: by the caller's word, or because its deadline is over.
    pub(crate) fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let millis = |within: Duration| i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
        let said = self.within.map(|within| Timestamp(now.0.saturating_add(millis(within))));
        let deadline = self.goal.constraints.deadline_unix_ms.map(Timestamp);
        said.into_iter().chain(deadline).min()
    }
}

impl From<Goal> for PlanRequest {
    fn from(goal: Goal) -> PlanRequest {
        let strategy = PlanningStrategy::default();
        let (inputs, template, within) = (Map::new(), None, None);
        PlanRequest { goal, strategy, inputs, template, within, strict: false }
    }
}
