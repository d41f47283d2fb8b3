//! Control groups: what the container may use, and the list of its processes.  cgroups(7)
//!
//! A cgroup is a directory. Make one under `/sys/fs/cgroup`, write limits to its files, put a process in:
//! it and all its descendants are counted and limited together, and can be frozen or killed together. No
//! descendant can leave, however it forks; that is why the cgroup, and not the tree of parents, says what
//! belongs to a container.
//!
//! There are two interfaces. In [`v2`] there is one tree, and each directory has files of all controllers.
//! In [`v1`] each controller has a tree of its own, so a container has one directory in each. Both are
//! found in the field, sometimes both at once ("hybrid": the controllers on v1, an empty v2 beside them).
//!
//! How to get in decides how long a start takes: writing a pid to `cgroup.procs` waits for an RCU grace
//! period, about 12 ms. clone3(2) with `CLONE_INTO_CGROUP` (v2) and a single-threaded process that writes
//! `0` to `tasks` (v1) do not. So on v1 the container's first process enters by itself ([`plan_child`]),
//! and on v2 it is born there ([`open_v2`]).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;

mod change;
pub mod devices;
mod population;
mod told;
mod usage;
pub mod v1;
pub mod v2;

pub use change::{change, merge};
pub use population::{State, exists, freeze, is_frozen, kill_all, processes, remove, thaw, tidy};
pub use usage::{Usage, usage};

/// Where this machine has its cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One tree with all controllers.
    V2(v2::Tree),
    /// A tree for each controller, or for some together; none at all for an ordinary user, whose they are not.
    V1(v1::Trees),
}

impl Layout {
    /// Looks at what is mounted: in the usual place first, else in the list of all mounts.
    ///
    /// # Errors
    /// No cgroup file system is mounted.
    pub fn detect() -> Result<Layout> {
        let usual = Path::new("/sys/fs/cgroup");
        if statfs(usual).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC) {
            if is_anothers(usual) {
                return Ok(Layout::V1(v1::Trees::default()));
            }
            return Ok(Layout::V2(v2::Tree::at(usual)?));
        }
        let trees = v1::Trees::below(usual);
        if trees.mounts().next().is_some_and(is_anothers) {
            return Ok(Layout::V1(v1::Trees::default()));
        }
        if !trees.is_empty() {
            return Ok(Layout::V1(trees));
        }
        let mounts = fs_err::read_to_string("/proc/self/mountinfo")?;
        let trees = v1::Trees::read(&mounts);
        if !trees.is_empty() {
            return Ok(Layout::V1(trees));
        }
        match v2::Tree::find(&mounts) {
            Some(mount) => Ok(Layout::V2(v2::Tree::at(&mount)?)),
            None => bail!("no cgroup file system is mounted: mount -t cgroup2 none /sys/fs/cgroup"),
        }
    }
}

/// May this process make no cgroup there, because the tree is root's?
fn is_anothers(mount: &Path) -> bool {
    nix::unistd::access(mount, nix::unistd::AccessFlags::W_OK) == Err(nix::errno::Errno::EACCES)
}

/// What the host prepares: directories, limits, the device list. `path` is the container's place from the
/// root of the tree, such as `/rmac/ID`; `resources` are its limits.
///
/// # Errors
/// A limit whose controller this machine does not have, or that its cgroup version cannot express.
pub fn plan_host(
    layout: &Layout,
    path: &Path,
    resources: Option<&LinuxResources>,
) -> Result<Vec<Step>> {
    let below = relative(path)?;
    match layout {
        Layout::V1(trees) => v1::plan_host(trees, &below, resources),
        Layout::V2(tree) => v2::plan_host(tree, &below, resources),
    }
}

/// What the container's first process, or one that joins it later, does itself while it is still single
/// threaded and sees the host's mounts. On v2 nothing: it is born in its cgroup, see [`open_v2`].
///
/// # Errors
/// As [`plan_host`].
pub fn plan_child(
    layout: &Layout,
    path: &Path,
    resources: Option<&LinuxResources>,
) -> Result<Vec<Step>> {
    let below = relative(path)?;
    match layout {
        Layout::V1(trees) => v1::plan_child(trees, &below, resources),
        Layout::V2(_) => Ok(Vec::new()),
    }
}

/// New limits for a cgroup that exists, as `update` sets them; the device list stays.
///
/// # Errors
/// As [`plan_host`].
pub fn plan_update(layout: &Layout, path: &Path, resources: &LinuxResources) -> Result<Vec<Step>> {
    let below = relative(path)?;
    match layout {
        Layout::V1(trees) => v1::limits(trees, &below, resources),
        Layout::V2(tree) => v2::limits(tree, &below, resources),
    }
}

/// The cgroup's directory for clone3(2)'s `CLONE_INTO_CGROUP`; `None` on v1.
///
/// # Errors
/// The directory is not there.
pub fn open_v2(layout: &Layout, path: &Path) -> Result<Option<OwnedFd>> {
    let Layout::V2(tree) = layout else {
        return Ok(None);
    };
    let dir = tree.mount.join(relative(path)?);
    let file = File::open(&dir).with_context(|| format!("open the cgroup {}", dir.display()))?;
    Ok(Some(file.into()))
}

/// What can be done about cgroups. All paths are absolute paths of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Host: make a directory, with those above it.
    Create(PathBuf),
    /// Host: give a file of a new v1 group, in which there is nothing yet, the value that its parent has.
    Inherit {
        /// The new directory.
        dir: PathBuf,
        /// `cpuset.cpus`, `cpuset.mems` or `cpu.rt_runtime_us`.
        file: &'static str,
    },
    /// Host: let the directories in this v2 directory have these controllers.
    Enable {
        /// The parent directory.
        dir: PathBuf,
        /// As in `cgroup.controllers`.
        controllers: Vec<String>,
    },
    /// Host: write one value, such as a limit.
    Set {
        /// The control file.
        file: PathBuf,
        /// What is written.
        value: String,
    },
    /// Host: the same to a file that not every kernel has, and that adds to what another one limits.
    SetIfThere {
        /// The control file.
        file: PathBuf,
        /// What is written.
        value: String,
    },
    /// Host: write the v1 device list, rule by rule.
    DeviceFiles {
        /// The container's directory in the tree of `devices`.
        dir: PathBuf,
        /// What may be opened and made.
        list: devices::DeviceList,
    },
    /// Host: attach the v2 device list, a BPF program.
    DeviceProgram {
        /// The container's directory.
        dir: PathBuf,
        /// What may be opened and made.
        list: devices::DeviceList,
    },
    /// Child: enter a v1 cgroup by writing `0` to this `tasks` file.
    Enter(PathBuf),
}

impl Step {
    /// Takes the step.
    ///
    /// # Errors
    /// Those of the file system, with the file and the value.
    pub fn take(&self) -> Result<()> {
        match self {
            Step::Create(dir) => create(dir),
            Step::Inherit { dir, file } => v1::inherit(dir, file),
            Step::Enable { dir, controllers } => {
                write(&dir.join(v2::SUBTREE_CONTROL), &plus(controllers))
            }
            Step::SetIfThere { file, .. } if !file.exists() => Ok(()),
            Step::Set { file, value } | Step::SetIfThere { file, value } => write(file, value),
            Step::DeviceFiles { dir, list } => list.write_files(dir),
            Step::DeviceProgram { dir, list } => list.attach(dir),
            Step::Enter(tasks) => write(tasks, "0"),
        }
    }

    /// Takes a [`Step::Create`] back, with whatever runs in it and all groups below it. The other steps go
    /// with the directory.
    ///
    /// # Errors
    /// A process that cannot be killed keeps the directory.
    pub fn undo(&self) -> Result<()> {
        match self {
            Step::Create(dir) => population::remove_tree(dir),
            _ => Ok(()),
        }
    }
}

/// The processes' numbers that a `cgroup.procs` or `tasks` file lists.
fn read_pids(text: &str) -> impl Iterator<Item = Pid> + '_ {
    text.lines()
        .filter_map(|line| line.parse().ok())
        .map(Pid::from_raw)
}

fn plus(controllers: &[String]) -> String {
    let words: Vec<String> = controllers.iter().map(|c| format!("+{c}")).collect();
    words.join(" ")
}

/// `path` without its leading `/`. Never the root itself: what is killed and removed lies below it.
fn relative(path: &Path) -> Result<PathBuf> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let plain = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if below.as_os_str().is_empty() || !plain {
        bail!(
            "{path:?} is no place for a cgroup: it must lie below the root and not have .. in it"
        );
    }
    Ok(below.to_owned())
}

/// Makes `dir`; that it exists is no error. One system call where its parent is there.
fn create(dir: &Path) -> Result<()> {
    use std::io::ErrorKind::{AlreadyExists, NotFound};
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() == AlreadyExists => Ok(()),
        Err(error) if error.kind() == NotFound => std::fs::create_dir_all(dir),
        answer => answer,
    }
    .with_context(|| format!("mkdir {}", dir.display()))
}

/// Writes `value` in one go, as the kernel wants it; the file must exist.
fn write(file: &Path, value: &str) -> Result<()> {
    write_each(file, &[value])
}

/// The same for several values, one after the other: each write(2) is a command of its own.
fn write_each(file: &Path, values: &[impl AsRef<str>]) -> Result<()> {
    let all = || {
        values
            .iter()
            .map(|v| format!("{:?}", v.as_ref()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let step = || format!("write {} to {}", all(), file.display());
    let opened = OpenOptions::new().write(true).open(file);
    let mut opened = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow::Error::from(error)
            .context(format!("{}: this kernel does not offer that file", step())),
        _ => anyhow::Error::from(error).context(step()),
    })?;
    for value in values {
        let step = || format!("write {:?} to {}", value.as_ref(), file.display());
        opened
            .write_all(value.as_ref().as_bytes())
            .with_context(step)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
