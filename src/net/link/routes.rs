//! Default routes: which router a container on several networks sends to what is on none of them.  ip-route(8)

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{NewRoute, Step};
use crate::net::endpoint::Endpoint;

/// Everywhere, in IPv4.
pub(super) const ANYWHERE: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));
/// Everywhere, in IPv6.
pub(super) const ANYWHERE_IPV6: IpNet =
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 0));

/// The default routes, one a family: that of the endpoint with the highest priority among those that
/// have a router, by the network's name among equals. A router outside of the subnet has a route of its
/// own first, which says that it is on the link all the same.
pub fn plan_default_routes(endpoints: &[Endpoint]) -> Vec<Step> {
    let mut ranked: Vec<&Endpoint> = endpoints.iter().collect();
    ranked.sort_by_key(|endpoint| (-i64::from(endpoint.gw_priority), endpoint.network.clone()));
    let ipv4 = ranked.iter().find_map(|endpoint| {
        let inside = |via| endpoint.ipv4.is_some_and(|net| net.contains(via));
        match endpoint.gateway {
            Some(via) if !inside(&via) => Some(on_link(ANYWHERE, via.into(), endpoint)),
            Some(via) => Some(vec![route(ANYWHERE, Some(via.into()), endpoint)]),
            None if endpoint.kind.is_layer_3() && endpoint.ipv4.is_some() => {
                Some(vec![route(ANYWHERE, None, endpoint)])
            }
            None => None,
        }
    });
    let ipv6 = ranked.iter().find_map(|endpoint| {
        let inside = |via| endpoint.ipv6.is_some_and(|net| net.contains(via));
        match endpoint.ipv6_gateway {
            Some(via) if !inside(&via) && !via.is_unicast_link_local() => {
                Some(on_link(ANYWHERE_IPV6, via.into(), endpoint))
            }
            Some(via) => Some(vec![route(ANYWHERE_IPV6, Some(via.into()), endpoint)]),
            None if endpoint.kind.is_layer_3() && endpoint.ipv6.is_some() => {
                Some(vec![route(ANYWHERE_IPV6, None, endpoint)])
            }
            None => None,
        }
    });
    ipv4.into_iter().chain(ipv6).flatten().collect()
}

fn route(dst: IpNet, via: Option<IpAddr>, endpoint: &Endpoint) -> Step {
    Step::Route(NewRoute {
        dst,
        via,
        dev: endpoint.ifname.clone(),
        metric: None,
    })
}

/// The way to a router that no subnet contains, and the route through it.
fn on_link(dst: IpNet, via: IpAddr, endpoint: &Endpoint) -> Vec<Step> {
    vec![
        route(IpNet::from(via), None, endpoint),
        route(dst, Some(via), endpoint),
    ]
}
