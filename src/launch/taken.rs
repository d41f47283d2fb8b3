//! The way back: what a launch has made and would outlive the container is taken back, the last first.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;

use crate::net::link;
use crate::net::netlink::Wires;
use crate::plan::Plan;
use crate::step::{Place, Step};

/// Takes back what outlives the container of `plan`: its links, explicitly, and its cgroup.
pub fn undo(plan: &Plan, netns: Option<&OwnedFd>) -> Result<()> {
    let mut place = Place::default();
    let mut first = Ok(());
    let links = plan
        .wire
        .iter()
        .any(|step| matches!(step, Step::Link(link::Step::Make(_))));
    if let Some(netns) = netns.filter(|_| links) {
        place.wires = Some(Wires::open(netns.as_fd())?);
        for step in plan.wire.iter().rev() {
            first = first.and(step.undo(&mut place));
        }
    }
    for step in plan.host.iter().rev() {
        first = first.and(step.undo(&mut place));
    }
    first
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
    pub(super) fn undo(&self, place: &mut Place) {
        for step in self.plan.wire[..self.wired]
            .iter()
            .rev()
            .chain(self.plan.host[..self.host].iter().rev())
        {
            // The first failure is what is told; a second one on the way back would hide it.
            let _ = step.undo(place);
        }
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
