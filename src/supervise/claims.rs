//! A place on a network: claimed, given up for another when somebody on the LAN has the address already.

use std::net::IpAddr;

use anyhow::{Result, bail};

use crate::net::conflict::Conflict;
use crate::net::endpoint::{Endpoint, Mac};
use crate::net::host_access;
use crate::net::network::Network;
use crate::request::{NetworkMode, NetworkRequest};
use crate::store::containers::Record;
use crate::store::{Home, foreign, leases, networks};

/// How many addresses are passed over before the search is given up.
const MOST: usize = 64;

/// Claims a place on `network` for the container of `record`, as `wanted` asks for. An address that
/// this host has itself is nobody's.
pub fn claim(
    home: &Home,
    network: &Network,
    record: &Record,
    wanted: &NetworkRequest,
) -> Result<Endpoint> {
    for _ in 0..MOST {
        let request = leases::Request {
            container: record.id.clone(),
            name: record.name.clone(),
            ip: wanted.ipv4,
            ip6: wanted.ipv6,
            mac: wanted.mac.as_deref().map(str::parse).transpose()?,
            aliases: wanted.aliases.clone(),
            ifname: ifname(wanted, &record.endpoints)?,
            avoid: avoid(home, network, wanted),
            gw_priority: wanted.gw_priority,
            driver_opts: wanted.driver_opts.clone(),
        };
        let endpoint = leases::claim(home, network, request)?;
        let Some((address, dev, mac)) = own(&endpoint) else {
            return Ok(endpoint);
        };
        leases::release(home, &network.id, &record.id)?;
        if is_requested(wanted, address) {
            bail!(
                "address {address} is this host's own, on {dev}: a container on the same LAN needs another one"
            );
        }
        foreign::add(home, &network.id, address, mac)?;
    }
    bail!(
        "found no address in {} that is free on the LAN",
        network.name
    )
}

/// Gives up the address of `conflict` and claims the next one, in `record`; what to tell the user.
///
/// # Errors
/// The conflict itself, where the user asked for just that address.
pub fn decline(home: &Home, record: &mut Record, conflict: &Conflict) -> Result<String> {
    let concerned = |endpoint: &Endpoint| {
        endpoint
            .addresses()
            .any(|net| net.addr() == conflict.address)
    };
    let Some(at) = record.endpoints.iter().position(concerned) else {
        bail!(conflict.clone());
    };
    let old = record.endpoints[at].clone();
    let wanted = request_of(record, &old);
    if is_requested(&wanted, conflict.address) {
        bail!(conflict.clone());
    }
    let network = networks::load(home, &old.network_id)?;
    foreign::add(home, &network.id, conflict.address, conflict.owner)?;
    leases::release(home, &network.id, &record.id)?;
    record.endpoints.remove(at);
    let endpoint = claim(home, &network, record, &wanted)?;
    let taken: Vec<String> = endpoint
        .addresses()
        .map(|net| net.addr().to_string())
        .collect();
    record.endpoints.insert(at, endpoint);
    record.save(home)?;
    Ok(format!(
        "rmac: address {} is in use on the LAN already, by {}; taking {}\n",
        conflict.address,
        conflict.owner,
        taken.join(" and ")
    ))
}

/// What was seen on the LAN lately. An address that is asked for is looked for anew.
fn avoid(home: &Home, network: &Network, wanted: &NetworkRequest) -> Vec<IpAddr> {
    let mut seen = foreign::list(home, &network.id);
    seen.retain(|address| !is_requested(wanted, *address));
    // The host's own address on this network, though its link may not be there just now.
    let shim = host_access::shim(network).ok().flatten();
    seen.extend(shim.iter().flat_map(|shim| shim.own.addresses()));
    seen
}

/// What was asked for when the endpoint was made; its interface keeps its name.
fn request_of(record: &Record, endpoint: &Endpoint) -> NetworkRequest {
    let asked = match &record.request.network {
        NetworkMode::Networks(wanted) => wanted.iter().find(|wanted| {
            wanted.name == endpoint.network || endpoint.network_id.starts_with(&wanted.name)
        }),
        _ => None,
    };
    NetworkRequest {
        ifname: Some(endpoint.ifname.clone()),
        ..asked.cloned().unwrap_or_default()
    }
}

fn is_requested(wanted: &NetworkRequest, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => wanted.ipv4 == Some(address),
        IpAddr::V6(address) => wanted.ipv6 == Some(address),
    }
}

/// The interface's name: the one that is asked for, or the lowest free `ethN`.
fn ifname(wanted: &NetworkRequest, taken: &[Endpoint]) -> Result<String> {
    let is_taken = |name: &str| taken.iter().any(|endpoint| endpoint.ifname == name);
    match &wanted.ifname {
        Some(name) if is_taken(name) => {
            bail!("the container has an interface {name} already: give this one another name")
        }
        Some(name) => Ok(name.clone()),
        None => Ok((0..)
            .map(|number| format!("eth{number}"))
            .find(|name| !is_taken(name))
            .unwrap_or_default()),
    }
}

/// The address of the endpoint that a link of this host has itself, the link's name, and its MAC.
fn own(endpoint: &Endpoint) -> Option<(IpAddr, String, Mac)> {
    let wanted: Vec<IpAddr> = endpoint.addresses().map(|net| net.addr()).collect();
    if wanted.is_empty() {
        return None;
    }
    let interfaces: Vec<_> = nix::ifaddrs::getifaddrs().ok()?.collect();
    let (address, dev) = interfaces.iter().find_map(|interface| {
        let storage = interface.address?;
        let ipv4 = storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        let ipv6 = storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()));
        let address = ipv4.or(ipv6).filter(|address| wanted.contains(address))?;
        Some((address, interface.interface_name.clone()))
    })?;
    let mac = interfaces
        .iter()
        .filter(|interface| interface.interface_name == dev)
        .find_map(|interface| interface.address?.as_link_addr()?.addr());
    Some((address, dev, Mac(mac.unwrap_or_default())))
}
