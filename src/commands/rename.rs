//! `rename`: the container's name is a symbolic link, so a new one is made before the old one goes.

use anyhow::{Result, bail};

use super::run::check_name;
use crate::cli::container::RenameArgs;
use crate::store::Home;
use crate::store::containers::{self, Record, State};
use crate::supervise::{monitor, peers};

/// `rmac rename`.
pub fn rename(home: &Home, args: &RenameArgs) -> Result<u8> {
    check_name(&args.new)?;
    let mut record = containers::find(home, &args.container)?;
    if record.name == args.new {
        bail!("Renaming a container with the same name as its current name");
    }
    containers::claim_name(home, &record.id, &args.new)?;
    let old = std::mem::replace(&mut record.name, args.new.clone());
    Record::update(home, &record.id, |kept| kept.name.clone_from(&args.new))?;
    containers::free_name(home, &record.id, &old);
    // Its peers know it by its name.
    if State::load(home, &record.id)?.is_some_and(|state| state.status.is_up()) {
        peers::join(home, &record, peers::Before::Perhaps)?;
        peers::tell(home, monitor::networks(&record))?;
    }
    Ok(0)
}
