//! seccomp(2): hands a filter program to the kernel.
#![allow(unsafe_code)]

use std::io::{Error, ErrorKind, Result};

/// Puts `filter` in front of every system call of this thread and its children, for good.
/// `flags` are `SECCOMP_FILTER_FLAG_*`.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN in the effective set where no_new_privs is not set either; EINVAL for
/// a program that the kernel's checker refuses or that has over 4096 instructions.
pub fn load(filter: &[libc::sock_filter], flags: u64) -> Result<()> {
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
        0 => Ok(()),
        // With TSYNC a positive answer is the thread that could not follow.
        1.. => Err(Error::other(format!(
            "thread {answer} cannot take the filter over"
        ))),
        _ => Err(Error::last_os_error()),
    }
}
