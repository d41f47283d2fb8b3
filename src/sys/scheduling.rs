//! sched_setattr(2), ioprio_set(2), set_mempolicy(2): what the kernel favours when it shares out time, disk and memory.
#![allow(unsafe_code)]

use std::io::{Error, Result};

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

fn check(answer: i64) -> Result<()> {
    match answer {
        0.. => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}
