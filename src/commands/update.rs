//! `update`: what may be changed of a container that is there already: its limits, and its restart policy.

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::LinuxResources;

use super::request::block_io;
use super::request::resources::{self, Whose};
use crate::cli::container::UpdateArgs;
use crate::cli::limits::LimitArgs;
use crate::kernel::cgroups::{self, Layout};
use crate::request::{Request, Restart};
use crate::store::Home;
use crate::store::containers::{self, Record, State, Status};

/// `rmac update`.
pub fn update(home: &Home, args: &UpdateArgs) -> Result<u8> {
    let policy = args.restart.as_ref().map(|policy| policy.parse());
    let policy: Option<Restart> = policy.transpose()?;
    let change = match args.limits == LimitArgs::default() {
        true => None,
        false => Some(Change::read(&args.limits)?),
    };
    ensure!(
        policy.is_some() || change.is_some(),
        "you must provide one or more flags when using this command"
    );
    super::each(&args.containers, |name| {
        let record = containers::find(home, name)?;
        let update = || {
            if record.request.auto_remove && policy.is_some_and(|policy| policy != Restart::No) {
                bail!(
                    "Restart policy cannot be updated because AutoRemove is enabled for the container"
                );
            }
            if let Some(change) = &change {
                change.make(home, &record.id)?;
            }
            policy.map_or(Ok(()), |policy| set(home, &record, policy))
        };
        update().with_context(|| format!("Cannot update container {}", record.id))?;
        Ok(name.to_owned())
    })
}

/// New limits.
struct Change {
    limits: LinuxResources,
    /// `--cpus` in billionths; 0 where it was not given.
    nano_cpus: i64,
    /// 0 where it was not given.
    weight: u16,
}

impl Change {
    fn read(args: &LimitArgs) -> Result<Change> {
        Ok(Change {
            limits: resources::limits(args, Whose::Old)?,
            nano_cpus: resources::nano_cpus(args)?,
            weight: block_io::weight(args.blkio_weight.unwrap_or(0))?,
        })
    }

    /// Gives the container `id` the limits, at once where it runs.
    fn make(&self, home: &Home, id: &str) -> Result<()> {
        let _lock = containers::lock(home, id)?;
        let record = Record::load(home, id)?;
        let mut record = record.with_context(|| format!("No such container: {id}"))?;
        self.fits(&record.request)?;
        let group = record.request.cgroup(id);
        let own = record.request.resources.get_or_insert_default();
        let running = State::load(home, id)?.is_some_and(|state| state.status == Status::Running);
        match running {
            true => {
                let mut wanted = self.limits.clone();
                if self.weight > 0 {
                    let io = oci_spec::runtime::LinuxBlockIoBuilder::default().weight(self.weight);
                    wanted.set_block_io(Some(io.build()?));
                }
                cgroups::change(&Layout::detect()?, &group, own, wanted)?;
            }
            false => cgroups::merge(own, &self.limits)?,
        }
        if self
            .limits
            .cpu()
            .as_ref()
            .is_some_and(|cpu| cpu.quota().is_some() || cpu.period().is_some())
        {
            record.request.nano_cpus = self.nano_cpus;
        }
        if self.weight > 0 {
            record.request.block_io.weight = self.weight;
        }
        record.save(home)
    }

    /// Docker's refusals of what contradicts the limits that there are.
    fn fits(&self, request: &Request) -> Result<()> {
        let resources = request.resources.clone().unwrap_or_default();
        let cpu = resources.cpu().clone().unwrap_or_default();
        let new = self.limits.cpu().clone().unwrap_or_default();
        let by_number = request.nano_cpus > 0;
        if self.nano_cpus > 0 && !by_number {
            ensure!(
                cpu.period().is_none(),
                "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set"
            );
            ensure!(
                cpu.quota().is_none(),
                "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"
            );
        }
        if self.nano_cpus == 0 && by_number {
            ensure!(
                new.period().is_none(),
                "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set"
            );
            ensure!(
                new.quota().is_none(),
                "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
            );
        }
        let memory = resources.memory().unwrap_or_default();
        let new = self.limits.memory().unwrap_or_default();
        let unlimited = memory.swap() == Some(-1);
        if let Some(limit) = new.limit()
            && new.swap().is_none()
            && !unlimited
        {
            ensure!(
                limit <= memory.swap().unwrap_or(0),
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
            );
        }
        if let (Some(both @ 1..), None, Some(limit)) = (new.swap(), new.limit(), memory.limit()) {
            ensure!(
                both >= limit,
                "Minimum memoryswap limit should be larger than memory limit, see usage"
            );
        }
        Ok(())
    }
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
