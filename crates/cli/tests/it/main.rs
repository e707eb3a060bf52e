//! The built binary, as people and programs use it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod approvals;
mod attack;
mod bad_input;
mod bounded;
mod budgets;
mod crash;
mod defects;
mod documents;
mod durable;
mod figures;
mod flow_cases;
mod hostile_files;
mod hostile_git;
mod kill;
mod library;
mod models;
mod mutation;
mod pins;
mod plan_files;
mod planning;
mod poison;
mod programs;
mod sales;
mod sandbox;
mod scripted;
mod second_terminal;
mod summary;
mod tables;
mod terminal;
mod tidy;
mod validation;
mod workspaces;
