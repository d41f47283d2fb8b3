//! Kernel settings that belong to a namespace.  sysctl(8), proc_sys(5), OCI config-linux.md "Sysctl"
//!
//! Most files below `/proc/sys` act on the whole machine; some exist once in each network, IPC or UTS
//! namespace, and those are the container's to set. The file is opened in a procfs that was mounted for
//! this purpose and is attached nowhere, so no mount or link of the container can turn the write to
//! another file (CVE-2025-52881).

use std::fmt;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::namespaces;
use crate::lesson::{Lesson, Shell};
use crate::sys::mounts::FsContext;

/// What can be done about settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Sets one.
    Set {
        /// Its file below `/proc/sys`.
        path: String,
        /// Its value.
        value: String,
    },
}

/// The settings of `spec`, in the order of their names.
///
/// # Errors
/// A setting of the whole machine, or of a namespace that the container shares with the host.
pub fn plan(spec: &Spec) -> Result<Vec<Step>> {
    let linux = spec.linux().as_ref();
    let all = linux.and_then(|linux| linux.sysctl().as_ref());
    let mut steps = vec![];
    for (name, value) in all.into_iter().flatten() {
        let path = path(name);
        let Some(kind) = namespace_of(&path) else {
            bail!("sysctl {name:?} is not in a separate kernel namespace");
        };
        if !namespaces::listed(spec, kind) {
            bail!("sysctl {name:?} is not allowed in the host's {kind} namespace");
        }
        let value = value.clone();
        steps.push(Step::Set { path, value });
    }
    steps.sort_by(|Step::Set { path: a, .. }, Step::Set { path: b, .. }| a.cmp(b));
    Ok(steps)
}

/// Whether Docker lets a container have its own value of this setting: those of its network and of its IPC, but not
/// those of its host name, which has flags, and of its users.
pub fn is_containers(name: &str) -> bool {
    use LinuxNamespaceType::{Ipc, Network};
    matches!(namespace_of(&path(name)), Some(Ipc | Network))
}

/// `net.ipv4.ip_forward` and `net/ipv4/conf/eth0.1/forwarding` are both in use: the first separator says
/// which, and what is left of the other kind changes places (sysctl(8)).
fn path(name: &str) -> String {
    if name.find(['/', '.']) == name.find('/') {
        return name.to_owned();
    }
    let swap = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}

fn namespace_of(path: &str) -> Option<LinuxNamespaceType> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    let parts = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    match path {
        _ if !parts => None,
        "kernel/domainname" | "kernel/hostname" => Some(LinuxNamespaceType::Uts),
        _ if IPC.contains(&path) || path.starts_with("fs/mqueue/") => Some(LinuxNamespaceType::Ipc),
        _ if path.starts_with("net/") => Some(LinuxNamespaceType::Network),
        _ if path.starts_with("user/") => Some(LinuxNamespaceType::User),
        _ => None,
    }
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        Lesson {
            why: "this setting exists once in each namespace, so the container can have its own value",
            without: "the container would run with the kernel's default",
            man: "sysctl(8), namespaces(7)",
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        let Step::Set { path, value } = self;
        Shell::Bash(format!(
            "printf %s {} > {}",
            Shell::quote(value),
            Shell::quote(&format!("/proc/sys/{path}"))
        ))
    }

    /// Takes the step.
    pub fn take(&self) -> Result<()> {
        let Step::Set { path, value } = self;
        let write = || -> Result<()> {
            let file = openat2(own_proc()?.as_fd(), format!("sys/{path}").as_str(), how())?;
            Ok(std::fs::File::from(file).write_all(value.as_bytes())?)
        };
        write().with_context(|| self.to_string())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step::Set { path, value } = self;
        write!(f, "write(\"/proc/sys/{path}\", {value:?})")
    }
}

fn how() -> OpenHow {
    OpenHow::new()
        .flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        )
}

fn own_proc() -> Result<OwnedFd> {
    FsContext::open("proc")
        .and_then(|proc| proc.mount(0))
        .context("mount a procfs of our own")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_same_file() {
        assert_eq!(path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path("net/ipv4/ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(
            path("net/ipv4/conf/eth0.1/forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            path("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
    }

    #[test]
    fn settings_of_the_machine_and_paths_out_are_refused() {
        assert_eq!(namespace_of("kernel/shmmax"), Some(LinuxNamespaceType::Ipc));
        for path in [
            "kernel/core_pattern",
            "net/../kernel/core_pattern",
            "vm/swappiness",
            "net//x",
        ] {
            assert_eq!(namespace_of(path), None, "{path}");
        }
    }
}
