//! What happens to a link before and after: its parent is waited for, a DHCP server gives it an address,
//! it falls silent, it is taken away.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::errno::Errno;

use anyhow::{Context, Result, ensure};

use super::routes::ANYWHERE;
use super::{NewRoute, Step, words};
use crate::net::dhcp::Lease;
use crate::net::endpoint::{Endpoint, Probe};
use crate::net::netlink::Wires;
use crate::net::netns;
use crate::net::network::{Ipv6Policy, Lower};
use crate::sys;

/// The step that waits for the endpoint's parent, where it asks for that; for a VLAN that rmac makes it is
/// the link below.
pub fn plan_wait(endpoint: &Endpoint) -> Vec<Step> {
    let link = match endpoint.parent.made.first() {
        _ if endpoint.parent_wait == 0 => return vec![],
        Some(Lower::Isolated { .. }) => return vec![],
        Some(Lower::Vlan { base, .. }) => base.clone(),
        None => endpoint.parent.link.clone(),
    };
    vec![Step::AwaitParent {
        link,
        seconds: endpoint.parent_wait,
    }]
}

/// Waits until the caller's network namespace has the link, at most `seconds`.
///
/// # Errors
/// Where it has not come by then.
pub fn wait_for(link: &str, seconds: u32, wires: &mut Wires) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(seconds.into());
    while wires.parent(link)?.is_none() {
        ensure!(
            Instant::now() < deadline,
            "the parent {link} has not come within {seconds} s (-o parent_wait={seconds}): is its driver loaded, does a bond or a VLAN of that name come up? (see: ip link)"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

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

/// Takes all addresses off the endpoint's link in `netns`, so that it answers nobody any more. Costs next to
/// nothing, where deleting the link, or switching it off, makes the kernel wait for its own readers.
///
/// # Errors
/// Where the link is gone.
pub fn silence(endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<()> {
    let dev = endpoint.ifname.as_str();
    if endpoint.ipv6_policy != Ipv6Policy::Off {
        // Its link-local address and those by router advertisements, too.
        Wires::open(netns)?.write_setting_if_there(&words::disable_ipv6(dev), "1")?;
    }
    if endpoint.ipv4.is_some() {
        let clear = || sys::inet::clear_addresses(dev).context("take the addresses off the link");
        netns::within(netns, clear)?;
    }
    Ok(())
}
