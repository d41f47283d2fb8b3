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
//! has that one. IPv6 has no such filter, so there the shim needs an address of its own, as in
//! `-o host_access=auto,fd00:86::fe`. ip-link(8), Documentation/networking/ip-sysctl.rst.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
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
    /// Its own addresses.
    pub own: Own,
}

/// The addresses that the shim has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Own {
    /// With none the host speaks by the address that it has on the LAN.
    pub ipv4: Option<Ipv4Addr>,
    /// With none there is no way by IPv6.
    pub ipv6: Option<Ipv6Addr>,
}

impl Own {
    /// Both.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.map(IpAddr::V4);
        ipv4.into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
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
        own: own(wanted)?,
    }))
}

/// Reads `auto`, an address, or one of each family (or `auto` and an IPv6 address) with a comma between.
///
/// # Errors
/// Where it is none of these.
pub fn own(text: &str) -> Result<Own> {
    let mut own = Own::default();
    let mut auto = false;
    for word in text.split(',') {
        let twice = match (word, word.parse()) {
            ("auto", _) => std::mem::replace(&mut auto, true) || own.ipv4.is_some(),
            (_, Ok(IpAddr::V4(address))) => own.ipv4.replace(address).is_some() || auto,
            (_, Ok(IpAddr::V6(address))) => own.ipv6.replace(address).is_some(),
            (_, Err(_)) => true,
        };
        ensure!(
            !twice,
            "invalid option host_access={text}: it is auto (the host speaks by the IPv4 address that it has on the LAN) or an address of the network's subnet for the host, one of each family at most, as in auto,fd00:86::fe"
        );
    }
    Ok(own)
}

/// Makes the host's way to exactly these containers, in the calling thread's network namespace. The
/// first brings the shim; what the last leaves is [`remove`]'s.
pub fn reconcile(shim: &Shim, containers: &[IpAddr]) -> Result<()> {
    let has_way = |address: &&IpAddr| address.is_ipv4() || shim.own.ipv6.is_some();
    let wanted: BTreeSet<IpAddr> = containers.iter().filter(has_way).copied().collect();
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
    // The LAN's routers are heard by the parent: the host takes nothing from here.
    let disable = if shim.own.ipv6.is_some() { "0" } else { "1" };
    for (name, value) in [("accept_ra", "0"), ("disable_ipv6", disable)] {
        let settings = format!("/proc/sys/net/ipv6/conf/{}/{name}", shim.name);
        wires.write_setting_if_there(&settings, value)?;
    }
    for address in shim.own.addresses() {
        wires.add_address(&shim.name, IpNet::from(address), Probe::Off)?;
    }
    wires.set_up(&shim.name)?;
    Ok(())
}

fn route(shim: &Shim, address: IpAddr) -> NewRoute {
    NewRoute {
        dst: IpNet::from(address),
        via: None,
        dev: shim.name.clone(),
        metric: None,
    }
}

/// The single addresses that are routed through the link `name`: proc_net(5).
fn routes(name: &str) -> Result<BTreeSet<IpAddr>> {
    let read = |path| std::fs::read_to_string(path).context("read the routes");
    let ipv4 = read("/proc/thread-self/net/route")?;
    // A kernel without IPv6 has no such file.
    let ipv6 = read("/proc/thread-self/net/ipv6_route").unwrap_or_default();
    let ipv4 = ipv4.lines().filter_map(|line| ipv4_route(line, name));
    let ipv6 = ipv6.lines().filter_map(|line| ipv6_route(line, name));
    Ok(ipv4.map(IpAddr::V4).chain(ipv6.map(IpAddr::V6)).collect())
}

fn ipv4_route(line: &str, name: &str) -> Option<Ipv4Addr> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_ours = words.first() == Some(&name) && words.get(7) == Some(&"FFFFFFFF");
    let number = u32::from_str_radix(words.get(1)?, 16).ok()?;
    // The file shows the bytes in the machine's order.
    is_ours.then(|| Ipv4Addr::from(number.to_ne_bytes()))
}

fn ipv6_route(line: &str, name: &str) -> Option<Ipv6Addr> {
    /// The host's own address, or one of a group that it is in: linux/ipv6_route.h.
    const RTF_LOCAL: u32 = 0x8000_0000;
    const RTF_ANYCAST: u32 = 0x0010_0000;
    let words: Vec<&str> = line.split_whitespace().collect();
    let flags = u32::from_str_radix(words.get(8)?, 16).ok()?;
    let is_ours = words.last() == Some(&name)
        && words.get(1) == Some(&"80")
        && flags & (RTF_LOCAL | RTF_ANYCAST) == 0;
    let number = u128::from_str_radix(words.first()?, 16).ok()?;
    is_ours.then(|| Ipv6Addr::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_addresses_are_one_of_each_family_at_most() {
        let of = |text: &str| own(text).map(|own| own.addresses().collect::<Vec<_>>());
        assert_eq!(of("auto").unwrap(), [] as [IpAddr; 0]);
        assert_eq!(of("auto,fd00::1").unwrap().len(), 1);
        assert_eq!(of("fd00::1,10.0.0.1").unwrap().len(), 2);
        for wrong in [
            "",
            "on",
            "auto,auto",
            "auto,10.0.0.1",
            "10.0.0.1,10.0.0.2",
            "fd00::1,",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_routes_to_single_addresses_of_others_count() {
        let line = |dst: &str, length: &str, flags: &str, dev: &str| {
            format!(
                "{dst} {length} {0} 00 {0} 00000400 00000001 00000000 {flags} {dev:>8}",
                "0".repeat(32)
            )
        };
        let dst = "fd000086000000000000000000000009";
        let found = |line: String| ipv6_route(&line, "rmac-1");
        assert_eq!(
            found(line(dst, "80", "00000001", "rmac-1")),
            Some("fd00:86::9".parse().unwrap())
        );
        assert_eq!(found(line(dst, "80", "80200001", "rmac-1")), None);
        assert_eq!(found(line(dst, "40", "00000001", "rmac-1")), None);
        assert_eq!(found(line(dst, "80", "00000001", "eth0")), None);
    }
}
