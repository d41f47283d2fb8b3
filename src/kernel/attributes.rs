//! What a process hands on to its program beside its limits: umask, OOM score, personality.  umask(2), personality(2)
//!
//! The kernel keeps a handful of small settings with each process; they survive execve(2) and are inherited
//! by every child.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use oci_spec::runtime::{LinuxPersonalityDomain, Process, Spec};

use crate::lesson::{Lesson, Shell};

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A keyring of its own in place of the caller's, which may hold keys of the host's.
    Keyring,
    /// Which permission bits new files do not get.
    Umask(u32),
    /// How eagerly the kernel kills this process when memory runs out: -1000 (never) to 1000.
    OomScore(i32),
    /// Which Unix the kernel pretends to be; 8 is Linux on a 32-bit machine.
    Personality(u64),
}

/// `PER_LINUX32` of personality(2).
const LINUX32: u64 = 8;

/// The attributes that are set while the process is still root.
///
/// # Errors
/// A personality flag: the kernel has none that a container may have.
pub fn plan(spec: &Spec, process: &Process) -> Result<Vec<Step>> {
    let mut steps = vec![
        Step::Keyring,
        Step::Umask(process.user().umask().unwrap_or(0o022)),
    ];
    steps.extend(process.oom_score_adj().map(Step::OomScore));
    let linux = spec.linux().as_ref();
    if let Some(personality) = linux.and_then(|linux| linux.personality().as_ref()) {
        if personality
            .flags()
            .as_ref()
            .is_some_and(|flags| !flags.is_empty())
        {
            bail!("linux.personality.flags: none is supported");
        }
        steps.push(Step::Personality(match personality.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => LINUX32,
        }));
    }
    Ok(steps)
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Keyring => Lesson {
                why: "the kernel keeps keys for a session, and a process inherits its parent's; keyrings are not kept apart by namespaces",
                without: "a container that may call keyctl would read the keys of whoever started it",
                man: "session-keyring(7), keyctl(2)",
            },
            Step::Umask(_) => Lesson {
                why: "new files of the program get the permissions that were asked for, not those of the engine's umask",
                without: "files would be open or closed to others by chance",
                man: "umask(2)",
            },
            Step::OomScore(_) => Lesson {
                why: "the engine says which containers are to die first when memory runs out",
                without: "the kernel would choose by size alone",
                man: "proc_pid_oom_score_adj(5)",
            },
            Step::Personality(_) => Lesson {
                why: "32-bit programs can be told that the machine is one of theirs (uname -m)",
                without: "a 32-bit image would build for the 64-bit machine",
                man: "personality(2)",
            },
        }
    }

    /// The same as perl.
    pub fn shell(&self) -> Shell {
        Shell::Perl(match self {
            Step::Keyring => format!(
                "sys keyctl => {}, 1, 0;  # JOIN_SESSION_KEYRING",
                libc::SYS_keyctl
            ),
            Step::Umask(mask) => format!("umask 0{mask:o};"),
            Step::OomScore(score) => {
                format!("open(my $f, '>', '/proc/self/oom_score_adj') and print $f {score};")
            }
            Step::Personality(domain) => {
                format!("sys personality => {}, {domain};", libc::SYS_personality)
            }
        })
    }

    /// Takes the step.
    pub fn take(&self) -> Result<()> {
        match self {
            // Where the host's own filter forbids it, it forbids the container to look, too.
            Step::Keyring => match crate::sys::new_session_keyring() {
                Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    Err(error).with_context(|| self.to_string())
                }
                _ => Ok(()),
            },
            Step::Umask(mask) => {
                nix::sys::stat::umask(Mode::from_bits_truncate(*mask));
                Ok(())
            }
            Step::OomScore(score) => {
                let mut now = String::new();
                let mut file = own_file("oom_score_adj").with_context(|| self.to_string())?;
                file.read_to_string(&mut now).ok();
                // Lowering takes CAP_SYS_RESOURCE, even to the same value.
                if now.trim() == score.to_string() {
                    return Ok(());
                }
                let written = file.write_all(score.to_string().as_bytes());
                written.with_context(|| self.to_string())
            }
            Step::Personality(domain) => {
                crate::sys::personality(*domain).with_context(|| self.to_string())
            }
        }
    }
}

/// Opens a file of this process's in the container's procfs, whose owner may have bound another file over it,
/// such as a setting of the whole machine (CVE-2025-52881): so it must be procfs itself, from its top (inode
/// 1) down to the file.
fn own_file(name: &str) -> Result<File> {
    let top = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let proc = nix::fcntl::open("/proc", top, Mode::empty()).context("open /proc")?;
    if fstatfs(&proc)?.filesystem_type() != PROC_SUPER_MAGIC || fstat(&proc)?.st_ino != 1 {
        bail!("/proc in the container is not the kernel's");
    }
    let how = OpenHow::new()
        .flags(OFlag::O_RDWR | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
    let path = format!("{}/{name}", nix::unistd::getpid());
    let file = openat2(&proc, path.as_str(), how).with_context(|| format!("open /proc/{path}"))?;
    Ok(file.into())
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Keyring => write!(f, "keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)"),
            Step::Umask(mask) => write!(f, "umask({mask:#o})"),
            Step::OomScore(score) => write!(f, "write(\"/proc/self/oom_score_adj\", \"{score}\")"),
            Step::Personality(domain) => write!(f, "personality({domain:#x})"),
        }
    }
}
