//! The filters of `ps`: which containers are to be shown.

use anyhow::{Result, bail};
use jiff::Timestamp;

use crate::commands::filter::{self, Filters};
use crate::store::Home;
use crate::store::containers::{self, Record, Status};
use crate::store::summary::Summary;

/// What can be asked for.
const KEYS: [&str; 11] = [
    "ancestor", "before", "exited", "health", "id", "label", "name", "network", "since", "status",
    "volume",
];

/// Docker's states of a container.
const STATES: [&str; 7] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];

/// Docker's states of health; rmac looks after nobody's.
const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// Which containers are to be shown.
pub(super) struct Wanted {
    filters: Filters,
    /// Those made before all of these moments.
    before: Vec<Timestamp>,
    /// Those made after all of these.
    since: Vec<Timestamp>,
}

impl Wanted {
    /// Reads `-f`.
    ///
    /// # Errors
    /// A key or a value that there is not; `before` or `since` a container that there is not.
    pub(super) fn read(home: &Home, texts: &[String]) -> Result<Wanted> {
        let filters = Filters::parse(texts, &KEYS)?;
        let is_none = |key, known: &[&str]| {
            let mut values = filters.values(key);
            values
                .find(|value| !known.contains(value))
                .map(str::to_owned)
        };
        if let Some(value) = is_none("status", &STATES) {
            bail!(
                "invalid filter 'status={value}': invalid value for state ({value}): must be one of {}",
                STATES.join(", ")
            );
        }
        if let Some(value) = is_none("health", &HEALTH) {
            bail!(
                "invalid filter 'health={value}': it is one of {}",
                HEALTH.join(", ")
            );
        }
        if let Some(value) = filters
            .values("exited")
            .find(|value| value.parse::<i32>().is_err())
        {
            bail!("invalid filter 'exited={value}': it is no exit code");
        }
        let made = |key| -> Result<Vec<Timestamp>> {
            let names = filters.values(key);
            names
                .map(|name| {
                    // As exact as a summary has it, in which the same moment must not be later.
                    let made = containers::find(home, name)?.created.as_microsecond();
                    Ok(Timestamp::from_microsecond(made)?)
                })
                .collect()
        };
        Ok(Wanted {
            before: made("before")?,
            since: made("since")?,
            filters,
        })
    }

    /// Whether a status is asked for: then those that do not run are looked through, too.
    pub(super) fn any_status(&self) -> bool {
        self.filters.values("status").next().is_some()
    }

    /// Whether the container is to be shown.
    pub(super) fn has(&self, home: &Home, summary: &Summary) -> bool {
        self.before.iter().all(|moment| summary.created < *moment)
            && self.since.iter().all(|moment| summary.created > *moment)
            && self
                .filters
                .show(|key, value| matches(home, summary, key, value))
    }
}

fn matches(home: &Home, summary: &Summary, key: &str, value: &str) -> bool {
    match key {
        "id" => summary.id.starts_with(value),
        "name" => filter::name(summary.name, value),
        "status" => summary.state_name() == value,
        "exited" => summary.status == Status::Exited && summary.exit_code.to_string() == value,
        "ancestor" => summary.image == value || summary.image_id.contains(value),
        "network" => summary.networks.split(',').any(|name| name == value),
        "health" => value == "none",
        "volume" => has_volume(home, summary.id, value),
        "label" => filter::label(summary.labels(), value),
        // Times, which have been compared.
        _ => true,
    }
}

/// Whether the container has this volume, this directory of the host, or something at this path.
fn has_volume(home: &Home, id: &str, value: &str) -> bool {
    let Ok(Some(record)) = Record::load(home, id) else {
        return false;
    };
    let mut binds = record.request.binds.iter();
    binds.any(|bind| {
        let name = match &bind.volume {
            Some(name) => name == value,
            None => bind.source.as_os_str() == value,
        };
        name || bind.target.as_os_str() == value
    })
}
