//! From a tree to a tar archive, as Docker writes one.  tar(5), pax(1)
//!
//! The names are read first, then each is opened anew from the top, without following a link on the way: however deep
//! the tree is, one file is open at a time, and a directory that becomes a link under way leads nowhere. What has
//! gone meanwhile is left out. The times are whole seconds, as in Docker's archives.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, SFlag, major, minor};
use rootfs_fetch::layer::meta::Meta;
use rootfs_fetch::root::{Root, names};
use rootfs_fetch::text::escape_bytes;
use tar::{EntryType, Header};

use super::tree::{Descriptors, Found, has_changed, is_the_kernels};

/// What is read or written at once, in bytes.
const CHUNK: usize = 128 << 10;

/// Writes archives.
pub struct Packer<'a, W: Write> {
    out: W,
    descriptors: &'a Descriptors,
    /// Files with several names: the first of them.
    seen: HashMap<(u64, u64), Vec<u8>>,
    /// Why the first of those files was left out that should have been in.
    missing: Option<String>,
    /// Bytes of all regular files so far.
    pub content: u64,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Packer<'a, W> {
    /// The archive goes to `out`.
    pub fn new(out: W, descriptors: &'a Descriptors) -> Self {
        Packer {
            out,
            descriptors,
            seen: HashMap::new(),
            missing: None,
            content: 0,
            buffer: vec![0; CHUNK],
        }
    }

    /// Puts `found` and all below it into the archive, under the name `name`; with `"."` or `"/"` what is below it has
    /// that in front. With an empty name the directory itself is left out.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub fn add(&mut self, found: Found, name: &[u8]) -> Result<()> {
        if !found.is_dir() {
            return self.entry(&found, name);
        }
        if !name.is_empty() {
            self.entry(&found, name)?;
        }
        let root = Root::at(found.fd);
        // The paths that are still to be looked at, the next one last.
        let mut open = vec![];
        self.list(&root, b"", &mut open);
        while let Some(path) = open.pop() {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
            let found = match root.resolve_plain(&path, flags).and_then(Found::new) {
                Ok(found) => found,
                Err(errno) => {
                    self.leave_out(&path, errno);
                    continue;
                }
            };
            let full = match name {
                b"" => path.clone(),
                b"/" => [b"/".as_slice(), &path].concat(),
                name => [name, b"/", &path].concat(),
            };
            self.entry(&found, &full)?;
            if found.is_dir() {
                drop(found);
                self.list(&root, &path, &mut open);
            }
        }
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// It cannot be written; a file that should be in it could not be read.
    pub fn finish(mut self) -> Result<W> {
        self.out
            .write_all(&[0; 1024])
            .context("write the archive")?;
        self.out.flush().context("write the archive")?;
        match self.missing {
            None => Ok(self.out),
            Some(why) => bail!("the archive is not complete: {why}"),
        }
    }

    fn list(&mut self, root: &Root, path: &[u8], open: &mut Vec<Vec<u8>>) {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let at = if path.is_empty() { b"." } else { path };
        let listed = root
            .resolve_plain(at, flags)
            .and_then(|fd| match is_the_kernels(&fd) {
                true => Ok(vec![]),
                false => names(fd.as_fd()),
            });
        match listed {
            Ok(mut all) => {
                all.sort_unstable_by(|a, b| b.cmp(a));
                open.extend(all.into_iter().map(|name| match path {
                    b"" => name,
                    path => [path, b"/", &name].concat(),
                }));
            }
            Err(errno) => self.leave_out(path, errno),
        }
    }

    fn leave_out(&mut self, path: &[u8], errno: Errno) {
        if !has_changed(errno) && self.missing.is_none() {
            let why = format!("{}: {}", escape_bytes(path), super::tree::words(errno));
            self.missing = Some(why);
        }
    }

    fn entry(&mut self, found: &Found, name: &[u8]) -> Result<()> {
        let Member {
            mut kind,
            mut target,
            mut file,
        } = match self.member(found) {
            Ok(Some(member)) => member,
            Ok(None) => return Ok(()),
            Err(errno) => {
                self.leave_out(name, errno);
                return Ok(());
            }
        };
        if found.status.st_nlink > 1 && kind != EntryType::Directory {
            let inode = (found.status.st_dev, found.status.st_ino);
            match self.seen.get(&inode) {
                Some(first) => (kind, target, file) = (EntryType::Link, first.clone(), None),
                None => drop(self.seen.insert(inode, name.to_vec())),
            }
        }
        let mut name = name.to_vec();
        if kind == EntryType::Directory && !name.ends_with(b"/") {
            name.push(b'/');
        }
        let mut records = vec![];
        let mut header = header(&found.status, kind, &mut records)?;
        if let Some(file) = &file {
            let kept = Meta::of(&found.status, Some(file)).xattrs;
            let capability = kept
                .into_iter()
                .find(|(name, _)| name == "security.capability");
            records
                .extend(capability.map(|(_, value)| ("SCHILY.xattr.security.capability", value)));
        }
        let fields = header.as_old_mut();
        put(&mut fields.name, "path", &name, &mut records);
        put(&mut fields.linkname, "linkpath", &target, &mut records);
        header.set_cksum();
        self.write(&header, &records, file)
            .with_context(|| format!("write {} to the archive", escape_bytes(&name)))
    }

    /// What is put into the archive; nothing of a socket, which means nothing without its program.
    fn member(&self, found: &Found) -> nix::Result<Option<Member>> {
        let plain = |kind| Member {
            kind,
            target: vec![],
            file: None,
        };
        Ok(Some(match found.kind() {
            SFlag::S_IFREG => Member {
                file: Some(self.descriptors.read(&found.fd)?),
                ..plain(EntryType::Regular)
            },
            SFlag::S_IFLNK => Member {
                target: readlinkat(&found.fd, "")?.as_bytes().to_vec(),
                ..plain(EntryType::Symlink)
            },
            SFlag::S_IFDIR => plain(EntryType::Directory),
            SFlag::S_IFCHR => plain(EntryType::Char),
            SFlag::S_IFBLK => plain(EntryType::Block),
            SFlag::S_IFIFO => plain(EntryType::Fifo),
            _ => return Ok(None),
        }))
    }

    fn write(
        &mut self,
        header: &Header,
        records: &[(&str, Vec<u8>)],
        file: Option<File>,
    ) -> Result<()> {
        if !records.is_empty() {
            let text = pax(records);
            let mut extra = Header::new_ustar();
            extra.set_entry_type(EntryType::XHeader);
            extra.set_size(text.len() as u64);
            extra.set_mode(0o644);
            put(
                &mut extra.as_old_mut().name,
                "",
                b"PaxHeaders.0/x",
                &mut vec![],
            );
            extra.set_cksum();
            self.out.write_all(extra.as_bytes())?;
            self.out.write_all(&text)?;
            self.pad(text.len() as u64)?;
        }
        self.out.write_all(header.as_bytes())?;
        let Some(file) = file else { return Ok(()) };
        let size = header.size()?;
        self.content += size;
        self.copy(file, size)?;
        Ok(self.pad(size)?)
    }

    /// Exactly `size` bytes, as the header has it: what was cut off meanwhile is zeros.
    fn copy(&mut self, mut file: File, size: u64) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let length = match file.read(&mut self.buffer[..most]) {
                Ok(0) => {
                    self.buffer[..most].fill(0);
                    most
                }
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("read the file"),
            };
            self.out.write_all(&self.buffer[..length])?;
            left -= length as u64;
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> std::io::Result<()> {
        let rest = (512 - size % 512) % 512;
        self.out.write_all(&[0; 512][..rest as usize])
    }
}

/// One file on its way into the archive.
struct Member {
    kind: EntryType,
    /// Where a link leads.
    target: Vec<u8>,
    /// A regular file's content.
    file: Option<File>,
}

/// A header without names; what it cannot hold goes to `records`.
fn header(
    status: &FileStat,
    kind: EntryType,
    records: &mut Vec<(&str, Vec<u8>)>,
) -> std::io::Result<Header> {
    let device = match kind {
        EntryType::Char | EntryType::Block => status.st_rdev,
        _ => 0,
    };
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(match kind {
        EntryType::Regular => status.st_size as u64,
        _ => 0,
    });
    header.set_device_major(major(device) as u32)?;
    header.set_device_minor(minor(device) as u32)?;
    header.set_mode(status.st_mode & 0o7777);
    header.set_uid(status.st_uid.into());
    header.set_gid(status.st_gid.into());
    header.set_mtime(u64::try_from(status.st_mtime).unwrap_or(0));
    if status.st_mtime < 0 {
        records.push(("mtime", status.st_mtime.to_string().into_bytes()));
    }
    Ok(header)
}

/// Puts `text` into a field of a header, and where it is too long into a record, too.
fn put<'r>(
    field: &mut [u8; 100],
    key: &'r str,
    text: &[u8],
    records: &mut Vec<(&'r str, Vec<u8>)>,
) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    if text.len() > field.len() {
        records.push((key, text.to_vec()));
    }
}

/// The records of a PAX header: length, key, value, a line each. The length counts its own digits.
fn pax(records: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut text = vec![];
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        text.extend(format!("{length} {key}=").bytes());
        text.extend(value);
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_may_exceed_what_the_field_has_digits_for() {
        let mut status = nix::sys::stat::stat("/dev/null").unwrap();
        (status.st_size, status.st_mtime) = (9 << 30, -5);
        let mut records = vec![];
        let header = header(&status, EntryType::Regular, &mut records).unwrap();
        assert_eq!(header.size().unwrap(), 9 << 30);
        assert_eq!(records, [("mtime", b"-5".to_vec())]);
    }

    #[test]
    fn a_record_counts_itself() {
        assert_eq!(pax(&[("path", b"a".to_vec())]), b"9 path=a\n");
        assert_eq!(pax(&[("path", vec![b'x'; 90])]).len(), 99);
        let long = pax(&[("path", vec![b'x'; 91])]);
        assert!(long.starts_with(b"101 path="), "{}", long.len());
        assert_eq!(long.len(), 101);
    }
}
