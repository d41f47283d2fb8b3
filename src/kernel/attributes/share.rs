//! What a process gets when time, disk and memory are short: policy, priorities, processors, NUMA nodes.  sched(7)
//!
//! Pure: from the words of the specification to the numbers of the kernel.

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxMemoryPolicy, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    MemoryPolicyFlagType, MemoryPolicyModeType, Scheduler,
};

use super::Step;
use crate::sys::scheduling::SchedAttr;

/// Most processors or nodes that a list may name: `CPU_SETSIZE` and `MAX_NUMNODES` of common kernels.
const MOST: u32 = 1024;

/// `process.scheduler`.
///
/// # Errors
/// A policy that the kernel never had, or a negative priority.
pub(super) fn scheduler(wanted: &Scheduler) -> Result<Step> {
    let policy = match wanted.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => bail!("process.scheduler: Linux has no SCHED_ISO"),
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    let priority = wanted.priority().unwrap_or(0);
    Ok(Step::Scheduler(SchedAttr {
        policy,
        flags: wanted.flags().iter().flatten().map(flag).sum(),
        nice: wanted.nice().unwrap_or(0),
        priority: priority.try_into().context("process.scheduler.priority")?,
        runtime: wanted.runtime().unwrap_or(0),
        deadline: wanted.deadline().unwrap_or(0),
        period: wanted.period().unwrap_or(0),
        ..SchedAttr::default()
    }))
}

/// `process.ioPriority`: the class in the upper three bits, 0 (first) to 7 (last) below.
///
/// # Errors
/// A priority outside.
pub(super) fn io_priority(wanted: &LinuxIOPriority) -> Result<Step> {
    let class: u16 = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match wanted.priority() {
        priority @ 0..=7 => Ok(Step::IoPriority(class << 13 | priority as u16)),
        other => bail!("process.ioPriority.priority {other}: 0 to 7"),
    }
}

/// `linux.memoryPolicy`.
///
/// # Errors
/// A list of nodes that is none.
pub(super) fn memory_policy(wanted: &LinuxMemoryPolicy) -> Result<Step> {
    let mode = match wanted.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    };
    let flags: u32 = wanted.flags().iter().flatten().map(flag).sum();
    let nodes = match wanted.nodes().as_deref().filter(|list| !list.is_empty()) {
        Some(list) => numbers(list).context("linux.memoryPolicy.nodes")?,
        None => vec![],
    };
    Ok(Step::MemoryPolicy {
        mode: mode | flags,
        nodes,
    })
}

/// The numbers of a list such as `0-3,7`.
///
/// # Errors
/// It is none, or leads beyond 1023.
pub(super) fn numbers(list: &str) -> Result<Vec<u32>> {
    let number = |word: &str| match word.trim().parse() {
        Ok(number @ 0..MOST) => Ok(number),
        _ => bail!("{list:?} is no list such as 0-3,7 of numbers below {MOST}"),
    };
    let mut all = vec![];
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(number(first)?..=number(last)?);
    }
    Ok(all)
}

/// Numbers as a set of bits, lowest first.
pub(super) fn bits(numbers: &[u32]) -> Vec<u64> {
    let Some(most) = numbers.iter().max() else {
        return vec![];
    };
    let mut words = vec![0; *most as usize / 64 + 1];
    for number in numbers {
        words[*number as usize / 64] |= 1 << (number % 64);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_cpuset_writes_it() {
        assert_eq!(numbers("0-3,7").unwrap(), [0, 1, 2, 3, 7]);
        assert_eq!(bits(&numbers("0-3,7,64").unwrap()), [0x8f, 1]);
        for wrong in ["", "a", "3-", "0-1024", "-1", "0-9876543210"] {
            assert!(numbers(wrong).is_err(), "{wrong:?}");
        }
    }
}
