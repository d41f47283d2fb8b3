//! Applying: the entries of one layer become files, each made relative to its parent directory's descriptor.
//!
//! No path is used twice: the parent is opened once (openat2 inside the root) and kept while entries for it follow,
//! and the file itself is made by calls that refuse to follow a link (`O_EXCL`, `O_NOFOLLOW`, mknodat, symlinkat,
//! linkat without AT_SYMLINK_FOLLOW). A regular file costs openat, write, futimens, close, and chown or chmod only if
//! creation did not give what is wanted.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, makedev, mkdirat, mknodat};
use nix::unistd::{linkat, mkfifoat, symlinkat};

use super::Layout;
use super::content;
use super::entry::{Data, Entry, Kind};
use super::meta::{Creator, Meta};
use crate::root::{self, Made, Root, split};
use crate::text::escape_bytes;

/// One layer on its way into a directory.
pub struct Applier {
    pub(super) root: Root,
    pub(super) layout: Layout,
    pub(super) creator: Creator,
    /// Directories whose metadata is set at the end, because every file made in them changes their time. `None`:
    /// the layer only implies them, so what a lower layer says holds.
    pub(super) directories: BTreeMap<Vec<u8>, Option<Meta>>,
    /// Directories that replace whatever lower layers have there, so that nothing of theirs is taken over.
    pub(super) fresh: HashSet<Vec<u8>>,
    /// Whiteouts made; those that hide nothing go again at the end.
    pub(super) whiteouts: Vec<Vec<u8>>,
    /// Hard links whose target must lie in a lower layer: (link, target).
    pub(super) links: Vec<(Vec<u8>, Vec<u8>)>,
    /// What this layer itself made, by parent inode and name. Only kept when layers are merged in one tree, where
    /// a whiteout must spare them.
    pub(super) mine: HashSet<(u64, Vec<u8>)>,
    /// What was left out, one line each.
    pub(super) warnings: Vec<String>,
    parent: Option<(Vec<u8>, Arc<Parent>)>,
    written: u64,
    limit: u64,
}

/// An open directory in which entries are made.
pub(super) struct Parent {
    pub(super) fd: OwnedFd,
    pub(super) inode: u64,
    /// New files get this directory's group, not ours.
    set_gid: bool,
}

impl Applier {
    /// Entries go below `root`; all files together may have `limit` bytes.
    pub fn new(root: Root, layout: Layout, limit: u64) -> Applier {
        Applier {
            root,
            layout,
            creator: Creator::current(),
            directories: BTreeMap::new(),
            fresh: HashSet::new(),
            whiteouts: Vec::new(),
            links: Vec::new(),
            mine: HashSet::new(),
            warnings: Vec::new(),
            parent: None,
            written: 0,
            limit,
        }
    }

    /// Bytes of all regular files made so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes one entry; the content of a file is read from `data`.
    pub fn apply(&mut self, entry: Entry, data: &mut impl Read) -> Result<()> {
        let shown = escape_bytes(&entry.path);
        self.apply_entry(entry, data)
            .with_context(|| format!("cannot unpack \"{shown}\""))
    }

    fn apply_entry(&mut self, entry: Entry, data: &mut impl Read) -> Result<()> {
        if entry.kind == Kind::Nothing {
            return Ok(());
        }
        let (above, name) = split(&entry.path);
        if name.is_empty() {
            return self.apply_root(entry);
        }
        if above
            .split(|b| *b == b'/')
            .any(|part| part.starts_with(b".wh."))
        {
            self.warn(&entry.path, "lies in a whiteout");
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(b".wh.".as_slice()) {
            return self.whiteout(above, hidden);
        }
        if let Kind::Unknown(byte) = entry.kind {
            self.warn(&entry.path, &format!("is of the unknown type {byte:#x}"));
            return Ok(());
        }
        self.links.retain(|(link, _)| *link != entry.path);
        let parent = self.parent(above)?;
        match &entry.kind {
            Kind::File(kind) => self.file(&parent, name, &entry, kind, data)?,
            Kind::Directory => self.directory(&parent, name, &entry)?,
            Kind::Symlink(target) => {
                self.make(&parent, name, |fd, name| {
                    symlinkat(OsStr::from_bytes(target), fd, name)
                })?;
                entry.meta.put_at(&parent.fd, name, &self.creator)?;
            }
            Kind::HardLink(target) => self.hard_link(&parent, name, &entry.path, target)?,
            _ => self.node(&parent, name, &entry)?,
        }
        if self.layout == Layout::Merged {
            self.mine.insert((parent.inode, name.to_vec()));
        }
        Ok(())
    }

    fn apply_root(&mut self, entry: Entry) -> Result<()> {
        match entry.kind {
            Kind::Directory => {
                self.directories.insert(Vec::new(), Some(entry.meta));
            }
            _ => self
                .warnings
                .push("skipped an entry that would replace the root directory".to_owned()),
        }
        Ok(())
    }

    fn file(
        &mut self,
        parent: &Parent,
        name: &[u8],
        entry: &Entry,
        kind: &Data,
        data: &mut impl Read,
    ) -> Result<()> {
        self.written = self.written.saturating_add(kind.size());
        ensure!(
            self.written <= self.limit,
            "the layer unpacks to more than {} bytes, which looks like a bomb; allow more with the limit on unpacked bytes",
            self.limit
        );
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(entry.meta.mode & 0o777);
        let fd = self.make(parent, name, |fd, name| openat(fd, name, flags, mode))?;
        let mut file = File::from(fd);
        content::write(data, &mut file, kind)?;
        let created = (!parent.set_gid).then_some(entry.meta.mode & 0o777);
        entry.meta.put(&file, &self.creator, created)
    }

    fn directory(&mut self, parent: &Parent, name: &[u8], entry: &Entry) -> Result<()> {
        let os_name = OsStr::from_bytes(name);
        let make = || mkdirat(&parent.fd, os_name, Mode::from_bits_truncate(0o755));
        match make() {
            Ok(()) => {}
            Err(Errno::EEXIST) if root::kind(&root::stat(&parent.fd, name)?) == SFlag::S_IFDIR => {}
            Err(Errno::EEXIST) => {
                self.remove(parent, name)?;
                make()?;
                // Whatever was here hid the lower layers, and so must the directory in its place.
                self.make_opaque(&entry.path)?;
            }
            Err(errno) => return Err(errno.into()),
        }
        self.directories
            .insert(entry.path.clone(), Some(entry.meta.clone()));
        Ok(())
    }

    fn node(&mut self, parent: &Parent, name: &[u8], entry: &Entry) -> Result<()> {
        let mode = Mode::from_bits_truncate(entry.meta.mode);
        let (kind, device) = match entry.kind {
            Kind::CharDevice(0, 0) => {
                // overlayfs takes a character device 0:0 for "deleted"; no real device has this number.
                self.warn(&entry.path, "is a character device 0:0, which is no device");
                return Ok(());
            }
            Kind::CharDevice(major, minor) => (SFlag::S_IFCHR, makedev(major.into(), minor.into())),
            Kind::BlockDevice(major, minor) => {
                (SFlag::S_IFBLK, makedev(major.into(), minor.into()))
            }
            _ => (SFlag::S_IFIFO, 0),
        };
        let made = self.make(parent, name, |fd, name| match kind {
            SFlag::S_IFIFO => mkfifoat(fd, name, mode),
            kind => mknodat(fd, name, kind, mode, device),
        });
        match made {
            Err(e) if e.downcast_ref() == Some(&Errno::EPERM) => {
                self.warn(&entry.path, "is a device, which only root may make");
                return Ok(());
            }
            made => made?,
        }
        // The umask took bits away; chmod by name would follow, but this name was just made by us with O_EXCL rules.
        nix::sys::stat::fchmodat(
            &parent.fd,
            OsStr::from_bytes(name),
            mode,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )?;
        entry.meta.put_at(&parent.fd, name, &self.creator)
    }

    fn hard_link(
        &mut self,
        parent: &Parent,
        name: &[u8],
        path: &[u8],
        target: &[u8],
    ) -> Result<()> {
        if path == target {
            return Ok(());
        }
        let (above, target_name) = split(target);
        ensure!(
            !target_name.is_empty(),
            "it is a hard link to the root directory"
        );
        let found = self
            .root
            .directory(above)
            .and_then(|dir| Ok((root::stat(&dir, target_name)?, dir)));
        let (stat, dir) = match found {
            Ok(found) => found,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)
                if self.layout == Layout::Overlay =>
            {
                self.remove(parent, name)?;
                self.links.push((path.to_vec(), target.to_vec()));
                return Ok(());
            }
            Err(errno) => {
                return Err(errno)
                    .with_context(|| format!("it is a hard link to {}", escape_bytes(target)));
            }
        };
        ensure!(
            !is_whiteout(&stat),
            "it is a hard link to {}, which this layer deletes",
            escape_bytes(target)
        );
        ensure!(
            root::kind(&stat) != SFlag::S_IFDIR,
            "it is a hard link to the directory {}",
            escape_bytes(target)
        );
        if let Ok(old) = root::stat(&parent.fd, name)
            && (old.st_ino, old.st_dev) == (stat.st_ino, stat.st_dev)
        {
            return Ok(());
        }
        self.make(parent, name, |fd, name| {
            linkat(
                &dir,
                OsStr::from_bytes(target_name),
                fd,
                name,
                AtFlags::empty(),
            )
        })
    }

    /// Makes something under a name; what has the name goes first, so that the last entry wins.
    fn make<T>(
        &mut self,
        parent: &Parent,
        name: &[u8],
        make: impl Fn(&OwnedFd, &OsStr) -> nix::Result<T>,
    ) -> Result<T> {
        match make(&parent.fd, OsStr::from_bytes(name)) {
            Err(Errno::EEXIST) => {
                self.remove(parent, name)?;
                Ok(make(&parent.fd, OsStr::from_bytes(name))?)
            }
            other => Ok(other?),
        }
    }

    /// Removes a name with all below it. Paths may mean something else afterwards, so nothing cached is trusted.
    pub(super) fn remove(&mut self, parent: &Parent, name: &[u8]) -> Result<()> {
        self.parent = None;
        root::remove(parent.fd.as_fd(), name).map_err(Into::into)
    }

    /// The directory in which entries of `path` are made, from the cache if it was the last one.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<Arc<Parent>> {
        if let Some((cached, parent)) = &self.parent
            && cached == path
        {
            return Ok(parent.clone());
        }
        let mut implied = Vec::new();
        let fd = self
            .root
            .make_directory(path, &mut |path, made| implied.push((path.to_vec(), made)))?;
        for (path, made) in implied {
            if made == Made::Replaced {
                self.fresh.insert(path.clone());
                self.make_opaque(&path)?;
            }
            if self.layout == Layout::Merged {
                let (above, name) = split(&path);
                let inode = fstat(self.root.directory(above)?)?.st_ino;
                self.mine.insert((inode, name.to_vec()));
            }
            self.directories.insert(path, None);
        }
        let stat = fstat(&fd)?;
        if self.layout == Layout::Merged {
            // A directory of a lower layer that this one does not name keeps its time, though things are
            // made in it.
            self.directories
                .entry(path.to_vec())
                .or_insert_with(|| Some(Meta::of(&stat, None)));
        }
        let parent = Arc::new(Parent {
            fd,
            inode: stat.st_ino,
            set_gid: stat.st_mode & 0o2000 != 0,
        });
        self.parent = Some((path.to_vec(), parent.clone()));
        Ok(parent)
    }

    /// Forgets the open directory: something was deleted, so its path may mean another one now.
    pub(super) fn forget_parent(&mut self) {
        self.parent = None;
    }

    /// Notes what is left out; the first twenty are enough.
    pub(super) fn warn(&mut self, path: &[u8], why: &str) {
        if self.warnings.len() < 20 {
            self.warnings
                .push(format!("skipped \"{}\": it {why}", escape_bytes(path)));
        }
    }
}

/// Whether this is overlayfs's mark for "deleted".
pub(super) fn is_whiteout(stat: &FileStat) -> bool {
    root::kind(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

impl Parent {
    /// A directory in which nothing will be made.
    pub(super) fn plain(fd: OwnedFd, inode: u64) -> Parent {
        Parent {
            fd,
            inode,
            set_gid: false,
        }
    }
}
