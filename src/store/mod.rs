//! Where everything lies: two directories of files that a student can `cat`.
//!
//! ```text
//! /var/lib/rmac            --root, RMAC_ROOT: survives a reboot
//!   images/                what rootfs-fetch keeps: layers and image records
//!   names/NAME             symbolic link to the container id: one name, one container
//!   containers/ID/         config.json state.json upper/ work/ hosts hostname resolv.conf ID-json.log
//!   networks/ID/           network.json leases
//!   volumes/NAME/          _data/ volume.json
//!   ids/ranges             the user numbers of containers with a user namespace
//!   networks/names/NAME    symbolic link to the network id
//! /run/rmac                --runroot, RMAC_RUNROOT: gone at reboot
//!   containers/ID/         exists while the container runs: attach (socket)
//!   alive.N                locked by those who hold a container: a byte each
//!   board.N                what `ps` shows of the containers that run
//!   networks/ID            who is on the network just now
//!   lab/                   the pinned network namespaces of the lab
//! ```
//!
//! A file is replaced as a whole (write to a temporary name, then rename(2)), so a reader sees the
//! old text or the new one, never half of either. What must not happen twice at once is guarded by
//! flock(2), which the kernel drops with its holder, however that ends.

pub mod alive;
pub mod board;
pub mod claim;
pub mod containers;
pub mod foreign;
pub mod ids;
pub mod leases;
pub mod lines;
pub mod networks;
pub mod rolls;
pub mod summary;
pub mod volumes;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::unistd::gettid;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The two directories that hold rmac's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// What survives a reboot, `/var/lib/rmac` by default.
    pub root: PathBuf,
    /// What is gone at reboot, `/run/rmac` by default.
    pub runroot: PathBuf,
}

impl Home {
    /// Where the images lie.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// What is kept of the container `id`.
    pub fn container(&self, id: &str) -> PathBuf {
        self.root.join("containers").join(id)
    }

    /// What is kept of the container `id` while it runs.
    pub fn running(&self, id: &str) -> PathBuf {
        self.runroot.join("containers").join(id)
    }

    /// Where the networks lie.
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// Where the labs' network namespaces are pinned.
    pub fn labs(&self) -> PathBuf {
        self.runroot.join("lab")
    }
}

/// Makes `dir` and what is missing above it, closed to other users (mode 0700): a store of file
/// systems holds set-user-ID programs that nobody but root may reach (CVE-2021-41091).
pub fn make_private_dir(dir: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("make the directory {}", dir.display()))
}

/// Replaces the file at `path` by `text`, as a whole: a reader, or the next start after a crash,
/// finds the old text or the new one.
pub fn write_whole(path: &Path, text: &[u8]) -> Result<()> {
    write_aside(path, text, |temporary| std::fs::rename(temporary, path))
}

/// The same below the run root, where nothing has to outlast a crash. A rename over a file makes ext4 write the new
/// one out first (1.2 ms); to exchange the two names does not.
pub fn write_running(path: &Path, text: &[u8]) -> Result<()> {
    write_aside(path, text, |temporary| {
        match renameat2(
            AT_FDCWD,
            temporary,
            AT_FDCWD,
            path,
            RenameFlags::RENAME_EXCHANGE,
        ) {
            Ok(()) => std::fs::remove_file(temporary),
            // There is none yet, or the file system cannot do that.
            Err(_) => std::fs::rename(temporary, path),
        }
    })
}

fn write_aside(
    path: &Path,
    text: &[u8],
    put: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", gettid()));
    let temporary = PathBuf::from(temporary);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text)?;
        drop(file);
        put(&temporary)
    };
    write()
        .inspect_err(|_| drop(std::fs::remove_file(&temporary)))
        .with_context(|| format!("write {}", path.display()))
}

/// [`write_whole`] of `value` as JSON, indented for reading.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .with_context(|| format!("put {} into JSON", path.display()))?;
    text.push(b'\n');
    write_whole(path, &text)
}

/// Reads the JSON file at `path`; `None` where there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match read_once(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    serde_json::from_slice(&text).map(Some).with_context(|| {
        format!(
            "{} is damaged or of another version of rmac",
            path.display()
        )
    })
}

/// Reads the small file at `path` in three calls: neither its size is asked for nor, after a read that did
/// not fill the buffer, for its end. `ps` reads two files a container.
fn read_once(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let mut text = vec![0; 8 * 1024];
    let mut length = 0;
    loop {
        let read = file.read(&mut text[length..])?;
        length += read;
        if read == 0 || length < text.len() {
            text.truncate(length);
            return Ok(text);
        }
        text.resize(2 * length, 0);
    }
}

/// How many bytes the files below `directory` hold; one with several names counts once, and what cannot be read not
/// at all.
pub fn bytes_below(directory: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut open = vec![directory.to_owned()];
    let mut bytes = 0;
    while let Some(directory) = open.pop() {
        let entries = std::fs::read_dir(&directory).into_iter().flatten();
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) if meta.nlink() == 1 || seen.insert((meta.dev(), meta.ino())) => {
                    bytes += meta.len();
                }
                _ => (),
            }
        }
    }
    bytes
}

/// A new identity: 64 hexadecimal digits of getrandom(2), as Docker gives to containers, networks and
/// endpoints.
pub fn new_id() -> Result<String> {
    let mut bytes = [0; 32];
    let mut urandom = std::fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    urandom
        .read_exact(&mut bytes)
        .context("read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The first twelve digits of an id: what lists show and the container's default host name.
pub fn short(id: &str) -> &str {
    &id[..id.len().min(12)]
}
