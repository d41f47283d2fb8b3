//! A tree whose owner may change it at any moment.  openat2(2), path_resolution(7)
//!
//! What a path leads to is opened once, by the kernel and inside the tree, with `O_PATH`: that does nothing to the
//! file, be it a device that acts when it is opened or a pipe that never answers. Then it is looked at, and only
//! a regular file is opened to be read, by its descriptor: nobody can have put a device in its place meanwhile.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat};
use nix::sys::statfs::{
    CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs,
};
use rootfs_fetch::root::Root;

/// This process's descriptors, in the host's own `/proc`: that of a container is the container's.
#[derive(Debug)]
pub struct Descriptors(OwnedFd);

impl Descriptors {
    /// To be called while the process is on the host.
    pub fn of_this_process() -> Result<Descriptors> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = open("/proc/self/fd", flags, Mode::empty());
        Ok(Descriptors(opened.context("open /proc/self/fd")?))
    }

    /// Opens the regular file `found` to be read.
    pub fn read(&self, found: &OwnedFd) -> nix::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let number = found.as_raw_fd().to_string();
        openat(&self.0, number.as_str(), flags, Mode::empty()).map(File::from)
    }

    /// Where `found` lies, from this process's root on.
    pub fn path_of(&self, found: &OwnedFd) -> nix::Result<PathBuf> {
        let number = found.as_raw_fd().to_string();
        readlinkat(&self.0, number.as_str()).map(PathBuf::from)
    }
}

/// A tree, and what it takes to look at it.
pub struct Tree {
    /// Its top: each path is resolved below it.
    pub root: Root,
    /// By which its files are read.
    pub descriptors: Descriptors,
}

impl Tree {
    /// What `path` names, a link itself where it is the last part and no `/` follows.
    pub fn look(&self, path: &[u8]) -> nix::Result<Found> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        Found::new(self.root.resolve(path, flags)?)
    }

    /// What `path` leads to.
    pub fn follow(&self, path: &[u8]) -> nix::Result<Found> {
        Found::new(self.root.resolve(path, OFlag::O_PATH)?)
    }
}

/// A file of any kind, opened with `O_PATH`, and what it is.
pub struct Found {
    /// The file.
    pub fd: OwnedFd,
    /// Its status.
    pub status: FileStat,
}

impl Found {
    /// Looks at what was opened.
    pub fn new(fd: OwnedFd) -> nix::Result<Found> {
        let status = fstat(&fd)?;
        Ok(Found { fd, status })
    }

    /// The type bits of its mode.
    pub fn kind(&self) -> nix::sys::stat::SFlag {
        rootfs_fetch::root::kind(&self.status)
    }

    /// Is it a directory?
    pub fn is_dir(&self) -> bool {
        self.kind() == nix::sys::stat::SFlag::S_IFDIR
    }

    /// Is it a symbolic link?
    pub fn is_link(&self) -> bool {
        self.kind() == nix::sys::stat::SFlag::S_IFLNK
    }
}

/// Whether `found` lies in a file system that shows the kernel's own state (`/proc`, `/sys`, cgroups): nothing there
/// is a file that could be copied, and a look into some has effects. Docker's copies have these directories empty.
pub fn is_the_kernels(found: &OwnedFd) -> bool {
    let own = [
        PROC_SUPER_MAGIC,
        SYSFS_MAGIC,
        CGROUP_SUPER_MAGIC,
        CGROUP2_SUPER_MAGIC,
    ];
    fstatfs(found).is_ok_and(|status| own.contains(&status.filesystem_type()))
}

/// Whether the file has gone, or become another one, since its name was read: a tree that is in use changes.
pub fn has_changed(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ESTALE
    )
}

/// The kernel's words as Go's and so Docker's messages have them.
pub fn words(errno: Errno) -> String {
    errno.desc().to_lowercase()
}
