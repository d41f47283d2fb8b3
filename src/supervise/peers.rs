//! Peers: containers of one network find each other, and the host finds them.
//!
//! Nobody is in charge of a network. Who comes or goes changes the network's roll ([`crate::store::rolls`])
//! and the host's way to it ([`crate::net::host_access`]), and is then heard of: that costs the same however
//! many there are. Afterwards it tells the others, by writing the names of all who are there into the hosts
//! file of each ([`crate::net::names`]); who waits for that right finds that it was done for him, too.
//! `exec` looks first whether that is still to come ([`settle`]), and does it if so: who starts one
//! container and then asks for it in another one, finds it there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Result;

use crate::net::endpoint::Endpoint;
use crate::net::host_access;
use crate::net::names::{self, Peer};
use crate::store::containers::Record;
use crate::store::rolls::{self, Member, Roll};
use crate::store::{Home, networks, short};

/// The hosts files' region for the container of `record`, with all who are there now.
pub fn region(home: &Home, record: &Record) -> String {
    let mut peers = vec![];
    for endpoint in &record.endpoints {
        peers.push(peer(&member(record, endpoint)));
        // Without its names a container runs all the same.
        let roll = Roll::load(home, &endpoint.network_id).unwrap_or_default();
        let others = roll.members.iter().filter(|other| other.id != record.id);
        peers.extend(others.map(peer));
    }
    names::region(&peers)
}

/// The container of `record`, which runs, is on its networks from now on, with what its record says.
/// [`tell`] is to follow.
pub fn join(home: &Home, record: &Record) -> Result<()> {
    for endpoint in &record.endpoints {
        let roll = rolls::enter(home, &endpoint.network_id, member(record, endpoint))?;
        access(home, &endpoint.network_id, &roll)?;
    }
    Ok(())
}

/// The container `id` is not on `networks` any more. [`tell`] is to follow.
pub fn leave<'a>(home: &Home, id: &str, networks: impl IntoIterator<Item = &'a str>) -> Result<()> {
    for network in networks {
        let roll = rolls::leave(home, network, id)?;
        access(home, network, &roll)?;
    }
    Ok(())
}

/// Makes everybody on `networks` know who is there now.
pub fn tell<'a>(home: &Home, networks: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let networks: BTreeSet<&str> = networks.into_iter().collect();
    if networks.is_empty() {
        return Ok(());
    }
    let _lock = rolls::lock_telling(home)?;
    let mut book = Book::default();
    for network in networks {
        // Somebody else may have told them meanwhile.
        if !rolls::is_told(home, network) {
            let roll = book.roll(home, network)?.clone();
            for member in &roll.members {
                let region = book.region(home, &member.networks)?;
                names::rewrite(&home.container(&member.id).join("hosts"), &region)?;
            }
            rolls::note_told(home, network, roll.stamp)?;
        }
    }
    Ok(())
}

/// Does what is still to be done for the hosts file of the container of `record`.
pub fn settle(home: &Home, record: &Record) -> Result<()> {
    let networks = record.endpoints.iter().map(|e| e.network_id.as_str());
    let untold: Vec<&str> = networks.filter(|id| !rolls::is_told(home, id)).collect();
    tell(home, untold)
}

/// Takes everybody off the hosts file of a container that is on no network any more.
pub fn forget(home: &Home, record: &Record) -> Result<()> {
    names::rewrite(
        &home.container(&record.id).join("hosts"),
        &names::region(&[]),
    )
}

/// What has been read and written down for one telling.
#[derive(Default)]
struct Book {
    rolls: BTreeMap<String, Roll>,
    /// By networks: nearly all containers are on the same ones.
    regions: BTreeMap<Vec<String>, String>,
}

impl Book {
    fn roll(&mut self, home: &Home, network: &str) -> Result<&Roll> {
        if !self.rolls.contains_key(network) {
            let roll = Roll::load(home, network)?;
            self.rolls.insert(network.to_owned(), roll);
        }
        Ok(&self.rolls[network])
    }

    fn region(&mut self, home: &Home, networks: &[String]) -> Result<String> {
        if let Some(region) = self.regions.get(networks) {
            return Ok(region.clone());
        }
        let mut peers = vec![];
        for network in networks {
            peers.extend(self.roll(home, network)?.members.iter().map(peer));
        }
        let region = names::region(&peers);
        self.regions.insert(networks.to_owned(), region.clone());
        Ok(region)
    }
}

/// The host's way to the containers of the network, where one is wanted.
fn access(home: &Home, network: &str, roll: &Roll) -> Result<()> {
    let Ok(network) = networks::load(home, network) else {
        return Ok(());
    };
    let Some(shim) = host_access::shim(&network)? else {
        return Ok(());
    };
    let addresses: Vec<IpAddr> = roll
        .members
        .iter()
        .flat_map(|member| member.addresses.clone())
        .collect();
    host_access::reconcile(&shim, &addresses)
}

fn peer(member: &Member) -> Peer {
    Peer {
        addresses: member.addresses.clone(),
        names: member.names.clone(),
    }
}

/// The container as its peers on the network of `endpoint` see it.
fn member(record: &Record, endpoint: &Endpoint) -> Member {
    let mut names = vec![record.name.clone()];
    let id = short(&record.id).to_owned();
    let hostname = record.request.hostname.iter();
    for name in endpoint.aliases.iter().chain(hostname).chain([&id]) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Member {
        id: record.id.clone(),
        networks: record
            .endpoints
            .iter()
            .map(|endpoint| endpoint.network_id.clone())
            .collect(),
        addresses: endpoint.addresses().map(|net| net.addr()).collect(),
        names,
    }
}
