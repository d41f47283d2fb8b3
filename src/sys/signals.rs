//! rt_sigaction(2) and rt_sigprocmask(2): the state of signals that execve(2) hands on.
//!
//! libc's functions of these names keep signals 32 and 33 for themselves, and a caller that ignores one of
//! these would have it ignored in the container too.
#![allow(unsafe_code)]

use std::io::{Error, Result};

/// The kernel's signals are numbered 1 to 64; a set of them is 8 bytes.
const SIGNALS: i32 = 64;
const SET_SIZE: usize = 8;

/// Sets every signal back to its default action and unblocks all of them.
///
/// execve(2) resets handlers by itself, but a signal that is ignored or blocked stays so.
///
/// # Errors
/// Those of rt_sigprocmask(2).
pub fn reset() -> Result<()> {
    // The kernel's struct sigaction: handler SIG_DFL, no flags, no restorer, empty mask.
    let default = [0u64; 4];
    let none = [0u64; 1];
    let no_old = std::ptr::null_mut::<u64>();
    for signal in 1..=SIGNALS {
        // SAFETY: default has the structure's size and outlives the call; SIG_DFL names no function. The
        // calls for SIGKILL and SIGSTOP fail, and may.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                no_old,
                SET_SIZE,
            )
        };
    }
    // SAFETY: the set has the size told and outlives the call; the old one is not asked for.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            none.as_ptr(),
            no_old,
            SET_SIZE,
        )
    };
    if answer < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(())
    }
}
