//! The link of the floor, in raw messages: one from the host, four in one go from inside.  rtnetlink(7)

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use nix::unistd::Pid;

/// A macvlan `eth0` with an address, on a parent.
pub struct Wire<'a> {
    /// The host's link.
    pub parent: &'a str,
    /// The container's address.
    pub address: Ipv4Addr,
    /// The length of its subnet's prefix.
    pub prefix: u8,
    /// The router.
    pub gateway: Ipv4Addr,
}

/// The index that the link gets in its namespace, where the loopback is 1.
const INDEX: u32 = 2;
const REQUEST: u16 = 1 | 4;
const CREATE: u16 = REQUEST | 0x200 | 0x400;
const NEWLINK: u16 = 16;
const NEWADDR: u16 = 20;
const NEWROUTE: u16 = 24;
const UP: u32 = 1;

impl Wire<'_> {
    /// The host's half: makes the link, straight into the namespaces of `pid`.
    pub fn make(&self, pid: Pid) -> Result<()> {
        let parent = nix::net::if_::if_nametoindex(self.parent)?;
        let mac = [&[2, 0x42], &self.address.octets()[..]].concat();
        // IFLA_INFO_KIND, and in IFLA_INFO_DATA IFLA_MACVLAN_MODE: bridge.
        let data = attribute(1, &4u32.to_le_bytes());
        let info = [attribute(1, b"macvlan"), attribute(2, &data)].concat();
        let link = [
            link_header(INDEX, 0),
            attribute(3, b"eth0\0"),
            attribute(5, &parent.to_le_bytes()),
            attribute(1, &mac),
            attribute(19, &pid.as_raw().to_le_bytes()),
            attribute(18, &info),
        ];
        ask(&[message(NEWLINK, CREATE, &link.concat())])
    }
}

/// The child's half, when the host has written to `wait`: loopback up, address, link up, route.
pub fn inside(wire: &Wire<'_>, wait: &OwnedFd) -> Result<()> {
    nix::unistd::read(wait, &mut [0])?;
    let broadcast = Ipv4Addr::from(u32::from(wire.address) | u32::MAX >> wire.prefix);
    let address = [
        vec![2, wire.prefix, 0, 0],
        INDEX.to_le_bytes().to_vec(),
        attribute(2, &wire.address.octets()),
        attribute(4, &broadcast.octets()),
    ];
    // Main table, by hand, universe, unicast.
    let route = [
        vec![2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0],
        attribute(5, &wire.gateway.octets()),
        attribute(4, &INDEX.to_le_bytes()),
    ];
    ask(&[
        message(NEWLINK, REQUEST, &link_header(1, UP)),
        message(NEWADDR, CREATE, &address.concat()),
        message(NEWLINK, REQUEST, &link_header(INDEX, UP)),
        message(NEWROUTE, CREATE, &route.concat()),
    ])
}

fn link_header(index: u32, flags: u32) -> Vec<u8> {
    let words = [0, index, flags, flags];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len() as u16;
    let mut bytes = [length.to_le_bytes(), kind.to_le_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = 16 + body.len() as u32;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// Sends all messages at once, and reads an answer to each.
fn ask(messages: &[Vec<u8>]) -> Result<()> {
    let wire = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(wire.as_raw_fd(), &messages.concat(), MsgFlags::empty())?;
    let mut buffer = [0; 4096];
    for _ in messages {
        let length = recv(wire.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        match buffer[..length]
            .get(16..20)
            .map(|code| [code[0], code[1], code[2], code[3]])
        {
            Some([0, 0, 0, 0]) => (),
            Some(code) => bail!("netlink: error {}", i32::from_le_bytes(code)),
            None => bail!("netlink: a short answer"),
        }
    }
    Ok(())
}
