//! The part of the wiring that does not wait for the container: its network namespace and its links.
//!
//! Of all namespaces the kernel takes longest over a network namespace (0.8 ms), and a link and the answers of
//! the LAN take longer still. None of that needs the container's first process. So the namespace is
//! made before it, by a thread that leaves for a new one, and beside the host's own steps; the process is then
//! born without, and enters it as the first thing it does. unshare(2), setns(2). `run` has the namespace made even before there is a monitor ([`netns::Making`]).
//!
//! ```text
//! host steps: cgroup, files       thread: network namespace, links, "who has this address?"
//! (thread has ended: a process with two threads must not be copied)
//! clone3 -----------------------> (born) setns, then as ever
//! wire steps that are left: answers, addresses, routes
//! ```
//!
//! With a user namespace it is not so: what owns a network namespace is the user namespace that its maker is in.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::CloneFlags;

use super::{Failure, failure};
use crate::kernel::namespaces;
use crate::net::netlink::Wires;
use crate::net::netns;
use crate::plan::Plan;
use crate::step::{Place, Step};
use crate::sys;

/// What the thread has come to.
pub(super) struct Ahead {
    /// Where it has worked.
    place: Place,
    /// How many of the wire steps it has taken.
    pub wired: usize,
    /// The time of each that it has finished.
    pub times: Vec<Duration>,
    /// Why it has not come further, if it should have.
    pub outcome: Result<(), Failure>,
}

/// Whether the network of this container can be made ahead of it.
pub(super) fn fits(plan: &Plan, place: &Place) -> bool {
    let Step::Namespace(namespaces::Step::Clone(flags)) = &plan.clone else {
        return false;
    };
    // Who lends a user namespace copies this process, which must be alone in it then.
    let copies = plan.host.iter().any(|step| matches!(step, Step::Ids(_)));
    flags.contains(CloneFlags::CLONE_NEWNET)
        && !flags.contains(CloneFlags::CLONE_NEWUSER)
        && !plan.wire.is_empty()
        && !place.rootless
        && !copies
}

/// The flags of the clone of `plan`, where `place` has its network namespace already.
pub(super) fn flags_left(flags: CloneFlags, place: &Place) -> CloneFlags {
    match place.netns {
        Some(_) => flags - CloneFlags::CLONE_NEWNET,
        None => flags,
    }
}

/// Takes what can be taken of the wire steps of `plan` while `work` is done; `netns` is the network namespace, where that
/// is there already.
pub(super) fn beside<T>(
    plan: &Plan,
    netns: Option<OwnedFd>,
    work: impl FnOnce() -> T,
) -> (T, Ahead) {
    // The memory of a second arena would stay with the monitor.
    sys::heap::share_one_arena();
    let netns = Mutex::new(netns);
    let wire = || wire_ahead(plan, netns.lock().ok().and_then(|mut netns| netns.take()));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, wire);
        let done = work();
        let ahead = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|_| Ahead::panicked()),
            // There is no thread to be had: one after the other, then.
            Err(_) => wire(),
        };
        (done, ahead)
    })
}

fn wire_ahead(plan: &Plan, netns: Option<OwnedFd>) -> Ahead {
    let mut ahead = Ahead {
        place: Place {
            netns,
            ..Place::default()
        },
        wired: 0,
        times: vec![],
        outcome: Ok(()),
    };
    ahead.outcome = ahead.work(plan);
    ahead
}

impl Ahead {
    fn panicked() -> Ahead {
        Ahead {
            place: Place::default(),
            wired: 0,
            times: vec![],
            outcome: Err(anyhow::anyhow!("network: the thread that makes it has panicked").into()),
        }
    }

    fn work(&mut self, plan: &Plan) -> Result<(), Failure> {
        let place = &mut self.place;
        let netns = match place.netns.take() {
            Some(netns) => netns,
            None => netns::make().context("network")?,
        };
        place.wires = Some(Wires::open(netns.as_fd())?);
        place.netns = Some(netns);
        for step in &plan.wire {
            let before = Instant::now();
            match step {
                Step::Link(_) => {
                    // As the launch has it: a step that fails has undone itself.
                    step.take(place).map_err(|error| failure(step, error))?;
                    self.wired += 1;
                    self.times.push(before.elapsed());
                }
                Step::Conflict(probe) => {
                    let netns = place.netns.as_ref().context("no network to work on")?;
                    let asked = probe.ask(netns.as_fd(), &mut place.sentinels);
                    place.asked = Some(asked.map_err(|error| failure(step, error))?);
                    break;
                }
                // Takes its time, and would hold up the clone.
                _ => break,
            }
        }
        Ok(())
    }

    /// What was made goes to `place`.
    pub(super) fn hand_to(&mut self, place: &mut Place) {
        place.wires = self.place.wires.take();
        place.netns = self.place.netns.take();
        place.sentinels = std::mem::take(&mut self.place.sentinels);
        place.asked = self.place.asked.take();
    }
}
