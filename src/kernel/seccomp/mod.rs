//! Seccomp: a filter in front of every system call.  seccomp(2), OCI config-linux.md "Seccomp"
//!
//! The kernel has more than 300 system calls and a program needs some dozens. A filter is a small program
//! that the kernel runs at each call: it sees the call's number and its six arguments and says *allow*,
//! *fail with this errno*, or *kill*. It cannot follow pointers, so it can judge `socket(AF_VSOCK, ..)`, but
//! not the path of an `open`. A filter is inherited and can never be taken off.
//!
//! [`profile`] has Docker's default list as data; [`bpf`] turns any list into the kernel's instructions;
//! `ready` has the one that nearly all containers get, compiled.
//!
//! A call may also be left to an *agent* on the host (`SCMP_ACT_NOTIFY`, seccomp_unotify(2)): the kernel holds the
//! caller and tells whoever has the filter's listener, a descriptor that goes to the agent's socket.
//!
//! Loading takes CAP_SYS_ADMIN unless no_new_privs is set. So the step stands before the capabilities are
//! dropped, or, with no_new_privs, as the very last before execve(2).

use std::fmt;
use std::fmt::Write as _;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, Spec};

use crate::lesson::{Lesson, Shell};

pub mod bpf;
pub mod profile;
mod ready;
mod table;

pub use bpf::{Instruction, Program, compile};
pub use profile::default_profile;
pub use table::NATIVE;

/// What can be done about system calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Puts a filter in front of all calls from here on.
    Load(Program),
    /// The same, and an agent is to answer some of the calls.
    LoadWithAgent(Program),
}

/// The annotation by which a `Spec` asks for Docker's default list: written out, the list is longer than
/// all the rest, and it would be written, read and compiled at each start.
const DEFAULT_MARK: (&str, &str) = ("rmac.seccomp", "default");

/// The annotation that asks for the default list.
pub fn default_mark() -> (String, String) {
    (DEFAULT_MARK.0.to_owned(), DEFAULT_MARK.1.to_owned())
}

/// The architectures whose calls a filter on this machine tells apart.
pub fn architectures() -> &'static [oci_spec::runtime::Arch] {
    &profile::ARCHITECTURES
}

/// The flags that a profile may have: all, and those that this kernel knows.
pub fn flags() -> [Vec<&'static str>; 2] {
    let all = bpf::FLAGS.iter();
    let here = all
        .clone()
        .filter(|(_, bits)| crate::sys::seccomp::knows(*bits));
    [
        all.map(|(name, _)| *name).collect(),
        here.map(|(name, _)| *name).collect(),
    ]
}

/// The filter of `spec`, compiled; nothing where it asks for none.
///
/// # Errors
/// What the profile asks for and rmac cannot do, such as notifications.
pub fn plan(spec: &Spec) -> Result<Vec<Step>> {
    let linux = spec.linux().as_ref();
    if let Some(profile) = linux.and_then(|linux| linux.seccomp().as_ref()) {
        return plan_profile(profile);
    }
    let annotations = spec.annotations().as_ref();
    let mark = annotations.and_then(|annotations| annotations.get(DEFAULT_MARK.0));
    if mark.map(String::as_str) != Some(DEFAULT_MARK.1) {
        return Ok(Vec::new());
    }
    let process = spec.process().as_ref();
    let sets = process.and_then(|process| process.capabilities().as_ref());
    let held = sets
        .and_then(|sets| sets.bounding().clone())
        .unwrap_or_default();
    match ready::program(&held) {
        Some(program) => Ok(vec![Step::Load(program)]),
        None => plan_profile(&default_profile(&held)),
    }
}

/// The filter of `profile`, compiled for this machine.
///
/// # Errors
/// As [`plan`].
pub fn plan_profile(profile: &LinuxSeccomp) -> Result<Vec<Step>> {
    let program = compile(profile, NATIVE).context("compile the seccomp profile")?;
    if !bpf::notifies(profile) {
        let all = profile.default_action() == LinuxSeccompAction::ScmpActNotify;
        if all || profile.listener_path().is_some() {
            bail!(
                "seccomp: listenerPath needs rules with SCMP_ACT_NOTIFY, which is no default action"
            );
        }
        return Ok(vec![Step::Load(program)]);
    }
    let mut left = profile
        .syscalls()
        .iter()
        .flatten()
        .filter(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify);
    if left.any(|rule| rule.names().iter().any(|name| name == "sendmsg")) {
        bail!("seccomp: SCMP_ACT_NOTIFY cannot be used for sendmsg, by which the agent is told");
    }
    if profile.listener_path().is_none() {
        bail!("seccomp: SCMP_ACT_NOTIFY needs listenerPath, the agent's socket");
    }
    Ok(vec![Step::LoadWithAgent(program)])
}

impl Step {
    fn program(&self) -> &Program {
        let (Step::Load(program) | Step::LoadWithAgent(program)) = self;
        program
    }

    /// The reason.
    pub fn why(&self) -> Lesson {
        Lesson {
            why: "calls that a container has no use for, such as mount, keyctl, kexec_load or bpf, fail before they reach the kernel's code",
            without: "a bug in any of the 300 calls is a way out of the container; most escapes of record began with one that this filter refuses",
            man: "seccomp(2)",
        }
    }

    /// The same as perl: the very same program, as hexadecimal digits.
    pub fn shell(&self) -> Shell {
        let program = self.program();
        let hex = program.instructions.iter().flat_map(|i| i.to_bytes()).fold(
            String::new(),
            |mut hex, byte| {
                // Writing to a String cannot fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            },
        );
        Shell::Perl(format!(
            "my $filter = pack('H*', '{hex}'); sys seccomp => {}, {}, {:#x}, pack('S x6 P', {}, $filter);",
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            program.flags,
            program.instructions.len(),
        ))
    }

    /// Loads the filter for this thread, for good; the listener where there is an agent.
    ///
    /// # Errors
    /// Names the missing capability where that is the cause.
    pub fn take(&self) -> Result<Option<OwnedFd>> {
        let program = self.program();
        let filter: Vec<libc::sock_filter> =
            program.instructions.iter().map(|i| i.to_kernel()).collect();
        let loaded = match self {
            Step::Load(_) => crate::sys::seccomp::load(&filter, program.flags).map(|()| None),
            Step::LoadWithAgent(_) => {
                crate::sys::seccomp::load_with_listener(&filter, program.flags).map(Some)
            }
        };
        loaded.map_err(|error| match error.raw_os_error() {
            Some(libc::EACCES) => anyhow::Error::from(error)
                .context("load the seccomp filter: this takes CAP_SYS_ADMIN or no_new_privs"),
            Some(libc::ENOSYS | libc::EINVAL) => anyhow::Error::from(error)
                .context("load the seccomp filter: does the kernel have CONFIG_SECCOMP_FILTER?"),
            _ => anyhow::Error::from(error).context("load the seccomp filter"),
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program();
        let len = program.instructions.len();
        write!(
            f,
            "seccomp(SECCOMP_SET_MODE_FILTER, {:#x}, {{len={len}, filter=...}})",
            program.flags
        )
    }
}

#[cfg(test)]
mod tests;
