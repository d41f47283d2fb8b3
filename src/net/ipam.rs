//! IP address management: which address comes next.
//!
//! The lowest free address first, as Docker does on a single host. Never given out are the network's
//! own address (in IPv6 that is the anycast address of all its routers, RFC 4291 section 2.6.1) and
//! its broadcast address (RFC 919); a /31 or /127 has neither (RFC 3021, RFC 6164). Nor are the
//! gateway, and what `--aux-address` names. The way out of a pool is by being asked for: `--ip` may
//! lie outside `--ip-range`, but not outside the subnet.

use std::net::IpAddr;

use ipnet::IpNet;

use super::network::{IpRange, Network, Pool};

/// Why an address is not given out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `--ip` asks for an address that no subnet has.
    #[error("invalid endpoint settings:\nno configured subnet contains IP address {0}")]
    Outside(IpAddr),
    /// `--ip` asks for what another container has.
    #[error("Address already in use")]
    Taken(IpAddr),
    /// `--ip` asks for an address that is nobody's to have.
    #[error("Address already in use: {address} is {what} of the network {network}")]
    Reserved {
        /// The address asked for.
        address: IpAddr,
        /// What it is: `the gateway`, ...
        what: String,
        /// The network's name.
        network: String,
    },
    /// Nothing is left.
    #[error("no available {family} addresses on this network's address pools: {name} ({id})")]
    Full {
        /// Which addresses.
        family: Family,
        /// The network's name.
        name: String,
        /// The network's id.
        id: String,
    },
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// 32 bits.
    V4,
    /// 128 bits.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// The lowest address of `network` that is neither reserved nor in `taken`, which is sorted.
pub fn next(network: &Network, family: Family, taken: &[IpAddr]) -> Result<IpNet, Refusal> {
    debug_assert!(taken.is_sorted());
    network
        .subnets
        .iter()
        .filter(|pool| Family::of(pool.subnet.addr()) == family)
        .find_map(|pool| lowest_free(pool, taken))
        .ok_or_else(|| Refusal::Full {
            family,
            name: network.name.clone(),
            id: network.id.clone(),
        })
}

/// Checks the address that `--ip` or `--ip6` asks for; `taken` is sorted.
pub fn requested(network: &Network, address: IpAddr, taken: &[IpAddr]) -> Result<IpNet, Refusal> {
    debug_assert!(taken.is_sorted());
    let pool = pool_of(network, address).ok_or(Refusal::Outside(address))?;
    if let Some(what) = reserved(pool, address) {
        return Err(Refusal::Reserved {
            address,
            what,
            network: network.name.clone(),
        });
    }
    if taken.binary_search(&address).is_ok() {
        return Err(Refusal::Taken(address));
    }
    Ok(with_prefix(pool, address))
}

/// The pool that `address` is from.
pub fn pool_of(network: &Network, address: IpAddr) -> Option<&Pool> {
    let mut pools = network.subnets.iter();
    pools.find(|pool| pool.subnet.contains(&address))
}

/// The gateway for a container that has `address`: that of the pool which the address is from.
pub fn gateway(network: &Network, address: IpAddr) -> Option<IpAddr> {
    let layer_3 = matches!(network.driver, super::network::Driver::Lan(kind) if kind.is_layer_3());
    match pool_of(network, address)?.gateway {
        gateway if !network.internal && !layer_3 => gateway,
        _ => None,
    }
}

/// The part number `share`, from 1, of `shares` parts of `range` that are equal but for the last, which
/// has what is left over; `None` where there are not that many addresses.
pub fn share(range: &IpRange, share: u32, shares: u32) -> Option<IpRange> {
    let (first, last) = (number(range.first), number(range.last));
    let size = (last - first) / u128::from(shares)
        + u128::from((last - first) % u128::from(shares) == u128::from(shares) - 1);
    let start = first + size * u128::from(share - 1);
    let end = match share == shares {
        true => last,
        false => start + size.checked_sub(1)?,
    };
    (size > 0).then(|| IpRange {
        first: address(range.first, start),
        last: address(range.first, end),
    })
}

/// How many addresses of `pool` are in use (the reserved ones included), and how many can still be
/// given out without being asked for by name; at the most 2^64 - 1.
pub fn count(pool: &Pool, taken: &[IpAddr]) -> (u64, u64) {
    let mut used = fixed(pool);
    used.extend(
        taken
            .iter()
            .filter(|address| pool.subnet.contains(*address)),
    );
    // A router may lie outside: `-o onlink_gateway`.
    used.retain(|address| pool.subnet.contains(address));
    used.sort_unstable();
    used.dedup();
    let range = range(pool);
    let within = used
        .iter()
        .filter(|address| range.contains(**address))
        .count();
    let size = (number(range.last) - number(range.first)).saturating_add(1);
    let saturate = |count: u128| u64::try_from(count).unwrap_or(u64::MAX);
    (used.len() as u64, saturate(size - within as u128))
}

fn lowest_free(pool: &Pool, taken: &[IpAddr]) -> Option<IpNet> {
    let fixed = fixed(pool);
    let range = range(pool);
    let (first, last) = (number(range.first), number(range.last));
    let mut rest = taken[taken.partition_point(|address| *address < range.first)..].iter();
    let mut ahead = rest.next();
    (first..=last)
        .map(|candidate| address(range.first, candidate))
        .find(|candidate| {
            let mut free = !fixed.contains(candidate);
            while ahead == Some(candidate) {
                free = false;
                ahead = rest.next();
            }
            free
        })
        .map(|address| with_prefix(pool, address))
}

/// The addresses that are never given out.
fn fixed(pool: &Pool) -> Vec<IpAddr> {
    let own = own(pool).into_iter().map(|(address, _)| address);
    own.chain(pool.gateway)
        .chain(pool.aux.values().copied())
        .collect()
}

/// What the subnet has for itself, and how it is called.
fn own(pool: &Pool) -> Vec<(IpAddr, &'static str)> {
    let subnet = pool.subnet;
    if subnet.max_prefix_len() - subnet.prefix_len() < 2 {
        return Vec::new();
    }
    match subnet {
        IpNet::V4(_) => vec![
            (subnet.network(), "the network's own address"),
            (subnet.broadcast(), "the broadcast address"),
        ],
        IpNet::V6(_) => vec![(subnet.network(), "the anycast address of all routers")],
    }
}

/// What `address` is reserved for, if it is.
fn reserved(pool: &Pool, address: IpAddr) -> Option<String> {
    if let Some((_, what)) = own(pool).into_iter().find(|(own, _)| *own == address) {
        return Some(what.to_owned());
    }
    if pool.gateway == Some(address) {
        return Some("the gateway".to_owned());
    }
    let mut aux = pool.aux.iter();
    aux.find(|(_, reserved)| **reserved == address)
        .map(|(name, _)| format!("the auxiliary address {name:?}"))
}

fn range(pool: &Pool) -> IpRange {
    pool.ip_range.unwrap_or_else(|| pool.subnet.into())
}

fn with_prefix(pool: &Pool, address: IpAddr) -> IpNet {
    // The prefix length comes from a subnet of the same family, so it is one that there is.
    IpNet::new_assert(address, pool.subnet.prefix_len())
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address with this number, of the family of `like`.
fn address(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4((number as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    fn network(subnet: &str, range: Option<&str>, gateway: Option<&str>) -> Network {
        Network {
            name: "n".into(),
            id: "5e".into(),
            subnets: vec![Pool {
                subnet: subnet.parse().unwrap(),
                ip_range: range.map(|range| range.parse().unwrap()),
                gateway: gateway.map(|gateway| gateway.parse().unwrap()),
                aux: BTreeMap::new(),
            }],
            ..Network::predefined()[0].clone()
        }
    }

    fn addresses(network: &Network, count: usize) -> Vec<String> {
        let mut taken = Vec::new();
        while let Ok(next) = next(network, Family::V4, &taken) {
            if taken.len() == count {
                break;
            }
            taken.push(next.addr());
        }
        taken.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn the_tutorials_first_addresses() {
        let network = network("172.16.86.0/24", None, Some("172.16.86.1"));
        assert_eq!(addresses(&network, 2), ["172.16.86.2", "172.16.86.3"]);
        let taken = ["172.16.86.2", "172.16.86.4"].map(|a| a.parse().unwrap());
        let address = next(&network, Family::V4, &taken).unwrap();
        assert_eq!(address.to_string(), "172.16.86.3/24");
    }

    #[test]
    fn small_pools_are_used_up_to_the_last() {
        let all = |subnet, range, gateway| addresses(&network(subnet, range, gateway), 99);
        assert_eq!(all("10.0.0.0/30", None, Some("10.0.0.1")), ["10.0.0.2"]);
        assert_eq!(all("10.0.0.0/31", None, None), ["10.0.0.0", "10.0.0.1"]);
        assert_eq!(all("10.0.0.7/32", None, None), ["10.0.0.7"]);
        assert_eq!(
            all("10.0.0.0/24", Some("10.0.0.128/30"), None),
            ["10.0.0.128", "10.0.0.129", "10.0.0.130", "10.0.0.131"]
        );
        let top = all("255.255.255.252/30", None, None);
        assert_eq!(top, ["255.255.255.253", "255.255.255.254"]);
    }

    #[test]
    fn what_is_asked_for_is_checked() {
        let network = network(
            "172.16.86.0/24",
            Some("172.16.86.16/28"),
            Some("172.16.86.1"),
        );
        let ask = |text: &str| {
            let taken = ["172.16.86.9".parse().unwrap()];
            let asked = requested(&network, text.parse().unwrap(), &taken);
            asked
                .map(|net| net.to_string())
                .map_err(|refusal| refusal.to_string())
        };
        assert_eq!(ask("172.16.86.8").unwrap(), "172.16.86.8/24");
        assert_eq!(
            ask("10.0.0.1").unwrap_err(),
            "invalid endpoint settings:\nno configured subnet contains IP address 10.0.0.1"
        );
        assert_eq!(ask("172.16.86.9").unwrap_err(), "Address already in use");
        assert_eq!(
            ask("172.16.86.1").unwrap_err(),
            "Address already in use: 172.16.86.1 is the gateway of the network n"
        );
        for reserved in ["172.16.86.0", "172.16.86.255"] {
            assert!(
                ask(reserved)
                    .unwrap_err()
                    .starts_with("Address already in use")
            );
        }
    }

    #[test]
    fn a_full_pool_is_told_in_docker_s_words() {
        let network = network("10.0.0.0/30", None, Some("10.0.0.1"));
        let refusal = next(&network, Family::V4, &["10.0.0.2".parse().unwrap()]).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "no available IPv4 addresses on this network's address pools: n (5e)"
        );
    }

    #[test]
    fn a_huge_pool_is_no_burden() {
        let network = network("10.0.0.0/8", None, Some("10.0.0.1"));
        let taken: Vec<IpAddr> = (2..10_002)
            .map(|n| Ipv4Addr::from(0x0a00_0000 + n).into())
            .collect();
        assert_eq!(
            next(&network, Family::V4, &taken).unwrap().addr(),
            IpAddr::from([10, 0, 39, 18])
        );
        assert_eq!(
            count(&network.subnets[0], &taken),
            (10_003, (1 << 24) - 10_003)
        );
    }

    #[test]
    fn ipv6_has_no_broadcast_and_an_anycast_address() {
        let network = network("fd00::/126", None, Some("fd00::1"));
        let mut taken = Vec::new();
        while let Ok(address) = next(&network, Family::V6, &taken) {
            taken.push(address.addr());
        }
        let texts: Vec<String> = taken.iter().map(IpAddr::to_string).collect();
        assert_eq!(texts, ["fd00::2", "fd00::3"]);
        assert_eq!(count(&network.subnets[0], &taken), (4, 0));
        assert_eq!(
            next(&network, Family::V6, &taken).unwrap_err().to_string(),
            "no available IPv6 addresses on this network's address pools: n (5e)"
        );
        let whole = super::tests::network("fd00::/64", None, None);
        assert_eq!(count(&whole.subnets[0], &[]), (1, u64::MAX));
    }
}
