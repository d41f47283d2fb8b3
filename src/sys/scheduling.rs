//! sched_setattr(2), ioprio_set(2), set_mempolicy(2), sched_setaffinity(2): what the kernel favours when it shares out
//! time, disk, memory and processors.
#![allow(unsafe_code)]

use std::io::{Error, Result};
use std::os::unix::thread::JoinHandleExt;
use std::thread::JoinHandle;

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
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
pub fn sched_setattr(attr: SchedAttr) -> Result<()> {
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
pub fn ioprio_set(value: u16) -> Result<()> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, i32::from(value)) })
}

/// Says from which NUMA nodes (a set of bits) this thread's memory is to come, `mode` being `MPOL_*` with its flags.
///
/// # Errors
/// EINVAL for a mode without its nodes, or nodes that the machine does not have.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<()> {
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

/// Lets the process `newborn`, which this one has just made, begin beside it rather than after it.
///
/// A scheduler that keeps processors asleep as long as it can, as on many a virtual machine, leaves a newborn on its
/// parent's, where it waits for the next tick: a millisecond or three. So it is sent to the others, and is then as free
/// as before. Nothing happens to who is bound to some processors. sched_setaffinity(2)
pub fn beside(newborn: Pid) {
    beside_by(|set| {
        let _ = sched_setaffinity(newborn, set);
    });
}

/// The same for a thread.
pub fn thread_beside<T>(newborn: &JoinHandle<T>) {
    beside_by(|set| {
        // SAFETY: the handle's thread has not been joined, and set is a set of that size, which is only read.
        let _ = unsafe {
            libc::pthread_setaffinity_np(
                newborn.as_pthread_t(),
                size_of::<CpuSet>(),
                std::ptr::from_ref(set).cast(),
            )
        };
    });
}

fn beside_by(bind: impl Fn(&CpuSet)) {
    let Some((others, any)) = processors() else {
        return;
    };
    bind(&others);
    // More than there are, as with one that was never bound: also those that its cgroup gives it later.
    bind(&any);
}

/// All processors but this one, and all; `None` where there is no other, or where this process may not use all.
fn processors() -> Option<(CpuSet, CpuSet)> {
    let mut set = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut any = CpuSet::new();
    let mut count = 0;
    for number in 0..CpuSet::count() {
        any.set(number).ok()?;
        count += i64::from(set.is_set(number).ok()?);
    }
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok()??;
    set.unset(sched_getcpu().ok()?).ok()?;
    (count > 1 && count == online).then_some((set, any))
}

fn check(answer: i64) -> Result<()> {
    match answer {
        0.. => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
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
        thread_beside(&thread);
        send.send(()).unwrap();
        assert_eq!(thread.join().unwrap(), before);
        assert_eq!(own(), before);
    }

    #[test]
    fn who_is_bound_to_a_processor_stays_there() {
        let one = std::thread::spawn(|| {
            let mut one = CpuSet::new();
            one.set(sched_getcpu().unwrap()).unwrap();
            sched_setaffinity(Pid::from_raw(0), &one).unwrap();
            assert!(processors().is_none());
            let child = std::thread::spawn(|| sched_getaffinity(Pid::from_raw(0)).unwrap());
            thread_beside(&child);
            (one, child.join().unwrap())
        });
        let (one, child) = one.join().unwrap();
        assert_eq!(child, one);
    }
}
