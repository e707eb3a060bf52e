//! What tools and template tasks took in earlier runs.

use std::collections::{HashMap, VecDeque};

use crate::resource::EstimateRange;
use crate::resource::rounded;
use crate::time::Timestamp;

/// Observations kept of one tool: enough for a steady mean, and the old ones fade.
const OBSERVATIONS_MAX: usize = 100;
/// Tools and template tasks that are remembered.
const KEYS_MAX: usize = 10_000;

/// One successful attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunObservation {
    /// The time at which it ended.
    pub at: Timestamp,
    /// The duration, in seconds.
    pub seconds: f64,
    /// Model tokens, in and out.
    pub tokens: f64,
    /// US dollars.
    pub cost_usd: f64,
}

/// Figures from the observations of one tool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObservedFigures {
    /// The number of observations.
    pub runs: usize,
    /// Seconds an attempt.
    pub seconds: EstimateRange,
    /// Tokens an attempt.
    pub tokens: EstimateRange,
    /// US dollars an attempt.
    pub cost_usd: EstimateRange,
}

/// Observations by tool name, and by task of a template.
#[derive(Clone, Debug, Default)]
pub struct RunExperience {
    known: HashMap<String, VecDeque<RunObservation>>,
}

impl RunExperience {
    /// The key of a template's task. No tool name has a control character.
    pub fn template_key(template: &str, task: &str) -> String {
        format!("{template}\u{1}{task}")
    }

    /// Adds an observation, the latest of its key.
    pub fn observe(&mut self, key: &str, observation: RunObservation) {
        if !self.known.contains_key(key) {
            if self.known.len() >= KEYS_MAX {
                return;
            }
            self.known.insert(key.to_owned(), VecDeque::new());
        }
        if let Some(list) = self.known.get_mut(key) {
            list.push_back(observation);
            if list.len() > OBSERVATIONS_MAX {
                list.pop_front();
            }
        }
    }

    /// Drops what ended before `from`.
    pub fn forget_before(&mut self, from: Timestamp) {
        self.known.retain(|_, list| {
            list.retain(|observation| observation.at >= from);
            !list.is_empty()
        });
    }

    /// The figures of a tool or a template's task, once there are enough.
    pub fn observed(&self, key: &str) -> Option<ObservedFigures> {
        let list = self.known.get(key)?;
        let range = |pick: fn(&RunObservation) -> f64| spread(list.iter().map(pick).collect());
        Some(ObservedFigures {
            runs: list.len(),
            seconds: range(|o| o.seconds),
            tokens: range(|o| o.tokens),
            cost_usd: range(|o| o.cost_usd),
        })
    }
}

/// The 10th and 90th percentile, and between them the mean of the middle four fifths: one slow run
/// among many says little about the next.
fn spread(mut values: Vec<f64>) -> EstimateRange {
    values.sort_by(f64::total_cmp);
    let cut = values.len() / 10;
    let middle = &values[cut..values.len() - cut];
    let mean = middle.iter().sum::<f64>() / middle.len().max(1) as f64;
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    EstimateRange {
        low: rounded(at(0.1).min(mean)),
        expected: rounded(mean),
        high: rounded(at(0.9).max(mean)),
    }
}
