//! Addresses that somebody else on the LAN was seen to have.
//!
//! ```text
//! networks/ID/foreign      172.16.86.2 52:54:00:12:34:56 1795507200
//! ```
//!
//! One address a line, who has it, and when that was seen (seconds since 1970). For `MEMORY` nobody is
//! given such an address, so the next start need not find out again; then it may be free.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::Home;
use crate::net::endpoint::Mac;

/// How long it is remembered.
const MEMORY: Duration = Duration::from_secs(600);

/// Notes that `owner` has `address` on the LAN of the network.
pub fn add(home: &Home, network_id: &str, address: IpAddr, owner: Mac) -> Result<()> {
    let path = path(home, network_id);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)?;
        file.write_all(format!("{address} {owner} {}\n", now()).as_bytes())
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// The addresses that were seen lately.
pub fn list(home: &Home, network_id: &str) -> Vec<IpAddr> {
    let text = std::fs::read_to_string(path(home, network_id)).unwrap_or_default();
    let now = now();
    let fresh = |line: &str| {
        let mut words = line.split(' ');
        let address = words.next()?.parse().ok()?;
        let seen: u64 = words.nth(1)?.parse().ok()?;
        (seen + MEMORY.as_secs() > now).then_some(address)
    };
    text.lines().filter_map(fresh).collect()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn path(home: &Home, network_id: &str) -> PathBuf {
    home.networks().join(network_id).join("foreign")
}
