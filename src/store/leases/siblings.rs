//! Networks that give out of one subnet: what one has given, the others do not give.

use std::fs::File;
use std::net::IpAddr;

use anyhow::{Context, Result};
use nix::fcntl::Flock;

use super::lines::addresses;
use super::{lock, not_found, path, read};
use crate::net::network::Network;
use crate::store::{Home, read_json, write_whole};

/// The networks that give out of the same subnet.
pub fn siblings(home: &Home, network_id: &str) -> Result<Vec<String>> {
    let text = read(&path(home, network_id).with_file_name("siblings"))?;
    Ok(text.lines().map(ToOwned::to_owned).collect())
}

/// Says to both networks that they give out of one subnet.
pub fn make_siblings(home: &Home, one: &str, other: &str) -> Result<()> {
    for (of, sibling) in [(one, other), (other, one)] {
        let _lock = lock(home, of)?;
        let path = path(home, of).with_file_name("siblings");
        let mut text = read(&path)?;
        text.push_str(&format!("{sibling}\n"));
        write_whole(&path, text.as_bytes())?;
    }
    Ok(())
}

/// The locks that a claim needs.
pub struct Locked {
    /// The siblings' ids.
    pub siblings: Vec<String>,
    _locks: Vec<Flock<File>>,
}

/// Locks the leases of a network and of its siblings, always in the same order: nobody ever waits in
/// a circle.
pub fn lock_all(home: &Home, network: &Network) -> Result<Locked> {
    loop {
        let siblings = siblings(home, &network.id)?;
        let mut ids: Vec<&String> = siblings.iter().chain([&network.id]).collect();
        ids.sort_unstable();
        let mut locks = Vec::new();
        for id in ids {
            match lock(home, id)? {
                Some(lock) => locks.push(lock),
                None if *id == network.id => return Err(anyhow::anyhow!(not_found(network))),
                None => {}
            }
        }
        if siblings == self::siblings(home, &network.id)? {
            return Ok(Locked {
                siblings,
                _locks: locks,
            });
        }
    }
}

/// What a sibling has given out or reserved.
pub fn taken_by_sibling(home: &Home, id: &str) -> Result<Vec<IpAddr>> {
    let path = path(home, id);
    let text = read(&path)?;
    let mut taken = addresses(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let network: Option<Network> = read_json(&path.with_file_name("network.json"))?;
    for pool in network.iter().flat_map(|network| &network.subnets) {
        taken.extend(pool.gateway.iter().chain(pool.aux.values()));
    }
    Ok(taken)
}
