//! Exit codes, and which error gives which.

use l05_core::ErrorCode;
use l05_core::error::ErrorKind;

/// The end of the program (spec 05, 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// The answer is there, the plan completed.
    Done = 0,
    /// The plan failed.
    PlanFailed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The input was refused or is not valid.
    Refused = 3,
    /// Nothing has the name that was given.
    NotFound = 4,
    /// Something that is needed cannot be reached.
    Unavailable = 5,
    /// The plan waits for a person.
    Waiting = 6,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(exit: ExitStatus) -> std::process::ExitCode {
        std::process::ExitCode::from(exit as u8)
    }
}

/// The exit code of a command that ends in an error.
pub(crate) fn of(code: ErrorCode) -> ExitStatus {
    match code.info().kind {
        ErrorKind::Usage => ExitStatus::Usage,
        ErrorKind::Refused | ErrorKind::WrongState => ExitStatus::Refused,
        ErrorKind::NotFound => ExitStatus::NotFound,
        ErrorKind::Conflict | ErrorKind::Unavailable | ErrorKind::Damaged => {
            ExitStatus::Unavailable
        }
        ErrorKind::Cancelled => ExitStatus::PlanFailed,
    }
}
