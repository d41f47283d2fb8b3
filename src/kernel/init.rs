//! A small init for `--init`: process 1 that hands signals on and reaps orphans.  pid_namespaces(7), wait(2)
//!
//! The kernel treats process 1 of a pid namespace in two special ways: it becomes the parent of every
//! orphan, and signals without a handler do nothing to it. A program that was not written to be an init
//! so neither reaps nor ends on SIGTERM. With `--init`, rmac's child stays as process 1 and runs the
//! program as its own child.

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys;

/// Splits in two: returns in the child, which goes on to become the program, and never in process 1.
pub fn begin() -> Result<()> {
    // Process 1 stays rmac's: a program with CAP_SYS_PTRACE can read its memory, where the caller's words are.
    sys::heap::forget_environment();
    // Blocked before the fork, so that none is lost in between.
    let all = SigSet::all();
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), Some(&mut before))
        .context("block all signals")?;
    match sys::fork().context("fork the program")? {
        Some(program) => {
            // What rmac has open is not for the container, nor would its other end see an end.
            sys::close_from(3);
            sys::exit_now(keep(program))
        }
        None => {
            // A group of its own in the foreground of the terminal, if there is one: ctrl-c then reaches
            // the program once, not a second time through process 1.
            let group = nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0));
            let _ = group
                .and_then(|()| nix::unistd::tcsetpgrp(std::io::stdin(), nix::unistd::getpid()));
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).context("unblock the signals")
        }
    }
}

/// Waits for signals and children until the program has ended; its exit code.
fn keep(program: Pid) -> i32 {
    // A descriptor rather than sigwait(3): the signals so stay blocked while it waits, which is how
    // `stop` can see that this process takes them.
    let Ok(signals) = SignalFd::new(&SigSet::all()) else {
        return 125;
    };
    loop {
        let Ok(Some(info)) = signals.read_signal() else {
            continue;
        };
        if info.ssi_signo as i32 != Signal::SIGCHLD as i32 {
            if let Ok(signal) = Signal::try_from(info.ssi_signo as i32) {
                let _ = kill(program, signal);
            }
            continue;
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == program => return code,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                    return 128 + signal as i32;
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                _ => (),
            }
        }
    }
}
