//! A bag of named files: a directory, or a tar archive that is read in place.
//!
//! Both an OCI layout and a docker archive are such a bag. The names in it come from strangers, so a directory is
//! opened as a root of its own, and only regular files are read: a FIFO would block for ever.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::OFlag;
use tar::EntryType;

use crate::documents::MAX_DOCUMENT;
use crate::layer::decoder;
use crate::root::{Root, clean, join, split};
use crate::text::{escape, escape_bytes};

/// Either kind of bag.
pub enum Container {
    /// Files below a directory.
    Directory(Root),
    /// Members of an archive: where their bytes lie.
    Archive(Archive),
}

/// An uncompressed tar archive with a list of what is in it.
pub struct Archive {
    file: File,
    members: HashMap<Vec<u8>, Member>,
}

enum Member {
    File { offset: u64, size: u64 },
    Link(Vec<u8>),
}

/// More members than any image has; bounds the memory for the list.
const MAX_MEMBERS: usize = 100_000;

impl Container {
    /// Opens a directory or an archive. A compressed archive, or one that cannot be read at any place, is first
    /// copied, plain, into `spool`, which must be a directory; at most `limit` bytes.
    pub fn open(path: &Path, spool: &Path, limit: u64) -> Result<Container> {
        if path.is_dir() {
            return Ok(Container::Directory(Root::open(path)?));
        }
        let file = fs_err::File::open(path)?;
        let regular = file.metadata()?.is_file();
        let mut start = [0; 4];
        let plain = regular && {
            let (mut reader, mut filled) = (&file, 0);
            while filled < start.len() {
                match reader.read(&mut start[filled..])? {
                    0 => break,
                    n => filled += n,
                }
            }
            reader.seek(SeekFrom::Start(0))?;
            start[..2] != [0x1f, 0x8b] && start != [0x28, 0xb5, 0x2f, 0xfd]
        };
        let (file, _) = file.into_parts();
        let file = if plain {
            file
        } else {
            unpacked_copy(file, spool, limit)?
        };
        Archive::new(file)
            .with_context(|| format!("cannot read {}", path.display()))
            .map(Container::Archive)
    }

    /// Opens an archive that arrives on a pipe.
    pub fn from_reader(reader: impl Read, spool: &Path, limit: u64) -> Result<Container> {
        Ok(Container::Archive(Archive::new(unpacked_copy(
            reader, spool, limit,
        )?)?))
    }

    /// Whether there is a file of this name.
    pub fn has(&self, path: &str) -> bool {
        self.file(path).is_ok()
    }

    /// A file's bytes and size.
    pub fn file<'a>(&'a self, path: &str) -> Result<(Box<dyn Read + Send + 'a>, u64)> {
        let context = || format!("the image has no file \"{}\"", escape(path));
        let path = clean(path.as_bytes())?;
        match self {
            Container::Directory(root) => {
                let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
                let file = File::from(root.resolve(&path, flags).with_context(context)?);
                let meta = file.metadata()?;
                ensure!(
                    meta.is_file(),
                    "\"{}\" is no regular file",
                    escape_bytes(&path)
                );
                Ok((Box::new(file), meta.len()))
            }
            Container::Archive(archive) => {
                let (offset, size) = archive.find(&path).with_context(context)?;
                Ok((
                    Box::new(Section {
                        file: &archive.file,
                        offset,
                        end: offset + size,
                    }),
                    size,
                ))
            }
        }
    }

    /// A small file as a whole.
    pub fn document(&self, path: &str) -> Result<Vec<u8>> {
        let (reader, size) = self.file(path)?;
        ensure!(
            size <= MAX_DOCUMENT,
            "\"{}\" has {size} bytes, more than {MAX_DOCUMENT}",
            escape(path)
        );
        let mut bytes = Vec::new();
        reader.take(MAX_DOCUMENT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Archive {
    fn new(mut file: File) -> Result<Archive> {
        let mut members = HashMap::new();
        file.seek(SeekFrom::Start(0))?;
        let length = file.metadata()?.len();
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek()? {
            let entry = entry.context("it is no valid tar archive")?;
            let (offset, size) = (entry.raw_file_position(), entry.size());
            let path = clean(&entry.path_bytes())?;
            let member = match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    let inside = offset.checked_add(size).is_some_and(|end| end <= length);
                    ensure!(
                        inside,
                        "\"{}\" reaches beyond the end of the archive",
                        escape_bytes(&path)
                    );
                    Member::File { offset, size }
                }
                EntryType::Symlink => Member::Link(join(
                    split(&path).0,
                    &entry.link_name_bytes().unwrap_or_default(),
                )),
                EntryType::Link => {
                    Member::Link(clean(&entry.link_name_bytes().unwrap_or_default())?)
                }
                _ => continue,
            };
            members.insert(path, member);
            ensure!(
                members.len() <= MAX_MEMBERS,
                "the archive has more than {MAX_MEMBERS} members"
            );
        }
        Ok(Archive { file, members })
    }

    fn find(&self, path: &[u8]) -> Option<(u64, u64)> {
        let mut path = path;
        // Old docker archives link equal layers to each other.
        for _ in 0..8 {
            match self.members.get(path)? {
                Member::File { offset, size } => return Some((*offset, *size)),
                Member::Link(target) => path = target,
            }
        }
        None
    }
}

/// A part of a file, read without moving the file's position, so that several can be read side by side.
struct Section<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.end - self.offset)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let n = self.file.read_at(&mut buf[..want], self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

/// A nameless file in `spool` with the plain bytes; it vanishes when it is closed.
fn unpacked_copy(from: impl Read, spool: &Path, limit: u64) -> Result<File> {
    let path = spool.join(format!("archive-{}", std::process::id()));
    let file = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    fs_err::remove_file(&path)?;
    let (mut file, _) = file.into_parts();
    let mut plain = decoder(from)?.take(limit);
    let copied = io::copy(&mut plain, &mut file).context("cannot read the archive")?;
    if copied >= limit {
        bail!(
            "the archive unpacks to more than {limit} bytes; allow more with the limit on unpacked bytes"
        );
    }
    file.flush()?;
    Ok(file)
}
