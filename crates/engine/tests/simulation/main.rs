//! The shard in a world that does its worst, deterministically.
//!
//! Processes with a [`Shard`](l05_engine::shard::Shard) each, a journal that can fail, tear and
//! fence, executors that fail, hang, answer twice and contradict themselves, people who answer or
//! refuse, and a clock that only moves when told: all driven by one seeded scheduler, one step at a
//! time, so that a process can die and a plan can change its owner between any two steps. What may
//! never happen is checked after each step ([`oracle`]).
//!
//! A failing seed is printed. `L05_TEST_SEED=n` runs it alone; `L05_TEST_SEEDS=n` says how many are
//! tried. `scripts/bugs` shows for deliberate bugs, kept as patches under `bugs/`, how many seeds
//! it takes to find them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chance;
mod oracle;
mod plans;
mod process;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use world::World;

/// How many seeds a usual test run tries.
const SEEDS: u64 = 4_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// The invariant that a seed breaks, in words.
fn broken_by(seed: u64) -> Option<String> {
    let played = catch_unwind(AssertUnwindSafe(|| World::new(seed).play()));
    let panic = played.err()?;
    let text = panic.downcast_ref::<String>().map(String::as_str);
    Some(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned())
}

#[test]
fn no_seed_breaks_an_invariant() {
    if let Some(seed) = number("L05_TEST_SEED") {
        World::new(seed).play();
        return;
    }
    let seeds = number("L05_TEST_SEEDS").unwrap_or(SEEDS);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::panic::set_hook(Box::new(|_| {}));
    let worker = || {
        let mut steps = 0;
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                break;
            }
            if let Some(what) = broken_by(seed) {
                stop.store(true, Ordering::Relaxed);
                return Err((seed, what));
            }
            steps += 1;
        }
        Ok(steps)
    };
    let found: Vec<Result<u64, (u64, String)>> = std::thread::scope(|scope| {
        let threads = [scope.spawn(worker), scope.spawn(worker)];
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let _ = std::panic::take_hook();
    let tried: u64 = found.iter().filter_map(|result| result.as_ref().ok()).sum();
    let first = found.into_iter().filter_map(Result::err).min();
    if let Some((seed, what)) = first {
        panic!("seed {seed}: {what}\nL05_TEST_SEED={seed} runs it alone");
    }
    assert_eq!(tried, seeds);
}

/// The same seed is the same life, step by step.
#[test]
fn a_seed_reproduces() {
    for seed in [3, 77, 1_234] {
        assert_eq!(World::new(seed).play(), World::new(seed).play(), "seed {seed}");
    }
}
