//! Tasks that take their process down: the plan is suspended, the others go on.

use std::os::unix::fs::PermissionsExt as _;

use crate::sandbox::{Sandbox, wait_for};

/// A sandbox with a program that kills the process that started it, until there is a file `healed`.
fn poisoned() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let script =
        sandbox.write("poison.sh", "#!/bin/sh\n[ -e healed ] && exit 0\nkill -9 $PPID\nsleep 60\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.write(
        "poison.yaml",
        &format!(
            "goal: take it down\ntasks:\n  - {{id: before, tool: fs.list}}\n  - {{id: poison, tool: process.run, \
             depends_on: [before], on_recovery: RERUN, inputs: {{program: \"{}\"}}}}\n",
            script.display()
        ),
    );
    sandbox.write("good.yaml", "goal: go on\ntasks:\n  - {id: a, tool: fs.list}\n");
    let set = format!("tools.programs={}", script.display());
    (sandbox, set)
}

#[test]
fn a_plan_that_kills_its_owners_is_suspended_and_goes_on_by_hand() {
    let (sandbox, set) = poisoned();
    let submitted = sandbox.run(&["execute", "poison.yaml", "--detach", "--set", &set]);
    assert_eq!(submitted.code, 0, "{submitted:?}");
    let id = sandbox.newest_plan().unwrap();
    for _ in 0..3 {
        let died = sandbox.run(&["execute", &id, "--set", &set]);
        assert_eq!(died.code, -1, "it is killed: {died:?}");
    }
    let suspended = sandbox.run(&["execute", &id, "--set", &set]);
    assert_eq!(suspended.code, 1, "{suspended:?}");
    let said = format!("{}{}", suspended.stdout, suspended.stderr);
    assert!(said.contains("SUSPENDED") && said.contains("`poison` in flight"), "{said}");

    let (_, status) = sandbox.json(&["status", &id]);
    assert_eq!(status["status"], "SUSPENDED");
    assert_eq!(status["suspension"], serde_json::json!({"deaths": 3, "task_ids": ["poison"]}));
    let told = sandbox.run(&["status", &id]).stdout;
    assert!(told.contains("3 processes died in a row with `poison` in flight"), "{told}");
    let (_, history) = sandbox.json(&["history", "--status", "SUSPENDED"]);
    assert_eq!(history["plans"][0]["plan_id"], id.as_str());
    let (code, doctor) = sandbox.json(&["doctor"]);
    assert_eq!(code, 5, "{doctor}");
    assert!(doctor["checks"].to_string().contains(&id), "{doctor}");
    let again = sandbox.run(&["execute", &id, "--set", &set]);
    assert_eq!(again.code, 3, "{again:?}");
    assert!(
        again.stderr.contains("E5204") && again.stderr.contains("execute --force"),
        "{again:?}"
    );

    sandbox.write("healed", "");
    let healed = sandbox.run(&["execute", &id, "--force", "--set", &set]);
    assert_eq!(healed.code, 0, "{healed:?}");
    let (_, events) = sandbox.json(&["events", &id]);
    let of_kind = |kind: &str| {
        events["events"].as_array().unwrap().iter().filter(|event| event["type"] == kind).count()
    };
    assert_eq!((of_kind("plan.suspended"), of_kind("plan.resumed")), (1, 1), "{events}");
    let refused = sandbox.run(&["execute", &id, "--force", "--set", &set]);
    assert_eq!(refused.code, 3, "{refused:?}");
}

#[test]
fn a_suspended_plan_can_be_cancelled() {
    let (sandbox, set) = poisoned();
    sandbox.run(&["execute", "poison.yaml", "--detach", "--set", &set]);
    let id = sandbox.newest_plan().unwrap();
    for _ in 0..4 {
        sandbox.run(&["execute", &id, "--set", &set]);
    }
    let cancelled = sandbox.run(&["cancel", &id]);
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    let (_, status) = sandbox.json(&["status", &id]);
    assert_eq!(status["status"], "CANCELLED");
}

#[test]
fn workers_that_die_of_a_plan_leave_the_others_to_the_next() {
    let (sandbox, set) = poisoned();
    sandbox.run(&["execute", "poison.yaml", "--detach", "--set", &set]);
    let poison = sandbox.newest_plan().unwrap();
    // In flight each time a worker dies, and not to blame.
    sandbox.write("good.yaml", "goal: go on\ntasks:\n  - {id: a, tool: time.wait, inputs: {seconds: 3}, on_recovery: RERUN}\n");
    sandbox.run(&["execute", "good.yaml", "--detach"]);
    let good = sandbox.newest_plan().unwrap();
    let status = |id: &str| sandbox.json(&["status", id]).1["status"].as_str().unwrap().to_owned();
    let mut workers = 0;
    while status(&poison) != "SUSPENDED" || status(&good) != "COMPLETED" {
        assert!(workers < 6, "{} and {}", status(&poison), status(&good));
        let worker = sandbox.spawn(&["worker", "--set", &set]);
        workers += 1;
        wait_for("the worker to die, or both plans to be where they belong", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.id()));
            let gone = stat.is_ok_and(|stat| stat.contains(") Z "));
            let settled = || status(&poison) == "SUSPENDED" && status(&good) == "COMPLETED";
            (gone || settled()).then_some(())
        });
    }
}
