//! Host access: how a host reaches the containers that sit on its own link.
//!
//! A macvlan's frames pass its parent by: what a container sends goes out to the wire or to the other
//! macvlans of the parent, never to the parent itself. So the one station of the LAN that a container
//! and its host cannot reach is each other. The way out is a macvlan of the host's own on that parent,
//! here called the shim, and a route to each container through it.
//!
//! ```text
//! host: 172.16.86.2/32 dev rmac-5e5e5e5e      (and no more: the LAN is still reached by eth0)
//! ```
//!
//! With `-o host_access=auto` the shim has no address of its own: the host speaks through it by the
//! address that it has on the LAN, and answers there for that address (arp_filter keeps it from
//! answering the LAN's stations, too, which have their way by the parent). With an address, the shim
//! has that one. IPv4 only. ip-link(8), Documentation/networking/ip-sysctl.rst.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};
use nix::errno::Errno;

use super::endpoint::{Mac, Probe};
use super::host::fnv;
use super::link::{NewLink, NewRoute};
use super::netlink::Wires;
use super::network::{Kind, Network};

/// The host's link to the containers of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    /// Its name on the host: `rmac-` and a digest of the network's id.
    pub name: String,
    /// The link below it, the same as below the containers.
    pub parent: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Its own address, if it has one.
    pub address: Option<Ipv4Addr>,
}

/// The shim that the network asks for; `None` if it asks for none.
pub fn shim(network: &Network) -> Result<Option<Shim>> {
    let Some(wanted) = network.options.get("host_access") else {
        return Ok(None);
    };
    let digest = fnv(network.id.as_bytes());
    let [a, b, c, d] = digest.to_be_bytes();
    Ok(Some(Shim {
        name: format!("rmac-{digest:08x}"),
        parent: network.parent.link.clone(),
        mac: Mac([0x02, 0x48, a, b, c, d]),
        address: address(wanted)?,
    }))
}

/// Reads `auto` or an address.
///
/// # Errors
/// Where it is neither.
pub fn address(text: &str) -> Result<Option<Ipv4Addr>> {
    match text {
        "auto" => Ok(None),
        text => text.parse().map(Some).ok().with_context(|| {
            format!(
                "invalid host_access {text:?}: it is auto (the host speaks by the address that it has on the LAN) or an IPv4 address of the subnet that nobody has"
            )
        }),
    }
}

/// Makes the host's way to exactly these containers, in the calling thread's network namespace. The
/// first brings the shim; what the last leaves is [`remove`]'s.
pub fn reconcile(shim: &Shim, containers: &[IpAddr]) -> Result<()> {
    let ipv4 = |address: &IpAddr| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    };
    let wanted: BTreeSet<Ipv4Addr> = containers.iter().filter_map(ipv4).collect();
    let there = is_there(shim);
    if wanted.is_empty() && !there {
        return Ok(());
    }
    let mut wires = Wires::here()?;
    if !there {
        make(shim, &mut wires)
            .inspect_err(|_| drop(wires.delete_link(&shim.name)))
            .with_context(|| format!("make the host's own link {} to its containers", shim.name))?;
    }
    let routed = routes(&shim.name)?;
    for address in wanted.difference(&routed) {
        wires.add_route(&route(shim, *address))?;
    }
    for address in routed.difference(&wanted) {
        match wires.delete_route(&route(shim, *address)) {
            Err(refused) if refused.errno != Errno::ESRCH => return Err(refused.into()),
            _ => (),
        }
    }
    Ok(())
}

/// Whether the host has the link just now.
pub fn is_there(shim: &Shim) -> bool {
    nix::net::if_::if_nametoindex(shim.name.as_str()).is_ok()
}

/// Deletes the shim, which no container needs any more; "already gone" is no error. It leads nowhere by
/// then, so nobody need wait for it: deleting a link takes the kernel some 20 ms.
pub fn remove(shim: &Shim) -> Result<()> {
    match Wires::here()?.delete_link(&shim.name) {
        Err(refused) if refused.errno != Errno::ENODEV => Err(refused.into()),
        _ => Ok(()),
    }
}

fn make(shim: &Shim, wires: &mut Wires) -> Result<()> {
    wires.make_link(&NewLink {
        name: shim.name.clone(),
        parent: shim.parent.clone(),
        kind: Kind::BRIDGE,
        mac: Some(shim.mac),
        mtu: None,
    })?;
    let settings = format!("/proc/sys/net/ipv4/conf/{}/arp_filter", shim.name);
    wires.write_setting_if_there(&settings, "1")?;
    // Nothing but the containers is behind it, so the host takes no IPv6 from there.
    let settings = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", shim.name);
    wires.write_setting_if_there(&settings, "1")?;
    if let Some(address) = shim.address {
        let address = IpNet::V4(Ipv4Net::new(address, 32)?);
        wires.add_address(&shim.name, address, Probe::Off)?;
    }
    wires.set_up(&shim.name)?;
    Ok(())
}

fn route(shim: &Shim, address: Ipv4Addr) -> NewRoute {
    NewRoute {
        dst: IpNet::V4(Ipv4Net::new_assert(address, 32)),
        via: None,
        dev: shim.name.clone(),
        metric: None,
    }
}

/// The single addresses that are routed through the link `name`: proc_net(5).
fn routes(name: &str) -> Result<BTreeSet<Ipv4Addr>> {
    let text = std::fs::read_to_string("/proc/thread-self/net/route").context("read the routes")?;
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_ours = words.first() == Some(&name) && words.get(7) == Some(&"FFFFFFFF");
        let number = u32::from_str_radix(words.get(1)?, 16).ok()?;
        // The file shows the bytes in the machine's order.
        is_ours.then(|| Ipv4Addr::from(number.to_ne_bytes()))
    };
    Ok(text.lines().filter_map(route).collect())
}
