//! `--batch -`: NDJSON in, one NDJSON result per line out, in order, at full speed.
//!
//! ```text
//! stdin -> reader -> bounded queue -> one worker a core -> writer, which puts answers in order
//! ```
//!
//! Every queue is bounded, so memory does not grow with the input.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use l05_core::document::{DocumentFormat, TextLimits};
use l05_core::printable::printable_json;
use l05_core::{Error, ErrorCode};
use serde_json::{Map, Value, json};

use super::exit::ExitStatus;
use super::output::eprint;

/// Lines in flight, a worker: enough to keep all busy, few enough to answer promptly.
const LINES_PER_WORKER: usize = 16;

/// The mark that some editors put before the first line (U+FEFF).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One line: its fields but for `id`.
pub(super) type Line = Map<String, Value>;

/// Answers every line of stdin. `answer` gives the result document of one; its fields are printed
/// behind the line's `id`.
pub(super) fn run(
    limits: TextLimits,
    answer: impl Fn(Line) -> Result<Value, Error> + Sync,
) -> Result<ExitStatus, Error> {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (lines, inbox) = sync_channel::<(u64, Vec<u8>)>(workers * LINES_PER_WORKER);
    let (answers, outbox) = sync_channel::<(u64, String)>(workers * LINES_PER_WORKER);
    // One permit a line in flight: the reader takes it, the writer gives it back. Without it a slow
    // line would let all quick ones behind it pile up in front of the writer.
    let window = workers * LINES_PER_WORKER * 4;
    let (done, permits) = sync_channel::<()>(window);
    for _ in 0..window {
        done.send(()).expect("the other end is in this scope");
    }
    let inbox = Mutex::new(inbox);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read(limits.bytes_max, &lines, &permits));
        for _ in 0..workers {
            let (answers, inbox, answer) = (answers.clone(), &inbox, &answer);
            scope.spawn(move || work(inbox, &answers, limits, answer));
        }
        drop(answers);
        write(&outbox, &done);
        reader.join().expect("the reader does not panic")
    })
    .map_err(|e| Error::new(ErrorCode::ConfigError, format!("stdin: {e}")))?;
    Ok(ExitStatus::Done)
}

/// Hands out lines; one that is too long is cut, and what is left of it is skipped.
fn read(
    bytes_max: usize,
    lines: &SyncSender<(u64, Vec<u8>)>,
    permits: &Receiver<()>,
) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut number = 0;
    loop {
        let mut line = Vec::new();
        // Room for what is too long by a byte, and for the line's end.
        let read = (&mut stdin).take(bytes_max as u64 + 2).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.pop_if(|last| *last == b'\n').is_none() && read > bytes_max {
            stdin.skip_until(b'\n')?;
        }
        if number == 0 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if permits.recv().is_err() || lines.send((number, line)).is_err() {
            return Ok(());
        }
        number += 1;
    }
}

fn work(
    inbox: &Mutex<Receiver<(u64, Vec<u8>)>>,
    answers: &SyncSender<(u64, String)>,
    limits: TextLimits,
    answer: &impl Fn(Line) -> Result<Value, Error>,
) {
    loop {
        let next = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, line)) = next else { return };
        if answers.send((number, answered(&line, limits, answer))).is_err() {
            return;
        }
    }
}

fn answered(
    line: &[u8],
    limits: TextLimits,
    answer: &impl Fn(Line) -> Result<Value, Error>,
) -> String {
    let bytes_max = limits.bytes_max;
    let malformed = |message: String| Error::new(ErrorCode::PlanMalformed, message);
    let checked =
        str::from_utf8(line).map_or(Ok(()), |text| limits.check(text, DocumentFormat::Json));
    let parsed = if line.len() > bytes_max {
        Err(malformed(format!("the line is longer than {bytes_max} bytes")))
    } else if let Err(error) = checked {
        Err(error.into_error("the line"))
    } else {
        match serde_json::from_slice::<Value>(line) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(malformed("the line is JSON, but no object".to_owned())),
            Err(error) => Err(malformed(format!("the line is not JSON: {error}"))),
        }
    };
    let (id, result) = match parsed {
        Ok(mut map) => {
            let id = map.shift_remove("id").unwrap_or(Value::Null);
            // A fault of ours in one line must not take the answers of the others along.
            let calm = std::panic::AssertUnwindSafe(|| answer(map));
            let failed =
                |_| Err(Error::new(ErrorCode::DispatchFailed, "the line could not be answered"));
            (id, std::panic::catch_unwind(calm).unwrap_or_else(failed))
        }
        Err(error) => (Value::Null, Err(error)),
    };
    let result = result.unwrap_or_else(|error| json!({ "error": error }));
    let mut out = Map::new();
    out.insert("id".to_owned(), id);
    if let Value::Object(fields) = result {
        out.extend(fields);
    }
    Value::Object(out).to_string()
}

/// Prints answers in the order of their lines. A reader that went away ends the program.
fn write(answers: &Receiver<(u64, String)>, done: &SyncSender<()>) {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut waiting: BTreeMap<u64, String> = BTreeMap::new();
    let mut next = 0;
    while let Ok((number, text)) = answers.recv() {
        waiting.insert(number, text);
        while let Some(text) = waiting.remove(&next) {
            if writeln!(out, "{}", printable_json(&text)).is_err() {
                std::process::exit(0);
            }
            next += 1;
            // The reader is gone when there are no more lines.
            let _ = done.send(());
        }
        // Whoever waits for an answer before sending the next line must get it.
        if waiting.is_empty() && out.flush().is_err() {
            std::process::exit(0);
        }
    }
    if out.flush().is_err() {
        eprint("the results could not be written");
    }
}

/// Names what a single call needs: a file or a text, or `--batch -`.
#[derive(Debug, clap::Args)]
pub(crate) struct BatchArgs {
    /// Answer NDJSON lines from stdin (`-`), one result a line
    #[arg(long, value_name = "-", value_parser = ["-"])]
    pub(crate) batch: Option<String>,
}

impl BatchArgs {
    /// The one thing to look at, unless this is a batch.
    pub(crate) fn single<'a, T>(
        &self,
        given: &'a Option<T>,
        what: &str,
    ) -> Result<Option<&'a T>, Error> {
        match (given, &self.batch) {
            (Some(given), None) => Ok(Some(given)),
            (None, Some(_)) => Ok(None),
            (Some(_), Some(_)) => {
                Err(Error::new(ErrorCode::ConfigError, format!("give either {what} or --batch -")))
            }
            (None, None) => Err(Error::new(
                ErrorCode::ConfigError,
                format!("{what} is missing (or --batch - for lines on stdin)"),
            )),
        }
    }
}

/// The part of a line under `name`, or the line's own fields.
pub(super) fn document(mut line: Line, name: &str) -> Value {
    line.shift_remove(name).unwrap_or(Value::Object(line))
}
