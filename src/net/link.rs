//! The link: how a container gets its `eth0`.
//!
//! A new network namespace is empty but for a loopback that is down. A macvlan is a link of its own
//! hardware address on top of a link of the host, the parent: frames that come in for that address go
//! to the macvlan, what it sends goes out of the parent as it is. So the container is a station of its
//! own on the LAN, with no NAT and no bridge in between. The one thing that it cannot reach is the
//! host itself, since the parent does not look at what its own macvlans send.
//!
//! The kernel is told by messages, rtnetlink(7); [`super::netlink`] writes them.

mod later;
mod refusal;
mod routes;
mod why;
mod words;

pub use later::{plan_lease, silence, undo};
pub use routes::plan_default_routes;

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use nix::errno::Errno;

use super::allow::Allowed;
use super::endpoint::{Endpoint, Mac, Probe};
use super::lower;
use super::netlink::Wires;
use super::network::{Ipv6Policy, Kind, Lower};

/// One thing to do for the network of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes sure that a link of the host's that rmac makes is there: see [`lower`].
    Lower(Lower),
    /// Waits until the host has the link that the container's will sit on.
    AwaitParent {
        /// The host's link.
        link: String,
        /// How long, in seconds.
        seconds: u32,
    },
    /// Switches the loopback on.
    LoopbackUp,
    /// Makes a macvlan or ipvlan, straight into the container's network namespace.
    Make(NewLink),
    /// Moves a link of the host's into the container: see [`Wires::bring_link`].
    Bring {
        /// The link, as the host names it.
        name: String,
        /// Its name in the container.
        new: String,
    },
    /// Keeps IPv6 off the link.
    DisableIpv6 {
        /// The link, as the container names it.
        dev: String,
    },
    /// Whether the link takes addresses and routes from what routers advertise.
    Advertisements {
        /// The link, as the container names it.
        dev: String,
        /// Which policy the network has.
        policy: Ipv6Policy,
    },
    /// Has the kernel tell the LAN about the address as soon as the link is up.
    Announce {
        /// The link, as the container names it.
        dev: String,
    },
    /// The same for IPv6 addresses.
    AnnounceIpv6 {
        /// The link, as the container names it.
        dev: String,
    },
    /// Gives the link an address.
    AddAddress {
        /// The link, as the container names it.
        dev: String,
        /// The address with the prefix length of its subnet.
        address: IpNet,
        /// Whether the kernel looks for another owner of an IPv6 address first.
        probe: Probe,
    },
    /// Switches the link on.
    Up {
        /// The link, as the container names it.
        dev: String,
    },
    /// Says where packets go that are not for the LAN itself.
    Route(NewRoute),
    /// Allows every program in the network namespace what else takes a capability.
    Allow(Allowed),
    /// Writes a setting of the link's own, `driver-opt=com.docker.network.endpoint.sysctls`.
    Setting {
        /// The file below /proc/sys.
        path: String,
        /// What it becomes.
        value: String,
    },
}

/// A link that is to be made for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLink {
    /// The name it gets in the container.
    pub name: String,
    /// The host's link below it.
    pub parent: String,
    /// What it is.
    pub kind: Kind,
    /// Its hardware address; `None` leaves it to the kernel.
    pub mac: Option<Mac>,
    /// Largest packet in bytes; `None` takes the parent's.
    pub mtu: Option<u32>,
}

/// A route that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoute {
    /// Where to; a prefix of length zero is the default route.
    pub dst: IpNet,
    /// Through which router; `None`: whoever is meant is on the link itself.
    pub via: Option<IpAddr>,
    /// The link, as the container names it.
    pub dev: String,
    /// The lower, the better; `None` is the kernel's default.
    pub metric: Option<u32>,
}

/// The steps for a container with these `endpoints`; without any, it has a loopback and nothing else.
pub fn plan(endpoints: &[Endpoint]) -> Vec<Step> {
    let mut steps = vec![Step::LoopbackUp];
    steps.extend(endpoints.iter().flat_map(plan_link));
    steps.extend(plan_default_routes(endpoints));
    steps
}

/// The steps for one endpoint, but for the default route, which depends on the others.
pub fn plan_link(endpoint: &Endpoint) -> Vec<Step> {
    let dev = || endpoint.ifname.clone();
    let mut steps = later::plan_wait(endpoint);
    steps.extend(lower::plan(&endpoint.parent).into_iter().map(Step::Lower));
    steps.push(Step::Make(NewLink {
        name: dev(),
        parent: endpoint.parent.link.clone(),
        kind: endpoint.kind,
        mac: endpoint.mac,
        mtu: endpoint.mtu,
    }));
    steps.push(match endpoint.ipv6_policy {
        Ipv6Policy::Off => Step::DisableIpv6 { dev: dev() },
        policy => Step::Advertisements { dev: dev(), policy },
    });
    // Before the link is up, since the kernel announces what is there at that moment.
    if !endpoint.kind.is_layer_3() && endpoint.announce.count > 0 {
        steps.push(Step::Announce { dev: dev() });
        if endpoint.ipv6_policy != Ipv6Policy::Off {
            steps.push(Step::AnnounceIpv6 { dev: dev() });
        }
    }
    steps.extend(endpoint.addresses().map(|address| Step::AddAddress {
        dev: dev(),
        address,
        probe: endpoint.probe,
    }));
    steps.extend(settings(endpoint));
    steps.push(Step::Up { dev: dev() });
    steps.extend(endpoint.routes.iter().map(|route| {
        Step::Route(NewRoute {
            dst: route.dst,
            via: Some(route.via),
            dev: dev(),
            metric: route.metric,
        })
    }));
    steps
}

/// The settings that `driver-opt` asks for; IFNAME stands for the link's name, as in Docker.
fn settings(endpoint: &Endpoint) -> Vec<Step> {
    let asked = endpoint
        .driver_opts
        .get("com.docker.network.endpoint.sysctls");
    let pairs = asked.iter().flat_map(|text| text.split(','));
    pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| Step::Setting {
            path: format!(
                "/proc/sys/{}",
                name.replace('.', "/").replace("IFNAME", &endpoint.ifname)
            ),
            value: value.to_owned(),
        })
        .collect()
}

impl Step {
    /// Has the kernel do it.
    pub fn take(&self, wires: &mut Wires) -> Result<()> {
        match self {
            Step::Lower(lower) => lower.take(wires),
            Step::AwaitParent { link, seconds } => later::wait_for(link, *seconds, wires),
            Step::LoopbackUp => wires.set_up("lo").map_err(Into::into),
            Step::Make(link) => {
                let made = wires.make_link(link);
                made.map_err(|refused| refusal::of_making(link, refused, wires))
            }
            Step::Bring { name, new } => wires.bring_link(name, new).map_err(Into::into),
            // A kernel without IPv6 has nothing to switch off.
            Step::DisableIpv6 { dev } => {
                wires.write_setting_if_there(&words::disable_ipv6(dev), "1")
            }
            Step::Advertisements { dev, policy } => words::advertisements(dev, *policy)
                .iter()
                .try_for_each(|(path, value)| wires.write_setting_if_there(path, value)),
            Step::Announce { dev } => wires.write_setting_if_there(&words::arp_notify(dev), "1"),
            Step::AnnounceIpv6 { dev } => {
                wires.write_setting_if_there(&words::ndisc_notify(dev), "1")
            }
            Step::AddAddress {
                dev,
                address,
                probe,
            } => {
                let added = wires.add_address(dev, *address, *probe);
                added.map_err(|refused| refusal::of_address(dev, *address, refused))
            }
            Step::Up { dev } => refusal::up(wires, dev),
            Step::Route(route) => {
                let added = wires.add_route(route);
                added.map_err(|refused| refusal::of_route(route, refused))
            }
            Step::Allow(allowed) => wires.write_setting_if_there(allowed.path(), allowed.value()),
            Step::Setting { path, value } => wires.write_setting_if_there(path, value),
        }
    }

    /// Takes it back. Only the link itself needs it, the rest goes with it. It is deleted explicitly,
    /// since a network namespace that dies takes its links down some time later, and until then the
    /// hardware address (which follows from the IP address) is in use: EADDRINUSE for the next one.
    /// The links below stay: they belong to the network.
    pub fn undo(&self, wires: &mut Wires) -> Result<()> {
        match self {
            Step::Make(link) => match wires.delete_link(&link.name) {
                Err(refused) if refused.errno == Errno::ENODEV => Ok(()),
                result => result.map_err(Into::into),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
