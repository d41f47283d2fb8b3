//! The user that the program runs as: `--user NAME|UID[:GROUP|GID]`.  credentials(7)
//!
//! The kernel knows numbers only; those of a name are in the container's own files (`user/lookup.rs`). With
//! them the process becomes the user, for good: its groups first, then the user, who may not change them.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use oci_spec::runtime::{Process, Spec};

use crate::lesson::{Lesson, Shell};

mod lookup;

pub use lookup::{LARGEST_FILE, LARGEST_ID, User, find_group, lookup, resolve};

/// The change of user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Looks the user up in the container's own `/etc/passwd` and `/etc/group`, then becomes it. Taken
    /// after the pivot, so the image's files are the only ones in reach.
    LogIn {
        /// As `--user` has it: `name|uid[:group|gid]`, empty for root.
        wanted: String,
        /// Further groups, as `--group-add` has them: names or numbers.
        more: Vec<String>,
    },
    /// Sets the supplementary groups, the group and the user, in this order: each takes a capability
    /// that the next could lose.
    Become {
        /// User number: real, effective, saved and for file access.
        uid: u32,
        /// Group number, likewise.
        gid: u32,
        /// The supplementary groups, all of them.
        groups: Vec<u32>,
    },
}

/// The annotation of a spec that lists further groups, by names that only the container's files know.
const GROUPS: &str = "rmac.group-add";

/// The annotation that makes [`plan`] add the `groups`; `None` where there are none.
pub fn mark(groups: &[String]) -> Option<(String, String)> {
    (!groups.is_empty()).then(|| (GROUPS.to_owned(), groups.join(",")))
}

/// The user of `process`: a name is for the container to resolve, numbers are taken as they are.
pub fn plan(spec: &Spec, process: &Process) -> Vec<Step> {
    let user = process.user();
    if let Some(wanted) = user.username() {
        let annotations = spec.annotations().as_ref();
        let groups = annotations.and_then(|all| all.get(GROUPS));
        let more = groups.map(|list| list.split(',').map(str::to_owned).collect());
        return vec![Step::LogIn {
            wanted: wanted.clone(),
            more: more.unwrap_or_default(),
        }];
    }
    vec![Step::Become {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
    }]
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        Lesson {
            why: "the program runs as the user that was asked for, in that user's groups and in no group of the caller",
            without: "it would run with the caller's groups, which open files of the host that are mounted into the container",
            man: "setgroups(2), setgid(2), setuid(2)",
        }
    }

    /// The same as perl.
    pub fn shell(&self) -> Shell {
        let (uid, gid, groups) = match self {
            Step::LogIn { wanted, more } => {
                let words = std::iter::once(wanted).chain(more);
                let words: Vec<String> = words
                    .map(|word| format!("'{}'", word.replace('\'', "")))
                    .collect();
                return Shell::Perl(format!("login({});", words.join(", ")));
            }
            Step::Become { uid, gid, groups } => (uid, gid, groups),
        };
        let packed = if groups.is_empty() {
            "0".to_owned()
        } else {
            format!("pack('L*', {})", list(groups))
        };
        Shell::Perl(format!(
            "sys setgroups => {}, {}, {packed}; sys setgid => {}, {gid}; sys setuid => {}, {uid};",
            libc::SYS_setgroups,
            groups.len(),
            libc::SYS_setgid,
            libc::SYS_setuid,
        ))
    }

    /// Becomes the user; its home directory where it was looked up. Nothing takes it back: it dies
    /// with the process.
    ///
    /// # Errors
    /// Docker's words for an unknown user; those of the three calls.
    pub fn take(&self) -> Result<Option<String>> {
        match self {
            Step::LogIn { wanted, more } => {
                let root = openat(
                    AT_FDCWD,
                    "/",
                    OFlag::O_PATH | OFlag::O_CLOEXEC,
                    Mode::empty(),
                )
                .context("open the container's root")?;
                let user = resolve(wanted, more, &root)?;
                own_stdio(user.uid)?;
                become_user(user.uid, user.gid, &user.groups)?;
                Ok(Some(user.home))
            }
            Step::Become { uid, gid, groups } => {
                // The home directory is a courtesy here: what the image's passwd says, or nothing.
                let root = File::open("/").context("open the container's root")?;
                let home =
                    resolve(&uid.to_string(), &[], root).map_or("/".into(), |user| user.home);
                own_stdio(*uid)?;
                become_user(*uid, *gid, groups).map(|()| Some(home))
            }
        }
    }
}

/// Gives descriptors 0, 1 and 2 to the user, who may otherwise not open `/dev/stdout` again. Files of
/// root's that are no pipe or terminal, such as `/dev/null`, stay root's.
fn own_stdio(uid: u32) -> Result<()> {
    if uid == 0 {
        return Ok(());
    }
    for fd in [
        std::io::stdin().as_fd(),
        std::io::stdout().as_fd(),
        std::io::stderr().as_fd(),
    ] {
        let status = fstat(fd).context("fstat")?;
        let kind = status.st_mode & nix::libc::S_IFMT;
        let terminal = nix::unistd::isatty(fd).unwrap_or(false);
        if kind == nix::libc::S_IFIFO || terminal {
            match nix::unistd::fchown(fd, Some(Uid::from_raw(uid)), None) {
                // In a user namespace what was opened outside belongs to nobody, and stays so.
                Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => (),
                Err(errno) => return Err(errno).context("fchown the program's output"),
            }
        }
    }
    Ok(())
}

/// EINVAL: the container's user namespace has no such number.
fn unknown(errno: Errno) -> anyhow::Error {
    match errno {
        Errno::EINVAL => anyhow::anyhow!(
            "the container's user namespace has no such user or group: --userns auto:size=N gives more numbers; an ordinary user has one alone without lines in /etc/subuid and /etc/subgid and newuidmap (Debian's package uidmap)"
        ),
        errno => errno.into(),
    }
}

fn groups_are_fixed() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|word| word.trim() == "deny")
}

/// Belongs to `groups` alone from here on. In a namespace that an ordinary user has made alone, groups cannot be
/// left, and nothing happens.
pub fn leave_groups(groups: &[Gid]) -> nix::Result<()> {
    match setgroups(groups) {
        Err(Errno::EPERM) if groups_are_fixed() => Ok(()),
        set => set,
    }
}

fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    let all: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    leave_groups(&all)
        .map_err(unknown)
        .with_context(|| format!("setgroups([{}])", list(groups)))?;
    setgid(Gid::from_raw(gid))
        .map_err(unknown)
        .with_context(|| format!("setgid({gid})"))?;
    setuid(Uid::from_raw(uid))
        .map_err(unknown)
        .with_context(|| format!("setuid({uid})"))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uid, gid, groups) = match self {
            Step::LogIn { wanted, more } => {
                let groups = match more.is_empty() {
                    true => String::new(),
                    false => format!("and {}", more.join(", ")),
                };
                return match wanted.is_empty() {
                    true => write!(f, "setgroups(..{groups}), setgid(0), setuid(0)"),
                    false => write!(
                        f,
                        "setgroups(..{groups}), setgid(..), setuid(the user {wanted:?})"
                    ),
                };
            }
            Step::Become { uid, gid, groups } => (uid, gid, groups),
        };
        let (count, groups) = (groups.len(), list(groups));
        write!(
            f,
            "setgroups({count}, [{groups}]), setgid({gid}), setuid({uid})"
        )
    }
}

fn list(numbers: &[u32]) -> String {
    let words: Vec<String> = numbers.iter().map(u32::to_string).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::test_support::in_child;
    use oci_spec::runtime::{ProcessBuilder, UserBuilder};

    #[test]
    fn the_process_becomes_the_user() {
        let user = UserBuilder::default()
            .uid(1000u32)
            .gid(1001u32)
            .additional_gids(vec![1001, 10]);
        let process = ProcessBuilder::default()
            .user(user.build().unwrap())
            .build()
            .unwrap();
        let steps = plan(&Spec::default(), &process);
        assert_eq!(
            steps[0].to_string(),
            "setgroups(2, [1001, 10]), setgid(1001), setuid(1000)"
        );
        let ids = in_child(|| {
            steps[0].take()?;
            let status = std::fs::read_to_string("/proc/self/status")?;
            let wanted = |l: &&str| ["Uid:", "Gid:", "Groups:"].iter().any(|w| l.starts_with(w));
            Ok(status
                .lines()
                .filter(wanted)
                .collect::<Vec<_>>()
                .join(" ")
                .replace('\t', " "))
        });
        assert_eq!(
            ids.trim_end(),
            "Uid: 1000 1000 1000 1000 Gid: 1001 1001 1001 1001 Groups: 10 1001"
        );
    }
}
