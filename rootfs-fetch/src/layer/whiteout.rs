//! Whiteouts: how a layer says that something of a lower layer is gone.
//!
//! In the archive, an empty file `.wh.NAME` deletes NAME, and `.wh..wh..opq` deletes everything the lower layers have
//! in a directory. Both only concern *lower* layers, wherever they stand in the archive. On disk, overlayfs wants a
//! character device 0:0 named NAME, and the attribute `trusted.overlay.opaque=y` on the directory.
//! OCI image-spec, layer.md, "Whiteouts"; kernel Documentation/filesystems/overlayfs.rst.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat, mknodat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use xattr::FileExt;

use super::Layout;
use super::apply::{Applier, Parent};
use crate::root;

/// The attribute by which overlayfs knows a directory that hides the lower ones.
pub const OPAQUE: &str = "trusted.overlay.opaque";

/// The same where only the host's root could set that one.
pub const USER_OPAQUE: &str = "user.overlay.opaque";

impl Applier {
    /// Handles the entry `.wh.<hidden>` in the directory `above`.
    pub(super) fn whiteout(&mut self, above: &[u8], hidden: &[u8]) -> Result<()> {
        if self.layout == Layout::Merged {
            self.claim(above)?;
        }
        if hidden == b".wh..opq" {
            self.parent(above)?;
            return match self.layout {
                Layout::Overlay => self.make_opaque(above),
                Layout::Merged => {
                    let parent = self.parent(above)?;
                    self.hide_all(&parent)
                }
            };
        }
        // Other `.wh..wh.` names are book-keeping of aufs; and `.wh.`, `.wh..`, `.wh...` would delete the directory
        // itself or the one above.
        if hidden.starts_with(b".wh.") || matches!(hidden, b"" | b"." | b"..") {
            let path = [above, b"/.wh.".as_slice(), hidden].concat();
            self.warn(&path, "is no valid whiteout");
            return Ok(());
        }
        let parent = self.parent(above)?;
        match self.layout {
            Layout::Merged => self.hide(&parent, hidden).map(|_| ()),
            Layout::Overlay => self.mark_deleted(&parent, above, hidden),
        }
    }

    /// A whiteout implies the directories it lies in, so a whiteout of those spares them.
    fn claim(&mut self, path: &[u8]) -> Result<()> {
        self.parent(path)?;
        let mut path = path;
        while !path.is_empty() {
            let (above, name) = root::split(path);
            let inode = fstat(self.root.directory(above)?)?.st_ino;
            self.mine.insert((inode, name.to_vec()));
            path = above;
        }
        Ok(())
    }

    /// Makes a directory hide everything that lower layers have in it.
    pub(super) fn make_opaque(&mut self, path: &[u8]) -> Result<()> {
        if self.layout == Layout::Merged {
            return Ok(());
        }
        let fd = self
            .root
            .resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let directory = File::from(fd);
        match directory.set_xattr(OPAQUE, b"y") {
            // In a user namespace: overlayfs, mounted there with `userxattr`, looks for the other one.
            Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {
                directory.set_xattr(USER_OPAQUE, b"y")
            }
            set => set,
        }
        .with_context(|| {
            format!("cannot set {OPAQUE} (it takes a file system with extended attributes)")
        })
    }

    fn mark_deleted(&mut self, parent: &Parent, above: &[u8], hidden: &[u8]) -> Result<()> {
        match root::stat(&parent.fd, hidden) {
            Ok(stat) if root::kind(&stat) == SFlag::S_IFDIR => {
                // This layer deletes the old one and has a new one: the new one must not show the old one's content.
                let path = crate::root::join(above, hidden);
                self.fresh.insert(path.clone());
                self.make_opaque(&path)
            }
            // A file of this layer hides the lower one anyway.
            Ok(_) => Ok(()),
            Err(Errno::ENOENT) => {
                let name = OsStr::from_bytes(hidden);
                mknodat(&parent.fd, name, SFlag::S_IFCHR, Mode::empty(), 0)
                    .context("cannot make a whiteout (only root may)")?;
                self.whiteouts.push(crate::root::join(above, hidden));
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn hide_all(&mut self, parent: &Arc<Parent>) -> Result<()> {
        for name in root::names(parent.fd.as_fd())? {
            self.hide(parent, &name)?;
        }
        Ok(())
    }

    /// Deletes what lower layers made under a name; true if something of this layer is left there.
    fn hide(&mut self, parent: &Parent, name: &[u8]) -> Result<bool> {
        let mine = self.mine.contains(&(parent.inode, name.to_vec()));
        if mine && !self.holds_lower(parent, name)? {
            return Ok(true);
        }
        self.forget_parent();
        self.hide_below(parent, name, mine)
    }

    fn hide_below(&mut self, parent: &Parent, name: &[u8], mine: bool) -> Result<bool> {
        let stat = match root::stat(&parent.fd, name) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        if root::kind(&stat) != SFlag::S_IFDIR {
            if !mine {
                unlinkat(
                    &parent.fd,
                    OsStr::from_bytes(name),
                    UnlinkatFlags::NoRemoveDir,
                )?;
            }
            return Ok(mine);
        }
        if self.mine.is_empty() {
            root::remove(parent.fd.as_fd(), name)?;
            return Ok(false);
        }
        let fd = root::open_directory(parent.fd.as_fd(), name)?;
        let inode = fstat(&fd)?.st_ino;
        let inner = Parent::plain(fd, inode);
        let mut left = mine;
        for child in root::names(inner.fd.as_fd())? {
            let child_mine = self.mine.contains(&(inode, child.clone()));
            left |= self.hide_below(&inner, &child, child_mine)?;
        }
        if !left {
            unlinkat(
                &parent.fd,
                OsStr::from_bytes(name),
                UnlinkatFlags::RemoveDir,
            )?;
        }
        Ok(left)
    }

    /// Only a directory can be of this layer and still hold what lower ones made.
    fn holds_lower(&self, parent: &Parent, name: &[u8]) -> Result<bool> {
        match root::stat(&parent.fd, name) {
            Ok(stat) => Ok(root::kind(&stat) == SFlag::S_IFDIR),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}
