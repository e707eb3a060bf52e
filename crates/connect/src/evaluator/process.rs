//! One evaluator process, as its parent sees it.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use l05_core::evaluation::EvaluationFailure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::limits::{FILE_MB, MEMORY_MB, STACK_MB};
use super::serve::{ANSWER_BYTES_MAX, AnswerKind, CHILD_ARGUMENT, EVALUATOR_WORK};

/// The settings of the allocator in an evaluator: address space that is only reserved would count against its limit.
const ALLOCATOR: [(&str, &str); 2] =
    [("MIMALLOC_DISALLOW_ARENA_ALLOC", "1"), ("MIMALLOC_ARENA_RESERVE", "0")];

/// A running process. Dropping it kills it.
pub(super) struct EvaluatorProcess {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What came of a piece of work, and whether the process can be used again.
pub(super) struct ProcessAnswer {
    pub(super) answer: Result<Vec<u8>, EvaluationFailure>,
    pub(super) is_reusable: bool,
}

impl EvaluatorProcess {
    /// Starts one: without our environment, our folder, or any descriptor but the two pipes.
    pub(super) fn start(program: &Path) -> io::Result<EvaluatorProcess> {
        let mut child = Command::new(program)
            .args([CHILD_ARGUMENT, EVALUATOR_WORK])
            .env_clear()
            .envs(ALLOCATOR)
            // SQLite sorts there what does not fit into memory.
            .env("TMPDIR", std::env::temp_dir())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (stdin, stdout) = stdin.zip(stdout).expect("both were asked for");
        Ok(EvaluatorProcess { child, stdin, stdout: BufReader::new(stdout) })
    }

    /// Gives it a piece of work and waits for the answer. An error: the process ended, or its pipes did.
    pub(super) async fn exchange(
        &mut self,
        name: &str,
        work: &[u8],
        within: Duration,
    ) -> io::Result<ProcessAnswer> {
        let seconds = u32::try_from(within.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let mut head = Vec::with_capacity(9 + name.len() + work.len());
        head.push(name.len() as u8);
        head.extend(seconds.to_le_bytes());
        head.extend((work.len() as u32).to_le_bytes());
        head.extend(name.as_bytes());
        // One write for what is small.
        head.extend(work);
        self.stdin.write_all(&head).await?;
        let kind = AnswerKind::of(self.stdout.read_u8().await?);
        let length = self.stdout.read_u32_le().await?;
        if length > ANSWER_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer too large"));
        }
        let mut bytes = vec![0; length as usize];
        self.stdout.read_exact(&mut bytes).await?;
        Ok(match kind {
            AnswerKind::Done => ProcessAnswer { answer: Ok(bytes), is_reusable: true },
            AnswerKind::DoneAndGrown => ProcessAnswer { answer: Ok(bytes), is_reusable: false },
            AnswerKind::Panicked => {
                ProcessAnswer { answer: Err(EvaluationFailure::Panicked), is_reusable: false }
            }
        })
    }

    /// True if the process was killed from outside: its own limits end it by other signals.
    pub(super) async fn was_killed(mut self) -> bool {
        use std::os::unix::process::ExitStatusExt as _;

        let ended = tokio::time::timeout(Duration::from_secs(1), self.child.wait()).await;
        matches!(ended, Ok(Ok(status)) if status.signal() == Some(KILLED))
    }
}

/// The number of SIGKILL.
const KILLED: i32 = rustix::process::Signal::KILL.as_raw();

/// The failure of work whose process ended by itself.
pub(super) fn died() -> EvaluationFailure {
    EvaluationFailure::Died { memory_mb: MEMORY_MB, stack_mb: STACK_MB, file_mb: FILE_MB }
}
