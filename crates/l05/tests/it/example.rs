//! The example of the README runs.

#[test]
fn the_shortest_use_prints_a_plan() {
    // Built by `cargo test` beside the tests.
    let example =
        std::path::Path::new(env!("CARGO_BIN_EXE_l05")).parent().unwrap().join("examples/summary");
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(&example).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.starts_with("plan 0") && text.trim_end().ends_with("has 7 tasks"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "planning writes nothing");
}
