//! Announcing an address: gratuitous ARP, and the unsolicited neighbour advertisement of IPv6.
//!
//! Every station of a LAN remembers for a while which hardware address an IP address had. Whoever
//! takes over an address says so by an ARP request, broadcast, that asks for its own address: nobody
//! answers, but all who remember that address take down the new owner. RFC 5227 section 3 calls it an
//! ARP announcement, RFC 826 is ARP itself.
//!
//! The first announcement is made by the kernel when the link comes up ([`super::link::Step::Announce`]),
//! which costs nothing. Since a broadcast may be lost, two more follow, a second apart, as in Docker, or as
//! the network's options say ([`super::endpoint::Announce`]).
//! They are made here, with a packet socket, packet(7), by whoever stays with the container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, sendto, socket,
};

use super::endpoint::{Endpoint, Mac};
use super::netns;

/// How long after the start the first announcement is made here. It is for those who speak to the container first and
/// remember another owner of its address: whom the container itself asks takes its hardware address down from the
/// question. A program that has ended by then needs none, and to hand a broadcast to each macvlan of the parent is
/// work in the call that sends it: with a thousand of them some 5 ms.
pub const FIRST: Duration = Duration::from_millis(10);

/// A packet socket that speaks and hears nothing, in a container's network namespace.
///
/// It is kept for the container's life rather than opened for each announcement: the kernel takes some
/// 10 ms to close one (packet(7) sockets are found by RCU, whose readers are waited for), and closing it
/// between two announcements would keep everybody waiting whom the monitor serves.
#[derive(Debug)]
pub struct Voice(OwnedFd);

impl Voice {
    /// Opens the socket in `netns`.
    ///
    /// # Errors
    /// Those of setns(2) and socket(2): EPERM without CAP_NET_RAW.
    pub fn open(netns: BorrowedFd<'_>) -> Result<Voice> {
        // Without a protocol: it only sends, so the kernel need not hand it what comes in.
        netns::within(netns, || {
            socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                None::<SockProtocol>,
            )
            .context("open a packet socket")
        })
        .map(Voice)
    }

    /// Announces every address of `endpoint` once; it lives in `netns`.
    ///
    /// # Errors
    /// Where the link is gone or off.
    pub fn announce(&self, netns: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<()> {
        let Some(mac) = endpoint.mac.filter(|_| !endpoint.kind.is_layer_3()) else {
            return Ok(());
        };
        let to = netns::within(netns, || link_address(&endpoint.ifname))?;
        for address in endpoint.addresses().map(|net| net.addr()) {
            let frame = match address {
                IpAddr::V4(address) => frame(mac, address).to_vec(),
                IpAddr::V6(address) => advertisement(mac, address),
            };
            sendto(self.0.as_raw_fd(), &frame, &to, MsgFlags::empty())
                .with_context(|| format!("announce {address} on {}", endpoint.ifname))?;
        }
        Ok(())
    }
}

/// The Ethernet frame of an ARP announcement.
pub fn frame(mac: Mac, address: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0; 42];
    let parts: [&[u8]; 9] = [
        &[0xff; 6],                // to everybody
        &mac.0,                    // from us
        &[0x08, 0x06],             // EtherType: ARP
        &[0, 1, 0x08, 0x00, 6, 4], // Ethernet (6 bytes) for IPv4 (4 bytes)
        &[0, 1],                   // a request
        &mac.0,                    // the sender's hardware
        &address.octets(),         // and IP address
        &[0; 6],                   // which hardware address has
        &address.octets(),         // our own IP address?
    ];
    let mut at = 0;
    for part in parts {
        frame[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    frame
}

/// The Ethernet frame of an unsolicited neighbour advertisement: what [`frame`] is for IPv6, RFC 4861
/// section 7.2.6.
pub fn advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    // The flag "override": who remembers another hardware address must take this one.
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.octets());
    // Option 2: the target's hardware address, in units of eight bytes.
    message.extend([2, 1]);
    message.extend(mac.0);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    icmpv6_frame(mac, address, all_nodes, &message)
}

/// An ICMPv6 message to a multicast group, as an Ethernet frame; its checksum is filled in.
pub fn icmpv6_frame(mac: Mac, from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x33, 0x33];
    frame.extend(&to.octets()[12..]);
    frame.extend(mac.0);
    frame.extend([0x86, 0xdd]);
    // Version 6; length; ICMPv6; and the hop limit 255, which no router lets arrive.
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    frame.extend([58, 255]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    let start = frame.len();
    frame.extend(message);
    let mut covered = Vec::from(from.octets());
    covered.extend(to.octets());
    covered.extend((message.len() as u32).to_be_bytes());
    covered.extend([0, 0, 0, 58]);
    covered.extend(message);
    frame[start + 2..start + 4].copy_from_slice(&checksum(&covered).to_be_bytes());
    frame
}

/// The Internet checksum, RFC 1071.
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The link as the address of a packet: its index is what counts.
fn link_address(link: &str) -> Result<LinkAddr> {
    getifaddrs()
        .context("getifaddrs")?
        .filter(|interface| interface.interface_name == link)
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .with_context(|| format!("there is no link {link} in the container"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_asks_everybody_for_the_own_address() {
        let address = Ipv4Addr::new(172, 16, 86, 2);
        let text: String = frame(Mac::of(address), address)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            text,
            "ffffffffffff0242ac105602080600010800060400010242ac105602ac105602000000000000ac105602"
        );
    }
}
