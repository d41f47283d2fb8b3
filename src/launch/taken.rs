//! The way back: what a launch has made and would outlive the container is taken back, the last first.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;

use crate::net::link;
use crate::net::netlink::Wires;
use crate::plan::Plan;
use crate::step::{Place, Step};

/// Takes back what outlives the container of `plan`: its cgroup, and its links, explicitly.
///
/// The cgroup goes first. The kernel goes through all caches of the machine for it (7 ms beside 1,000 containers), and
/// holds locks that the next start needs: better within the 20 ms that the end of the links takes than after them.
pub fn undo(plan: &Plan, netns: Option<&OwnedFd>) -> Result<()> {
    let unhosted = unhost(&plan.host);
    let unwired = netns.map_or(Ok(()), |netns| {
        unwire(&plan.wire, netns, &mut Place::default())
    });
    unhosted.and(unwired)
}

/// Takes the steps of `wire` back that were taken in `netns`; what had been obtained is at `place`.
pub(super) fn unwire(wire: &[Step], netns: &OwnedFd, place: &mut Place) -> Result<()> {
    let made = |step: &Step| matches!(step, Step::Link(link::Step::Make(_)));
    if !wire.iter().any(made) {
        return Ok(());
    }
    place.wires = Some(Wires::open(netns.as_fd())?);
    undo_all(wire, place)
}

fn unhost(host: &[Step]) -> Result<()> {
    undo_all(host, &mut Place::default())
}

/// Undoes all, whatever fails; the first failure is told.
fn undo_all(steps: &[Step], place: &mut Place) -> Result<()> {
    let undone = steps.iter().rev().map(|step| step.undo(place));
    undone.fold(Ok(()), Result::and)
}

/// How far the host has come.
pub(super) struct Taken<'a> {
    /// Whose steps.
    pub plan: &'a Plan,
    /// How many of the host's have been begun.
    pub host: usize,
    /// How many of the wire steps have been taken.
    pub wired: usize,
}

impl Taken<'_> {
    /// The first failure is what is told; one on the way back would hide it.
    pub(super) fn undo(&self, place: &mut Place) {
        if let Some(netns) = place.netns.take() {
            let _ = unwire(&self.plan.wire[..self.wired], &netns, place);
        }
        let _ = unhost(&self.plan.host[..self.host]);
    }
}

/// Gives the memory of the steps back that the child has taken, and of what came before it: nothing undoes them.
pub fn forget(plan: &mut Plan) {
    for steps in [
        &mut plan.map,
        &mut plan.prepare,
        &mut plan.meet,
        &mut plan.enter,
    ] {
        *steps = vec![];
    }
}
