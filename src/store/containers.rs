//! What is kept of a container: its record, its state, its name.
//!
//! `config.json` holds what was asked for and never changes while the container runs; `state.json` is
//! what has become of it. The plan is not kept: it follows from the record.

mod lock;
mod process;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use oci_spec::image::Config;
use serde::{Deserialize, Serialize};

use super::summary;
use super::{Home, make_private_dir, read_json, write_json};
use crate::kernel::ids::Table;
use crate::net::endpoint::Endpoint;
use crate::request::Request;

pub use lock::{Lock, lock, try_lock};
pub use process::ProcessId;

/// What a container was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The digest of the image's configuration.
    pub image_id: String,
    /// `os/architecture` of the image.
    pub platform: String,
    /// The image's layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// The image's defaults.
    pub image_config: Config,
    /// What was asked for.
    pub request: Request,
    /// The table of its user namespace, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Table>,
    /// Its place on each of its networks.
    pub endpoints: Vec<Endpoint>,
}

/// What has become of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Where it is in its life.
    pub status: Status,
    /// Its first process, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
    /// The monitor that keeps it, while it runs.
    #[serde(default)]
    pub monitor: i32,
    /// What its program returned, or 128 and the signal's number.
    #[serde(default)]
    pub exit_code: i32,
    /// Whether its processes are frozen where they are.
    #[serde(default)]
    pub paused: bool,
    /// Why it could not be started.
    #[serde(default)]
    pub error: String,
    /// Whether the kernel killed it for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// When its program was started.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub finished: Option<Timestamp>,
    /// How often it was started again by its restart policy, since somebody has started it.
    #[serde(default)]
    pub restarts: u32,
    /// Whether somebody has stopped it, which its restart policy then does not undo.
    #[serde(default)]
    pub stopped: bool,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has not been started yet.
    Created,
    /// Its program runs.
    Running,
    /// Its program has ended, and its monitor will start it again.
    Restarting,
    /// Its program has ended.
    Exited,
}

impl Status {
    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
        }
    }

    /// What has this [`name`](Status::name).
    pub fn of_name(name: &str) -> Option<Status> {
        let all = [
            Status::Created,
            Status::Running,
            Status::Restarting,
            Status::Exited,
        ];
        all.into_iter().find(|status| status.name() == name)
    }

    /// Whether the container has a monitor: Docker's "running", which a container that will be started again is, too.
    pub fn is_up(self) -> bool {
        matches!(self, Status::Running | Status::Restarting)
    }

    /// As [`Status::name`], with Docker's further word for a container that runs but is `paused`.
    pub fn name_if(self, paused: bool) -> &'static str {
        match self {
            Status::Running if paused => "paused",
            status => status.name(),
        }
    }
}

impl State {
    /// The state of a container that has just been made.
    pub fn created() -> Self {
        State {
            status: Status::Created,
            process: None,
            monitor: 0,
            exit_code: 0,
            paused: false,
            error: String::new(),
            oom_killed: false,
            started: None,
            finished: None,
            restarts: 0,
            stopped: false,
        }
    }

    /// Docker's word for it, which has one more for a container that is paused.
    pub fn name(&self) -> &'static str {
        self.status.name_if(self.paused)
    }

    /// Writes it as the state of the container `id`.
    pub fn save(&self, home: &Home, id: &str) -> Result<()> {
        summary::outdate(home, id);
        write_json(&home.container(id).join("state.json"), self)
    }

    /// The state of the container `id`; `None` before it has one: a `run` that has not come to its end.
    ///
    /// A container whose state says that it runs, but which nothing happens to, ran when the machine went
    /// down: its claim lay below the run root, which is gone. Docker's exit code for that is 255.
    pub fn load(home: &Home, id: &str) -> Result<Option<Self>> {
        let state: Option<State> = read_json(&home.container(id).join("state.json"))?;
        Ok(state.map(|state| match state.status {
            Status::Running | Status::Restarting if !home.running(id).exists() => State {
                status: Status::Exited,
                process: None,
                exit_code: 255,
                paused: false,
                error: "the machine was restarted".into(),
                ..state
            },
            _ => state,
        }))
    }
}

impl Record {
    /// Writes the record.
    pub fn save(&self, home: &Home) -> Result<()> {
        summary::outdate(home, &self.id);
        write_json(&home.container(&self.id).join("config.json"), self)
    }

    /// Changes the record of the container `id` as `change` says, alone.
    pub fn update(home: &Home, id: &str, change: impl FnOnce(&mut Record)) -> Result<()> {
        let _lock = lock(home, id)?;
        let Some(mut record) = Record::load(home, id)? else {
            return Ok(());
        };
        change(&mut record);
        record.save(home)
    }

    /// The record of the container `id`; `None` where there is none.
    pub fn load(home: &Home, id: &str) -> Result<Option<Self>> {
        read_json(&home.container(id).join("config.json"))
    }

    /// The file that holds what the program wrote.
    pub fn log_path(&self, home: &Home) -> PathBuf {
        home.container(&self.id)
            .join(format!("{}-json.log", self.id))
    }
}

/// Makes the directory of the container `id`. overlayfs takes owner and mode of the tree's top from `upper`, so
/// that gets those of `top`, the image's uppermost layer, as the container's numbers `ids` have them.
pub fn make_directory(
    home: &Home,
    id: &str,
    top: Option<&Path>,
    ids: Option<&Table>,
) -> Result<()> {
    let directory = home.container(id);
    make_private_dir(&directory.join("work"))?;
    let upper = directory.join("upper");
    let make = || -> std::io::Result<()> {
        std::fs::create_dir(&upper)?;
        let (mode, owner) = match top.map(std::fs::metadata).transpose()? {
            Some(like) => (like.mode() & 0o7777, (like.uid(), like.gid())),
            None => (0o755, (0, 0)),
        };
        let owner = match ids {
            Some(table) => table.outside(owner.0, owner.1).unwrap_or(owner),
            None => owner,
        };
        if owner != (0, 0) {
            std::os::unix::fs::chown(&upper, Some(owner.0), Some(owner.1))?;
        }
        // Not by mkdir, whose mode the caller's umask would cut.
        std::fs::set_permissions(&upper, Permissions::from_mode(mode))
    };
    make().with_context(|| format!("make {}", upper.display()))
}

/// Gives the name `name` to the container `id`: a symbolic link, which only one can make.
///
/// # Errors
/// Docker's text where the name is taken.
pub fn claim_name(home: &Home, id: &str, name: &str) -> Result<()> {
    let names = home.root.join("names");
    let claim = || std::os::unix::fs::symlink(id, names.join(name));
    let claimed = match claim() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make_private_dir(&names)?;
            claim()
        }
        other => other,
    };
    match claimed {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let owner = id_of_name(home, name).unwrap_or_default();
            bail!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to remove (or \
                 rename) that container to be able to reuse that name."
            )
        }
        other => other.with_context(|| format!("claim the name {name}")),
    }
}

/// Takes the container's name away, so that it can be used again at once.
pub fn free_name(home: &Home, id: &str, name: &str) {
    if id_of_name(home, name).as_deref() == Some(id) {
        let _ = std::fs::remove_file(home.root.join("names").join(name));
    }
}

/// Takes the container `id` and its name out of everybody's sight, while somebody waits; [`remove`] does
/// the rest later. Two renames: to remove a link and two files takes a file system five times as long.
pub fn retire(home: &Home, id: &str, name: &str) {
    let directory = home.container(id);
    if id_of_name(home, name).as_deref() == Some(id) {
        let _ = std::fs::rename(home.root.join("names").join(name), directory.join("name"));
    }
    let _ = std::fs::rename(directory, retired(home, id));
    // Its claim lives on for a moment, and `ps` looks at that.
    if summary::was_told(home, id) {
        summary::withdraw(home, id);
    }
}

/// Where what is left of the container `id` waits for its removal.
fn retired(home: &Home, id: &str) -> PathBuf {
    home.root.join("containers").join(format!(".{id}"))
}

/// Removes all that is kept of the container `id`; what is gone already is no error.
pub fn remove(home: &Home, id: &str) -> Result<()> {
    summary::withdraw(home, id);
    for directory in [home.container(id), retired(home, id)] {
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", directory.display()));
            }
            _ => (),
        }
    }
    Ok(())
}

/// The ids of all containers.
pub fn ids(home: &Home) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(home.root.join("containers")) else {
        return vec![];
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|id| !id.starts_with('.'))
        .collect()
}

/// Finds the container that is meant by `reference`: its id, its name, or a prefix of its id that no
/// other has.
///
/// # Errors
/// Docker's `No such container`.
pub fn find(home: &Home, reference: &str) -> Result<Record> {
    let name = reference.strip_prefix('/').unwrap_or(reference);
    if name.is_empty() || name.contains('/') {
        bail!("invalid container name or ID: value is empty or holds a slash: {reference:?}");
    }
    // A full id needs no list, nor does a name.
    if let Some(id) = id_of_name(home, name)
        && let Some(record) = Record::load(home, &id)?
    {
        return Ok(record);
    }
    if name.len() == 64
        && let Some(record) = Record::load(home, name)?
    {
        return Ok(record);
    }
    let mut matching = ids(home).into_iter().filter(|id| id.starts_with(name));
    match (matching.next(), matching.next()) {
        (Some(id), None) => {
            Record::load(home, &id)?.with_context(|| format!("No such container: {reference}"))
        }
        (Some(_), Some(_)) => bail!("multiple IDs found with provided prefix: {reference}"),
        _ => bail!("No such container: {reference}{}", suggestion(home, name)),
    }
}

/// The id of the container that has the name `name`.
pub fn id_of_name(home: &Home, name: &str) -> Option<String> {
    let link = std::fs::read_link(home.root.join("names").join(name)).ok()?;
    link.into_os_string().into_string().ok()
}

/// Names near to `name`, for who mistyped it.
fn suggestion(home: &Home, name: &str) -> String {
    let Ok(entries) = std::fs::read_dir(home.root.join("names")) else {
        return String::new();
    };
    let names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    match crate::out::did_you_mean(name, names.iter().map(String::as_str)) {
        Some(near) => format!(" (did you mean {near}?)"),
        None => String::new(),
    }
}

/// The names of all containers.
pub fn names(home: &Home) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(home.root.join("names")) else {
        return vec![];
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}
