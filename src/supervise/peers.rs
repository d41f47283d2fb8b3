//! Peers: containers of one network find each other, and the host finds them.
//!
//! Nobody is in charge of a network. Who comes or goes changes the network's roll ([`crate::store::rolls`])
//! and the host's way to it ([`crate::net::host_access`]), and is then heard of: that costs the same however
//! many there are. Afterwards it tells the others, by writing the names of all who are there into the hosts
//! file of each ([`crate::net::names`]), or asks the one who is at it to go on with its networks.
//! `exec` looks first whether that is still to come ([`settle`]), and does it if so: who starts one
//! container and then asks for it in another one, finds it there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::IpAddr;

use anyhow::Result;

use crate::net::endpoint::Endpoint;
use crate::net::host_access::{self, Shim};
use crate::net::names::{self, Region};
use crate::store::containers::Record;
use crate::store::rolls::{self, Entry, Member, Roll};
use crate::store::{Home, networks, short};

/// The hosts files' region for the container of `record`, with all who are there now.
pub fn region(home: &Home, record: &Record) -> String {
    let mut region = Region::default();
    for endpoint in &record.endpoints {
        let own = member(record, endpoint);
        let addresses: Vec<String> = own.addresses.iter().map(IpAddr::to_string).collect();
        region.add(&addresses.join(","), &own.names.join(" "));
        let add = |other: Entry<'_>| {
            if other.id != record.id {
                region.add(other.addresses, other.names);
            }
        };
        // Without its peers' names a container runs all the same.
        let _ = rolls::read(home, &endpoint.network_id, add);
    }
    region.end()
}

/// Whether a container can be on its networks already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It may be.
    Perhaps,
    /// It is not: nobody has had it since it was made, or since who had it was cleaned up after.
    Absent,
}

/// The container of `record`, which runs, is on its networks from now on, with what its record says; how many are
/// there in all, about. [`tell`] is to follow.
pub fn join(home: &Home, record: &Record, before: Before) -> Result<usize> {
    let mut members = 0;
    for endpoint in &record.endpoints {
        let member = member(record, endpoint);
        members += match before {
            Before::Perhaps => rolls::enter(home, &endpoint.network_id, &member)?,
            Before::Absent => rolls::add(home, &endpoint.network_id, &member)?,
        };
        access(home, &endpoint.network_id)?;
    }
    Ok(members)
}

/// The container `id` is not on `networks` any more. [`tell`] is to follow.
pub fn leave<'a>(home: &Home, id: &str, networks: impl IntoIterator<Item = &'a str>) -> Result<()> {
    for network in networks {
        rolls::leave(home, network, id)?;
        access(home, network)?;
    }
    Ok(())
}

/// Makes everybody on `networks` know who is there now; when this returns, they do.
pub fn tell<'a>(home: &Home, networks: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let networks: BTreeSet<String> = networks.into_iter().map(str::to_owned).collect();
    if networks.is_empty() {
        return Ok(());
    }
    let turn = rolls::lock_telling(home)?;
    tell_in_turn(home, networks, turn)
}

/// The same, for whom nobody waits: where somebody else tells just now, he goes on with `networks` instead. When many
/// come and go at once, one of them works for all.
pub fn pass_on<'a>(home: &Home, networks: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut networks: BTreeSet<String> = networks.into_iter().map(str::to_owned).collect();
    networks.retain(|network| !rolls::is_told(home, network));
    if networks.is_empty() {
        return Ok(());
    }
    if let Some(turn) = rolls::try_lock_telling(home)? {
        return tell_in_turn(home, networks, turn);
    }
    rolls::queue(home, &networks)?;
    match rolls::try_lock_telling(home)? {
        Some(turn) => tell_in_turn(home, BTreeSet::new(), turn),
        None => Ok(()),
    }
}

/// Tells those on `networks`, and those whom others ask for meanwhile; `turn` is the right to.
fn tell_in_turn(home: &Home, mut networks: BTreeSet<String>, mut turn: File) -> Result<()> {
    loop {
        networks.extend(rolls::take_queue(home)?);
        // Somebody else may have told them meanwhile.
        networks.retain(|network| !rolls::is_told(home, network));
        let mut book = Book::default();
        for network in std::mem::take(&mut networks) {
            let roll = book.roll(home, &network)?.clone();
            rolls::note_telling(home, &network);
            for member in roll.members() {
                let region = book.region(home, member.networks)?;
                names::rewrite(&home.container(member.id).join("hosts"), region)?;
            }
            rolls::note_told(home, &network, roll.stamp())?;
        }
        // Who asks from here on takes the turn himself; who asked before is seen here.
        drop(turn);
        if !rolls::is_queued(home) {
            return Ok(());
        }
        match rolls::try_lock_telling(home)? {
            Some(next) => turn = next,
            None => return Ok(()),
        }
    }
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
        &names::region([]),
    )
}

/// What has been read and written down for one telling.
#[derive(Default)]
struct Book {
    rolls: BTreeMap<String, Roll>,
    /// By networks: nearly all containers are on the same ones.
    regions: BTreeMap<String, String>,
}

impl Book {
    fn roll(&mut self, home: &Home, network: &str) -> Result<&Roll> {
        if !self.rolls.contains_key(network) {
            let roll = Roll::load(home, network)?;
            self.rolls.insert(network.to_owned(), roll);
        }
        Ok(&self.rolls[network])
    }

    fn region(&mut self, home: &Home, networks: &str) -> Result<&str> {
        if !self.regions.contains_key(networks) {
            for network in networks.split(',') {
                self.roll(home, network)?;
            }
            let rolls = networks.split(',').map(|network| &self.rolls[network]);
            let peers = rolls.flat_map(|roll| roll.members().map(|m| (m.addresses, m.names)));
            let region = names::region(peers);
            self.regions.insert(networks.to_owned(), region);
        }
        Ok(&self.regions[networks])
    }
}

/// Deletes the host's own links to those of `networks` that nobody is on any more. For when nobody waits: it takes
/// the kernel some 20 ms each.
pub fn clear<'a>(home: &Home, networks: impl IntoIterator<Item = &'a str>) -> Result<()> {
    for network in networks {
        let idle = shim(home, network)?.filter(host_access::is_there);
        let Some(shim) = idle else { continue };
        let _lock = rolls::lock_access(home)?;
        if Roll::load(home, network)?.members().next().is_none() {
            host_access::remove(&shim)?;
        }
    }
    Ok(())
}

/// The host's way to the containers of the network, where one is wanted.
fn access(home: &Home, network: &str) -> Result<()> {
    let Some(shim) = shim(home, network)? else {
        return Ok(());
    };
    let _lock = rolls::lock_access(home)?;
    let roll = Roll::load(home, network)?;
    let addresses: Vec<IpAddr> = roll
        .members()
        .flat_map(|member| member.addresses().collect::<Vec<_>>())
        .collect();
    host_access::reconcile(&shim, &addresses)
}

fn shim(home: &Home, network: &str) -> Result<Option<Shim>> {
    match networks::load(home, network) {
        Ok(network) => host_access::shim(&network),
        // It has been removed meanwhile.
        Err(_) => Ok(None),
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
