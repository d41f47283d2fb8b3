//! From the started program to its end: what is written down, who is told, and what others see no more.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::again::Lives;
use super::{Monitor, exit_code, networks};
use crate::kernel::cgroups::{self, Layout};
use crate::launch::Running;
use crate::net::link;
use crate::request::{Pids, Restart};
use crate::store::containers::{self, ProcessId, Record, State, Status};
use crate::store::leases;
use crate::supervise::asked::Asked;
use crate::supervise::peers::Before;
use crate::supervise::pump::Pump;
use crate::supervise::{Message, heal, peers};
use crate::sys;

/// A program that has not ended by then is one that stays.
const SHORT: Duration = Duration::from_millis(10);

/// How much longer that is for each peer: to tell a peer is work of that size, so where there are many, one telling
/// comes to be for several who start one after the other.
const LONGER: Duration = Duration::from_micros(100);

impl Monitor {
    /// What nobody waits for, and what a program that ends at once need not wait for either.
    fn settle_down(&mut self) {
        self.claim.show(&self.home, &self.record.id);
        // Given back at once, the lock leaves the summary for `ps`; who has it does that, too, and may be waiting for us.
        drop(containers::try_lock(&self.home, &self.record.id));
        // The hosts files of those who are there; an `exec` that comes sooner sees to it itself.
        let _ = peers::pass_on(&self.home, networks(&self.record));
        // What others have left behind.
        heal::sweep(&self.home);
        // All that is left to do is to wait; there is a monitor for each container.
        sys::heap::trim();
    }

    /// Notes that the program has begun, for the first time.
    pub(super) fn begin(&self, running: &Running, pump: &mut Pump) -> Result<State> {
        pump.add_caller(
            self.caller
                .try_clone()
                .context("duplicate the caller's socket")?,
        );
        let state = self.running_state(running)?;
        state.save(&self.home, &self.record.id)?;
        pump.add_asked(Asked::listen(&self.record)?);
        Ok(state)
    }

    pub(super) fn running_state(&self, running: &Running) -> Result<State> {
        Ok(State {
            status: Status::Running,
            process: Some(ProcessId::of(running.pid.as_raw())?),
            monitor: std::process::id() as i32,
            started: Some(Timestamp::now()),
            ..State::created()
        })
    }

    /// Until the end of the program; when it is to be started again, if it is.
    pub(super) fn watch(
        &mut self,
        running: &Running,
        pump: &mut Pump,
        state: State,
        lives: &mut Lives,
    ) -> Result<Option<Duration>> {
        // Before the caller hears of it: what it starts next may look for this one by name.
        let before = match lives.is_first() {
            true => Before::Absent,
            false => Before::Perhaps,
        };
        let members = peers::join(&self.home, &self.record, before)?;
        pump.tell(&Message::Started(running.pid.as_raw()));
        let short = SHORT + LONGER * members as u32;
        if !pump.run_until(running.pidfd.as_fd(), Instant::now() + short)? {
            self.settle_down();
        }
        self.end_with_first(running, pump)?;
        pump.run(running.pidfd.as_fd())?;
        if let Some(record) = Record::load(&self.home, &self.record.id)? {
            self.record = record;
        }
        let (state, again) = self.note_end(running, pump, state, lives)?;
        // One that comes again keeps its place: its names, its lease.
        let told = match again {
            Some(_) => Ok(()),
            None => self.leave_the_lan(running, pump),
        };
        pump.farewell(&Message::Exited(state.exit_code));
        told.map(|()| again)
    }

    /// Writes down how the program has ended, and whether it is to be started again: how long after now.
    fn note_end(
        &self,
        running: &Running,
        pump: &mut Pump,
        mut state: State,
        lives: &mut Lives,
    ) -> Result<(State, Option<Duration>)> {
        let policy = self.record.request.restart;
        // Nobody stops it between our look and our word.
        let lock = (policy != Restart::No).then(|| containers::lock(&self.home, &self.record.id));
        let lock = lock.transpose()?;
        if let Some(state_now) = State::load(&self.home, &self.record.id)? {
            state = state_now;
        }
        state.exit_code = exit_code(&running.pidfd)?;
        let policy = match pump.was_asked() {
            true => Restart::No,
            false => policy,
        };
        let again = lives.end(policy, &mut state);
        state.process = None;
        state.paused = false;
        state.finished = Some(Timestamp::now());
        if self.record.request.auto_remove {
            // The name is free at once; the addresses are when the link is gone, and say so meanwhile.
            for endpoint in &self.record.endpoints {
                let _ = leases::releasing(&self.home, &endpoint.network_id, &self.record.id);
            }
            containers::retire(&self.home, &self.record.id, &self.record.name);
        } else {
            state.save(&self.home, &self.record.id)?;
        }
        drop(lock);
        if again.is_none() {
            pump.close();
        }
        Ok((state, again))
    }

    /// Where the first process is not process 1 of its own, the kernel does not end the others with it.
    fn end_with_first(&self, running: &Running, pump: &mut Pump) -> Result<()> {
        if self.record.request.pid == Pids::Own {
            return Ok(());
        }
        let long = Duration::from_secs(3600);
        while !pump.run_until(running.pidfd.as_fd(), Instant::now() + long)? {}
        let group = self.record.request.cgroup(&self.record.id);
        cgroups::kill_all(&Layout::detect()?, &group)
    }

    /// Whatever others can see of the container's network ends, before anybody is told that the container
    /// has: a DHCP lease, its addresses, its name, the host's route. Its link is left, which is silent now,
    /// since deleting it takes the kernel some 20 ms.
    fn leave_the_lan(&self, running: &Running, pump: &mut Pump) -> Result<()> {
        pump.release();
        if let Some(netns) = &running.netns {
            for endpoint in &self.record.endpoints {
                // One that is gone with its parent is silent already.
                let _ = link::silence(endpoint, netns.as_fd());
            }
        }
        peers::leave(&self.home, &self.record.id, networks(&self.record))
    }
}
