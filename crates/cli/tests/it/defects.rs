//! Defects that users meet in other planners, each as a plan that would show it.

use serde_json::Value;

use crate::sandbox::Sandbox;

/// Runs a plan; its result, whatever the exit code.
fn run(sandbox: &Sandbox, plan: &str, set: &[&str]) -> Value {
    sandbox.write("plan.yaml", plan);
    let mut arguments = vec!["execute", "plan.yaml"];
    set.iter().for_each(|pair| arguments.extend(["--set", pair]));
    sandbox.json(&arguments).1
}

fn seconds(result: &Value) -> f64 {
    result["usage"]["seconds"].as_f64().unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// The branch that ends first must not start the sink, and the one that ends last must.
#[test]
fn the_sink_of_an_uneven_diamond_runs() {
    let plan = "goal: diamond\ntasks:\n  \
        - {id: top, tool: time.wait, inputs: {seconds: 0}}\n  \
        - {id: short, tool: time.wait, depends_on: [top], inputs: {seconds: 0.02}}\n  \
        - {id: long, tool: time.wait, depends_on: [top], inputs: {seconds: 0.05}}\n  \
        - {id: sink, tool: json.select, depends_on: [short, long], \
           inputs: {value: \"$[long].output\", path: $.waited_seconds}}\n";
    let result = run(&Sandbox::new(), plan, &[]);
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(names(&result["completed"]).len(), 4);
}

#[test]
fn all_of_202_tasks_run_ten_at_a_time() {
    let mut plan = "goal: wide\nconstraints: {max_parallelism: 10}\ntasks:\n  \
        - {id: first, tool: time.wait, inputs: {seconds: 0}}\n"
        .to_owned();
    for task in 0..200 {
        plan.push_str(&format!(
            "  - {{id: t{task}, tool: time.wait, depends_on: [first], inputs: {{seconds: 0.002}}}}\n"
        ));
    }
    let all: Vec<String> = (0..200).map(|task| format!("t{task}")).collect();
    let last = format!(
        "  - {{id: last, tool: time.wait, depends_on: [{}], inputs: {{seconds: 0}}}}\n",
        all.join(", ")
    );
    plan.push_str(&last);
    let sandbox = Sandbox::new();
    let refused = run(&sandbox, &plan, &[]);
    assert_eq!(refused["error"]["code"], "E5102", "more than 200 without being asked: {refused}");
    let limits = ["decomposition.max_tasks=300", "validation.max_complexity=5000"];
    let result = run(&sandbox, &plan, &limits);
    assert_eq!(
        (&result["status"], names(&result["completed"]).len()),
        (&"COMPLETED".into(), 202),
        "{result}"
    );
}

#[test]
fn a_timeout_of_one_second_fires_at_about_one_second() {
    let plan = "goal: late\ntasks:\n  - {id: slow, tool: time.wait, timeout_seconds: 1, \
        retry: {max_retries: 0}, inputs: {seconds: 2.5}}\n";
    let result = run(&Sandbox::new(), plan, &[]);
    assert_eq!(result["tasks"][0]["status"], "TIMED_OUT", "{result}");
    // Not a measurement: at 2.5 s the work itself would have ended.
    assert!((0.9..2.4).contains(&seconds(&result)), "{result}");
}

#[test]
fn a_failure_blocks_everything_behind_it_and_returns_what_completed() {
    let plan = "goal: chain\ntasks:\n  \
        - {id: beside, tool: time.wait, inputs: {seconds: 0}}\n  \
        - {id: a, tool: fs.read, inputs: {path: nowhere.txt}}\n  \
        - {id: b, tool: time.wait, depends_on: [a], inputs: {seconds: 0}}\n  \
        - {id: c, tool: time.wait, depends_on: [b], inputs: {seconds: 0}}\n  \
        - {id: d, tool: time.wait, depends_on: [c], inputs: {seconds: 0}}\n";
    let result = run(&Sandbox::new(), plan, &[]);
    assert_eq!(
        (&result["status"], &result["partial"]),
        (&"FAILED".into(), &true.into()),
        "{result}"
    );
    assert_eq!(names(&result["failed"]), ["a"]);
    assert_eq!(names(&result["blocked"]), ["b", "c", "d"]);
    assert_eq!(names(&result["completed"]), ["beside"]);
    assert_eq!(result["outputs"]["beside"]["waited_seconds"], 0.0);
}

#[test]
fn a_false_condition_skips_and_a_missing_key_is_an_error() {
    let plan = "goal: choose\ntasks:\n  \
        - {id: a, tool: json.select, inputs: {value: {n: 1}, path: $.n}}\n  \
        - {id: no, tool: time.wait, inputs: {seconds: 0}, \
           depends_on: [{task: a, type: conditional, condition: \"outputs.matches[0] > 1\"}]}\n  \
        - {id: bad, tool: json.select, inputs: {value: \"$[a].output.matches[7]\", path: $}, retry: {max_retries: 0}}\n";
    let result = run(&Sandbox::new(), plan, &[]);
    assert_eq!(names(&result["skipped"]), ["no"], "{result}");
    assert_eq!(names(&result["failed"]), ["bad"]);
    let error = &result["tasks"][2]["error"];
    assert_eq!(error["code"], "E5404", "and not an empty object: {result}");
}

/// Two runs of the same plan file are two plans: what one does is not seen by the other.
#[test]
fn two_runs_of_one_file_do_not_touch_each_other() {
    let sandbox = Sandbox::new();
    let plan = "goal: write\ntasks:\n  - {id: say, tool: fs.write, \
        inputs: {path: said.txt, text: \"x\", if_exists: number}}\n";
    let (first, second) = (run(&sandbox, plan, &[]), run(&sandbox, plan, &[]));
    assert_ne!(first["plan_id"], second["plan_id"]);
    assert_ne!(first["files"], second["files"], "{first} {second}");
    let id = first["plan_id"].as_str().unwrap();
    let (_, again) = sandbox.json(&["show", id]);
    assert_eq!(again["tasks"][0]["attempts"].as_array().unwrap().len(), 1, "{again}");
}

#[test]
fn a_cancelled_plan_leaves_nothing_running() {
    let sandbox = Sandbox::new();
    let script = sandbox.write("forever", "#!/bin/sh\necho $$ > pid\nexec sleep 300\n");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = script.display();
    sandbox.write(
        "plan.yaml",
        &format!("goal: forever\ntasks:\n  - {{id: it, tool: process.run, inputs: {{program: \"{program}\"}}}}\n"),
    );
    let set = format!("tools.programs={program}");
    let owner = sandbox.spawn(&["execute", "plan.yaml", "--set", &set]);
    let pid = crate::sandbox::wait_for("the program", || {
        std::fs::read_to_string(sandbox.work().join("pid")).ok().filter(|pid| pid.ends_with('\n'))
    });
    let id = sandbox.newest_plan().unwrap();
    assert_eq!(sandbox.run(&["cancel", &id]).code, 0);
    assert_eq!(owner.wait(), 1);
    let gone = !std::path::Path::new(&format!("/proc/{}", pid.trim())).exists();
    assert!(gone, "the program outlived its plan");
}
