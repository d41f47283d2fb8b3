//! Namespaces: which of the kernel's tables the container has to itself.  namespaces(7), clone(2)
//!
//! A namespace is a private copy of one kernel table: process numbers, mounts, network devices and
//! so on. One clone3(2) makes the container's first process and all its namespaces at once.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sched::CloneFlags;
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use crate::lesson::{Lesson, Shell};
use crate::sys;

/// What can be done about namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make the container's first process in these new namespaces. Taken by the launch itself, as it
    /// splits the executor in two.
    Clone(CloneFlags),
    /// Leave for new namespaces: the cgroup namespace takes the cgroup that the process is in as its
    /// root, so it can be made only after the container's cgroup has been entered.
    Unshare(CloneFlags),
    /// Let the children that are made from now on be born into the container's pid namespace; the
    /// process itself stays where it is, but for the user namespace where that is entered with it.
    JoinPids {
        /// The container's first process.
        pid: i32,
        /// The pid namespace, and with it the user namespace for an ordinary user, whom nothing else lets in.
        flags: CloneFlags,
    },
    /// Enter a namespace that exists already, by its file: child; for a pid namespace the host, whose
    /// next child is born there.
    JoinFile {
        /// Such as `/proc/4711/ns/net` or `/run/netns/blue`.
        path: PathBuf,
        /// Its kind.
        flag: CloneFlags,
    },
    /// Give the clocks of the new time namespace their offsets, while nobody is in it.
    TimeOffsets(Vec<(String, i64, u32)>),
    /// Enter the container's other namespaces.
    Join {
        /// The container's first process.
        pid: i32,
        /// Which.
        flags: CloneFlags,
    },
    /// Be born into the pid namespace that was joined, as the last thing before execve(2). Taken by
    /// [`sys::trampoline`], whose process has nothing that is not the container's.
    Birth {
        /// Its input is a terminal, which becomes that of its new session.
        terminal: bool,
    },
}

/// The namespaces of `spec`: what is made by clone3(2), and what is left for later.
pub fn plan(spec: &Spec) -> (Step, Vec<Step>) {
    let wanted: CloneFlags = own(spec).map(flag).collect();
    let late = wanted & CloneFlags::CLONE_NEWCGROUP;
    let mut unshare = vec![];
    if !late.is_empty() {
        unshare.push(Step::Unshare(late));
    }
    if wanted.contains(NEWTIME) {
        // Its clocks can be set only while nobody is in it, so it is made apart and entered then. (Since Linux 6.3
        // execve enters it, too; before, the program would have the host's clocks, and its children others.)
        unshare.push(Step::Unshare(NEWTIME));
        unshare.extend(time_offsets(spec));
        unshare.push(Step::JoinFile {
            path: "/proc/self/ns/time_for_children".into(),
            flag: NEWTIME,
        });
    }
    (Step::Clone(wanted - late - NEWTIME), unshare)
}

/// The namespaces of `spec` that exist already: what the host enters before the clone, and what the
/// child enters. The user namespace comes first, since it gives the right to enter the others.
pub fn plan_files(spec: &Spec) -> (Vec<Step>, Vec<Step>) {
    let mut steps: Vec<(LinuxNamespaceType, Step)> = all(spec)
        .filter_map(|namespace| {
            let (path, flag) = (namespace.path().clone()?, flag(namespace.typ()));
            Some((namespace.typ(), Step::JoinFile { path, flag }))
        })
        .collect();
    steps.sort_by_key(|(kind, _)| *kind != LinuxNamespaceType::User);
    let (host, child): (Vec<_>, Vec<_>) = steps
        .into_iter()
        .partition(|(kind, _)| *kind == LinuxNamespaceType::Pid);
    let steps = |list: Vec<(LinuxNamespaceType, Step)>| list.into_iter().map(|(_, step)| step);
    (steps(host).collect(), steps(child).collect())
}

/// Tells whether `spec` lists a namespace of this type, be it new or another's.
pub fn listed(spec: &Spec, wanted: LinuxNamespaceType) -> bool {
    all(spec).any(|namespace| namespace.typ() == wanted)
}

fn time_offsets(spec: &Spec) -> Option<Step> {
    let offsets = spec.linux().as_ref()?.time_offsets().as_ref()?;
    let mut clocks: Vec<_> = offsets
        .iter()
        .map(|(clock, offset)| {
            let (seconds, rest) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            (clock.clone(), seconds, rest)
        })
        .collect();
    clocks.sort();
    (!clocks.is_empty()).then_some(Step::TimeOffsets(clocks))
}

/// How one more process gets into the namespaces that `spec` describes and the process `pid` is in: what
/// the caller does, the clone, and what the child does. The pid namespace can be entered by birth only,
/// so it comes before the clone; the child enters the others itself, so nothing of the caller is ever
/// inside (CVE-2016-9962). Where it is `born_last`, it joins that one, too, and only its own child is inside.
pub fn plan_join(spec: &Spec, pid: i32, born_last: bool) -> (Option<Step>, Step, Step) {
    let listed: CloneFlags = all(spec).map(|namespace| flag(namespace.typ())).collect();
    let clone = Step::Clone(CloneFlags::empty());
    if born_last {
        return (None, clone, Step::Join { pid, flags: listed });
    }
    let flags = listed - CloneFlags::CLONE_NEWPID;
    let join_pids = Step::JoinPids {
        pid,
        flags: CloneFlags::CLONE_NEWPID,
    };
    (Some(join_pids), clone, Step::Join { pid, flags })
}

/// The mount namespace of the process `pid`, which lives as long as the descriptor does.
///
/// # Errors
/// Where the process is gone.
pub fn mounts_of(pid: Pid) -> Result<OwnedFd> {
    let file = format!("/proc/{pid}/ns/mnt");
    let opened = std::fs::File::open(&file).with_context(|| format!("open {file}"))?;
    Ok(opened.into())
}

/// The file of the namespace of this type that `spec` enters, where that exists already.
pub fn file(spec: &Spec, wanted: LinuxNamespaceType) -> Option<PathBuf> {
    all(spec).find(|one| one.typ() == wanted)?.path().clone()
}

/// Moves the entry into the user namespace from the step `last` of [`plan_join`] to its step `first`, for a caller
/// who is an ordinary user: only in there may that one enter the pid namespace.
pub fn user_first(first: &mut Step, last: &mut Step) {
    if let (Step::JoinPids { flags: early, .. }, Step::Join { flags, .. }) = (first, last) {
        *early |= *flags & CloneFlags::CLONE_NEWUSER;
        *flags -= CloneFlags::CLONE_NEWUSER;
    }
}

/// Tells whether `spec` asks for a namespace of its own of this type.
pub fn has(spec: &Spec, wanted: LinuxNamespaceType) -> bool {
    own(spec).any(|kind| kind == wanted)
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Clone(_) => Lesson {
                why: "one call makes the container's first process together with its own process numbers, \
                      mounts, network devices, host name and System V IPC; of these the kernel takes longest over the \
                      network, so rmac makes that one just before, in a thread (unshare), and the process enters it \
                      (setns), unless it has a user namespace, which is to own it",
                without: "the program would see the host's processes, mounts and links, and could change them",
                man: "clone3(2), namespaces(7)",
            },
            Step::Unshare(_) => Lesson {
                why: "the container's cgroup becomes the root of the tree that it sees; this must follow \
                      the entry into that cgroup",
                without: "/proc/self/cgroup would show where on the host the container lies",
                man: "cgroup_namespaces(7)",
            },
            Step::JoinPids { .. } => Lesson {
                why: "a process is born into its pid namespace and never changes it, so the caller says where its \
                      next child is to be born",
                without: "the new process would not show in the container's ps, nor die with it",
                man: "setns(2), pid_namespaces(7)",
            },
            Step::JoinFile { .. } => Lesson {
                why: "the engine made this namespace, or another container has it: the two share what it holds",
                without: "the containers of a pod would not see each other's network",
                man: "setns(2), namespaces(7)",
            },
            Step::TimeOffsets(_) => Lesson {
                why: "the clocks that count from boot can be shifted for a container that was moved from another machine",
                without: "a program's timers would jump when it is moved",
                man: "time_namespaces(7)",
            },
            Step::Join { .. } => Lesson {
                why: "one more process enters the namespaces that the container's first process was made in",
                without: "the command would run on the host",
                man: "setns(2), namespaces(7)",
            },
            Step::Birth { .. } => Lesson {
                why: "a process with CAP_SYS_PTRACE has hold of whatever is in its pid namespace, so the program is born \
                      there when it has nothing of the host's any more, neither root nor memory nor rights",
                without: "the container would reach the host's files by /proc/PID/root (CVE-2016-9962)",
                man: "clone(2), ptrace(2), pid_namespaces(7)",
            },
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        match self {
            Step::Clone(flags) => Shell::Bash(format!("unshare {} --fork", options(*flags))),
            Step::Unshare(_) => Shell::Note(
                "unshare --cgroup stands above: the script enters the cgroup before it".into(),
            ),
            Step::JoinPids { pid, flags } => {
                Shell::Bash(format!("nsenter --target {pid} {}", options(*flags)))
            }
            Step::JoinFile { path, flag } => Shell::Bash(format!(
                "nsenter {}={}",
                options(*flag),
                Shell::quote(&path.to_string_lossy())
            )),
            Step::TimeOffsets(_) => Shell::Note(format!("{self}: unshare --time --monotonic ...")),
            Step::Join { pid, flags } => {
                Shell::Bash(format!("nsenter --target {pid} {}", options(*flags)))
            }
            Step::Birth { .. } => Shell::Note(format!("{self}: nsenter forks before the program")),
        }
    }

    /// Takes the step, but for [`Step::Clone`] and [`Step::Birth`], which others take. `container` is opened once, by the
    /// first who needs it: the number means another process inside the container's pid namespace.
    pub fn take(&self, container: &mut Option<OwnedFd>) -> Result<()> {
        match self {
            Step::Clone(_) | Step::Birth { .. } => Ok(()),
            Step::Unshare(flags) => nix::sched::unshare(*flags).context("unshare"),
            Step::JoinPids { pid, flags } => {
                let pidfd =
                    sys::pidfd_open(Pid::from_raw(*pid)).context("pidfd_open the container")?;
                let pidfd = container.insert(pidfd);
                nix::sched::setns(pidfd, *flags).context("setns")
            }
            Step::JoinFile { path, flag } => {
                let file = std::fs::File::open(path)
                    .with_context(|| format!("open the namespace {}", path.display()))?;
                nix::sched::setns(file, *flag).with_context(|| self.to_string())
            }
            Step::TimeOffsets(_) => {
                let file = "/proc/self/timens_offsets";
                std::fs::write(file, self.offsets()).with_context(|| self.to_string())
            }
            Step::Join { pid, flags } => {
                let pidfd = match container {
                    Some(pidfd) => pidfd,
                    None => container.insert(
                        sys::pidfd_open(Pid::from_raw(*pid)).context("pidfd_open the container")?,
                    ),
                };
                nix::sched::setns(pidfd, *flags).context("setns")
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Clone(flags) if flags.is_empty() => write!(f, "clone3(CLONE_PIDFD)"),
            Step::Clone(flags) => write!(f, "clone3({}|CLONE_PIDFD)", names(*flags)),
            Step::Unshare(flags) => write!(f, "unshare({})", names(*flags)),
            Step::JoinPids { pid, flags } => {
                write!(f, "setns(pidfd of {pid}, {})", names(*flags))
            }
            Step::JoinFile { path, flag } => write!(f, "setns({path:?}, {})", names(*flag)),
            Step::TimeOffsets(_) => write!(
                f,
                "write(\"/proc/self/timens_offsets\", {:?})",
                self.offsets()
            ),
            Step::Join { pid, flags } => write!(f, "setns(pidfd of {pid}, {})", names(*flags)),
            Step::Birth { terminal } => {
                let terminal = if *terminal {
                    ", ioctl(0, TIOCSCTTY)"
                } else {
                    ""
                };
                write!(f, "clone(CLONE_PARENT|SIGCHLD), setsid(){terminal}")
            }
        }
    }
}

impl Step {
    fn offsets(&self) -> String {
        let Step::TimeOffsets(clocks) = self else {
            return String::new();
        };
        let line =
            |(clock, seconds, rest): &(String, i64, u32)| format!("{clock} {seconds} {rest}\n");
        clocks.iter().map(line).collect()
    }
}

/// `CLONE_NEWTIME`, which nix does not name.
const NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// Each flag, its name, and unshare(1)'s option for it.
const OPTIONS: [(CloneFlags, &str, &str); 8] = [
    (CloneFlags::CLONE_NEWNS, "CLONE_NEWNS", "--mount"),
    (CloneFlags::CLONE_NEWPID, "CLONE_NEWPID", "--pid"),
    (CloneFlags::CLONE_NEWNET, "CLONE_NEWNET", "--net"),
    (CloneFlags::CLONE_NEWUTS, "CLONE_NEWUTS", "--uts"),
    (CloneFlags::CLONE_NEWIPC, "CLONE_NEWIPC", "--ipc"),
    (CloneFlags::CLONE_NEWUSER, "CLONE_NEWUSER", "--user"),
    (CloneFlags::CLONE_NEWCGROUP, "CLONE_NEWCGROUP", "--cgroup"),
    (NEWTIME, "CLONE_NEWTIME", "--time"),
];

fn options(flags: CloneFlags) -> String {
    let chosen = OPTIONS.iter().filter(|(flag, ..)| flags.contains(*flag));
    let words: Vec<_> = chosen.map(|(_, _, option)| *option).collect();
    words.join(" ")
}

fn names(flags: CloneFlags) -> String {
    let names: Vec<_> = OPTIONS
        .iter()
        .filter(|(flag, ..)| flags.contains(*flag))
        .map(|(_, name, _)| *name)
        .collect();
    names.join("|")
}

fn all(spec: &Spec) -> impl Iterator<Item = &LinuxNamespace> {
    let linux = spec.linux().as_ref();
    let list = linux.and_then(|linux| linux.namespaces().as_ref());
    list.into_iter().flatten()
}

/// The namespaces that are made for the container.
fn own(spec: &Spec) -> impl Iterator<Item = LinuxNamespaceType> {
    all(spec)
        .filter(|namespace| namespace.path().is_none())
        .map(|namespace| namespace.typ())
}

fn flag(kind: LinuxNamespaceType) -> CloneFlags {
    match kind {
        LinuxNamespaceType::Mount => CloneFlags::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
        LinuxNamespaceType::User => CloneFlags::CLONE_NEWUSER,
        LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
        LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
        LinuxNamespaceType::Time => NEWTIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_namespace_waits_for_the_cgroup() {
        let (clone, late) = plan(&Spec::default());
        let Step::Clone(flags) = clone else {
            panic!("{clone:?}")
        };
        assert!(flags.contains(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID));
        assert!(!flags.contains(CloneFlags::CLONE_NEWCGROUP));
        assert_eq!(late, [Step::Unshare(CloneFlags::CLONE_NEWCGROUP)]);
    }
}
