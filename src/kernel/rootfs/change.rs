//! The change of the root, three ways, and its end where the host sees it.  pivot_root(2), chroot(2), umount2(2)

use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

use super::{Root, open_directory};

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
