//! `pause`, `resume`, `update`, `events`: what is done with the cgroup of a container that exists.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpu, LinuxMemory, LinuxPidsBuilder, LinuxResources,
};
use serde_json::{Value, json};

use super::bundle;
use super::cli::{EventsArgs, UpdateArgs};
use super::state::{Record, Status, Store};
use crate::kernel::cgroups::{self, Layout};
use crate::out::stream::outln;

/// Lets all processes of the container stand still.
///
/// # Errors
/// It does not run.
pub fn pause(store: &Store, id: &str) -> Result<()> {
    let _lock = store.lock(id)?;
    let record = store.load(id)?;
    match store.status(&record) {
        Status::Created | Status::Running => cgroups::freeze(&Layout::detect()?, record.cgroup()?),
        other => bail!("cannot pause a container that is {}", other.name()),
    }
}

/// Lets them run again.
///
/// # Errors
/// It is not paused.
pub fn resume(store: &Store, id: &str) -> Result<()> {
    let _lock = store.lock(id)?;
    let record = store.load(id)?;
    match store.status(&record) {
        Status::Paused => cgroups::thaw(&Layout::detect()?, record.cgroup()?),
        other => bail!("cannot resume a container that is {}", other.name()),
    }
}

/// Changes limits, and keeps them with the container.
///
/// # Errors
/// The container has ended, or a limit is refused.
pub fn update(store: &Store, args: &UpdateArgs) -> Result<()> {
    let _lock = store.lock(&args.id)?;
    let mut record = store.load(&args.id)?;
    if store.status(&record) == Status::Stopped {
        bail!("cannot update a container that is stopped");
    }
    let wanted = resources(args)?;
    let cgroup = record.cgroup()?.to_owned();
    let linux = record
        .spec
        .linux_mut()
        .as_mut()
        .context("the spec has no linux part")?;
    let own = linux.resources_mut().get_or_insert_default();
    cgroups::change(&Layout::detect()?, &cgroup, own, wanted)?;
    store.save(&record)
}

fn resources(args: &UpdateArgs) -> Result<LinuxResources> {
    if let Some(file) = &args.resources {
        if file.as_os_str() == "-" {
            return serde_json::from_reader(std::io::stdin().lock())
                .context("the limits on the standard input are not understood");
        }
        return bundle::read(file);
    }
    let mut resources = LinuxResources::default();
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(args.memory)
        .set_swap(args.memory_swap)
        .set_reservation(args.memory_reservation);
    if memory != LinuxMemory::default() {
        resources.set_memory(Some(memory));
    }
    if let Some(weight) = args.blkio_weight {
        let io = LinuxBlockIoBuilder::default().weight(weight);
        resources.set_block_io(Some(io.build()?));
    }
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(args.cpu_share)
        .set_quota(args.cpu_quota)
        .set_period(args.cpu_period)
        .set_burst(args.cpu_burst)
        .set_idle(args.cpu_idle)
        .set_cpus(args.cpuset_cpus.clone())
        .set_mems(args.cpuset_mems.clone());
    if cpu != LinuxCpu::default() {
        resources.set_cpu(Some(cpu));
    }
    if let Some(limit) = args.pids_limit {
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    Ok(resources)
}

/// Prints what the container has used: once, or again and again until it ends.
///
/// # Errors
/// There is no such container.
pub fn events(store: &Store, args: &EventsArgs) -> Result<()> {
    loop {
        let record = store.load(&args.id)?;
        if store.status(&record) == Status::Stopped {
            if args.stats {
                bail!("container is not running");
            }
            return Ok(());
        }
        outln!("{}", stats(&record)?);
        if args.stats {
            return Ok(());
        }
        std::thread::sleep(interval(&args.interval)?);
    }
}

fn interval(word: &str) -> Result<Duration> {
    let seconds = word.strip_suffix('s').unwrap_or(word).parse::<u64>();
    match seconds {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => bail!("--interval {word:?}: a number of seconds"),
    }
}

fn stats(record: &Record) -> Result<Value> {
    let usage = cgroups::usage(&Layout::detect()?, record.cgroup()?)?;
    Ok(json!({
        "type": "stats",
        "id": record.id,
        "data": {
            "cpu": { "usage": { "total": usage.cpu } },
            "memory": { "usage": {
                "usage": usage.memory,
                "max": usage.memory_peak,
                "limit": usage.memory_limit.unwrap_or(0),
            } },
            "pids": { "current": usage.pids, "limit": usage.pids_limit.unwrap_or(0) },
        },
    }))
}
