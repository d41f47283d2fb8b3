//! A roll as whoever changes it finds it, and the change: in place, where it is one at the end.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memchr::{memchr, memchr_iter, memmem, memrchr};

use super::{PIECE, STAMP};

/// A roll as whoever changes it finds it.
#[derive(Debug, Default)]
pub struct Found {
    /// The stamp; `None` where there is none that can be written over.
    stamp: Option<u64>,
    /// How many lines there are.
    pub count: usize,
    /// Where the first one begins and the last whole one ends, in bytes.
    lines: Range<u64>,
    /// Where the container's own begins, and what it says.
    pub line: Option<(u64, String)>,
}

/// Looks through the roll for the line of the container `id`.
///
/// # Errors
/// Where the file cannot be read.
pub fn find(file: &File, id: &str) -> std::io::Result<Found> {
    let mut reader = BufReader::with_capacity(PIECE, file);
    let mut line = Vec::new();
    let head = reader.read_until(b'\n', &mut line)? as u64;
    let digits = line
        .strip_suffix(b"\n")
        .filter(|digits| digits.len() == STAMP);
    let mut found = Found {
        stamp: digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()),
        lines: head..head,
        ..Found::default()
    };
    let name = format!("{id}\t");
    // The line that goes beyond what was read last.
    line.clear();
    loop {
        let read = reader.fill_buf()?;
        let (length, Some(end)) = (read.len(), memrchr(b'\n', read)) else {
            if read.is_empty() {
                return Ok(found);
            }
            line.extend_from_slice(read);
            let length = read.len();
            reader.consume(length);
            continue;
        };
        let (whole, rest) = read.split_at(end + 1);
        let first = memchr(b'\n', whole).map_or(0, |first| first + 1);
        line.extend_from_slice(&whole[..first]);
        found.look(&line, name.as_bytes());
        found.look(&whole[first..], name.as_bytes());
        line.clear();
        line.extend_from_slice(rest);
        reader.consume(length);
    }
}

impl Found {
    /// Looks through whole lines, the next ones, for that which begins with `name`.
    fn look(&mut self, lines: &[u8], name: &[u8]) {
        let begins = |at: &usize| *at == 0 || lines[at - 1] == b'\n';
        if let Some(at) = memmem::find_iter(lines, name).find(begins) {
            let line = &lines[at..];
            let line = &line[..memchr(b'\n', line).map_or(line.len(), |end| end + 1)];
            let text = String::from_utf8_lossy(line).into_owned();
            self.line = Some((self.lines.end + at as u64, text));
        }
        self.count += memchr_iter(b'\n', lines).count();
        self.lines.end += lines.len() as u64;
    }

    /// Puts `line` at the end, or takes away what is there, unless more than that is to be done; whether that was all.
    ///
    /// # Errors
    /// Where the file cannot be written; ENOSPC leaves it as it was.
    pub fn change(&self, file: &File, line: &str) -> std::io::Result<bool> {
        let end = self.lines.end;
        let write = |stamp: u64| file.write_all_at(format!("{stamp:0STAMP$}").as_bytes(), 0);
        match (self.stamp, &self.line) {
            (Some(stamp), None) => {
                // What somebody has left that was killed goes first.
                file.set_len(end)?;
                file.write_all_at(line.as_bytes(), end)
                    .inspect_err(|_| drop(file.set_len(end)))?;
                write(stamp.wrapping_add(hash(line)))?;
                Ok(true)
            }
            // The line last: as long as it is there, who sweeps up finds it.
            (Some(stamp), Some((at, old))) if line.is_empty() && at + old.len() as u64 == end => {
                write(stamp.wrapping_sub(hash(old)))?;
                file.set_len(*at)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The new text of the roll, whose old one is `text`.
    pub fn whole(&self, text: &str, line: &str) -> String {
        let piece = |from: u64, to: u64| text.get(from as usize..to as usize).unwrap_or_default();
        let Range { start, end } = self.lines;
        let (at, length) = match &self.line {
            Some((at, old)) => (*at, old.len() as u64),
            None => (end, 0),
        };
        let new = [piece(start, at), line, piece(at + length, end)].concat();
        let hashes = new.split_inclusive('\n').map(hash);
        let stamp = hashes.fold(0, u64::wrapping_add);
        format!("{stamp:0STAMP$}\n{new}")
    }
}

/// What a line adds to the stamp. Where another build of rmac counts it otherwise, everybody is told once more.
fn hash(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(line.as_bytes());
    hasher.finish()
}
