//! The part of the wiring that does not wait for the container: its network namespace and its links.
//!
//! Of all namespaces the kernel takes longest over a network namespace (0.8 ms), and a link and the answers of
//! the LAN take longer still. None of that needs the container's first process. So it is done before that is
//! there, by a thread that leaves for a new network namespace; the process is then born without one, and enters this
//! as the first thing it does. unshare(2), setns(2).
//!
//! ```text
//! command: image, record, addresses, plan        thread: network namespace; as soon as the addresses are
//!                                                known: links, "who has this address?"
//! (thread has ended: a process with two threads must not be copied)
//! fork of the monitor; host steps: cgroup, files
//! clone3 ----------------------> (born) setns, then as ever
//! wire steps that are left: answers, addresses, routes
//! ```
//!
//! What waits for the host's links is left to the launch, which has a thread of its own beside the host's steps; so is
//! everything where nobody has begun before ([`Early`]).
//!
//! With a user namespace it is not so: what owns a network namespace is the user namespace that its maker is in.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sched::CloneFlags;

use super::taken::unwire;
use super::{Failure, failure};
use crate::kernel::namespaces;
use crate::net::conflict::Sentinel;
use crate::net::netlink::Wires;
use crate::net::{link, netns};
use crate::plan::Plan;
use crate::step::{Place, Step};
use crate::sys;

/// The network of a container that is not there yet, as far as it has come.
#[derive(Debug)]
pub struct Ahead {
    netns: Option<OwnedFd>,
    sentinels: Vec<Sentinel>,
    asked: Option<Instant>,
    /// How many of the wire steps were taken.
    pub(super) wired: usize,
    /// The time of each.
    pub(super) times: Vec<Duration>,
    /// Why it has not come further, if it should have.
    pub(super) outcome: Result<(), Failure>,
    /// Nothing more can be done ahead.
    ended: bool,
}

/// Whether what is not there yet may be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Some,
    None,
}

/// A network that a thread of the command makes, while the command makes all else that comes before the monitor.
#[derive(Debug)]
pub struct Early {
    thread: Option<JoinHandle<Ahead>>,
    wire: Option<Sender<Vec<Step>>>,
    told: Vec<Step>,
}

impl Early {
    /// Begins with the network namespace, unless there is no thread to be had.
    pub fn begin() -> Option<Early> {
        // The memory of a second heap would stay with the monitor.
        sys::heap::share_one_arena();
        let (wire, told) = channel();
        let thread = std::thread::Builder::new().spawn(move || early(&told));
        thread.ok().map(|thread| Early {
            thread: Some(thread),
            wire: Some(wire),
            told: vec![],
        })
    }

    /// Goes on to the steps of `wire`, which are the plan's; the first call counts.
    pub fn go_on(&mut self, wire: Vec<Step>) {
        if let Some(sender) = self.wire.take() {
            self.told.clone_from(&wire);
            // Without a listener it has panicked, which its end tells.
            let _ = sender.send(wire);
        }
    }

    /// Waits until as much is made as can be. From then on the thread is gone.
    pub fn finish(mut self) -> Ahead {
        self.join().unwrap_or_default()
    }

    fn join(&mut self) -> Option<Ahead> {
        drop(self.wire.take());
        let ended = self.thread.take().map(JoinHandle::join);
        ended.map(|made| made.unwrap_or_else(|_| Ahead::panicked()))
    }
}

/// The command has failed on the way: the links go, whose hardware addresses would be in use for a while.
impl Drop for Early {
    fn drop(&mut self) {
        if let Some(ahead) = self.join() {
            ahead.undo(&self.told);
        }
    }
}

fn early(told: &Receiver<Vec<Step>>) -> Ahead {
    let mut ahead = Ahead::default();
    match netns::make().context("network") {
        Ok(netns) => ahead.netns = Some(netns),
        Err(error) => {
            (ahead.outcome, ahead.ended) = (Err(error.into()), true);
            return ahead;
        }
    }
    // Nobody tells where the command has failed.
    if let Ok(wire) = told.recv() {
        ahead.go_on(&wire, Patience::None);
    }
    ahead
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

/// Takes what can be taken of the wire steps of `plan` while `work` is done, if `ahead` has not come so far already.
pub(super) fn beside<T>(plan: &Plan, mut ahead: Ahead, work: impl FnOnce() -> T) -> (T, Ahead) {
    if ahead.ended {
        return (work(), ahead);
    }
    sys::heap::share_one_arena();
    let (done, panicked) = std::thread::scope(|scope| {
        let wire = || ahead.go_on(&plan.wire, Patience::Some);
        match std::thread::Builder::new().spawn_scoped(scope, wire) {
            Ok(thread) => (work(), thread.join().is_err()),
            // There is no thread to be had: one after the other, then.
            Err(_) => (work(), false),
        }
    });
    match panicked {
        true => ahead = Ahead::panicked(),
        false => ahead.go_on(&plan.wire, Patience::Some),
    }
    (done, ahead)
}

impl Default for Ahead {
    fn default() -> Self {
        Ahead {
            netns: None,
            sentinels: vec![],
            asked: None,
            wired: 0,
            times: vec![],
            outcome: Ok(()),
            ended: false,
        }
    }
}

impl Ahead {
    fn panicked() -> Ahead {
        Ahead {
            outcome: Err(anyhow!("network: the thread that makes it has panicked").into()),
            ended: true,
            ..Ahead::default()
        }
    }

    /// Goes as far as it can, from where it is.
    fn go_on(&mut self, wire: &[Step], patience: Patience) {
        if !self.ended {
            let came = self.work(wire, patience);
            self.ended = !matches!(came, Ok(Came::ToAWait));
            self.outcome = came.map(drop);
        }
    }

    fn work(&mut self, wire: &[Step], patience: Patience) -> Result<Came, Failure> {
        let netns = match self.netns.take() {
            Some(netns) => netns,
            None => netns::make().context("network")?,
        };
        let wires = Wires::open(netns.as_fd());
        let netns = &*self.netns.insert(netns);
        let mut place = Place {
            wires: Some(wires?),
            ..Place::default()
        };
        for step in &wire[self.wired..] {
            let before = Instant::now();
            match step {
                Step::Link(link::Step::AwaitParent { .. }) if patience == Patience::None => {
                    return Ok(Came::ToAWait);
                }
                Step::Link(_) => {
                    // As the launch has it: a step that fails has undone itself.
                    let taken = step.take(&mut place);
                    taken.map_err(|error| failure(step, error))?;
                    self.wired += 1;
                    self.times.push(before.elapsed());
                }
                Step::Conflict(probe) => {
                    let asked = probe.ask(netns.as_fd(), &mut self.sentinels);
                    self.asked = Some(asked.map_err(|error| failure(step, error))?);
                    break;
                }
                // Takes its time, and would hold up the clone.
                _ => break,
            }
        }
        Ok(Came::ToItsEnd)
    }

    /// What was made goes to `place`.
    pub(super) fn hand_to(&mut self, place: &mut Place) {
        place.netns = self.netns.take();
        place.sentinels = std::mem::take(&mut self.sentinels);
        place.asked = self.asked.take();
    }

    /// Takes back what was made of `wire`, for a container that there will not be.
    fn undo(self, wire: &[Step]) {
        if let Some(netns) = self.netns {
            // What made the command fail is what is told.
            let _ = unwire(&wire[..self.wired], &netns, &mut Place::default());
        }
    }
}

/// How far it came, where nothing failed.
enum Came {
    ToItsEnd,
    ToAWait,
}
