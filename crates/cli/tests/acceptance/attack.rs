//! The attacker's own plans: each ends with a code, within its task's time and some memory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cases;

/// The time that a command may take beyond its task's timeout.
const GRACE: Duration = Duration::from_secs(2);
/// The time of a plan that names none, and is refused.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);
/// An idle command with a helper, and 200 MB, in kB.
const PEAK_KB_MAX: u64 = 260 << 10;

#[test]
fn every_plan_of_the_attacker_ends() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(folder.path().join("t.csv"), "a,b\n1,2\n3,4\n").expect("it is writable");
    let mut names: Vec<_> = std::fs::read_dir(cases("attack"))
        .expect("the cases are there")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "json" || e == "yaml"))
        .collect();
    names.sort();
    assert!(names.len() >= 11, "{names:?}");
    for plan in names {
        for command in ["validate", "execute"] {
            check(folder.path(), command, &plan);
        }
    }
}

fn check(folder: &Path, command: &str, plan: &Path) {
    let text = std::fs::read_to_string(plan).expect("a case can be read");
    let timeout =
        text.split("\"timeout_seconds\": ").nth(1).and_then(|rest| rest.split(',').next());
    let timeout = timeout.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    let within = timeout.unwrap_or(REFUSED_WITHIN) + GRACE;
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_l05"))
        .args([command, plan.to_str().expect("UTF-8"), "--data-dir", "data"])
        .current_dir(folder)
        .env("L05_MODEL_GATEWAY", "none")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut peak = 0;
    while child.try_wait().expect("it is our child").is_none() {
        peak = peak.max(resident_kb(child.id()));
        if begun.elapsed() > within {
            child.kill().expect("it is our child");
        }
        std::thread::yield_now();
    }
    let output = child.wait_with_output().expect("it ran");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let shown: String = said.chars().take(600).collect();
    let what = format!("{command} {}: {shown}", plan.display());
    println!(
        "| attack | {command} {} | {:?} | {} MB |",
        plan.file_name().expect("a name").display(),
        begun.elapsed(),
        peak >> 10
    );
    // `validate` looks at form and types: what ends by its own limits may pass there.
    let code = output.status.code().unwrap_or(-1);
    assert!((0..=5).contains(&code), "exit code {code}: {what}");
    assert!(code != 0 || command == "validate", "it succeeded: {what}");
    // A question that finds no table was not asked.
    assert!(!said.contains("E5404"), "{what}");
    assert!(begun.elapsed() < within, "{what}");
    assert!(peak < PEAK_KB_MAX, "{} MB: {what}", peak >> 10);
    assert!(
        !said.contains("panicked") && !said.contains('\u{1b}') && !said.contains('\u{7}'),
        "{what}"
    );
}

/// The memory of a process and its children.
fn resident_kb(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<String> = lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let of = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
    };
    of(&pid.to_string()) + children.iter().map(|child| of(child)).sum::<u64>()
}
