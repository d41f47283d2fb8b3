//! What the kernel answers: links and routes.

use anyhow::Result;
use nix::errno::Errno;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoPortKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
    LinkMessage,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};

use super::{Refused, Wires};
use crate::net::host::{Host, Link};

impl Wires {
    /// Looks for the link `name` of the caller's network namespace.
    pub fn parent(&mut self, name: &str) -> Result<Option<Link>, Refused> {
        let outside = self.outside()?;
        match self.find(&outside, name) {
            Err(refused) if refused.errno == Errno::ENODEV => Ok(None),
            result => result.map(Some),
        }
    }

    /// The bridge or bond that the caller's link `name` is a port of, if it is one.
    pub fn bridge_of(&mut self, name: &str) -> Result<Option<String>, Refused> {
        let Some(index) = self.parent(name)?.and_then(|link| link.controller) else {
            return Ok(None);
        };
        let outside = self.outside()?;
        let request = outside.link().get().match_index(index).execute();
        let message = self.first(&format!("look for link {index}"), request)?;
        Ok(Some(link(&message).name))
    }

    /// The links of the caller's network namespace and the way out of it.
    pub fn host(&mut self) -> Result<Host, Refused> {
        let outside = self.outside()?;
        let links = self.all("list the links", outside.link().get().execute())?;
        let links: Vec<Link> = links.iter().map(link).collect();
        let wanted = rtnetlink::RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
        let routes = self.all("list the routes", outside.route().get(wanted).execute())?;
        let mut defaults: Vec<(u32, u32)> = routes.iter().filter_map(default_route).collect();
        defaults.sort_unstable();
        let default_route = defaults.first().and_then(|(_, index)| {
            let link = links.iter().find(|link| link.index == *index)?;
            Some(link.name.clone())
        });
        Ok(Host {
            links,
            default_route,
        })
    }
}

/// The metric and the link of a default route of the main table.
fn default_route(route: &RouteMessage) -> Option<(u32, u32)> {
    if route.header.destination_prefix_length != 0 || route.header.table != 254 {
        return None;
    }
    let mut metric = 0;
    let mut index = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(oif) => index = Some(*oif),
            _ => {}
        }
    }
    Some((metric, index?))
}

/// A link out of its message.
pub fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        loopback: message.header.link_layer_type == LinkLayerType::Loopback,
        up: message.header.flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    let vrf = LinkInfo::PortKind(InfoPortKind::Vrf);
    let mut is_vrf = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            LinkAttribute::Link(index) => link.below = Some(*index),
            LinkAttribute::Mtu(mtu) => link.mtu = Some(*mtu),
            LinkAttribute::LinkInfo(infos) => {
                is_vrf |= infos.contains(&vrf);
                infos.iter().for_each(|info| read_info(&mut link, info));
            }
            _ => {}
        }
    }
    // A VRF routes, it does not take its ports' frames.
    link.controller = link.controller.filter(|_| !is_vrf);
    link
}

fn read_info(link: &mut Link, info: &LinkInfo) {
    match info {
        LinkInfo::Kind(InfoKind::Other(kind)) => link.kind.clone_from(kind),
        LinkInfo::Kind(kind) => link.kind = kind.to_string(),
        LinkInfo::Data(InfoData::Vlan(infos)) => {
            link.vid = infos.iter().find_map(|info| match info {
                InfoVlan::Id(vid) => Some(*vid),
                _ => None,
            });
        }
        _ => {}
    }
}
