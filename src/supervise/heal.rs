//! Healing: cleans up after a monitor or a command that was killed.
//!
//! Whoever works on a container holds its claim (see [`crate::store::claim`]). A claim whose holder has
//! died is found by the next command, which takes it over, kills what is left of the container, removes
//! its cgroup and writes down what has become of it. Its links went with its network namespace.

use std::os::fd::AsFd;

use jiff::Timestamp;
use nix::unistd::Pid;

use super::monitor::{self, release};
use super::peers;
use crate::kernel::cgroups;
use crate::request::Request;
use crate::store::alive::Watcher;
use crate::store::claim::{self, Attempt, Claim, Seen};
use crate::store::containers::{self, Record, State, Status};
use crate::store::{Home, leases, networks, summary, volumes};
use crate::sys;

/// The exit code of a container that was killed with its monitor: 128 and SIGKILL.
const KILLED: i32 = 137;

/// Cleans up after all that have died. Costs one look at each container that something happens to.
pub fn sweep(home: &Home) {
    sweep_and_see(&Watcher::new(home));
}

/// The same; the ids of those that are not to be cleaned up.
pub fn sweep_and_see(watcher: &Watcher) -> Vec<String> {
    let Seen { live, orphans } = claim::look(watcher);
    for orphan in orphans {
        check(watcher.home, &orphan);
    }
    live
}

/// Cleans up after the container `id` if its monitor has died; tells whether it had.
pub fn check(home: &Home, id: &str) -> bool {
    let Ok(Attempt::Orphan(claim)) = Claim::adopt(home, id) else {
        return false;
    };
    heal(home, id, &claim);
    true
}

/// Cleans up after the holder of the container `id`, who has died; `_claim` proves that we may.
pub fn heal(home: &Home, id: &str, _claim: &Claim) {
    summary::withdraw(home, id);
    let record = Record::load(home, id).ok().flatten();
    if let Ok(layout) = cgroups::Layout::detect() {
        let asked = record.as_ref().map(|record| record.request.cgroup(id));
        let group = asked.unwrap_or_else(|| Request::default().cgroup(id));
        let _ = cgroups::remove(&layout, &group);
    }
    let state = State::load(home, id).ok().flatten();
    // Without cgroups its first process takes the others with it.
    if let Some(process) = state.as_ref().and_then(|state| state.process)
        && let Ok(pidfd) = sys::pidfd_open(Pid::from_raw(process.pid))
        && process.is_alive()
    {
        let _ = sys::pidfd_send_signal(pidfd.as_fd(), nix::libc::SIGKILL);
    }
    let networks: Vec<String> = record
        .iter()
        .flat_map(monitor::networks)
        .map(str::to_owned)
        .collect();
    match (record, state) {
        // It has not run yet: who died was about to start it, or looked into it.
        (Some(_), Some(state)) if state.status == Status::Created => (),
        (Some(record), Some(_)) if record.request.auto_remove => discard(home, &record),
        (Some(_), Some(state)) if state.status == Status::Running => {
            let state = State {
                status: Status::Exited,
                process: None,
                exit_code: KILLED,
                paused: false,
                error: "the container's monitor was killed, and the container with it".into(),
                finished: Some(Timestamp::now()),
                ..state
            };
            let _ = state.save(home, id);
        }
        // Its program had ended already.
        (Some(_), Some(state)) if state.status == Status::Restarting => {
            let state = State {
                status: Status::Exited,
                error: "the container's monitor was killed while it waited to start it again"
                    .into(),
                ..state
            };
            let _ = state.save(home, id);
        }
        (Some(_), Some(_)) => (),
        // A run that never came to its end.
        (Some(record), None) => discard(home, &record),
        (None, _) => forget(home, id),
    }
    // Its peers, and the host's way to it.
    let networks = || networks.iter().map(String::as_str);
    let _ = peers::leave(home, id, networks())
        .and_then(|()| peers::tell(home, networks()))
        .and_then(|()| peers::clear(home, networks()));
}

/// Removes all that is kept of the container: its addresses, its name, its files, and the volumes that were made
/// for it alone.
pub fn discard(home: &Home, record: &Record) {
    volumes::remove_anonymous(home, record);
    discard_but_volumes(home, record);
}

/// The same, but for the volumes: `rm` without `-v`.
pub fn discard_but_volumes(home: &Home, record: &Record) {
    release(home, record);
    containers::free_name(home, &record.id, &record.name);
    let _ = containers::remove(home, &record.id);
}

/// Removes what is kept of a container that has no record yet, so that its name and its addresses have
/// to be searched for.
fn forget(home: &Home, id: &str) {
    for name in containers::names(home) {
        containers::free_name(home, id, &name);
    }
    let _ = containers::remove(home, id);
    for network in networks::list(home).unwrap_or_default() {
        let _ = leases::release(home, &network.id, id);
    }
}
