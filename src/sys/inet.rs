//! The old way to a link's IPv4 address: one call on any socket of the address family. netdevice(7)
#![allow(unsafe_code)]

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Takes the IPv4 addresses off the link `name` of the network namespace that the thread is in, as
/// `ifconfig NAME 0.0.0.0` does (`SIOCSIFADDR`).
///
/// rtnetlink(7) would want the address and the link's number, and a socket with an event loop.
///
/// # Errors
/// ENODEV where there is no such link, EPERM without CAP_NET_ADMIN.
pub fn clear_addresses(name: &str) -> Result<()> {
    // SAFETY: plain integers.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: a structure of integers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(ErrorKind::InvalidInput.into());
    }
    for (letter, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *letter = byte as libc::c_char;
    }
    // The address that it gets instead is 0.0.0.0, which the kernel takes for none.
    request.ifr_ifru.ifru_addr.sa_family = libc::AF_INET as libc::sa_family_t;
    // SAFETY: request is a valid ifreq that outlives the call.
    match unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFADDR as _,
            &raw const request,
        )
    } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use crate::sys::test_support::in_child;

    #[test]
    fn a_link_without_a_name_of_its_kind_is_told() {
        let words = in_child(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
            let missing = super::clear_addresses("eth7").map_err(|error| error.raw_os_error());
            let long = super::clear_addresses("a-name-that-no-link-has").map_err(|e| e.kind());
            Ok(format!("{missing:?} {long:?}"))
        });
        assert_eq!(
            words,
            format!("Err(Some({})) Err(InvalidInput)", libc::ENODEV)
        );
    }
}
