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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

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
        while let Ok(next) = next(network, &taken) {
            if taken.len() == count {
                break;
            }
            taken.push(next.addr());
        }
        taken.iter().map(Ipv4Addr::to_string).collect()
    }

    #[test]
    fn the_tutorials_first_addresses() {
        let network = network("172.16.86.0/24", None, Some("172.16.86.1"));
        assert_eq!(addresses(&network, 2), ["172.16.86.2", "172.16.86.3"]);
        let taken = ["172.16.86.2", "172.16.86.4"].map(|a| a.parse().unwrap());
        let address = next(&network, &taken).unwrap();
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
        let refusal = next(&network, &["10.0.0.2".parse().unwrap()]).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "no available IPv4 addresses on this network's address pools: n (5e)"
        );
    }

    #[test]
    fn a_huge_pool_is_no_burden() {
        let network = network("10.0.0.0/8", None, Some("10.0.0.1"));
        let taken: Vec<Ipv4Addr> = (2..10_002)
            .map(|n| Ipv4Addr::from(0x0a00_0000 + n))
            .collect();
        assert_eq!(
            next(&network, &taken).unwrap().addr(),
            Ipv4Addr::new(10, 0, 39, 18)
        );
        assert_eq!(
            count(&network.subnets[0], &taken),
            (10_003, (1 << 24) - 10_003)
        );
    }

    proptest! {
        #[test]
        fn next_is_the_lowest_that_may_be_given(
            base: u32,
            prefix in 22u8..=32,
            gateway_at in proptest::option::of(0u32..1024),
            aux_at in proptest::option::of(0u32..1024),
            range in proptest::option::of((22u8..=32, 0u32..1024)),
            taken_at in proptest::collection::vec(0u32..1024, 0..600),
        ) {
            let subnet = Ipv4Net::new(base.into(), prefix).unwrap().trunc();
            let at = |offset: u32| {
                let size = size(subnet) as u32;
                Ipv4Addr::from(u32::from(subnet.network()) + offset % size)
            };
            let range = range.map(|(longer, offset)| {
                Ipv4Net::new(at(offset), longer.max(prefix)).unwrap().trunc()
            });
            let mut network = network("0.0.0.0/0", None, None);
            network.subnets[0] = Pool {
                subnet: subnet.into(),
                ip_range: range.map(IpNet::from),
                gateway: gateway_at.map(|offset| at(offset).into()),
                aux: aux_at.map(|offset| ("a".to_owned(), at(offset).into())).into_iter().collect(),
            };
            let mut taken: Vec<Ipv4Addr> = taken_at.into_iter().map(at).collect();
            taken.sort_unstable();
            // Whatever can be asked for by name, inside the range, is what can be given.
            let lowest = range.unwrap_or(subnet);
            let lowest = (u32::from(lowest.network())..=u32::from(lowest.broadcast()))
                .map(Ipv4Addr::from)
                .find(|address| requested(&network, *address, &taken).is_ok());
            prop_assert_eq!(next(&network, &taken).ok().map(|net| net.addr()), lowest);
            let (_, available) = count(&network.subnets[0], &taken);
            prop_assert_eq!(available == 0, lowest.is_none());
        }
    }
}
