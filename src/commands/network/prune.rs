//! `rmac network prune`: forgets all networks that no container is on.

use anyhow::Result;

use super::runs;
use crate::cli::system::PruneArgs;
use crate::commands::prune::{Filters, Gone, confirmed};
use crate::net::network::Network;
use crate::out::stream::{errln, out};
use crate::store::{Home, leases, networks};

/// Docker's warning.
const WARNING: &str =
    "WARNING! This will remove all custom networks not used by at least one container.";

/// Asks, then removes.
pub fn prune(home: &Home, args: &PruneArgs) -> Result<()> {
    let filters = Filters::parse(&args.filter)?;
    if args.force || confirmed(WARNING)? {
        out!("{}", remove_unused(home, &filters)?.text());
    }
    Ok(())
}

/// Removes all that no container is on; one that somebody goes on just then stays, and is told as Docker's log does.
pub(in crate::commands) fn remove_unused(home: &Home, filters: &Filters) -> Result<Gone> {
    let mut removed = vec![];
    for network in networks::declared(home)? {
        if filters.match_map(network.created, &network.labels) && is_unused(home, &network)? {
            match super::rm::remove(home, &network) {
                Ok(()) => removed.push(network.name),
                Err(error) => errln!("WARNING: {error:#}"),
            }
        }
    }
    Ok(Gone::new("Networks", &removed, 0))
}

/// Whether no container that exists has an address in it, running or not.
fn is_unused(home: &Home, network: &Network) -> Result<bool> {
    leases::reclaim(home, &network.id)?;
    for lease in leases::list(home, &network.id)? {
        if runs(home, &lease)? || lease.state == leases::State::Held {
            return Ok(false);
        }
    }
    Ok(true)
}
