//! Entries: one member of a layer's tar archive, read and checked, before anything is done with it.
//!
//! A tar archive is a row of 512-byte headers, each followed by the file's bytes. Names longer than 100 bytes, times
//! with fractions, attributes and sparse files came later and sit in extra headers before the real one: PAX records
//! (`key=value`) or GNU's types L, K and S. tar(5), pax(1) "pax Extended Header".

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use tar::EntryType;

use super::meta::{Meta, kept};
use crate::root::clean;
use crate::text::escape_bytes;

/// One member of an archive. The content of a file is read from the tar entry it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where it belongs: cleaned, relative, empty for the root.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Owner, mode, times, attributes.
    pub meta: Meta,
}

/// The kinds of files a layer can hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A regular file; the data may have holes, told by a sparse map before it.
    File(Data),
    /// A directory.
    Directory,
    /// A symbolic link with this text.
    Symlink(Vec<u8>),
    /// Another name for this path (cleaned).
    HardLink(Vec<u8>),
    /// A character device: major, minor.
    CharDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// Nothing to create: a PAX global header, a volume label.
    Nothing,
    /// A kind that no image should hold.
    Unknown(u8),
}

/// How the content of a regular file is written down in the archive.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Byte by byte, this many.
    Plain(u64),
    /// PAX sparse format 1.0: a map of the pieces, then the pieces; the file's real size.
    SparseMap(u64),
}

impl Data {
    /// Size of the file once unpacked.
    pub fn size(&self) -> u64 {
        match self {
            Data::Plain(size) | Data::SparseMap(size) => *size,
        }
    }
}

/// Reads the header of a tar entry with everything that belongs to it.
///
/// # Errors
/// Malformed numbers, records or paths: then nothing else in this archive can be trusted either.
pub fn read(raw: &mut tar::Entry<impl Read>) -> Result<Entry> {
    let shown = escape_bytes(&raw.path_bytes());
    read_parts(raw).with_context(|| format!("bad entry \"{shown}\" in the archive"))
}

fn read_parts(raw: &mut tar::Entry<impl Read>) -> Result<Entry> {
    let header = raw.header();
    let mut meta = Meta {
        mode: header.mode().context("mode")? & 0o7777,
        uid: id(header.uid().context("uid")?)?,
        gid: id(header.gid().context("gid")?)?,
        mtime: (
            i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(i64::MAX),
            0,
        ),
        xattrs: Vec::new(),
    };
    let kind = header.entry_type();
    let device = |h: &tar::Header| -> Result<(u32, u32)> {
        Ok((
            h.device_major()?.unwrap_or(0),
            h.device_minor()?.unwrap_or(0),
        ))
    };
    let mut path = raw.path_bytes().into_owned();
    let mut kind = match kind {
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            Kind::File(Data::Plain(raw.size()))
        }
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(link(raw)?),
        EntryType::Link => Kind::HardLink(clean(&link(raw)?)?),
        EntryType::Char => {
            device(raw.header()).map(|(major, minor)| Kind::CharDevice(major, minor))?
        }
        EntryType::Block => {
            device(raw.header()).map(|(major, minor)| Kind::BlockDevice(major, minor))?
        }
        EntryType::Fifo => Kind::Fifo,
        EntryType::XGlobalHeader => Kind::Nothing,
        other => match other.as_byte() {
            b'V' | b'M' => Kind::Nothing,
            byte => Kind::Unknown(byte),
        },
    };
    if kind != Kind::Nothing {
        read_pax(raw, &mut meta, &mut path, &mut kind)?;
    }
    Ok(Entry {
        path: clean(&path)?,
        kind,
        meta,
    })
}

fn read_pax(
    raw: &mut tar::Entry<impl Read>,
    meta: &mut Meta,
    path: &mut Vec<u8>,
    kind: &mut Kind,
) -> Result<()> {
    let mut sparse = (None, None);
    for record in raw
        .pax_extensions()
        .context("PAX header")?
        .into_iter()
        .flatten()
    {
        let record = record.context("PAX record")?;
        let (key, value) = (record.key_bytes(), record.value_bytes());
        match key {
            b"mtime" => meta.mtime = time(value).context("PAX mtime")?,
            // The tar crate takes these over when they are numbers; otherwise it would use the other header's.
            b"uid" | b"gid" | b"size" => {
                number(value).context("PAX number")?;
            }
            b"GNU.sparse.major" => sparse.0 = Some(number(value)?),
            b"GNU.sparse.realsize" => sparse.1 = Some(number(value)?),
            b"GNU.sparse.name" => *path = value.to_vec(),
            b"GNU.sparse.map" | b"GNU.sparse.offset" => {
                bail!(
                    "PAX sparse formats before 1.0 are not supported; write the layer with a current tar"
                )
            }
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.".as_slice())
                    && kept(name)
                {
                    meta.xattrs.retain(|(n, _)| n.as_bytes() != name);
                    meta.xattrs
                        .push((OsStr::from_bytes(name).to_owned(), value.to_vec()));
                }
            }
        }
    }
    if let (Some(1), Some(size), Kind::File(_)) = (sparse.0, sparse.1, &kind) {
        *kind = Kind::File(Data::SparseMap(size));
    }
    Ok(())
}

fn link(raw: &tar::Entry<impl Read>) -> Result<Vec<u8>> {
    let target = raw
        .link_name_bytes()
        .map(|l| l.into_owned())
        .unwrap_or_default();
    ensure!(
        !target.is_empty() && target.len() < 4096 && !target.contains(&0),
        "the link's target is empty or too long"
    );
    Ok(target)
}

/// A user or group number. The highest means "do not change" to chown(2), so it cannot be one.
fn id(number: u64) -> Result<u32> {
    match u32::try_from(number) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => bail!("user or group {number} is not possible on Linux"),
    }
}

fn number(value: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    text.and_then(|t| t.parse().ok())
        .with_context(|| format!("\"{}\" is not a number", escape_bytes(value)))
}

/// `1700000000.123456789` or `-1.5`.
fn time(value: &[u8]) -> Result<(i64, i64)> {
    let text = std::str::from_utf8(value).context("not a number")?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    ensure!(fraction.bytes().all(|b| b.is_ascii_digit()), "not a number");
    let seconds: i64 = whole
        .parse()
        .with_context(|| format!("\"{}\" is not a number", escape_bytes(value)))?;
    let nanos: i64 = format!("{fraction:0<9}")[..9]
        .parse()
        .context("not a number")?;
    match whole.starts_with('-') && nanos > 0 {
        true => Ok((seconds.saturating_sub(1), 1_000_000_000 - nanos)),
        false => Ok((seconds, nanos)),
    }
}

/// The pieces of a PAX 1.0 sparse file as (offset, length), read from the start of its data.
///
/// Decimal numbers, one a line: how many pieces, then offset and length of each; padded to a multiple of 512.
pub fn sparse_map(data: &mut impl Read, size: u64) -> Result<Vec<(u64, u64)>> {
    let mut used = 0;
    let mut line = |data: &mut dyn Read| -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            let mut byte = [0];
            data.read_exact(&mut byte)
                .context("the sparse map is cut short")?;
            used += 1;
            match byte[0] {
                b'\n' => return number(&digits),
                _ if digits.len() > 20 => bail!("the sparse map is damaged"),
                digit => digits.push(digit),
            }
        }
    };
    let pieces = line(data)?;
    ensure!(pieces <= 1 << 20, "the sparse map has {pieces} pieces");
    let mut map = Vec::new();
    let mut end = 0;
    for _ in 0..pieces {
        let (offset, length) = (line(data)?, line(data)?);
        let stop = offset
            .checked_add(length)
            .filter(|stop| offset >= end && *stop <= size);
        end = stop.context("the sparse map reaches outside the file")?;
        map.push((offset, length));
    }
    let padding = (512 - used % 512) % 512;
    io::copy(&mut data.take(padding), &mut io::sink())?;
    Ok(map)
}

/// A reader with an allowance: keeps a header of many MiB from filling the memory.
///
/// The tar crate reads extra headers wholly into memory before it returns an entry, so while it looks for the next
/// entry it may only read [`Allowance::HEADERS`] bytes.
pub struct Allowance<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R> Allowance<R> {
    /// The most bytes all headers of one entry may take.
    pub const HEADERS: u64 = 4 << 20;

    /// Wraps `inner`; the second value sets what may be read from now on.
    pub fn new(inner: R) -> (Self, Rc<Cell<u64>>) {
        let left = Rc::new(Cell::new(u64::MAX));
        (
            Allowance {
                inner,
                left: left.clone(),
            },
            left,
        )
    }
}

impl<R: Read> Read for Allowance<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        match self.left.get().checked_sub(n as u64) {
            Some(left) => self.left.set(left),
            None => {
                return Err(io::Error::other(
                    "the headers of one archive entry exceed 4 MiB",
                ));
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_and_signs() {
        assert_eq!(time(b"1700000000.5").unwrap(), (1_700_000_000, 500_000_000));
        assert_eq!(time(b"12").unwrap(), (12, 0));
        assert_eq!(time(b"-1.5").unwrap(), (-2, 500_000_000));
        assert_eq!(time(b"0.1234567891").unwrap(), (0, 123_456_789));
        for bad in ["", "x", "1.x", "1e9", "99999999999999999999"] {
            assert!(time(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn sparse_maps_stay_inside_the_file() {
        let map = |text: &str, size| sparse_map(&mut text.as_bytes(), size);
        assert_eq!(map("2\n0\n5\n100\n1\n", 101).unwrap(), [(0, 5), (100, 1)]);
        for bad in [
            "1\n0\n102\n",
            "2\n50\n5\n0\n5\n",
            "1\n0\n",
            "1\n18446744073709551615\n1\n",
            "x\n",
            "",
        ] {
            assert!(map(bad, 101).is_err(), "{bad}");
        }
    }
}
