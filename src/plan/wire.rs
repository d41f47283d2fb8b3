//! The order of the network's steps: links first, then the questions to the LAN, then the addresses.
//!
//! Whether somebody has an address can be asked only through a link that is up, and must be asked before
//! the link has the address. So where a network wants its addresses looked for, they come after the
//! link is up, all together, since the waiting is what costs time.

use std::path::PathBuf;

use oci_spec::runtime::Spec;

use crate::net::allow::Allowed;
use crate::net::conflict::beside::Beside;
use crate::net::conflict::{self, Target};
use crate::net::dhcp;
use crate::net::endpoint::{Endpoint, Probe};
use crate::net::link;
use crate::net::network::{Ipam, Kind, MacvlanMode};
use crate::step::Step;

/// Who a container is to a DHCP server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its host name.
    pub hostname: String,
    /// The file that gets the server's name servers; `None` where the user has named others.
    pub resolv_conf: Option<PathBuf>,
}

/// The steps for a container with these endpoints, whose programs are allowed these things.
pub fn wire(endpoints: &[Endpoint], client: &Client, allowed: &[Allowed]) -> Vec<Step> {
    let known: Vec<Endpoint> = endpoints.iter().map(without_lease).collect();
    let mut steps = link::plan(&known);
    // What the user sets of a link comes after it, and the first link that was made tells how settings are found best.
    let at = steps
        .iter()
        .position(|step| matches!(step, link::Step::Setting { .. } | link::Step::Up { .. }));
    let at = at.unwrap_or(steps.len());
    steps.splice(at..at, allowed.iter().copied().map(link::Step::Allow));
    order(steps, endpoints, client)
}

/// The steps for a bundle: the loopback of a network namespace of its `own`, and what `linux.netDevices` asks for.
pub fn of_bundle(spec: &Spec, own: bool) -> Vec<link::Step> {
    let linux = spec.linux().as_ref();
    let devices = linux.and_then(|linux| linux.net_devices().as_ref());
    let mut bring: Vec<link::Step> = devices
        .into_iter()
        .flatten()
        .map(|(name, device)| {
            let new = device.name().clone().filter(|new| !new.is_empty());
            link::Step::Bring {
                name: name.clone(),
                new: new.unwrap_or_else(|| name.clone()),
            }
        })
        .collect();
    // The specification has them in a map: an order that is always the same.
    bring.sort_by_key(ToString::to_string);
    let mut steps = match own {
        true => link::plan(&[]),
        false => vec![],
    };
    steps.extend(bring);
    steps
}

/// What a DHCP server gave the last time is asked for, not used.
pub fn without_lease(endpoint: &Endpoint) -> Endpoint {
    let mut endpoint = endpoint.clone();
    if endpoint.ipam == Ipam::Dhcp {
        (endpoint.ipv4, endpoint.gateway) = (None, None);
    }
    endpoint
}

/// The steps for one more link of a running container, but for the default routes, and for the DHCP
/// client, which is its monitor's.
pub fn wire_one(endpoint: &Endpoint) -> Vec<Step> {
    let endpoint = Endpoint {
        ipam: Ipam::Default,
        ..without_lease(endpoint)
    };
    let steps = link::plan_link(&endpoint);
    order(steps, std::slice::from_ref(&endpoint), &Client::default())
}

/// What is asked for on the LAN before the endpoint's addresses are used.
pub fn targets(endpoint: &Endpoint) -> Vec<Target> {
    let Some(mac) = endpoint.mac.filter(|_| is_probing(endpoint)) else {
        return vec![];
    };
    let reachable = match endpoint.kind {
        Kind::Macvlan { mode, .. } => mode == MacvlanMode::Bridge,
        Kind::Ipvlan { .. } => false,
    };
    let beside = endpoint.ipv4.map(|net| Beside {
        parent: endpoint.parent.link.clone(),
        subnet: net.trunc(),
        reachable,
    });
    let target = |address| Target {
        dev: endpoint.ifname.clone(),
        mac,
        address,
        beside: beside.clone(),
    };
    endpoint.addresses().map(|net| target(net.addr())).collect()
}

/// As whom the endpoint asks a DHCP server, if it does.
pub fn dhcp_identity(endpoint: &Endpoint, client: &Client) -> Option<dhcp::Identity> {
    Some(dhcp::Identity {
        dev: endpoint.ifname.clone(),
        mac: endpoint.mac.filter(|_| endpoint.ipam == Ipam::Dhcp)?,
        client_id: client.name.clone(),
        hostname: client.hostname.clone(),
        last: endpoint.ipv4.map(|net| net.addr()),
        probe: endpoint.probe,
    })
}

fn order(steps: Vec<link::Step>, endpoints: &[Endpoint], client: &Client) -> Vec<Step> {
    let of = |dev: &str| endpoints.iter().find(|endpoint| endpoint.ifname == dev);
    let (mut early, mut late) = (vec![], vec![]);
    for step in steps {
        match step {
            link::Step::AddAddress { dev, address, .. } if of(&dev).is_some_and(is_probing) => {
                // Asked for by us: the kernel's own look at an IPv6 address would take a second more.
                let probe = Probe::Off;
                late.push(link::Step::AddAddress {
                    dev,
                    address,
                    probe,
                });
            }
            link::Step::Route(_) => late.push(step),
            step => early.push(step),
        }
    }
    let targets: Vec<Target> = endpoints.iter().flat_map(targets).collect();
    let mut ordered: Vec<Step> = early.into_iter().map(Step::Link).collect();
    if !targets.is_empty() {
        ordered.push(Step::Conflict(conflict::Step::Probe(targets)));
    }
    ordered.extend(endpoints.iter().filter_map(|endpoint| {
        Some(Step::Dhcp(dhcp::Step::Obtain {
            identity: dhcp_identity(endpoint, client)?,
            resolv_conf: client.resolv_conf.clone(),
            internal: endpoint.internal,
        }))
    }));
    ordered.extend(late.into_iter().map(Step::Link));
    ordered
}

/// A macvlan's address can be asked for; a link without ARP, or with its parent's MAC, is left alone.
fn is_probing(endpoint: &Endpoint) -> bool {
    endpoint.probe == Probe::On
        && endpoint.mac.is_some()
        && !endpoint.kind.is_layer_3()
        && endpoint.ipam != Ipam::Dhcp
}
