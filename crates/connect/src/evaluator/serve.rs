//! The main function of an evaluator process.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use super::limits::{ProcessLimits, STACK_MB};

/// The first argument of a helper process of this program.
pub const CHILD_ARGUMENT: &str = "--l05-child";
/// The second argument, of one that evaluates.
pub const EVALUATOR_WORK: &str = "evaluate";
/// The largest answer, in bytes.
pub(super) const ANSWER_BYTES_MAX: u32 = 256 << 20;

/// The beginning of an answer on the pipe.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum AnswerKind {
    Done = b'd',
    /// The process has grown, and is not to be used again.
    DoneAndGrown = b'g',
    Panicked = b'p',
}

impl AnswerKind {
    pub(super) fn of(byte: u8) -> AnswerKind {
        match byte {
            b'd' => AnswerKind::Done,
            b'g' => AnswerKind::DoneAndGrown,
            _ => AnswerKind::Panicked,
        }
    }
}

struct Request {
    name: String,
    seconds: u32,
    work: Vec<u8>,
}

/// Answers requests from standard input until it closes: when the parent ends, in whatever way, so does this process,
/// also in the middle of its work. `evaluate` takes a request's name and bytes.
pub fn serve(evaluate: fn(&str, &[u8]) -> Vec<u8>) -> ExitCode {
    let worker = thread::Builder::new()
        .stack_size((STACK_MB as usize) << 20)
        .spawn(move || answer_all(evaluate));
    if worker.is_err() {
        return ExitCode::FAILURE;
    }
    // The worker reads; here only the end of the parent is waited for.
    let input = io::stdin();
    let mut hang_up = [PollFd::new(&input, PollFlags::empty())];
    while !matches!(poll(&mut hang_up, None), Ok(1..)) {}
    // The worker may be at something that never ends.
    std::process::exit(0)
}

fn read_request(input: &mut impl Read) -> io::Result<Request> {
    let mut head = [0; 9];
    input.read_exact(&mut head)?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let mut name = vec![0; usize::from(head[0])];
    input.read_exact(&mut name)?;
    let mut work = vec![0; number(5) as usize];
    input.read_exact(&mut work)?;
    Ok(Request { name: String::from_utf8_lossy(&name).into_owned(), seconds: number(1), work })
}

fn answer_all(evaluate: fn(&str, &[u8]) -> Vec<u8>) {
    let mut limits = ProcessLimits::measure();
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut answer = Vec::new();
    while let Ok(Request { name, seconds, work }) = read_request(&mut input) {
        limits.set(work.len(), seconds);
        let done = catch_unwind(AssertUnwindSafe(|| evaluate(&name, &work)));
        let kind = match &done {
            Ok(bytes) if limits.is_grown(work.len() + bytes.len()) => AnswerKind::DoneAndGrown,
            Ok(_) => AnswerKind::Done,
            Err(_) => AnswerKind::Panicked,
        };
        let bytes = done.unwrap_or_default();
        answer.clear();
        answer.push(kind as u8);
        answer.extend((bytes.len() as u32).to_le_bytes());
        answer.extend(bytes);
        if output.write_all(&answer).and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}
