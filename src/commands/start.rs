//! `start`: a container that exists gets a monitor again.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::run::{options, start_existing};
use super::stop::stop_one;
use crate::cli::container::{StartArgs, StopArgs};
use crate::request::NetworkMode;
use crate::store::claim::{self, Attempt, Claim};
use crate::store::containers::{self, Record, State, Status};
use crate::store::{Home, networks};
use crate::supervise::client;
use crate::supervise::heal;
use crate::supervise::monitor::OnFailure;
use crate::supervise::start::{Attach, How};

/// `rmac start`.
pub fn start(home: &Home, args: &StartArgs) -> Result<u8> {
    if args.at_boot {
        return at_boot(home, args);
    }
    let attach = args.attach || args.interactive;
    if attach && args.containers.len() > 1 {
        bail!("you cannot start and attach multiple containers at once");
    }
    protect(home, &args.containers)?;
    let how = How {
        attach: if attach { Attach::Yes } else { Attach::No },
        explain: args.explain,
        on_failure: OnFailure::Keep,
    };
    if attach {
        let Some((record, claim)) = claim_stopped(home, &args.containers[0])? else {
            return Ok(0);
        };
        let mut options = options(&record.request, true)?;
        options.input &= args.interactive;
        if let Some(keys) = &args.detach_keys {
            options.detach_keys = client::parse_detach_keys(keys)?;
        }
        return start_existing(home, record, claim, how, Some(&options));
    }
    super::each(&args.containers, |name| {
        if let Some((record, claim)) = claim_stopped(home, name)? {
            start_existing(home, record, claim, how, None)?;
        }
        Ok(name.to_owned())
    })
}

/// Starts what Docker's daemon would when it begins: the oldest first, whose network a later one may share.
fn at_boot(home: &Home, args: &StartArgs) -> Result<u8> {
    let mut records = vec![];
    for id in containers::ids(home) {
        // One may be removed meanwhile, or its making may not have come to its end.
        let (Some(record), Some(state)) = (Record::load(home, &id)?, State::load(home, &id)?)
        else {
            continue;
        };
        let policy = record.request.restart;
        if state.status == Status::Exited && policy.at_boot(state.stopped) {
            records.push(record);
        }
    }
    records.sort_by_key(|record| record.created);
    let names = records.into_iter().map(|record| record.name).collect();
    start(
        home,
        &StartArgs {
            at_boot: false,
            containers: names,
            detach_keys: None,
            ..*args
        },
    )
}

/// `rmac restart`.
pub fn restart(home: &Home, args: &StopArgs) -> Result<u8> {
    protect(home, &args.containers)?;
    let how = How {
        attach: Attach::No,
        explain: None,
        on_failure: OnFailure::Keep,
    };
    super::each(&args.containers, |name| {
        let record = containers::find(home, name)?;
        stop_one(home, &record, args.signal.as_deref(), args.timeout)?;
        if let Some((record, claim)) = claim_stopped(home, name)? {
            start_existing(home, record, claim, how, None)?;
        }
        Ok(name.to_owned())
    })
}

/// Before anything is done, since it may begin anew.
fn protect(home: &Home, names: &[String]) -> Result<()> {
    // One that is missing is told in its turn.
    let records = names
        .iter()
        .filter_map(|name| containers::find(home, name).ok());
    let mut records = records.map(|record| super::protect(&record.request));
    records.try_for_each(|done| done)
}

/// The right to start the container; `None` where it runs already, which is no error.
fn claim_stopped(home: &Home, name: &str) -> Result<Option<(Record, Claim)>> {
    let record = containers::find(home, name)?;
    check_networks(home, &record)?;
    loop {
        match Claim::wait(home, &record.id, Duration::from_millis(20))? {
            Some(Attempt::Mine(claim)) => {
                // It may have removed itself while we waited.
                let record = Record::load(home, &record.id)?
                    .with_context(|| format!("No such container: {name}"))?;
                return Ok(Some((record, claim)));
            }
            Some(Attempt::Orphan(claim)) => {
                heal::heal(home, &record.id, &claim);
                drop(claim);
            }
            Some(Attempt::Busy) | None => {
                let state = State::load(home, &record.id)?;
                if state.is_some_and(|state| state.status.is_up())
                    && claim::is_claimed(home, &record.id)
                {
                    return Ok(None);
                }
            }
        }
    }
}

/// A network may have been removed since, as Docker allows while a container is stopped.
fn check_networks(home: &Home, record: &Record) -> Result<()> {
    if let NetworkMode::Container(id) = &record.request.network {
        let owner = containers::find(home, id)?;
        super::attach::running(
            home,
            &owner,
            &format!("cannot join network of a non running container: {id}"),
        )?;
    }
    if let NetworkMode::Networks(_) = &record.request.network {
        for endpoint in &record.endpoints {
            let network = networks::load(home, &endpoint.network_id);
            network.with_context(|| format!("network {} not found", endpoint.network))?;
        }
    }
    Ok(())
}
