//! The disk's own rate of durable writes: what no journal on it can beat one by one.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Instant;

use crate::measure::{BenchRun, SAMPLES_MIN};

pub(crate) fn run(bench: &BenchRun) {
    let name = "disk/fdatasync";
    if !bench.wants(name) {
        return;
    }
    let path = bench.dir().join("fdatasync");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)
        .expect("the bench folder is writable");
    let page = [7u8; 4096];
    let rounds = 500;
    let samples = (0..SAMPLES_MIN)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..rounds {
                file.write_all(&page).expect("there is room");
                file.sync_data().expect("the disk syncs");
            }
            f64::from(rounds) / start.elapsed().as_secs_f64()
        })
        .collect();
    let _ = std::fs::remove_file(path);
    bench.report(name, "1/s", samples);
}
