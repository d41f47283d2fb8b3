//! Taking the lab away, whatever state it is in.
//!
//! A network namespace lives as long as anything is inside, so first its processes are ended: those
//! that are in one of the lab's namespaces, what they started, and those whose root file system lies
//! in the lab's state (a container whose monitor was killed). Then the mounts go, then the files.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Lab, Station};
use crate::net::netns;

/// A process, as /proc tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// The station whose network namespace it is in; `None` for a container of the lab.
    pub station: Option<Station>,
    /// Its name.
    pub name: String,
}

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

impl Lab {
    /// The processes of the lab, containers included.
    pub fn processes(&self) -> Result<Vec<Process>> {
        let stations = self.inodes();
        let mut parents = HashMap::new();
        let mut found = HashMap::new();
        for pid in pids()? {
            parents.insert(pid, parent(pid));
            let station = netns_of(pid).and_then(|inode| stations.get(&inode).copied());
            if station.is_some() || self.is_root_of(pid) {
                found.insert(pid, station);
            }
        }
        // What they started, to any depth.
        let mut processes = Vec::new();
        for pid in parents.keys().copied() {
            let mut ancestor = Some(pid);
            while let Some(at) = ancestor {
                if found.contains_key(&at) {
                    processes.push(Process {
                        pid,
                        station: found.get(&pid).copied().flatten(),
                        name: comm(pid),
                    });
                    break;
                }
                ancestor = parents.get(&at).copied().flatten();
            }
        }
        processes.sort_by_key(|process| process.pid);
        Ok(processes)
    }

    /// Removes the lab's mounts and files, after its processes.
    pub(super) fn clear(&self) -> Result<()> {
        self.end_processes()?;
        for path in mounts_below(&[&self.dir, &self.home.root])? {
            umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
                .with_context(|| format!("unmount {}", path.display()))?;
        }
        remove(&self.home.root)?;
        remove(&self.dir)
    }

    /// Ends the lab's processes, its containers' included. What the containers leave behind outside of
    /// the lab (their cgroups) can be cleaned up then.
    pub fn end_processes(&self) -> Result<()> {
        let own = netns::inode(netns::own()?.as_fd())?;
        ensure!(
            !self.inodes().contains_key(&own),
            "this command runs inside the lab {}: leave its shell first",
            self.name
        );
        let begin = Instant::now();
        let own = std::process::id() as i32;
        loop {
            let mut processes = self.processes()?;
            processes.retain(|process| process.pid != own);
            if processes.is_empty() {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < PATIENCE,
                "the process {} ({}) of the lab does not end",
                processes[0].pid,
                processes[0].name
            );
            for process in processes {
                // Gone by itself is gone.
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The inodes of the lab's network namespaces.
    fn inodes(&self) -> HashMap<u64, Station> {
        Station::ALL
            .into_iter()
            .filter_map(|station| {
                let netns = self.netns(station).ok()?;
                Some((netns::inode(netns.as_fd()).ok()?, station))
            })
            .collect()
    }

    /// Whether the root file system of `pid` is an overlay whose upper directory is in the lab's state.
    fn is_root_of(&self, pid: i32) -> bool {
        let Ok(mounts) = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")) else {
            return false;
        };
        let upper = format!("upperdir={}/", self.home.root.display());
        mounts.lines().any(|line| {
            line.split(' ').nth(4) == Some("/")
                && line.contains(" overlay ")
                && line.contains(&upper)
        })
    }
}

/// Every process there is.
fn pids() -> Result<HashSet<i32>> {
    let entries = std::fs::read_dir("/proc").context("read /proc")?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

/// The inode of a process's network namespace; a zombie has none.
fn netns_of(pid: i32) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    let number = link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?;
    number.parse().ok()
}

/// The parent of a process that has not ended, proc_pid_stat(5); a zombie has none, since there is
/// nothing left of it to be ended.
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, so read on from the last of them.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z" && parent > 0).then_some(parent)
}

fn comm(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// What is mounted at or below these directories, the innermost first.
fn mounts_below(directories: &[&Path]) -> Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
    // The kernel tells of mounts by paths without symbolic links (/var/run is one).
    let directories: Vec<PathBuf> = directories
        .iter()
        .filter_map(|directory| std::fs::canonicalize(directory).ok())
        .collect();
    let mut found: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| Some(PathBuf::from(line.split(' ').nth(4)?.replace("\\040", " "))))
        .filter(|path| {
            directories
                .iter()
                .any(|directory| path.starts_with(directory))
        })
        .collect();
    found.reverse();
    Ok(found)
}

fn remove(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
