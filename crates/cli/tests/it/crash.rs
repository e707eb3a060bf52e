//! Real processes that die at random moments, on real stores. Whatever dies, every plan ends well,
//! nothing that completed runs again, and what was in flight runs again under the same key.
//!
//! Each effect is a line in a file, written by a program that the task runs: the attempt's
//! idempotency key and the task's name.

mod chance;
mod disk;
mod processes;
mod server;
mod two;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::Value;

use crate::sandbox::{Running, Sandbox, wait_for};

/// Plans at once.
const PLANS: usize = 20;
/// Steps of one plan in a row: a short wait, then an effect.
const STEPS: usize = 20;

/// A workspace, a store, and workers that may die.
struct World {
    sandbox: Sandbox,
    store: Option<String>,
    plans: Vec<String>,
}

impl World {
    fn new(store: Option<String>) -> World {
        let sandbox = Sandbox::new();
        let note = "#!/bin/sh\necho \"$L05_IDEMPOTENCY_KEY $1\" >> effects.txt\n";
        let path = sandbox.write("note", note);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        World { sandbox, store, plans: Vec::new() }
    }

    fn note(&self) -> String {
        self.sandbox.work().join("note").display().to_string()
    }

    /// Options of every command.
    fn options(&self) -> Vec<String> {
        let mut options = vec!["--set".to_owned(), format!("tools.programs={}", self.note())];
        // Workers are killed as fast as they come: no plan is to blame for it.
        options.extend(["--set".to_owned(), "execution.deaths_max=0".to_owned()]);
        if let Some(url) = &self.store {
            options.extend(["--set".to_owned(), format!("store.url={url}")]);
        }
        options
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let options = self.options();
        let all: Vec<&str> =
            arguments.iter().copied().chain(options.iter().map(String::as_str)).collect();
        let (code, answer) = self.sandbox.json(&all);
        assert_eq!(code, 0, "{arguments:?}: {answer}");
        answer
    }

    /// Hands in plans until `count` of them have not ended.
    fn keep_busy(&mut self, count: usize) {
        let going_on = self.json(&["history", "--status", "EXECUTING", "--limit", "1000"]);
        let missing = count.saturating_sub(going_on["plans"].as_array().unwrap().len());
        for _ in 0..missing {
            let file = format!("plan{}.yaml", self.plans.len());
            self.sandbox.write(&file, &plan(&self.note(), STEPS));
            let submitted = self.json(&["execute", &file, "--detach"]);
            self.plans.push(submitted["plan_id"].as_str().unwrap().to_owned());
        }
    }

    fn worker(&self) -> Running {
        self.worker_in(&self.sandbox.data())
    }

    /// A worker with a data folder of its own.
    fn worker_in(&self, data: &std::path::Path) -> Running {
        let mut command = self.sandbox.command(&["worker"]);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        command.args(self.options()).env("L05_DATA_DIR", data).stdout(Stdio::null()).stderr(log);
        Running::of(command.spawn().unwrap())
    }

    fn log(&self) -> std::path::PathBuf {
        self.sandbox.work().join("workers.log")
    }

    fn finish(&self) {
        let options = self.options();
        let mut arguments = vec!["worker", "--until-idle"];
        arguments.extend(options.iter().map(String::as_str));
        let ran = self.sandbox.run(&arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    fn wait_until_all_ended(&self) {
        wait_for("the end of all plans", || {
            let going_on = self.json(&["history", "--status", "EXECUTING", "--limit", "1"]);
            going_on["plans"].as_array().unwrap().is_empty().then_some(())
        });
    }

    /// How many lines of effects there are by now.
    fn effects(&self) -> usize {
        let text = std::fs::read_to_string(self.sandbox.work().join("effects.txt"));
        text.unwrap_or_default().lines().count()
    }

    /// Checks every plan's events against what happened; gives the number of repeated effects.
    fn check(&self) -> usize {
        let text = self.sandbox.read("effects.txt");
        let mut effects: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for line in text.lines() {
            let (key, task) = line.split_once(' ').unwrap_or_else(|| panic!("a torn line: {line}"));
            let plan = key.split('/').next().unwrap();
            effects.entry((plan, task)).or_default().push(key);
        }
        let mut repeated = 0;
        for plan in &self.plans {
            repeated += self.check_plan(plan, &effects);
        }
        let known: BTreeSet<&str> = self.plans.iter().map(String::as_str).collect();
        assert!(effects.keys().all(|(plan, _)| known.contains(plan)), "effects of unknown plans");
        repeated
    }

    fn check_plan(&self, plan: &str, effects: &BTreeMap<(&str, &str), Vec<&str>>) -> usize {
        let status = self.json(&["status", plan]);
        assert_eq!(status["status"], "COMPLETED", "{plan}: {status}");
        let events = self.json(&["events", plan]);
        let (mut started, mut done) = (BTreeMap::<&str, usize>::new(), BTreeSet::new());
        for event in events["events"].as_array().unwrap() {
            let task = event["task_id"].as_str().unwrap_or_default();
            match event["type"].as_str().unwrap() {
                "task.completed" => assert!(done.insert(task), "{plan} {task} completed twice"),
                "task.started" => {
                    assert!(!done.contains(task), "{plan} {task} ran again after it completed");
                    assert_eq!(event["data"]["attempt"], 1, "{plan} {task}: {event}");
                    *started.entry(task).or_default() += 1;
                }
                _ => {}
            }
        }
        let mut repeated = 0;
        for step in 0..STEPS {
            let task = format!("effect{step}");
            let keys = &effects[&(plan, task.as_str())];
            assert!(keys.iter().all(|key| *key == keys[0]), "{task}: other keys: {keys:?}");
            let begun = started[task.as_str()];
            assert!(keys.len() <= begun, "{plan} {task}: {} effects, {begun} starts", keys.len());
            repeated += keys.len() - 1;
        }
        repeated
    }
}

#[expect(clippy::print_stdout, reason = "figures for whoever runs the tests by hand")]
fn tell(figures: &str) {
    println!("{figures}");
}

/// Short waits and effects in a row.
fn plan(note: &str, steps: usize) -> String {
    let mut plan = "goal: survive\ntasks:\n".to_owned();
    for step in 0..steps {
        let after = match step {
            0 => String::new(),
            _ => format!("depends_on: [effect{}], ", step - 1),
        };
        plan.push_str(&format!(
            "  - {{id: wait{step}, tool: time.wait, {after}inputs: {{seconds: 0.02}}}}\n  \
             - {{id: effect{step}, tool: process.run, depends_on: [wait{step}], \
             inputs: {{program: \"{note}\", args: [effect{step}]}}}}\n"
        ));
    }
    plan
}
