//! Devices: the few files in `/dev` that every program expects.  mknod(2), null(4), random(4)
//!
//! A device node is a name for a pair of numbers: whoever opens it talks to the driver with these numbers,
//! wherever the node lies. So the container gets a `/dev` of its own with harmless nodes in it, and the
//! cgroup's device list refuses all others, even where the program can make nodes itself (see
//! [`crate::kernel::cgroups::devices`]).
//!
//! The steps take the container's `/dev` as a file descriptor. An image may have a symbolic link there;
//! by path, the nodes would be made on the host (CVE-2026-41579).

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, fchmodat, fstat, fstatat, makedev, mkdirat, mknodat,
};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};

use crate::lesson::{Lesson, Shell};
use crate::sys;

pub mod disk;
mod mapping;

pub use mapping::Mapping;

/// One file in the container's `/dev`. Paths are relative to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A device node or FIFO.
    Node {
        /// Its name, as `null` or `net/tun`.
        path: PathBuf,
        /// Character device, block device or FIFO.
        kind: LinuxDeviceType,
        /// The driver's number.
        major: u64,
        /// The device's number at its driver.
        minor: u64,
        /// Permission bits, whatever the umask.
        mode: u32,
        /// Owner and group.
        owner: (u32, u32),
    },
    /// A symbolic link.
    Link {
        /// Its name.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
}

/// The default nodes and links, and those of `linux.devices`; an entry there replaces a default one of the
/// same name. `/dev/console` belongs to the terminal.
///
/// # Errors
/// A device that is not to be below `/dev`.
pub fn plan(spec: &Spec) -> Result<Vec<Step>> {
    let linux = spec.linux().as_ref();
    let asked = linux
        .and_then(|linux| linux.devices().as_ref())
        .into_iter()
        .flatten();
    let asked: Vec<Step> = asked.map(node).collect::<Result<_>>()?;
    let mut steps = default_steps();
    steps.retain(|step| !asked.iter().any(|more| more.path() == step.path()));
    steps.extend(asked);
    Ok(steps)
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Node { .. } => Lesson {
                why: "programs expect a few harmless devices; only these, not the host's disks, lie in the container's /dev",
                without: "a shell could not even redirect to /dev/null, and nothing could make keys without /dev/urandom",
                man: "mknod(2), null(4), random(4), full(4)",
            },
            Step::Link { .. } => Lesson {
                why: "these names are links into /proc and /dev/pts, so that each program finds its own file descriptors and terminals",
                without: "`< /dev/stdin`, bash's `<(..)` and openpty(3) would fail",
                man: "proc_pid_fd(5), pts(4)",
            },
        }
    }

    /// The same as bash.
    pub fn shell(&self) -> Shell {
        let quote = |path: &Path| Shell::quote(&path.to_string_lossy());
        Shell::Bash(match self {
            Step::Node {
                path,
                kind,
                major,
                minor,
                mode,
                owner: (uid, gid),
            } => {
                let at = quote(path);
                let numbers = if *kind == LinuxDeviceType::P {
                    String::new()
                } else {
                    format!(" {major} {minor}")
                };
                let mut lines = format!(
                    "mknod -m {mode:o} \"$root\"/dev/{at} {}{numbers}",
                    kind.as_str()
                );
                if let Some(parent) = path.parent().filter(|p| *p != Path::new("")) {
                    lines.insert_str(0, &format!("mkdir -p \"$root\"/dev/{}\n", quote(parent)));
                }
                if (*uid, *gid) != (0, 0) {
                    lines.push_str(&format!("\nchown {uid}:{gid} \"$root\"/dev/{at}"));
                }
                lines
            }
            Step::Link { path, target } => {
                format!("ln -s {} \"$root\"/dev/{}", quote(target), quote(path))
            }
        })
    }

    /// Makes the file below the container's `/dev`. Nothing takes it back: it dies with the mount.
    ///
    /// # Errors
    /// Those of mknodat(2) and symlinkat(2); a name that exists as something else is one.
    pub fn take(&self, dev: BorrowedFd<'_>) -> Result<()> {
        match self {
            Step::Node {
                path,
                kind,
                major,
                minor,
                mode,
                owner,
            } => {
                let type_flag = match kind {
                    LinuxDeviceType::B => SFlag::S_IFBLK,
                    LinuxDeviceType::P => SFlag::S_IFIFO,
                    LinuxDeviceType::A | LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
                };
                let bits = Mode::from_bits_truncate(*mode);
                at_parent(dev, path, |parent, name| {
                    let number = makedev(*major, *minor);
                    match mknodat(parent, name, type_flag, bits, number) {
                        // In a user namespace nobody makes devices, but the host's own can be shown.
                        Err(Errno::EPERM) => return show_hosts(parent, name, path, number),
                        // An image's own /dev may have it already.
                        Err(Errno::EEXIST) if is_same(parent, name, type_flag, number) => {
                            return Ok(());
                        }
                        made => made?,
                    }
                    // mknod(2) takes the umask's bits away.
                    fchmodat(parent, name, bits, FchmodatFlags::FollowSymlink)?;
                    if *owner != (0, 0) {
                        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
                        fchownat(
                            parent,
                            name,
                            Some(uid),
                            Some(gid),
                            AtFlags::AT_SYMLINK_NOFOLLOW,
                        )?;
                    }
                    Ok(())
                })
            }
            Step::Link { path, target } => at_parent(dev, path, |parent, name| {
                match symlinkat(target, parent, name) {
                    Err(Errno::EEXIST)
                        if readlinkat(parent, name).is_ok_and(|is| is == *target) =>
                    {
                        Ok(())
                    }
                    made => made,
                }
            }),
        }
        .with_context(|| self.to_string())
    }

    fn path(&self) -> &Path {
        match self {
            Step::Node { path, .. } | Step::Link { path, .. } => path,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Node {
                path,
                kind,
                major,
                minor,
                mode,
                ..
            } => {
                let flag = match kind {
                    LinuxDeviceType::B => "S_IFBLK",
                    LinuxDeviceType::P => "S_IFIFO",
                    _ => "S_IFCHR",
                };
                write!(
                    f,
                    "mknodat(/dev, {path:?}, {flag}|0{mode:o}, makedev({major:#x}, {minor:#x}))"
                )
            }
            Step::Link { path, target } => write!(f, "symlinkat({target:?}, /dev, {path:?})"),
        }
    }
}

/// The nodes and links of the OCI specification ("Default Devices", "Dev symbolic links").
fn default_steps() -> Vec<Step> {
    let nodes = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    let nodes = nodes.map(|(name, major, minor)| Step::Node {
        path: name.into(),
        kind: LinuxDeviceType::C,
        major,
        minor,
        mode: 0o666,
        owner: (0, 0),
    });
    let links = links.map(|(name, target)| Step::Link {
        path: name.into(),
        target: target.into(),
    });
    nodes.into_iter().chain(links).collect()
}

fn node(device: &LinuxDevice) -> Result<Step> {
    let path = device.path().strip_prefix("/dev");
    let plain = |path: &&Path| {
        path.components().count() > 0
            && path.components().all(|c| matches!(c, Component::Normal(_)))
    };
    let Some(path) = path.ok().filter(plain) else {
        bail!(
            "device {:?}: only devices below /dev can be made",
            device.path()
        );
    };
    Ok(Step::Node {
        path: path.to_owned(),
        kind: device.typ(),
        major: u64::try_from(device.major()).unwrap_or(0),
        minor: u64::try_from(device.minor()).unwrap_or(0),
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
    })
}

/// Is there such a node already?
fn is_same(parent: BorrowedFd<'_>, name: &Path, kind: SFlag, number: u64) -> bool {
    let status = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    status.is_ok_and(|status| {
        let same_kind = status.st_mode & SFlag::S_IFMT.bits() == kind.bits();
        same_kind && (kind == SFlag::S_IFIFO || status.st_rdev == number)
    })
}

/// Binds the host's node of the same path and number over an empty file.
fn show_hosts(parent: BorrowedFd<'_>, name: &Path, path: &Path, number: u64) -> nix::Result<()> {
    let host = Path::new("/dev").join(path);
    let node = openat(
        AT_FDCWD,
        &host,
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    if fstat(&node)?.st_rdev != number {
        return Err(Errno::EPERM);
    }
    let mode = Mode::from_bits_truncate(0o644);
    match mknodat(parent, name, SFlag::S_IFREG, mode, 0) {
        Ok(()) | Err(Errno::EEXIST) => (),
        Err(errno) => return Err(errno),
    }
    let at = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let at = openat(parent, name, at, Mode::empty())?;
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let flags = libc::OPEN_TREE_CLONE | libc::AT_EMPTY_PATH as u32;
    let tree = sys::mounts::open_tree(node.as_fd(), Path::new(""), flags).map_err(errno)?;
    sys::mounts::move_mount(tree.as_fd(), at.as_fd()).map_err(errno)
}

/// Calls `make` with the directory that `path` lies in, which is made where it is missing, and the last
/// part of `path`. No symbolic link is followed.
fn at_parent(
    dev: BorrowedFd<'_>,
    path: &Path,
    make: impl FnOnce(BorrowedFd<'_>, &Path) -> nix::Result<()>,
) -> nix::Result<()> {
    let name = Path::new(path.file_name().ok_or(Errno::EINVAL)?);
    let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) else {
        return make(dev, name);
    };
    let mut at = dev.try_clone_to_owned().map_err(|_| Errno::EMFILE)?;
    for part in parent.iter() {
        let part = Path::new(part);
        match mkdirat(&at, part, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        at = openat2(&at, part, how)?;
    }
    make(at.as_fd(), name)
}

#[cfg(test)]
mod tests;
