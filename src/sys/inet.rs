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
    let (socket, mut request) = begin(name)?;
    // The address that it gets instead is 0.0.0.0, which the kernel takes for none.
    request.ifr_ifru.ifru_addr.sa_family = libc::AF_INET as libc::sa_family_t;
    call(&socket, libc::SIOCSIFADDR, &mut request)
}

/// Switches the link `name` of the network namespace that the thread is in on, as `ifconfig NAME up` does
/// (`SIOCGIFFLAGS`, `SIOCSIFFLAGS`).
///
/// # Errors
/// As [`clear_addresses`].
pub fn set_up(name: &str) -> Result<()> {
    let (socket, mut request) = begin(name)?;
    call(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel has filled in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    call(&socket, libc::SIOCSIFFLAGS, &mut request)
}

/// A socket, and a request about the link `name`.
fn begin(name: &str) -> Result<(OwnedFd, libc::ifreq)> {
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
    Ok((socket, request))
}

fn call(socket: &OwnedFd, what: libc::Ioctl, request: &mut libc::ifreq) -> Result<()> {
    // SAFETY: request is a valid ifreq that outlives the call, and what one of those that take it.
    match unsafe { libc::ioctl(socket.as_raw_fd(), what, std::ptr::from_mut(request)) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use crate::sys::test_support::in_child;

    #[test]
    fn a_link_is_switched_on() {
        let words = in_child(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
            // Only then the kernel has a route to itself.
            let reaches = || std::net::UdpSocket::bind("0.0.0.0:0")?.connect("127.0.0.1:9");
            let before = reaches().is_ok();
            super::set_up("lo")?;
            let missing = super::set_up("eth7").map_err(|error| error.raw_os_error());
            Ok(format!("{before} {} {missing:?}", reaches().is_ok()))
        });
        assert_eq!(words, format!("false true Err(Some({}))", libc::ENODEV));
    }

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
