//! The root file system: layers stacked by overlayfs, and the change of the root.  overlayfs, pivot_root(2)
//!
//! An image is a stack of read-only directories. overlayfs shows them as one tree and puts every
//! change into one more directory, the container's own. The tree is mounted in the container's mount
//! namespace only, so the host never sees it and nothing stays mounted when the container ends.
//!
//! Until the pivot all paths of the container are opened relative to [`Root`] with openat2(2): a
//! symbolic link of the image can lead anywhere inside, and nowhere outside.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat, mknodat};

use crate::lesson::{Lesson, Shell};
use crate::sys::{self, FsContext};

mod change;
mod propagation;

pub use change::{Top, detach};
pub use propagation::{at_first, at_last};

/// What can be done about the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Keep what is mounted from now on out of the host's sight.
    Private(MsFlags),
    /// Stack the layers and attach the tree at a directory.
    Overlay {
        /// The read-only directories, the lowest first.
        lower: Vec<PathBuf>,
        /// The directory that takes the changes.
        upper: PathBuf,
        /// overlayfs's scratch directory, beside `upper`.
        work: PathBuf,
        /// Where the tree is attached.
        at: PathBuf,
    },
    /// Use a ready directory as the tree (OCI bundles).
    Directory(PathBuf),
    /// Make the tree the root of this mount namespace and let go of the host's.
    Pivot,
    /// The same where pivot_root(2) cannot be had, as on a ramdisk: put the tree on top of the host's root.
    MoveRoot,
    /// Make the tree the root of this process alone: where the container shares the host's mounts.
    Chroot,
    /// Allow reading only.
    ReadOnly,
}

/// The container's tree before the pivot: every path is resolved inside it.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// The tree below the directory or mount `fd`.
    pub fn new(fd: OwnedFd) -> Self {
        Root(fd)
    }

    /// The tree's top directory.
    pub fn top(&self) -> &OwnedFd {
        &self.0
    }

    /// Opens `path` inside the tree with `O_PATH`; links are followed, but never out of the tree or
    /// through the magic links of `/proc`.
    pub fn find(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.open(path, OFlag::O_PATH)
    }

    /// Opens `path` inside the tree.
    pub fn open(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.0, path, how)
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
        match self.find(path) {
            Err(Errno::ENOENT) => (),
            other => return other.with_context(|| format!("open {}", path.display())),
        }
        let (parent, name) = split(path)?;
        let parent = self.make_directory(parent)?;
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

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Private(_) => Lesson {
                why: "the new mount namespace starts as a copy of the host's mounts, which still pass mounts on \
                      to each other until this is switched off",
                without: "the container's mounts would appear on the host, and stay there",
                man: "mount_namespaces(7), SHARED SUBTREES",
            },
            Step::Overlay { .. } => Lesson {
                why: "the image's layers are shared by all containers and must not change: overlayfs shows them as \
                      one tree and writes changes into the container's own directory",
                without: "every container would need a full copy of the image",
                man: "Documentation/filesystems/overlayfs.rst",
            },
            Step::Directory(_) => Lesson {
                why: "pivot_root needs the new root to be a mount of its own, which a bind mount makes of a directory",
                without: "pivot_root would fail with EINVAL",
                man: "pivot_root(2)",
            },
            Step::Pivot => Lesson {
                why: "the tree becomes the root of the mount namespace, and the host's root is unmounted from it",
                without: "the host's files would still be reachable: chroot alone can be left again",
                man: "pivot_root(2)",
            },
            Step::MoveRoot => Lesson {
                why: "the first root of a machine, a ramdisk, cannot be exchanged by pivot_root; moving a mount over it hides it",
                without: "pivot_root would fail with EINVAL",
                man: "mount(2), MS_MOVE; chroot(2)",
            },
            Step::Chroot => Lesson {
                why: "a container that shares the host's mounts cannot exchange their root, only its own view of it",
                without: "the program would start in the host's root",
                man: "chroot(2)",
            },
            Step::ReadOnly => Lesson {
                why: "--read-only: the program can write into volumes and tmpfs only",
                without: "the program could change its own image's files (in its own layer)",
                man: "mount_setattr(2)",
            },
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        match self {
            Step::Private(flags) if flags.contains(MsFlags::MS_SLAVE) => {
                Shell::Bash("mount --make-rslave /".into())
            }
            Step::Private(flags) if !flags.contains(MsFlags::MS_PRIVATE) => {
                Shell::Note(format!("{self}: mount --make-shared /, after the pivot"))
            }
            Step::Private(_) => Shell::Bash("mount --make-rprivate /".into()),
            Step::Overlay {
                lower,
                upper,
                work,
                at,
            } => {
                // mount(8) wants the topmost layer first.
                let lower: Vec<_> = lower
                    .iter()
                    .rev()
                    .map(|dir| dir.to_string_lossy())
                    .collect();
                let options = format!(
                    "lowerdir={},upperdir={},workdir={}",
                    lower.join(":"),
                    upper.display(),
                    work.display()
                );
                Shell::Bash(format!(
                    "root={at}\nmount -t overlay overlay -o {} \"$root\"",
                    Shell::quote(&options),
                    at = Shell::quote(&at.to_string_lossy())
                ))
            }
            Step::Directory(path) => Shell::Bash(format!(
                "root={path}\nmount --rbind \"$root\" \"$root\"",
                path = Shell::quote(&path.to_string_lossy())
            )),
            Step::Pivot => Shell::Perl(format!(
                "sys pivot_root => {}, \".\", \".\";\nsys umount2 => {}, \".\", 2;  # MNT_DETACH\nchdir '/';",
                nix::libc::SYS_pivot_root,
                nix::libc::SYS_umount2
            )),
            Step::MoveRoot => Shell::Note(format!("{self}: mount --move \"$root\" /; chroot .")),
            Step::Chroot => Shell::Perl("chroot '.'; chdir '/';".into()),
            Step::ReadOnly => Shell::Bash("mount -o remount,bind,ro \"$root\"".into()),
        }
    }

    /// Makes the tree: for [`Step::Overlay`] and [`Step::Directory`].
    pub fn make_root(&self) -> Result<Root> {
        match self {
            Step::Overlay {
                lower,
                upper,
                work,
                at,
            } => {
                let tree = match stack(lower, upper, work) {
                    Err(Errno::EINVAL | Errno::ENOSYS) => {
                        stack_with_mount(lower, upper, work, at)?;
                        return open_directory(at).map(Root);
                    }
                    other => other.with_context(|| format!("{self}"))?,
                };
                let at = open_directory(at)?;
                sys::move_mount(tree.as_fd(), at.as_fd()).context("move_mount the overlay")?;
                Ok(Root(tree))
            }
            Step::Directory(path) => {
                let none: Option<&str> = None;
                mount(
                    Some(path),
                    path,
                    none,
                    MsFlags::MS_BIND | MsFlags::MS_REC,
                    none,
                )
                .with_context(|| format!("{self}"))?;
                open_directory(path).map(Root)
            }
            other => bail!("{other} makes no root"),
        }
    }

    /// Takes the step, for those that do not make the tree.
    pub fn take(&self, root: &Root) -> Result<()> {
        match self {
            Step::Private(_) | Step::Overlay { .. } | Step::Directory(_) => Ok(()),
            Step::Pivot => change::pivot(root),
            Step::MoveRoot => change::move_root(root),
            Step::Chroot => change::chroot(root),
            Step::ReadOnly => {
                sys::mount_setattr(root.0.as_fd(), 0, nix::libc::MOUNT_ATTR_RDONLY, 0, 0)
                    .context("mount_setattr the root")
            }
        }
    }

    /// Takes [`Step::Private`], which comes before there is a tree.
    pub fn take_first(&self) -> Result<()> {
        let none: Option<&str> = None;
        match self {
            Step::Private(flags) => {
                mount(none, "/", none, *flags, none).with_context(|| format!("{self}"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Private(flags) if flags.contains(MsFlags::MS_SLAVE) => {
                write!(f, "mount(NULL, \"/\", NULL, MS_REC|MS_SLAVE)")
            }
            Step::Private(flags) if !flags.contains(MsFlags::MS_PRIVATE) => {
                write!(f, "mount(NULL, \"/\", NULL, {:#x})", flags.bits())
            }
            Step::Private(_) => write!(f, "mount(NULL, \"/\", NULL, MS_REC|MS_PRIVATE)"),
            Step::Overlay {
                lower, upper, at, ..
            } => write!(
                f,
                "mount(\"overlay\", {at:?}, \"overlay\", {} layer{}, upperdir={})",
                lower.len(),
                if lower.len() == 1 { "" } else { "s" },
                upper.display()
            ),
            Step::Directory(path) => write!(f, "mount({path:?}, {path:?}, NULL, MS_BIND|MS_REC)"),
            Step::Pivot => write!(f, "pivot_root(\".\", \".\"), umount2(\".\", MNT_DETACH)"),
            Step::MoveRoot => write!(f, "mount(\".\", \"/\", NULL, MS_MOVE), chroot(\".\")"),
            Step::Chroot => write!(f, "chroot(\".\")"),
            Step::ReadOnly => write!(f, "mount_setattr(\"/\", MOUNT_ATTR_RDONLY)"),
        }
    }
}

/// The new way (fsopen, fsconfig, fsmount): each layer is a parameter of its own, so their number is
/// not limited by the page that mount(2) has for all options; `lowerdir+` needs Linux 6.5.
fn stack(lower: &[PathBuf], upper: &Path, work: &Path) -> nix::Result<OwnedFd> {
    let build = || -> std::io::Result<OwnedFd> {
        let overlay = FsContext::open("overlay")?;
        // What mountinfo shows as the source; the kernel takes no notice.
        overlay.set("source", Path::new("overlay"))?;
        for layer in lower.iter().rev() {
            overlay.set("lowerdir+", layer)?;
        }
        overlay.set("upperdir", upper)?;
        overlay.set("workdir", work)?;
        overlay.mount(0)
    };
    build().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EINVAL)))
}

/// The old way, for kernels before 6.5: all options in one string of at most a page.
fn stack_with_mount(lower: &[PathBuf], upper: &Path, work: &Path, at: &Path) -> Result<()> {
    let lower: Vec<_> = lower
        .iter()
        .rev()
        .map(|dir| dir.to_string_lossy())
        .collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        upper.display(),
        work.display()
    );
    if options.len() >= 4096 {
        bail!(
            "the image has {} layers, more than mount(2) can name; Linux 6.5 lifts this limit",
            lower.len()
        );
    }
    mount(
        Some("overlay"),
        at,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .with_context(|| {
        format!(
            "mount the overlay of {} layers at {}",
            lower.len(),
            at.display()
        )
    })
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    nix::fcntl::openat(
        AT_FDCWD,
        path,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .with_context(|| format!("open the directory {}", path.display()))
}

/// A path by which mount(2) finds exactly what `fd` refers to.
pub fn path_of(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Tells whether `fd` refers to a directory.
pub fn is_directory(fd: &OwnedFd) -> Result<bool> {
    let status = fstat(fd).context("fstat")?;
    Ok(status.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR)
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => bail!("{} names no file", path.display()),
    }
}
