//! The command's part of a start: it makes the network, while it makes all else and then while its monitor does.
//!
//! Of all namespaces the kernel takes longest over a network namespace (0.8 ms), and a link and the answers of
//! the LAN take longer still. None of that needs the container's first process. unshare(2), setns(2), fork(2).
//!
//! ```text
//! command: image, record, addresses, plan        thread: network namespace, and a sysfs that shows it
//! (thread has ended: a process with two threads must not be copied)
//! fork ----------------------------------------> monitor: cgroup, files, clone3 (the child enters the namespace)
//! command: links, "who has this address?"        child: tree, mounts, pivot
//! what was made, and what failed --------------> wire steps that are left: answers, addresses, routes
//! waits for the monitor's word                   "go"
//! ```
//!
//! With a user namespace it is not so: what owns a network namespace is the user namespace that its maker is in.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

use super::ahead::Ahead;
use super::made::{Made, Patience};
use super::taken::unwire;
use super::talk::pair;
use crate::kernel::mounts;
use crate::net::netns;
use crate::step::{Place, Step};
use crate::sys;

/// A network namespace that a thread makes.
#[derive(Debug)]
pub struct Early(JoinHandle<Result<Begun>>);

/// A network namespace that is there, and nothing in it yet: for the command, which fills it, and for its monitor.
#[derive(Debug)]
pub struct Begun {
    netns: OwnedFd,
    sysfs: Option<OwnedFd>,
    loopback: bool,
    commands: OwnedFd,
    monitors: OwnedFd,
}

impl Early {
    /// Begins, unless there is no thread to be had. What `/sys` shows of it will be writable, or not.
    pub fn begin(sysfs: mounts::Access) -> Option<Early> {
        // The memory of a second heap would stay with the monitor.
        sys::heap::share_one_arena();
        let thread = std::thread::Builder::new().spawn(move || begun(sysfs));
        let thread = thread.ok()?;
        sys::scheduling::beside(&thread);
        Some(Early(thread))
    }

    /// Waits for it. From then on the thread is gone.
    ///
    /// # Errors
    /// There is no network namespace to be had.
    pub fn finish(self) -> Result<Begun> {
        let panicked = |_| Err(anyhow!("network: the thread that makes it has panicked"));
        self.0.join().unwrap_or_else(panicked)
    }
}

fn begun(sysfs: mounts::Access) -> Result<Begun> {
    // The loopback is on in every container's.
    let make = || (mounts::sysfs(sysfs).ok(), sys::inet::set_up("lo").is_ok());
    let (netns, (sysfs, loopback)) = netns::make_and(make).context("network")?;
    let (commands, monitors) = pair()?;
    Ok(Begun {
        netns,
        sysfs,
        loopback,
        commands,
        monitors,
    })
}

impl Begun {
    /// The monitor's part: what it launches the container from.
    pub fn into_ahead(self) -> Ahead {
        Ahead::told_over(self.monitors, self.netns, self.sysfs)
    }

    /// The command's part: takes the steps of `wire`, as far as that needs no process of the container's, and tells
    /// the monitor.
    pub fn wire(self, wire: &[Step]) {
        // Only the monitor's copy is left: it hears of our end, and we of its.
        drop((self.monitors, self.sysfs));
        let mut made = Made {
            loopback: self.loopback,
            ..Made::default()
        };
        let mut place = Place::default();
        let outcome = made.go_on(wire, self.netns.as_fd(), Patience::None, &mut place);
        let told = made.tell(&self.commands, outcome.as_ref().map(drop));
        if told.is_err() {
            // Nobody is there who would take the links back, whose hardware addresses would be in use for a while.
            let _ = unwire(&wire[..made.wired], &self.netns, &mut Place::default());
        }
    }
}
