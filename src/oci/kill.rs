//! `kill`: a signal to the first process, or to all. `delete`: removes what is left of a container.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use super::cli::KillArgs;
use super::log::Log;
use super::state::{NoContainer, Record, Status, Store};
use crate::kernel::cgroups::{self, Layout};
use crate::kernel::hooks::{self, Moment};
use crate::kernel::signals::Signal;
use crate::sys;

/// How long a killed process may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a signal.
///
/// # Errors
/// The container does not run.
pub fn kill(store: &Store, args: &KillArgs) -> Result<()> {
    let signal: Signal = args.signal.parse()?;
    let record = store.load(&args.id)?;
    let status = store.status(&record);
    let layout = Layout::detect()?;
    if args.all {
        for pid in cgroups::processes(&layout, record.cgroup()?)? {
            send(pid, signal)?;
        }
    } else if matches!(status, Status::Stopped | Status::Creating) {
        bail!("container not running");
    } else if let Some(process) = &record.process {
        send(Pid::from_raw(process.pid), signal)?;
    }
    // v1: what stands still dies only when it is thawed.
    if signal == Signal::KILL && status == Status::Paused && matches!(layout, Layout::V1(_)) {
        cgroups::thaw(&layout, record.cgroup()?)?;
    }
    Ok(())
}

/// Removes a container that has stopped; with `force` any, and that there is none is no error.
///
/// # Errors
/// It has not stopped.
pub fn delete(store: &Store, id: &str, force: bool, log: &Log) -> Result<()> {
    let _lock = match store.lock(id) {
        Err(error) if force && error.is::<NoContainer>() => return Ok(()),
        lock => lock?,
    };
    let record = match store.load(id) {
        Ok(record) => record,
        // Killed before the first word was written: the directory is all there is.
        Err(_) if force => return remove_directory(store, id),
        Err(error) => return Err(error),
    };
    // Who made it holds the lock while it is made, so what looks like that is abandoned.
    let status = match record.process {
        None => Status::Stopped,
        Some(_) => store.status(&record),
    };
    if status != Status::Stopped {
        if !force {
            bail!(
                "cannot delete container {id} that is not stopped: {}",
                status.name()
            );
        }
        end(&record)?;
    }
    let layout = Layout::detect()?;
    cgroups::remove(&layout, record.cgroup()?)?;
    record.unmount()?;
    for hook in hooks::plan(&record.spec, Moment::Poststop, &record.state()) {
        // Spec: a failure is a warning, and the rest goes on.
        if let Err(error) = hook.take(None) {
            log.warn(&format!("{error:#}"));
        }
    }
    remove_directory(store, id)
}

/// Kills the first process and all in the cgroup, and waits until they are gone.
fn end(record: &Record) -> Result<()> {
    let layout = Layout::detect()?;
    if let Some(process) = &record.process {
        send(Pid::from_raw(process.pid), Signal::KILL)?;
        cgroups::kill_all(&layout, record.cgroup()?)?;
        let deadline = Instant::now() + PATIENCE;
        while process.is_alive() {
            if Instant::now() > deadline {
                bail!("process {} does not die of SIGKILL", process.pid);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}

fn send(pid: Pid, signal: Signal) -> Result<()> {
    let sent = sys::pidfd_open(pid)
        .and_then(|pidfd| sys::pidfd_send_signal(pidfd.as_fd(), signal.number()));
    match sent {
        // Gone in this moment: which was the aim, or too late to matter.
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
        sent => sent.with_context(|| format!("send {signal} to process {pid}")),
    }
}

fn remove_directory(store: &Store, id: &str) -> Result<()> {
    let directory = store.directory(id);
    std::fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()))
}
