//! What happens to a link after the start: it is taken away, or a DHCP server gives it an address.

use ipnet::IpNet;
use nix::errno::Errno;

use anyhow::Result;

use super::{ANYWHERE, NewRoute, Step, words};
use crate::net::dhcp::Lease;
use crate::net::endpoint::{Endpoint, Probe};
use crate::net::netlink::Wires;
use crate::net::network::Ipv6Policy;

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

/// Takes all addresses off the endpoint's link, so that it answers nobody any more. Costs next to
/// nothing, where deleting the link, or switching it off, makes the kernel wait for its own readers.
///
/// # Errors
/// Where the link is gone.
pub fn silence(endpoint: &Endpoint, wires: &mut Wires) -> Result<()> {
    let dev = endpoint.ifname.as_str();
    if endpoint.ipv6_policy != Ipv6Policy::Off {
        // Its link-local address and those by router advertisements, too.
        wires.write_setting_if_there(&words::disable_ipv6(dev), "1")?;
    }
    if let Some(address) = endpoint.ipv4 {
        wires.delete_address(dev, address.into())?;
    }
    Ok(())
}
