//! The log: what the program wrote, a line of JSON each.
//!
//! The format is Docker's `json-file`: `{"log":"text\n","stream":"stdout","time":"..."}`. It needs no
//! index and no daemon: `cat` shows it, and `logs` reads it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A line longer than this is logged in parts, in bytes.
const LONGEST_LINE: usize = 16 * 1024;

/// Where a text was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Descriptor 1, or the terminal.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The text, with its line end if it had one.
    pub log: String,
    /// Where it was written to.
    pub stream: Stream,
    /// When it was read from the program.
    pub time: Timestamp,
}

/// The log of a running container. The file is made with the first text.
#[derive(Debug)]
pub struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
    partial: [Vec<u8>; 2],
}

impl Log {
    /// The log at `path`, which goes on where it ends.
    pub fn new(path: PathBuf) -> Self {
        Log {
            path: Some(path),
            file: None,
            partial: [vec![], vec![]],
        }
    }

    /// No log: what is added is lost.
    pub fn none() -> Self {
        Log {
            path: None,
            file: None,
            partial: [vec![], vec![]],
        }
    }

    /// Adds what was read from `stream`. Text without a line end waits for it. A log that cannot be
    /// written (a full disk) loses entries; the program runs on.
    pub fn add(&mut self, stream: Stream, data: &[u8]) {
        if self.path.is_none() {
            return;
        }
        let partial = &mut self.partial[stream as usize];
        partial.extend_from_slice(data);
        let mut entries = vec![];
        let time = Timestamp::now();
        let mut rest = partial.as_slice();
        while let Some(end) = end_of_entry(rest) {
            write_entry(&mut entries, &rest[..end], stream, time);
            rest = &rest[end..];
        }
        *partial = rest.to_vec();
        self.write(&entries);
    }

    /// Writes what still waits for its line end.
    pub fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.partial[stream as usize]);
            if !rest.is_empty() {
                let mut entry = vec![];
                write_entry(&mut entry, &rest, stream, Timestamp::now());
                self.write(&entry);
            }
        }
    }

    fn write(&mut self, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        if let (None, Some(path)) = (&self.file, &self.path) {
            self.file = File::options().append(true).create(true).open(path).ok();
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(entries);
        }
    }
}

/// A reader of a log that may still grow.
#[derive(Debug)]
pub struct Reader {
    file: Option<BufReader<File>>,
    path: PathBuf,
    partial: String,
}

impl Reader {
    /// Reads the log at `path` from its beginning; a program that wrote nothing has no file yet.
    pub fn new(path: &Path) -> Self {
        Reader {
            file: None,
            path: path.to_owned(),
            partial: String::new(),
        }
    }

    /// The next entry; `None` at the present end.
    pub fn entry(&mut self) -> Result<Option<Entry>> {
        let file = match &mut self.file {
            Some(file) => file,
            None => match File::open(&self.path) {
                Ok(file) => self.file.insert(BufReader::new(file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => {
                    return Err(error).with_context(|| format!("open {}", self.path.display()));
                }
            },
        };
        file.read_line(&mut self.partial)
            .with_context(|| format!("read {}", self.path.display()))?;
        if !self.partial.ends_with('\n') {
            return Ok(None);
        }
        let entry = serde_json::from_str(&self.partial)
            .with_context(|| format!("{} is damaged", self.path.display()))?;
        self.partial.clear();
        Ok(Some(entry))
    }
}

fn end_of_entry(data: &[u8]) -> Option<usize> {
    match data.iter().position(|&byte| byte == b'\n') {
        Some(end) if end < LONGEST_LINE => Some(end + 1),
        _ if data.len() >= LONGEST_LINE => Some(LONGEST_LINE),
        _ => None,
    }
}

fn write_entry(into: &mut Vec<u8>, text: &[u8], stream: Stream, time: Timestamp) {
    let entry = Entry {
        log: String::from_utf8_lossy(text).into_owned(),
        stream,
        time,
    };
    // A string and a date always have a JSON form.
    if serde_json::to_writer(&mut *into, &entry).is_ok() {
        into.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_logged_by_the_line_and_read_back() {
        let path = std::env::temp_dir().join(format!("rmac-log-{}", std::process::id()));
        let mut reader = Reader::new(&path);
        assert_eq!(reader.entry().unwrap(), None);
        let mut log = Log::new(path.clone());
        log.add(Stream::Stdout, b"one\ntw");
        log.add(Stream::Stderr, b"error \"x\"\n");
        log.add(Stream::Stdout, b"o");
        log.finish();
        let mut read = vec![];
        while let Some(entry) = reader.entry().unwrap() {
            read.push((entry.stream, entry.log));
        }
        let expected = [
            (Stream::Stdout, "one\n".to_owned()),
            (Stream::Stderr, "error \"x\"\n".to_owned()),
            (Stream::Stdout, "two".to_owned()),
        ];
        assert_eq!(read, expected);
        std::fs::remove_file(path).unwrap();
    }
}
