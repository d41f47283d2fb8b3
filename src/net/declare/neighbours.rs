//! What does not go together with another network.
//!
//! Two networks on one parent link share its port in the kernel, so their kinds and modes must agree.
//! Two networks on one Ethernet segment share its addresses, so their pools must not overlap; two on
//! different segments (another link, another VLAN) may use the same addresses.

use anyhow::{Result, bail};
use ipnet::IpNet;

use crate::net::network::{Driver, Kind, Network, Pool};

/// Checks `network` against the `existing` ones.
pub fn check(network: &Network, existing: &[Network]) -> Result<()> {
    for other in existing.iter().filter(|other| !other.is_predefined()) {
        if other.parent.link == network.parent.link {
            check_port(network, other)?;
        }
        if other.parent.segment == network.parent.segment {
            check_pools(network, other)?;
        }
    }
    Ok(())
}

/// The networks whose pools `network` shares: the same subnet on the same segment.
pub fn shares<'a>(network: &Network, existing: &'a [Network]) -> Vec<&'a Network> {
    let same = |other: &&Network| {
        let mut pools = other.subnets.iter();
        !other.is_predefined()
            && other.id != network.id
            && other.parent.segment == network.parent.segment
            && pools.any(|theirs| network.subnets.iter().any(|o| o.subnet == theirs.subnet))
    };
    existing.iter().filter(same).collect()
}

/// Docker's rules since release 27, and the kernel's: one kind of link a port.
fn check_port(network: &Network, other: &Network) -> Result<()> {
    let (Driver::Lan(ours), Driver::Lan(theirs)) = (network.driver, other.driver) else {
        return Ok(());
    };
    let (parent, id) = (&network.parent.link, &other.id);
    match (ours, theirs) {
        (Kind::Ipvlan { .. }, Kind::Ipvlan { .. }) => bail!(
            "network {id} is already using parent interface {parent}: one ipvlan network a parent; use a VLAN of it (-o vlan=10) or more subnets in the network {}",
            other.name
        ),
        (Kind::Macvlan { .. }, Kind::Ipvlan { .. })
        | (Kind::Ipvlan { .. }, Kind::Macvlan { .. }) => {
            bail!(
                "network {id} is already using parent interface {parent} for {}s, and one parent carries one kind only (the kernel would say EBUSY)",
                theirs.driver()
            )
        }
        _ if ours.is_passthru() => bail!(
            "cannot use mode passthru, macvlan network {id} is already using parent interface {parent}"
        ),
        _ if theirs.is_passthru() => bail!(
            "macvlan network {id} is already using parent interface {parent} in mode passthru"
        ),
        _ => Ok(()),
    }
}

fn check_pools(network: &Network, other: &Network) -> Result<()> {
    for theirs in &other.subnets {
        let ours = network.subnets.iter();
        let mut ours = ours.filter(|ours| overlap(&ours.subnet, &theirs.subnet));
        if let Some(ours) = ours.find(|ours| !may_share(ours, theirs)) {
            bail!(
                "invalid pool request: Pool overlaps with other one on this address space ({} here, {} in the network {}; remove it first with: rmac network rm {}, or give both a part of one subnet with --ip-range)",
                ours.subnet,
                theirs.subnet,
                other.name,
                other.name
            );
        }
    }
    Ok(())
}

/// With `--ip-range`, Docker lets several networks give out of one subnet.
fn may_share(ours: &Pool, theirs: &Pool) -> bool {
    ours.subnet == theirs.subnet && ours.ip_range.is_some()
}

/// Whether two subnets have an address in common.
pub fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}
