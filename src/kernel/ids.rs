//! User namespaces: whose root the container's root is.  user_namespaces(7), mount_setattr(2)
//!
//! In a user namespace every user and group number inside stands for another one outside. A new namespace
//! has no such table; until one is written its processes are nobody. Its creator, who may, writes the
//! table from outside; then the container's first process becomes the namespace's root.
//!
//! The files of an image belong to the numbers that its author gave them. An id-mapped mount shows them as
//! the container's without touching them: the kernel translates owners by the table of a user namespace,
//! which is made for that alone ([`lend`]).

use std::fmt;
use std::os::fd::OwnedFd;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Gid, Pid, Uid, geteuid, setresgid, setresuid};
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};

use super::namespaces;
use crate::lesson::{Lesson, Shell};
use crate::sys::{self, Clone as Side};

/// Which numbers inside stand for which outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// For users.
    pub uids: Vec<LinuxIdMapping>,
    /// For groups.
    pub gids: Vec<LinuxIdMapping>,
}

/// What can be done about a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Host: write the table of the container's first process.
    Map(Table),
    /// Child: become root of the namespace.
    BecomeRoot,
    /// Host: make a user namespace with the same table, by which the kernel shows the image's files as the
    /// container's.
    Lend(Table),
}

/// What the host does, and what the child does once that is done.
///
/// # Errors
/// A user namespace without mappings.
pub fn plan(spec: &Spec) -> Result<(Vec<Step>, Vec<Step>)> {
    if !namespaces::listed(spec, LinuxNamespaceType::User) {
        return Ok((vec![], vec![]));
    }
    match table(spec)? {
        None => Ok((vec![], vec![Step::BecomeRoot])),
        Some(table) => Ok((vec![Step::Map(table)], vec![Step::BecomeRoot])),
    }
}

/// The table of the user namespace that is made for the container; `None` where none is.
///
/// # Errors
/// A user namespace without mappings.
pub fn table(spec: &Spec) -> Result<Option<Table>> {
    if !namespaces::has(spec, LinuxNamespaceType::User) {
        return Ok(None);
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
    Ok(Some(Table { uids, gids }))
}

impl Table {
    /// The numbers from 0 to `size` stand for those from `first` on, but for what `uids` and `gids` say.
    pub fn of_range(
        first: u32,
        size: u32,
        uids: &[LinuxIdMapping],
        gids: &[LinuxIdMapping],
    ) -> Table {
        Table {
            uids: fill(first, size, uids),
            gids: fill(first, size, gids),
        }
    }

    /// Whom the user and the group with these numbers inside are outside; `None` where they are nobody.
    pub fn outside(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((outside(&self.uids, uid)?, outside(&self.gids, gid)?))
    }

    /// Whom the user and the group with these numbers outside are inside; `None` where they are nobody.
    pub fn inside(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((inside(&self.uids, uid)?, inside(&self.gids, gid)?))
    }
}

/// A user namespace with this table. Nobody is in it; it lives as long as its descriptor.
///
/// # Errors
/// EPERM where the table names numbers that this process has not got itself.
pub fn lend(table: &Table) -> Result<OwnedFd> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context("make a pipe")?;
    let (pid, pidfd) = match sys::clone3(nix::libc::CLONE_NEWUSER as u64, None)
        .context("clone3(CLONE_NEWUSER)")?
    {
        Side::Child => {
            // It is there for its namespace alone, and ends with the other end of the pipe.
            sys::close(std::os::fd::AsRawFd::as_raw_fd(&write));
            let _ = nix::unistd::read(&read, &mut [0]);
            sys::exit_now(0);
        }
        Side::Parent(pid, pidfd) => (pid, pidfd),
    };
    let made = write_table(pid, table).and_then(|()| {
        let namespace = std::fs::File::open(format!("/proc/{pid}/ns/user"));
        namespace.context("open the user namespace")
    });
    drop(write);
    waitid(
        Id::PIDFd(std::os::fd::AsFd::as_fd(&pidfd)),
        WaitPidFlag::WEXITED,
    )
    .context("wait for the user namespace's process")?;
    made.map(OwnedFd::from)
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Map(_) => Lesson {
                why: "the numbers of users inside are given other numbers outside, so that the container's root is nobody on the host",
                without: "every process of the container would be the overflow user 65534, who owns nothing",
                man: "user_namespaces(7), \"User and group ID mappings\"",
            },
            Step::BecomeRoot => Lesson {
                why: "the process still has the number of who made it; what it makes from here on must belong to the container's root",
                without: "files and mounts would belong to the host's root, and the container could not touch them",
                man: "setresuid(2)",
            },
            Step::Lend(_) => Lesson {
                why: "an id-mapped mount translates the owners of files by a user namespace; the container's own does not exist yet, so one with the same table is made for this",
                without: "the image's files would belong to nobody in the container, or would have to be copied for each",
                man: "mount_setattr(2), \"ID-mapped mounts\"",
            },
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        match self {
            Step::Map(table) => Shell::Bash(written("$pid", table)),
            Step::BecomeRoot => Shell::Note("setresuid(0, 0, 0): unshare --setuid 0".into()),
            Step::Lend(table) => Shell::Bash(format!(
                "unshare --user sleep infinity & lender=$!\nuntil [ \"$(readlink /proc/$lender/ns/user)\" != \"$(readlink /proc/self/ns/user)\" ]; do :; done\n{}",
                written("$lender", table)
            )),
        }
    }

    /// Takes the step; `pid` is the container's first process, for the host's part, and `lent` takes the
    /// namespaces that were made for mounts.
    pub fn take(&self, pid: Option<Pid>, lent: &mut Vec<(Table, OwnedFd)>) -> Result<()> {
        match self {
            Step::Map(table) => write_table(pid.context("no process to map")?, table),
            Step::BecomeRoot => {
                let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
                super::user::leave_groups(&[]).context("setgroups")?;
                setresgid(gid, gid, gid).context("setresgid(0)")?;
                setresuid(uid, uid, uid).context("setresuid(0)")?;
                // A change of user makes a process dumpable again or not as the machine is set up.
                nix::sys::prctl::set_dumpable(false).context("prctl(PR_SET_DUMPABLE)")
            }
            Step::Lend(table) => {
                lent.push((table.clone(), lend(table)?));
                Ok(())
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Map(Table { uids, gids }) => write!(
                f,
                "write(\"/proc/PID/uid_map\", {:?}), write(\"/proc/PID/gid_map\", {:?})",
                text(uids),
                text(gids)
            ),
            Step::BecomeRoot => write!(
                f,
                "setgroups(0, []), setresgid(0, 0, 0), setresuid(0, 0, 0)"
            ),
            Step::Lend(Table { uids, .. }) => write!(
                f,
                "clone3(CLONE_NEWUSER), write(\"/proc/PID/uid_map\", {:?}), open(\"/proc/PID/ns/user\")",
                text(uids)
            ),
        }
    }
}

fn write_table(pid: Pid, table: &Table) -> Result<()> {
    let Table { uids, gids } = table;
    if !geteuid().is_root() {
        let alone = |list: &[LinuxIdMapping]| matches!(list, [one] if one.size() == 1);
        if !(alone(uids) && alone(gids)) {
            return map_by("newuidmap", pid, uids).and_then(|()| map_by("newgidmap", pid, gids));
        }
        // Groups cannot be left then, or a group that shuts its members out would not.
        let file = format!("/proc/{pid}/setgroups");
        std::fs::write(&file, "deny").with_context(|| format!("write {file}"))?;
    }
    for (file, text) in [
        ("uid_map", text(&table.uids)),
        ("gid_map", text(&table.gids)),
    ] {
        let file = format!("/proc/{pid}/{file}");
        // One write(2) for the whole table, as the kernel wants it.
        std::fs::write(&file, &text).with_context(|| format!("write {text:?} to {file}"))?;
    }
    Ok(())
}

/// Lets `program`, newuidmap(1) or newgidmap(1), write a table: it gives an ordinary user the numbers that
/// /etc/subuid or /etc/subgid has for that user.
///
/// # Errors
/// It is not installed, or refuses.
pub fn map_by(program: &str, pid: Pid, mappings: &[LinuxIdMapping]) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    command.args(
        mappings.iter().flat_map(|m| {
            [m.container_id(), m.host_id(), m.size()].map(|number| number.to_string())
        }),
    );
    let output = command.output().with_context(|| {
        format!("start {program}, which an ordinary user needs for more than one number (Debian's package uidmap)")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}", said.trim());
    }
    Ok(())
}

fn written(pid: &str, Table { uids, gids }: &Table) -> String {
    format!(
        "printf %s {} > /proc/{pid}/uid_map; printf %s {} > /proc/{pid}/gid_map",
        Shell::quote(&text(uids)),
        Shell::quote(&text(gids))
    )
}

fn text(mappings: &[LinuxIdMapping]) -> String {
    let line = |m: &LinuxIdMapping| format!("{} {} {}\n", m.container_id(), m.host_id(), m.size());
    mappings.iter().map(line).collect()
}

/// The mappings `fixed`, and what they leave of 0 to `size` mapped to the numbers from `first` on.
fn fill(first: u32, size: u32, fixed: &[LinuxIdMapping]) -> Vec<LinuxIdMapping> {
    let mut fixed = fixed.to_vec();
    fixed.sort_by_key(LinuxIdMapping::container_id);
    let (mut all, mut from, mut to) = (vec![], 0, first);
    let mut add = |all: &mut Vec<_>, from: u32, until: u32| {
        if let Some(length) = until.checked_sub(from).filter(|length| *length > 0) {
            all.extend(mapping(from, to, length));
            to += length;
        }
    };
    for own in fixed {
        add(&mut all, from, own.container_id().min(size));
        from = own.container_id().saturating_add(own.size());
        all.push(own);
    }
    add(&mut all, from, size);
    all
}

/// `size` numbers from `inside` on stand for those from `outside` on.
pub fn mapping(inside: u32, outside: u32, size: u32) -> Option<LinuxIdMapping> {
    let builder = LinuxIdMappingBuilder::default()
        .container_id(inside)
        .host_id(outside)
        .size(size);
    builder.build().ok()
}

fn inside(mappings: &[LinuxIdMapping], outside: u32) -> Option<u32> {
    mappings.iter().find_map(|m| {
        let offset = outside.checked_sub(m.host_id())?;
        (offset < m.size()).then(|| m.container_id() + offset)
    })
}

fn outside(mappings: &[LinuxIdMapping], inside: u32) -> Option<u32> {
    mappings.iter().find_map(|m| {
        let offset = inside.checked_sub(m.container_id())?;
        (offset < m.size()).then(|| m.host_id() + offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_one_number_leaves_the_rest_of_the_range_to_the_others() {
        let fixed = [mapping(1000, 1000, 1).unwrap()];
        let table = Table::of_range(500_000, 2000, &fixed, &[]);
        assert_eq!(
            text(&table.uids),
            "0 500000 1000\n1000 1000 1\n1001 501000 999\n"
        );
        assert_eq!(text(&table.gids), "0 500000 2000\n");
        assert_eq!(table.outside(0, 0), Some((500_000, 500_000)));
        assert_eq!(table.outside(1001, 5), Some((501_000, 500_005)));
        assert_eq!(table.outside(2000, 0), None);
    }
}
