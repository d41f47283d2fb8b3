//! Who else sits on the parent: stations that a broadcast is handed to one by one.  rtnetlink(7), packet(7)
//!
//! A macvlan in mode bridge hands a copy of what it broadcasts to each other one of its parent, in the call that sends
//! it, and each of them looks at it: beside a thousand, an ARP probe takes 4 ms. But whose hardware address is `02:42`
//! and an IPv4 address of the network has just that address, since rmac, as Docker, makes one of the other, so it
//! cannot have the one that is asked for. So where there are many, the LAN is asked through the parent itself, whose
//! frames its macvlans do not see, and those on the parent who may have any address are asked one by one.
//!
//! The kernel keeps the hardware addresses of its macvlans with the parent, as `bridge fdb show dev eth0` shows them,
//! whichever network namespaces they are in. (Not those that the card itself tells apart, `l2-fwd-offload` of
//! ethtool(8), which is off unless somebody switches it on.)

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::sys::socket::sockopt::RcvBuf;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
};

use crate::net::endpoint::Mac;
use crate::sys::packet;

/// Up to so many hear of a broadcast, or are asked one by one.
const FEW: usize = 32;

/// What a first part of the kernel's answer fits into, which it makes no larger than a page or 8 KiB.
const FIRST_READ: usize = 8 * 1024;

/// The kernel's next parts are up to half as large.
const LATER_READ: usize = 64 * 1024;

const ASKING: &str = "ask for the addresses on the parent";

/// How long a start asks through the parent. To close a packet socket takes the kernel some 10 ms, in which the monitor
/// does nothing else, so not at once.
const KEPT: Duration = Duration::from_millis(200);

/// What there is besides the link that an address is asked for on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The host's link below it.
    pub parent: String,
    /// The network's subnet.
    pub subnet: Ipv4Net,
    /// Whether the others on the parent can be reached at all: in mode bridge.
    pub reachable: bool,
}

/// The way to ask where many are beside the link.
#[derive(Debug)]
pub struct Way {
    /// A packet socket on the parent, in the host's network namespace; it hears nothing.
    pub lan: OwnedFd,
    opened: Instant,
    /// Whether those on the parent have been asked, too.
    told: bool,
}

impl Beside {
    /// The way to ask for an address; `None` where a broadcast does as well. To be called in the parent's network
    /// namespace. Whether the address will be `among_many` may be known.
    ///
    /// Of the others on the parent it counts only whether they are many: to hear of a thousand takes 0.3 ms, and may
    /// wait until the container's first process is at work.
    ///
    /// # Errors
    /// Where the parent is gone, or packet sockets are not to be had.
    pub fn way(&self, among_many: Option<bool>) -> Result<Option<Way>> {
        let index = self.index()?;
        let among_many = among_many.map_or_else(|| is_crowded(index), Ok);
        if !among_many.context(ASKING)? {
            return Ok(None);
        }
        let lan = packet::open(0, index, &packet::accept_if(&[]))
            .with_context(|| format!("open a packet socket on {}", self.parent))?;
        Ok(Some(Way::through(lan)))
    }

    fn index(&self) -> Result<u32> {
        nix::net::if_::if_nametoindex(self.parent.as_str())
            .with_context(|| format!("look for the link {}", self.parent))
    }

    /// Whether it follows from the hardware address that its owner has another address than `address`.
    fn is_known(&self, mac: Mac, address: Ipv4Addr) -> bool {
        let [_, _, a, b, c, d] = mac.0;
        let own = Ipv4Addr::new(a, b, c, d);
        Mac::of(own) == mac && self.subnet.contains(&own) && own != address
    }
}

/// Whether many sit on the link `index`, of the network namespace that the thread is in.
///
/// # Errors
/// Where the link is gone.
pub fn is_crowded(index: u32) -> Result<bool, Errno> {
    Dump::begin(index)?.is_long()
}

impl Way {
    /// The way through the socket `lan`.
    pub fn through(lan: OwnedFd) -> Way {
        Way {
            lan,
            opened: Instant::now(),
            told: false,
        }
    }

    /// Whom the owner of `own` is to ask for `address` besides the LAN, each for himself; asked for once.
    ///
    /// # Errors
    /// Where there are too many: a broadcast does better then. Where the kernel does not tell.
    pub fn strangers(&mut self, beside: &Beside, own: Mac, address: Ipv4Addr) -> Result<Vec<Mac>> {
        if std::mem::replace(&mut self.told, true) || !beside.reachable {
            return Ok(vec![]);
        }
        let index = beside.index()?;
        let mut dump = Dump::begin(index).context(ASKING)?;
        let mut buffer = vec![0; LATER_READ];
        while !dump.read(&mut buffer, MsgFlags::empty()).context(ASKING)? {}
        dump.macs
            .retain(|mac| *mac != own && !beside.is_known(*mac, address));
        ensure!(dump.macs.len() <= FEW, "too many may have the address");
        Ok(dump.macs)
    }

    /// When it is to be given up. Each packet socket of a network namespace is looked at whenever a link is made on
    /// one of its links or taken off it (0.1 µs, twice), so not every container can keep one on the host.
    pub fn end(&self) -> Instant {
        self.opened + KEPT
    }
}

/// The hardware addresses that a link takes frames for besides its own, those of its macvlans: as far as the kernel
/// has told them.
#[derive(Debug)]
struct Dump {
    wire: OwnedFd,
    index: u32,
    macs: Vec<Mac>,
}

impl Dump {
    /// Asks for those of the link `index`.
    fn begin(index: u32) -> Result<Dump, Errno> {
        let wire = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        send(wire.as_raw_fd(), &dump_request(index), MsgFlags::empty())?;
        Ok(Dump {
            wire,
            index,
            macs: vec![],
        })
    }

    /// Reads until it is known whether they are more than [`FEW`].
    fn is_long(&mut self) -> Result<bool, Errno> {
        let mut buffer = [0; FIRST_READ];
        // The first part mostly tells. As long as it lies there, and leaves no room, the kernel does not make the next one.
        let _ = setsockopt(&self.wire, RcvBuf, &1);
        let mut last = self.read(&mut buffer, MsgFlags::MSG_PEEK)?;
        if !last && self.macs.len() <= FEW {
            self.macs.clear();
            while !last && self.macs.len() <= FEW {
                last = self.read(&mut buffer, MsgFlags::empty())?;
            }
        }
        Ok(self.macs.len() > FEW)
    }

    /// Reads the next part of the answer; whether it was the last.
    fn read(&mut self, buffer: &mut [u8], flags: MsgFlags) -> Result<bool, Errno> {
        let length = recv(self.wire.as_raw_fd(), buffer, flags)?;
        read_dump(&buffer[..length], self.index, &mut self.macs)
    }
}

/// RTM_GETNEIGH of the family AF_BRIDGE; of the two headers that the kernel takes for it only that of a link can name
/// one.
fn dump_request(index: u32) -> [u8; 32] {
    let mut request = [0; 32];
    let flags = nix::libc::NLM_F_REQUEST | nix::libc::NLM_F_DUMP;
    request[..4].copy_from_slice(&32u32.to_ne_bytes());
    request[4..6].copy_from_slice(&nix::libc::RTM_GETNEIGH.to_ne_bytes());
    request[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
    request[16] = nix::libc::AF_BRIDGE as u8;
    request[20..24].copy_from_slice(&index.to_ne_bytes());
    request
}

/// Reads the messages of one answer; whether it was the last.
fn read_dump(mut answer: &[u8], index: u32, macs: &mut Vec<Mac>) -> Result<bool, Errno> {
    while let Some((message, rest)) =
        chop::<4>(answer, |length| u32::from_ne_bytes(length) as usize)
    {
        let kind = message.get(4..6).and_then(|kind| kind.try_into().ok());
        match i32::from(u16::from_ne_bytes(kind.unwrap_or_default())) {
            nix::libc::NLMSG_DONE => return Ok(true),
            nix::libc::NLMSG_ERROR => return Err(errno_of(message)),
            _ if message.get(20..24) == Some(&index.to_ne_bytes()) => {
                macs.extend(mac_of(&message[24.min(message.len())..]));
            }
            _ => (),
        }
        answer = rest;
    }
    Ok(false)
}

/// The hardware address among the attributes of a message, which the rest of its header comes before; no group.
fn mac_of(message: &[u8]) -> Option<Mac> {
    let mut attributes = message.get(4..)?;
    while let Some((attribute, rest)) =
        chop::<2>(attributes, |length| u16::from_ne_bytes(length).into())
    {
        if attribute.get(2..4) == Some(&nix::libc::NDA_LLADDR.to_ne_bytes()) {
            let mac = Mac(attribute.get(4..)?.try_into().ok()?);
            return (mac.0[0] & 1 == 0).then_some(mac);
        }
        attributes = rest;
    }
    None
}

fn errno_of(message: &[u8]) -> Errno {
    let code = message.get(16..20).and_then(|code| code.try_into().ok());
    Errno::from_raw(-i32::from_ne_bytes(code.unwrap_or_default()))
}

/// The first piece of `bytes`, whose length stands in its first `N`, and what follows it, from the next multiple of
/// four on.
fn chop<const N: usize>(bytes: &[u8], length: impl Fn([u8; N]) -> usize) -> Option<(&[u8], &[u8])> {
    let length = length(*bytes.first_chunk::<N>()?);
    let piece = bytes.get(..length).filter(|piece| piece.len() >= 4)?;
    Some((
        piece,
        bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside() -> Beside {
        Beside {
            parent: "eth0".into(),
            subnet: "172.16.0.0/16".parse().unwrap(),
            reachable: true,
        }
    }

    #[test]
    fn whose_hardware_address_follows_from_another_address_is_not_asked() {
        let address = Ipv4Addr::new(172, 16, 86, 2);
        let known = |mac: &str| beside().is_known(mac.parse().unwrap(), address);
        assert!(known("02:42:ac:10:56:03"));
        // The address itself, another subnet's, and one that the kernel made up.
        assert!(!known("02:42:ac:10:56:02"));
        assert!(!known("02:42:0a:00:00:03") && !known("4e:42:ac:10:56:03"));
    }

    #[test]
    fn the_kernels_answer_is_read_to_its_end() {
        let message = |index: u8, mac: [u8; 6]| {
            let mut bytes = vec![0; 28];
            bytes[0] = 40;
            bytes[4..6].copy_from_slice(&nix::libc::RTM_NEWNEIGH.to_ne_bytes());
            bytes[20] = index;
            bytes.extend([10, 0, 2, 0]);
            bytes.extend(mac);
            bytes.extend([0, 0]);
            bytes
        };
        let one = [0x02, 0x42, 172, 16, 86, 3];
        let group = [0x33, 0x33, 0, 0, 0, 1];
        let answer = [message(7, one), message(7, group), message(8, one)].concat();
        let mut macs = vec![];
        assert_eq!(read_dump(&answer, 7, &mut macs), Ok(false));
        assert_eq!(macs, [Mac(one)]);
        let mut end = vec![0; 20];
        (end[0], end[4]) = (20, 3);
        assert_eq!(read_dump(&end, 7, &mut macs), Ok(true));
        end[4] = 2;
        end[16..20].copy_from_slice(&(-1i32).to_ne_bytes());
        assert_eq!(read_dump(&end, 7, &mut macs), Err(Errno::EPERM));
        // Cut off: nothing more is read.
        assert_eq!(read_dump(&answer[..30], 7, &mut macs), Ok(false));
        assert_eq!(macs.len(), 1);
    }
}
