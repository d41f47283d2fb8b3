//! `update`: what may be changed of a container that is there already: its restart policy.

use anyhow::{Context, Result, bail};

use crate::cli::container::UpdateArgs;
use crate::request::Restart;
use crate::store::Home;
use crate::store::containers::{self, Record, State};

/// `rmac update`.
pub fn update(home: &Home, args: &UpdateArgs) -> Result<u8> {
    let policy = args.restart.as_ref();
    let policy = policy.context("you must provide one or more flags when using this command")?;
    let policy: Restart = policy.parse()?;
    super::each(&args.containers, |name| {
        let record = containers::find(home, name)?;
        if record.request.auto_remove && policy != Restart::No {
            bail!(
                "Cannot update container {}: Restart policy cannot be updated because AutoRemove is enabled for the container",
                record.id
            );
        }
        set(home, &record, policy)?;
        Ok(name.to_owned())
    })
}

/// The monitor looks at it when the program has ended.
fn set(home: &Home, record: &Record, policy: Restart) -> Result<()> {
    let had_none = record.request.restart == Restart::No;
    Record::update(home, &record.id, |record| record.request.restart = policy)?;
    // Without a policy nobody has noted whether it was stopped, or came to its end by itself: then it stays as it is.
    let _lock = containers::lock(home, &record.id)?;
    if had_none
        && policy != Restart::No
        && let Some(mut state) = State::load(home, &record.id)?
        && !state.status.is_up()
    {
        state.stopped = true;
        state.save(home, &record.id)?;
    }
    Ok(())
}
