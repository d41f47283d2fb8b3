//! Volumes: directories with a name, which outlive the containers that use them.
//!
//! ```text
//! volumes/NAME/_data          what the containers see
//! volumes/NAME/volume.json    what is kept of it; written last, so that a volume without it does not count
//! volumes/.NAME/              one that is just being removed
//! ```
//!
//! Who uses a volume is not written down: the containers' records say it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::containers::{self, Record};
use super::{Home, make_private_dir, read_json, write_json};

/// What is kept of a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name; 64 hexadecimal digits where nobody gave it one.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Made for a container that did not name it: it goes with `--rm` and `rm -v`.
    pub anonymous: bool,
}

/// Makes the volume unless it is there; tells whether it is new.
///
/// # Errors
/// In Docker's words for a name that cannot be.
pub fn ensure(
    home: &Home,
    name: &str,
    labels: BTreeMap<String, String>,
    anonymous: bool,
) -> Result<bool> {
    check_name(name)?;
    if find(home, name)?.is_some() {
        return Ok(false);
    }
    let data = data(home, name);
    make_private_dir(&data)?;
    // As Docker's: open to whom the directories above let in, which is nobody on the host.
    std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .with_context(|| format!("open {}", data.display()))?;
    let volume = Volume {
        name: name.to_owned(),
        created: Timestamp::now(),
        labels,
        anonymous,
    };
    write_json(&directory(home, name).join("volume.json"), &volume).map(|()| true)
}

/// The volume of this name.
///
/// # Errors
/// Docker's `no such volume`.
pub fn load(home: &Home, name: &str) -> Result<Volume> {
    find(home, name)?.with_context(|| format!("get {name}: no such volume"))
}

/// All volumes, by name.
pub fn list(home: &Home) -> Result<Vec<Volume>> {
    let entries = std::fs::read_dir(home.root.join("volumes"))
        .into_iter()
        .flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let found = names.iter().map(|name| find(home, name));
    Ok(found
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// Removes the volume.
///
/// It is put aside first, and then looked for users again: who makes a container writes its record, then asks whether
/// its volumes are there ([`require`]). So at least one sees the other.
///
/// # Errors
/// Docker's words where a container has it.
pub fn remove(home: &Home, name: &str) -> Result<()> {
    load(home, name)?;
    let refuse_used = || match users(home, name).as_slice() {
        [] => Ok(()),
        users => bail!("remove {name}: volume is in use - [{}]", users.join(", ")),
    };
    refuse_used()?;
    let all = home.root.join("volumes");
    let remove = |path: &Path| {
        std::fs::remove_dir_all(path).with_context(|| format!("remove {}", path.display()))
    };
    let lock = std::fs::File::open(&all).with_context(|| format!("open {}", all.display()))?;
    lock.lock().context("lock the volumes")?;
    // No name begins with a dot, so what does was left by somebody who was killed.
    for entry in std::fs::read_dir(&all)?.flatten() {
        let entry_name = entry.file_name();
        let Some(left) = entry_name.to_str().and_then(|name| name.strip_prefix('.')) else {
            continue;
        };
        let home_of = directory(home, left);
        if users(home, left).is_empty() || home_of.exists() {
            remove(&entry.path())?;
        } else {
            // Who uses it came just before.
            std::fs::rename(entry.path(), home_of).with_context(|| format!("put {left} back"))?;
        }
    }
    let (directory, aside) = (directory(home, name), all.join(format!(".{name}")));
    match std::fs::rename(&directory, &aside) {
        // Another process was faster.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => load(home, name).map(drop)?,
        other => other.with_context(|| format!("remove {}", directory.display()))?,
    }
    if let Err(error) = refuse_used() {
        std::fs::rename(&aside, &directory)
            .with_context(|| format!("put {} back", aside.display()))?;
        return Err(error);
    }
    remove(&aside)
}

/// Whether all volumes of the container are there, for who has written its record: from then on they are not removed,
/// and until then they could be.
///
/// # Errors
/// One is not.
pub fn require(home: &Home, record: &Record) -> Result<()> {
    match names(record).find(|name| !data(home, name).is_dir()) {
        Some(name) => bail!("get {name}: no such volume (it has just been removed)"),
        None => Ok(()),
    }
}

/// Removes what no container but `record`'s has of the volumes that it did not name.
pub fn remove_anonymous(home: &Home, record: &Record) {
    for name in names(record) {
        let anonymous = find(home, name).is_ok_and(|volume| volume.is_some_and(|v| v.anonymous));
        if anonymous && users(home, name).iter().all(|id| *id == record.id) {
            let _ = std::fs::remove_dir_all(directory(home, name));
        }
    }
}

/// The ids of the containers that have the volume.
pub fn users(home: &Home, name: &str) -> Vec<String> {
    let mut ids = containers::ids(home);
    ids.retain(|id| {
        let record = Record::load(home, id).ok().flatten();
        record.is_some_and(|record| names(&record).any(|has| has == name))
    });
    ids
}

/// Where the volume's files lie.
pub fn data(home: &Home, name: &str) -> PathBuf {
    directory(home, name).join("_data")
}

fn names(record: &Record) -> impl Iterator<Item = &str> {
    let binds = record.request.binds.iter();
    binds.filter_map(|bind| bind.volume.as_deref())
}

fn directory(home: &Home, name: &str) -> PathBuf {
    home.root.join("volumes").join(name)
}

fn find(home: &Home, name: &str) -> Result<Option<Volume>> {
    if check_name(name).is_err() {
        return Ok(None);
    }
    read_json(&directory(home, name).join("volume.json"))
}

fn check_name(name: &str) -> Result<()> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !first || name.len() < 2 || name.len() > 255 || !name.chars().all(known) {
        bail!(
            "create {name}: {name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        );
    }
    Ok(())
}
