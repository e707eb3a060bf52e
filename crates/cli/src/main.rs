//! The `l05` program.

mod cli;

use std::process::ExitCode;

/// Plans are many small values: this allocator makes and frees them in half the system's time. Without
/// huge pages, which would make an idle process twice as large.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    l05::child_main().unwrap_or_else(cli::main)
}
