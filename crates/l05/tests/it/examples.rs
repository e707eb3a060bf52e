//! The examples of the README run.

use std::path::PathBuf;
use std::process::Output;

/// An example's program, which `cargo test` builds beside the tests.
fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().parent().unwrap().join("examples").join(name)
}

fn run(name: &str) -> (Output, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(program(name)).current_dir(folder.path()).output();
    (output.unwrap(), folder)
}

#[test]
fn the_shortest_use_prints_a_plan() {
    let (output, folder) = run("summary");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.starts_with("plan 0") && text.trim_end().ends_with("has 7 tasks"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "planning writes nothing");
}

#[test]
fn a_tool_of_ones_own_is_validated_and_run() {
    let (output, _folder) = run("custom_tool");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = "refused: E5602: task `say`, tasks[1].inputs.text: `$[tally].output.words` can \
                    give `0`, which `shout` does not take for `text`";
    assert!(text.contains(expected), "{text}");
    assert!(text.trim_end().ends_with("COMPLETED: {\"say\":{\"text\":\"3 WORDS\"}}"), "{text}");
}
