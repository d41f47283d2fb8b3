//! The part of the wiring that does not wait for the container's first process, as the launch sees it.
//!
//! The command that starts a container makes the network while its monitor is at work (see [`super::early`]). Where
//! nobody does, as with `rmac-oci`, the launch has a thread of its own beside the host's steps. Either way the process
//! is born without a network namespace of its own, and enters this one as the first thing it does. setns(2)

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::sched::CloneFlags;

use super::Failure;
use super::made::{Came, Made, Patience};
use super::taken::Taken;
use crate::kernel::{mounts, namespaces};
use crate::net::netns;
use crate::plan::Plan;
use crate::step::{Place, Step};
use crate::sys;

/// The network of a container that is not there yet.
#[derive(Debug, Default)]
pub struct Ahead {
    netns: Option<OwnedFd>,
    sysfs: Option<OwnedFd>,
    /// Where it will be told what was made, if another process makes it.
    teller: Option<OwnedFd>,
    made: Made,
}

/// Whether the network of this container can be made ahead of it.
pub fn fits(plan: &Plan) -> bool {
    let Step::Namespace(namespaces::Step::Clone(flags)) = &plan.clone else {
        return false;
    };
    // Who lends a user namespace copies this process, which must be alone in it then.
    let copies = plan.host.iter().any(|step| matches!(step, Step::Ids(_)));
    flags.contains(CloneFlags::CLONE_NEWNET)
        && !flags.contains(CloneFlags::CLONE_NEWUSER)
        && !plan.wire.is_empty()
        && !copies
}

/// The flags of the clone of `plan`, where `place` has its network namespace already.
pub(super) fn flags_left(flags: CloneFlags, place: &Place) -> CloneFlags {
    match place.netns {
        Some(_) => flags - CloneFlags::CLONE_NEWNET,
        None => flags,
    }
}

impl Ahead {
    /// A network namespace that is filled by a process which tells of that over `teller`.
    pub(super) fn told_over(teller: OwnedFd, netns: OwnedFd, sysfs: Option<OwnedFd>) -> Ahead {
        Ahead {
            netns: Some(netns),
            sysfs,
            teller: Some(teller),
            made: Made::default(),
        }
    }

    /// Makes what can be made of the network of `plan` while `work` is done, unless another process does.
    pub(super) fn beside<T>(
        &mut self,
        plan: &Plan,
        work: impl FnOnce() -> T,
    ) -> (T, Result<(), Failure>) {
        if self.teller.is_some() {
            return (work(), Ok(()));
        }
        sys::heap::share_one_arena();
        let mut made = Ok(Came::ToAWait);
        let (done, panicked) = std::thread::scope(|scope| {
            let wire = || made = self.make(plan);
            match std::thread::Builder::new().spawn_scoped(scope, wire) {
                Ok(thread) => (work(), thread.join().is_err()),
                // There is no thread to be had: one after the other, then.
                Err(_) => (work(), false),
            }
        });
        if panicked {
            made = Err(anyhow!("network: the thread that makes it has panicked").into());
        } else if self.netns.is_none() && made.is_ok() {
            made = self.make(plan);
        }
        (done, made.map(drop))
    }

    fn make(&mut self, plan: &Plan) -> Result<Came, Failure> {
        let netns = self.netns.insert(netns::make().context("network")?);
        self.made.go_on(
            &plan.wire,
            netns.as_fd(),
            Patience::Some,
            &mut Place::default(),
        )
    }

    /// Gives `place` the namespace, for the child to enter, and the file system that shows it.
    pub(super) fn hand_to(&mut self, place: &mut Place) {
        place.netns = self.netns.take();
        let sysfs = self.sysfs.take();
        let at = PathBuf::from(mounts::SYS);
        place.fetched.extend(sysfs.map(|sysfs| (at, sysfs)));
    }

    /// Waits until the other process has told what it made, if there is one, and gives that to `place`. The times of
    /// the steps that were taken.
    pub(super) fn arrive(
        &mut self,
        place: &mut Place,
        taken: &mut Taken<'_>,
    ) -> Result<Vec<Duration>, Failure> {
        let mut outcome = Ok(());
        if let Some(teller) = self.teller.take() {
            // Should nobody tell, anything may have been made.
            taken.wired = taken.plan.wire.len();
            (self.made, outcome) = Made::hear(&teller, &taken.plan.wire)?;
        }
        let made = std::mem::take(&mut self.made);
        taken.wired = made.wired;
        (place.sentinels, place.asked) = (made.sentinels, made.asked);
        outcome.map(|()| made.times)
    }
}
