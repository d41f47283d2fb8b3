//! Watching links: has one gone, is one there?  rtnetlink(7), socket(7)
//!
//! A macvlan lives and dies with its parent. When the parent goes down and up again, the macvlan keeps
//! its address and its routes; when the parent is deleted (a USB adapter is pulled, a bond is restarted),
//! the macvlan is deleted with it, without a word to the container. The kernel tells of every change
//! of a link to who has joined the group of links of an AF_NETLINK socket, so one socket that is silent
//! nearly always tells the monitor when to look.
//!
//! Where one listens matters: the host's links are told of whenever a macvlan comes to them or leaves them, and
//! there is a monitor for each. So a monitor listens in its container's network namespace, whose links are its
//! own, for one that goes; only while one is missing does it listen on the host, for a parent that comes. What
//! the other messages are the kernel drops (`SO_ATTACH_FILTER`), before anybody wakes up.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::sys::packet;

/// The group of changes of links, linux/rtnetlink.h.
const RTMGRP_LINK: u32 = 1;

/// What is listened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A link that is deleted: `RTM_DELLINK`.
    Gone,
    /// A link that is made, or changes: `RTM_NEWLINK`.
    There,
}

/// An ear for changes of the links of one network namespace.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
}

impl Watch {
    /// Begins to listen in the calling thread's network namespace.
    pub fn open(what: For) -> Result<Watch> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )
        .context("open a netlink socket")?;
        packet::attach_filter(&socket, &only(what)).context("filter changes of links")?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, RTMGRP_LINK))
            .context("listen for changes of links")?;
        Ok(Watch { socket })
    }

    /// What becomes readable when a link changes.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what has come in; whether it concerned one of the links `names`. So many messages that
    /// some were lost concern everybody.
    pub fn changed(&self, names: &[&str]) -> bool {
        let mut buffer = [0; 8192];
        let mut changed = false;
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    changed |= names.iter().any(|name| names_link(&buffer[..length], name))
                }
                Err(Errno::ENOBUFS) => changed = true,
                Err(Errno::EINTR) => (),
                Err(_) => return changed,
            }
        }
    }
}

/// The filter that drops all else: struct nlmsghdr has its type at 4, and the kernel's filters load in network byte
/// order.
fn only(what: For) -> [libc::sock_filter; 4] {
    let instruction = |code: u32, or_else: u8, operand: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: or_else,
        k: operand,
    };
    let wanted = match what {
        For::Gone => libc::RTM_DELLINK,
        For::There => libc::RTM_NEWLINK,
    };
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    [
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 4),
        instruction(equal, 1, u32::from(wanted.to_be())),
        instruction(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0),
    ]
}

/// Whether a message has the attribute `IFLA_IFNAME` with this name: length, type 3, name, NUL.
fn names_link(message: &[u8], name: &str) -> bool {
    let length = (4 + name.len() + 1) as u16;
    let mut attribute = Vec::from(length.to_ne_bytes());
    attribute.extend(3u16.to_ne_bytes());
    attribute.extend(name.as_bytes());
    attribute.push(0);
    message
        .windows(attribute.len())
        .any(|window| window == attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_an_attribute_only() {
        let mut message = vec![0; 32];
        message.extend([9, 0, 3, 0]);
        message.extend(b"eth0\0\0\0\0");
        assert!(names_link(&message, "eth0"));
        assert!(!names_link(&message, "eth"));
        assert!(!names_link(b"eth0\0", "eth0"));
    }
}
