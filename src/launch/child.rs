//! The child's half of a launch: from the clone to execve(2) or `_exit(2)`, never back into its parent's code.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::CloneFlags;

use super::talk::{CALLS, FAILED, LONGEST, READY, TERMINAL, TOOK, hand_over};
use super::{Failure, Telling, failure};
use crate::plan::Plan;
use crate::step::{Place, Step};
use crate::sys;

/// The child's half. It ends in execve or in `_exit`, whatever happens.
pub(super) fn child(plan: &Plan, mut place: Place, socket: OwnedFd, telling: Telling) -> ! {
    // A panic must not unwind into the parent's code.
    let guard = ExitOnDrop;
    place.private.iter().for_each(|fd| sys::close(*fd));
    // Until execve this process still carries the host's environment, memory and files; nobody in the
    // container may look into it through /proc or ptrace (CVE-2016-9962, CVE-2019-5736). execve lifts it.
    let looked_into = !plan.wire.is_empty() || !plan.map.is_empty();
    if !place.rootless || !looked_into {
        let _ = nix::sys::prctl::set_dumpable(false);
    }
    // The gate puts another socket in its place.
    place.pid = None;
    place.speaker = Some(socket);
    if let Err(failure) = take_all(plan, &mut place, telling) {
        let mut message = vec![FAILED, failure.code];
        message.extend(format!("{:#}", failure.error).bytes().take(LONGEST - 2));
        let _ = place
            .speaker
            .map(|socket| nix::unistd::write(&socket, &message));
    }
    drop(guard);
    unreachable!("the guard ends the process")
}

struct ExitOnDrop;

impl Drop for ExitOnDrop {
    fn drop(&mut self) {
        sys::exit_now(125);
    }
}

fn take_all(plan: &Plan, place: &mut Place, telling: Telling) -> Result<(), Failure> {
    if let Some(netns) = &place.netns {
        nix::sched::setns(netns, CloneFlags::CLONE_NEWNET)
            .context("setns into the network namespace that was made ahead")?;
    }
    if !plan.map.is_empty() {
        wait_for_go(speaker(place)?)?;
    }
    if wires_itself(plan, place) {
        place.wires = Some(crate::net::netlink::Wires::here()?);
        for step in &plan.wire {
            take_one(step, place, Telling::Failures)?;
        }
        place.wires = None;
    }
    for step in &plan.prepare {
        take_one(step, place, telling)?;
        if let Some(master) = place.master.take() {
            hand_over(speaker(place)?, &[TERMINAL], &[master.as_raw_fd()])?;
        }
    }
    if !plan.meet.is_empty() {
        nix::unistd::write(speaker(place)?, &[READY]).context("tell that all is prepared")?;
    }
    // Nobody needs to wait for the network with what is the process's own; the host has no part in that.
    let may_begin = plan.meet.is_empty() && !place.rootless;
    let mut steps = plan.enter.iter().peekable();
    while let Some(step) = steps.next_if(|step| may_begin && is_its_own(step)) {
        take_one(step, place, telling)?;
    }
    wait_for_go(speaker(place)?)?;
    if place.rootless {
        let _ = nix::sys::prctl::set_dumpable(false);
    }
    for step in steps {
        take_one(step, place, telling)?;
        if let Some(calls) = place.calls.take() {
            hand_over(speaker(place)?, &[CALLS], &[calls.as_raw_fd()])?;
        }
    }
    Ok(())
}

fn is_its_own(step: &Step) -> bool {
    use Step::{Keyring, Limit, Signal, Terminal};
    matches!(step, Terminal(_) | Keyring(_) | Signal(_) | Limit(_))
}

/// Whether the container's process makes its own network: nobody but its root may enter a network namespace of
/// a user namespace, and its creator, an ordinary user, is not.
pub(super) fn wires_itself(plan: &Plan, place: &Place) -> bool {
    place.rootless && !plan.map.is_empty() && !plan.wire.is_empty()
}

fn speaker(place: &Place) -> Result<&OwnedFd> {
    place.speaker.as_ref().context("nobody to tell")
}

fn take_one(step: &Step, place: &mut Place, telling: Telling) -> Result<(), Failure> {
    let before = Instant::now();
    // What replaces this process is told before it happens; a failure follows all the same.
    let last = matches!(
        step,
        Step::Program(crate::kernel::program::Step::Execute { .. })
    );
    let tell = |place: &Place, time: Duration| -> Result<()> {
        if telling == Telling::Steps {
            let mut message = vec![TOOK];
            message.extend((time.as_nanos() as u64).to_le_bytes());
            nix::unistd::write(speaker(place)?, &message).context("tell of a step")?;
        }
        Ok(())
    };
    if last {
        tell(place, Duration::ZERO)?;
    }
    step.take(place).map_err(|error| failure(step, error))?;
    tell(place, before.elapsed()).map_err(Failure::from)
}

/// Waits for the host's word; the end of the socket means that the host has died or given up.
fn wait_for_go(socket: &OwnedFd) -> Result<()> {
    let mut word = [0; 1];
    loop {
        match nix::unistd::read(socket, &mut word) {
            Ok(1..) => return Ok(()),
            Ok(_) => sys::exit_now(125),
            Err(Errno::EINTR) => (),
            Err(errno) => return Err(errno).context("wait for the host"),
        }
    }
}
