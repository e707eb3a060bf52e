//! Nothing is acknowledged before it is on the disk: the binary's own calls of fsync and fdatasync,
//! counted from outside, against the commits that it acknowledged.

use std::process::Command;

use crate::sandbox::Sandbox;

/// A chain: every task has to wait for the commit that completes the one before.
fn chain(tasks: usize) -> String {
    let mut plan = "goal: one after the other\ntasks:\n".to_owned();
    for task in 0..tasks {
        let after =
            if task == 0 { String::new() } else { format!("depends_on: [t{}], ", task - 1) };
        plan.push_str(&format!(
            "  - {{id: t{task}, tool: json.select, {after}inputs: {{value: {{a: {task}}}, path: $.a}}}}\n"
        ));
    }
    plan
}

#[test]
fn every_acknowledged_commit_is_on_the_disk() {
    const TASKS: usize = 40;
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", &chain(TASKS));
    // The first run makes the data folder, so that its set-up is not counted.
    assert_eq!(sandbox.run(&["execute", "plan.yaml"]).code, 0);
    let trace = sandbox.work().join("trace");
    let plain = sandbox.command(&["execute", "plan.yaml", "--output", "json"]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-e", "trace=fdatasync,fsync", "-o"]).arg(&trace).arg(plain.get_program());
    traced.args(plain.get_args()).current_dir(sandbox.work()).env("L05_DATA_DIR", sandbox.data());
    let output = traced.output().expect("strace is installed (scripts/packages)");
    assert!(output.status.success(), "{output:?}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let id = result["plan_id"].as_str().unwrap();

    let database = rusqlite::Connection::open(sandbox.data().join("l05.db")).unwrap();
    let commits =
        "SELECT count(*) FROM journal JOIN plan ON journal.plan = plan.number WHERE plan.id = ?1";
    let id = id.replace('-', "");
    let id: Vec<u8> =
        (0..16).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap()).collect();
    let commits: i64 = database.query_row(commits, [id], |row| row.get(0)).unwrap();
    let commits = commits as usize;
    assert_eq!(commits, TASKS + 1, "the start, and one for each completion with what it frees");
    let text = std::fs::read_to_string(&trace).unwrap();
    let synced =
        text.lines().filter(|line| line.contains("sync(") && line.ends_with("= 0")).count();
    assert!(synced >= commits, "{synced} syncs for {commits} commits:\n{text}");
}
