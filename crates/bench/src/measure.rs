//! Taking samples and printing them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The fewest samples behind a figure.
pub(crate) const SAMPLES_MIN: usize = 10;

/// The figures to take, and the place for databases.
pub(crate) struct BenchRun {
    filter: String,
    dir: PathBuf,
}

impl BenchRun {
    pub(crate) fn new(filter: String, dir: PathBuf) -> BenchRun {
        BenchRun { filter, dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// True if figures of this kind were asked for by name.
    pub(crate) fn names(&self, kind: &str) -> bool {
        self.filter.starts_with(kind)
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }

    /// Prints a figure: the median of the samples.
    pub(crate) fn report(&self, name: &str, unit: &str, mut samples: Vec<f64>) {
        samples.sort_by(f64::total_cmp);
        let line = serde_json::json!({
            "name": name, "unit": unit, "value": samples[samples.len() / 2],
            "samples": samples.len(), "min": samples[0], "max": samples[samples.len() - 1],
        });
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    /// Times `work`, `per_sample` calls a sample, and reports microseconds a call.
    pub(crate) fn micros(&self, name: &str, per_sample: usize, mut work: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        // Caches and branch predictors as they are in a process that has been up for a while.
        work();
        let samples = (0..SAMPLES_MIN)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..per_sample {
                    work();
                }
                start.elapsed().as_secs_f64() * 1e6 / per_sample as f64
            })
            .collect();
        self.report(name, "us", samples);
    }
}
