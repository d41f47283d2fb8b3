//! The gate: a container that is made, and waits for the word to become its program.  unix(7), accept(2)
//!
//! The OCI runtime specification splits the start in two: `create` makes everything, `start` runs the
//! program. In between there is no runtime, only the container's first process, which waits at a socket in
//! the runtime's directory. `start` connects, takes the socket's name away and says "go"; what goes wrong
//! from there on comes back over the same connection, and execve(2) closes it.
//!
//! The socket came as a descriptor: nothing in the container has a name for it.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, SockFlag, accept4, shutdown};

use crate::lesson::{Lesson, Shell};

/// What can be done about the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Tell `create` that all is ready, and wait for `start`.
    Wait {
        /// How many descriptors from 3 on are the program's.
        keep: u32,
    },
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        Lesson {
            why: "an engine makes the container, does its own work on it (network, cgroup), and only then lets the program run",
            without: "the program would run before the engine has recorded that it exists",
            man: "OCI runtime-spec, runtime.md, \"Lifecycle\"",
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        Shell::Note("accept(): a script starts the program at once".into())
    }

    /// Ends the talk with `create` over `speaker`, and begins one with `start` in its place, which comes
    /// to the listening socket `gate`. A caller that leaves without a word was none.
    pub fn take(&self, gate: &OwnedFd, speaker: &mut OwnedFd) -> Result<()> {
        let Step::Wait { keep } = self;
        // Nothing of the runtime's stays open meanwhile, least of all its lock on the container.
        crate::sys::close_from_except(3 + keep, [gate.as_raw_fd(), speaker.as_raw_fd()]);
        shutdown(speaker.as_raw_fd(), Shutdown::Both).context("end the talk with create")?;
        loop {
            let caller = match accept4(gate.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                Ok(number) => crate::sys::inherited_fd(number)?,
                Err(Errno::EINTR | Errno::ECONNABORTED) => continue,
                Err(errno) => return Err(errno).context("wait for start"),
            };
            let mut word = [0; 1];
            let heard = loop {
                match nix::unistd::read(&caller, &mut word) {
                    Err(Errno::EINTR) => (),
                    other => break other,
                }
            };
            if matches!(heard, Ok(1)) {
                *speaker = caller;
                return Ok(());
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accept4(gate, NULL, NULL, SOCK_CLOEXEC)")
    }
}
