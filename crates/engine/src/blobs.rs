//! Large outputs that were read a moment ago.
//!
//! The items of a fan-out each want one part of the same list, and every task behind a large output
//! the same value: without this each would read and parse all of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use l05_core::id::PlanId;
use serde_json::Value;

/// The most JSON text that is kept as values; these take some three times as much.
const BYTES_MAX: usize = 64 << 20;

#[derive(Default)]
pub(crate) struct RecentBlobs {
    kept: HashMap<(PlanId, String), (Arc<Value>, usize)>,
    /// Oldest first.
    order: VecDeque<(PlanId, String)>,
    bytes: usize,
}

impl RecentBlobs {
    pub(crate) fn get(&self, plan: PlanId, sha256: &str) -> Option<Arc<Value>> {
        // A key of its own, because the map's is a pair: large outputs are rare.
        self.kept.get(&(plan, sha256.to_owned())).map(|(value, _)| value.clone())
    }

    pub(crate) fn keep(&mut self, plan: PlanId, sha256: &str, bytes: usize, value: &Arc<Value>) {
        let key = (plan, sha256.to_owned());
        if bytes > BYTES_MAX || self.kept.contains_key(&key) {
            return;
        }
        self.bytes += bytes;
        self.kept.insert(key.clone(), (value.clone(), bytes));
        self.order.push_back(key);
        while self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.kept.remove(&oldest).map_or(0, |(_, bytes)| bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    #[test]
    fn the_oldest_go_first() {
        let plan = PlanId(Uuid::nil());
        let mut blobs = RecentBlobs::default();
        for n in 0..10 {
            blobs.keep(plan, &n.to_string(), BYTES_MAX / 4, &Arc::new(json!(n)));
        }
        let kept: Vec<_> = (0..10).filter(|n| blobs.get(plan, &n.to_string()).is_some()).collect();
        assert_eq!(kept, [6, 7, 8, 9]);
        blobs.keep(plan, "huge", BYTES_MAX + 1, &Arc::new(json!(0)));
        assert!(blobs.get(plan, "huge").is_none());
        assert!(blobs.get(PlanId(Uuid::from_u128(1)), "9").is_none(), "another plan's");
    }
}
