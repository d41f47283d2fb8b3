//! What `cp` does in the container: finds the source and packs it, or finds the destination and unpacks there.
//!
//! The words of the errors are Docker's, which names the path as it was typed.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::SFlag;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use rootfs_fetch::text::escape_bytes;
use serde::{Deserialize, Serialize};

use super::pack::Packer;
use super::paths::{self, Side};
use super::tree::{Descriptors, Found, Tree, is_the_kernels, words};
use super::unpack::{How, unpack};
use crate::request::Request;

/// As many links one after the other as the kernel follows.
const MOST_LINKS: u32 = 40;

/// What the command needs to know of a source in the container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// What its uppermost entry is called in the archive.
    pub name: Vec<u8>,
    /// Is it a directory?
    pub is_dir: bool,
    /// Its size, if it is none.
    pub size: u64,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The container, as it was typed.
    pub container: &'a str,
    /// The path in it, as it was typed.
    pub path: &'a [u8],
    /// Whether a link at its end is followed (`-L`).
    pub follow: bool,
}

impl Asked<'_> {
    fn missing(&self, path: &[u8]) -> anyhow::Error {
        let path = escape_bytes(path);
        anyhow!(
            "Could not find the file {path} in container {}",
            self.container
        )
    }

    fn failed(&self, path: &[u8], errno: Errno) -> anyhow::Error {
        match errno {
            Errno::ENOENT => self.missing(path),
            errno => anyhow!("lstat {}: {}", escape_bytes(path), words(errno)),
        }
    }

    /// Looks for the source.
    ///
    /// # Errors
    /// There is none.
    pub fn source(&self, tree: &Tree) -> Result<(Source, Found)> {
        let path = paths::absolute(self.path);
        let failed = |errno| match errno {
            Errno::ENOENT => self.missing(self.path),
            errno => self.failed(&path, errno),
        };
        let mut found = tree.look(&path).map_err(failed)?;
        if self.follow && found.is_link() {
            found = tree.follow(&path).map_err(failed)?;
        }
        // The directory itself is there for Docker, too.
        let top = paths::split_entry(&path).0 == b"/" && found.is_dir();
        ensure!(top || !is_the_kernels(&found.fd), self.missing(self.path));
        let source = Source {
            name: paths::base(&path).to_vec(),
            is_dir: found.is_dir(),
            size: found.status.st_size as u64,
        };
        Ok((source, found))
    }

    /// The name of `found` where it lies, which is not the one that was typed if a link was followed.
    pub fn own_name(&self, tree: &Tree, source: &Source, found: &Found) -> Vec<u8> {
        match tree.descriptors.path_of(&found.fd) {
            Ok(path) if self.follow && !paths::asserts_directory(self.path) => {
                paths::base(path.as_os_str().as_bytes()).to_vec()
            }
            _ => source.name.clone(),
        }
    }

    /// Looks at the destination, and where a link at its end leads, be there something or not.
    ///
    /// # Errors
    /// It is a device.
    pub fn destination(&self, tree: &Tree) -> Result<Side> {
        let mut side = Side {
            path: self.path.to_vec(),
            ..Side::default()
        };
        if self.path.is_empty() {
            return Ok(side);
        }
        for _ in 0..MOST_LINKS {
            // What cannot be looked at cannot be unpacked to either; that is told then.
            let Ok(found) = tree.look(&side.path) else {
                return Ok(side);
            };
            if !found.is_link() {
                self.require_no_device(&found)?;
                side.exists = true;
                side.is_dir = found.is_dir();
                return Ok(side);
            }
            let Some(next) = where_to(tree, &side.path, &found) else {
                return Ok(side);
            };
            side.path = next;
        }
        Ok(side)
    }

    fn require_no_device(&self, found: &Found) -> Result<()> {
        ensure!(
            !matches!(found.kind(), SFlag::S_IFCHR | SFlag::S_IFBLK),
            "destination \"{}:{}\" must be a directory or a regular file: got a device",
            self.container,
            escape_bytes(self.path)
        );
        Ok(())
    }

    /// Unpacks `archive` into the directory `directory`; what was left out.
    ///
    /// # Errors
    /// There is no such directory, or it cannot be written to; those of unpacking.
    pub fn unpack(
        &self,
        tree: &Tree,
        archive: impl Read,
        directory: &[u8],
        request: &Request,
        how: How,
    ) -> Result<Vec<String>> {
        let path = [b"/".as_slice(), directory].concat();
        let failed = |errno| self.failed(directory, errno);
        let found = tree.follow(&path).map_err(failed)?;
        ensure!(found.is_dir(), "extraction point is not a directory");
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let at = tree.root.resolve(&path, flags).map_err(failed)?;
        if let Ok(real) = tree.descriptors.path_of(&at) {
            require_writable(&at, &real, request)?;
        }
        unpack(archive, at, how)
    }
}

/// Where the link `found` at `path` leads: to another path that may be a link again.
fn where_to(tree: &Tree, path: &[u8], found: &Found) -> Option<Vec<u8>> {
    let target = readlinkat(&found.fd, "").ok()?;
    let target = target.as_bytes();
    if target.starts_with(b"/") {
        return Some(target.to_vec());
    }
    // The directory itself may have been reached by a link, from which `..` does not lead back.
    let (above, _) = paths::split_entry(path);
    let above = tree.follow(&above).ok()?;
    let above = tree.descriptors.path_of(&above.fd).ok()?;
    Some([above.as_os_str().as_bytes(), b"/", target].concat())
}

/// Docker's words for what it knows to be read-only; whatever else is, the kernel refuses.
fn require_writable(at: &impl AsFd, real: &Path, request: &Request) -> Result<()> {
    let flags = fstatvfs(at).map(|status| status.flags());
    if !flags.is_ok_and(|flags| flags.contains(FsFlags::ST_RDONLY)) {
        return Ok(());
    }
    let volume = request
        .binds
        .iter()
        .any(|bind| real.starts_with(&bind.target));
    if volume {
        bail!("mounted volume is marked read-only");
    }
    ensure!(!request.read_only, "container rootfs is marked read-only");
    Ok(())
}

/// Packs `found` and what is below it under `name`; how many bytes its regular files have.
///
/// # Errors
/// Something could not be read, or the archive not be written.
pub fn pack(descriptors: &Descriptors, found: Found, name: &[u8], out: impl Write) -> Result<u64> {
    let mut packer = Packer::new(out, descriptors);
    packer.add(found, name)?;
    let content = packer.content;
    packer.finish()?;
    Ok(content)
}
