//! Whose IPC and whose process numbers a container shares with another one, and who may look on.  setns(2), ptrace(2)
//!
//! The other container is kept by its id; its first process is looked up anew at each start. Nothing of it lies on
//! the host: its `/dev/shm` is copied out of its own mount namespace.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{Capability, Spec};

use super::rootless;
use crate::kernel::capabilities::{self, Base};
use crate::plan;
use crate::request::{Ipc, Pids, Request};
use crate::store::Home;
use crate::store::containers::{self, Record, State, Status};

/// Puts ids in the place of names, and what the other container shares itself in the place of that container.
///
/// # Errors
/// There is no such container; an ordinary user cannot have it.
pub fn resolve(home: &Home, request: &mut Request) -> Result<()> {
    if rootless::is() {
        within_reach(request)?;
    }
    if let Ipc::Container(name) = &request.ipc {
        let other = containers::find(home, name)?;
        request.ipc = match other.request.ipc {
            Ipc::Host => Ipc::Host,
            Ipc::Container(third) => Ipc::Container(third),
            _ => Ipc::Container(other.id),
        };
    }
    if let Pids::Container(name) = &request.pid {
        let other = containers::find(home, name)?;
        request.pid = match other.request.pid {
            Pids::Own => Pids::Container(other.id),
            shared => shared,
        };
    }
    Ok(())
}

fn within_reach(request: &Request) -> Result<()> {
    ensure!(
        request.pid == Pids::Own,
        "permission denied: --pid takes root: an ordinary user has no cgroup that would end the container's processes, and cannot mount /proc of the host's"
    );
    ensure!(
        request.ipc != Ipc::Host,
        "permission denied: --ipc host takes root: an ordinary user cannot mount the host's message queues"
    );
    Ok(())
}

/// Whether the container can be started as it is: the others run, and let it in.
///
/// # Errors
/// Docker's words; and a container that could take hold of rmac on its way in.
pub fn check(home: &Home, record: &Record) -> Result<()> {
    let running = |id: &str| -> Result<Record> {
        let other = containers::find(home, id)?;
        ensure!(
            process_of(home, &other.id).is_some(),
            "container {id} is not running"
        );
        Ok(other)
    };
    if let Ipc::Container(id) = &record.request.ipc {
        let other = running(id).context("failed to join IPC namespace")?;
        ensure!(
            other.request.ipc == Ipc::Shareable,
            "failed to join IPC namespace: container {id}: non-shareable IPC (hint: use --ipc shareable for the donor container)"
        );
    }
    if let Pids::Container(id) = &record.request.pid {
        let other = running(id).context("failed to join PID namespace")?;
        let tracer = watches(&other.request)? || marker(home, id).exists();
        if tracer {
            bail!(
                "failed to join PID namespace: in that of container {id} there is one with CAP_SYS_PTRACE, which could take hold of rmac on its way in, and so of the host"
            );
        }
        if watches(&record.request)? {
            // What enters from now on is born last: it stays when this container ends, and goes with the other one.
            std::fs::write(marker(home, id), "").context("note who watches")?;
        }
    }
    Ok(())
}

/// Whether the container can look into processes of root's that have come from outside. One that is privileged has the
/// host in its hands anyway.
fn watches(request: &Request) -> Result<bool> {
    if request.privileged || request.cap_add.is_empty() {
        return Ok(false);
    }
    let set = capabilities::choose(Base::Default, &request.cap_add, &request.cap_drop)?;
    Ok(set.contains(&Capability::SysPtrace))
}

/// Says so in the description of a container with which one shares its process numbers that can look into what enters.
pub fn tell_of_watchers(home: &Home, record: &Record, spec: &mut Spec) {
    let owner = match &record.request.pid {
        Pids::Own => &record.id,
        Pids::Container(id) => id,
        Pids::Host => return,
    };
    if marker(home, owner).exists() {
        let mut annotations = spec.annotations().clone().unwrap_or_default();
        annotations.insert(plan::WATCHED.into(), String::new());
        spec.set_annotations(Some(annotations));
    }
}

fn marker(home: &Home, id: &str) -> PathBuf {
    home.running(id).join("watched")
}

/// The first process of the container `id`, while it runs.
fn process_of(home: &Home, id: &str) -> Option<i32> {
    let state = State::load(home, id).ok().flatten()?;
    let process = state.process.filter(|process| process.is_alive())?;
    (state.status == Status::Running).then_some(process.pid)
}

/// The first processes of the containers whose IPC and whose process numbers this one shares. One that is gone is
/// process 0: its namespace is looked for when it is entered.
pub fn processes(home: &Home, request: &Request) -> (Option<i32>, Option<i32>) {
    let of = |id: &str| process_of(home, id).unwrap_or(0);
    let ipc = match &request.ipc {
        Ipc::Container(id) => Some(of(id)),
        _ => None,
    };
    let pids = match &request.pid {
        Pids::Container(id) => Some(of(id)),
        _ => None,
    };
    (ipc, pids)
}
