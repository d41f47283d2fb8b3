//! `-m`, `--cpus`, `--cpuset-cpus` and their kin: what the container may use of the machine, in Docker's units and
//! ranges, with Docker's words for what is out of them.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxPidsBuilder, LinuxResources};

use crate::cli::limits::LimitArgs;
use crate::cli::run::ContainerArgs;
use crate::kernel::cgroups::Layout;
use crate::out;
use crate::out::stream::errln;

/// Docker's least limit of memory, bytes.
const LEAST_MEMORY: i64 = 6 << 20;

/// In how many microseconds `--cpus` counts: the kernel's usual period.
const PERIOD: u64 = 100_000;

/// The greatest number in a list of processors: to count further would only take memory (CVE-2018-20699).
const MOST_CPUS: usize = 8192;

/// Whose limits they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A container's that is to be made.
    New,
    /// A container's that has some already.
    Old,
}

/// The limits that `args` ask for.
pub(super) fn resources(args: &ContainerArgs) -> Result<LinuxResources> {
    let mut resources = limits(&args.limits, Whose::New)?;
    let mut memory = resources.memory().unwrap_or_default();
    version_one_alone(args, &mut memory)?;
    if memory != LinuxMemory::default() {
        resources.set_memory(Some(memory));
    }
    Ok(resources)
}

/// The same, of memory, processors and processes only.
///
/// # Errors
/// One is out of its range, or two contradict each other.
pub fn limits(args: &LimitArgs, whose: Whose) -> Result<LinuxResources> {
    let mut resources = LinuxResources::default();
    let memory = memory(args, whose)?;
    if memory != LinuxMemory::default() {
        resources.set_memory(Some(memory));
    }
    let cpu = cpu(args)?;
    if cpu != LinuxCpu::default() {
        resources.set_cpu(Some(cpu));
    }
    // None is none: of a new one nothing has to be said then.
    let pids = args
        .pids_limit
        .map(|limit| if limit > 0 { limit } else { -1 });
    if let Some(limit) = pids.filter(|limit| *limit > 0 || whose == Whose::Old) {
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    Ok(resources)
}

/// `--cgroup-parent`, a place below the root of the cgroups.
pub(super) fn cgroup_parent(text: Option<&str>) -> Result<Option<String>> {
    let Some(parent) = text.filter(|parent| !parent.is_empty()) else {
        return Ok(None);
    };
    let inside = |part| {
        matches!(
            part,
            Component::Normal(_) | Component::RootDir | Component::CurDir
        )
    };
    ensure!(
        Path::new(parent).components().all(inside),
        "invalid cgroup parent {parent:?}: it must not have .. in it"
    );
    Ok(Some(parent.to_owned()))
}

/// `--cpus` in billionths of a processor; 0 where it was not given.
///
/// # Errors
/// It is no number, or more than there are.
pub fn nano_cpus(args: &LimitArgs) -> Result<i64> {
    let Some(text) = &args.cpus else { return Ok(0) };
    let number: f64 = text
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .with_context(|| {
            format!(
                "invalid argument {text:?} for \"--cpus\" flag: failed to parse {text} as a rational number"
            )
        })?;
    let decimals = text.split_once('.').map_or(0, |(_, rest)| rest.len());
    ensure!(
        decimals <= 9,
        "invalid argument {text:?} for \"--cpus\" flag: value is too precise"
    );
    let there = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN);
    let there = there.ok().flatten().unwrap_or(1);
    ensure!(
        number >= 0.0 && number <= there as f64,
        "range of CPUs is from 0.01 to {there}.00, as there are only {there} CPUs available"
    );
    Ok((number * 1e9).round() as i64)
}

fn memory(args: &LimitArgs, whose: Whose) -> Result<LinuxMemory> {
    let mut memory = LinuxMemory::default();
    let size = |text: &Option<String>| -> Result<i64> {
        Ok(text
            .as_deref()
            .map(out::read_size)
            .transpose()?
            .unwrap_or(0))
    };
    let (limit, reservation) = (size(&args.memory)?, size(&args.memory_reservation)?);
    let both = match args.memory_swap.as_deref() {
        Some("-1") => -1,
        _ => size(&args.memory_swap)?,
    };
    ensure!(
        limit == 0 || limit >= LEAST_MEMORY,
        "Minimum memory limit allowed is 6MB"
    );
    ensure!(
        limit > 0 || both <= 0 || whose == Whose::Old,
        "You should always set the Memory limit when using Memoryswap limit, see usage"
    );
    ensure!(
        both <= 0 || both >= limit,
        "Minimum memoryswap limit should be larger than memory limit, see usage"
    );
    if limit > 0 {
        memory.set_limit(Some(limit));
    }
    if both != 0 && (limit > 0 || whose == Whose::Old) {
        memory.set_swap(Some(both));
    } else if limit > 0 && whose == Whose::New {
        // As Docker: as much swap again.
        memory.set_swap(Some(limit.saturating_mul(2)));
    }
    if reservation > 0 {
        ensure!(
            reservation >= LEAST_MEMORY,
            "Minimum memory reservation allowed is 6MB"
        );
        ensure!(
            limit == 0 || limit >= reservation,
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        );
        memory.set_reservation(Some(reservation));
    }
    Ok(memory)
}

/// What cgroup v2 has no more is said and left out, as Docker does.
fn version_one_alone(args: &ContainerArgs, memory: &mut LinuxMemory) -> Result<()> {
    let swappiness = args.memory_swappiness.filter(|number| *number != -1);
    if let Some(number) = swappiness {
        ensure!(
            (0..=100).contains(&number),
            "invalid value: {number}. Valid memory swappiness range is 0-100"
        );
    }
    if swappiness.is_none() && !args.oom_kill_disable {
        return Ok(());
    }
    let there = matches!(Layout::detect()?, Layout::V1(_));
    match swappiness {
        Some(number) if there => drop(memory.set_swappiness(Some(number as u64))),
        Some(_) => errln!(
            "WARNING: Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded."
        ),
        None => (),
    }
    if args.oom_kill_disable && there {
        memory.set_disable_oom_killer(Some(true));
        if memory.limit().is_none() {
            errln!(
                "WARNING: OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
            );
        }
    } else if args.oom_kill_disable {
        errln!("WARNING: Your kernel does not support OomKillDisable. OomKillDisable discarded.");
    }
    Ok(())
}

fn cpu(args: &LimitArgs) -> Result<LinuxCpu> {
    let mut cpu = LinuxCpu::default();
    let nano = nano_cpus(args)?;
    let (period, quota) = (args.cpu_period.unwrap_or(0), args.cpu_quota.unwrap_or(0));
    ensure!(
        nano == 0 || period <= 0,
        "Conflicting options: Nano CPUs and CPU Period cannot both be set"
    );
    ensure!(
        nano == 0 || quota <= 0,
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set"
    );
    ensure!(
        period == 0 || (1000..=1_000_000).contains(&period),
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
    );
    ensure!(
        quota <= 0 || quota >= 1000,
        "CPU cfs quota can not be less than 1ms (i.e. 1000)"
    );
    let shares = args.cpu_shares.unwrap_or(0);
    ensure!(
        shares >= 0,
        "invalid CPU shares ({shares}): value must be a positive integer"
    );
    if nano > 0 {
        cpu.set_period(Some(PERIOD));
        cpu.set_quota(Some(nano / 10_000));
    }
    if period > 0 {
        cpu.set_period(Some(period as u64));
    }
    if quota != 0 {
        cpu.set_quota(Some(quota));
    }
    if shares > 0 {
        cpu.set_shares(Some(shares as u64));
    }
    cpu.set_cpus(set(args.cpuset_cpus.as_deref(), "cpus", "CPUs")?);
    cpu.set_mems(set(args.cpuset_mems.as_deref(), "mems", "memory nodes")?);
    Ok(cpu)
}

/// A list such as `0-3,7` of what the machine has; `name` is the end of the file's name, `what` Docker's word.
fn set(list: Option<&str>, name: &str, what: &str) -> Result<Option<String>> {
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return Ok(None);
    };
    let wanted =
        numbers(list).with_context(|| format!("Invalid value {list} for cpuset {name}"))?;
    let file = match Layout::detect()? {
        Layout::V1(trees) => trees
            .mount_of("cpuset")
            .map(|mount| mount.join(format!("cpuset.{name}"))),
        Layout::V2(tree) => Some(tree.mount.join(format!("cpuset.{name}.effective"))),
    };
    // Without the controller the plan says what is missing.
    if let Some(there) = file.and_then(|file| std::fs::read_to_string(file).ok())
        && !wanted.is_subset(&numbers(there.trim())?)
    {
        bail!(
            "Requested {what} are not available - requested {list}, available: {}",
            there.trim()
        );
    }
    Ok(Some(list.to_owned()))
}

fn numbers(list: &str) -> Result<BTreeSet<usize>> {
    let mut all = BTreeSet::new();
    let read = |word: &str| -> Result<usize> {
        let number = word.parse().ok();
        let number: usize = number.with_context(|| format!("invalid format: {list}"))?;
        ensure!(
            number <= MOST_CPUS,
            "value of out range, maximum is {MOST_CPUS}"
        );
        Ok(number)
    };
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (read(first)?, read(last)?);
        ensure!(first <= last, "invalid format: {list}");
        all.extend(first..=last);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_processors_is_read_as_docker_reads_it() {
        assert_eq!(numbers("0-2,5").unwrap(), [0, 1, 2, 5].into());
        for (list, why) in [
            ("2-0", "invalid format: 2-0"),
            ("a", "invalid format: a"),
            ("1,", "invalid format: 1,"),
            ("0-9999999", "value of out range, maximum is 8192"),
        ] {
            assert_eq!(numbers(list).unwrap_err().to_string(), why);
        }
    }
}
