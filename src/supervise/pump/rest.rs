//! Between two runs of a program: the pump stays, with the log and those who wait, and gets new ends.

use std::time::Instant;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::{Ends, Pump};
use crate::supervise::asked::Asked;
use crate::supervise::chores::Chores;

/// Why a rest is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// By the time.
    InTime,
    /// By somebody who says that the container's state has changed.
    Called,
    /// By a signal that asks the monitor to end.
    Asked,
}

impl Pump {
    /// Takes no further callers.
    pub fn close(&mut self) {
        self.listener = None;
    }

    /// Hears callers until `deadline`, at most; there is no program.
    pub fn rest(&mut self, deadline: Instant) -> Result<Woken> {
        self.ends = Ends::default();
        loop {
            if self.was_asked() {
                return Ok(Woken::Asked);
            }
            if std::mem::take(&mut self.called) {
                return Ok(Woken::Called);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Woken::InTime);
            }
            self.turn(None, Some(left))?;
        }
    }

    /// Goes on with the ends of a program that has been started since.
    pub fn renew(&mut self, ends: Ends) -> Result<()> {
        (self.input_ended, self.ends) = (false, ends);
        self.input.clear();
        self.ends.never_wait()
    }

    /// The container has been connected to a network, or disconnected from one.
    pub fn reload(&mut self) {
        self.chores.iter_mut().for_each(Chores::reload);
    }

    /// Whether this process has been asked to end.
    pub fn was_asked(&self) -> bool {
        self.asked.as_ref().is_some_and(Asked::was_heard)
    }
}

impl Ends {
    /// Whoever reads from them, or writes to them, does not wait.
    pub(super) fn never_wait(&self) -> Result<()> {
        let ends = [&self.master, &self.input, &self.output, &self.error];
        for end in ends.into_iter().flatten() {
            let flags = fcntl(end, FcntlArg::F_GETFL).context("fcntl")?;
            let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
            fcntl(end, FcntlArg::F_SETFL(flags)).context("fcntl")?;
        }
        Ok(())
    }
}
