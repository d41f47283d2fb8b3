//! rmac as an ordinary user: everything happens in a user namespace in which that user is root.  user_namespaces(7), newuidmap(1)
//!
//! Whoever makes a user namespace has all capabilities in it: it may mount, stack layers, make further
//! namespaces, become each user that the namespace has. So at its start rmac goes into one, and the rest of it
//! need not know. Three things stay out of reach, because they belong to the host's root: the parent of a macvlan
//! link, cgroups, and devices.
//!
//! All of a user's containers live in one such namespace, since from a second one nobody could enter or kill
//! what runs in the first. It lives as long as a process is in it. The file `userns` below the run root names those
//! processes, with their start times; who comes next joins one that is alive, or makes a new namespace where all are gone.
//!
//! Where `/etc/subuid` and `/etc/subgid` have numbers for the user and newuidmap(1) is installed, the namespace has
//! those beside the user's own; else it has one number only, and every file of an image belongs to root.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{AccessFlags, access, getegid, geteuid, getpid};
use oci_spec::runtime::LinuxIdMapping;

use crate::kernel::ids;
use crate::out::stream::errln;
use crate::store::containers::ProcessId;
use crate::store::ids::subordinate;
use crate::store::{Home, make_private_dir};
use crate::sys;

/// The list of the processes in the namespace, once this process is in it.
static MEMBERS: OnceLock<PathBuf> = OnceLock::new();

/// Does this process belong to an ordinary user?
pub fn is() -> bool {
    MEMBERS.get().is_some()
}

/// Goes into the user's namespace.
///
/// # Errors
/// This machine lets ordinary users make none.
pub fn enter(home: &Home) -> Result<()> {
    for directory in [&home.root, &home.runroot] {
        let ours = || {
            make_private_dir(directory)?;
            let flags = AccessFlags::W_OK | AccessFlags::X_OK;
            access(directory.as_path(), flags)
                .with_context(|| format!("open {}", directory.display()))
        };
        ours().context("permission denied: rmac's state there belongs to another user, such as root: an ordinary user's lies elsewhere (leave out --root and --runroot, unset RMAC_ROOT and RMAC_RUNROOT), or run rmac as root (sudo)")?;
    }
    let path = home.runroot.join("userns");
    let mut list = locked(&path)?;
    let mut text = String::new();
    list.read_to_string(&mut text)
        .with_context(|| format!("read {}", path.display()))?;
    let alive: Vec<ProcessId> = text
        .lines()
        .filter_map(member)
        .filter(ProcessId::is_alive)
        .collect();
    if !alive.iter().any(|process| join(process).is_ok()) {
        make()?;
    }
    list.set_len(0)
        .and_then(|()| list.rewind())
        .with_context(|| format!("write {}", path.display()))?;
    for process in alive {
        add(&mut list, process)?;
    }
    add(&mut list, ProcessId::of(getpid().as_raw())?)?;
    MEMBERS.get_or_init(|| path);
    Ok(())
}

/// Writes this process down as one that keeps the namespace: for one that was forked and lives on.
pub fn stay() -> Result<()> {
    let Some(path) = MEMBERS.get() else {
        return Ok(());
    };
    let mut list = locked(path)?;
    list.seek(std::io::SeekFrom::End(0))
        .with_context(|| format!("read {}", path.display()))?;
    add(&mut list, ProcessId::of(getpid().as_raw())?)
}

/// Where rmac keeps its state for this user: the data directory, and the run directory.
pub fn home() -> Result<Home> {
    let variable = |name: &str| {
        let value = std::env::var_os(name).map(PathBuf::from);
        value.filter(|path| path.is_absolute())
    };
    let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    let data = data.context(
        "neither XDG_DATA_HOME nor HOME is set: say with --root where rmac keeps its state",
    )?;
    let run = variable("XDG_RUNTIME_DIR")
        .context("XDG_RUNTIME_DIR is not set: log in again, or say with --runroot where rmac keeps what runs")?;
    Ok(Home {
        root: data.join("rmac"),
        runroot: run.join("rmac"),
    })
}

fn locked(path: &Path) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn member(line: &str) -> Option<ProcessId> {
    let (pid, start_time) = line.split_once(' ')?;
    Some(ProcessId {
        pid: pid.parse().ok()?,
        start_time: start_time.parse().ok()?,
    })
}

fn add(list: &mut File, process: ProcessId) -> Result<()> {
    writeln!(list, "{} {}", process.pid, process.start_time)
        .context("write who is in the user namespace")
}

/// Enters the namespace of a process of this user's: who made a namespace is its root from outside.
fn join(process: &ProcessId) -> Result<()> {
    let namespace = File::open(format!("/proc/{}/ns/user", process.pid))?;
    Ok(setns(namespace, CloneFlags::CLONE_NEWUSER)?)
}

/// Makes a namespace and goes into it. Who is to write a table with more than one's own number must be outside, so
/// the programs that may are started by a process that was forked before.
fn make() -> Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let uids = own_ranges("/etc/subuid", uid);
    let gids = own_ranges("/etc/subgid", uid);
    if uids.is_empty() || gids.is_empty() || !is_installed("newuidmap") {
        unshare_user()?;
        return map_one(uid, gid);
    }
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context("make a pipe")?;
    let target = getpid();
    let Some(helper) = sys::fork().context("fork")? else {
        drop(write);
        // The end of the pipe says that the namespace is there.
        let _ = nix::unistd::read(&read, &mut [0]);
        let mapped = ids::map_by("newuidmap", target, &table(uid, &uids))
            .and_then(|()| ids::map_by("newgidmap", target, &table(gid, &gids)));
        if let Err(error) = &mapped {
            errln!("{error:#}");
        }
        sys::exit_now(i32::from(mapped.is_err()));
    };
    drop(read);
    let made = unshare_user();
    drop(write);
    let ended = waitpid(helper, None).context("wait for newuidmap")?;
    made?;
    match ended {
        WaitStatus::Exited(_, 0) => Ok(()),
        _ => bail!(
            "newuidmap or newgidmap failed: see what it says above; /etc/subuid and /etc/subgid need a line for this user each"
        ),
    }
}

fn unshare_user() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| {
        anyhow!(
            "an ordinary user cannot make a user namespace here: {errno}: allow it with sysctl \
             user.max_user_namespaces=10000, kernel.unprivileged_userns_clone=1 or \
             kernel.apparmor_restrict_unprivileged_userns=0, or run rmac as root (sudo)"
        )
    })
}

/// The user's own number alone. Groups cannot be left then, or a group that shuts its members out would not.
fn map_one(uid: u32, gid: u32) -> Result<()> {
    let files = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1\n")),
        ("gid_map", format!("0 {gid} 1\n")),
    ];
    for (file, text) in files {
        let file = format!("/proc/self/{file}");
        std::fs::write(&file, &text).with_context(|| format!("write {text:?} to {file}"))?;
    }
    Ok(())
}

/// Root is the user; what follows are the ranges.
fn table(own: u32, ranges: &[Range<u64>]) -> Vec<LinuxIdMapping> {
    let mut inside = 1;
    let mut all: Vec<_> = ids::mapping(0, own, 1).into_iter().collect();
    for range in ranges {
        let size = (range.end - range.start) as u32;
        all.extend(ids::mapping(inside, range.start as u32, size));
        inside += size;
    }
    all
}

/// The user's ranges, by name and by number.
fn own_ranges(file: &str, uid: u32) -> Vec<Range<u64>> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then_some(name)
    });
    let mut ranges = subordinate(&text, &number);
    ranges.extend(name.into_iter().flat_map(|name| subordinate(&text, name)));
    ranges
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
