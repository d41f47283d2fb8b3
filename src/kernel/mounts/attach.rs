//! The system calls: each target is opened inside the container's tree, each mount attached to what was opened.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};

use super::{Access, Recursive, Scope};
use crate::kernel::rootfs::{Root, is_directory, path_of};
use crate::sys;

/// Where a container has its sysfs.
pub const SYS: &str = "/sys";

/// What mount(2) calls so, as mount_setattr(2) has it.
const ATTRIBUTES: [(MsFlags, u64); 4] = [
    (MsFlags::MS_RDONLY, nix::libc::MOUNT_ATTR_RDONLY),
    (MsFlags::MS_NOSUID, nix::libc::MOUNT_ATTR_NOSUID),
    (MsFlags::MS_NODEV, nix::libc::MOUNT_ATTR_NODEV),
    (MsFlags::MS_NOEXEC, nix::libc::MOUNT_ATTR_NOEXEC),
];

/// The kernel's own file systems go to real directories only: a link at `/proc` would put the masks
/// that follow somewhere else (CVE-2019-19921, CVE-2026-41579).
pub(super) fn filesystem_target(root: &Root, kind: &str, target: &Path) -> Result<OwnedFd> {
    if kind != "tmpfs" || target == Path::new("/dev") {
        let name = target.strip_prefix("/").unwrap_or(target);
        if name.components().count() == 1 {
            match nix::fcntl::openat(
                root.top(),
                name,
                OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                nix::sys::stat::Mode::empty(),
            ) {
                Ok(found) if is_directory(&found)? => return Ok(found),
                // runc's words, which engines and tests know.
                Ok(_) => bail!(
                    "filesystem {kind:?} must be mounted on ordinary directory: {} is none in the image",
                    target.display()
                ),
                Err(_) => (),
            }
        }
    }
    root.make_directory(target)
}

/// Mounts a file system of the kernel's at `at`.
pub(super) fn filesystem(
    at: &OwnedFd,
    kind: &str,
    source: &str,
    flags: MsFlags,
    data: &str,
) -> nix::Result<()> {
    let with = |data: &str| mount(Some(source), &path_of(at), Some(kind), flags, Some(data));
    match with(data) {
        // An ordinary user's namespace may have one group only: the terminals are that one's then.
        Err(Errno::EINVAL) if kind == "devpts" => {
            let words = data.split(',').filter(|word| !word.starts_with("gid="));
            with(&words.collect::<Vec<_>>().join(","))
        }
        mounted => mounted,
    }
}

/// Makes a file system that shows the network namespace which the thread is in, mounted nowhere yet, for a container's
/// [`SYS`].  sysfs(5)
///
/// # Errors
/// fsopen(2) or fsconfig(2) fails: Linux before 5.2 has neither.
pub fn sysfs(access: Access) -> std::io::Result<OwnedFd> {
    let context = sys::mounts::FsContext::open("sysfs")?;
    context.set("source", Path::new("sysfs"))?;
    if access == Access::ReadOnly {
        context.set_flag("ro")?;
    }
    context.create()
}

/// Mounts the file system of `context`, which is ready, at `at`.
pub(super) fn ready(context: &OwnedFd, at: &OwnedFd, flags: MsFlags) -> nix::Result<()> {
    let attributes = ATTRIBUTES.iter().filter(|(flag, _)| flags.contains(*flag));
    let attributes = attributes.fold(0, |all, (_, attribute)| all | attribute);
    sys::mounts::fsmount(context.as_fd(), attributes as u32)
        .and_then(|tree| sys::mounts::move_mount(tree.as_fd(), at.as_fd()))
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
}

/// The same for the container's cgroups where the host's are mounted already, as below a `/sys` that is a bind mount
/// of the host's: the kernel mounts nothing over itself, so a small tmpfs comes in between.
pub(super) fn cgroup_over_another(
    root: &Root,
    target: &Path,
    source: &str,
    flags: MsFlags,
) -> Result<()> {
    let at = root.make_directory(target)?;
    let flags_between = flags - MsFlags::MS_RDONLY;
    filesystem(&at, "tmpfs", "tmpfs", flags_between, "mode=755,size=4k")?;
    let at = root.make_directory(target)?;
    Ok(filesystem(&at, "cgroup2", source, flags, "")?)
}

/// Keeps the kernel's own file systems in reach by what was mounted, not by name (see [`Root::keep`]).
pub(super) fn keep(root: &Root, kind: &str, target: &Path) -> Result<()> {
    use nix::sys::statfs;
    match (kind, target.to_str()) {
        ("proc", Some("/proc")) => root.keep(target, statfs::PROC_SUPER_MAGIC),
        ("sysfs", Some("/sys")) => root.keep(target, statfs::SYSFS_MAGIC),
        ("tmpfs", Some("/dev")) => root.keep(target, statfs::TMPFS_MAGIC),
        _ => Ok(()),
    }
}

/// A copy of the mount at `source`, attached nowhere yet.
pub(super) fn source(source: &Path, scope: Scope) -> Result<OwnedFd> {
    let flags = nix::libc::OPEN_TREE_CLONE | below(scope) as u32;
    let tree = match (
        sys::mounts::open_tree(AT_FDCWD, source, flags),
        in_tree_of(source),
    ) {
        (Err(error), Some((pid, path))) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
            of_another(pid, &path, flags)
        }
        (tree, _) => tree.map_err(anyhow::Error::from),
    };
    tree.with_context(|| format!("bind source path does not exist: {}", source.display()))
}

/// The process, and the path in its tree, that a path below a process's `root` in `/proc` names.
pub(super) fn in_tree_of(source: &Path) -> Option<(i32, PathBuf)> {
    let mut parts = source.strip_prefix("/proc").ok()?.components();
    let pid = parts.next()?.as_os_str().to_str()?.parse().ok()?;
    let root = parts.next()?.as_os_str() == "root";
    root.then(|| (pid, Path::new("/").join(parts.as_path())))
}

/// A copy of the mount that the process `pid` sees at `path`: a mount can be copied in its own mount namespace only, so
/// that one is entered for the moment. Whatever lies at `path` there, it is nothing that this process could not see.
fn of_another(pid: i32, path: &Path, flags: u32) -> Result<OwnedFd> {
    let open = |file: String| File::open(&file).with_context(|| format!("open {file}"));
    let own = open("/proc/self/ns/mnt".into())?;
    let theirs = open(format!("/proc/{pid}/ns/mnt"))?;
    setns(theirs, CloneFlags::CLONE_NEWNS).context("setns(CLONE_NEWNS)")?;
    let tree = sys::mounts::open_tree(AT_FDCWD, path, flags);
    setns(own, CloneFlags::CLONE_NEWNS).context("setns(CLONE_NEWNS), back")?;
    Ok(tree?)
}

/// Gives the tree its attributes while nobody can see it. Only the mounts' own change: a source that is
/// read-only stays so.
pub(super) fn set(
    tree: &OwnedFd,
    scope: Scope,
    attributes: u64,
    recursive: Recursive,
    propagation: MsFlags,
) -> Result<()> {
    if attributes != 0 {
        sys::mounts::mount_setattr(tree.as_fd(), 0, attributes, whole_atime(attributes), 0)
            .context("mount_setattr")?;
    }
    if recursive != Recursive::default() || !propagation.is_empty() {
        let Recursive { set, clear } = recursive;
        let clear = clear | whole_atime(set | clear);
        let flags = below(scope);
        sys::mounts::mount_setattr(tree.as_fd(), flags, set, clear, propagation.bits())
            .context("mount_setattr")?;
    }
    Ok(())
}

/// Times of access are one setting of several bits, which the kernel changes as a whole only.
fn whole_atime(attributes: u64) -> u64 {
    match attributes & nix::libc::MOUNT_ATTR__ATIME {
        0 => 0,
        _ => nix::libc::MOUNT_ATTR__ATIME,
    }
}

fn below(scope: Scope) -> i32 {
    match scope {
        Scope::Recursive => nix::libc::AT_RECURSIVE,
        Scope::Single => 0,
    }
}

/// Attaches the tree at `target`, which is made where it is missing.
pub(super) fn bind(root: &Root, tree: &OwnedFd, target: &Path) -> Result<()> {
    let at = if is_directory(tree)? {
        root.make_directory(target)?
    } else {
        root.make_file(target)?
    };
    sys::mounts::move_mount(tree.as_fd(), at.as_fd()).context("move_mount")
}

/// A tmpfs at `target` with what was there.
pub(super) fn copy_up(root: &Root, target: &Path, flags: MsFlags, data: &str) -> Result<()> {
    let hidden = root.make_directory(target)?;
    // Written to before it is made read-only.
    let tmpfs = Some("tmpfs");
    let writable = flags - MsFlags::MS_RDONLY;
    mount(tmpfs, &path_of(&hidden), tmpfs, writable, Some(data)).context("mount the tmpfs")?;
    let top = root.make_directory(target)?;
    super::copy::tree(&hidden, &top)?;
    if flags.contains(MsFlags::MS_RDONLY) {
        let read_only = nix::libc::MOUNT_ATTR_RDONLY;
        sys::mounts::mount_setattr(top.as_fd(), 0, read_only, 0, 0).context("mount_setattr")?;
    }
    Ok(())
}

/// What is at `path`; a kernel that lacks it needs no mask. Whatever else goes wrong is not passed over.
fn existing(root: &Root, path: &Path) -> Result<Option<OwnedFd>> {
    match root.find(path) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Hides the directory `at` behind an empty one.
fn mask_directory(root: &Root, at: &OwnedFd) -> Result<()> {
    let attached = root
        .nothing()
        .and_then(|nothing| sys::mounts::move_mount(nothing.as_fd(), at.as_fd()));
    match attached {
        // Linux before 5.2.
        Err(error) if error.raw_os_error() == Some(Errno::ENOSYS as i32) => {
            let (none, read_only) = (None::<&str>, MsFlags::MS_RDONLY);
            Ok(mount(
                Some("tmpfs"),
                &path_of(at),
                Some("tmpfs"),
                read_only,
                none,
            )?)
        }
        attached => Ok(attached?),
    }
}

pub(super) fn mask(root: &Root, path: &Path) -> Result<()> {
    let Some(at) = existing(root, path)? else {
        return Ok(());
    };
    if is_directory(&at)? {
        return mask_directory(root, &at);
    }
    // The host's /dev/null, checked to be it: an image's could be anything (CVE-2025-31133).
    let null = nix::fcntl::openat(
        AT_FDCWD,
        "/dev/null",
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    let status = nix::sys::stat::fstat(&null)?;
    let is_device = status.st_mode & nix::libc::S_IFMT == nix::libc::S_IFCHR;
    if !is_device || status.st_rdev != nix::sys::stat::makedev(1, 3) {
        bail!("the host's /dev/null is not the null device");
    }
    let tree = sys::mounts::open_tree(
        null.as_fd(),
        Path::new(""),
        nix::libc::OPEN_TREE_CLONE | nix::libc::AT_EMPTY_PATH as u32,
    )?;
    Ok(sys::mounts::move_mount(tree.as_fd(), at.as_fd())?)
}

/// `/proc/self/fd` leads to the uppermost mount at `target`, and not to the directory below it.
pub(super) fn propagation(root: &Root, target: &Path, flags: MsFlags) -> Result<()> {
    let none: Option<&str> = None;
    let at = root.find(target)?;
    Ok(mount(none, &path_of(&at), none, flags, none)?)
}

/// What `find` gives is in the uppermost mount at `target`: its root.
pub(super) fn seal(root: &Root, target: &Path) -> anyhow::Result<()> {
    let at = root.find(target)?;
    sys::mounts::mount_setattr(at.as_fd(), 0, nix::libc::MOUNT_ATTR_RDONLY, 0, 0)?;
    Ok(())
}

pub(super) fn read_only(root: &Root, path: &Path) -> Result<()> {
    let Some(at) = existing(root, path)? else {
        return Ok(());
    };
    let flags = nix::libc::OPEN_TREE_CLONE
        | nix::libc::AT_EMPTY_PATH as u32
        | nix::libc::AT_RECURSIVE as u32;
    let tree = sys::mounts::open_tree(at.as_fd(), Path::new(""), flags)?;
    sys::mounts::mount_setattr(
        tree.as_fd(),
        nix::libc::AT_RECURSIVE,
        nix::libc::MOUNT_ATTR_RDONLY,
        0,
        0,
    )?;
    Ok(sys::mounts::move_mount(tree.as_fd(), at.as_fd())?)
}
