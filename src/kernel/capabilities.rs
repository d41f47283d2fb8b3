//! Capabilities: root's power in 41 pieces.  capabilities(7)
//!
//! A process of user 0 may do everything because it has all capabilities, not because it is called
//! root. A container's root keeps the 14 that ordinary programs need and loses the rest, so it can
//! still chown a file of its own but not load a kernel module.
//!
//! A thread has five sets. *Bounding* is the ceiling of what any execve(2) can ever give; *permitted*
//! is what it may use, *effective* what it uses now; *inheritable* and *ambient* survive execve(2) of a
//! program by a user other than root. The inheritable set of a container is empty: with a filled one,
//! any file with inheritable file capabilities would give them to an unprivileged user (CVE-2022-29162).
//!
//! Where the steps belong: [`Step::Bounding`] first, while CAP_SETPCAP is still there; [`Step::Keep`]
//! before the change of user, which otherwise empties the permitted set; then the user; then
//! [`Step::Sets`], [`Step::Ambient`] and [`Step::NoNewPrivileges`]. A seccomp filter is loaded before
//! `Sets`, since that takes CAP_SYS_ADMIN, unless no_new_privs is set: then after `NoNewPrivileges`.

use std::collections::HashSet;
use std::fmt;

use anyhow::{Context, Result};
use oci_spec::runtime::{Capabilities, Capability, Process};

use crate::lesson::{Lesson, Shell};
use crate::sys::capabilities as sys;

use numbers::{mask, number, outside, sorted};

mod choose;
mod numbers;

pub use choose::{Base, DEFAULT, all_names, choose, name, within_bounding};

/// One change of the thread's capability sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Takes everything but these out of the bounding set.
    Bounding(HashSet<Capability>),
    /// Lets the permitted set survive the change to a user other than root.
    Keep,
    /// Sets the three classic sets at once.
    Sets {
        /// What is in use.
        effective: HashSet<Capability>,
        /// What may be put to use.
        permitted: HashSet<Capability>,
        /// What execve(2) hands on to a program with inheritable file capabilities.
        inheritable: HashSet<Capability>,
    },
    /// Makes these, which must be permitted and inheritable, survive execve(2) by a plain user.
    Ambient(HashSet<Capability>),
    /// execve(2) never again gives more than the caller has: setuid bits and file capabilities are void.
    NoNewPrivileges,
}

/// The steps that `process` needs, in the order in which they must be taken; the change of user goes
/// after [`Step::Keep`] (see the top of this file).
pub fn plan(process: &Process) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(sets) = process.capabilities() {
        let of = |set: &Option<Capabilities>| set.clone().unwrap_or_default();
        steps.push(Step::Bounding(of(sets.bounding())));
        // A name is resolved in the container only; for root this changes nothing.
        let named = process
            .user()
            .username()
            .as_deref()
            .is_some_and(|name| !name.is_empty());
        if process.user().uid() != 0 || named {
            steps.push(Step::Keep);
        }
        steps.push(Step::Sets {
            effective: of(sets.effective()),
            permitted: of(sets.permitted()),
            inheritable: of(sets.inheritable()),
        });
        let ambient = of(sets.ambient());
        if !ambient.is_empty() {
            steps.push(Step::Ambient(ambient));
        }
    }
    if process.no_new_privileges() == Some(true) {
        steps.push(Step::NoNewPrivileges);
    }
    steps
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Bounding(_) => Lesson {
                why: "the bounding set is the ceiling: no execve(2) in the container, not even of a setuid program, gives more",
                without: "the container's root could load kernel modules, set the clock or mount the host's disk",
                man: "capabilities(7)",
            },
            Step::Keep => Lesson {
                why: "setuid(2) from root to another user empties the permitted set unless the thread asks to keep it",
                without: "the capabilities that were asked for this user would be gone before they could be set",
                man: "PR_SET_KEEPCAPS(2const)",
            },
            Step::Sets { .. } => Lesson {
                why: "permitted and effective say what the program can do now; an empty inheritable set hands nothing on by way of file capabilities",
                without: "this process would keep all of the caller's power until its first execve(2), and for users other than root the wrong sets after it",
                man: "capset(2)",
            },
            Step::Ambient(_) => Lesson {
                why: "ambient capabilities survive execve(2) although the user is not root",
                without: "a plain user's program would start without the capabilities that were meant for it",
                man: "PR_CAP_AMBIENT(2const)",
            },
            Step::NoNewPrivileges => Lesson {
                why: "from here on no execve(2) adds privileges: setuid bits and file capabilities do nothing",
                without: "su, sudo or any setuid program in the image could raise a plain user to the container's root",
                man: "PR_SET_NO_NEW_PRIVS(2const)",
            },
        }
    }

    /// The same as perl.
    pub fn shell(&self) -> Shell {
        let prctl = libc::SYS_prctl;
        Shell::Perl(match self {
            Step::Bounding(keep) => {
                let numbers: Vec<String> = outside(keep).map(|c| number(c).to_string()).collect();
                format!(
                    "sys prctl => {prctl}, {}, $_, 0, 0, 0 for {}; # PR_CAPBSET_DROP",
                    libc::PR_CAPBSET_DROP,
                    perl_list(&numbers)
                )
            }
            Step::Keep => format!(
                "sys prctl => {prctl}, {}, 1, 0, 0, 0; # PR_SET_KEEPCAPS",
                libc::PR_SET_KEEPCAPS
            ),
            Step::Sets {
                effective,
                permitted,
                inheritable,
            } => {
                let (e, p, i) = (mask(effective), mask(permitted), mask(inheritable));
                format!(
                    "sys capset => {}, pack('Ll', 0x20080522, 0), pack('L6', {:#x}, {:#x}, {:#x}, {:#x}, {:#x}, {:#x}); # effective, permitted, inheritable: bits 0-31, then 32-63",
                    libc::SYS_capset,
                    e as u32,
                    p as u32,
                    i as u32,
                    e >> 32,
                    p >> 32,
                    i >> 32
                )
            }
            Step::Ambient(set) => {
                let numbers: Vec<String> = sorted(set)
                    .into_iter()
                    .map(|c| number(c).to_string())
                    .collect();
                format!(
                    "sys prctl => {prctl}, {ambient}, {}, 0, 0, 0; sys prctl => {prctl}, {ambient}, {}, $_, 0, 0 for {}; # PR_CAP_AMBIENT",
                    libc::PR_CAP_AMBIENT_CLEAR_ALL,
                    libc::PR_CAP_AMBIENT_RAISE,
                    perl_list(&numbers),
                    ambient = libc::PR_CAP_AMBIENT,
                )
            }
            Step::NoNewPrivileges => {
                format!(
                    "sys prctl => {prctl}, {}, 1, 0, 0, 0; # PR_SET_NO_NEW_PRIVS",
                    libc::PR_SET_NO_NEW_PRIVS
                )
            }
        })
    }

    /// Takes the step for this thread. Nothing takes it back: it dies with the process.
    ///
    /// # Errors
    /// Names the capability, or those that were asked for in vain.
    pub fn take(&self) -> Result<()> {
        match self {
            Step::Bounding(keep) => drop_all(outside(keep)),
            Step::Keep => nix::sys::prctl::set_keepcaps(true).context("prctl(PR_SET_KEEPCAPS)"),
            Step::Sets {
                effective,
                permitted,
                inheritable,
            } => sys::capset(mask(effective), mask(permitted), mask(inheritable)).with_context(
                || match within_bounding(permitted).1.as_slice() {
                    [] => "set the capabilities: not all of them are permitted here".to_owned(),
                    missing => format!(
                        "set the capabilities: this machine does not give {}",
                        names(missing)
                    ),
                },
            ),
            Step::Ambient(set) => raise_all(set),
            Step::NoNewPrivileges => {
                nix::sys::prctl::set_no_new_privs().context("prctl(PR_SET_NO_NEW_PRIVS)")
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Bounding(keep) => {
                let dropped: Vec<_> = outside(keep).collect();
                write!(f, "prctl(PR_CAPBSET_DROP, {})", names(&dropped))
            }
            Step::Keep => f.write_str("prctl(PR_SET_KEEPCAPS, 1)"),
            Step::Sets {
                effective,
                permitted,
                inheritable,
            } => write!(
                f,
                "capset({{effective={}, permitted={}, inheritable={}}})",
                flags(effective),
                flags(permitted),
                flags(inheritable)
            ),
            Step::Ambient(set) => write!(
                f,
                "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, {})",
                flags(set)
            ),
            Step::NoNewPrivileges => f.write_str("prctl(PR_SET_NO_NEW_PRIVS, 1)"),
        }
    }
}

fn names(list: &[Capability]) -> String {
    let names: Vec<String> = list.iter().map(|c| name(*c)).collect();
    names.join(", ")
}

fn flags(set: &HashSet<Capability>) -> String {
    match sorted(set).as_slice() {
        [] => "0".to_owned(),
        list => names(list).replace(", ", "|"),
    }
}

fn perl_list(numbers: &[String]) -> String {
    format!("({})", numbers.join(", "))
}

fn drop_all(capabilities: impl Iterator<Item = Capability>) -> Result<()> {
    for capability in capabilities {
        match sys::drop_bounding(number(capability)) {
            // A kernel that does not know the capability cannot give it either.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            answer => {
                answer.with_context(|| format!("prctl(PR_CAPBSET_DROP, {})", name(capability)))?
            }
        }
    }
    Ok(())
}

fn raise_all(set: &HashSet<Capability>) -> Result<()> {
    sys::clear_ambient().context("prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)")?;
    for capability in sorted(set) {
        sys::raise_ambient(number(capability)).with_context(|| {
            format!(
                "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, {})",
                name(capability)
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
