//! User namespaces: whose root the container's root is.  user_namespaces(7)
//!
//! In a user namespace every user and group number inside stands for another one outside. A new namespace
//! has no such table; until one is written its processes are nobody. Its creator, who may, writes the
//! table from outside; then the container's first process becomes the namespace's root.

use std::fmt;

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

use super::namespaces;
use crate::lesson::{Lesson, Shell};

/// What can be done about a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Host: write the two tables of the container's first process.
    Map {
        /// For users.
        uids: Vec<LinuxIdMapping>,
        /// For groups.
        gids: Vec<LinuxIdMapping>,
    },
    /// Child: become root of the namespace.
    BecomeRoot,
}

/// What the host does, and what the child does once that is done.
///
/// # Errors
/// A user namespace without mappings.
pub fn plan(spec: &Spec) -> Result<(Vec<Step>, Vec<Step>)> {
    if !namespaces::listed(spec, LinuxNamespaceType::User) {
        return Ok((vec![], vec![]));
    }
    if !namespaces::has(spec, LinuxNamespaceType::User) {
        return Ok((vec![], vec![Step::BecomeRoot]));
    }
    let linux = spec
        .linux()
        .as_ref()
        .context("the spec has no linux part")?;
    let of = |table: &Option<Vec<LinuxIdMapping>>| table.clone().unwrap_or_default();
    let (uids, gids) = (of(linux.uid_mappings()), of(linux.gid_mappings()));
    if uids.is_empty() || gids.is_empty() {
        bail!("a user namespace needs linux.uidMappings and linux.gidMappings");
    }
    Ok((vec![Step::Map { uids, gids }], vec![Step::BecomeRoot]))
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Map { .. } => Lesson {
                why: "the numbers of users inside are given other numbers outside, so that the container's root is nobody on the host",
                without: "every process of the container would be the overflow user 65534, who owns nothing",
                man: "user_namespaces(7), \"User and group ID mappings\"",
            },
            Step::BecomeRoot => Lesson {
                why: "the process still has the number of who made it; what it makes from here on must belong to the container's root",
                without: "files and mounts would belong to the host's root, and the container could not touch them",
                man: "setresuid(2)",
            },
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        match self {
            Step::Map { uids, gids } => Shell::Bash(format!(
                "printf %s {} > /proc/$pid/uid_map; printf %s {} > /proc/$pid/gid_map",
                Shell::quote(&table(uids)),
                Shell::quote(&table(gids))
            )),
            Step::BecomeRoot => Shell::Note("setresuid(0, 0, 0): unshare --setuid 0".into()),
        }
    }

    /// Takes the step; `pid` is the container's first process, for the host's part.
    pub fn take(&self, pid: Option<Pid>) -> Result<()> {
        match self {
            Step::Map { uids, gids } => {
                let pid = pid.context("no process to map")?;
                for (file, text) in [("uid_map", table(uids)), ("gid_map", table(gids))] {
                    let file = format!("/proc/{pid}/{file}");
                    // One write(2) for the whole table, as the kernel wants it.
                    std::fs::write(&file, &text)
                        .with_context(|| format!("write {text:?} to {file}"))?;
                }
                Ok(())
            }
            Step::BecomeRoot => {
                let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
                setgroups(&[]).context("setgroups")?;
                setresgid(gid, gid, gid).context("setresgid(0)")?;
                setresuid(uid, uid, uid).context("setresuid(0)")?;
                // A change of user makes a process dumpable again or not as the machine is set up.
                nix::sys::prctl::set_dumpable(false).context("prctl(PR_SET_DUMPABLE)")
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Map { uids, gids } => write!(
                f,
                "write(\"/proc/PID/uid_map\", {:?}), write(\"/proc/PID/gid_map\", {:?})",
                table(uids),
                table(gids)
            ),
            Step::BecomeRoot => write!(
                f,
                "setgroups(0, []), setresgid(0, 0, 0), setresuid(0, 0, 0)"
            ),
        }
    }
}

fn table(mappings: &[LinuxIdMapping]) -> String {
    let line = |m: &LinuxIdMapping| format!("{} {} {}\n", m.container_id(), m.host_id(), m.size());
    mappings.iter().map(line).collect()
}
