//! `l05-bench`: the figures of spec 08, one JSON line each.
//!
//! `cargo run --release -p l05-bench -- [--json] [--dir DIR] [filter]`

mod boxed;
mod disk;
mod fair;
mod measure;
mod memory;
mod planning;
mod runs;
mod workload;

use std::path::PathBuf;

use measure::BenchRun;

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // The evaluator processes that are measured are this program.
    if l05::child_main().is_some() {
        return;
    }
    let mut dir = PathBuf::from("target/bench");
    let mut filter = String::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // The only form there is; accepted because the documentation names it.
            "--json" => {}
            "--dir" => dir = arguments.next().map(PathBuf::from).unwrap_or(dir),
            other => other.clone_into(&mut filter),
        }
    }
    std::fs::create_dir_all(&dir).expect("the bench folder can be made");
    let bench = BenchRun::new(filter, dir);
    disk::run(&bench);
    boxed::run(&bench);
    memory::run(&bench);
    planning::run(&bench);
    runs::run(&bench);
    fair::run(&bench);
}
