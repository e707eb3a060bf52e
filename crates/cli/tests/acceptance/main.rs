//! Cases over third-party data, which lies outside the repository: `L05_TEST_SHARED_DATA` names
//! the folder. Run by `.ci/run`; the figures are printed and kept in docs/.

#![expect(clippy::print_stdout, reason = "the figures are what these tests are for")]

mod answers;
mod attack;
mod gateways;
mod injection;
mod input_policy;
mod meaning;
mod odd_providers;
mod plans;
mod schedules;

use std::path::PathBuf;

/// A file of the shared data.
fn data(name: &str) -> PathBuf {
    let folder =
        std::env::var("L05_TEST_SHARED_DATA").expect("L05_TEST_SHARED_DATA names the data");
    PathBuf::from(folder).join(name)
}

/// A file of the cases, which lie beside the data.
fn cases(name: &str) -> PathBuf {
    data("../cases").join(name)
}

fn json_lines(name: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(data(name)).expect(name);
    text.lines().map(|line| serde_json::from_str(line).expect(name)).collect()
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(data(name)).expect(name)).expect(name)
}
