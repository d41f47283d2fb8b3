//! `tmpcopyup` and volumes: a directory that begins with the image's files.  tmpfs(5), openat(2)
//!
//! The directory below the mount stays open while the tmpfs lies on top of it, so the files can be copied
//! from one to the other, each name opened below a descriptor: no symbolic link is followed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};

/// Copies what is in the directory `from` into the directory `to`, with owners and permissions.
///
/// # Errors
/// Those of the file system, such as a tmpfs that is too small.
pub fn tree(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let (from, to) = (directory(from, ".")?, directory(to, ".")?);
    keep(&to, &fstat(&from)?)?;
    let mut entries = Dir::openat(
        &from,
        ".",
        OFlag::O_RDONLY | OFlag::O_DIRECTORY,
        Mode::empty(),
    )?;
    for entry in entries.iter() {
        let entry = entry?;
        let name = Path::new(std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()));
        if name != Path::new(".") && name != Path::new("..") {
            one(&from, &to, name).with_context(|| format!("copy {} up", name.display()))?;
        }
    }
    Ok(())
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &Path) -> Result<()> {
    let status = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits());
    let private = Mode::S_IRWXU;
    match kind {
        SFlag::S_IFDIR => {
            mkdirat(to, name, private)?;
            tree(&directory(from, name)?, &directory(to, name)?)
        }
        SFlag::S_IFREG => {
            let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let source = openat(from, name, flags | OFlag::O_RDONLY, Mode::empty())?;
            let new = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
            let copy = openat(to, name, flags | new, private)?;
            io::copy(&mut File::from(source), &mut File::from(copy.try_clone()?))?;
            keep(&copy, &status)
        }
        SFlag::S_IFLNK => {
            symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?;
            let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            Ok(fchownat(to, name, Some(uid), Some(gid), flags)?)
        }
        SFlag::S_IFIFO => Ok(mknodat(to, name, kind, private, 0)?),
        // Devices and sockets mean nothing in a copy.
        _ => Ok(()),
    }
}

fn directory(at: &OwnedFd, name: impl AsRef<Path>) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at.as_fd(), name.as_ref(), flags, Mode::empty())
}

fn keep(file: &OwnedFd, status: &FileStat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    fchown(file, Some(uid), Some(gid))?;
    Ok(fchmod(file, Mode::from_bits_truncate(status.st_mode))?)
}
