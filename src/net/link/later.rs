//! What happens to a link after the start: it is taken away, or a DHCP server gives it an address.

use ipnet::IpNet;
use nix::errno::Errno;

use anyhow::Result;

use super::{ANYWHERE, NewRoute, Step};
use crate::net::dhcp::Lease;
use crate::net::endpoint::{Endpoint, Probe};
use crate::net::netlink::Wires;

/// Deletes the link of `endpoint`. "Already gone" is no error.
pub fn undo(endpoint: &Endpoint, wires: &mut Wires) -> Result<()> {
    match wires.delete_link(&endpoint.ifname) {
        Err(refused) if refused.errno == Errno::ENODEV => Ok(()),
        result => result.map_err(Into::into),
    }
}

/// The steps that give the link `dev` what a DHCP server says: the address and the default route.
pub fn plan_lease(dev: &str, lease: &Lease) -> Vec<Step> {
    let mut steps = vec![Step::AddAddress {
        dev: dev.to_owned(),
        address: IpNet::V4(lease.address),
        probe: Probe::Off,
    }];
    if let Some(router) = lease.router {
        steps.push(Step::Route(NewRoute {
            dst: ANYWHERE,
            via: Some(router.into()),
            dev: dev.to_owned(),
            metric: None,
        }));
    }
    steps
}
