//! Watching the host's links: is the parent still there?  rtnetlink(7)
//!
//! A macvlan lives and dies with its parent. When the parent goes down and up again, the macvlan keeps
//! its address and its routes; when the parent is deleted (a USB adapter is pulled, a bond is restarted),
//! the macvlan is deleted with it, without a word to the container. The kernel tells of every change
//! of a link to who has joined the group of links of an AF_NETLINK socket, so one socket that is silent
//! nearly always tells the monitor when to look.
//!
//! The parent itself is told of whenever a macvlan comes to it or leaves it, and there is a monitor for each:
//! so the kernel drops what it tells of a link that has been the parent all along (socket(7),
//! `SO_ATTACH_FILTER`). A parent that comes back is another link, with a number that no link had before.

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

/// An ear for changes of the links of one network namespace.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
}

impl Watch {
    /// Begins to listen in the calling thread's network namespace, for what becomes of the links `parents`.
    pub fn open(parents: &[&str]) -> Result<Watch> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )
        .context("open a netlink socket")?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, RTMGRP_LINK))
            .context("listen for changes of links")?;
        // Looked up after the ear is there: what changes in between is heard.
        let known: Vec<u32> = parents
            .iter()
            .filter_map(|name| nix::net::if_::if_nametoindex(*name).ok())
            .collect();
        packet::attach_filter(&socket, &without(&known)).context("filter changes of links")?;
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

/// The filter that drops `RTM_NEWLINK` of the links with the numbers `known`: struct nlmsghdr has its type at 4,
/// and struct ifinfomsg behind it the number at 20. The kernel's filters load in network byte order.
fn without(known: &[u32]) -> Vec<libc::sock_filter> {
    let instruction = |code: u32, then: usize, or_else: usize, operand: u32| libc::sock_filter {
        code: code as u16,
        jt: then as u8,
        jf: or_else as u8,
        k: operand,
    };
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let accept = known.len() + 1;
    let new_link = u32::from(libc::RTM_NEWLINK.to_be());
    let mut program = vec![
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 4),
        instruction(equal, 0, accept, new_link),
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 20),
    ];
    for (at, index) in known.iter().enumerate() {
        program.push(instruction(equal, known.len() - at, 0, index.to_be()));
    }
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX));
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0));
    program
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
