//! The host's side of `cp`: the source that is copied from here, the destination that is copied to.
//!
//! The paths are the caller's own and are followed as any program would; the words of the errors are Docker's.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rootfs_fetch::text::escape_bytes;

use super::paths::{self, Side};
use super::tree::{Found, words};

/// As many links one after the other as Docker follows to a destination.
const MOST_LINKS: u32 = 10;

/// `path` from the root on, with the end that was typed.
///
/// # Errors
/// There is no working directory.
pub fn absolute(path: &[u8]) -> Result<Vec<u8>> {
    let from = match path.starts_with(b"/") {
        true => PathBuf::new(),
        false => std::env::current_dir().context("the working directory")?,
    };
    let from = from.into_os_string().into_vec();
    Ok(paths::absolute(&[&from, b"/".as_slice(), path].concat()))
}

/// Opens the source `path`, with `follow` what a link at its end leads to; what it is called in the archive.
///
/// # Errors
/// There is none.
pub fn source(path: &[u8], follow: bool) -> Result<(Found, Vec<u8>)> {
    let mut flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    if !follow {
        flags |= OFlag::O_NOFOLLOW;
    }
    let opened = open(path, flags, Mode::empty()).and_then(Found::new);
    let found = opened.map_err(|errno| lstat(path, errno))?;
    Ok((found, paths::base(path).to_vec()))
}

/// Refuses a destination that cannot be one, before anything else is done.
///
/// # Errors
/// Docker's words.
pub fn check_destination(path: &[u8]) -> Result<()> {
    let (above, _) = paths::split_entry(path.strip_suffix(b"/.").unwrap_or(path));
    if matches!(fs::metadata(at(&above)), Err(error) if error.kind() == ErrorKind::NotFound) {
        let above = escape_bytes(&above);
        bail!("invalid output path: directory \"{above}\" does not exist");
    }
    let kind = match fs::metadata(at(path)) {
        Ok(status) => status.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(stat(path, &error)),
    };
    if kind.is_char_device() || kind.is_block_device() {
        bail!(
            "invalid output path: \"{}\" must be a directory or a regular file: got a device",
            escape_bytes(path)
        );
    }
    Ok(())
}

/// Looks at the destination `path`, and where a link at its end leads, be there something or not.
///
/// # Errors
/// The directory above is missing.
pub fn destination(path: &[u8]) -> Result<Side> {
    let mut path = path.to_vec();
    for _ in 0..=MOST_LINKS {
        let status = match fs::symlink_metadata(at(&path)) {
            Ok(status) => status,
            Err(error) if error.kind() == ErrorKind::NotFound => return new(path),
            Err(error) => return Err(stat(&path, &error)),
        };
        if !status.is_symlink() {
            return Ok(Side {
                path,
                exists: true,
                is_dir: status.is_dir(),
            });
        }
        let target = fs::read_link(at(&path)).map_err(|error| stat(&path, &error))?;
        let (above, _) = paths::split_entry(&path);
        path = at(&above).join(target).into_os_string().into_vec();
    }
    bail!("too many symlinks in {}", escape_bytes(&path))
}

fn new(path: Vec<u8>) -> Result<Side> {
    let (above, _) = paths::split_entry(&path);
    let status = fs::metadata(at(&above)).map_err(|error| stat(&above, &error))?;
    if !status.is_dir() {
        bail!("not a directory");
    }
    Ok(Side {
        path,
        ..Side::default()
    })
}

/// Opens the directory `path`.
///
/// # Errors
/// There is none.
pub fn directory(path: &[u8]) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| lstat(path, errno))
}

fn at(path: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path))
}

fn lstat(path: &[u8], errno: Errno) -> anyhow::Error {
    anyhow!("lstat {}: {}", escape_bytes(path), words(errno))
}

fn stat(path: &[u8], error: &std::io::Error) -> anyhow::Error {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
    anyhow!("stat {}: {}", escape_bytes(path), words(errno))
}
