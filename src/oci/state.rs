//! What is kept of a container, and what it is doing now.  OCI runtime-spec, runtime.md, "State"; flock(2)
//!
//! ```text
//! ROOT/ID/               locked by whoever changes the container
//!   state.json           what it was made of, and its first process
//!   start                the gate's socket: there until `start` comes
//! ```
//!
//! The status is never stored, it is looked at: a process may be killed at any moment, and then a stored
//! word would be wrong. A directory without a process is what is left of one that was killed in `create`;
//! `delete` removes it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{ContainerState, Spec, State};
use serde::{Deserialize, Serialize};

use crate::kernel::cgroups::{self, Layout};
use crate::kernel::rootfs::{self, Top};
use crate::store::containers::ProcessId;
use crate::store::{make_private_dir, read_json, write_json};

/// The directory of all containers.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

/// What is kept of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// The directory of its config.json.
    pub bundle: PathBuf,
    /// Its tree on the host.
    pub rootfs: PathBuf,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Its first process; absent until that exists.
    pub process: Option<ProcessId>,
    /// Whether it has a session keyring of its own, or its engine's (`--no-new-keyring`).
    #[serde(default = "yes")]
    pub own_keyring: bool,
    /// What was uppermost at its tree before, where it shares the host's mounts and so leaves one there.
    #[serde(default)]
    pub beneath: Option<Top>,
    /// What it was made of.
    pub spec: Spec,
}

fn yes() -> bool {
    true
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is being made.
    Creating,
    /// It waits for `start`.
    Created,
    /// Its program runs.
    Running,
    /// Its processes stand still.
    Paused,
    /// It has ended.
    Stopped,
}

impl Status {
    /// The word of the specification; `paused` is runc's.
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// Where state is kept: where the caller says, or in the usual place of the user who calls. An ordinary user may
/// look like root, in a user namespace of his own.
///
/// # Errors
/// An ordinary user has no run directory.
pub fn root(said: Option<PathBuf>) -> Result<PathBuf> {
    let own = || -> Result<PathBuf> {
        let usual = Path::new("/run/rmac-oci");
        let run = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        let writable = nix::unistd::access("/run", nix::unistd::AccessFlags::W_OK).is_ok();
        if nix::unistd::geteuid().is_root() && (run.is_none() || writable) {
            return Ok(usual.into());
        }
        let run = run.context(
            "XDG_RUNTIME_DIR is not set: log in again, or say with --root where state is kept",
        )?;
        Ok(Path::new(&run).join("rmac-oci"))
    };
    said.map_or_else(own, Ok)
}

impl Store {
    /// The containers below `root`.
    pub fn new(root: PathBuf) -> Store {
        Store(root)
    }

    /// What is kept of the container `id`.
    pub fn directory(&self, id: &str) -> PathBuf {
        self.0.join(id)
    }

    /// Makes the directory of a new container and locks it.
    ///
    /// # Errors
    /// There is a container of this id, or the id is none.
    pub fn make(&self, id: &str) -> Result<File> {
        check_id(id)?;
        make_private_dir(&self.0)?;
        let directory = self.directory(id);
        match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                bail!("container with id exists: {id}")
            }
            made => made.with_context(|| format!("make {}", directory.display()))?,
        }
        self.lock(id)
    }

    /// Locks the container `id` until the file is dropped.
    ///
    /// # Errors
    /// There is no such container.
    pub fn lock(&self, id: &str) -> Result<File> {
        check_id(id)?;
        let directory = self.directory(id);
        let lock = File::open(&directory).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => NoContainer(id.to_owned()).into(),
            _ => anyhow::Error::from(error).context(format!("open {}", directory.display())),
        })?;
        lock.lock()
            .with_context(|| format!("lock {}", directory.display()))?;
        if !directory.exists() {
            return Err(NoContainer(id.to_owned()).into());
        }
        Ok(lock)
    }

    /// Saves what is kept.
    pub fn save(&self, record: &Record) -> Result<()> {
        write_json(&self.directory(&record.id).join("state.json"), record)
    }

    /// Reads what is kept.
    ///
    /// # Errors
    /// There is no such container, or nothing of it but its directory.
    pub fn load(&self, id: &str) -> Result<Record> {
        check_id(id)?;
        let directory = self.directory(id);
        match read_json(&directory.join("state.json"))? {
            Some(record) => Ok(record),
            None if directory.exists() => bail!(
                "container {id} was never finished: remove it with rmac-oci delete --force {id}"
            ),
            None => Err(NoContainer(id.to_owned()).into()),
        }
    }

    /// The ids of all containers.
    pub fn ids(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.0) else {
            return vec![];
        };
        let mut ids: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|id| check_id(id).is_ok())
            .collect();
        ids.sort();
        ids
    }

    /// Opens the directory of `id`, for a socket in it: an address holds 107 bytes, and the way through
    /// `/proc/self/fd` is always short.
    pub fn open_directory(&self, id: &str) -> Result<OwnedFd> {
        let directory = self.directory(id);
        let file = File::open(&directory);
        Ok(file
            .with_context(|| format!("open {}", directory.display()))?
            .into())
    }

    /// What the container is doing.
    pub fn status(&self, record: &Record) -> Status {
        let Some(process) = &record.process else {
            let held = File::open(self.directory(&record.id))
                .is_ok_and(|directory| directory.try_lock_shared().is_err());
            return if held {
                Status::Creating
            } else {
                Status::Stopped
            };
        };
        if !process.is_alive() {
            return Status::Stopped;
        }
        if is_frozen(record) {
            return Status::Paused;
        }
        match self.gate(&record.id).exists() {
            true => Status::Created,
            false => Status::Running,
        }
    }

    /// The socket at which the container waits.
    pub fn gate(&self, id: &str) -> PathBuf {
        self.directory(id).join("start")
    }
}

/// There is no such container.
#[derive(Debug, thiserror::Error)]
#[error("container {0:?} does not exist")]
pub struct NoContainer(pub String);

impl Record {
    /// The container whose session keyring its processes have.
    pub fn keyring(&self) -> Option<&str> {
        self.own_keyring.then_some(self.id.as_str())
    }

    /// The container's cgroup.
    pub fn cgroup(&self) -> Result<&Path> {
        crate::plan::cgroups_path(&self.spec)
    }

    /// Takes away what a container that shares the host's mounts has left of them.
    pub fn unmount(&self) -> Result<()> {
        let beneath = self.beneath;
        beneath.map_or(Ok(()), |before| rootfs::detach(&self.rootfs, before))
    }

    /// The state as hooks and callers are told it, but for status and process number.
    pub fn state(&self) -> State {
        let mut state = State::default();
        state
            .set_version(self.spec.version().clone())
            .set_id(self.id.clone())
            .set_bundle(self.bundle.clone())
            .set_annotations(self.spec.annotations().clone())
            .set_status(ContainerState::Creating);
        state
    }
}

fn is_frozen(record: &Record) -> bool {
    let frozen = || cgroups::is_frozen(&Layout::detect().ok()?, record.cgroup().ok()?).ok();
    frozen().unwrap_or(false)
}

/// Ids become names of files and directories.
fn check_id(id: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id.len() > 255 || !id.chars().all(plain) || id == "." || id == ".." {
        bail!("invalid container id {id:?}: letters, digits, _ + - . are allowed");
    }
    Ok(())
}
