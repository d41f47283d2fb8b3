//! A directory that is somebody else's `/`: paths are followed inside it and nowhere else.
//!
//! An image decides what lies in its root, symbolic links included, and a link to `/etc` means the image's `/etc`.
//! openat2(2) with `RESOLVE_IN_ROOT` makes the kernel itself treat a directory as the root while it walks a path:
//! absolute links and `..` stay inside, with no moment between check and use. All work is then done relative to the
//! directory so found, by calls that do not follow a link in the last component.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{
    AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat, renameat,
};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::text::escape_bytes;

/// A directory tree, held by its file descriptor.
pub struct Root {
    fd: OwnedFd,
}

/// How many symbolic links may lead from one to the next before we call it a loop; the kernel's own number.
const MAX_LINKS: u32 = 40;

/// How many directories we descend while deleting before we lift a directory up instead; bounds open descriptors.
const MAX_DEPTH: u32 = 100;

impl Root {
    /// Opens `path`, an existing directory whose name is trusted.
    pub fn open(path: &Path) -> Result<Root> {
        let fd = open(
            path,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .with_context(|| format!("cannot open directory {}", path.display()))?;
        Ok(Root { fd })
    }

    /// The tree below the directory or mount that `fd` is open on.
    pub fn at(fd: OwnedFd) -> Root {
        Root { fd }
    }

    /// Its uppermost directory.
    pub fn top(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The directory `path` inside the root, links followed inside. The empty path is the root.
    pub fn directory(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        self.resolve(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    /// Opens what `path` leads to inside the root, with these flags.
    pub fn resolve(&self, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
        self.open_at(path, flags, ResolveFlag::RESOLVE_IN_ROOT)
    }

    /// The same where no part of `path` may be a link: `ELOOP` says that one is.
    pub fn resolve_plain(&self, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
        let plain = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        self.open_at(path, flags, plain)
    }

    fn open_at(&self, path: &[u8], flags: OFlag, within: ResolveFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(within | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let path = if path.is_empty() { b"." } else { path };
        loop {
            match openat2(&self.fd, OsStr::from_bytes(path), how) {
                // "A rename happened meanwhile, ask again": openat2(2).
                Err(Errno::EAGAIN) => continue,
                other => return other,
            }
        }
    }

    /// The directory `path` inside the root; what is missing of it is made (mode 0755), and a file in the way is
    /// replaced. `made` hears of each directory made and whether something else had to go for it.
    pub fn make_directory(
        &self,
        path: &[u8],
        made: &mut dyn FnMut(&[u8], Made),
    ) -> Result<OwnedFd> {
        self.make_directory_via(path, made, MAX_LINKS)
    }

    fn make_directory_via(
        &self,
        path: &[u8],
        made: &mut dyn FnMut(&[u8], Made),
        links: u32,
    ) -> Result<OwnedFd> {
        match self.directory(path) {
            Ok(fd) => return Ok(fd),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) if !path.is_empty() => {}
            Err(errno) => {
                return Err(errno).with_context(|| format!("cannot open {}", escape_bytes(path)));
            }
        }
        // Up to what is there already, then down again. A loop, because paths can be thousands deep.
        let mut there = path;
        let mut dir = loop {
            there = split(there).0;
            match self.directory(there) {
                Ok(fd) => break fd,
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) if !there.is_empty() => {}
                Err(errno) => {
                    return Err(errno)
                        .with_context(|| format!("cannot open {}", escape_bytes(there)));
                }
            }
        };
        while there.len() < path.len() {
            let start = if there.is_empty() { 0 } else { there.len() + 1 };
            let end = path[start..]
                .iter()
                .position(|b| *b == b'/')
                .map_or(path.len(), |i| start + i);
            there = &path[..end];
            dir = self
                .make_one(&dir, there, made, links)
                .with_context(|| format!("cannot create directory {}", escape_bytes(there)))?;
        }
        Ok(dir)
    }

    /// Makes the last component of `path` in `above`, its parent.
    fn make_one(
        &self,
        above: &OwnedFd,
        path: &[u8],
        made: &mut dyn FnMut(&[u8], Made),
        links: u32,
    ) -> Result<OwnedFd> {
        let (above_path, name) = split(path);
        let os_name = OsStr::from_bytes(name);
        match mkdirat(above, os_name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => made(path, Made::New),
            Err(Errno::EEXIST) => {
                let missing = match self.directory(path) {
                    Ok(fd) => return Ok(fd),
                    Err(errno) => errno == Errno::ENOENT,
                };
                if missing && kind(&stat(above, name)?) == SFlag::S_IFLNK {
                    // A link whose target is yet to come: make the target, as `mkdir -p` through chroot would.
                    ensure!(links > 0, "too many symbolic links");
                    let target = join(above_path, readlinkat(above, os_name)?.as_bytes());
                    return self.make_directory_via(&target, made, links - 1);
                }
                remove(above.as_fd(), name)?;
                mkdirat(above, os_name, Mode::from_bits_truncate(0o755))?;
                made(path, Made::Replaced);
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(open_directory(above.as_fd(), name)?)
    }
}

/// What [`Root::make_directory`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Nothing was there.
    New,
    /// Something that was no directory was there and is gone.
    Replaced,
}

/// Splits `a/b/c` into `a/b` and `c`.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(i) => (&path[..i], &path[i + 1..]),
        None => (&[], path),
    }
}

/// The path `text` seen from the directory `from`, with `.` and `..` resolved by the text alone and held inside.
pub fn join(from: &[u8], text: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let from: &[u8] = if text.starts_with(b"/") { b"" } else { from };
    for part in from.split(|b| *b == b'/').chain(text.split(|b| *b == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Cleans a path from an archive: relative, without `.`, `..` or empty parts. Empty means the root itself.
///
/// # Errors
/// A NUL byte, a component of more than 255 bytes or a path that no system call would take.
pub fn clean(path: &[u8]) -> Result<Vec<u8>> {
    if path.contains(&0) {
        bail!("path {} has a NUL byte inside", escape_bytes(path));
    }
    let clean = join(b"", path);
    let too_long = clean.len() >= 4096 || clean.split(|b| *b == b'/').any(|part| part.len() > 255);
    ensure!(
        !too_long,
        "path {} is longer than Linux allows",
        escape_bytes(&clean[..clean.len().min(80)])
    );
    Ok(clean)
}

/// What `name` in `dir` is, links not followed.
pub fn stat(dir: impl AsFd, name: &[u8]) -> nix::Result<FileStat> {
    fstatat(dir, OsStr::from_bytes(name), AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The type bits of a mode.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Opens the directory `name` in `dir` for work in it; a link there is refused.
pub fn open_directory(dir: BorrowedFd, name: &[u8]) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, OsStr::from_bytes(name), flags, Mode::empty())
}

/// Names in an open directory, without `.` and `..`.
pub fn names(dir: BorrowedFd) -> nix::Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for entry in Dir::openat(dir, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?.iter() {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            found.push(name.to_bytes().to_vec());
        }
    }
    Ok(found)
}

/// Deletes `name` in `dir`, with everything in it if it is a directory. Absence is no error.
///
/// However deep the tree is, only a hundred directories are open at once: what lies deeper is moved up first.
pub fn remove(dir: BorrowedFd, name: &[u8]) -> nix::Result<()> {
    let os_name = OsStr::from_bytes(name);
    match unlinkat(dir, os_name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        // unlink(2) of a directory: Linux says EISDIR, POSIX EPERM.
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    let top = open_directory(dir, name)?;
    let mut lifted = 0;
    loop {
        let before = lifted;
        empty(top.as_fd(), top.as_fd(), 0, &mut lifted)?;
        if lifted == before {
            break;
        }
    }
    unlinkat(dir, os_name, UnlinkatFlags::RemoveDir)
}

fn empty(dir: BorrowedFd, top: BorrowedFd, depth: u32, lifted: &mut u64) -> nix::Result<()> {
    for name in names(dir)? {
        let os_name = OsStr::from_bytes(&name);
        match unlinkat(dir, os_name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return Err(errno),
        }
        if depth >= MAX_DEPTH {
            *lifted += 1;
            renameat(dir, os_name, top, format!(".lifted-{lifted}").as_str())?;
            continue;
        }
        empty(open_directory(dir, &name)?.as_fd(), top, depth + 1, lifted)?;
        unlinkat(dir, os_name, UnlinkatFlags::RemoveDir)?;
    }
    Ok(())
}

/// Deletes the directory tree at `path`, however deep. Absence is no error.
pub fn remove_tree(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("will not delete {}", path.display());
    };
    let context = || format!("cannot delete {}", path.display());
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    match Root::open(parent) {
        Ok(root) => remove(root.fd.as_fd(), name.as_bytes()).with_context(context),
        Err(e) if e.downcast_ref::<Errno>() == Some(&Errno::ENOENT) => Ok(()),
        Err(e) => Err(e).with_context(context),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_held_inside() {
        for (raw, want) in [
            ("a/b", "a/b"),
            ("/a//b/", "a/b"),
            ("./a/./b", "a/b"),
            ("../../etc/passwd", "etc/passwd"),
            ("a/../../b", "b"),
            (".", ""),
            ("", ""),
            ("/", ""),
            ("..", ""),
            ("...", "..."),
        ] {
            assert_eq!(clean(raw.as_bytes()).unwrap(), want.as_bytes(), "{raw}");
        }
        assert!(clean(b"a\0b").is_err());
        assert!(clean(&[b'x'; 256]).is_err());
        assert!(clean("a/".repeat(2100).as_bytes()).is_err());
        assert_eq!(join(b"a/b", b"../c"), b"a/c");
        assert_eq!(join(b"a/b", b"/c"), b"c");
    }

    #[test]
    fn a_tree_thousands_deep_is_deleted() {
        let top = std::env::temp_dir().join(format!("rootfs-fetch-deep-{}", std::process::id()));
        fs_err::create_dir(&top).unwrap();
        let root = Root::open(&top).unwrap();
        let mut dir = root.directory(b"").unwrap();
        for _ in 0..3000 {
            mkdirat(&dir, "d", Mode::from_bits_truncate(0o755)).unwrap();
            dir = openat(&dir, "d", OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        }
        drop(dir);
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        remove_tree(&top).unwrap();
    }
}
