//! The runtime's own program, out of the container's reach.  execve(2), proc_pid_exe(5), open_tree(2)
//!
//! The process that becomes the container's program is a copy of the runtime until its last call, and
//! `/proc/PID/exe` leads from it to the runtime's file on the host. A container whose program is named
//! `/proc/self/exe` runs the runtime once more, with the image's libraries; that code can open the link
//! and write to the host's file (CVE-2019-5736). So the runtime starts itself again from a mount of its
//! file alone that is read-only and attached nowhere: no right in the container writes through that.
//!
//! `rmac-oci` does so always, since what waits at the gate is the runtime. `rmac` does so where the container
//! has rights beyond Docker's; else nobody in it can look into who comes in (not dumpable), and the last
//! call is made by a program in memory ([`crate::sys::trampoline`]), which is cheaper than a second start.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use nix::fcntl::{AtFlags, FcntlArg, SealFlag, fcntl};
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::sys;

const EXE: &str = "/proc/self/exe";

/// Returns in a process whose program lies on a read-only mount.
///
/// # Errors
/// Those of the mount, and of execveat(2).
pub fn protect() -> Result<()> {
    let status = statvfs(EXE).context("look at our own program")?;
    if status.flags().contains(FsFlags::ST_RDONLY) || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let flags = nix::libc::OPEN_TREE_CLONE;
    let tree = match sys::mounts::open_tree(nix::fcntl::AT_FDCWD, EXE.as_ref(), flags) {
        // Root of a user namespace alone, in a mount namespace that is not its own.
        Err(error) if error.raw_os_error() == Some(nix::libc::EPERM) => return protect_own_file(),
        tree => tree.context("open_tree our own program")?,
    };
    sys::mounts::mount_setattr(tree.as_fd(), 0, nix::libc::MOUNT_ATTR_RDONLY, 0, 0)
        .context("make our own program read-only")?;
    again(&tree)
}

/// As [`protect`], for an ordinary user who may write to the file of the program, as one who has built it
/// himself: nothing that he may do in a container makes a mount of it read-only, so it is copied into memory.
///
/// # Errors
/// Those of memfd_create(2) and execveat(2).
pub fn protect_own_file() -> Result<()> {
    let mut file = std::fs::File::open(EXE).context("open our own program")?;
    let seals = fcntl(&file, FcntlArg::F_GET_SEALS).unwrap_or(0);
    let is_copy = SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_WRITE);
    let owner = file.metadata().context("look at our own program")?.uid();
    let writable = owner == nix::unistd::geteuid().as_raw()
        || nix::unistd::access(EXE, nix::unistd::AccessFlags::W_OK).is_ok();
    if is_copy || !writable {
        return Ok(());
    }
    let copy = sys::trampoline::in_memory(&mut file).context("copy our own program into memory")?;
    again(&copy)
}

/// Starts `program`, which is this one, in our place, with our words.
fn again(program: &OwnedFd) -> Result<()> {
    let words = |all: Vec<std::ffi::OsString>| -> Result<Vec<std::ffi::CString>> {
        use std::os::unix::ffi::OsStringExt;
        let word = |word: std::ffi::OsString| std::ffi::CString::new(word.into_vec());
        Ok(all.into_iter().map(word).collect::<Result<_, _>>()?)
    };
    let pair = |(mut name, value): (std::ffi::OsString, std::ffi::OsString)| {
        name.push("=");
        name.push(value);
        name
    };
    let args = words(std::env::args_os().collect())?;
    let variables = words(std::env::vars_os().map(pair).collect())?;
    let Err(errno) = nix::unistd::execveat(program, c"", &args, &variables, AtFlags::AT_EMPTY_PATH);
    Err(errno).context("start our own program again")
}
