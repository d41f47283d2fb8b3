//! What a process hands on to its program beside its limits: umask, OOM score, personality, priorities.  umask(2), sched(7)
//!
//! The kernel keeps a handful of small settings with each process; they survive execve(2) and are inherited
//! by every child.

mod share;

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxPersonalityDomain, Process, Spec};

use crate::lesson::{Lesson, Shell};
use crate::sys::scheduling::{self, SchedAttr};

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Which permission bits new files do not get.
    Umask(u32),
    /// How eagerly the kernel kills this process when memory runs out: -1000 (never) to 1000.
    OomScore(i32),
    /// Which Unix the kernel pretends to be; 8 is Linux on a 32-bit machine.
    Personality(u64),
    /// How the kernel shares out processor time to this process.
    Scheduler(SchedAttr),
    /// The same for its input and output: class and priority as ioprio_set(2) packs them.
    IoPriority(u16),
    /// From which NUMA nodes its memory comes.
    MemoryPolicy {
        /// `MPOL_*` with its flags.
        mode: u32,
        /// The nodes.
        nodes: Vec<u32>,
    },
    /// On which processors it runs.
    Affinity(Vec<u32>),
    /// Which rules of a security module hold for the program from execve on.
    Label(Label),
}

/// What a security module is told of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// The name of a profile of AppArmor's.
    AppArmor(String),
    /// A context of SELinux's.
    SeLinux(String),
}

impl Label {
    /// The file below `/proc/self`, and what is written there.
    fn written(&self) -> (&'static str, String) {
        match self {
            Label::AppArmor(profile) => ("attr/apparmor/exec", format!("exec {profile}")),
            Label::SeLinux(context) => ("attr/exec", context.clone()),
        }
    }
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
    steps.extend(
        process
            .scheduler()
            .as_ref()
            .map(share::scheduler)
            .transpose()?,
    );
    let io = process.io_priority().as_ref();
    steps.extend(io.map(share::io_priority).transpose()?);
    let memory = linux.and_then(|linux| linux.memory_policy().as_ref());
    steps.extend(memory.map(share::memory_policy).transpose()?);
    let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    let (profile, context) = (
        given(process.apparmor_profile()),
        given(process.selinux_label()),
    );
    let labels = profile
        .map(Label::AppArmor)
        .into_iter()
        .chain(context.map(Label::SeLinux));
    steps.extend(labels.map(Step::Label));
    Ok(steps)
}

/// On which processors `exec` runs until it is in the container's cgroup, and then.
///
/// # Errors
/// What is no list of processors.
pub fn plan_affinity(process: &Process) -> Result<[Option<Step>; 2]> {
    let Some(affinity) = process.exec_cpu_affinity() else {
        return Ok([None, None]);
    };
    let step = |list: &Option<String>| -> Result<Option<Step>> {
        let numbers = list.as_deref().map(share::numbers).transpose();
        Ok(numbers
            .context("process.execCPUAffinity")?
            .map(Step::Affinity))
    };
    Ok([
        step(affinity.initial())?,
        step(affinity.cpu_affinity_final())?,
    ])
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
            Step::Scheduler(_) => Lesson {
                why: "the engine says whether this program may be kept waiting for others, or they for it",
                without: "all programs would get the same share",
                man: "sched_setattr(2), sched(7)",
            },
            Step::IoPriority(_) => Lesson {
                why: "the engine says whose reads and writes come first when the disk is busy",
                without: "a backup would slow down what people wait for",
                man: "ioprio_set(2)",
            },
            Step::MemoryPolicy { .. } => Lesson {
                why: "on a machine whose processors have memory of their own each, the near one is quicker",
                without: "memory would come from where the program happens to run first",
                man: "set_mempolicy(2)",
            },
            Step::Affinity(_) => Lesson {
                why: "the engine says which processors are this program's",
                without: "it would run on any, and disturb what has one to itself",
                man: "sched_setaffinity(2)",
            },
            Step::Label(_) => Lesson {
                why: "a security module of the kernel's has rules for this program beyond those of users and capabilities",
                without: "the program would have the runtime's rules, which are mostly none",
                man: "proc_pid_attr(5), apparmor(7), selinux(8)",
            },
        }
    }

    /// The same as perl.
    pub fn shell(&self) -> Shell {
        Shell::Perl(match self {
            Step::Umask(mask) => format!("umask 0{mask:o};"),
            Step::OomScore(score) => perl_write("oom_score_adj", &score.to_string()),
            Step::Personality(domain) => {
                format!("sys personality => {}, {domain};", libc::SYS_personality)
            }
            Step::Scheduler(attr) => format!(
                "sys sched_setattr => {}, 0, pack('LLQlLQQQ', 48, {}, {}, {}, {}, {}, {}, {}), 0;",
                libc::SYS_sched_setattr,
                attr.policy,
                attr.flags,
                attr.nice,
                attr.priority,
                attr.runtime,
                attr.deadline,
                attr.period
            ),
            Step::IoPriority(value) => {
                format!("sys ioprio_set => {}, 1, 0, {value};", libc::SYS_ioprio_set)
            }
            Step::MemoryPolicy { mode, nodes } => {
                let words: Vec<String> = share::bits(nodes).iter().map(u64::to_string).collect();
                format!(
                    "sys set_mempolicy => {}, {mode}, pack('Q*', {list}), {};",
                    libc::SYS_set_mempolicy,
                    words.len() * 64 + usize::from(!words.is_empty()),
                    list = words.join(", ")
                )
            }
            Step::Affinity(list) => format!("system('taskset', '-pc', '{}', $$);", commas(list)),
            Step::Label(label) => {
                let (file, word) = label.written();
                perl_write(file, &word)
            }
        })
    }

    /// Takes the step.
    pub fn take(&self) -> Result<()> {
        match self {
            // Where the host's own filter forbids it, it forbids the container to look, too.
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
            Step::Scheduler(attr) => {
                scheduling::sched_setattr(*attr).with_context(|| self.to_string())
            }
            Step::IoPriority(value) => {
                scheduling::ioprio_set(*value).with_context(|| self.to_string())
            }
            Step::MemoryPolicy { mode, nodes } => {
                scheduling::set_mempolicy(*mode, &share::bits(nodes))
                    .with_context(|| self.to_string())
            }
            Step::Label(label) => {
                let (file, word) = label.written();
                let written = own_file(file).and_then(|mut file| {
                    // One write(2): the kernel takes each for a whole word.
                    Ok(file.write_all(word.as_bytes())?)
                });
                written.with_context(|| self.to_string())
            }
            Step::Affinity(list) => {
                let mut set = CpuSet::new();
                list.iter().try_for_each(|cpu| set.set(*cpu as usize))?;
                sched_setaffinity(Pid::from_raw(0), &set).with_context(|| self.to_string())
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
            Step::Umask(mask) => write!(f, "umask({mask:#o})"),
            Step::OomScore(score) => write!(f, "write(\"/proc/self/oom_score_adj\", \"{score}\")"),
            Step::Personality(domain) => write!(f, "personality({domain:#x})"),
            Step::Scheduler(attr) => write!(
                f,
                "sched_setattr(0, {{policy={}, nice={}, priority={}}}, 0)",
                attr.policy, attr.nice, attr.priority
            ),
            Step::IoPriority(value) => write!(
                f,
                "ioprio_set(IOPRIO_WHO_PROCESS, 0, class {}, priority {})",
                value >> 13,
                value & 7
            ),
            Step::MemoryPolicy { mode, nodes } => {
                write!(f, "set_mempolicy({mode:#x}, [{}])", commas(nodes))
            }
            Step::Affinity(list) => write!(f, "sched_setaffinity(0, [{}])", commas(list)),
            Step::Label(label) => {
                let (file, word) = label.written();
                write!(f, "write(\"/proc/self/{file}\", {word:?})")
            }
        }
    }
}

/// Writes `word` to a file of the process's own.
fn perl_write(file: &str, word: &str) -> String {
    let word = word.replace('\'', "");
    format!(
        "{{ open(my $file, '>', '/proc/self/{file}') or die \"{file}: $!\\n\"; print $file '{word}'; }}"
    )
}

fn commas(numbers: &[u32]) -> String {
    let words: Vec<String> = numbers.iter().map(u32::to_string).collect();
    words.join(",")
}
