//! A program that is born last: what its plan says of that, and how the host comes to know it.  clone(2), waitid(2)

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::kernel::{namespaces, program};
use crate::plan::Plan;
use crate::step::Step;
use crate::sys;
use crate::sys::trampoline::{Birth, SPEAKER};

/// How the program of `plan` is born, where that comes last, and the first descriptor that is not the program's.
pub(super) fn of(plan: &Plan) -> Option<(Birth, i32)> {
    let birth = plan.enter.iter().find_map(|step| match step {
        Step::Namespace(namespaces::Step::Birth { terminal: true }) => Some(Birth::LastAtTerminal),
        Step::Namespace(namespaces::Step::Birth { terminal: false }) => Some(Birth::Last),
        _ => None,
    })?;
    let first = plan.enter.iter().find_map(|step| match step {
        Step::Program(program::Step::CloseOnExec { first }) => i32::try_from(*first).ok(),
        _ => None,
    });
    Some((birth, first.unwrap_or(SPEAKER)))
}

/// The program's process, which the child has borne in our place. The container could have sent the number of
/// any process, but only ours can be waited for; and until then nobody else gets its number.
pub(super) fn adopt(number: &[u8]) -> Result<(Pid, OwnedFd)> {
    let number = number
        .first_chunk()
        .map_or(0, |low| i32::from_le_bytes(*low));
    let pid = Pid::from_raw(number);
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(pid), look).context("the child told of a process that is not its own")?;
    Ok((pid, sys::pidfd_open(pid).context("pidfd_open the program")?))
}
