//! A command whose time and memory are watched, its helper processes included.

use std::collections::HashMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::Ran;

/// The memory of an idle command with a helper, in MB, and what an attack may add to it.
pub(crate) const MEMORY_MAX_MB: u64 = 60 + 200;

/// What a watched command did.
pub(crate) struct Bounded {
    pub(crate) ran: Ran,
    pub(crate) took: Duration,
    /// The most that it and its descendants held at once, in MB.
    pub(crate) peak_mb: u64,
}

/// Runs a command to its end, or for `within`, after which it is killed and the test fails.
pub(crate) fn bounded(mut command: Command, within: Duration) -> Bounded {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut peak_mb = 0;
    while child.try_wait().unwrap().is_none() {
        peak_mb = peak_mb.max(memory_mb(child.id()));
        if begun.elapsed() > within {
            child.kill().unwrap();
            let said = Ran::from(child.wait_with_output().unwrap());
            panic!("not ended after {within:?}, {peak_mb} MB: {said:?}");
        }
        // A process is looked at as often as the system lets others run.
        std::thread::yield_now();
    }
    let took = begun.elapsed();
    Bounded { ran: child.wait_with_output().unwrap().into(), took, peak_mb }
}

/// The resident memory of a process and all its descendants, in MB.
pub(crate) fn memory_mb(root: u32) -> u64 {
    let parents = parents();
    let is_below = |mut pid: u32| loop {
        if pid == root {
            return true;
        }
        match parents.get(&pid) {
            Some(parent) => pid = *parent,
            None => return false,
        }
    };
    parents.keys().filter(|pid| is_below(**pid)).map(|pid| resident_kb(*pid)).sum::<u64>() / 1024
}

/// Each process with its parent.
fn parents() -> HashMap<u32, u32> {
    let ids = fs::read_dir("/proc").unwrap().flatten();
    ids.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything: state, parent.
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    })
    .collect()
}

fn resident_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
