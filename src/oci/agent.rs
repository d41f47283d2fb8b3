//! A seccomp agent: a program of the engine's that answers system calls of the container's.  OCI config-linux.md, "Seccomp"
//!
//! The agent listens at `linux.seccomp.listenerPath`. It gets the container's state as JSON (the *container process
//! state*) and, with the same message, the descriptor from which the kernel tells it of calls (seccomp_unotify(2)).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};
use nix::unistd::Pid;
use oci_spec::runtime::{ContainerState, Spec, State};
use serde_json::json;

use crate::launch::{Listener, Side};
use crate::step::Step;

/// Tells the agent of `spec` that the process `pid` has loaded its filter.
///
/// # Errors
/// Nobody listens there.
pub fn tell(spec: &Spec, mut state: State, pid: Option<Pid>, calls: &OwnedFd) -> Result<()> {
    let linux = spec.linux().as_ref();
    let seccomp = linux.and_then(|linux| linux.seccomp().as_ref());
    let seccomp = seccomp.context("the spec has no seccomp profile")?;
    let path = seccomp
        .listener_path()
        .as_ref()
        .context("the profile has no listenerPath")?;
    let pid = pid.map(Pid::as_raw);
    if state.pid().is_none() {
        state.set_pid(pid);
    }
    let text = json!({
        "ociVersion": spec.version(),
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": seccomp.listener_metadata(),
        "state": state,
    });
    let send = || -> Result<()> {
        let (domain, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
        let agent = socket(domain, SockType::Stream, flags, None)?;
        connect(agent.as_raw_fd(), &UnixAddr::new(path)?)?;
        let fds = [calls.as_raw_fd()];
        let text = text.to_string();
        let parts = [IoSlice::new(text.as_bytes())];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(
            agent.as_raw_fd(),
            &parts,
            &rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        Ok(())
    };
    send().with_context(|| format!("tell the seccomp agent at {}", path.display()))
}

/// Tells the agent of a container of one more process in it.
#[derive(Debug)]
pub struct Joined<'a> {
    /// What the container was made of.
    pub spec: &'a Spec,
    /// Which container, and its first process.
    pub state: State,
}

impl Listener for Joined<'_> {
    fn took(&mut self, _: Side, _: &Step, _: std::time::Duration) {}

    fn filtered(&mut self, pid: Option<Pid>, calls: OwnedFd) -> Result<()> {
        self.state.set_status(ContainerState::Running);
        tell(self.spec, self.state.clone(), pid, &calls)
    }
}
