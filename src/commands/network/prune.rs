//! `rmac network prune`: forgets all networks that no container is on.

use std::io::{BufRead, Write};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use super::runs;
use crate::cli::network::PruneArgs;
use crate::net::network::Network;
use crate::out::stream::{out, outln};
use crate::store::{Home, leases, networks};

/// Docker's warning.
const WARNING: &str =
    "WARNING! This will remove all custom networks not used by at least one container.";

/// Asks, then removes.
pub fn prune(home: &Home, args: &PruneArgs) -> Result<()> {
    let filters = args
        .filter
        .iter()
        .map(|text| Filter::parse(text))
        .collect::<Result<Vec<_>>>()?;
    if !args.force && !confirmed(WARNING)? {
        return Ok(());
    }
    let mut removed = vec![];
    for network in networks::declared(home)? {
        if filters.iter().all(|filter| filter.matches(&network)) && is_unused(home, &network)? {
            super::rm::remove(home, &network)?;
            removed.push(network.name);
        }
    }
    if !removed.is_empty() {
        outln!("Deleted Networks:\n{}\n", removed.join("\n"));
    }
    Ok(())
}

/// Whether no container that exists has an address in it, running or not.
fn is_unused(home: &Home, network: &Network) -> Result<bool> {
    leases::reclaim(home, &network.id)?;
    for lease in leases::list(home, &network.id)? {
        if runs(home, &lease)? || lease.state == leases::State::Held {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Asks the user, after the warning `warning`.
pub fn confirmed(warning: &str) -> Result<bool> {
    out!("{warning}\nAre you sure you want to continue? [y/N] ");
    std::io::stdout().flush().context("write the question")?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("read the answer")?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// `--filter`.
enum Filter {
    /// `until=TIMESTAMP` or an age: declared before.
    Until(Timestamp),
    /// `label=KEY[=VALUE]`, and `label!=`.
    Label {
        key: String,
        value: Option<String>,
        present: bool,
    },
}

impl Filter {
    fn parse(text: &str) -> Result<Filter> {
        let Some((key, value)) = text.split_once('=') else {
            bail!("invalid argument {text:?} for \"--filter\" flag: it should be KEY=VALUE");
        };
        match key {
            "until" => Ok(Filter::Until(until(value)?)),
            "label" | "label!" => {
                let (name, wanted) = match value.split_once('=') {
                    Some((name, wanted)) => (name, Some(wanted.to_owned())),
                    None => (value, None),
                };
                Ok(Filter::Label {
                    key: name.to_owned(),
                    value: wanted,
                    present: key == "label",
                })
            }
            _ => bail!("invalid filter '{key}'; known are: label, label!, until"),
        }
    }

    fn matches(&self, network: &Network) -> bool {
        match self {
            Filter::Until(time) => network.created < *time,
            Filter::Label {
                key,
                value,
                present,
            } => {
                let label = network.labels.get(key);
                let has = label.is_some_and(|had| value.as_ref().is_none_or(|value| had == value));
                has == *present
            }
        }
    }
}

/// A time, or how long ago, such as `24h`.
fn until(text: &str) -> Result<Timestamp> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago: jiff::SignedDuration = text.parse().ok().with_context(|| {
        format!("failed to parse the time {text:?}: such as 24h or 2026-01-31T12:00:00Z")
    })?;
    Ok(Timestamp::now() - ago)
}
