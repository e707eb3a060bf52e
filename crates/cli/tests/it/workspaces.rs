//! Runs belong to the workspace they were started in, whoever goes on with them and wherever.

use serde_json::{Value, json};

use crate::sandbox::{Ran, Sandbox};

const READ: &str = "goal: x\ntasks:\n  - { id: read, tool: fs.read, inputs: { path: a.txt } }\n";
const NOWHERE: &str =
    "goal: x\ntasks:\n  - { id: wait, tool: time.wait, inputs: { seconds: 0 } }\n";

/// A sandbox with a second folder beside the workspace.
struct TwoFolders {
    sandbox: Sandbox,
}

impl TwoFolders {
    fn new() -> TwoFolders {
        let sandbox = Sandbox::new();
        std::fs::create_dir(sandbox.work().join("../other")).unwrap();
        TwoFolders { sandbox }
    }

    /// Runs a command in the second folder, on the same store.
    fn elsewhere(&self, arguments: &[&str]) -> Ran {
        let mut command = self.sandbox.command(arguments);
        command.current_dir(self.sandbox.work().join("../other")).output().unwrap().into()
    }

    fn elsewhere_json(&self, arguments: &[&str]) -> (i32, Value) {
        let ran = self.elsewhere(&[arguments, &["--output", "json"]].concat());
        (ran.code, ran.json())
    }

    fn id_of(result: &Value) -> String {
        result["plan_id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_retry_goes_on_in_the_folder_of_the_run() {
    let two = TwoFolders::new();
    two.sandbox.write("plan.yaml", READ);
    let (code, result) = two.sandbox.json(&["execute", "plan.yaml"]);
    assert_eq!(code, 1, "{result}");
    let id = TwoFolders::id_of(&result);
    two.sandbox.write("a.txt", "here");
    std::fs::write(two.sandbox.work().join("../other/a.txt"), "there").unwrap();

    // A folder that is named and is not the run's is refused, with both told.
    let (code, refused) = two.elsewhere_json(&["retry", &id, "--workspace", "."]);
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(
        code != 0 && why.contains("/work`; this process works in `") && why.contains("/other`"),
        "{why}"
    );

    let (code, result) = two.elsewhere_json(&["retry", &id]);
    assert_eq!((code, &result["outputs"]["read"]["text"]), (0, &json!("here")), "{result}");
}

#[test]
fn a_worker_serves_its_own_folder_unless_it_is_told() {
    let two = TwoFolders::new();
    two.sandbox.write("plan.yaml", READ);
    two.sandbox.write("nowhere.yaml", NOWHERE);
    two.sandbox.write("a.txt", "here");
    let detached = |file: &str| {
        let (code, left) = two.sandbox.json(&["execute", file, "--detach"]);
        assert_eq!(code, 0, "{left}");
        TwoFolders::id_of(&left)
    };
    let (bound, free) = (detached("plan.yaml"), detached("nowhere.yaml"));
    let status = |id: &str| two.sandbox.json(&["status", id]).1["status"].clone();

    let ran = two.elsewhere(&["worker", "--until-idle"]);
    assert!(ran.stderr.contains("belongs to the workspace `"), "{ran:?}");
    assert_eq!((status(&free), status(&bound)), (json!("COMPLETED"), json!("EXECUTING")));

    let ran = two.elsewhere(&["worker", "--until-idle", "--workspace", "all"]);
    assert_eq!((ran.code, status(&bound)), (0, json!("COMPLETED")), "{ran:?}");
    let (_, shown) = two.sandbox.json(&["execute", &bound]);
    assert_eq!(shown["outputs"]["read"]["text"], "here");

    let again = detached("plan.yaml");
    let work = two.sandbox.work().display().to_string();
    let ran = two.elsewhere(&["worker", "--until-idle", "--workspace", &work]);
    assert_eq!((ran.code, status(&again)), (0, json!("COMPLETED")), "{ran:?}");
}

#[test]
fn another_folder_in_the_place_of_the_runs_is_not_taken_for_it() {
    let two = TwoFolders::new();
    two.sandbox.write("plan.yaml", READ);
    let (_, result) = two.sandbox.json(&["execute", "plan.yaml"]);
    let id = TwoFolders::id_of(&result);
    std::fs::rename(two.sandbox.work(), two.sandbox.work().join("../moved")).unwrap();
    std::fs::create_dir(two.sandbox.work()).unwrap();
    two.sandbox.write("a.txt", "an impostor");
    for ran in [two.elsewhere(&["retry", &id]), two.sandbox.run(&["retry", &id])] {
        assert!(ran.code != 0 && ran.stderr.contains("another folder is there by now"), "{ran:?}");
    }
}

#[test]
fn a_name_stands_for_a_folder_that_machines_share() {
    let two = TwoFolders::new();
    two.sandbox.write("plan.yaml", READ);
    let named = ["--set", "workspace.id=shared"];
    let (_, result) = two.sandbox.json(&[&["execute", "plan.yaml"], &named[..]].concat());
    let id = TwoFolders::id_of(&result);
    std::fs::write(two.sandbox.work().join("../other/a.txt"), "the same share").unwrap();
    let (code, refused) = two.elsewhere_json(&["retry", &id]);
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(code != 0 && why.contains("`shared` (workspace.id)"), "{why}");
    let (code, result) = two.elsewhere_json(&[&["retry", id.as_str()], &named[..]].concat());
    assert_eq!(
        (code, &result["outputs"]["read"]["text"]),
        (0, &json!("the same share")),
        "{result}"
    );
}
