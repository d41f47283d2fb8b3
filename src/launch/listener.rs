//! Who hears of the steps of a launch: nobody, or who explains them.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Result, anyhow};
use nix::unistd::Pid;

use crate::step::Step;

/// Who took a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The monitor, on the host.
    Host,
    /// The container's first process.
    Child,
}

/// Hears of each step after it was taken, with the time it took. The child's times are told only
/// where somebody listens.
pub trait Listener {
    /// A step was taken.
    fn took(&mut self, side: Side, step: &Step, time: Duration);

    /// The container's first process exists, and waits: whatever this does is done before it goes on.
    fn born(&mut self, _pid: Pid) -> Result<()> {
        Ok(())
    }

    /// The process `pid` has loaded a filter that leaves calls to an agent; `calls` is where to hear of them.
    fn filtered(&mut self, _pid: Option<Pid>, _calls: OwnedFd) -> Result<()> {
        Err(anyhow!(
            "this container's calls cannot be left to a seccomp agent"
        ))
    }
}

/// Nobody listens.
#[derive(Debug)]
pub struct Silent;

impl Listener for Silent {
    fn took(&mut self, _: Side, _: &Step, _: Duration) {}
}

/// How much the child tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Failures only.
    Failures,
    /// Each step.
    Steps,
}
