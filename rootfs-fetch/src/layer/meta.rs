//! Metadata of a file: owner, mode, time, extended attributes. What a layer says, and how it is put on a file.
//!
//! The order matters: chown(2) clears the set-user-ID bits and `security.capability`, so the owner comes first, then
//! mode and attributes, then the time. inode(7), xattr(7), capabilities(7) "File capabilities".

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::stat::{FileStat, Mode, UtimensatFlags, fchmod, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};
use xattr::FileExt;

/// Owner, permission bits, time and extended attributes of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// Permission bits with set-user-ID, set-group-ID and sticky: 0o0000 to 0o7777.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification: seconds since 1970 (or before), nanoseconds.
    pub mtime: (i64, i64),
    /// Extended attributes by name.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

/// What the kernel gives a new file without being asked, so that we ask only for the rest.
#[derive(Clone, Copy, Debug)]
pub struct Creator {
    /// Effective user: owner of every new file.
    pub uid: u32,
    /// Effective group: the group, unless the directory has set-group-ID.
    pub gid: u32,
    /// Permission bits that are taken away at creation.
    pub umask: u32,
}

impl Creator {
    /// This process. The umask is read from /proc, because umask(2) can only be read by changing it.
    pub fn current() -> Creator {
        let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("Umask:"));
        let umask = line
            .and_then(|v| u32::from_str_radix(v.trim(), 8).ok())
            .unwrap_or(0o777);
        Creator {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            umask,
        }
    }
}

/// Which attributes of an image are kept: capabilities, ACLs and the user's own.
///
/// Never `trusted.*` (overlayfs reads its own marks there, so an image could forge whiteouts and redirects; the same
/// for `user.overlay.`) and never labels of the security modules of another machine.
pub fn kept(name: &[u8]) -> bool {
    name == b"security.capability"
        || name == b"system.posix_acl_access"
        || name == b"system.posix_acl_default"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

impl Meta {
    /// What a file that exists has; its attributes are read from `file` if it is given.
    pub fn of(stat: &FileStat, file: Option<&File>) -> Meta {
        let mut xattrs = Vec::new();
        if let Some(file) = file {
            for name in file
                .list_xattr()
                .into_iter()
                .flatten()
                .filter(|n| kept(n.as_bytes()))
            {
                if let Ok(Some(value)) = file.get_xattr(&name) {
                    xattrs.push((name, value));
                }
            }
        }
        Meta {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            xattrs,
        }
    }

    /// Puts everything on an open file or directory. `created` tells what a new file has anyway; `None` sets all.
    pub fn put(&self, file: &File, creator: &Creator, created: Option<u32>) -> Result<()> {
        let owner_differs = created.is_none() || (self.uid, self.gid) != (creator.uid, creator.gid);
        let chown = owner_differs && creator.uid == 0;
        if chown {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            as_far_as_mapped(fchown(file, Some(uid), Some(gid)))?;
        }
        let special = self.mode & 0o7000 != 0;
        if special || created.is_none_or(|asked| asked & !creator.umask != self.mode) {
            fchmod(file, Mode::from_bits_truncate(self.mode)).context("cannot set the mode")?;
        }
        for (name, value) in &self.xattrs {
            set_xattr(file, name, value)?;
        }
        let (_, mtime) = self.times();
        futimens(file, &mtime, &mtime).context("cannot set the time")
    }

    /// Puts owner and time on `name` in `dir` without following it: for links, devices and pipes.
    pub fn put_at(&self, dir: impl AsFd, name: &[u8], creator: &Creator) -> Result<()> {
        let name = OsStr::from_bytes(name);
        if creator.uid == 0 {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            let no_follow = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
            as_far_as_mapped(fchownat(&dir, name, Some(uid), Some(gid), no_follow))?;
        }
        let (_, mtime) = self.times();
        utimensat(dir, name, &mtime, &mtime, UtimensatFlags::NoFollowSymlink)
            .context("cannot set the time")
    }

    fn times(&self) -> (TimeSpec, TimeSpec) {
        let time = TimeSpec::new(self.mtime.0, self.mtime.1.clamp(0, 999_999_999));
        (time, time)
    }
}

/// An owner that the user namespace has no number for (EINVAL) is left out: the file stays root's. It is an
/// ordinary user who unpacks then, without numbers in /etc/subuid.
fn as_far_as_mapped(changed: nix::Result<()>) -> Result<()> {
    match changed {
        Err(Errno::EINVAL) => Ok(()),
        changed => changed.context("cannot set the owner"),
    }
}

/// Sets one attribute. What the file system or our rights do not allow is left out, as tar(1) and Docker do.
pub fn set_xattr(file: &File, name: &OsStr, value: &[u8]) -> Result<()> {
    match file.set_xattr(name, value) {
        Ok(()) => Ok(()),
        Err(e) => match e.raw_os_error().map(Errno::from_raw) {
            Some(
                Errno::EOPNOTSUPP
                | Errno::EPERM
                | Errno::EINVAL
                | Errno::E2BIG
                | Errno::ENOSPC
                | Errno::ERANGE,
            ) => Ok(()),
            _ => Err(e).with_context(|| {
                format!(
                    "cannot set the attribute {}",
                    crate::text::escape_bytes(name.as_bytes())
                )
            }),
        },
    }
}
