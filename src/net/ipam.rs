//! IP address management: which address comes next.
//!
//! The lowest free address first, as Docker does on a single host. Never given out are the network's
//! own address and its broadcast address (RFC 919; a /31 has neither, RFC 3021), the gateway, and what
//! `--aux-address` names. The way out of a pool is by being asked for: `--ip` may lie outside
//! `--ip-range`, but not outside the subnet.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::network::{Network, Pool};

/// Why an address is not given out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `--ip` asks for an address that no subnet has.
    #[error("invalid endpoint settings:\nno configured subnet contains IP address {0}")]
    Outside(Ipv4Addr),
    /// `--ip` asks for what another container has.
    #[error("Address already in use")]
    Taken(Ipv4Addr),
    /// `--ip` asks for an address that is nobody's to have.
    #[error("Address already in use: {address} is {what} of the network {network}")]
    Reserved {
        /// The address asked for.
        address: Ipv4Addr,
        /// What it is: `the gateway`, ...
        what: String,
        /// The network's name.
        network: String,
    },
    /// Nothing is left.
    #[error("no available IPv4 addresses on this network's address pools: {name} ({id})")]
    Full {
        /// The network's name.
        name: String,
        /// The network's id.
        id: String,
    },
}

/// The lowest address of `network` that is neither reserved nor in `taken`, which is sorted.
pub fn next(network: &Network, taken: &[Ipv4Addr]) -> Result<Ipv4Net, Refusal> {
    debug_assert!(taken.is_sorted());
    network
        .subnets
        .iter()
        .find_map(|pool| lowest_free(pool, taken))
        .ok_or_else(|| Refusal::Full {
            name: network.name.clone(),
            id: network.id.clone(),
        })
}

/// Checks the address that `--ip` asks for; `taken` is sorted.
pub fn requested(
    network: &Network,
    address: Ipv4Addr,
    taken: &[Ipv4Addr],
) -> Result<Ipv4Net, Refusal> {
    debug_assert!(taken.is_sorted());
    let (pool, subnet) = pool_of(network, address).ok_or(Refusal::Outside(address))?;
    if let Some(what) = reserved(pool, subnet, address) {
        return Err(Refusal::Reserved {
            address,
            what,
            network: network.name.clone(),
        });
    }
    if taken.binary_search(&address).is_ok() {
        return Err(Refusal::Taken(address));
    }
    Ok(with_prefix(subnet, address))
}

/// The gateway for a container that has `address`: that of the pool which the address is from.
pub fn gateway(network: &Network, address: Ipv4Addr) -> Option<Ipv4Addr> {
    match pool_of(network, address)?.0.gateway? {
        IpAddr::V4(gateway) if !network.internal => Some(gateway),
        _ => None,
    }
}

/// How many addresses of `pool` are in use (the reserved ones included), and how many can still be
/// given out without being asked for by name.
pub fn count(pool: &Pool, taken: &[Ipv4Addr]) -> (u64, u64) {
    let IpNet::V4(subnet) = pool.subnet else {
        return (0, 0);
    };
    let mut used = fixed(pool, subnet);
    used.extend(taken.iter().filter(|address| subnet.contains(*address)));
    used.sort_unstable();
    used.dedup();
    let range = range(pool, subnet);
    let within = used
        .iter()
        .filter(|address| range.contains(*address))
        .count() as u64;
    (used.len() as u64, size(range) - within)
}

fn lowest_free(pool: &Pool, taken: &[Ipv4Addr]) -> Option<Ipv4Net> {
    let IpNet::V4(subnet) = pool.subnet else {
        return None;
    };
    let fixed = fixed(pool, subnet);
    let range = range(pool, subnet);
    let (first, last) = (u32::from(range.network()), u32::from(range.broadcast()));
    let mut rest = taken[taken.partition_point(|a| u32::from(*a) < first)..].iter();
    let mut ahead = rest.next();
    (first..=last)
        .map(Ipv4Addr::from)
        .find(|candidate| {
            let mut free = !fixed.contains(candidate);
            while ahead == Some(candidate) {
                free = false;
                ahead = rest.next();
            }
            free
        })
        .map(|address| with_prefix(subnet, address))
}

/// The addresses that are never given out.
fn fixed(pool: &Pool, subnet: Ipv4Net) -> Vec<Ipv4Addr> {
    let mut fixed = Vec::new();
    if subnet.prefix_len() < 31 {
        fixed.extend([subnet.network(), subnet.broadcast()]);
    }
    let named = pool.gateway.iter().chain(pool.aux.values());
    fixed.extend(named.filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }));
    fixed
}

/// What `address` is reserved for, if it is.
fn reserved(pool: &Pool, subnet: Ipv4Net, address: Ipv4Addr) -> Option<String> {
    if subnet.prefix_len() < 31 && address == subnet.network() {
        return Some("the network's own address".to_owned());
    }
    if subnet.prefix_len() < 31 && address == subnet.broadcast() {
        return Some("the broadcast address".to_owned());
    }
    if pool.gateway == Some(address.into()) {
        return Some("the gateway".to_owned());
    }
    let mut aux = pool.aux.iter();
    aux.find(|(_, reserved)| **reserved == address)
        .map(|(name, _)| format!("the auxiliary address {name:?}"))
}

fn pool_of(network: &Network, address: Ipv4Addr) -> Option<(&Pool, Ipv4Net)> {
    network.subnets.iter().find_map(|pool| match pool.subnet {
        IpNet::V4(subnet) if subnet.contains(&address) => Some((pool, subnet)),
        _ => None,
    })
}

fn range(pool: &Pool, subnet: Ipv4Net) -> Ipv4Net {
    match pool.ip_range {
        Some(IpNet::V4(range)) => range,
        _ => subnet,
    }
}

fn with_prefix(subnet: Ipv4Net, address: Ipv4Addr) -> Ipv4Net {
    // The prefix length comes from a subnet, so it is one that there is.
    Ipv4Net::new_assert(address, subnet.prefix_len())
}

fn size(range: Ipv4Net) -> u64 {
    1 << (32 - range.prefix_len())
}
