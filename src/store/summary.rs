//! The summary of a container: what `ps` shows of it.  symlink(7)
//!
//! A running container's summary lies in its directory below the run root, as the text of a symbolic link:
//! one call reads it, where record and state are two files of some thousand bytes to be opened, read and
//! understood. It is made from those two and is never more than a copy: to write one of them takes it away
//! first, to give their lock back lays it down again ([`super::containers::Lock`]), and who finds none reads the two.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::fmt::serde::timestamp::microsecond;
use nix::fcntl::{AT_FDCWD, readlinkat};
use serde::Deserialize;

use super::Home;
use super::containers::{Record, State, Status};
use crate::request::NetworkMode;
use crate::spec;

/// What is shown of a container in a list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Summary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// The image, as it was asked for.
    pub image: String,
    /// The digest of the image's configuration.
    pub image_id: String,
    /// The program and its arguments.
    pub command: String,
    /// When it was made.
    #[serde(with = "microsecond::required")]
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The sources of its bind mounts.
    pub mounts: Vec<PathBuf>,
    /// Its networks' names, or its network mode.
    pub networks: String,
    /// Where it is in its life.
    pub status: Status,
    /// Whether its processes are frozen where they are.
    pub paused: bool,
    /// What its program returned.
    pub exit_code: i32,
    /// When its program was started.
    #[serde(with = "microsecond::optional")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "microsecond::optional")]
    pub finished: Option<Timestamp>,
}

impl Summary {
    /// That of the container with this record and this state.
    pub fn of(record: &Record, state: &State) -> Summary {
        let request = &record.request;
        Summary {
            id: record.id.clone(),
            name: record.name.clone(),
            image: request.image.clone(),
            image_id: record.image_id.clone(),
            command: spec::args(&record.image_config, request).join(" "),
            created: record.created,
            labels: request.labels.clone(),
            mounts: request
                .binds
                .iter()
                .map(|bind| bind.source.clone())
                .collect(),
            networks: networks(record),
            status: state.status,
            paused: state.paused,
            exit_code: state.exit_code,
            started: state.started,
            finished: state.finished,
        }
    }

    /// That of the container `id`; `None` where there is no such container, or not yet.
    pub fn load(home: &Home, id: &str) -> Result<Option<Summary>> {
        match Summary::read(AT_FDCWD, &path(home, id)) {
            Some(summary) => Ok(Some(summary)),
            None => Summary::make(home, id),
        }
    }

    /// That of the container `id`, whose directory below the run root lies in the open directory `all`.
    pub fn load_at(home: &Home, id: &str, all: BorrowedFd<'_>) -> Result<Option<Summary>> {
        match Summary::read(all, &Path::new(id).join("summary")) {
            Some(summary) => Ok(Some(summary)),
            None => Summary::make(home, id),
        }
    }

    fn read(directory: BorrowedFd<'_>, path: &Path) -> Option<Summary> {
        let text = readlinkat(directory, path).ok()?;
        serde_json::from_slice(text.as_encoded_bytes()).ok()
    }

    /// What is kept of it: the values in the order of the fields, and moments as microseconds, which takes a list
    /// half the time to understand that names and dates would take it.
    fn text(&self) -> Result<String> {
        let micros = |moment: Option<Timestamp>| moment.map(Timestamp::as_microsecond);
        serde_json::to_string(&(
            &self.id,
            &self.name,
            &self.image,
            &self.image_id,
            &self.command,
            self.created.as_microsecond(),
            &self.labels,
            &self.mounts,
            &self.networks,
            self.status,
            self.paused,
            self.exit_code,
            micros(self.started),
            micros(self.finished),
        ))
        .context("put it into JSON")
    }

    fn make(home: &Home, id: &str) -> Result<Option<Summary>> {
        let (Some(record), Some(state)) = (Record::load(home, id)?, State::load(home, id)?) else {
            return Ok(None);
        };
        Ok(Some(Summary::of(&record, &state)))
    }

    /// Docker's word for its state.
    pub fn state_name(&self) -> &'static str {
        self.status.name_if(self.paused)
    }
}

/// Lays down the summary of the container `id`, if it runs and has none, from its record and its state. One that is
/// too long for a link (4,095 bytes) stays out. For who holds the lock of both.
pub fn renew(home: &Home, id: &str) -> Result<()> {
    let path = path(home, id);
    if path.is_symlink() {
        return Ok(());
    }
    let (Some(record), Some(state)) = (Record::load(home, id)?, State::load(home, id)?) else {
        return Ok(());
    };
    if state.status == Status::Running {
        let text = Summary::of(&record, &state).text()?;
        if text.len() < 4096 {
            std::os::unix::fs::symlink(text, path).context("lay down the summary")?;
        }
    }
    Ok(())
}

/// Takes the summary of the container `id` away: its record or its state is about to change.
pub fn withdraw(home: &Home, id: &str) {
    let _ = std::fs::remove_file(path(home, id));
}

fn path(home: &Home, id: &str) -> PathBuf {
    home.running(id).join(Path::new("summary"))
}

fn networks(record: &Record) -> String {
    match &record.request.network {
        NetworkMode::None => "none".into(),
        NetworkMode::Host => "host".into(),
        NetworkMode::Container(id) => format!("container:{}", super::short(id)),
        NetworkMode::Networks(wanted) => wanted
            .iter()
            .map(|network| network.name.as_str())
            .collect::<Vec<_>>()
            .join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let whole = Summary {
            id: "0".repeat(64),
            name: "a".into(),
            image: "alpine:3".into(),
            image_id: "sha256:1".into(),
            command: "sh -c \"echo\ttab\nand é\"".into(),
            created: "2026-11-24T17:10:15.472781Z".parse().unwrap(),
            labels: [("key".into(), "a=\"b\"".into())].into(),
            mounts: vec!["/a b".into()],
            networks: "one,two".into(),
            status: Status::Running,
            paused: true,
            exit_code: -1,
            started: Some("1969-12-31T23:59:59.5Z".parse().unwrap()),
            finished: None,
        };
        let text = whole.text().unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), whole);
    }
}
