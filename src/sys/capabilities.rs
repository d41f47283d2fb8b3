//! capset(2) and the capability operations of prctl(2), one system call each.
//!
//! The `caps` crate reads the sets back before each change, which makes six calls out of one.
#![allow(unsafe_code)]

use std::io::{Error, Result};

/// `_LINUX_CAPABILITY_VERSION_3`: two 32-bit words a set (capget(2)).
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets this thread's three sets at once; bit n of a mask is capability number n.
///
/// # Errors
/// EPERM where `permitted` has a capability that the thread lacks.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let word = |shift: u32| Word {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let words = [word(0), word(32)];
    // SAFETY: header and the two words that version 3 asks for outlive the call, which only reads them.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) })
}

/// Takes capability `number` out of the bounding set (`PR_CAPBSET_DROP`).
///
/// # Errors
/// EPERM without CAP_SETPCAP; EINVAL where the kernel does not know the capability.
pub fn drop_bounding(number: u8) -> Result<()> {
    // SAFETY: this operation takes integers only.
    check(unsafe {
        libc::syscall(
            libc::SYS_prctl,
            libc::PR_CAPBSET_DROP,
            i64::from(number),
            0,
            0,
            0,
        )
    })
}

/// Is capability `number` in the bounding set (`PR_CAPBSET_READ`)? `false` also where the kernel does
/// not know it.
pub fn in_bounding(number: u8) -> bool {
    // SAFETY: this operation takes integers only.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_prctl,
            libc::PR_CAPBSET_READ,
            i64::from(number),
            0,
            0,
            0,
        )
    };
    answer == 1
}

/// Empties the ambient set (`PR_CAP_AMBIENT_CLEAR_ALL`).
///
/// # Errors
/// Those of prctl(2).
pub fn clear_ambient() -> Result<()> {
    ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)
}

/// Adds capability `number` to the ambient set (`PR_CAP_AMBIENT_RAISE`).
///
/// # Errors
/// EPERM where it is not both permitted and inheritable.
pub fn raise_ambient(number: u8) -> Result<()> {
    ambient(libc::PR_CAP_AMBIENT_RAISE, number)
}

fn ambient(operation: libc::c_int, number: u8) -> Result<()> {
    let (operation, number) = (i64::from(operation), i64::from(number));
    // SAFETY: this operation takes integers only.
    check(unsafe {
        libc::syscall(
            libc::SYS_prctl,
            libc::PR_CAP_AMBIENT,
            operation,
            number,
            0,
            0,
        )
    })
}

fn check(answer: libc::c_long) -> Result<()> {
    if answer < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(())
    }
}
