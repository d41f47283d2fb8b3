//! `rmac network rm`: forgets networks that no running container is on.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{all_or_errors, runs};
use crate::cli::network::RmArgs;
use crate::net::netlink::Wires;
use crate::net::network::Network;
use crate::store::claim::wait_until_free;
use crate::store::{Home, leases, networks, rolls, short};

/// How long a container that is on its way out may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Removes the networks one after the other, prints each, and returns the errors of those that stay.
pub fn rm(home: &Home, args: &RmArgs) -> Result<()> {
    let mut errors = Vec::new();
    for reference in &args.networks {
        match networks::load(home, reference) {
            Err(_) if args.force => {}
            network => match network.and_then(|network| remove(home, &network)) {
                Ok(()) => println!("{reference}"),
                Err(error) => errors.push(error),
            },
        }
    }
    all_or_errors(errors)
}

/// Forgets the network, if no container is on it.
pub fn remove(home: &Home, network: &Network) -> Result<()> {
    let name = &network.name;
    ensure!(
        !network.is_predefined(),
        "{name} is a pre-defined network and cannot be removed"
    );
    leases::reclaim(home, &network.id)?;
    let mut active = Vec::new();
    let mut names = Vec::new();
    for lease in leases::list(home, &network.id)? {
        if is_active(home, &lease)? {
            active.push(format!(
                "name:{:?} id:{:?}",
                lease.name,
                short(&lease.container)
            ));
            names.push(lease.name);
        }
    }
    if !active.is_empty() {
        bail!(
            "error while removing network: network {name} has active endpoints ({}): stop the container first (rmac stop {})",
            active.join(", "),
            names.join(" ")
        );
    }
    let lock = networks::lock(home)?;
    forget(home, network, &lock, &mut Wires::here()?)
}

/// Forgets a network, and deletes the links of the host that rmac made for it and that no other
/// network uses.
pub fn forget(
    home: &Home,
    network: &Network,
    _lock: &networks::Lock,
    wires: &mut Wires,
) -> Result<()> {
    networks::remove(home, network)?;
    rolls::remove(home, &network.id);
    let others = networks::declared(home)?;
    let used = |link: &str| {
        let mut made = others.iter().flat_map(|other| &other.parent.made);
        others.iter().any(|other| other.parent.link == link) || made.any(|made| made.link() == link)
    };
    // The upmost first.
    for lower in network.parent.made.iter().rev() {
        if !used(lower.link()) {
            lower.delete(wires).with_context(|| {
                format!("the network {} is gone, but its link is not", network.name)
            })?;
        }
    }
    Ok(())
}

/// Whether the lease's container runs. One that is just ending is waited for: `stop` and `network rm`
/// in one line must work.
fn is_active(home: &Home, lease: &leases::Lease) -> Result<bool> {
    Ok(runs(home, lease)? || !wait_until_free(home, &lease.container, PATIENCE))
}
