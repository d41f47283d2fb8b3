//! keyctl(2): the kernel's keyrings.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io::{Error, Result};

/// `KEYCTL_JOIN_SESSION_KEYRING` and `KEYCTL_SETPERM` of linux/keyctl.h.
const JOIN_SESSION_KEYRING: libc::c_int = 1;
const SETPERM: libc::c_int = 5;

/// Replaces this process's session keyring by the one of this name, which is made where there is none that may be
/// searched; the keyring's number.
///
/// # Errors
/// ENOSYS where the kernel has no keyrings, EDQUOT where the user has too many.
pub fn join_session_keyring(name: &str) -> Result<i32> {
    let name = CString::new(name)?;
    // SAFETY: name is a C string that outlives the call.
    let number = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    if number < 0 {
        return Err(Error::last_os_error());
    }
    Ok(number as i32)
}

/// Sets who may do what with the keyring `number`: `KEY_POS_*`, `KEY_USR_*` and so on (keyrings(7)).
pub fn set_permissions(number: i32, permissions: u32) -> Result<()> {
    // SAFETY: plain integers.
    match unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, number, permissions) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}
