//! rt_sigaction(2) and rt_sigprocmask(2): the state of signals that execve(2) hands on.
#![allow(unsafe_code)]

use std::io::{Error, Result};

/// Sets every signal back to its default action and unblocks all of them.
///
/// execve(2) resets handlers by itself, but a signal that is ignored or blocked stays so.
///
/// # Errors
/// Those of sigprocmask(2).
pub fn reset() -> Result<()> {
    // SAFETY: all zero bytes are a valid sigaction (SIG_DFL, no flags, empty mask).
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: default outlives the call; SIG_DFL names no function of ours. The calls for SIGKILL,
        // SIGSTOP and the two signals that libc keeps for itself fail, and may.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
    // SAFETY: all zero bytes are an empty sigset_t.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set outlives the call and the old one is not asked for.
    let answer =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
    if answer < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(())
    }
}
