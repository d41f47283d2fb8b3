//! `pause`, `resume`, `update`, `events`: what is done with the cgroup of a container that exists.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxPidsBuilder, LinuxResources};
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
    let resources = resources(args)?;
    let steps = cgroups::plan_update(&Layout::detect()?, record.cgroup()?, &resources)?;
    steps.iter().try_for_each(cgroups::Step::take)?;
    let linux = record
        .spec
        .linux_mut()
        .as_mut()
        .context("the spec has no linux part")?;
    let own = linux.resources_mut().get_or_insert_default();
    if resources.memory().is_some() {
        own.set_memory(*resources.memory());
    }
    if resources.cpu().is_some() {
        own.set_cpu(resources.cpu().clone());
    }
    if resources.pids().is_some() {
        own.set_pids(*resources.pids());
    }
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
    if args.memory.is_some() || args.memory_swap.is_some() {
        let mut memory = LinuxMemory::default();
        memory.set_limit(args.memory).set_swap(args.memory_swap);
        resources.set_memory(Some(memory));
    }
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(args.cpu_share)
        .set_quota(args.cpu_quota)
        .set_period(args.cpu_period)
        .set_cpus(args.cpuset_cpus.clone());
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
    let layout = Layout::detect()?;
    let below = record.cgroup()?;
    let below = below.strip_prefix("/").unwrap_or(below);
    let read = |controller: &str, v1: &str, v2: &str| -> Option<String> {
        let file = match &layout {
            Layout::V1(trees) => trees.mount_of(controller)?.join(below).join(v1),
            Layout::V2(tree) => tree.mount.join(below).join(v2),
        };
        Some(std::fs::read_to_string(file).ok()?.trim().to_owned())
    };
    let number = |controller: &str, v1: &str, v2: &str| -> u64 {
        read(controller, v1, v2)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    };
    let used = match &layout {
        Layout::V1(_) => number("cpuacct", "cpuacct.usage", ""),
        Layout::V2(_) => {
            let text = read("cpu", "", "cpu.stat").unwrap_or_default();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("usage_usec "));
            line.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1000
        }
    };
    Ok(json!({
        "type": "stats",
        "id": record.id,
        "data": {
            "cpu": { "usage": { "total": used } },
            "memory": { "usage": {
                "usage": number("memory", "memory.usage_in_bytes", "memory.current"),
                "max": number("memory", "memory.max_usage_in_bytes", "memory.peak"),
                "limit": number("memory", "memory.limit_in_bytes", "memory.max"),
            } },
            "pids": {
                "current": number("pids", "pids.current", "pids.current"),
                "limit": number("pids", "pids.max", "pids.max"),
            },
        },
    }))
}
