//! Seeded moments: the input of a crash test, printed nowhere because it is always the same.

use std::time::Duration;

pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// Knuth's MMIX generator; its high bits.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// Lets up to `millis` pass. Not a wait for something: the moment is what is tested.
    pub(super) fn moment(&mut self, millis: u64) {
        std::thread::sleep(Duration::from_millis(self.below(millis)));
    }
}
