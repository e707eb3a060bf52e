//! Routing strategies: how a task finds the one to do it, among agents at run time and among workers in a
//! schedule. A strategy is a word with what it prefers in both.

use crate::document::choice::choices;

choices! {
    /// Rules by which a task finds its worker among unlike ones.
    pub enum RoutingStrategy {
        /// The worker with the earliest end (Topcuoglu et al., "HEFT", 2002).
        Balanced = "balanced",
        /// One after the other.
        RoundRobin = "round_robin",
        /// The one that can do least beside it.
        Capability = "capability",
        /// The one with the least work.
        Load = "load",
        /// The one that did most of what it needs.
        Affinity = "affinity",
    }
}

#[expect(clippy::derivable_impls, reason = "the macro that makes the type derives for all alike")]
impl Default for RoutingStrategy {
    fn default() -> RoutingStrategy {
        RoutingStrategy::Balanced
    }
}

/// Weights of the parts of a score under `balanced`: who is free first, then who fits, then who has
/// the data.
const LOAD_WEIGHT: f64 = 0.5;
const CAPABILITY_WEIGHT: f64 = 0.25;
const AFFINITY_WEIGHT: f64 = 0.25;

/// An agent as a choice at run time sees it; each part 0 to 1, more is better.
pub struct AgentFit<'a> {
    /// The free part of the agent.
    pub freedom: &'a dyn Fn() -> f64,
    /// The closeness of its capabilities to what the task needs.
    pub capability: &'a dyn Fn() -> f64,
    /// The share of what the task needs that it did.
    pub affinity: &'a dyn Fn() -> f64,
}

/// A worker as a schedule sees it; less is better.
pub(crate) struct WorkerOffer {
    /// The time at which the task would end there, in seconds.
    pub(crate) finish: f64,
    /// The number of things that it can do; none: everything.
    pub(crate) breadth: Option<usize>,
    /// Seconds of work that it has.
    pub(crate) load: f64,
    /// Tasks that it did of those that this one needs.
    pub(crate) related: usize,
}

impl RoutingStrategy {
    /// True if the candidates take turns, whatever they are.
    pub fn takes_turns(self) -> bool {
        self == RoutingStrategy::RoundRobin
    }

    /// The score of an agent at run time, 0 to 1: the best gets the task.
    pub fn score(self, agent: &AgentFit<'_>) -> f64 {
        let AgentFit { freedom, capability, affinity } = agent;
        match self {
            RoutingStrategy::Balanced => {
                LOAD_WEIGHT * freedom()
                    + CAPABILITY_WEIGHT * capability()
                    + AFFINITY_WEIGHT * affinity()
            }
            RoutingStrategy::RoundRobin => 1.0,
            RoutingStrategy::Capability => capability(),
            RoutingStrategy::Load => freedom(),
            RoutingStrategy::Affinity => affinity(),
        }
    }

    /// The cost of a worker in a schedule: the cheapest gets the task.
    pub(crate) fn cost(self, worker: &WorkerOffer) -> f64 {
        match self {
            RoutingStrategy::Balanced => worker.finish,
            RoutingStrategy::RoundRobin => 0.0,
            RoutingStrategy::Capability => worker.breadth.map_or(f64::MAX, |all| all as f64),
            RoutingStrategy::Load => worker.load,
            RoutingStrategy::Affinity => -(worker.related as f64),
        }
    }
}
