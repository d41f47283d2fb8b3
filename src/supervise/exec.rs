//! One more process in a running container: `exec`.
//!
//! It has a small monitor of its own, which carries its input and output and reaps it; the container's
//! monitor does not know of it. It dies with the container, since it is in its pid namespace.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use oci_spec::runtime::{Process, Spec};

use super::log::Log;
use super::monitor::{self, exit_code, leave_the_caller};
use super::pump::Pump;
use super::stdio::{Input, pipes};
use super::{Message, say};
use crate::kernel::cgroups::Layout;
use crate::launch::{self, Silent, Telling};
use crate::plan::{self, Plan};
use crate::sys;

/// Starts `process` in the container that `spec` describes and whose first process is `pid`. Returns the
/// socket on which its monitor will say how that went.
pub fn exec(
    spec: &Spec,
    process: &Process,
    pid: i32,
    input: Input,
    attach: super::start::Attach,
) -> Result<OwnedFd> {
    let keyring = plan::id_of(plan::cgroups_path(spec)?);
    let plan = plan::plan_exec(spec, process, &Layout::detect()?, pid, keyring)?;
    let (ours, caller) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .context("make the socket to the monitor")?;
    if attach == super::start::Attach::Yes {
        say(&ours, &Message::Attach).context("attach")?;
    }
    match sys::fork().context("fork the monitor")? {
        Some(_) => Ok(ours),
        None => {
            drop(ours);
            monitor::end(&keep(
                &plan,
                process.terminal() == Some(true),
                input,
                caller,
            ))
        }
    }
}

fn keep(plan: &Plan, terminal: bool, input: Input, caller: OwnedFd) -> Result<()> {
    leave_the_caller()?;
    let input = if terminal { Input::Terminal } else { input };
    let (mut ends, stdio) = pipes(input)?;
    let mut running = match launch::launch(plan, stdio, Telling::Failures, &mut Silent) {
        Ok(running) => running,
        Err(failure) => {
            let message = Message::Failed(failure.code, format!("{:#}", failure.error));
            return say(&caller, &message).context("tell the caller");
        }
    };
    ends.master = running.master.take();
    let mut pump = Pump::new(ends, Log::none(), None)?;
    say(&caller, &Message::Started(running.pid.as_raw())).ok();
    pump.add_caller(caller);
    pump.run(running.pidfd.as_fd())?;
    pump.farewell(&Message::Exited(exit_code(&running.pidfd)?));
    Ok(())
}
