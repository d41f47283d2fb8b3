//! What each step is for, how it reads, and the same in bash.

use std::fmt;
use std::path::Path;

use super::{Step, plus, v1, v2};
use crate::lesson::{Lesson, Shell};

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Create(_) => Lesson {
                why: "a directory in the cgroup file system is a group whose processes are counted, limited, frozen and killed together",
                without: "nothing would say which processes belong to the container once it has forked",
                man: "cgroups(7)",
            },
            Step::Inherit { file, .. } if *file == v1::RT_RUNTIME => Lesson {
                why: "a new v1 group has no processor time for real-time tasks, and no group below it can have more",
                without: "the container's own limit of real time would fail with EINVAL",
                man: "cgroups(7); the kernel's sched-rt-group.rst",
            },
            Step::Inherit { .. } => Lesson {
                why: "a new v1 cpuset has no processor and no memory node, and nothing may enter it before it has",
                without: "entering the cgroup would fail with ENOSPC",
                man: "cpuset(7)",
            },
            Step::Enable { .. } => Lesson {
                why: "in v2 a directory has a controller's files only where its parent hands that controller down",
                without: "there would be no memory.max or pids.max to write a limit to",
                man: "cgroups(7), \"Cgroups v2 subtree control\"",
            },
            Step::Set { .. } | Step::SetIfThere { .. } => Lesson {
                why: "a limit holds for the group as a whole, from before its first process enters",
                without: "one container could use up the memory, processors or process numbers of the machine",
                man: "cgroups(7)",
            },
            Step::DeviceFiles { .. } | Step::DeviceProgram { .. } => Lesson {
                why: "who can make device nodes could make one for the host's disk; the list says which devices can be opened at all",
                without: "`mknod disk b 8 0` and a read of it would give the container the host's files",
                man: "cgroups(7), \"devices\"; bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE",
            },
            Step::Enter(_) => Lesson {
                why: "the container's first process enters before it starts anything, so that all its children are born inside",
                without: "the limits and the device list would hold for an empty group",
                man: "cgroups(7), \"Creating cgroups and moving processes\"",
            },
        }
    }

    /// The same as bash.
    pub fn shell(&self) -> Shell {
        let quote = |path: &Path| Shell::quote(&path.to_string_lossy());
        Shell::Bash(match self {
            Step::Create(dir) => format!("mkdir -p {}", quote(dir)),
            Step::Inherit { dir, file } => {
                let (to, from) = (quote(&dir.join(file)), quote(&dir.join("..").join(file)));
                let unset = v1::unset(file);
                format!("[ \"$(cat {to})\" != '{unset}' ] || cat {from} > {to}")
            }
            Step::Enable { dir, controllers } => {
                format!(
                    "echo '{}' > {}",
                    plus(controllers),
                    quote(&dir.join(v2::SUBTREE_CONTROL))
                )
            }
            Step::Set { file, value } => format!("echo {} > {}", Shell::quote(value), quote(file)),
            Step::SetIfThere { file, value } => {
                let (value, file) = (Shell::quote(value), quote(file));
                format!("[ ! -e {file} ] || echo {value} > {file}")
            }
            Step::DeviceFiles { dir, list } => {
                let (first, then) = list.file_names();
                let mut lines = format!("echo a > {}", quote(&dir.join(first)));
                for rule in &list.exceptions {
                    lines.push_str(&format!("\necho '{rule}' > {}", quote(&dir.join(then))));
                }
                lines
            }
            Step::DeviceProgram { list, .. } => {
                return Shell::Note(format!(
                    "the device list is a BPF program, which a shell cannot load: {list}"
                ));
            }
            Step::Enter(tasks) => format!("echo 0 > {}", quote(tasks)),
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Create(dir) => write!(f, "mkdir({dir:?}, 0755)"),
            Step::Inherit { dir, file } => {
                write!(
                    f,
                    "write({:?}, <{}>)",
                    dir.join(file),
                    dir.join("..").join(file).display()
                )
            }
            Step::Enable { dir, controllers } => {
                write!(
                    f,
                    "write({:?}, {:?})",
                    dir.join(v2::SUBTREE_CONTROL),
                    plus(controllers)
                )
            }
            Step::Set { file, value } | Step::SetIfThere { file, value } => {
                write!(f, "write({file:?}, {value:?})")
            }
            Step::DeviceFiles { dir, list } => {
                let (first, then) = list.file_names();
                write!(
                    f,
                    "write({:?}, \"a\"), write({:?}, ..) [{list}]",
                    dir.join(first),
                    dir.join(then)
                )
            }
            Step::DeviceProgram { dir, list } => {
                write!(
                    f,
                    "bpf(BPF_PROG_ATTACH, {{attach_type=BPF_CGROUP_DEVICE, target={dir:?}}}) [{list}]"
                )
            }
            Step::Enter(tasks) => write!(f, "write({tasks:?}, \"0\")"),
        }
    }
}
