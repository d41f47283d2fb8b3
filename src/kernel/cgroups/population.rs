//! The processes of a cgroup: listed, frozen, killed, and the empty directories removed.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Layout, read_pids, relative, write};

/// How long leftovers may take to die, and the kernel to let go of an empty directory.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a cgroup's processes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They run.
    Thawed,
    /// They stand still.
    Frozen,
}

/// The processes of the cgroup and of all groups below it, by their numbers in the caller's namespace;
/// none where it does not exist.
///
/// # Errors
/// Those of the file system.
pub fn processes(layout: &Layout, path: &Path) -> Result<Vec<Pid>> {
    members(&main_dir(layout, path)?)
}

/// Lets all processes of the cgroup stand still, and waits until they do.
///
/// # Errors
/// There is no freezer, or it takes longer than ten seconds.
pub fn freeze(layout: &Layout, path: &Path) -> Result<()> {
    set_state(layout, path, State::Frozen)
}

/// Lets them run again.
///
/// # Errors
/// As [`freeze`].
pub fn thaw(layout: &Layout, path: &Path) -> Result<()> {
    set_state(layout, path, State::Thawed)
}

/// Do the processes of the cgroup stand still?
///
/// # Errors
/// There is no such cgroup, or no freezer.
pub fn is_frozen(layout: &Layout, path: &Path) -> Result<bool> {
    let (file, answer) = match layout {
        Layout::V2(_) => (main_dir(layout, path)?.join("cgroup.events"), "frozen 1"),
        Layout::V1(trees) => match trees.mount_of("freezer") {
            Some(mount) => (mount.join(relative(path)?).join("freezer.state"), "FROZEN"),
            None => return Ok(false),
        },
    };
    let state = fs_err::read_to_string(file)?;
    Ok(state.lines().any(|line| line == answer))
}

/// Kills all processes of the cgroup and of those below it, frozen ones too, and waits until they are gone.
/// That the cgroup does not exist is no error.
///
/// # Errors
/// One that does not die within ten seconds, such as one that waits for a disk.
pub fn kill_all(layout: &Layout, path: &Path) -> Result<()> {
    let dir = main_dir(layout, path)?;
    if !dir.exists() {
        return Ok(());
    }
    if let Layout::V2(_) = layout {
        // Kernel 5.14: all at once, even those that are being forked, and frozen ones too.
        match std::fs::write(dir.join("cgroup.kill"), "1") {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            answer => {
                answer.with_context(|| format!("write \"1\" to {}/cgroup.kill", dir.display()))?
            }
        }
    } else if let Layout::V1(trees) = layout
        && let Some(mount) = trees.mount_of("freezer")
    {
        members(&dir)?.into_iter().for_each(kill_one);
        thaw_tree(&mount.join(relative(path)?))?;
    }
    empty(&dir)
}

/// Removes the cgroup in every tree, with whatever runs in it and all groups below it. That it does not
/// exist is no error.
///
/// # Errors
/// As [`kill_all`].
pub fn remove(layout: &Layout, path: &Path) -> Result<()> {
    let dirs = all_dirs(layout, path)?;
    // With the usual empty group this costs one rmdir a tree, and no look at who is in it.
    if dirs.iter().all(|dir| remove_empty(dir)) {
        return Ok(());
    }
    kill_all(layout, path)?;
    dirs.iter().try_for_each(|dir| remove_tree(dir))
}

/// Is there a cgroup of that name, in any tree?
///
/// # Errors
/// Only for a path that is none.
pub fn exists(layout: &Layout, path: &Path) -> Result<bool> {
    Ok(all_dirs(layout, path)?.iter().any(|dir| dir.exists()))
}

/// Removes the directory `path`, such as rmac's own `/rmac`, in every tree where nothing is in it. Kills
/// nothing.
///
/// # Errors
/// Only for a path that is none.
pub fn tidy(layout: &Layout, path: &Path) -> Result<()> {
    for dir in all_dirs(layout, path)? {
        remove_empty(&dir);
    }
    Ok(())
}

/// Removes `dir` and all groups below it, after killing what runs there.
pub(super) fn remove_tree(dir: &Path) -> Result<()> {
    if remove_empty(dir) {
        return Ok(());
    }
    empty(dir)?;
    for group in groups(dir)?.iter().rev() {
        let deadline = Instant::now() + PATIENCE;
        while !remove_empty(group) {
            if Instant::now() > deadline {
                std::fs::remove_dir(group).with_context(|| format!("rmdir {}", group.display()))?;
            }
            // A process that has just died keeps its group busy for a moment.
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}

/// Is `dir` gone now?
fn remove_empty(dir: &Path) -> bool {
    match std::fs::remove_dir(dir) {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Kills what is in `dir` and below until nothing is.
fn empty(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = members(dir)?;
        let Some(first) = left.first() else {
            return Ok(());
        };
        if Instant::now() > deadline {
            bail!(
                "kill the processes of {}: {} left, {first} first; SIGKILL does not end one that waits in the kernel, such as for a disk",
                dir.display(),
                left.len()
            );
        }
        left.into_iter().for_each(kill_one);
        thaw_tree(dir)?;
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Thaws `dir` and all groups below it if they lie in v1's tree of the freezer. A frozen process keeps the signal
/// and dies of it when it is thawed, without another instruction.
fn thaw_tree(dir: &Path) -> Result<()> {
    for group in groups(dir)? {
        match std::fs::OpenOptions::new()
            .write(true)
            .open(group.join("freezer.state"))
        {
            // Another tree, or gone.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => opened
                .and_then(|mut file| file.write_all(b"THAWED"))
                .with_context(|| format!("thaw {}", group.display()))?,
        }
    }
    Ok(())
}

/// That it is gone already is no error; that it cannot be killed shows in [`empty`].
fn kill_one(pid: Pid) {
    // 0 stands for a process outside our pid namespace, and kill(2) would take it for our own group.
    if pid.as_raw() > 0 {
        let _gone: Result<(), Errno> = kill(pid, Signal::SIGKILL);
    }
}

fn members(dir: &Path) -> Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for group in groups(dir)? {
        match std::fs::read_to_string(group.join("cgroup.procs")) {
            Ok(text) => pids.extend(read_pids(&text)),
            // ENODEV: the directory was removed while its file was open. EOPNOTSUPP: a threaded v2 group,
            // whose processes are listed above it.
            Err(error)
                if [libc::ENOENT, libc::ENODEV, libc::EOPNOTSUPP]
                    .contains(&error.raw_os_error().unwrap_or(0)) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("read {}/cgroup.procs", group.display()));
            }
        }
    }
    Ok(pids)
}

/// `dir` and all directories below it, parents before children; only `dir` where it does not exist.
fn groups(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(group) = found.get(next) {
        let entries = match std::fs::read_dir(group) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                next += 1;
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("read {}", group.display())),
        };
        let below: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        found.extend(below);
        next += 1;
    }
    Ok(found)
}

fn set_state(layout: &Layout, path: &Path, wanted: State) -> Result<()> {
    let (file, value, answer_file, answer) = match (layout, wanted) {
        (Layout::V2(_), State::Frozen) => ("cgroup.freeze", "1", "cgroup.events", "frozen 1"),
        (Layout::V2(_), State::Thawed) => ("cgroup.freeze", "0", "cgroup.events", "frozen 0"),
        (Layout::V1(_), State::Frozen) => ("freezer.state", "FROZEN", "freezer.state", "FROZEN"),
        (Layout::V1(_), State::Thawed) => ("freezer.state", "THAWED", "freezer.state", "THAWED"),
    };
    let dir = match layout {
        Layout::V2(_) => main_dir(layout, path)?,
        Layout::V1(trees) => match trees.mount_of("freezer") {
            Some(mount) => mount.join(relative(path)?),
            None => bail!("processes cannot be paused: {}", trees.lacks("freezer")),
        },
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        // On v1 a freeze that met a fork must be asked for again.
        write(&dir.join(file), value)?;
        let state = match fs_err::read_to_string(dir.join(answer_file)) {
            // What was thawed may have ended of a signal that it had, and its group have gone.
            Err(_) if wanted == State::Thawed && !dir.exists() => return Ok(()),
            state => state?,
        };
        if state.lines().any(|line| line == answer) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "{}: the processes are still not {value} after {} s",
                dir.display(),
                PATIENCE.as_secs()
            );
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The directory that says who belongs to the cgroup.
fn main_dir(layout: &Layout, path: &Path) -> Result<PathBuf> {
    let below = relative(path)?;
    match layout {
        Layout::V2(tree) => Ok(tree.mount.join(below)),
        Layout::V1(trees) => match trees.joined().next() {
            Some(mount) => Ok(mount.join(below)),
            None => bail!(
                "none of the cgroup controllers that rmac uses is mounted, or they are root's and this is an ordinary user"
            ),
        },
    }
}

/// The cgroup's directories in all trees, also those that are joined only where a limit asks for it.
fn all_dirs(layout: &Layout, path: &Path) -> Result<Vec<PathBuf>> {
    let below = relative(path)?;
    Ok(match layout {
        Layout::V2(tree) => vec![tree.mount.join(below)],
        Layout::V1(trees) => trees.mounts().map(|mount| mount.join(&below)).collect(),
    })
}
