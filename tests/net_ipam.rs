//! Which address comes next, in pools of ten thousand and more: properties, tried on random pools.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use rmac::net::ipam::{self, Family, Refusal};
use rmac::net::network::{IpRange, Network, Pool};

/// A network with this pool.
fn network(pool: Pool) -> Network {
    Network {
        name: "n".into(),
        id: "5e".into(),
        subnets: vec![pool],
        ..Network::predefined()[0].clone()
    }
}

/// The address `offset` above the start of `net`, around and around.
fn at(net: IpNet, offset: u32) -> IpAddr {
    let size = 1u64 << (net.max_prefix_len() - net.prefix_len());
    let offset = u64::from(offset) % size;
    match net.network() {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first) + offset as u32).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first) + u128::from(offset)).into(),
    }
}

/// A subnet of the host part's length `bits`, in either family.
fn subnet(base: u128, is_ipv6: bool, bits: u8) -> IpNet {
    match is_ipv6 {
        true => Ipv6Net::new(base.into(), 128 - bits)
            .unwrap()
            .trunc()
            .into(),
        false => Ipv4Net::new((base as u32).into(), 32 - bits)
            .unwrap()
            .trunc()
            .into(),
    }
}

fn pool(net: IpNet, range: Option<(u32, u32)>, gateway: Option<u32>, aux: &[u32]) -> Pool {
    Pool {
        subnet: net,
        ip_range: range.map(|(a, b)| {
            let (a, b) = (at(net, a), at(net, b));
            IpRange {
                first: a.min(b),
                last: a.max(b),
            }
        }),
        gateway: gateway.map(|offset| at(net, offset)),
        aux: aux
            .iter()
            .map(|offset| (offset.to_string(), at(net, *offset)))
            .collect::<BTreeMap<_, _>>(),
    }
}

/// What nobody may ever get, worked out the plain way.
fn reserved(pool: &Pool) -> BTreeSet<IpAddr> {
    let mut all: BTreeSet<IpAddr> = pool.aux.values().copied().collect();
    all.extend(pool.gateway);
    if pool.subnet.max_prefix_len() - pool.subnet.prefix_len() > 1 {
        all.insert(pool.subnet.network());
        if pool.subnet.addr().is_ipv4() {
            all.insert(pool.subnet.broadcast());
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Small pools, where every address can be looked at.
    #[test]
    fn next_is_the_lowest_that_may_be_given(
        base: u128,
        is_ipv6: bool,
        bits in 0u8..=10,
        gateway in proptest::option::of(0u32..1024),
        aux in proptest::collection::vec(0u32..1024, 0..3),
        range in proptest::option::of((0u32..1024, 0u32..1024)),
        taken in proptest::collection::vec(0u32..1024, 0..600),
    ) {
        let net = subnet(base, is_ipv6, bits);
        let network = network(pool(net, range, gateway, &aux));
        let mut taken: Vec<IpAddr> = taken.into_iter().map(|offset| at(net, offset)).collect();
        taken.sort_unstable();
        let inside = |address: &IpAddr| {
            network.subnets[0].ip_range.is_none_or(|range| range.contains(*address))
        };
        // Whatever can be asked for by name, inside the range, is what can be given.
        let lowest = (0..1u32 << bits)
            .map(|offset| at(net, offset))
            .filter(inside)
            .find(|address| ipam::requested(&network, *address, &taken).is_ok());
        let family = Family::of(net.addr());
        prop_assert_eq!(ipam::next(&network, family, &taken).ok().map(|net| net.addr()), lowest);
        let (_, available) = ipam::count(&network.subnets[0], &taken);
        prop_assert_eq!(available == 0, lowest.is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Ten thousand containers come, some go, others come: in a pool of 16384 addresses.
    #[test]
    fn ten_thousand_come_and_go(
        base: u128,
        is_ipv6: bool,
        gateway in 0u32..16384,
        aux in proptest::collection::vec(0u32..16384, 0..20),
        range in proptest::option::of((0u32..1000, 11000u32..16384)),
        asked in proptest::collection::vec(0u32..16384, 50),
        gone in proptest::collection::vec(0usize..10_000, 50),
    ) {
        let net = subnet(base, is_ipv6, 14);
        let network = network(pool(net, range, Some(gateway), &aux));
        let pool = &network.subnets[0];
        let reserved = reserved(pool);
        let inside = |address: &IpAddr| pool.ip_range.is_none_or(|range| range.contains(*address));
        let family = Family::of(net.addr());
        let mut free: BTreeSet<IpAddr> = (0..16384)
            .map(|offset| at(net, offset))
            .filter(|address| inside(address) && !reserved.contains(address))
            .collect();
        // The first ten thousand, by the plain model: the lowest first.
        let mut taken: Vec<IpAddr> = free.iter().take(10_000).copied().collect();
        free.retain(|address| taken.binary_search(address).is_err());
        let mut owners: BTreeSet<IpAddr> = taken.iter().copied().collect();
        for (asked, gone) in asked.iter().zip(&gone) {
            // One is asked for by name.
            let address = at(net, *asked);
            match ipam::requested(&network, address, &taken) {
                Ok(given) => {
                    prop_assert_eq!(given.addr(), address);
                    prop_assert!(!reserved.contains(&address));
                    prop_assert!(owners.insert(address), "two owners of {}", address);
                    free.remove(&address);
                }
                Err(Refusal::Taken(_)) => prop_assert!(owners.contains(&address)),
                Err(Refusal::Reserved { .. }) => prop_assert!(reserved.contains(&address)),
                Err(other) => prop_assert!(false, "{}", other),
            }
            taken = owners.iter().copied().collect();
            // One comes and takes what there is.
            let given = ipam::next(&network, family, &taken);
            prop_assert_eq!(given.as_ref().ok().map(IpNet::addr), free.first().copied());
            if let Ok(given) = given {
                prop_assert_eq!(given.prefix_len(), net.prefix_len());
                prop_assert!(inside(&given.addr()) && !reserved.contains(&given.addr()));
                prop_assert!(owners.insert(given.addr()), "two owners of {}", given.addr());
                free.remove(&given.addr());
            }
            // One goes; its address is the lowest free one, or above it.
            let leaves = *owners.iter().nth(gone % owners.len()).unwrap();
            owners.remove(&leaves);
            if inside(&leaves) {
                free.insert(leaves);
            }
            taken = owners.iter().copied().collect();
            let (in_use, available) = ipam::count(pool, &taken);
            prop_assert_eq!(available, free.len() as u64);
            prop_assert_eq!(in_use, owners.union(&reserved).count() as u64);
        }
        // Until nothing is left, and that is told.
        owners.extend(&free);
        taken = owners.iter().copied().collect();
        let full = matches!(ipam::next(&network, family, &taken), Err(Refusal::Full { .. }));
        prop_assert!(full);
        if let Some(last) = free.last() {
            owners.remove(last);
            taken = owners.iter().copied().collect();
            let given = ipam::next(&network, family, &taken).map(|net| net.addr());
            prop_assert_eq!(given, Ok(*last));
        }
    }
}
