//! mount_setattr(2) with `MOUNT_ATTR_IDMAP`: mounts that show other owners than the disk has.
#![allow(unsafe_code)]

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Makes the mount `mount`, which is attached nowhere yet, show each owner as the one that the table of the
/// user namespace `userns` has for it (Linux 5.12); with `below` the mounts below it, too.
///
/// # Errors
/// EINVAL where the file system cannot do that.
pub fn map(mount: BorrowedFd<'_>, userns: BorrowedFd<'_>, below: bool) -> Result<()> {
    let recursive = if below { libc::AT_RECURSIVE } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: userns.as_raw_fd() as u64,
    };
    // SAFETY: attributes is valid and its size is told; the path is an empty C string.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    match answer {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}
