//! Content: the bytes of a regular file, from the archive to the disk.
//!
//! A file of zeros is stored as a hole, a range that takes no space and reads as zeros. lseek(2), ftruncate(2).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use anyhow::{Result, bail};

use super::entry::{Data, sparse_map};

/// Writes the content that `kind` describes, read from `data`, into the new file `to`.
///
/// # Errors
/// Those of the file system; an archive that ends inside the file.
pub fn write(data: &mut impl Read, to: &mut File, kind: &Data) -> Result<()> {
    match kind {
        Data::Plain(size) => copy(data, to, *size),
        Data::SparseMap(size) => {
            for (offset, length) in sparse_map(data, *size)? {
                to.seek(SeekFrom::Start(offset))?;
                copy(data, to, length)?;
            }
            Ok(to.set_len(*size)?)
        }
    }
}

/// Copies exactly `size` bytes. Blocks of zeros become holes, so that a sparse file does not fill the disk.
fn copy(from: &mut impl Read, to: &mut File, size: u64) -> Result<()> {
    let mut buffer = vec![
        0;
        usize::try_from(size)
            .unwrap_or(usize::MAX)
            .clamp(1, 128 << 10)
    ];
    let mut left = size;
    let mut hole_at_end = false;
    while left > 0 {
        let want = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let n = fill(from, &mut buffer[..want])?;
        if n == 0 {
            bail!("the archive ends inside the file");
        }
        let piece = &buffer[..n];
        hole_at_end = n >= 4096 && piece.iter().all(|b| *b == 0);
        if hole_at_end {
            to.seek(SeekFrom::Current(i64::try_from(n)?))?;
        } else {
            to.write_all(piece)?;
        }
        left -= n as u64;
    }
    if hole_at_end {
        let end = to.stream_position()?;
        to.set_len(end)?;
    }
    Ok(())
}

/// Reads until the buffer is full or nothing is left.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
