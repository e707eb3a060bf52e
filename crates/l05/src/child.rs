//! Helper processes: the binary that embeds the library starts itself again for work that has to be
//! stopped from outside.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use l05_connect::evaluation_work;
use l05_connect::evaluator::{CHILD_ARGUMENT, EVALUATOR_WORK};

/// True once [`child_main`] was called: this program can be started as a helper.
static IS_HOST: AtomicBool = AtomicBool::new(false);

/// To be called first in the `main` of a program that embeds the library: a process that was started as a
/// helper does its work and gives its exit code, with which `main` ends. In any other process this gives
/// `None`, and services that are made afterwards evaluate what others wrote (templates, SQL, conditions, paths) in
/// helpers. Without this call they do it in threads of their own, where only static limits on the text bound time
/// and memory.
pub fn child_main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != CHILD_ARGUMENT) {
        IS_HOST.store(true, Ordering::Relaxed);
        return None;
    }
    let work = arguments.next().unwrap_or_default();
    if work == EVALUATOR_WORK {
        return Some(evaluation_work::serve());
    }
    tracing::error!(work = %work.display(), "this version has no such helper process");
    // EX_UNAVAILABLE of sysexits.h.
    Some(ExitCode::from(69))
}

/// The program to start helpers of; none where it does not host them.
pub(crate) fn helper_program() -> Option<PathBuf> {
    if !IS_HOST.load(Ordering::Relaxed) {
        return None;
    }
    // On Linux the running program, also when its file has been replaced meanwhile.
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Some(running) } else { std::env::current_exe().ok() }
}
