//! The system calls that nix does not wrap, each once. The only place with `unsafe`.
//!
//! clone3(2), pidfd_open(2), pidfd_send_signal(2), close_range(2), fork(2).
#![allow(unsafe_code)]

pub mod bpf;
pub mod capabilities;
pub mod heap;
pub mod inet;
pub mod keys;
pub mod mounts;
pub mod owners;
pub mod packet;
pub mod resolver;
pub mod rest;
pub mod scheduling;
pub mod seccomp;
pub mod signals;
#[cfg(test)]
pub mod test_support;
pub mod trampoline;

use std::ffi::CString;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

/// Bit 33 of clone3's flags: libc's constant of this name is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Who one is after [`clone3`] or [`fork`].
#[derive(Debug)]
pub enum Clone {
    /// The caller; the new process is told by its number and by a file descriptor that stays its own
    /// even when the number is used again (pidfd_open(2)).
    Parent(Pid, OwnedFd),
    /// The new process. It must end in execve(2) or `_exit(2)`: never return into its parent's code.
    Child,
}

/// Makes a process in new namespaces (`flags`: `CLONE_NEW*`), born into `cgroup` where one is given
/// (cgroup v2 only). The memory is copied, as with fork(2).
///
/// # Errors
/// Fails where the process has more than one thread: the child would be a copy of one of them, with
/// the locks of all others held for ever.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Clone> {
    require_single_thread()?;
    let mut pidfd: RawFd = -1;
    let mut args = libc::clone_args {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: args is a valid clone_args of the size told; without CLONE_VM the child gets a copy of
    // the only thread's memory and stack, so it runs on as after fork(2).
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    })?;
    if pid == 0 {
        return Ok(Clone::Child);
    }
    // SAFETY: the kernel has stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Clone::Parent(Pid::from_raw(pid as i32), pidfd))
}

/// fork(2), through the C library, which so keeps its own idea of the process's number.
///
/// # Errors
/// As [`clone3`].
pub fn fork() -> Result<Option<Pid>> {
    require_single_thread()?;
    // SAFETY: there is one thread only, so the child may do what its parent may.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Some(child)),
        nix::unistd::ForkResult::Child => Ok(None),
    }
}

/// A directory in `/proc` has two links and one more for each directory in it: so the links of
/// `/proc/self/task` tell the number of threads with one call. One that has been joined is there for some
/// microseconds more.
fn require_single_thread() -> Result<()> {
    let end = Instant::now() + Duration::from_secs(1);
    loop {
        match std::fs::metadata("/proc/self/task")?.nlink() {
            3 => return Ok(()),
            _ if Instant::now() < end => std::thread::yield_now(),
            links => {
                return Err(Error::other(format!(
                    "cannot clone with {} threads running",
                    links.saturating_sub(2)
                )));
            }
        }
    }
}

/// A descriptor for the process `pid`: it stays that process's, and becomes readable when it ends.
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: plain integers; what comes back is a new descriptor.
    fd(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })
}

/// Sends the signal `number` to the process behind `pidfd`, which cannot be another by now.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, number: i32) -> Result<()> {
    // SAFETY: plain integers and a null siginfo, which the kernel fills itself.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            0usize,
            0,
        )
    })
    .map(drop)
}

/// Marks every descriptor from `first` on to be closed by execve(2), so that none of the host's
/// reaches the program (CVE-2024-21626).
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: plain integers; nothing is closed now, so no owner loses its descriptor.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
    .map(drop)
}

/// Closes one descriptor, whoever thinks to own it: as [`close_from`].
pub fn close(fd: RawFd) {
    // SAFETY: a plain integer; the caller never uses or drops its owner.
    unsafe { libc::close(fd) };
}

/// Closes every descriptor from `first` on, whoever thinks to own it: for a process that will never
/// return into code that does.
pub fn close_from(first: u32) {
    // SAFETY: plain integers; the caller runs on without any of its former descriptors.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// The same, but for two that stay open.
pub fn close_from_except(first: u32, mut kept: [RawFd; 2]) {
    kept.sort_unstable();
    let mut from = first;
    for fd in kept.map(|fd| fd as u32) {
        if from < fd {
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = from.max(fd + 1);
    }
    close_from(from);
}

/// Makes the terminal `terminal` the controlling one of this session (`TIOCSCTTY`, ioctl_tty(2)).
pub fn take_terminal(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the request takes a plain integer.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) } as i64).map(drop)
}

/// The size of the terminal `terminal` in rows and columns.
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: size is a valid winsize for the kernel to fill.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } as i64)?;
    Ok((size.ws_row, size.ws_col))
}

/// Sets the size of the terminal `terminal`; its programs get SIGWINCH.
pub fn set_window_size(terminal: BorrowedFd<'_>, (rows, columns): (u16, u16)) -> Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: size is a valid winsize that outlives the call.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } as i64)
        .map(drop)
}

/// Unlocks the slave side of the pseudo-terminal `master` and opens it (`TIOCGPTPEER`): no path in the
/// container's `/dev/pts` is trusted.
pub fn open_terminal_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let unlock: libc::c_int = 0;
    // SAFETY: unlock is a valid int that outlives the call.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) } as i64)?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the request takes plain flags; what comes back is a new descriptor.
    fd(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) } as i64)
}

/// Sets the execution domain of this process (personality(2)).
pub fn personality(domain: u64) -> Result<()> {
    // SAFETY: a plain integer.
    check(unsafe { libc::personality(domain) } as i64).map(drop)
}

/// Sets the NIS domain name of the UTS namespace (setdomainname(2)).
pub fn setdomainname(name: &str) -> Result<()> {
    // SAFETY: the kernel reads as many bytes as it is told there are.
    check(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) } as i64).map(drop)
}

/// Ends this process at once: no destructor, no flush of buffers that belong to its parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Takes over a descriptor that came with the process, by number.
///
/// # Errors
/// Fails where no such descriptor is open.
pub fn inherited_fd(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: fcntl on a number is harmless; only an open descriptor is taken over.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) } as i64)?;
    // SAFETY: it is open, and the caller names a descriptor that nothing else in the process owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn check(result: i64) -> Result<i64> {
    if result < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn fd(result: i64) -> Result<OwnedFd> {
    let number = check(result)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number as RawFd) })
}

fn c_path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
