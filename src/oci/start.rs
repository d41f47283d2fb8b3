//! `start`: opens the gate. `run`: create, start, wait and delete in one.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::cli::RunArgs;
use super::create;
use super::kill;
use super::log::Log;
use super::state::{Status, Store};
use crate::kernel::hooks::{self, Moment};
use crate::launch;
use crate::supervise::monitor::exit_code;
use crate::sys;

/// Lets the container `id` run its program.
///
/// # Errors
/// It is not waiting, or its program cannot be started.
pub fn start(store: &Store, id: &str, log: &Log) -> Result<()> {
    let lock = store.lock(id)?;
    let record = store.load(id)?;
    match store.status(&record) {
        Status::Created => (),
        other => bail!("cannot start a container that is {}", other.name()),
    }
    let caller = call(store, id)?;
    // From here on it counts as running; should we be killed, the gate ends it.
    std::fs::remove_file(store.gate(id)).context("take the gate away")?;
    launch::open_gate(&caller).map_err(|failure| create::coded(&failure))?;
    let pid = record.process.as_ref().map(|process| process.pid);
    for hook in hooks::plan(&record.spec, Moment::Poststart, &record.state()) {
        if let Err(error) = hook.take(pid.map(nix::unistd::Pid::from_raw)) {
            // Spec, lifecycle step 9: the container is stopped and destroyed.
            drop(lock);
            kill::delete(store, id, true, log)?;
            return Err(error);
        }
    }
    Ok(())
}

/// Makes the container and lets it run; its program's exit code.
pub fn run(store: &Store, args: &RunArgs, systemd: bool, log: &Log) -> Result<u8> {
    let signals = if args.detach {
        None
    } else {
        Some(catch_signals()?)
    };
    let running = create::create(store, &args.create, systemd, log)?;
    let started = start(store, &args.create.id, log);
    if args.detach && started.is_ok() {
        return Ok(0);
    }
    let code = started.and_then(|()| wait(&running.pidfd, signals.as_ref()));
    if !args.keep || code.is_err() {
        kill::delete(store, &args.create.id, true, log)?;
    }
    code
}

/// Blocks the signals that are meant for the program, so that they can be read and handed on; the program
/// itself starts with a clean slate.
pub fn catch_signals() -> Result<SignalFd> {
    let mut all = SigSet::all();
    for kept in [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGILL,
        Signal::SIGFPE,
    ] {
        all.remove(kept);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None).context("block all signals")?;
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC).context("read signals")
}

/// Waits for the program's end and hands signals on to it; its exit code.
pub fn wait(program: &OwnedFd, signals: Option<&SignalFd>) -> Result<u8> {
    while let Some(signals) = signals {
        let mut events = [
            PollFd::new(program.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut events, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => (),
            Err(errno) => return Err(errno).context("wait for the program"),
        }
        if events[0].any() == Some(true) {
            break;
        }
        if let Ok(Some(signal)) = signals.read_signal() {
            let number = signal.ssi_signo as i32;
            if number != Signal::SIGCHLD as i32 {
                let _ = sys::pidfd_send_signal(program.as_fd(), number);
            }
        }
    }
    Ok(exit_code(program)? as u8)
}

fn call(store: &Store, id: &str) -> Result<OwnedFd> {
    let directory = store.open_directory(id)?;
    let ours = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .context("make a socket")?;
    let path = format!("/proc/self/fd/{}/start", directory.as_raw_fd());
    connect(ours.as_raw_fd(), &UnixAddr::new(path.as_str())?)
        .context("reach the container at its gate")?;
    Ok(ours)
}
