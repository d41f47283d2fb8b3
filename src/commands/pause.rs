//! `pause` and `unpause`: the freezer stops all processes of a container where they are.  cgroups(7), freezer

use anyhow::{Context, Result, bail};

use super::attach::running;
use crate::cli::container::Names;
use crate::kernel::cgroups::{self, Layout};
use crate::store::Home;
use crate::store::containers;

/// `rmac pause`.
pub fn pause(home: &Home, args: &Names) -> Result<u8> {
    super::each(&args.containers, |name| {
        let record = containers::find(home, name)?;
        let _lock = containers::lock(home, &record.id)?;
        let mut state = running(
            home,
            &record,
            &format!("container {} is not running", record.id),
        )?;
        if state.paused {
            bail!("container {} is already paused", record.id);
        }
        let layout = Layout::detect()?;
        cgroups::freeze(&layout, &record.request.cgroup(&record.id))
            .with_context(|| format!("pause {name}"))?;
        state.paused = true;
        state.save(home, &record.id)?;
        Ok(name.to_owned())
    })
}

/// `rmac unpause`.
pub fn unpause(home: &Home, args: &Names) -> Result<u8> {
    super::each(&args.containers, |name| {
        let record = containers::find(home, name)?;
        let _lock = containers::lock(home, &record.id)?;
        let mut state = running(
            home,
            &record,
            &format!("container {} is not running", record.id),
        )?;
        if !state.paused {
            bail!("container {} is not paused", record.id);
        }
        // Written first: once it runs, it may end, and then its monitor has the last word.
        state.paused = false;
        state.save(home, &record.id)?;
        let layout = Layout::detect()?;
        cgroups::thaw(&layout, &record.request.cgroup(&record.id))
            .with_context(|| format!("unpause {name}"))?;
        Ok(name.to_owned())
    })
}
