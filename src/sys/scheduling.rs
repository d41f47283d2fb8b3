//! sched_setattr(2), ioprio_set(2), set_mempolicy(2), sched_setaffinity(2): what the kernel favours when it shares out
//! time, disk, memory and processors.
#![allow(unsafe_code)]

use std::io::Error;
use std::os::unix::thread::JoinHandleExt;
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// `struct sched_attr` of Linux 3.14.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SchedAttr {
    /// Of this structure; [`sched_setattr`] sets it.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// From -20 (most) to 19 (least) processor time, for the policies that share.
    pub nice: i32,
    /// From 1 to 99, for the real-time policies.
    pub priority: u32,
    /// Nanoseconds in each period, for SCHED_DEADLINE.
    pub runtime: u64,
    /// Nanoseconds after a period's beginning by which they are to be had.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// Puts this thread under another scheduling policy.
///
/// # Errors
/// EPERM without CAP_SYS_NICE for more than it has; EINVAL for what the policy does not know.
pub fn sched_setattr(attr: SchedAttr) -> std::io::Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        ..attr
    };
    // SAFETY: attr is a valid sched_attr of the size that it tells, which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) })
}

/// Gives this thread's input and output a class and a priority in it (`IOPRIO_PRIO_VALUE`).
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN or CAP_SYS_NICE for the real-time class.
pub fn ioprio_set(value: u16) -> std::io::Result<()> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, i32::from(value)) })
}

/// Says from which NUMA nodes (a set of bits) this thread's memory is to come, `mode` being `MPOL_*` with its flags.
///
/// # Errors
/// EINVAL for a mode without its nodes, or nodes that the machine does not have.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> std::io::Result<()> {
    // The kernel counts one bit more than it reads.
    let bits = if nodes.is_empty() {
        0
    } else {
        nodes.len() * 64 + 1
    };
    let pointer = if nodes.is_empty() {
        std::ptr::null()
    } else {
        nodes.as_ptr()
    };
    // SAFETY: pointer is null with no bits, or points to as many bits as are told, which are only read.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) })
}

/// Lets the thread `newborn`, which this process has just made, begin beside it rather than after it.
///
/// A scheduler that keeps processors asleep as long as it can, as on many a virtual machine, leaves a newborn on its
/// parent's, where it waits for the next tick: a millisecond or three. So it is sent to the others, and is then as free
/// as before. Nothing happens to who is bound to some processors. sched_setaffinity(2)
///
/// Between the two calls what the newborn makes would be bound, too: it is to make no process.
pub fn beside<T>(newborn: &JoinHandle<T>) {
    if !is_free().unwrap_or(false) {
        return;
    }
    let bind = |set: &CpuSet| {
        // SAFETY: the handle's thread has not been joined, and set is a set of that size, which is only read.
        let _ = unsafe {
            libc::pthread_setaffinity_np(
                newborn.as_pthread_t(),
                size_of::<CpuSet>(),
                std::ptr::from_ref(set).cast(),
            )
        };
    };
    // More than there are, as with one that was never bound: also those that its cgroup gives it later.
    if let (Ok(all), Ok(own)) = (all(), sched_getcpu()) {
        let mut others = all;
        if others.unset(own).is_ok() {
            bind(&others);
            bind(&all);
        }
    }
}

fn all() -> Result<CpuSet, Errno> {
    let mut all = CpuSet::new();
    (0..CpuSet::count()).try_for_each(|number| all.set(number))?;
    Ok(all)
}

/// Whether there are several processors and this thread may use each.
fn is_free() -> Result<bool, Errno> {
    let own = sched_getaffinity(Pid::from_raw(0))?;
    let mut count = 0;
    for number in 0..CpuSet::count() {
        count += i64::from(own.is_set(number)?);
    }
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN)?;
    Ok(count > 1 && Some(count) == online)
}

fn check(answer: i64) -> std::io::Result<()> {
    match answer {
        0.. => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use nix::sched::sched_setaffinity;

    use super::*;

    #[test]
    fn who_was_sent_off_is_as_free_as_before() {
        let own = || sched_getaffinity(Pid::from_raw(0)).unwrap();
        let before = own();
        let (send, receive) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            receive.recv().unwrap();
            own()
        });
        beside(&thread);
        send.send(()).unwrap();
        assert_eq!(thread.join().unwrap(), before);
        assert_eq!(own(), before);
    }

    #[test]
    fn who_is_bound_to_a_processor_is_not_free() {
        assert!(is_free().unwrap() || sysconf(SysconfVar::_NPROCESSORS_ONLN) == Ok(Some(1)));
        let bound = std::thread::spawn(|| {
            let mut one = CpuSet::new();
            one.set(sched_getcpu().unwrap()).unwrap();
            sched_setaffinity(Pid::from_raw(0), &one).unwrap();
            is_free().unwrap()
        });
        assert!(!bound.join().unwrap());
    }
}
