//! `process.run`: a program of the machine, if the configuration allows it.
//!
//! Off by default. Arguments go to the program as they are, never through a shell; its environment is
//! ours and holds the attempt's idempotency key; it and what it started end with the attempt.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_core::suggest::{did_you_mean, nearest};
use l05_run::event::TaskError;
use rustix::process::{Pid, Signal, kill_process_group};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::{BuiltinTool, ToolContext, decode, encode};
use crate::workspace::final_error;

/// The most of each stream that is kept, in bytes.
const STREAM_MAX: usize = 1 << 20;
/// The folders in which programs that are named without a path are looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The time for which output is still read when the program has ended.
const STRAGGLING_PIPES: Duration = Duration::from_secs(1);
/// The variable with `plan/task/attempt`: the same when the attempt is repeated after a crash.
const KEY_VARIABLE: &str = "L05_IDEMPOTENCY_KEY";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunProgramInput {
    /// One of the programs that `tools.programs` allows.
    #[schemars(length(min = 1, max = 4096), extend("x-l05-literal" = true))]
    program: String,
    /// The program's arguments. No shell reads them.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    args: Vec<String>,
    /// The text that the program reads from its standard input.
    #[serde(default)]
    stdin: Option<String>,
    /// Exit codes that are no failure; 0 where nothing is said.
    #[serde(default)]
    accept: Vec<i32>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RunProgramOutput {
    /// The program's exit code.
    exit_code: i32,
    /// The standard output, as far as it is kept.
    stdout: String,
    /// The standard error, as far as it is kept.
    stderr: String,
    /// True if there was more output than is kept.
    truncated: bool,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "process.run",
    spec,
    start: |context, call| {
        Box::pin(async move { encode(&run(context, decode(call.inputs)?).await?) })
    },
};

/// None where no program is allowed.
fn spec(programs: &[String]) -> Option<ToolSpec> {
    if programs.is_empty() {
        return None;
    }
    let does = format!("Runs a program of the machine: {}.", programs.join(", "));
    Some(super::spec::<RunProgramInput, RunProgramOutput>(TOOL.name, &does, false))
}

async fn run(
    mut bench: ToolContext,
    input: RunProgramInput,
) -> Result<RunProgramOutput, TaskError> {
    let program = allowed(&bench.programs, &input.program)?;
    let mut child = spawn(&bench, &program, &input)?;
    let group = ProcessGroup::of(&child);
    let ended = tokio::select! {
        ended = talk(&mut child, group, input.stdin) => ended,
        () = bench.cancel.cancelled() => {
            return Err(final_error(ErrorCode::Cancelled, "the attempt was told to stop"));
        }
    };
    let output = ended.map_err(|error| failed(format!("`{}`: {error}", input.program)))?;
    let accepted = input.accept.contains(&output.exit_code)
        || (input.accept.is_empty() && output.exit_code == 0);
    if accepted {
        return Ok(output);
    }
    let why = output.stderr.lines().next().unwrap_or_default();
    Err(failed(format!("`{}` ended with exit code {}: {why}", input.program, output.exit_code)))
}

/// Finds a program that may be run. A name means the listed path that ends in it, where there is
/// just one: plans and templates name programs, the place says where they are.
fn allowed(programs: &[String], wanted: &str) -> Result<PathBuf, TaskError> {
    let paths = programs.iter().map(Path::new).filter(|path| path.is_absolute());
    let named: Vec<&Path> =
        paths.filter(|path| path.file_name().is_some_and(|name| name == wanted)).collect();
    if let [only] = named[..] {
        return Ok(only.to_owned());
    }
    if !programs.iter().any(|program| program == wanted) {
        let near = did_you_mean(&nearest(wanted, programs.iter().map(String::as_str)));
        let message = format!("`{wanted}` is none of tools.programs{near}");
        return Err(final_error(ErrorCode::AccessDenied, message));
    }
    if wanted.starts_with('/') {
        return Ok(wanted.into());
    }
    let mut places = PATH.split(':').map(|folder| Path::new(folder).join(wanted));
    places.find(|path| path.is_file()).ok_or_else(|| {
        let message = format!("the program `{wanted}` is not installed in {PATH}");
        final_error(ErrorCode::ToolUnknown, message)
    })
}

fn spawn(bench: &ToolContext, program: &Path, input: &RunProgramInput) -> Result<Child, TaskError> {
    let stdin = if input.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
    Command::new(program)
        .args(&input.args)
        .current_dir(bench.workspace()?.path())
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C.UTF-8")
        .env(KEY_VARIABLE, &bench.key)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("`{}` does not start: {error}", input.program)))
}

async fn talk(
    child: &mut Child,
    group: ProcessGroup,
    stdin: Option<String>,
) -> std::io::Result<RunProgramOutput> {
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let (Some(mut pipe), Some(text)) = (input, stdin) {
            // A program need not read what it is given.
            let _ = pipe.write_all(text.as_bytes()).await;
        }
    };
    let (mut out, mut err) = (KeptOutput::default(), KeptOutput::default());
    let status = {
        let streams = async { tokio::join!(write, out.read(output), err.read(errors)) };
        tokio::pin!(streams);
        let mut all_read = false;
        let status = tokio::select! {
            status = child.wait() => status?,
            _ = &mut streams => {
                all_read = true;
                child.wait().await?
            }
        };
        // What it left running ends with it; one that left its group keeps a pipe, and is not waited
        // for.
        drop(group);
        if !all_read {
            let _ = tokio::time::timeout(STRAGGLING_PIPES, streams).await;
        }
        status
    };
    let exit_code = status.code().unwrap_or(-1);
    let truncated = out.more || err.more;
    Ok(RunProgramOutput { exit_code, stdout: out.text(), stderr: err.text(), truncated })
}

/// The part of a stream that is kept.
#[derive(Default)]
struct KeptOutput {
    bytes: Vec<u8>,
    /// There was more.
    more: bool,
}

impl KeptOutput {
    /// Reads to the end: a program that cannot print would wait for ever.
    async fn read(&mut self, stream: Option<impl tokio::io::AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut chunk = vec![0; 8192];
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            let room = STREAM_MAX.saturating_sub(self.bytes.len());
            self.bytes.extend_from_slice(&chunk[..read.min(room)]);
            self.more |= read > room;
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

fn failed(message: String) -> TaskError {
    TaskError::new(ErrorCode::TaskFailed, message)
}

/// The program and all that it started, ended with the attempt.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(child: &Child) -> ProcessGroup {
        ProcessGroup(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nobody left in it is the usual case.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
