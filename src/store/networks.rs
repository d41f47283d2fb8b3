//! Networks: their names and what was declared.
//!
//! ```text
//! networks/ID/network.json     what was declared
//! networks/ID/leases           who has which address, see [`super::leases`]
//! networks/names/NAME          symbolic link to ID
//! ```
//!
//! symlink(2) makes the name or fails with EEXIST, so one name is one network, however many commands
//! run at once.

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use super::{Home, leases, make_private_dir, read_json, write_json};
use crate::net::declare;
use crate::net::network::Network;

/// The right to declare a network, of which there is one at a time: two networks must not get the same
/// addresses.
#[derive(Debug)]
pub struct Lock {
    _directory: Flock<File>,
}

/// Waits for the right to declare a network.
pub fn lock(home: &Home) -> Result<Lock> {
    let path = home.networks();
    make_private_dir(&path)?;
    let directory = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let locked = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
    Ok(Lock {
        _directory: locked.with_context(|| format!("lock {}", path.display()))?,
    })
}

/// Keeps a new network. What a killed command left of another is removed first.
pub fn add(home: &Home, network: &Network, _lock: &Lock) -> Result<()> {
    remove_nameless(home)?;
    let directory = directory(home, network);
    make_private_dir(&directory)?;
    make_private_dir(&names(home))?;
    let existing = declared(home)?;
    let kept = write_json(&directory.join("network.json"), network).and_then(|()| {
        for other in declare::shares(network, &existing) {
            leases::make_siblings(home, &network.id, &other.id)?;
        }
        // The name last: what has a name is whole.
        match std::os::unix::fs::symlink(&network.id, names(home).join(&network.name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("network with name {} already exists", network.name)
            }
            result => result.with_context(|| format!("keep the name {}", network.name)),
        }
    });
    if kept.is_err() {
        let _ = std::fs::remove_dir_all(&directory);
    }
    kept
}

/// The network that `reference` means: its name, its id, or the beginning of its id if that is clear.
pub fn load(home: &Home, reference: &str) -> Result<Network> {
    if let Some(network) = by_name(home, reference)? {
        return Ok(network);
    }
    if let Some(network) = read(home, reference)? {
        return Ok(network);
    }
    let mut matches = Vec::new();
    if is_hexadecimal(reference) {
        matches = list(home)?;
        matches.retain(|network| network.id.starts_with(reference));
    }
    match matches.len() {
        1 => Ok(matches.remove(0)),
        0 => Err(not_found(home, reference)),
        count => {
            bail!("network {reference} is ambiguous ({count} matches found based on ID prefix)")
        }
    }
}

/// Every network, the predefined ones included, in the natural order of their names (`net2` before
/// `net10`).
pub fn list(home: &Home) -> Result<Vec<Network>> {
    let mut networks = declared(home)?;
    networks.extend(Network::predefined());
    networks.sort_by_cached_key(|network| natural(&network.name));
    Ok(networks)
}

/// The networks that somebody declared.
pub fn declared(home: &Home) -> Result<Vec<Network>> {
    let directory = names(home);
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.with_context(|| format!("read {}", directory.display()))?,
    };
    let mut networks = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", directory.display()))?;
        // One that is removed while we look is not there.
        if let Some(name) = entry.file_name().to_str() {
            networks.extend(by_name(home, name)?);
        }
    }
    Ok(networks)
}

/// Forgets a network and its leases.
pub fn remove(home: &Home, network: &Network) -> Result<()> {
    let gone = |result: std::io::Result<()>, what: PathBuf| match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("remove {}", what.display())),
    };
    let name = names(home).join(&network.name);
    gone(std::fs::remove_file(&name), name)?;
    let directory = directory(home, network);
    gone(std::fs::remove_dir_all(&directory), directory)
}

/// Removes the directories that no name leads to.
fn remove_nameless(home: &Home) -> Result<()> {
    let mut named = vec!["names".into()];
    named.extend(declared(home)?.into_iter().map(|network| network.id.into()));
    let path = home.networks();
    let entries = std::fs::read_dir(&path).with_context(|| format!("read {}", path.display()))?;
    for entry in entries.flatten() {
        if !named.contains(&entry.file_name()) {
            // It is of no use to anybody, and in nobody's way if it stays.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

fn by_name(home: &Home, name: &str) -> Result<Option<Network>> {
    if let Some(network) = Network::predefined().into_iter().find(|n| n.name == name) {
        return Ok(Some(network));
    }
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Ok(None);
    }
    match std::fs::read_link(names(home).join(name)) {
        Ok(id) => read(home, &id.to_string_lossy()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read the name {name}")),
    }
}

fn read(home: &Home, id: &str) -> Result<Option<Network>> {
    if let Some(network) = Network::predefined().into_iter().find(|n| n.id == id) {
        return Ok(Some(network));
    }
    if id.len() != 64 || !is_hexadecimal(id) {
        return Ok(None);
    }
    read_json(&home.networks().join(id).join("network.json"))
}

fn is_hexadecimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// "Not found", with the name that was probably meant: one that is spelt alike, or the only one.
fn not_found(home: &Home, reference: &str) -> anyhow::Error {
    let declared = declared(home).unwrap_or_default();
    let names = || declared.iter().map(|network| network.name.as_str());
    let meant = match declared.as_slice() {
        [only] => Some(only.name.as_str()),
        _ => crate::out::did_you_mean(reference, names()),
    };
    match meant {
        Some(name) => anyhow::anyhow!("network {reference} not found (did you mean {name}?)"),
        None => anyhow::anyhow!("network {reference} not found"),
    }
}

/// A key by which numbers in names are ordered as numbers.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut key = vec![(String::new(), 0)];
    let mut digits = String::new();
    for c in name.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            if let Some(last) = key.last_mut() {
                last.1 = digits.parse().unwrap_or(u64::MAX);
            }
            digits.clear();
            key.push((String::new(), 0));
        }
        if let Some(last) = key.last_mut() {
            last.0.push(c);
        }
    }
    key
}

fn names(home: &Home) -> PathBuf {
    home.networks().join("names")
}

fn directory(home: &Home, network: &Network) -> PathBuf {
    home.networks().join(&network.id)
}
