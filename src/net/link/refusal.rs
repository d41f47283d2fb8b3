//! What the kernel's refusals mean: an errno says what, here stand the why and the cure.  errno(3)

use anyhow::{Result, anyhow};
use ipnet::IpNet;
use nix::errno::Errno;

use super::{NewLink, NewRoute};
use crate::net::netlink::{Refused, Wires};
use crate::net::network::Kind;

/// How long the last owner of a hardware address may take to die, in tries of 5 ms: 18 ms was the
/// median of 60 and 58 the most.
const TRIES: usize = 200;

/// Switches `dev` on. Its hardware address may still belong to a link that is just being torn down;
/// the kernel looks for that only now.
pub fn up(wires: &mut Wires, dev: &str) -> Result<()> {
    // Kernels before 6.2 or so say EBUSY where newer ones say EADDRINUSE.
    let taken = |errno| matches!(errno, Errno::EADDRINUSE | Errno::EBUSY);
    let mut result = wires.set_up(dev);
    for _ in 1..TRIES {
        match &result {
            Err(refused) if taken(refused.errno) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
                result = wires.set_up(dev);
            }
            _ => break,
        }
    }
    result.map_err(|refused| match refused.errno {
        errno if taken(errno) => anyhow!(refused).context(format!(
            "the hardware address of {dev} is in use by another macvlan on the same parent, or by the parent itself: give another one with --mac-address"
        )),
        _ => refused.into(),
    })
}

/// The kernel's refusal to make a link.
pub fn of_making(link: &NewLink, refused: Refused, wires: &mut Wires) -> anyhow::Error {
    let (parent, driver) = (&link.parent, link.kind.driver());
    let cause = match refused.errno {
        Errno::EBUSY => busy(link, wires),
        Errno::ENODEV => format!(
            "the parent {parent} of the network does not exist on this host (any more): see `ip link`"
        ),
        Errno::EINVAL if link.kind.is_passthru() => {
            format!("passthru mode wants {parent} for itself, but there is another macvlan on it")
        }
        Errno::EINVAL if link.mtu.is_some() => {
            format!("an MTU above that of the parent {parent} is not possible")
        }
        Errno::EINVAL => format!(
            "{parent} cannot carry a {driver}: it is a loopback, no Ethernet, or taken by a macvlan in passthru mode"
        ),
        Errno::EEXIST => format!(
            "there is a link {} in the container already: name another with driver-opt=com.docker.network.endpoint.ifname=NAME",
            link.name
        ),
        Errno::EADDRINUSE => format!(
            "the hardware address of {} is in use on {parent}: give another one with --mac-address",
            link.name
        ),
        Errno::EOPNOTSUPP => format!(
            "this kernel has no {driver}: load it with `modprobe {driver}`, or take a kernel that has it (CONFIG_{})",
            driver.to_uppercase()
        ),
        Errno::EPERM => "making links needs root (CAP_NET_ADMIN)".to_owned(),
        _ => format!("make the {driver} {} on {parent}", link.name),
    };
    anyhow!(refused).context(cause)
}

fn busy(link: &NewLink, wires: &mut Wires) -> String {
    let (parent, driver) = (&link.parent, link.kind.driver());
    let cure = match wires.bridge_of(parent) {
        Ok(Some(bridge)) => format!(
            "{parent} is a port of the bridge {bridge}, which takes every frame for itself; use -o parent={bridge}"
        ),
        _ => {
            let other = match link.kind {
                Kind::Macvlan { .. } => "ipvlan",
                Kind::Ipvlan { .. } => "macvlan",
            };
            format!(
                "something else takes every frame of {parent} for itself (a bridge, a bond, or {other}s: one parent carries one kind only)"
            )
        }
    };
    format!("failed to create the {driver} port: device or resource busy: {cure}")
}

/// The kernel's refusal of an address.
pub fn of_address(dev: &str, address: IpNet, refused: Refused) -> anyhow::Error {
    let cause = match refused.errno {
        Errno::EEXIST => format!("{dev} has the address {} already", address.addr()),
        // ipvlan looks at all links of the parent.
        Errno::EADDRINUSE => format!(
            "Address already in use: another container on the same parent has {}",
            address.addr()
        ),
        Errno::EACCES => {
            "IPv6 is switched off on this host or link (sysctl net.ipv6.conf.all.disable_ipv6)"
                .to_owned()
        }
        Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT => {
            "this kernel has no IPv6: leave out the IPv6 subnet".to_owned()
        }
        _ => return refused.into(),
    };
    anyhow!(refused).context(cause)
}

/// The kernel's refusal of a route.
pub fn of_route(route: &NewRoute, refused: Refused) -> anyhow::Error {
    let cause = match refused.errno {
        Errno::EEXIST => format!(
            "there is a route to {} already: give one of the two another metric (--route DST,GATEWAY,METRIC)",
            route.dst
        ),
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => format!(
            "the router {} is not on the LAN of {}: a gateway must be in the network's subnet",
            route.via.map_or_else(String::new, |via| via.to_string()),
            route.dev
        ),
        _ => return refused.into(),
    };
    anyhow!(refused).context(cause)
}
