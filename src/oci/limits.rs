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
    let mut wanted = resources(args)?;
    let cgroup = record.cgroup()?.to_owned();
    let linux = record
        .spec
        .linux_mut()
        .as_mut()
        .context("the spec has no linux part")?;
    let own = linux.resources_mut().get_or_insert_default();
    own.set_memory(merged(own.memory(), wanted.memory())?);
    own.set_cpu(merged(own.cpu(), wanted.cpu())?);
    own.set_pids(merged(own.pids(), wanted.pids())?);
    complete(&mut wanted, own);
    let steps = cgroups::plan_update(&Layout::detect()?, &cgroup, &wanted)?;
    // Limits depend on each other, as that of memory with swap on that of memory: what one refuses now it may
    // allow after the others.
    let late: Vec<_> = steps.iter().filter(|step| step.take().is_err()).collect();
    late.into_iter().try_for_each(cgroups::Step::take)?;
    store.save(&record)
}

/// The limits `old`, but for those that `new` has.
fn merged<T>(old: &Option<T>, new: &Option<T>) -> Result<Option<T>>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let mut all = json!({});
    for part in [old, new].into_iter().flatten() {
        let Value::Object(part) = serde_json::to_value(part)? else {
            continue;
        };
        let given = part.into_iter().filter(|(_, value)| !value.is_null());
        given.for_each(|(name, value)| all[name] = value);
    }
    let any = old.is_some() || new.is_some();
    Ok(any.then(|| serde_json::from_value(all)).transpose()?)
}

/// Some limits are one setting together: half of one is completed from what holds already.
fn complete(wanted: &mut LinuxResources, own: &LinuxResources) {
    if let (Some(cpu), Some(all)) = (wanted.cpu_mut(), own.cpu())
        && (cpu.quota().is_some() || cpu.period().is_some())
    {
        cpu.set_quota(all.quota()).set_period(all.period());
    }
    if let (Some(memory), Some(all)) = (wanted.memory_mut(), own.memory())
        && memory.swap().is_some()
    {
        memory.set_limit(all.limit());
    }
    // Spec 1.3: -1 is no limit, and 0 a limit; but with none at all nothing could enter, so it is 1 as with runc.
    if let Some(pids) = wanted.pids_mut().as_mut().filter(|pids| pids.limit() == 0) {
        pids.set_limit(1);
    }
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
