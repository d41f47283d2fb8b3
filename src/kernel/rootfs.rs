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
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fstat};

use super::ids::Table;
use crate::lesson::{Lesson, Shell};
use crate::sys;

mod change;
mod propagation;
mod root;
mod stack;

pub use change::{Top, detach, exchange_is_better};
pub use propagation::{at_first, at_last};
pub use root::Root;
pub use stack::{Marks, id_mapped, read_only};

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
        /// Where the layers say what of a lower one is gone.
        marks: Marks,
    },
    /// Host: stack the layers, each shown with its owners translated by `ids`, and attach the tree nowhere.
    Stack {
        /// The read-only directories, the lowest first.
        lower: Vec<PathBuf>,
        /// The directory that takes the changes; its files belong to the container's numbers.
        upper: PathBuf,
        /// overlayfs's scratch directory, beside `upper`.
        work: PathBuf,
        /// Where Linux before 6.15, which stacks attached mounts only, gets them attached.
        at: PathBuf,
        /// The container's table.
        ids: Table,
    },
    /// Attach the tree that the host has stacked at a directory.
    Attach(PathBuf),
    /// Use a ready directory as the tree (OCI bundles).
    Directory(PathBuf),
    /// Make the tree the root of this mount namespace and let go of the host's.
    Pivot,
    /// The same where the machine has many processes: pivot_root(2) asks each of them whether its root is the old one.
    Exchange,
    /// The same where pivot_root(2) cannot be had, as on a ramdisk: put the tree on top of the host's root.
    MoveRoot,
    /// Make the tree the root of this process alone: where the container shares the host's mounts.
    Chroot,
    /// Allow reading only.
    ReadOnly,
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
            Step::Stack { .. } => Lesson {
                why: "the layers belong to the image's numbers; each is shown as a mount that translates them to the container's, and the stack is made of those",
                without: "the image's files would belong to nobody in the container, or a copy of the image to each container",
                man: "mount_setattr(2), \"ID-mapped mounts\"; Documentation/filesystems/overlayfs.rst",
            },
            Step::Attach(_) => Lesson {
                why: "what the host has stacked becomes part of the container's mount namespace, where pivot_root finds it",
                without: "the container would have no tree",
                man: "move_mount(2)",
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
            Step::Exchange => Lesson {
                why: "as pivot_root, but for this process only, which is alone in its mount namespace: pivot_root asks each process of the machine whether its root is the old one",
                without: "the start would take longer the more processes the machine has",
                man: "pivot_root(2), open_tree(2), setns(2)",
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
            Step::Stack { .. } => Shell::Note(format!(
                "{self}: util-linux 2.39: mount --bind -o X-mount.idmap=/proc/$lender/ns/user, then mount -t overlay"
            )),
            Step::Attach(at) => Shell::Note(format!("root={}: {self}", at.display())),
            Step::Overlay {
                lower,
                upper,
                work,
                at,
                marks,
            } => {
                let options = stack::options(lower, upper, work, *marks);
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
            // In a script the shorter way does as well.
            Step::Pivot | Step::Exchange => Shell::Perl(format!(
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
                marks,
            } => {
                let tree = match stack::stack(lower, upper, work, *marks) {
                    Err(Errno::EINVAL | Errno::ENOSYS) => {
                        stack::stack_with_mount(lower, upper, work, at, *marks)?;
                        return open_directory(at).map(Root::new);
                    }
                    other => other.with_context(|| format!("{self}"))?,
                };
                let at = open_directory(at)?;
                sys::mounts::move_mount(tree.as_fd(), at.as_fd())
                    .context("move_mount the overlay")?;
                Ok(Root::new(tree))
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
                open_directory(path).map(Root::new)
            }
            other => bail!("{other} makes no root"),
        }
    }

    /// Takes [`Step::Stack`]; the tree is for the child to attach. `lent` are the user namespaces that were made.
    pub fn take_stack(&self, lent: &[(Table, OwnedFd)]) -> Result<OwnedFd> {
        let Step::Stack {
            lower,
            upper,
            work,
            at,
            ids,
        } = self
        else {
            bail!("{self} stacks nothing");
        };
        let lender = lent.iter().find(|(table, _)| table == ids);
        let (_, lender) = lender.context("no user namespace to translate by")?;
        stack::stack_mapped(lower, upper, work, at, lender).with_context(|| self.to_string())
    }

    /// Takes [`Step::Attach`] of the tree `tree`.
    pub fn attach(&self, tree: OwnedFd) -> Result<Root> {
        let Step::Attach(at) = self else {
            bail!("{self} attaches nothing");
        };
        let at = open_directory(at)?;
        sys::mounts::move_mount(tree.as_fd(), at.as_fd()).context("move_mount the overlay")?;
        Ok(Root::new(tree))
    }

    /// Takes [`Step::Exchange`] of the tree `root`; what it is then.
    pub fn exchange(&self, root: &Root) -> Result<Root> {
        change::exchange(root)
            .map(Root::new)
            .with_context(|| self.to_string())
    }

    /// Takes the step, for those that do not make the tree.
    pub fn take(&self, root: &Root) -> Result<()> {
        match self {
            Step::Private(_) | Step::Overlay { .. } | Step::Directory(_) => Ok(()),
            Step::Stack { .. } | Step::Attach(_) | Step::Exchange => Ok(()),
            Step::Pivot => change::pivot(root),
            Step::MoveRoot => change::move_root(root),
            Step::Chroot => change::chroot(root),
            Step::ReadOnly => sys::mounts::mount_setattr(
                root.top().as_fd(),
                0,
                nix::libc::MOUNT_ATTR_RDONLY,
                0,
                0,
            )
            .context("mount_setattr the root"),
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
            Step::Stack { lower, upper, .. } => write!(
                f,
                "mount_setattr(MOUNT_ATTR_IDMAP) of {} layer{}, fsmount(\"overlay\", upperdir={})",
                lower.len(),
                if lower.len() == 1 { "" } else { "s" },
                upper.display()
            ),
            Step::Attach(at) => write!(f, "move_mount(the overlay, {at:?})"),
            Step::Directory(path) => write!(f, "mount({path:?}, {path:?}, NULL, MS_BIND|MS_REC)"),
            Step::Pivot => write!(f, "pivot_root(\".\", \".\"), umount2(\".\", MNT_DETACH)"),
            Step::Exchange => write!(
                f,
                "open_tree(\".\", OPEN_TREE_CLONE|AT_RECURSIVE), umount2(\"/\", MNT_DETACH), setns(\"/proc/self/ns/mnt\"), move_mount(the tree, \"/\"), chroot(\".\")"
            ),
            Step::MoveRoot => write!(f, "mount(\".\", \"/\", NULL, MS_MOVE), chroot(\".\")"),
            Step::Chroot => write!(f, "chroot(\".\")"),
            Step::ReadOnly => write!(f, "mount_setattr(\"/\", MOUNT_ATTR_RDONLY)"),
        }
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    openat(
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
