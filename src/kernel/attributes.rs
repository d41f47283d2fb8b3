//! What a process hands on to its program beside its limits: umask, OOM score, personality.  umask(2), personality(2)
//!
//! The kernel keeps a handful of small settings with each process; they survive execve(2) and are inherited
//! by every child.

use std::fmt;

use anyhow::{Context, Result, bail};
use nix::sys::stat::Mode;
use oci_spec::runtime::{LinuxPersonalityDomain, Process, Spec};

use crate::lesson::{Lesson, Shell};

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
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
    let mut steps = vec![Step::Umask(process.user().umask().unwrap_or(0o022))];
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
            Step::Umask(mask) => {
                nix::sys::stat::umask(Mode::from_bits_truncate(*mask));
                Ok(())
            }
            Step::OomScore(score) => {
                let file = "/proc/self/oom_score_adj";
                let now = std::fs::read_to_string(file).unwrap_or_default();
                // Lowering takes CAP_SYS_RESOURCE, even to the same value.
                if now.trim() == score.to_string() {
                    return Ok(());
                }
                std::fs::write(file, score.to_string()).with_context(|| self.to_string())
            }
            Step::Personality(domain) => {
                crate::sys::personality(*domain).with_context(|| self.to_string())
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Umask(mask) => write!(f, "umask({mask:#o})"),
            Step::OomScore(score) => write!(f, "write(\"/proc/self/oom_score_adj\", \"{score}\")"),
            Step::Personality(domain) => write!(f, "personality({domain:#x})"),
        }
    }
}
