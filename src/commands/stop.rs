//! `stop` and `kill`: signals for the container's first process.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Pid;

use super::attach::running;
use crate::cli::container::{KillArgs, StopArgs};
use crate::kernel::cgroups::{self, Layout};
use crate::kernel::signals::{self, Disposition, Signal};
use crate::out::stream::errln;
use crate::request::Pids;
use crate::store::Home;
use crate::store::claim;
use crate::store::containers::{self, Record, State};
use crate::supervise::client::PATIENCE;
use crate::supervise::{self, Message, asked, monitor};
use crate::sys;

/// `rmac stop`.
pub fn stop(home: &Home, args: &StopArgs) -> Result<u8> {
    super::each_at_once(&args.containers, |name| {
        let record = containers::find(home, name)?;
        stop_one(home, &record, args.signal.as_deref(), args.timeout)?;
        Ok(name.to_owned())
    })
}

/// `rmac kill`.
pub fn kill(home: &Home, args: &KillArgs) -> Result<u8> {
    let signal: Signal = args.signal.parse()?;
    super::each_at_once(&args.containers, |name| {
        let record = containers::find(home, name)?;
        if is_for_ever(&record, signal)? && monitor::stop(home, &record)? {
            return call_off(home, &record).map(|()| name.to_owned());
        }
        let state = running(
            home,
            &record,
            &format!(
                "cannot kill container: {name}: container {} is not running",
                record.id
            ),
        )?;
        let pidfd = first_process(&state)?
            .with_context(|| format!("cannot kill container: {name}: it has just ended"))?;
        sys::pidfd_send_signal(pidfd.as_fd(), signal.number())
            .with_context(|| format!("send {signal} to {name}"))?;
        if state.paused && signal.number() == nix::libc::SIGKILL {
            thaw(&record)?;
        }
        if signal.number() == nix::libc::SIGKILL {
            claim::wait_until_free(home, &record.id, PATIENCE);
        }
        Ok(name.to_owned())
    })
}

/// Tells the program to end, waits, and ends it. Returns when its monitor has written down how it ended;
/// the link and the cgroup, which nobody has to wait for, go a moment later. A container that does not run
/// is no error.
pub fn stop_one(
    home: &Home,
    record: &Record,
    signal: Option<&str>,
    timeout: Option<i64>,
) -> Result<()> {
    if monitor::stop(home, record)? {
        return call_off(home, record);
    }
    let Ok(state) = running(home, record, "") else {
        // It may have ended a moment ago and still be cleaned up.
        claim::wait_until_free(home, &record.id, PATIENCE);
        return Ok(());
    };
    let (usual, patience) = asked::how(record)?;
    let signal = signal.map_or(Ok(usual), str::parse)?;
    let timeout = timeout.unwrap_or(patience);
    let monitor = supervise::call(&home.running(&record.id)).ok();
    if let Some(pidfd) = first_process(&state)? {
        hint(record, &state, signal, timeout);
        let _ = sys::pidfd_send_signal(pidfd.as_fd(), signal.number());
        if state.paused {
            thaw(record)?;
        }
        let deadline = (timeout >= 0).then(|| Instant::now() + Duration::from_secs(timeout as u64));
        if !wait_for_end(&pidfd, deadline)? {
            kill_all(record, &pidfd);
            if !wait_for_end(&pidfd, Some(Instant::now() + PATIENCE))? {
                bail!(
                    "container {} does not end, though it was killed: a process of it hangs in the kernel",
                    record.name
                );
            }
        }
    }
    let told = monitor.is_some_and(|monitor| tells_the_end(&monitor));
    if !told && !claim::wait_until_free(home, &record.id, PATIENCE) {
        bail!(
            "container {} has ended, but its monitor does not come to an end",
            record.name
        );
    }
    Ok(())
}

/// Whether a container that was ended by this signal of `kill` is not to be started again: Docker's rule, by which each
/// counts, unless the container, or its image, names the one that stops it.
fn is_for_ever(record: &Record, signal: Signal) -> Result<bool> {
    let image = record.image_config.stop_signal();
    let named = record.request.stop_signal.as_ref().or(image.as_ref());
    let (usual, _) = asked::how(record)?;
    Ok(named.is_none() || signal == usual || signal.number() == nix::libc::SIGKILL)
}

/// Ends the wait of a container that would be started again, and is stopped.
fn call_off(home: &Home, record: &Record) -> Result<()> {
    // If it is just being started, that has to come to its end first.
    if !monitor::call_off(home, record, 2 * PATIENCE) {
        bail!(
            "container {} is just being started, and that does not come to an end",
            record.name
        );
    }
    Ok(())
}

/// Waits for the monitor's word that all is written down.
fn tells_the_end(monitor: &OwnedFd) -> bool {
    let patience = TimeVal::seconds(PATIENCE.as_secs() as i64);
    if setsockopt(monitor, ReceiveTimeout, &patience).is_err() {
        return false;
    }
    loop {
        match supervise::hear(monitor) {
            Ok(Some(Message::Exited(_))) => return true,
            Ok(Some(_)) => (),
            Ok(None) | Err(_) => return false,
        }
    }
}

/// A signal that process 1 has no handler for does nothing to it: the kernel protects the init of a pid
/// namespace. Said at once, since it costs the user the whole time-out.
fn hint(record: &Record, state: &State, signal: Signal, timeout: i64) {
    if signal.number() == nix::libc::SIGKILL {
        return;
    }
    let Some(process) = state.process else { return };
    let how = match signals::disposition(Pid::from_raw(process.pid), signal) {
        Ok(Disposition::Ignored) => "ignores",
        Ok(Disposition::Default) if record.request.pid == Pids::Own => "does not catch",
        // One that is no process 1 ends by it.
        _ => return,
    };
    let until = if timeout < 0 {
        "waiting for ever".to_owned()
    } else {
        format!("SIGKILL follows in {timeout} s")
    };
    errln!(
        "rmac: {}: its process 1 {how} {signal}, {until} (quicker: stop -t 0, stop -s KILL, or run with --init)",
        record.name
    );
}

fn first_process(state: &State) -> Result<Option<OwnedFd>> {
    let Some(process) = state.process else {
        return Ok(None);
    };
    match sys::pidfd_open(Pid::from_raw(process.pid)) {
        // Between our look and the open the number could have been used again.
        Ok(pidfd) => Ok(process.is_alive().then_some(pidfd)),
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(None),
        Err(error) => Err(error).context("pidfd_open"),
    }
}

fn wait_for_end(pidfd: &OwnedFd, deadline: Option<Instant>) -> Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = match left {
            None => PollTimeout::NONE,
            Some(left) => {
                PollTimeout::try_from(left.min(Duration::from_secs(3600)).as_millis() as i32 + 1)?
            }
        };
        match poll(
            &mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => (),
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno).context("poll"),
        }
    }
}

/// A frozen process takes no signal, on cgroup v1 not even SIGKILL.
fn thaw(record: &Record) -> Result<()> {
    let layout = Layout::detect()?;
    cgroups::thaw(&layout, &record.request.cgroup(&record.id))
}

/// Killing process 1 kills its pid namespace; the cgroup has what else belongs to the container.
fn kill_all(record: &Record, pidfd: &OwnedFd) {
    let _ = sys::pidfd_send_signal(pidfd.as_fd(), nix::libc::SIGKILL);
    if let Ok(layout) = Layout::detect() {
        let _ = cgroups::kill_all(&layout, &record.request.cgroup(&record.id));
    }
}
