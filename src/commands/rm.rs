//! `rm`: what is kept of a container goes.

use std::time::Duration;

use anyhow::{Result, bail};

use super::stop::stop_one;
use crate::cli::container::RmArgs;
use crate::store::Home;
use crate::store::claim::{Attempt, Claim};
use crate::store::containers::{self, Record, State, Status};
use crate::supervise::heal;

/// `rmac rm`.
pub fn rm(home: &Home, args: &RmArgs) -> Result<u8> {
    super::each(&args.containers, |name| {
        let record = match containers::find(home, name) {
            // As Docker: with -f, what is not there is no error.
            Err(_) if args.force => return Ok(name.to_owned()),
            other => other?,
        };
        remove(home, &record, name, args.force)?;
        Ok(name.to_owned())
    })
}

fn remove(home: &Home, record: &Record, name: &str, force: bool) -> Result<()> {
    let runs = || {
        Ok::<_, anyhow::Error>(
            State::load(home, &record.id)?.is_some_and(|state| state.status == Status::Running),
        )
    };
    if force && runs()? {
        stop_one(home, record, Some("KILL"), Some(0))?;
    }
    match Claim::wait(home, &record.id, Duration::from_millis(100))? {
        Some(Attempt::Orphan(claim)) => {
            heal::heal(home, &record.id, &claim);
            heal::discard(home, record);
        }
        Some(Attempt::Mine(_claim)) => heal::discard(home, record),
        Some(Attempt::Busy) | None if runs()? => bail!(
            "cannot remove container \"{name}\": container is running: stop the container before removing or force remove"
        ),
        // It is being removed already, or made.
        Some(Attempt::Busy) | None => bail!("removal of container {name} is already in progress"),
    }
    Ok(())
}
