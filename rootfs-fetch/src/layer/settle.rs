//! Settling: what a layer needs from the layers below it, done once those are in place.
//!
//! Layers are unpacked side by side, each alone. Two things in a layer may depend on lower ones: a hard link to a
//! lower layer's file (overlayfs would copy the file up, so we do), and a directory that the archive only implies by
//! a file in it (it must look as the lower layer says, or mounting this layer would change it). Last come the
//! directories' own modes and times, deepest first, since making a file changes its directory's time.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, mknodat};
use nix::unistd::{linkat, symlinkat};
use xattr::FileExt;

use super::apply::{Applier, is_whiteout};
use super::meta::{Creator, Meta};
use super::whiteout::{OPAQUE, USER_OPAQUE};
use crate::root::{self, Root, split};
use crate::text::escape_bytes;

impl Applier {
    /// Finishes the layer on top of `lowers` (nearest first), and returns what was left out.
    ///
    /// # Errors
    /// A hard link whose target is nowhere, and whatever the system calls say.
    pub fn settle(mut self, lowers: &[Root]) -> Result<Vec<String>> {
        for (link, target) in std::mem::take(&mut self.links) {
            self.link_to_lower(&link, &target, lowers)
                .with_context(|| format!("cannot unpack \"{}\"", escape_bytes(&link)))?;
        }
        for path in std::mem::take(&mut self.whiteouts) {
            self.drop_idle_whiteout(&path, lowers).with_context(|| {
                format!("cannot finish the whiteout \"{}\"", escape_bytes(&path))
            })?;
        }
        if self.layout == super::Layout::Overlay {
            // A layer that does not mention its root must not change the root's mode.
            self.directories.entry(Vec::new()).or_insert(None);
        }
        // A child sorts after its parent, so backwards means deepest first.
        for (path, meta) in std::mem::take(&mut self.directories).into_iter().rev() {
            self.finish_directory(&path, meta, lowers)
                .with_context(|| format!("cannot finish directory \"{}\"", escape_bytes(&path)))?;
        }
        Ok(self.warnings)
    }

    fn finish_directory(&self, path: &[u8], meta: Option<Meta>, lowers: &[Root]) -> Result<()> {
        let (above, name) = split(path);
        let opened = self.root.directory(above).and_then(|dir| match name {
            b"" => root::open_directory(dir.as_fd(), b"."),
            name => root::open_directory(dir.as_fd(), name),
        });
        let directory = match opened {
            Ok(fd) => File::from(fd),
            // A later entry replaced it by something else.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let meta = match meta {
            Some(meta) => Some(meta),
            None => self.meta_below(path, lowers)?,
        };
        match meta {
            Some(meta) => meta.put(&directory, &self.creator, None),
            None if path.is_empty() && self.layout == super::Layout::Merged => Ok(()),
            None => {
                fchmod(&directory, Mode::from_bits_truncate(0o755)).context("cannot set the mode")
            }
        }
    }

    /// Removes a whiteout that hides nothing. In a directory that only this layer has, overlayfs does not filter
    /// whiteouts, and a program that lists it would meet a name without a file.
    fn drop_idle_whiteout(&self, path: &[u8], lowers: &[Root]) -> Result<()> {
        let (above, name) = split(path);
        let Some(dir) = self.own_directory(above)? else {
            return Ok(());
        };
        let idle = self.hides_below(above)? || find(lowers.iter(), path)?.is_none();
        match root::stat(&dir, name) {
            Ok(stat) if idle && is_whiteout(&stat) => {
                root::remove(dir.as_fd(), name).map_err(Into::into)
            }
            _ => Ok(()),
        }
    }

    /// A directory of this layer, unless its path leads through a link.
    fn own_directory(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let mut dir = self.root.directory(b"")?;
        for part in path.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
            dir = match root::open_directory(dir.as_fd(), part) {
                Ok(dir) => dir,
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
        }
        Ok(Some(dir))
    }

    /// What lower layers say about a directory that this one only implies.
    fn meta_below(&self, path: &[u8], lowers: &[Root]) -> Result<Option<Meta>> {
        // An opaque directory hides what is in the lower one, not its owner and mode.
        if lowers.is_empty() || self.fresh.contains(path) || self.hides_below(split(path).0)? {
            return Ok(None);
        }
        let Some((dir, name, stat)) = find(lowers.iter(), path)? else {
            return Ok(None);
        };
        if root::kind(&stat) != SFlag::S_IFDIR {
            return Ok(None);
        }
        let file = File::from(root::open_directory(dir.as_fd(), &name)?);
        Ok(Some(Meta::of(&stat, Some(&file))))
    }

    /// Whether this layer's own directories on the way hide the lower ones.
    fn hides_below(&self, path: &[u8]) -> Result<bool> {
        let mut dir = self.root.directory(b"")?;
        for part in path.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
            dir = match root::open_directory(dir.as_fd(), part) {
                Ok(dir) => dir,
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            };
            if is_opaque(dir.try_clone()?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn link_to_lower(&mut self, link: &[u8], target: &[u8], lowers: &[Root]) -> Result<()> {
        let shown = escape_bytes(target);
        let missing = || format!("it is a hard link to {shown}, which does not exist");
        let own = std::iter::once(&self.root);
        let (dir, name, stat) = find(own.chain(lowers), target)?.with_context(missing)?;
        ensure!(
            root::kind(&stat) != SFlag::S_IFDIR,
            "it is a hard link to the directory {shown}"
        );
        let (above, target_name) = split(target);
        let here = self.parent(above)?;
        if root::stat(&here.fd, target_name) == Err(Errno::ENOENT) {
            copy_up(&dir, &name, &stat, &here.fd, target_name, &self.creator)
                .with_context(|| format!("cannot copy {shown} from the layer below"))?;
        }
        let (above, link_name) = split(link);
        let there = self.parent(above)?;
        self.remove(&there, link_name)?;
        let (from, to) = (OsStr::from_bytes(target_name), OsStr::from_bytes(link_name));
        linkat(&here.fd, from, &there.fd, to, AtFlags::empty()).map_err(Into::into)
    }
}

/// Finds `path` as an overlay of `layers` (topmost first) would show it: the directory it lies in, its name there,
/// and what it is. Links on the way are not followed: they hide what lies below them.
fn find<'a>(
    layers: impl Iterator<Item = &'a Root>,
    path: &[u8],
) -> Result<Option<(OwnedFd, Vec<u8>, FileStat)>> {
    let mut parts: Vec<&[u8]> = path
        .split(|b| *b == b'/')
        .filter(|p| !p.is_empty())
        .collect();
    let name = parts.pop().unwrap_or(b".");
    for layer in layers {
        let mut dir = Some(layer.directory(b"")?);
        let mut last = false;
        for part in &parts {
            let Some(here) = dir.take() else { break };
            match root::open_directory(here.as_fd(), part) {
                Ok(next) => {
                    last |= is_opaque(next.try_clone()?);
                    dir = Some(next);
                }
                Err(Errno::ENOENT) => break,
                // A file, a link or a whiteout where a directory should be hides all below.
                Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
        if let Some(dir) = dir {
            match root::stat(&dir, name) {
                Ok(stat) if is_whiteout(&stat) => return Ok(None),
                Ok(stat) => return Ok(Some((dir, name.to_vec(), stat))),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        if last {
            break;
        }
    }
    Ok(None)
}

fn is_opaque(dir: OwnedFd) -> bool {
    let dir = File::from(dir);
    let has = |name: &str| dir.get_xattr(name).ok().flatten().as_deref() == Some(b"y");
    has(OPAQUE) || has(USER_OPAQUE)
}

/// Copies one file of a lower layer with everything that belongs to it.
fn copy_up(
    from: &OwnedFd,
    name: &[u8],
    stat: &FileStat,
    to: &OwnedFd,
    new_name: &[u8],
    creator: &Creator,
) -> Result<()> {
    let (name, to_name) = (OsStr::from_bytes(name), OsStr::from_bytes(new_name));
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    match root::kind(stat) {
        SFlag::S_IFREG => {
            let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let mut source =
                File::from(openat(from, name, flags | OFlag::O_RDONLY, Mode::empty())?);
            let create = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
            let mut copy = File::from(openat(
                to,
                to_name,
                flags | create,
                Mode::from_bits_truncate(0o600),
            )?);
            std::io::copy(&mut source, &mut copy)?;
            Meta::of(stat, Some(&source)).put(&copy, creator, None)
        }
        SFlag::S_IFLNK => {
            symlinkat(readlinkat(from, name)?.as_os_str(), to, to_name)?;
            Meta::of(stat, None).put_at(to, new_name, creator)
        }
        kind => {
            mknodat(to, to_name, kind, mode, stat.st_rdev)?;
            fchmodat(to, to_name, mode, FchmodatFlags::FollowSymlink)?;
            Meta::of(stat, None).put_at(to, new_name, creator)
        }
    }
}
