//! The tree that is being made, and paths in it.  openat2(2), path_resolution(7)
//!
//! Whoever wrote the image, and whoever shares a volume with the container, may put a symbolic link in any
//! place and change it under way. So a path is resolved once, by the kernel, inside the tree; what is done
//! then is done to the descriptor.

use std::cell::{OnceCell, RefCell};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::libc::{AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, OPEN_TREE_CLONE};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::sys::statfs::{FsType, fstatfs};

use crate::sys;
use crate::sys::mounts::FsContext;

/// The container's tree before the pivot: every path is resolved inside it.
#[derive(Debug)]
pub struct Root {
    top: OwnedFd,
    /// What the kernel's own file systems were mounted as, by their paths.
    kept: RefCell<Vec<(PathBuf, OwnedFd)>>,
    /// An empty file system that cannot be written to, once one was needed.
    empty: OnceCell<OwnedFd>,
}

impl Root {
    /// The tree below the directory or mount `fd`.
    pub fn new(fd: OwnedFd) -> Self {
        Root {
            top: fd,
            kept: RefCell::default(),
            empty: OnceCell::new(),
        }
    }

    /// The tree's top directory.
    pub fn top(&self) -> &OwnedFd {
        &self.top
    }

    /// Remembers what has just been mounted at `path`, a file system of the type `magic` (statfs(2)). From
    /// now on paths below are looked up in it: somebody who writes to the tree meanwhile and puts another
    /// directory in its place cannot lead masks and devices away from it.
    pub fn keep(&self, path: &Path, magic: FsType) -> Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let name = path.strip_prefix("/").unwrap_or(path);
        let mounted = openat(&self.top, name, flags, Mode::empty());
        match mounted {
            Ok(mounted) if fstatfs(&mounted).is_ok_and(|is| is.filesystem_type() == magic) => {
                self.kept.borrow_mut().push((path.to_owned(), mounted));
                Ok(())
            }
            _ => bail!(
                "what was mounted at {} is not there: the tree is being changed",
                path.display()
            ),
        }
    }

    /// A mount of an empty file system that cannot be written to, attached nowhere yet. All of a container's are one
    /// file system: for each that there is on a machine, the end of each cgroup takes longer.
    pub fn nothing(&self) -> std::io::Result<OwnedFd> {
        let whole = OPEN_TREE_CLONE | AT_EMPTY_PATH as u32;
        if let Some(empty) = self.empty.get() {
            return sys::mounts::open_tree(empty.as_fd(), Path::new(""), whole);
        }
        let context = FsContext::open("tmpfs")?;
        context.set("source", Path::new("tmpfs"))?;
        context.set_flag("ro")?;
        let empty = context.mount(MOUNT_ATTR_RDONLY as u32)?;
        self.empty.get_or_init(|| empty).try_clone()
    }

    /// Opens `path` inside the tree with `O_PATH`; links are followed, but never out of the tree or
    /// through the magic links of `/proc`.
    pub fn find(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.open(path, OFlag::O_PATH)
    }

    /// Opens `path` inside the tree.
    pub fn open(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = |resolve| {
            OpenHow::new()
                .flags(flags | OFlag::O_CLOEXEC)
                .resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS)
        };
        for (at, mount) in self.kept.borrow().iter() {
            let Ok(rest) = path.strip_prefix(at) else {
                continue;
            };
            let rest = match rest.as_os_str().is_empty() {
                true => Path::new("."),
                false => rest,
            };
            let inside = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
            match openat2(mount, rest, how(inside)) {
                // A link, or "..", may lead to another part of the tree.
                Err(Errno::ELOOP | Errno::EXDEV) => (),
                opened => return opened,
            }
        }
        openat2(&self.top, path, how(ResolveFlag::RESOLVE_IN_ROOT))
    }

    /// Opens the directory `path`, making it and what is missing above it.
    pub fn make_directory(&self, path: &Path) -> Result<OwnedFd> {
        match self.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => (),
            other => {
                return other.with_context(|| format!("open the directory {}", path.display()));
            }
        }
        let (parent, name) = split(path)?;
        let parent = self.make_directory(parent)?;
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => (),
            Err(errno) => {
                return Err(errno)
                    .with_context(|| format!("make the directory {}", path.display()));
            }
        }
        self.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
            .with_context(|| format!("open the directory {}", path.display()))
    }

    /// Opens the file `path`, making it (empty) and the directories above it where they are missing.
    pub fn make_file(&self, path: &Path) -> Result<OwnedFd> {
        self.make_file_after(path, 0)
    }

    fn make_file_after(&self, path: &Path, depth: u32) -> Result<OwnedFd> {
        /// As in the kernel.
        const MOST_LINKS: u32 = 40;
        match self.find(path) {
            Err(Errno::ENOENT) => (),
            other => return other.with_context(|| format!("open {}", path.display())),
        }
        let (above, name) = split(path)?;
        let parent = self.make_directory(above)?;
        if let Ok(target) = readlinkat(&parent, name) {
            // It leads to nothing yet; inside the tree, wherever it points to.
            if depth == MOST_LINKS {
                bail!("too many symbolic links at {}", path.display());
            }
            return self.make_file_after(&above.join(target), depth + 1);
        }
        match mknodat(
            &parent,
            name,
            SFlag::S_IFREG,
            Mode::from_bits_truncate(0o644),
            0,
        ) {
            Ok(()) | Err(Errno::EEXIST) => (),
            Err(errno) => {
                return Err(errno).with_context(|| format!("make the file {}", path.display()));
            }
        }
        self.find(path)
            .with_context(|| format!("open {}", path.display()))
    }
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => bail!("{} names no file", path.display()),
    }
}
