//! The form of a CSV file, looked at while it is read: quotes that are never closed, text behind a closing quote,
//! NUL bytes. The reader behind takes them for something, and what it took them for would be believed.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// The scanner's place in a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CsvPlace {
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote inside a quoted field: the field's end, or the first of two.
    QuoteInQuoted,
}

/// Reads text through, and stops with an error at the first thing that is no CSV, or at a record that is longer
/// than may be.
pub(super) struct CheckedCsv<R> {
    reader: R,
    delimiter: u8,
    place: CsvPlace,
    line: u64,
    opened_at: u64,
    /// Bytes since the last record that was taken; whoever takes records sets it back.
    since_record: Rc<Cell<u64>>,
    record_bytes_max: u64,
}

impl<R: Read> CheckedCsv<R> {
    /// `line` is the number of the first line that is read.
    pub(super) fn new(
        reader: R,
        delimiter: u8,
        line: u64,
        since_record: Rc<Cell<u64>>,
        record_bytes_max: u64,
    ) -> CheckedCsv<R> {
        let place = CsvPlace::FieldStart;
        CheckedCsv {
            reader,
            delimiter,
            place,
            line,
            opened_at: line,
            since_record,
            record_bytes_max,
        }
    }

    fn look(&mut self, byte: u8) -> io::Result<()> {
        if byte == 0 {
            return Err(wrong(format!(
                "line {} holds a NUL byte: is it a table, and in which encoding?",
                self.line
            )));
        }
        let ends_field = byte == self.delimiter || byte == b'\n' || byte == b'\r';
        self.place = match (self.place, byte) {
            (CsvPlace::FieldStart, b'"') => {
                self.opened_at = self.line;
                CsvPlace::Quoted
            }
            (CsvPlace::Quoted, b'"') => CsvPlace::QuoteInQuoted,
            (CsvPlace::Quoted, _) | (CsvPlace::QuoteInQuoted, b'"') => CsvPlace::Quoted,
            (CsvPlace::FieldStart | CsvPlace::Unquoted | CsvPlace::QuoteInQuoted, _)
                if ends_field =>
            {
                CsvPlace::FieldStart
            }
            (CsvPlace::QuoteInQuoted, _) => {
                return Err(wrong(format!(
                    "line {}: text stands behind the quote that closes a field (a quote inside is written twice)",
                    self.line
                )));
            }
            (CsvPlace::FieldStart | CsvPlace::Unquoted, _) => CsvPlace::Unquoted,
        };
        self.line += u64::from(byte == b'\n');
        Ok(())
    }
}

impl<R: Read> Read for CheckedCsv<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if read == 0 && self.place == CsvPlace::Quoted && !buffer.is_empty() {
            return Err(wrong(format!(
                "the quote that line {} opens is never closed",
                self.opened_at
            )));
        }
        for byte in &buffer[..read] {
            self.look(*byte)?;
        }
        let since = self.since_record.get() + read as u64;
        self.since_record.set(since);
        if since > self.record_bytes_max {
            let limit = self.record_bytes_max >> 20;
            return Err(wrong(format!("a record is longer than {limit} MiB")));
        }
        Ok(read)
    }
}

fn wrong(message: String) -> io::Error {
    io::Error::other(message)
}

/// The separator that a first line `sep=;` names, as spreadsheets write it, with the line's length.
pub(super) fn separator_line(beginning: &[u8]) -> Option<(u8, usize)> {
    let end = beginning.iter().position(|byte| *byte == b'\n')?;
    let line = beginning[..end].strip_suffix(b"\r").unwrap_or(&beginning[..end]);
    let line = line.strip_prefix(b"\"").and_then(|l| l.strip_suffix(b"\"")).unwrap_or(line);
    match line {
        [s, e, p, b'=', separator] if [s, e, p].map(u8::to_ascii_lowercase) == *b"sep" => {
            Some((*separator, end + 1))
        }
        _ => None,
    }
}

/// The separator that the header has most of, outside quotes; `usual` where there is none.
pub(super) fn likely_delimiter(beginning: &[u8], usual: u8) -> u8 {
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    let mut quoted = false;
    for byte in beginning {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if quoted => {}
            _ => counts.iter_mut().filter(|(d, _)| d == byte).for_each(|(_, count)| *count += 1),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or_default();
    // The usual one wins where nothing else is more frequent, then the first.
    let best = |(d, count): &&(u8, u32)| *count == most && (*d == usual || most > 0);
    counts
        .iter()
        .find(|c| c.0 == usual && c.1 == most)
        .or_else(|| counts.iter().find(best))
        .map_or(usual, |c| c.0)
}
