//! Messages that make something: links, addresses, routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::link::{
    BridgeVlanInfoFlags, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, IpVlanFlags,
    IpVlanMode, LinkAttribute, LinkMessage, MacVlanMode,
};
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol, RouteScope};
use rtnetlink::{
    LinkBridge, LinkBridgeVlan, LinkDummy, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVlan,
    RouteMessageBuilder,
};

use super::{Refused, Wires};
use crate::net::conflict::beside::is_crowded;
use crate::net::endpoint::Probe;
use crate::net::link::{NewLink, NewRoute};
use crate::net::network::{self, Kind};

/// How a bridge's port belongs to a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Its frames carry the tag.
    Tagged,
    /// Frames without a tag are its, in both directions.
    Untagged,
}

impl Wires {
    /// Makes a container's link in the network namespace, on a parent in the caller's.
    pub fn make_link(&mut self, link: &NewLink) -> Result<(), Refused> {
        let outside = self.outside()?;
        let driver = link.kind.driver();
        let request = format!("make the {driver} {} on {}", link.name, link.parent);
        // One call, where the message that describes the link takes ten times as long.
        let parent = nix::net::if_::if_nametoindex(link.parent.as_str());
        let parent = parent.map_err(|errno| Refused {
            request: format!("look for the link {}", link.parent),
            errno,
        })?;
        // An ipvlan has its parent's hardware address, so how many there are is not to be seen.
        let countable = matches!(link.kind, Kind::Macvlan { .. });
        let among_many = countable.then(|| is_crowded(parent).ok()).flatten();
        self.made.push((link.name.clone(), among_many));
        let netns = self.netns.as_raw_fd();
        let message = |name: &str| link_message(link, name, parent, netns);
        let result = self.wait(&request, outside.link().add(message(&link.name)).execute());
        match result {
            // Kernels before 6.15 look for the name in the parent's network namespace, too, where
            // the host's own eth0 is: a name that nobody has, and a change of name inside.
            Err(refused) if refused.errno == Errno::EEXIST => {
                let temporary = format!("mv{:08x}", std::process::id());
                self.wait(&request, outside.link().add(message(&temporary)).execute())?;
                let renamed = self.rename(&temporary, &link.name);
                if renamed.is_err() {
                    self.delete_link(&temporary)?;
                }
                renamed
            }
            result => result,
        }
    }

    /// Makes the sub-interface `name` of `base` with the tag `vid`, in the caller's network namespace.
    pub fn make_vlan(&mut self, name: &str, base: &str, vid: u16) -> Result<(), Refused> {
        let outside = self.outside()?;
        let index = self.find(&outside, base)?.index;
        let message = LinkVlan::new(name, index, vid).build();
        let request = outside.link().add(message).execute();
        self.wait(&format!("make the VLAN {vid} of {base}"), request)
    }

    /// Makes a dummy, in the caller's network namespace.
    pub fn make_dummy(&mut self, name: &str) -> Result<(), Refused> {
        let outside = self.outside()?;
        let message = LinkDummy::new(name).up().build();
        let request = outside.link().add(message).execute();
        self.wait(&format!("make the dummy {name}"), request)
    }

    /// Makes a bridge, in the caller's network namespace.
    pub fn make_bridge_outside(&mut self, name: &str) -> Result<(), Refused> {
        let outside = self.outside()?;
        let message = LinkBridge::new(name).up().build();
        let request = outside.link().add(message).execute();
        self.wait(&format!("make the bridge {name}"), request)
    }

    /// Gives the link `name` the address, with the broadcast address that goes with it.
    pub fn add_address(&mut self, name: &str, address: IpNet, probe: Probe) -> Result<(), Refused> {
        let index = self.index(name)?;
        let (ip, prefix) = (address.addr(), address.prefix_len());
        let mut request = self.inside.address().add(index, ip, prefix);
        if ip.is_ipv6() && probe == Probe::Off {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.wait(
            &format!("give {name} the address {address}"),
            request.execute(),
        )
    }

    /// Adds a route.
    pub fn add_route(&mut self, route: &NewRoute) -> Result<(), Refused> {
        let message = route_message(route, self.index(&route.dev)?);
        let request = self.inside.route().add(message).execute();
        let what = match (route.dst.prefix_len(), route.via) {
            (0, Some(via)) => format!("add the default route via {via} dev {}", route.dev),
            (0, None) => format!("add the default route dev {}", route.dev),
            (_, via) => format!(
                "add the route to {}{} dev {}",
                route.dst,
                via.map_or(String::new(), |via| format!(" via {via}")),
                route.dev
            ),
        };
        self.wait(&what, request)
    }

    /// Makes a bridge (a switch) in the network namespace.
    pub fn make_bridge(&mut self, name: &str) -> Result<(), Refused> {
        let request = self.inside.link().add(LinkBridge::new(name).build());
        self.wait(&format!("make the bridge {name}"), request.execute())
    }

    /// Makes a bridge that knows VLANs, whose ports are in none to begin with.
    pub fn make_vlan_bridge(&mut self, name: &str) -> Result<(), Refused> {
        let message = LinkBridge::new(name)
            .vlan_filtering(true)
            .vlan_default_pvid(0)
            .build();
        let request = self.inside.link().add(message).execute();
        self.wait(&format!("make the VLAN-aware bridge {name}"), request)
    }

    /// Makes the bridge's `port` a member of a VLAN.
    pub fn join_vlan(
        &mut self,
        port: &str,
        vid: u16,
        membership: Membership,
    ) -> Result<(), Refused> {
        let flags = match membership {
            Membership::Tagged => BridgeVlanInfoFlags::empty(),
            Membership::Untagged => BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged,
        };
        let message = LinkBridgeVlan::new(self.index(port)?)
            .vlan(vid, flags)
            .build();
        let request = self.inside.link().set(message).execute();
        self.wait(&format!("put {port} into VLAN {vid}"), request)
    }

    /// Makes a veth pair (a cable): one end in the network namespace, the other in `far`.
    pub fn make_veth(
        &mut self,
        name: &str,
        peer: &str,
        far: BorrowedFd<'_>,
    ) -> Result<(), Refused> {
        let mut peer_message = LinkUnspec::new_with_name(peer).build();
        let far = LinkAttribute::NetNsFd(far.as_raw_fd());
        peer_message.attributes.push(far);
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer_message)))
            .build();
        let request = self.inside.link().add(message).execute();
        self.wait(&format!("make the veth pair {name}, {peer}"), request)
    }

    /// Plugs the link `name` into the bridge `bridge`.
    pub fn plug(&mut self, name: &str, bridge: &str) -> Result<(), Refused> {
        let bridge_index = self.index(bridge)?;
        let message = LinkUnspec::new_with_name(name)
            .controller(bridge_index)
            .build();
        self.change(&format!("plug {name} into {bridge}"), message)
    }
}

fn link_message(link: &NewLink, name: &str, parent: u32, netns: i32) -> LinkMessage {
    let (kind, data) = match link.kind {
        Kind::Macvlan {
            mode,
            bcqueuelen,
            bclim,
        } => {
            let mut infos = vec![InfoMacVlan::Mode(macvlan_mode(mode))];
            infos.extend(bcqueuelen.map(InfoMacVlan::BcQueueLen));
            infos.extend(bclim.map(InfoMacVlan::BcCutoff));
            (InfoKind::MacVlan, InfoData::MacVlan(infos))
        }
        Kind::Ipvlan { mode, flag } => {
            let mut infos = vec![InfoIpVlan::Mode(ipvlan_mode(mode))];
            infos.extend(ipvlan_flags(flag).map(InfoIpVlan::Flags));
            (InfoKind::IpVlan, InfoData::IpVlan(infos))
        }
    };
    let mut message = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(kind)
        .name(name)
        .link(parent)
        .set_info_data(data)
        .setns_by_fd(netns);
    if let Some(mac) = link.mac {
        message = message.address(mac.0.to_vec());
    }
    if let Some(mtu) = link.mtu {
        message = message.mtu(mtu);
    }
    message.build()
}

pub(super) fn route_message(route: &NewRoute, index: u32) -> RouteMessage {
    // As ip-route(8) has it: a route made by hand.
    let boot = RouteProtocol::Boot;
    let length = route.dst.prefix_len();
    match route.dst.addr() {
        IpAddr::V4(dst) => {
            let mut message = RouteMessageBuilder::<Ipv4Addr>::new()
                .output_interface(index)
                .protocol(boot);
            if length > 0 {
                message = message.destination_prefix(dst, length);
            }
            message = match route.via {
                Some(IpAddr::V4(via)) => message.gateway(via),
                Some(IpAddr::V6(via)) => message.via(via),
                None => message.scope(RouteScope::Link),
            };
            if let Some(metric) = route.metric {
                message = message.priority(metric);
            }
            message.build()
        }
        IpAddr::V6(dst) => {
            let mut message = RouteMessageBuilder::<Ipv6Addr>::new()
                .output_interface(index)
                .protocol(boot);
            if length > 0 {
                message = message.destination_prefix(dst, length);
            }
            if let Some(IpAddr::V6(via)) = route.via {
                message = message.gateway(via);
            }
            if let Some(metric) = route.metric {
                message = message.priority(metric);
            }
            message.build()
        }
    }
}

fn macvlan_mode(mode: network::MacvlanMode) -> MacVlanMode {
    match mode {
        network::MacvlanMode::Bridge => MacVlanMode::Bridge,
        network::MacvlanMode::Private => MacVlanMode::Private,
        network::MacvlanMode::Vepa => MacVlanMode::Vepa,
        network::MacvlanMode::Passthru => MacVlanMode::Passthrough,
    }
}

fn ipvlan_mode(mode: network::IpvlanMode) -> IpVlanMode {
    match mode {
        network::IpvlanMode::L2 => IpVlanMode::L2,
        network::IpvlanMode::L3 => IpVlanMode::L3,
        network::IpvlanMode::L3s => IpVlanMode::L3S,
    }
}

fn ipvlan_flags(flag: network::IpvlanFlag) -> Option<IpVlanFlags> {
    match flag {
        network::IpvlanFlag::Bridge => None,
        network::IpvlanFlag::Private => Some(IpVlanFlags::Private),
        network::IpvlanFlag::Vepa => Some(IpVlanFlags::Vepa),
    }
}
