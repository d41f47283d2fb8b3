//! From a request to a lease, and from a lease to an endpoint: no files here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail, ensure};

use super::{Lease, Request};
use crate::net::declare;
use crate::net::endpoint::{Endpoint, Mac, Probe};
use crate::net::ipam::{self, Family, Refusal};
use crate::net::network::{Driver, Ipv6Policy, Kind, Network};

/// The address of each family that the network gives out or that is asked for.
pub fn choose(
    network: &Network,
    request: &Request,
    taken: &[IpAddr],
) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), Refusal> {
    let one = |family: Family, asked: Option<IpAddr>| {
        let mut pools = network.subnets.iter();
        let has = pools.any(|pool| Family::of(pool.subnet.addr()) == family);
        match asked {
            Some(address) => ipam::requested(network, address, taken).map(Some),
            None if has => ipam::next(network, family, taken).map(Some),
            None => Ok(None),
        }
    };
    let ipv4 = one(Family::V4, request.ip.map(IpAddr::V4))?;
    let ipv6 = one(Family::V6, request.ip6.map(IpAddr::V6))?;
    let ipv4 = ipv4.and_then(|net| match net.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let ipv6 = ipv6.and_then(|net| match net.addr() {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    Ok((ipv4, ipv6))
}

/// The link's hardware address: that which is asked for, or one that follows from the address; where
/// there is no address, one of the endpoint's own. It stays with the lease.
pub fn hardware_address(
    network: &Network,
    request: &Request,
    chosen: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    endpoint_id: &str,
) -> Result<Option<Mac>> {
    if let Driver::Lan(Kind::Ipvlan { .. }) = network.driver {
        ensure!(
            request.mac.is_none(),
            "conflicting options: --mac-address and the ipvlan network {}: an ipvlan has the hardware address of its parent",
            network.name
        );
        return Ok(None);
    }
    Ok(Some(match (request.mac, chosen) {
        (Some(mac), _) => mac,
        (None, (Some(address), _)) => Mac::of(address),
        (None, (None, Some(address))) => Mac::of_ipv6(address),
        (None, (None, None)) => {
            let digits = u32::from_str_radix(&endpoint_id[..8], 16).unwrap_or_default();
            Mac::of(Ipv4Addr::from(digits))
        }
    }))
}

/// The endpoint that a lease is for.
pub fn endpoint(network: &Network, request: &Request, lease: &Lease) -> Result<Endpoint> {
    let Driver::Lan(kind) = network.driver else {
        bail!("the network {} gives its containers no link", network.name)
    };
    let subnet = |address: IpAddr| {
        ipam::pool_of(network, address)
            .map(|pool| pool.subnet.prefix_len())
            .with_context(|| format!("no subnet of {} has {address}", network.name))
    };
    let ipv4 = match lease.ipv4 {
        Some(address) => Some(ipnet::Ipv4Net::new(address, subnet(address.into())?)?),
        None => None,
    };
    let ipv6 = match lease.ipv6 {
        Some(address) => Some(ipnet::Ipv6Net::new(address, subnet(address.into())?)?),
        None => None,
    };
    let gateway = |address: Option<IpAddr>| ipam::gateway(network, address?);
    let has_family = |route: &&crate::net::network::Route| match route.via {
        IpAddr::V4(_) => ipv4.is_some(),
        IpAddr::V6(_) => ipv6.is_some() || network.ipv6 == Ipv6Policy::Slaac,
    };
    Ok(Endpoint {
        network: network.name.clone(),
        network_id: network.id.clone(),
        endpoint_id: lease.endpoint.clone(),
        kind,
        parent: network.parent.clone(),
        mtu: network.mtu,
        ifname: match request.ifname.as_str() {
            "" => "eth0".to_owned(),
            name => name.to_owned(),
        },
        mac: lease.mac,
        ipv4,
        gateway: gateway(lease.ipv4.map(IpAddr::V4)).and_then(|gateway| match gateway {
            IpAddr::V4(gateway) => Some(gateway),
            IpAddr::V6(_) => None,
        }),
        ipv6,
        ipv6_gateway: gateway(lease.ipv6.map(IpAddr::V6)).and_then(|gateway| match gateway {
            IpAddr::V6(gateway) => Some(gateway),
            IpAddr::V4(_) => None,
        }),
        ipv6_policy: network.ipv6,
        ipam: network.ipam,
        probe: probe(network),
        announce: declare::announce(&network.options)?,
        parent_wait: declare::parent_wait(&network.options)?,
        gw_priority: request.gw_priority,
        routes: network.routes.iter().filter(has_family).cloned().collect(),
        driver_opts: request.driver_opts.clone(),
        requested_ipv4: request.ip,
        requested_ipv6: request.ip6,
        requested_mac: request.mac,
        aliases: request.aliases.clone(),
        internal: network.internal,
    })
}

/// Whether addresses are looked for on the LAN first: `-o conflict`. Where nothing leads out there is
/// nobody to ask.
fn probe(network: &Network) -> Probe {
    match network.options.get("conflict").map(String::as_str) {
        Some("off") => Probe::Off,
        _ if network.parent.is_isolated() => Probe::Off,
        _ => Probe::On,
    }
}
