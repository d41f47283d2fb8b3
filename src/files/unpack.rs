//! From a tar archive into a directory, by Docker's rules for copies.  tar(5), openat2(2)
//!
//! Whoever wrote the archive, and whoever may change the directory meanwhile, leads nothing out of it: the parent of
//! each entry is resolved by the kernel inside the directory, and the entry is made in it by calls that make
//! something new or fail. What is there under its name goes first, unless it is a directory and the entry is not, or
//! the other way round: that is an error.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, getegid, geteuid, linkat, symlinkat, unlinkat};
use rootfs_fetch::layer::content;
use rootfs_fetch::layer::entry::{self, Allowance, Entry, Kind};
use rootfs_fetch::layer::meta::{Creator, Meta};
use rootfs_fetch::root::{Root, kind, open_directory, split, stat};
use rootfs_fetch::text::escape_bytes;

use super::tree::words;

/// The mode of a directory that the archive has no entry of.
const IMPLIED: Mode = Mode::from_bits_truncate(0o755);

/// Whose the files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The user's and the group's that the archive names.
    Archived,
    /// This process's, which does not vouch for them: they lose the right to act as their owner (set-user-ID,
    /// capabilities), and devices are left out.
    Ours,
    /// Root's: those that were another's lose that right.
    Root,
}

/// How an archive is unpacked.
#[derive(Debug, Clone)]
pub struct How {
    /// Whose the files become.
    pub owner: Owner,
    /// The name of the archive's uppermost entry, and what it is called instead. `.` and `/` stand for entries that
    /// have no common directory.
    pub rename: Option<(Vec<u8>, Vec<u8>)>,
    /// How the directory is called in messages.
    pub shown: Vec<u8>,
    /// This is a user namespace, where nobody may make devices: they are left out, as by Docker.
    pub no_devices: bool,
}

/// Unpacks the plain archive `archive` into the directory `into`; what was left out, a line each.
///
/// # Errors
/// Docker's words for what cannot replace what; a damaged archive; those of the file system.
pub fn unpack(archive: impl Read, into: OwnedFd, how: How) -> Result<Vec<String>> {
    let mut unpacker = Unpacker {
        root: Root::at(into),
        // The umask is 0 where we went in, and taken into account by chmod elsewhere.
        creator: Creator {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            umask: 0,
        },
        how,
        directories: vec![],
        left_out: vec![],
    };
    let (archive, left) = Allowance::new(archive);
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries()?;
    loop {
        left.set(Allowance::<()>::HEADERS);
        let Some(raw) = entries.next() else { break };
        left.set(u64::MAX);
        let mut raw = raw.context("it is no valid tar archive")?;
        let entry = entry::read(&mut raw)?;
        unpacker.put(entry, &mut raw)?;
        io::copy(&mut raw, &mut io::sink())?;
    }
    // Files that were made in a directory have changed its time. The innermost comes first.
    for (path, meta) in std::mem::take(&mut unpacker.directories).into_iter().rev() {
        if let Ok(directory) = unpacker.directory(&path) {
            let put = meta.put(&File::from(directory), &unpacker.creator, None);
            put.with_context(|| format!("cannot copy {}", escape_bytes(&path)))?;
        }
    }
    Ok(unpacker.left_out)
}

struct Unpacker {
    root: Root,
    creator: Creator,
    how: How,
    directories: Vec<(Vec<u8>, Meta)>,
    left_out: Vec<String>,
}

impl Unpacker {
    fn put(&mut self, mut entry: Entry, data: &mut impl Read) -> Result<()> {
        entry.path = self.renamed(entry.path);
        if entry.path.is_empty() || entry.kind == Kind::Nothing {
            return Ok(());
        }
        self.hand_over(&mut entry);
        if self.leaves_out(&entry) {
            let line = format!("{} is a device", escape_bytes(&entry.path));
            self.left_out.push(line);
            return Ok(());
        }
        let (above, name) = split(&entry.path);
        let parent = self.make_parent(above)?;
        let is_dir = entry.kind == Kind::Directory;
        if self.make_way(&parent, name, is_dir, &entry.path)? {
            self.directories.push((entry.path, entry.meta));
            return Ok(());
        }
        let made = self.make(&parent, name, &entry, data);
        made.with_context(|| format!("cannot copy {}", escape_bytes(&entry.path)))?;
        if is_dir {
            self.directories.push((entry.path, entry.meta));
        }
        Ok(())
    }

    fn renamed(&self, path: Vec<u8>) -> Vec<u8> {
        let Some((from, to)) = &self.how.rename else {
            return path;
        };
        if matches!(from.as_slice(), b"." | b"/") {
            let between = if path.is_empty() {
                b""
            } else {
                b"/".as_slice()
            };
            return [to, between, &path].concat();
        }
        match path.strip_prefix(from.as_slice()) {
            Some(rest) if rest.is_empty() || rest.starts_with(b"/") => [to, rest].concat(),
            _ => path,
        }
    }

    fn hand_over(&self, entry: &mut Entry) {
        let before = (entry.meta.uid, entry.meta.gid);
        let after = match self.how.owner {
            Owner::Archived => return,
            Owner::Ours => (self.creator.uid, self.creator.gid),
            Owner::Root => (0, 0),
        };
        (entry.meta.uid, entry.meta.gid) = after;
        let vouched = self.how.owner == Owner::Root && before == after;
        if !vouched && entry.kind != Kind::Directory {
            entry.meta.mode &= 0o777;
            entry.meta.xattrs.clear();
        }
    }

    fn leaves_out(&self, entry: &Entry) -> bool {
        let device = matches!(entry.kind, Kind::CharDevice(..) | Kind::BlockDevice(..));
        device && (self.how.owner == Owner::Ours || self.how.no_devices)
    }

    /// The directory `path` inside, links followed inside.
    fn directory(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        self.root
            .resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
    }

    /// The same; what is missing of it is made.
    fn make_parent(&self, path: &[u8]) -> Result<OwnedFd> {
        let context = |path: &[u8]| format!("mkdir {}", escape_bytes(path));
        match self.directory(path) {
            Err(Errno::ENOENT) => (),
            other => return other.with_context(|| context(path)),
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for end in ends.map(|(at, _)| at).chain([path.len()]) {
            let (above, name) = split(&path[..end]);
            let parent = self.directory(above).with_context(|| context(above))?;
            let made = mkdirat(&parent, OsStr::from_bytes(name), IMPLIED);
            match made {
                Ok(()) | Err(Errno::EEXIST) => (),
                Err(errno) => return Err(errno).with_context(|| context(&path[..end])),
            }
        }
        self.directory(path).with_context(|| context(path))
    }

    /// Removes what has the name already; whether that is a directory, and stays.
    fn make_way(&self, parent: &OwnedFd, name: &[u8], is_dir: bool, path: &[u8]) -> Result<bool> {
        let there = match stat(parent, name) {
            Err(Errno::ENOENT) => return Ok(false),
            other => other.with_context(|| format!("lstat {}", escape_bytes(path)))?,
        };
        let (shown, into) = (escape_bytes(path), escape_bytes(&self.how.shown));
        match (kind(&there) == SFlag::S_IFDIR, is_dir) {
            (true, true) => return Ok(true),
            (true, false) => {
                bail!("cannot overwrite directory \"{shown}\" with non-directory \"{into}\"")
            }
            (false, true) => {
                bail!("cannot overwrite non-directory \"{shown}\" with directory \"{into}\"")
            }
            (false, false) => (),
        }
        match unlinkat(parent, OsStr::from_bytes(name), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(false),
            // Such as /etc/hosts, on which a file is mounted.
            Err(errno) => {
                let at = into.trim_end_matches('/');
                bail!("unlinkat {at}/{shown}: {}", words(errno))
            }
        }
    }

    fn make(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        data: &mut impl Read,
    ) -> Result<()> {
        let os_name = OsStr::from_bytes(name);
        let private = Mode::from_bits_truncate(0o600);
        let node = |kind: SFlag, major: u32, minor: u32| {
            let mode = Mode::from_bits_truncate(entry.meta.mode & 0o777);
            let device = makedev(major.into(), minor.into());
            mknodat(parent, os_name, kind, mode, device)
        };
        match &entry.kind {
            Kind::File(kind) => {
                let new = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
                let flags = new | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let mut file = File::from(openat(parent, os_name, flags, private)?);
                content::write(data, &mut file, kind)?;
                return entry.meta.put(&file, &self.creator, Some(0o600));
            }
            Kind::Directory => {
                mkdirat(parent, os_name, Mode::S_IRWXU)?;
                // Its owner may be needed by those who look in meanwhile; its time comes at the end.
                let made = File::from(open_directory(parent.as_fd(), name)?);
                return entry.meta.put(&made, &self.creator, Some(0o700));
            }
            Kind::HardLink(target) => {
                let target = self.renamed(target.clone());
                let (above, target) = split(&target);
                let (directory, target) = (self.root.directory(above)?, OsStr::from_bytes(target));
                linkat(&directory, target, parent, os_name, AtFlags::empty())?;
                return Ok(());
            }
            Kind::Symlink(target) => symlinkat(OsStr::from_bytes(target), parent, os_name)?,
            Kind::CharDevice(major, minor) => node(SFlag::S_IFCHR, *major, *minor)?,
            Kind::BlockDevice(major, minor) => node(SFlag::S_IFBLK, *major, *minor)?,
            Kind::Fifo => node(SFlag::S_IFIFO, 0, 0)?,
            Kind::Nothing => return Ok(()),
            Kind::Unknown(byte) => bail!("unhandled tar header type {byte}"),
        }
        entry.meta.put_at(parent, name, &self.creator)
    }
}
