//! The change of the root, four ways, and its end where the host sees it.  pivot_root(2), chroot(2), umount2(2)

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::sysinfo::sysinfo;
use serde::{Deserialize, Serialize};

use super::{Root, open_directory};
use crate::sys;

/// `pivot_root(".", ".")` puts the old root on top of the new one, so no directory for it is needed;
/// it is then unmounted through the descriptor that was opened before.
pub(super) fn pivot(root: &Root) -> Result<()> {
    let old = open_directory(Path::new("/"))?;
    nix::unistd::fchdir(root.top()).context("fchdir to the new root")?;
    nix::unistd::pivot_root(".", ".").context("pivot_root")?;
    nix::unistd::fchdir(&old).context("fchdir to the old root")?;
    umount2(".", MntFlags::MNT_DETACH).context("umount2 the old root")?;
    nix::unistd::chdir("/").context("chdir to the new root")
}

/// From so many processes and threads on the machine on, [`exchange`] is quicker than pivot_root(2), which looks at each
/// (0.4 µs) to move it if its root is the old one.
const MANY: u16 = 256;

/// The inode of the first user namespace, that of the machine: `USER_NS_INIT_INO` of linux/nsfs.h.
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Whether a change of the root without pivot_root(2) is quicker on this machine now, and can be: mounts that came into
/// a user namespace from outside are locked there, and cannot be unmounted (mount_namespaces(7)).
pub fn exchange_is_better() -> bool {
    sysinfo().is_ok_and(|machine| machine.process_count() > MANY)
        && nix::sys::stat::stat("/proc/self/ns/user")
            .is_ok_and(|status| status.st_ino == FIRST_USER_NAMESPACE)
}

/// What pivot_root(2) and the unmounting of the old root come to, for this process alone, which must be the only one in
/// its mount namespace.
///
/// Below each mount namespace's root there is one more, empty file system, the kernel's first, which nothing can unmount;
/// pivot_root puts the new root on that one in the old one's place. So does this: the tree is copied (its mounts, no
/// files), the host's root is unmounted with all below it, and the copy goes where that was. setns(2) into the own mount
/// namespace leads to the uppermost root that is left, where no path leads from the old one.
///
/// Nothing of this may travel to the host, so all is private before anything is unmounted: below a volume that is
/// shared with the host, its own mounts would go on the host, too. The copy, which is returned, keeps what it shares.
pub(super) fn exchange(root: &Root) -> Result<OwnedFd> {
    let own = File::open("/proc/self/ns/mnt").context("open the own mount namespace")?;
    let whole = nix::libc::AT_EMPTY_PATH | nix::libc::AT_RECURSIVE;
    let flags = nix::libc::OPEN_TREE_CLONE | whole as u32;
    let tree =
        sys::mounts::open_tree(root.top().as_fd(), Path::new(""), flags).context("open_tree")?;
    make_private()?;
    umount2("/", MntFlags::MNT_DETACH).context("umount2 the old root")?;
    nix::sched::setns(own, CloneFlags::CLONE_NEWNS)
        .context("setns into the own mount namespace")?;
    make_private()?;
    let below = open_directory(Path::new("/"))?;
    sys::mounts::move_mount(tree.as_fd(), below.as_fd()).context("move_mount the new root")?;
    nix::unistd::fchdir(&tree).context("fchdir to the new root")?;
    nix::unistd::chroot(".").context("chroot")?;
    nix::unistd::chdir("/").context("chdir to the new root")?;
    Ok(tree)
}

fn make_private() -> Result<()> {
    let (none, flags) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    mount(none, "/", none, flags, none).context("make the mounts private")
}

pub(super) fn move_root(root: &Root) -> Result<()> {
    nix::unistd::fchdir(root.top()).context("fchdir to the new root")?;
    let none: Option<&str> = None;
    mount(Some("."), "/", none, MsFlags::MS_MOVE, none).context("move the root")?;
    nix::unistd::chroot(".").context("chroot")?;
    nix::unistd::chdir("/").context("chdir to the new root")
}

pub(super) fn chroot(root: &Root) -> Result<()> {
    nix::unistd::fchdir(root.top()).context("fchdir to the new root")?;
    nix::unistd::chroot(".").context("chroot")?;
    nix::unistd::chdir("/").context("chdir to the new root")
}

/// The number of the uppermost mount at a directory: another one, when something was mounted on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Top(u64);

impl Top {
    /// What is uppermost at `path` now.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn of(path: &Path) -> Result<Top> {
        let directory = open_directory(path)?;
        let info = format!("/proc/self/fdinfo/{}", directory.as_raw_fd());
        let text = std::fs::read_to_string(info).context("look at a mount")?;
        let number = text.lines().find_map(|line| line.strip_prefix("mnt_id:"));
        let number = number.and_then(|word| word.trim().parse().ok());
        Ok(Top(number.context("the kernel tells no mnt_id")?))
    }

    /// As mountinfo(5) has it first.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Unmounts what a container has mounted at `tree` in the host's sight, with all that is mounted below;
/// `before` was uppermost there before. Nothing is done where that is so again.
///
/// # Errors
/// umount2(2) refuses.
pub fn detach(tree: &Path, before: Top) -> Result<()> {
    if Top::of(tree).is_ok_and(|now| now == before) {
        return Ok(());
    }
    match umount2(tree, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Err(Errno::EINVAL | Errno::ENOENT) | Ok(()) => Ok(()),
        Err(errno) => Err(errno).with_context(|| format!("unmount {}", tree.display())),
    }
}
