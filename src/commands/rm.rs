//! `rm`: what is kept of a container goes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::stop::stop_one;
use crate::cli::container::RmArgs;
use crate::store::Home;
use crate::store::claim::{Attempt, Claim};
use crate::store::containers::{self, Record, State};
use crate::supervise::client::PATIENCE;
use crate::supervise::heal;

/// `rmac rm`.
pub fn rm(home: &Home, args: &RmArgs) -> Result<u8> {
    super::each_at_once(&args.containers, |name| {
        let record = match containers::find(home, name) {
            // As Docker: with -f, what is not there is no error.
            Err(_) if args.force => return Ok(name.to_owned()),
            other => other?,
        };
        remove(home, &record, name, args)?;
        Ok(name.to_owned())
    })
}

fn remove(home: &Home, record: &Record, name: &str, args: &RmArgs) -> Result<()> {
    let force = args.force;
    let discard = match args.volumes || record.request.auto_remove {
        true => heal::discard,
        false => heal::discard_but_volumes,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let runs = || {
            let state = State::load(home, &record.id)?;
            Ok::<_, anyhow::Error>(state.filter(|state| state.status.is_up()))
        };
        if force && runs()?.is_some() {
            stop_one(home, record, Some("KILL"), Some(0))?;
        }
        match Claim::wait(home, &record.id, Duration::from_millis(100))? {
            Some(Attempt::Orphan(claim)) => {
                heal::heal(home, &record.id, &claim);
                discard(home, record);
                return Ok(());
            }
            Some(Attempt::Mine(_claim)) => {
                discard(home, record);
                return Ok(());
            }
            // It is just being started, or is on its way out.
            Some(Attempt::Busy) | None => match runs()? {
                None if Instant::now() < deadline => (),
                Some(_) if force && Instant::now() < deadline => (),
                Some(state) => bail!(
                    "cannot remove container \"{name}\": container is {}: stop the container before removing or force remove",
                    state.status.name()
                ),
                None => bail!("removal of container {name} is already in progress"),
            },
        }
    }
}
