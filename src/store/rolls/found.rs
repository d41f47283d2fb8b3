//! A roll as whoever changes it finds it, and the change: in place, where it is one at the end.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memchr::{memchr, memchr_iter, memmem, memrchr};

use super::STAMP;
use crate::store::lines;

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

/// How much of a roll's end is looked at by who hopes to be there.
const TAIL: u64 = 1024;

/// Looks through the roll for the line of the container `id`.
///
/// # Errors
/// Where the file cannot be read.
pub fn find(file: &File, id: &str) -> std::io::Result<Found> {
    let name = format!("{id}\t");
    let mut found = Found::default();
    lines::whole(file, |begin, lines| {
        let head = match begin {
            0 => memchr(b'\n', lines).map_or(0, |end| end + 1),
            _ => 0,
        };
        if begin == 0 {
            found.stamp = stamp(&lines[..head]);
            found.lines = head as u64..head as u64;
        }
        found.look(&lines[head..], name.as_bytes());
    })?;
    Ok(found)
}

/// Puts `line`, that of the container `id`, at the end of the roll, unless there is more to do; how long it is then, in
/// bytes.
///
/// # Errors
/// Where the file cannot be read or written.
pub fn add(file: &File, id: &str, line: &str) -> std::io::Result<Option<u64>> {
    let Some((stamp, tail, end)) = ends(file)? else {
        return Ok(None);
    };
    // Who gives it another name just now may have been there a moment ago.
    if !tail.ends_with(b"\n") || memmem::find(&tail, id.as_bytes()).is_some() {
        return Ok(None);
    }
    Found {
        stamp: Some(stamp),
        lines: 0..end,
        ..Found::default()
    }
    .change(file, line)?;
    Ok(Some(end + line.len() as u64))
}

/// Takes the line of the container `id` away where it is the last one and another one comes before it; whether it was.
///
/// # Errors
/// Where the file cannot be read or written.
pub fn take_last(file: &File, id: &str) -> std::io::Result<bool> {
    let Some((stamp, tail, end)) = ends(file)? else {
        return Ok(false);
    };
    let Some(lines) = tail.strip_suffix(b"\n") else {
        return Ok(false);
    };
    let Some(before) = memrchr(b'\n', lines) else {
        return Ok(false);
    };
    let line = &tail[before + 1..];
    let at = end - line.len() as u64;
    if at == STAMP as u64 + 1 || !line.starts_with(format!("{id}\t").as_bytes()) {
        return Ok(false);
    }
    Found {
        stamp: Some(stamp),
        lines: 0..end,
        line: Some((at, String::from_utf8_lossy(line).into_owned())),
        ..Found::default()
    }
    .change(file, "")
}

/// The stamp, what comes last, and where that ends; `None` where there is no stamp that can be written over.
fn ends(file: &File) -> std::io::Result<Option<(u64, Vec<u8>, u64)>> {
    let mut head = [0; STAMP + 1];
    let read = file.read_at(&mut head, 0)?;
    let Some(stamp) = stamp(&head[..read]) else {
        return Ok(None);
    };
    let length = file.metadata()?.len();
    let mut tail = vec![0; length.min(TAIL) as usize];
    let from = length - tail.len() as u64;
    file.read_exact_at(&mut tail, from)?;
    Ok(Some((stamp, tail, length)))
}

/// The stamp of a first line, if another one can be written over it.
fn stamp(line: &[u8]) -> Option<u64> {
    let digits = line.strip_suffix(b"\n")?;
    let digits = Some(digits).filter(|digits| digits.len() == STAMP)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
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
