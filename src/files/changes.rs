//! What a container has changed in its image's files: the upper directory of its overlay, read.  overlayfs
//!
//! overlayfs writes down there what is new and what is gone: a file that was deleted is a character device 0:0, a
//! directory that hides the lower one's files is marked "opaque", one that was moved names where from. What is there
//! need not be a change: a file is copied up when it is opened for writing. So each is compared with the image's, as
//! Docker does: by type, mode, owner and device; what is no directory by time and size, too.
//!
//! Nothing here opens a file of the container's, only directories, each by its path from the top without links.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{FileStat, Mode, SFlag};
use rootfs_fetch::root::{Root, join, kind, names, split};
use xattr::FileExt;

use super::tree::Found;
use crate::kernel::ids::Table;
use crate::kernel::rootfs::{Marks, read_only};
use crate::store::Home;
use crate::store::containers::Record;
use crate::supervise::rootless;

/// Docker's letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `A`: the image has nothing of the name.
    Added,
    /// `C`: changed, or the directory of what was.
    Changed,
    /// `D`: gone.
    Deleted,
}

impl Kind {
    /// The letter.
    pub fn letter(self) -> char {
        match self {
            Kind::Added => 'A',
            Kind::Changed => 'C',
            Kind::Deleted => 'D',
        }
    }
}

/// What Docker puts into each container below what the container itself writes, and so does not show. rmac makes those
/// of them that the image lacks when it mounts something there.
const OWN: [&str; 9] = [
    "dev",
    "dev/pts",
    "dev/shm",
    "etc",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "proc",
    "sys",
];

/// What the container `record` has changed, by path; a directory stands before what is in it. To be called in a process
/// of its own, which has its own mounts afterwards.
///
/// # Errors
/// The image's layers cannot be mounted, or the upper directory not be read.
pub fn of(home: &Home, record: &Record) -> Result<Vec<(Kind, Vec<u8>)>> {
    let directory = home.container(&record.id);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let upper = directory.join("upper");
    let upper = openat(AT_FDCWD, &upper, flags, Mode::empty())
        .with_context(|| format!("open {}", upper.display()))?;
    unshare(CloneFlags::CLONE_NEWNS).context("unshare(CLONE_NEWNS)")?;
    let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    mount(none, "/", none, private, none).context("mount(MS_PRIVATE)")?;
    let marks = match rootless::is() {
        true => Marks::User,
        false => Marks::Trusted,
    };
    let image = read_only(&record.layers, &directory, marks)?;
    let image = image.top().try_clone().context("duplicate a descriptor")?;
    compare(upper, image, marks, record.ids.as_ref())
}

fn compare(
    upper: OwnedFd,
    image: OwnedFd,
    marks: Marks,
    ids: Option<&Table>,
) -> Result<Vec<(Kind, Vec<u8>)>> {
    let mut comparison = Comparison {
        upper: Root::at(upper),
        image: Root::at(image),
        marks: match marks {
            Marks::Trusted => "trusted.overlay.",
            Marks::User => "user.overlay.",
        },
        ids,
        changes: BTreeMap::new(),
        open: vec![Directory {
            path: vec![],
            written: true,
            old: true,
            below: Some(vec![]),
        }],
    };
    while let Some(directory) = comparison.open.pop() {
        comparison.look(&directory)?;
    }
    Ok(with_directories(comparison.changes))
}

/// A directory of the container's that may hold changes.
struct Directory {
    /// From the top, without a slash in front.
    path: Vec<u8>,
    /// It is in the upper directory.
    written: bool,
    /// The image has a directory at its path.
    old: bool,
    /// The image's directory whose files show through it, if any do.
    below: Option<Vec<u8>>,
}

struct Comparison<'a> {
    upper: Root,
    image: Root,
    marks: &'static str,
    ids: Option<&'a Table>,
    /// By path, with the parts apart so that they sort as a walk finds them.
    changes: BTreeMap<Vec<Vec<u8>>, Kind>,
    open: Vec<Directory>,
}

impl Comparison<'_> {
    fn look(&mut self, directory: &Directory) -> Result<()> {
        let Directory {
            path,
            written,
            old,
            below,
        } = directory;
        let mut shown = BTreeSet::new();
        let mut gone = BTreeSet::new();
        for name in self.list(&self.upper, path, *written)? {
            let Some(found) = find(&self.upper, &under(path, &name))? else {
                continue;
            };
            match is_whiteout(&found.status) {
                true => gone.insert(name),
                false => {
                    self.enter(directory, &name, &found, true)?;
                    shown.insert(name)
                }
            };
        }
        let same = below.as_deref() == Some(path.as_slice());
        if let Some(below) = below.as_deref().filter(|_| !same) {
            // It was moved here, so all of it is new at this place.
            for name in self.list(&self.image, below, true)? {
                if shown.contains(&name) || gone.contains(&name) {
                    continue;
                }
                if let Some(found) = find(&self.image, &under(below, &name))? {
                    self.enter(directory, &name, &found, false)?;
                    shown.insert(name);
                }
            }
        }
        let hidden = match (same, *old) {
            (_, false) => vec![],
            (true, true) => gone.into_iter().collect(),
            (false, true) => self.list(&self.image, path, true)?,
        };
        for name in hidden.into_iter().filter(|name| !shown.contains(name)) {
            let path = under(path, &name);
            if find(&self.image, &path)?.is_some() {
                self.change(&path, Kind::Deleted);
            }
        }
        Ok(())
    }

    /// Compares `name` with what the image has there, and puts it down to be looked into if it is a directory.
    fn enter(&mut self, above: &Directory, name: &[u8], new: &Found, written: bool) -> Result<()> {
        let path = under(&above.path, name);
        let old = match above.old {
            true => find(&self.image, &path)?,
            false => None,
        };
        match &old {
            None if is_own(&path, &new.status) => (),
            None => self.change(&path, Kind::Added),
            Some(old) if self.differ(old, new, written)? => self.change(&path, Kind::Changed),
            Some(_) => (),
        }
        if !new.is_dir() {
            return Ok(());
        }
        let below = above.below.as_ref().map(|below| under(below, name));
        let below = match written {
            true => self.shows_through(&path, above, below)?,
            false => below,
        };
        self.open.push(Directory {
            written,
            old: old.is_some_and(|old| old.is_dir()),
            below,
            path,
        });
        Ok(())
    }

    /// Which directory of the image shows through the written directory `path`: usually `below`.
    fn shows_through(
        &self,
        path: &[u8],
        above: &Directory,
        below: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        let Some(directory) = open_directory(&self.upper, path)? else {
            return Ok(None);
        };
        let mark = |name: &str| {
            directory
                .get_xattr(format!("{}{name}", self.marks))
                .ok()
                .flatten()
        };
        if mark("opaque").is_some_and(|value| value == b"y") {
            return Ok(None);
        }
        let below = match mark("redirect") {
            // From the top on, or the name it had in its directory of the image.
            Some(from) => Some(join(above.below.as_deref().unwrap_or(&above.path), &from)),
            None => below,
        };
        let Some(below) = below else { return Ok(None) };
        let found = find(&self.image, &below)?;
        Ok(found.is_some_and(|found| found.is_dir()).then_some(below))
    }

    fn differ(&self, old: &Found, new: &Found, written: bool) -> Result<bool> {
        let (was, is) = (&old.status, &new.status);
        let owner = match self.ids.filter(|_| written) {
            Some(ids) => ids
                .inside(is.st_uid, is.st_gid)
                .unwrap_or((is.st_uid, is.st_gid)),
            None => (is.st_uid, is.st_gid),
        };
        if was.st_mode != is.st_mode
            || (was.st_uid, was.st_gid) != owner
            || was.st_rdev != is.st_rdev
        {
            return Ok(true);
        }
        if new.is_dir() {
            return Ok(false);
        }
        // An archive may have whole seconds only.
        let fraction = was.st_mtime_nsec != 0 && is.st_mtime_nsec != 0;
        let later =
            was.st_mtime != is.st_mtime || fraction && was.st_mtime_nsec != is.st_mtime_nsec;
        Ok(later || was.st_size != is.st_size || capability(old) != capability(new))
    }

    fn list(&self, root: &Root, path: &[u8], there: bool) -> Result<Vec<Vec<u8>>> {
        let directory = match there {
            true => open_directory(root, path)?,
            false => None,
        };
        let Some(directory) = directory else {
            return Ok(vec![]);
        };
        names(directory.as_fd()).context("read a directory")
    }

    fn change(&mut self, path: &[u8], kind: Kind) {
        let parts = path.split(|byte| *byte == b'/').map(<[u8]>::to_vec);
        self.changes.insert(parts.collect(), kind);
    }
}

/// Adds the directories in which something has changed, as Docker does, and puts the paths together.
fn with_directories(mut changes: BTreeMap<Vec<Vec<u8>>, Kind>) -> Vec<(Kind, Vec<u8>)> {
    let above: BTreeSet<Vec<Vec<u8>>> = changes
        .keys()
        .flat_map(|parts| (1..parts.len()).map(|length| parts[..length].to_vec()))
        .collect();
    for parts in above {
        changes.entry(parts).or_insert(Kind::Changed);
    }
    let full = |parts: Vec<Vec<u8>>| [b"/".as_slice(), &parts.join(&b'/')].concat();
    changes
        .into_iter()
        .map(|(parts, kind)| (kind, full(parts)))
        .collect()
}

fn under(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path {
        b"" => name.to_vec(),
        path => [path, b"/", name].concat(),
    }
}

/// What is at `path`, a link itself; `None` where there is nothing, or a link on the way.
fn find(root: &Root, path: &[u8]) -> Result<Option<Found>> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    absent(root.resolve_plain(path, flags).and_then(Found::new), path)
}

fn open_directory(root: &Root, path: &[u8]) -> Result<Option<File>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let at = if path.is_empty() { b"." } else { path };
    absent(root.resolve_plain(at, flags).map(File::from), path)
}

fn absent<T>(opened: nix::Result<T>, path: &[u8]) -> Result<Option<T>> {
    match opened {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        other => {
            let shown = rootfs_fetch::text::escape_bytes(path);
            other.map(Some).with_context(|| format!("look at {shown}"))
        }
    }
}

fn is_whiteout(status: &FileStat) -> bool {
    kind(status) == SFlag::S_IFCHR && status.st_rdev == 0
}

/// A place at which something is mounted in every container.
fn is_own(path: &[u8], status: &FileStat) -> bool {
    let known = OWN.iter().any(|own| own.as_bytes() == path);
    let file = split(path).0 == b"etc";
    let fits = match kind(status) {
        SFlag::S_IFDIR => !file,
        SFlag::S_IFREG => file && status.st_size == 0,
        _ => false,
    };
    known && fits
}

/// What a program may do beyond its user, which changes no time.  capabilities(7)
fn capability(found: &Found) -> Option<Vec<u8>> {
    let path = format!("/proc/self/fd/{}", found.fd.as_raw_fd());
    match found.kind() {
        SFlag::S_IFREG => xattr::get_deref(Path::new(&path), "security.capability").ok()?,
        _ => None,
    }
}
