//! seccomp(2): hands a filter program to the kernel.
#![allow(unsafe_code)]

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{FromRawFd, OwnedFd};

/// Puts `filter` in front of every system call of this thread and its children, for good.
/// `flags` are `SECCOMP_FILTER_FLAG_*`.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN in the effective set where no_new_privs is not set either; EINVAL for
/// a program that the kernel's checker refuses or that has over 4096 instructions.
pub fn load(filter: &[libc::sock_filter], flags: u64) -> Result<()> {
    match set(filter, flags)? {
        0 => Ok(()),
        // With TSYNC a positive answer is the thread that could not follow.
        thread => Err(Error::other(format!(
            "thread {thread} cannot take the filter over"
        ))),
    }
}

/// The same; the listener that hears of calls with the verdict `SECCOMP_RET_USER_NOTIF`.
///
/// # Errors
/// As [`load`]; EBUSY where a filter with a listener is loaded already.
pub fn load_with_listener(filter: &[libc::sock_filter], flags: u64) -> Result<OwnedFd> {
    let listener = set(filter, flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    let listener = i32::try_from(listener).map_err(Error::other)?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec), and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Whether this kernel knows all these `SECCOMP_FILTER_FLAG_*`: it looks at them before it looks for the filter,
/// of which there is none here (seccomp(2), EFAULT).
pub fn knows(flags: u64) -> bool {
    // SAFETY: a null pointer, which the kernel refuses.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            i64::from(libc::SECCOMP_SET_MODE_FILTER),
            flags,
            0usize,
        )
    };
    answer < 0 && Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

fn set(filter: &[libc::sock_filter], flags: u64) -> Result<i64> {
    let Ok(len) = u16::try_from(filter.len()) else {
        return Err(Error::from(ErrorKind::InvalidInput));
    };
    let program = libc::sock_fprog {
        len,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: program points to `len` instructions that outlive the call; the kernel copies and never
    // writes them, whatever the field's type says.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            i64::from(libc::SECCOMP_SET_MODE_FILTER),
            flags,
            &raw const program,
        )
    };
    match answer {
        0.. => Ok(answer),
        _ => Err(Error::last_os_error()),
    }
}
