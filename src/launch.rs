//! The executor: takes the steps of a plan, on both sides of the clone.
//!
//! ```text
//! host                                   child
//! host steps, and beside them the wire steps that need no child (see `early`, `ahead`)
//! clone3 ------------------------------> (born)
//! wire steps that are left               prepare steps: tree, mounts, pivot
//! "go" --------------------------------> (was waiting)
//! (reads until the socket closes)        enter steps: session ... execve
//! ```
//!
//! The two talk over one socket pair that execve closes (close-on-exec): an end without a word means that
//! the program has started, and a word says which step failed and why. What was done is undone in
//! reverse when anything fails.

mod ahead;
mod birth;
mod child;
mod early;
mod failure;
mod listener;
mod made;
mod taken;
mod talk;

pub use ahead::{Ahead, fits};
pub use early::{Begun, Early};
pub use failure::Failure;
pub use listener::{Listener, Side, Silent, Telling};
pub use taken::{forget, undo};
pub use talk::open_gate;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::socket::MsgFlags;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::kernel::namespaces;
use crate::kernel::terminal::Stdio;
use crate::net::conflict::Sentinel;
use crate::net::netlink::Wires;
use crate::net::{dhcp, netns};
use crate::plan::Plan;
use crate::step::{Place, Step};
use crate::sys::{self, Clone, trampoline};
use failure::failure;
use taken::Taken;
use talk::{
    CALLS, FAILED, LONGEST, READY, TERMINAL, TOOK, not_born, not_cloned, not_executed, pair,
    receive, said,
};

/// A container whose program has been started.
#[derive(Debug)]
pub struct Running {
    /// Its first process, in the host's numbers.
    pub pid: Pid,
    /// The same, safe from reuse.
    pub pidfd: OwnedFd,
    /// The monitor's end of its terminal.
    pub master: Option<OwnedFd>,
    /// Its network namespace, which lives on as long as this does.
    pub netns: Option<OwnedFd>,
    /// Its mount namespace, where [`Place::hold_mounts`] was said.
    pub mounts: Option<OwnedFd>,
    /// What listens on for other owners of its addresses.
    pub sentinels: Vec<Sentinel>,
    /// Its DHCP clients, each with its lease.
    pub clients: Vec<(dhcp::Client, dhcp::Lease)>,
}

/// Takes the steps of `plan`; the program gets `stdio` where it has no terminal.
///
/// # Errors
/// Names the step that failed. All that was made is taken back then.
pub fn launch(
    plan: &Plan,
    stdio: Option<Stdio>,
    telling: Telling,
    listener: &mut dyn Listener,
) -> Result<Running, Failure> {
    let place = Place {
        stdio,
        trampoline: Some(trampoline::open().context("make the program in memory")?),
        ..Place::default()
    };
    launch_at(plan, place, telling, listener)
}

/// The same for a `place` where something lies ready: with a gate, it returns when the container waits
/// there.
///
/// # Errors
/// As [`launch`].
pub fn launch_at(
    plan: &Plan,
    place: Place,
    telling: Telling,
    listener: &mut dyn Listener,
) -> Result<Running, Failure> {
    launch_from(plan, place, Ahead::default(), telling, listener)
}

/// The same where some of the network is there `ahead`.
///
/// # Errors
/// As [`launch`].
pub fn launch_from(
    plan: &Plan,
    mut place: Place,
    mut ahead: Ahead,
    telling: Telling,
    listener: &mut dyn Listener,
) -> Result<Running, Failure> {
    if let Some((birth, speaker)) = birth::of(plan) {
        let trampoline = trampoline::open_for(speaker, birth);
        place.trampoline = Some(trampoline.context("make the program in memory")?);
    }
    let mut taken = Taken {
        plan,
        host: 0,
        wired: 0,
    };
    let outcome = host_and_ahead(plan, &mut place, &mut taken, &mut ahead, listener)
        .and_then(|()| attempt(plan, &mut place, &mut taken, &mut ahead, telling, listener));
    outcome.inspect_err(|_| {
        // Whoever makes the network must have ended before it is taken back.
        let _ = ahead.arrive(&mut place, &mut taken);
        taken.undo(&mut place);
    })
}

/// All but the host's steps, and what comes before or beside them.
fn attempt(
    plan: &Plan,
    place: &mut Place,
    taken: &mut Taken<'_>,
    ahead: &mut Ahead,
    telling: Telling,
    listener: &mut dyn Listener,
) -> Result<Running, Failure> {
    let before = Instant::now();
    let (pid, pidfd, ours) = clone(plan, place, telling)?;
    listener.took(Side::Host, &plan.clone, before.elapsed());
    let mounts = place.hold_mounts.then(|| namespaces::mounts_of(pid));
    let wires = !plan.wire.is_empty() && !child::wires_itself(plan, place);
    let open = || match (&place.netns, &plan.netns) {
        (Some(netns), _) => netns.try_clone().context("duplicate a descriptor"),
        (None, Some(file)) => netns::open(file),
        (None, None) => netns::of_process(pid),
    };
    let netns = wires.then(|| open().ok()).flatten();
    let wired = map(plan, place, pid, &ours, listener)
        .and_then(|()| ahead.arrive(place, taken))
        .and_then(|times| {
            let steps = plan.wire.iter().zip(times);
            steps.for_each(|(step, time)| listener.took(Side::Host, step, time));
            wire(plan, place, taken, netns.as_ref(), listener)
        });
    // On Linux a socket that closes without "go" ends the child, so it needs no killing here.
    let mut born = None;
    let started = wired.and_then(|()| converse(plan, place, &ours, listener, &mut born));
    let started = match started {
        // The links would be missing, and nobody told.
        Ok(_) if wires && netns.is_none() => {
            Err(anyhow!("network: the container's network namespace cannot be opened").into())
        }
        started => started,
    };
    // Who bore the program has done all it had to.
    born.iter().for_each(|_| end(&pidfd));
    let (pid, pidfd) = born.unwrap_or((pid, pidfd));
    match started {
        Ok(master) => Ok(Running {
            pid,
            pidfd,
            master,
            netns,
            // Without it the end of the program only takes longer.
            mounts: mounts.and_then(Result::ok),
            sentinels: std::mem::take(&mut place.sentinels),
            clients: std::mem::take(&mut place.clients),
        }),
        Err(failure) => {
            end(&pidfd);
            Err(failure)
        }
    }
}

/// Takes the host's steps, and beside them what can be wired already, where nobody else does that.
fn host_and_ahead(
    plan: &Plan,
    place: &mut Place,
    taken: &mut Taken<'_>,
    ahead: &mut Ahead,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    if place.rootless || !fits(plan) {
        return host(plan, place, &mut taken.host, listener);
    }
    let work = || host(plan, place, &mut taken.host, listener);
    let (hosted, made) = ahead.beside(plan, work);
    ahead.hand_to(place);
    hosted.and(made)
}

/// Takes the host's steps; `taken` says how many.
fn host(
    plan: &Plan,
    place: &mut Place,
    taken: &mut usize,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    for step in &plan.host {
        // Counted before it is taken: a step that fails half-way is undone too.
        *taken += 1;
        take(step, place, Side::Host, listener)?;
    }
    Ok(())
}

/// Makes the child, which does its part; its number, its descriptor, and the host's end for talking to it.
fn clone(
    plan: &Plan,
    place: &mut Place,
    telling: Telling,
) -> Result<(Pid, OwnedFd, OwnedFd), Failure> {
    let Step::Namespace(namespaces::Step::Clone(flags)) = &plan.clone else {
        return Err(anyhow!("the plan has no clone").into());
    };
    let cgroup = plan.cgroup.as_deref().map(std::fs::File::open).transpose();
    let cgroup = cgroup.context("open the container's cgroup")?;
    let (ours, theirs) = pair()?;
    let flags = ahead::flags_left(*flags, place);
    let cloned = sys::clone3(flags.bits() as u64, cgroup.as_ref().map(AsFd::as_fd));
    match cloned.map_err(|error| not_cloned(plan, error))? {
        Clone::Child => {
            drop(ours);
            child::child(plan, std::mem::take(place), theirs, telling)
        }
        Clone::Parent(pid, pidfd) => Ok((pid, pidfd, ours)),
    }
}

fn end(pidfd: &OwnedFd) {
    let _ = sys::pidfd_send_signal(pidfd.as_fd(), nix::libc::SIGKILL);
    let _ = waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED);
}

fn take(
    step: &Step,
    place: &mut Place,
    side: Side,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let before = Instant::now();
    step.take(place).map_err(|error| failure(step, error))?;
    listener.took(side, step, before.elapsed());
    Ok(())
}

fn wire(
    plan: &Plan,
    place: &mut Place,
    taken: &mut Taken<'_>,
    netns: Option<&OwnedFd>,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let Some(netns) = netns.filter(|_| taken.wired < plan.wire.len()) else {
        return Ok(());
    };
    if place.wires.is_none() {
        place.wires = Some(Wires::open(netns.as_fd())?);
        place.netns = Some(netns.try_clone().context("duplicate a descriptor")?);
    }
    for step in &plan.wire[taken.wired..] {
        take(step, place, Side::Host, listener)?;
        taken.wired += 1;
    }
    place.wires = None;
    Ok(())
}

/// Writes the tables of a new user namespace, without which the child can do nothing; then lets it begin.
fn map(
    plan: &Plan,
    place: &mut Place,
    pid: Pid,
    socket: &OwnedFd,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    listener.born(pid)?;
    place.pid = Some(pid);
    for step in &plan.map {
        take(step, place, Side::Host, listener)?;
    }
    if !plan.map.is_empty() {
        nix::sys::socket::send(socket.as_raw_fd(), b"m", MsgFlags::MSG_NOSIGNAL)
            .context("let the child begin")?;
    }
    Ok(())
}

/// Lets the child go on, and hears what it has to say until it has become the program. Where the host has
/// something to do in between, the child says first that all is prepared.
fn converse(
    plan: &Plan,
    place: &mut Place,
    socket: &OwnedFd,
    listener: &mut dyn Listener,
    born: &mut Option<(Pid, OwnedFd)>,
) -> Result<Option<OwnedFd>, Failure> {
    let send_go = || nix::sys::socket::send(socket.as_raw_fd(), b"g", MsgFlags::MSG_NOSIGNAL);
    let mut go = if plan.meet.is_empty() {
        send_go()
    } else {
        Ok(0)
    };
    let mut master = None;
    let mut steps = plan.child();
    let mut failed = None;
    let mut buffer = vec![0; LONGEST];
    loop {
        let (length, fd) = receive(socket, &mut buffer)?;
        match buffer[..length].split_first() {
            None => break,
            Some((&TERMINAL, _)) => master = fd,
            Some((&CALLS, _)) => listener.filtered(place.pid, fd.context("no listener came")?)?,
            Some((&READY, _)) => {
                for step in &plan.meet {
                    take(step, place, Side::Host, listener)?;
                }
                go = send_go();
            }
            Some((&TOOK, time)) => {
                let nanoseconds = time.try_into().map_or(0, u64::from_le_bytes);
                if let Some(step) = steps.next() {
                    listener.took(Side::Child, step, Duration::from_nanos(nanoseconds));
                }
            }
            Some((&FAILED, [code, text @ ..])) => failed = Some(said(*code, text)),
            Some((&trampoline::ERRNO, errno)) => failed = Some(not_executed(plan, errno)),
            Some((&trampoline::UNBORN, errno)) => failed = Some(not_born(errno)),
            Some((&trampoline::BORN, number)) if born.is_none() => {
                *born = Some(birth::adopt(number)?)
            }
            Some(_) => return Err(anyhow!("the child said something unknown").into()),
        }
    }
    match (failed, go) {
        (Some(failure), _) => Err(failure),
        (None, Err(errno)) => Err(anyhow!(
            "the container's first process died before it was told to go on: {errno}"
        )
        .into()),
        (None, Ok(_)) => Ok(master),
    }
}
