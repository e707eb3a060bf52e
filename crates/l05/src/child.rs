//! Helper processes: the binary that embeds the library starts itself again for work that has to be
//! stopped from outside.

use std::process::ExitCode;

/// The first argument of a helper process; the second names its work.
const CHILD_ARGUMENT: &str = "--l05-child";

/// To be called first in the `main` of a program that embeds the library: a process that was started as a
/// helper does its work and gives its exit code, with which `main` ends. In any other process this gives
/// `None` and has done nothing.
///
/// This version starts no helpers. One that a newer version starts is told so, and fails.
pub fn child_main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != CHILD_ARGUMENT {
        return None;
    }
    let work = arguments.next().unwrap_or_default();
    tracing::error!(work = %work.display(), "this version has no such helper process");
    // EX_UNAVAILABLE of sysexits.h.
    Some(ExitCode::from(69))
}
