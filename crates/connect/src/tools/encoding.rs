//! Text files in the encodings that people have: UTF-8, UTF-16 with its mark, what `encoding` names, and
//! Windows-1252 where the bytes are no UTF-8. What was taken for what is told; a byte that fits into nothing is an
//! error with its place, never a replacement character.

use std::io::{self, Read, Seek as _, SeekFrom};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, WINDOWS_1252};
use l05_run::event::TaskError;

use crate::workspace::failed;

/// Bytes that are decoded at once.
const CHUNK_BYTES: usize = 1 << 16;

/// The encoding that a file is to be read in.
pub(super) struct FileEncoding {
    encoding: &'static Encoding,
    /// Bytes of the mark at its beginning.
    mark: u64,
    /// A sentence for people, where it is not plain UTF-8.
    pub(super) note: Option<String>,
}

/// A file as UTF-8 text.
pub(super) struct DecodedFile {
    file: cap_std::fs::File,
    decoder: Decoder,
    name: &'static str,
    bytes: Vec<u8>,
    /// Of `bytes` what is not decoded yet.
    rest: std::ops::Range<usize>,
    /// Bytes of the file before `rest`.
    passed: u64,
    text: Vec<u8>,
    shown: usize,
    is_at_end: bool,
}

/// Finds out how a file is encoded: by the caller's word, by its mark, by its bytes.
pub(super) fn detect(
    file: &mut cap_std::fs::File,
    path: &str,
    named: Option<&str>,
) -> Result<FileEncoding, TaskError> {
    let unreadable = |e: &io::Error| failed(format!("`{path}`: {e}"));
    let mut beginning = [0; 3];
    let mut length = 0;
    while length < beginning.len() {
        match file.read(&mut beginning[length..]).map_err(|e| unreadable(&e))? {
            0 => break,
            read => length += read,
        }
    }
    let marked = Encoding::for_bom(&beginning[..length]);
    if let Some(label) = named {
        let encoding = Encoding::for_label(label.trim().as_bytes()).ok_or_else(|| {
            failed(format!(
                "`{label}` is no encoding; there are utf-8, utf-16le, windows-1252, iso-8859-2, shift_jis and the \
                 others of the WHATWG's list"
            ))
        })?;
        let mark = marked.filter(|(own, _)| *own == encoding).map_or(0, |(_, mark)| mark as u64);
        return Ok(FileEncoding { encoding, mark, note: None });
    }
    if let Some((encoding, mark)) = marked {
        let told = |encoding: &'static Encoding| {
            format!("`{path}` is {}: so says its mark", encoding.name())
        };
        let note = (encoding != UTF_8).then(|| told(encoding));
        return Ok(FileEncoding { encoding, mark: mark as u64, note });
    }
    let plain = FileEncoding { encoding: UTF_8, mark: 0, note: None };
    file.seek(SeekFrom::Start(0)).map_err(|e| unreadable(&e))?;
    let copy = file.try_clone().map_err(|e| unreadable(&e))?;
    let mut reader = DecodedFile::new(copy, &plain);
    let mut page = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut page) {
            Ok(0) => return Ok(plain),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let at = reader.passed;
                let note = format!(
                    "`{path}` is no UTF-8 (byte {at}): it was read as windows-1252; `encoding` names another"
                );
                return Ok(FileEncoding { encoding: WINDOWS_1252, mark: 0, note: Some(note) });
            }
            Err(error) => return Err(unreadable(&error)),
        }
    }
}

impl DecodedFile {
    /// The text behind the mark. The file stands anywhere.
    pub(super) fn open(
        mut file: cap_std::fs::File,
        encoding: &FileEncoding,
    ) -> io::Result<DecodedFile> {
        file.seek(SeekFrom::Start(encoding.mark))?;
        Ok(DecodedFile::new(file, encoding))
    }

    fn new(file: cap_std::fs::File, encoding: &FileEncoding) -> DecodedFile {
        // The mark is ours to skip; one that stands in the text is text.
        let decoder = encoding.encoding.new_decoder_without_bom_handling();
        DecodedFile {
            file,
            decoder,
            name: encoding.encoding.name(),
            bytes: vec![0; CHUNK_BYTES],
            rest: 0..0,
            passed: encoding.mark,
            text: Vec::with_capacity(3 * CHUNK_BYTES),
            shown: 0,
            is_at_end: false,
        }
    }

    /// Decodes the next piece into `text`.
    fn fill(&mut self) -> io::Result<()> {
        (self.shown, self.text) = (0, std::mem::take(&mut self.text));
        self.text.clear();
        while self.text.is_empty() && !(self.is_at_end && self.rest.is_empty()) {
            if self.rest.is_empty() {
                let read = self.file.read(&mut self.bytes)?;
                self.is_at_end = read == 0;
                self.rest = 0..read;
            }
            self.text.resize(3 * CHUNK_BYTES + 16, 0);
            let source = &self.bytes[self.rest.clone()];
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(
                source,
                &mut self.text,
                self.is_at_end,
            );
            self.text.truncate(written);
            self.rest.start += read;
            self.passed += read as u64;
            if let DecoderResult::Malformed(length, behind) = result {
                self.passed = self.passed.saturating_sub(u64::from(length) + u64::from(behind));
                let message = format!("byte {} is no {}", self.passed, self.name);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            if self.is_at_end && self.rest.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

impl Read for DecodedFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.shown == self.text.len() {
            self.fill()?;
        }
        let left = &self.text[self.shown..];
        let length = left.len().min(out.len());
        out[..length].copy_from_slice(&left[..length]);
        self.shown += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bytes, reads them back: the text, or what is wrong, and whether something was told.
    fn check(bytes: &[u8], named: Option<&str>) -> (Result<String, String>, bool) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), bytes).unwrap();
        let dir = cap_std::fs::Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority())
            .unwrap();
        let mut file = dir.open("f").unwrap();
        let encoding = match detect(&mut file, "f", named) {
            Ok(encoding) => encoding,
            Err(error) => return (Err(error.message), false),
        };
        let told = encoding.note.is_some();
        let mut text = String::new();
        let read = DecodedFile::open(file, &encoding).unwrap().read_to_string(&mut text);
        (read.map(|_| text).map_err(|e| e.to_string()), told)
    }

    fn utf16(text: &str, mark: bool) -> Vec<u8> {
        let marks = mark.then_some([0xff, 0xfe]).into_iter().flatten();
        marks.chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
    }

    #[test]
    fn texts_are_read_as_they_were_written() {
        let text = "Müller,Köln,€,😀\n".repeat(20_000);
        assert_eq!(check(text.as_bytes(), None), (Ok(text.clone()), false));
        let marked = format!("\u{feff}{text}");
        assert_eq!(check(marked.as_bytes(), None), (Ok(text.clone()), false));
        assert_eq!(check(&utf16(&text, true), None), (Ok(text.clone()), true));
        assert_eq!(check(&utf16(&text, false), Some("utf-16le")), (Ok(text), false));
        assert_eq!(check(b"M\xfcller \x80", None), (Ok("Müller €".to_owned()), true));
        assert_eq!(check(b"\xb9\xe6", Some("iso-8859-2")), (Ok("šć".to_owned()), false));
        assert_eq!(check(b"", None), (Ok(String::new()), false));
        let late = [&b"x".repeat(200_000)[..], b"\xfc"].concat();
        assert!(check(&late, None).1, "a byte far behind counts, too");
    }

    #[test]
    fn what_fits_into_nothing_is_an_error() {
        let (read, _) = check(b"M\xfcller", Some("utf-8"));
        assert_eq!(read, Err("byte 1 is no UTF-8".to_owned()));
        let (read, _) = check(&[0xff, 0xfe, 0x00, 0xd8, 0x41, 0x00], None);
        assert!(read.unwrap_err().contains("is no UTF-16LE"));
        let (read, _) = check(b"x", Some("klingon"));
        assert!(read.unwrap_err().contains("`klingon` is no encoding"));
    }
}
