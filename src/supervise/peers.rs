//! Peers: containers of one network find each other, and the host finds them.
//!
//! Nobody is in charge of a network. So whoever comes or goes works out from the records how things
//! must be now, and makes them so: the hosts file of every container on the network
//! ([`crate::net::names`]), and the host's way to them ([`crate::net::host_access`]). One lock lets them
//! do it one after the other, so the last one has seen all. What a killed monitor has left is put
//! right by the next who comes, goes, or sweeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::net::endpoint::Endpoint;
use crate::net::host_access::{self, Shim};
use crate::net::names::{self, Peer};
use crate::store::containers::{Record, State, Status};
use crate::store::{Home, leases, make_private_dir, networks, short};

/// The hosts files' region for the container of `record`, with all who are there now.
pub fn region(home: &Home, record: &Record) -> String {
    let mut all = Members::default();
    let mut peers = vec![];
    for endpoint in &record.endpoints {
        peers.push(peer(record, endpoint));
        let others = all.on(home, &endpoint.network_id).iter();
        peers.extend(
            others
                .filter(|(id, _)| *id != record.id)
                .map(|(_, peer)| peer.clone()),
        );
    }
    names::region(&peers)
}

/// Makes everybody on the networks `ids` know who is there now.
pub fn update<'a>(home: &Home, ids: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let ids: BTreeSet<&str> = ids.into_iter().collect();
    if ids.is_empty() {
        return Ok(());
    }
    let _lock = lock(home)?;
    let mut all = Members::default();
    let mut concerned = BTreeMap::new();
    for id in &ids {
        all.on(home, id);
        concerned.extend(all.records_on(id));
        access(home, id, &all)?;
    }
    for record in concerned.into_values() {
        let mut peers = vec![];
        for endpoint in &record.endpoints {
            let there = all.on(home, &endpoint.network_id).iter();
            peers.extend(there.map(|(_, peer)| peer.clone()));
        }
        names::rewrite(
            &home.container(&record.id).join("hosts"),
            &names::region(&peers),
        )?;
    }
    Ok(())
}

/// The host's way to the containers of the network, where one is wanted.
fn access(home: &Home, id: &str, all: &Members) -> Result<()> {
    let Some(shim) = shim(home, id)? else {
        return Ok(());
    };
    let addresses: Vec<IpAddr> = all
        .members
        .get(id)
        .into_iter()
        .flatten()
        .flat_map(|(_, peer)| peer.addresses.clone())
        .collect();
    host_access::reconcile(&shim, &addresses)
}

/// Deletes the host's own links to those of the networks `ids` that nobody is on any more. For when
/// nobody waits: it takes the kernel some 20 ms each.
pub fn clear<'a>(home: &Home, ids: impl IntoIterator<Item = &'a str>) -> Result<()> {
    for id in ids {
        let idle = shim(home, id)?.filter(host_access::is_there);
        let Some(shim) = idle else { continue };
        let _lock = lock(home)?;
        if Members::default().on(home, id).is_empty() {
            host_access::remove(&shim)?;
        }
    }
    Ok(())
}

fn shim(home: &Home, id: &str) -> Result<Option<Shim>> {
    match networks::load(home, id) {
        Ok(network) => host_access::shim(&network),
        // It has been removed meanwhile.
        Err(_) => Ok(None),
    }
}

/// The running containers, by network; read when first asked for.
#[derive(Default)]
struct Members {
    members: BTreeMap<String, Vec<(String, Peer)>>,
    records: BTreeMap<String, Record>,
}

impl Members {
    fn on(&mut self, home: &Home, network: &str) -> &[(String, Peer)] {
        if !self.members.contains_key(network) {
            let found = self.look(home, network);
            self.members.insert(network.to_owned(), found);
        }
        &self.members[network]
    }

    fn look(&mut self, home: &Home, network: &str) -> Vec<(String, Peer)> {
        let mut found = vec![];
        for lease in leases::list(home, network).unwrap_or_default() {
            let id = lease.container;
            let state = State::load(home, &id).ok().flatten();
            if state.is_none_or(|state| state.status != Status::Running) {
                continue;
            }
            let Some(record) = Record::load(home, &id).ok().flatten() else {
                continue;
            };
            let endpoint = record.endpoints.iter().find(|e| e.network_id == network);
            if let Some(endpoint) = endpoint {
                found.push((id.clone(), peer(&record, endpoint)));
            }
            self.records.insert(id, record);
        }
        found
    }

    fn records_on(&self, network: &str) -> Vec<(String, Record)> {
        let there = self.members.get(network).into_iter().flatten();
        there
            .filter_map(|(id, _)| Some((id.clone(), self.records.get(id)?.clone())))
            .collect()
    }
}

/// The container as its peers on the network of `endpoint` see it.
fn peer(record: &Record, endpoint: &Endpoint) -> Peer {
    let mut names = vec![record.name.clone()];
    let id = short(&record.id).to_owned();
    let hostname = record.request.hostname.iter();
    for name in endpoint.aliases.iter().chain(hostname).chain([&id]) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Peer {
        addresses: endpoint.addresses().map(|net| net.addr()).collect(),
        names,
    }
}

/// Takes everybody off the hosts file of a container that is on no network any more.
pub fn forget(home: &Home, record: &Record) -> Result<()> {
    names::rewrite(
        &home.container(&record.id).join("hosts"),
        &names::region(&[]),
    )
}

fn lock(home: &Home) -> Result<File> {
    let path = home.runroot.join("peers.lock");
    let open = || {
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
    };
    let file = match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make_private_dir(&home.runroot)?;
            open()
        }
        file => file,
    };
    let file = file.with_context(|| format!("open {}", path.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}
