//! Each template of the library runs, or says what it lacks. Those with tests of their own elsewhere
//! are run here again by their first example, so that none can be forgotten.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, git};
use crate::scripted::ScriptedModel;

/// What a goal's run needs beside the goal, and what has to come of it.
struct Case {
    template: &'static str,
    goal: &'static str,
    inputs: &'static [&'static str],
    /// A file that it writes, and words in it; or words in its outputs.
    file: Option<&'static str>,
    words: &'static [&'static str],
}

const fn case(
    template: &'static str,
    goal: &'static str,
    file: Option<&'static str>,
    words: &'static [&'static str],
) -> Case {
    Case { template, goal, inputs: &[], file, words }
}

const CASES: &[Case] = &[
    Case {
        inputs: &["--input", "file=sales.csv"],
        ..case(
            "analysis-by-dimension",
            "Analyze sales by region and category",
            Some("analysis-"),
            &["## By region", "| north | 3 |"],
        )
    },
    case(
        "code-change",
        "Change main.rs so that it prints the version",
        Some("main.rs.proposed"),
        &["fn main() { version() }"],
    ),
    case("data-pipeline", "Clean sales.csv", Some("cleaned.csv"), &["north,tea,1"]),
    case(
        "deployment",
        "Deploy shop to staging",
        None,
        &["shop was deployed to staging", "check shop staging"],
    ),
    case("file-processing", "List all csv files", Some("files-"), &["sales.csv"]),
    case("format-conversion", "Convert sales.csv to json", Some("converted.json"), &["\"north\""]),
    case("migration", "Migrate sales.csv to moved.ndjson", Some("moved.ndjson"), &["\"tea\""]),
    case(
        "monitoring-setup",
        "Set up monitoring for checkout at checkout.internal:9100",
        Some("monitoring/alerts.yml"),
        &["up{job=\\\"checkout\\\"} == 0", "histogram_quantile"],
    ),
    case(
        "project-summary",
        "Create a summary of the project status",
        Some("project-status-"),
        &["## Size"],
    ),
    case(
        "research",
        "Research north in the files",
        Some("research-"),
        &["the model's findings", "sales.csv:2"],
    ),
    case(
        "review",
        "Review the code",
        Some("review-"),
        &["main.rs:2", "TODO later", "`src/config.py:1`"],
    ),
    case("simple-query", "Find north in the files", None, &["sales.csv:2"]),
    case(
        "test-run",
        "Run the tests",
        Some("tests-"),
        &["They failed with exit code 1", "1 of 3 failed"],
    ),
];

/// Templates whose capability nothing here has, with what they lack then.
const LACKING: &[(&str, &str, &str)] =
    &[("web-digest", "Summarize the page example.org", "web.fetch")];

fn workspace() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(
        "sales.csv",
        "region,category,amount\nnorth,tea,1\nnorth,coffee,2\nsouth,tea,4\nnorth,tea,1\n",
    );
    sandbox.write("main.rs", "fn main() {}\n// TODO later\n");
    sandbox.write("src/config.py", "api_key = \"0123456789abcdef\"\n");
    for (name, text) in [
        ("run-tests", "#!/bin/sh\necho 1 of 3 failed\nexit 1\n"),
        ("deploy", "#!/bin/sh\necho \"$@\"\n"),
    ] {
        let path = sandbox.write(name, text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    git(&sandbox.work(), &["init", "-q"]);
    sandbox
}

fn model() -> ScriptedModel {
    ScriptedModel::start(|_, request| match request["format"]["required"][0].as_str() {
        Some("text") => {
            json!({"text": "fn main() { version() }", "summary": "It prints the version."})
                .to_string()
        }
        _ => "the model's findings".to_owned(),
    })
}

#[test]
fn every_template_runs_or_says_what_it_lacks() {
    let sandbox = workspace();
    // Programs are named in templates, never by a goal: the place says where they are.
    let place = sandbox.work().display().to_string();
    let programs = format!("tools.programs={place}/run-tests,{place}/deploy");
    let run = |arguments: &[&str]| sandbox.json(arguments);
    let model = model();
    let options = model.options();
    let mut shared: Vec<&str> = options.iter().map(String::as_str).collect();
    shared.extend(["--set", &programs]);
    let (code, listed) = run(&[&["templates", "list"], &shared[..]].concat());
    assert_eq!(code, 0);
    let listed: Vec<&Value> = listed.as_array().unwrap().iter().collect();
    assert!(listed.len() >= 14, "{}", listed.len());
    for template in &listed {
        let id = template["id"].as_str().unwrap();
        let lacking = LACKING.iter().find(|(lacking, ..)| *lacking == id);
        let lacks = lacking.map(|(.., what)| json!([what])).unwrap_or(json!([]));
        assert_eq!(template["lacks"], lacks, "{template}");
        let is_run = CASES.iter().any(|case| case.template == id);
        assert!(is_run || lacking.is_some(), "`{id}` is neither run nor known to lack something");
    }
    for case in CASES {
        let arguments = [&["run", case.goal, "--yes"], case.inputs, &shared[..]].concat();
        let (mut code, mut result) = run(&arguments);
        if code == 6 {
            // It asks a person.
            let id = result["plan_id"].as_str().unwrap();
            assert_eq!(run(&[&["approve", id, "--task", "ask"], &shared[..]].concat()).0, 0);
            (code, result) = run(&[&["execute", id], &shared[..]].concat());
        }
        // The program of this folder says that a test failed, and so does the plan.
        let ends = if case.template == "test-run" { (1, "FAILED") } else { (0, "COMPLETED") };
        let ended = (code, result["status"].as_str().unwrap_or_default());
        assert_eq!(ended, ends, "{}: {result}", case.template);
        let (_, shown) = run(&["show", result["plan_id"].as_str().unwrap()]);
        assert_eq!(shown["metadata"]["template_id"], case.template);
        let text = match case.file {
            Some(file) => {
                let written = result["files"].as_array().unwrap().iter().filter_map(Value::as_str);
                let path = written.clone().find(|path| path.starts_with(file));
                sandbox.read(path.unwrap_or_else(|| panic!("{file}: {result}")))
            }
            None => result["outputs"].to_string(),
        };
        for words in case.words {
            assert!(text.contains(words), "{}: {words}\n{text}", case.template);
        }
    }
    for (template, goal, what) in LACKING {
        let (code, error) =
            sandbox.json(&[&["run", goal, "--template", template], &shared[..]].concat());
        assert_eq!(code, 3, "{error}");
        assert!(error.to_string().contains(what), "{template}: {error}");
    }
    // Examples match and counterexamples do not, by the command that says so.
    let ran = sandbox.run(&["templates", "test"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// A migration that changes a value fails, and says so.
#[test]
fn a_migration_proves_what_it_says() {
    let sandbox = Sandbox::new();
    // CSV knows no difference between no text and an empty one.
    sandbox
        .write("odd.json", r#"[{"a": null, "b": "x"}, {"a": "", "b": "y"}, {"a": "t", "b": "z"}]"#);
    let (code, result) = sandbox.json(&["run", "Migrate odd.json to odd.csv", "--yes"]);
    assert_eq!((code, &result["status"]), (1, &json!("FAILED")), "{result}");
    assert_eq!(result["failed"], json!(["compare"]), "{result}");
    let why = result["error"]["message"].as_str().unwrap();
    assert!(why.contains("row 2, column `a`: no value, not an empty text"), "{result}");
}

/// A goal is not answered by a template that does less, or something else.
#[test]
fn a_goal_is_not_answered_by_something_else() {
    let sandbox = Sandbox::new();
    sandbox.write("a.md", "x\n# TODO a\n");
    for goal in [
        "List the largest files",
        "List the newest files",
        "Find security issues in the code",
        "Find performance problems in the project",
        "Which files contain errors?",
        "Fix the failing test in tests/test_utils.py",
    ] {
        let (code, result) = sandbox.json(&["run", goal, "--set", "input.policy=prose"]);
        assert_eq!((code, &result["error"]["code"]), (3, &json!("E5105")), "{goal}: {result}");
        assert!(
            result["error"]["message"].as_str().unwrap().contains("leaves out `"),
            "{goal}: {result}"
        );
    }
    assert_eq!(std::fs::read_dir(sandbox.work()).unwrap().count(), 1, "nothing was done");
    // Whoever names the template has it, and is told.
    let arguments = [
        "run",
        "Find the word TODO in all of it",
        "--template",
        "simple-query",
        "--input",
        "text=TODO",
    ];
    let (code, result) = sandbox.json(&arguments);
    assert_eq!(code, 0, "{result}");
    let (_, plan) = sandbox.json(&["show", result["plan_id"].as_str().unwrap()]);
    assert!(plan.to_string().contains("leaves out these words of the goal: `word`"), "{plan}");
}

/// Where nothing was found or the program failed, the plan fails and says it.
#[test]
fn an_empty_answer_is_no_success() {
    let sandbox = Sandbox::new();
    sandbox.write("a.md", "x\n# TODO a\n");
    for (goal, why) in [
        ("List all rust files", "no file in . ends in .rs"),
        ("Find nowhere in the files", "no line of 1 files has \"nowhere\""),
    ] {
        let (code, result) = sandbox.json(&["run", goal]);
        assert_eq!(code, 1, "{goal}: {result}");
        assert!(result["error"]["message"].as_str().unwrap().contains(why), "{goal}: {result}");
    }
    assert_eq!(std::fs::read_dir(sandbox.work()).unwrap().count(), 1, "no empty list was written");
    let (code, result) = sandbox.json(&["run", "List all markdown files"]);
    assert_eq!((code, result["files"].as_array().unwrap().len()), (0, 1), "{result}");
}

/// What a report quotes is not counted by the next.
#[test]
fn reports_do_not_read_reports() {
    let sandbox = Sandbox::new();
    sandbox.write("a.md", "x\n# TODO a\n");
    for goal in [
        "Create a summary of the project status",
        "Review the code",
        "Create a summary of the project status",
    ] {
        let (code, result) = sandbox.json(&["run", goal, "--input", "output=mine.md"]);
        assert_eq!(code, 0, "{result}");
        let report = sandbox.read(result["files"][0].as_str().unwrap());
        assert!(report.contains("1 lines:") && !report.contains("mine"), "{report}");
        assert!(report.contains("1 files"), "{report}");
    }
}

/// A template as it is shown is a template's file: it can be copied and changed.
#[test]
fn a_template_that_is_shown_can_be_read() {
    let sandbox = Sandbox::new();
    let (_, listed) = sandbox.json(&["templates", "list"]);
    let set = ["--set", "decomposition.templates_dir=mine"];
    for (i, template) in listed.as_array().unwrap().iter().enumerate() {
        let id = template["id"].as_str().unwrap();
        let form = if i % 2 == 0 { "yaml" } else { "json" };
        let shown = sandbox.run(&["templates", "show", id, "--output", form]).stdout;
        sandbox.write(&format!("mine/{id}.{form}"), &shown);
    }
    let ran = sandbox.run(&[&["templates", "test"], &set[..]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let (_, again) = sandbox.json(&[&["templates", "show", "file-processing"], &set[..]].concat());
    let (_, first) = sandbox.json(&["templates", "show", "file-processing"]);
    assert_eq!(again, first);
    sandbox.write("a.md", "x\n");
    let (code, result) = sandbox.json(&[&["run", "List all markdown files"], &set[..]].concat());
    assert_eq!(code, 0, "{result}");
}
