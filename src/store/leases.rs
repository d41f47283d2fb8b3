//! Leases: who has which address of a network.
//!
//! One text file per network, one lease a line:
//!
//! ```text
//! held 172.16.86.2 02:42:ac:10:56:02 CONTAINER ENDPOINT my-macvlan-alpine
//! held 10.0.0.2,fd00::2 02:42:0a:00:00:02 CONTAINER ENDPOINT both
//! held - - CONTAINER ENDPOINT neither
//! ```
//!
//! A lease belongs to its container until the container is removed, so the address survives stop,
//! start and reboot. A new lease is a line at the end of the file; a release cuts it off where it is the
//! last one, and else rewrites the file. All under an exclusive flock(2) of the network's directory. A
//! line without its newline is one whose writer died on the way: it does not count.
//!
//! The first word is `held` or `free`. `free` with the rest of the line still there means that the
//! container is gone but its link is just being deleted, which takes the kernel some 20 ms; its hardware
//! address, which follows from the IP address, is in use until then. Such an address is passed over;
//! who asks for just that one waits a moment.
//!
//! Networks that give out of one subnet (each from its `--ip-range`) name each other in the file
//! `siblings`; what one has given the others do not give.

mod choose;
mod lines;
mod siblings;

pub use siblings::make_siblings;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use self::choose::{choose, endpoint, hardware_address};
use self::lines::{FREE, HELD, Line, lines};
use self::siblings::{Locked, lock_all, siblings, taken_by_sibling};
use super::claim::is_claimed;
use super::{Home, new_id, write_whole};
use crate::net::endpoint::{Endpoint, Mac};
use crate::net::ipam::Refusal;
use crate::net::network::Network;

/// What a container asks of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The container's id. Its directory exists, else the lease counts as left behind.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// `--ip`.
    pub ip: Option<Ipv4Addr>,
    /// `--ip6`.
    pub ip6: Option<Ipv6Addr>,
    /// Addresses that are somebody else's on the LAN, as a probe has found: not given out.
    pub avoid: Vec<IpAddr>,
    /// `--mac-address`.
    pub mac: Option<Mac>,
    /// `--network-alias`.
    pub aliases: Vec<String>,
    /// The interface's name in the container; empty means `eth0`.
    pub ifname: String,
    /// `--gw-priority`.
    pub gw_priority: i32,
    /// `--network name=N,driver-opt=KEY=VALUE`.
    pub driver_opts: BTreeMap<String, String>,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whether the container still has it.
    pub state: State,
    /// The IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// The hardware address, unless that is the parent's.
    pub mac: Option<Mac>,
    /// The container's id.
    pub container: String,
    /// The endpoint's id.
    pub endpoint: String,
    /// The container's name.
    pub name: String,
}

impl Lease {
    /// The addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.map(IpAddr::V4);
        ipv4.into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

/// Whether a lease's container still has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has.
    Held,
    /// It is gone, but the link is not yet.
    Releasing,
}

/// How long a claim waits for an address that is just being released.
const PATIENCE: Duration = Duration::from_secs(1);

/// Claims the addresses of an endpoint of `network`: those that are asked for, or the lowest that are
/// free, one of each family that the network gives out. A container that has a lease in the network
/// already keeps it.
pub fn claim(home: &Home, network: &Network, request: Request) -> Result<Endpoint> {
    let patience = Instant::now() + PATIENCE;
    let mut reclaimed = false;
    loop {
        let refusal = {
            let locked = lock_all(home, network)?;
            match try_claim(home, network, &request, &locked)? {
                Ok(endpoint) => return Ok(endpoint),
                Err(refusal) => refusal,
            }
        };
        let siblings = siblings(home, &network.id)?;
        if !reclaimed {
            reclaimed = true;
            let mut dropped = 0;
            for id in std::iter::once(&network.id).chain(&siblings) {
                dropped += reclaim(home, id)?;
            }
            if dropped > 0 {
                continue;
            }
        }
        if Instant::now() > patience || !is_about_to_end(home, network, &siblings, &refusal)? {
            return Err(refusal.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Marks the lease of `container` as about to be released: see [`State::Releasing`]. Cheap, to be
/// called before the caller of a container that removes itself has its answer.
pub fn releasing(home: &Home, network_id: &str, container: &str) -> Result<()> {
    let Some(_lock) = lock(home, network_id)? else {
        return Ok(());
    };
    let path = path(home, network_id);
    let mark = |file: &File| match lines::find(file, container)? {
        Some((at, _)) => file.write_all_at(FREE.as_bytes(), at),
        None => Ok(()),
    };
    let file = open(&path)?;
    file.map_or(Ok(()), |file| mark(&file))
        .with_context(|| format!("write {}", path.display()))
}

/// Releases the lease of `container`. A lease or a network that is gone already is no error.
pub fn release(home: &Home, network_id: &str, container: &str) -> Result<()> {
    let Some(_lock) = lock(home, network_id)? else {
        return Ok(());
    };
    let path = path(home, network_id);
    let Some(file) = open(&path)? else {
        return Ok(());
    };
    let context = || format!("change {}", path.display());
    let Some((at, line)) = lines::find(&file, container).with_context(context)? else {
        return Ok(());
    };
    if at + line.len() as u64 == file.metadata().with_context(context)?.len() {
        return file.set_len(at).with_context(context);
    }
    keep(home, network_id, |line| !line.is_of(container)).map(drop)
}

/// Drops the leases whose container does not exist any more, and says how many those were.
pub fn reclaim(home: &Home, network_id: &str) -> Result<usize> {
    let Some(_lock) = lock(home, network_id)? else {
        return Ok(0);
    };
    // Of a container that is on its way out the directory may be gone before the link is.
    keep(home, network_id, |line| {
        home.container(line.container).exists() || is_claimed(home, line.container)
    })
}

/// The leases of a network, in the order in which they were claimed.
pub fn list(home: &Home, network_id: &str) -> Result<Vec<Lease>> {
    let path = path(home, network_id);
    let text = {
        // The last line may be cut off and another one written just now.
        let _lock = lock(home, network_id)?;
        read(&path)?
    };
    lines(&text)
        .map(|line| line.lease())
        .collect::<Option<_>>()
        .with_context(|| format!("{} is damaged", path.display()))
}

/// One try, under the locks. The inner error is one that time may cure.
fn try_claim(
    home: &Home,
    network: &Network,
    request: &Request,
    locked: &Locked,
) -> Result<Result<Endpoint, Refusal>> {
    let path = path(home, &network.id);
    let damaged = || format!("{} is damaged", path.display());
    let file = open(&path)?;
    let looked = file.as_ref().map(|file| Seen::look(file, request));
    let looked = looked
        .transpose()
        .with_context(|| format!("read {}", path.display()))?;
    let seen = looked.unwrap_or_default();
    if let Some(line) = lines(&seen.own).next()
        && line.state == HELD
    {
        let lease = line.lease().with_context(damaged)?;
        return Ok(Ok(endpoint(network, request, &lease)?));
    }
    let mut taken = seen.taken.with_context(damaged)?;
    for id in &locked.siblings {
        taken.extend(taken_by_sibling(home, id)?);
    }
    taken.extend(&request.avoid);
    taken.sort_unstable();
    let chosen = match choose(network, request, &taken) {
        Ok(chosen) => chosen,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let endpoint_id = new_id()?;
    let mac = hardware_address(network, request, chosen, &endpoint_id)?;
    if let (Some(mac), Some(name)) = (request.mac, seen.same_mac) {
        bail!("the MAC address {mac} is in use by the container {name}");
    }
    let lease = Lease {
        state: State::Held,
        ipv4: chosen.0,
        ipv6: chosen.1,
        mac,
        container: request.container.clone(),
        endpoint: endpoint_id,
        name: request.name.clone(),
    };
    append(&path, seen.end, &lease)?;
    Ok(Ok(endpoint(network, request, &lease)?))
}

/// What a claim has to know of the leases that there are.
struct Seen {
    /// The line that the container has already, or nothing.
    own: String,
    /// The addresses; `None` where the file is damaged.
    taken: Option<Vec<IpAddr>>,
    /// The name of the container that has the hardware address that is asked for.
    same_mac: Option<String>,
    /// Where the last whole line ends, in bytes.
    end: u64,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            own: String::new(),
            taken: Some(vec![]),
            same_mac: None,
            end: 0,
        }
    }
}

impl Seen {
    /// Looks at each line once, since there may be ten thousand.
    fn look(file: &File, request: &Request) -> std::io::Result<Seen> {
        let mut seen = Seen::default();
        let mac = request.mac.map(|mac| mac.to_string());
        seen.end = super::lines::each(file, |_, text| {
            if lines::is_of(text, &request.container) {
                seen.own = String::from_utf8_lossy(text).into_owned();
            }
            if let Some(taken) = &mut seen.taken
                && lines::add_addresses(text, taken).is_none()
            {
                seen.taken = None;
            }
            if let Some(mac) = &mac
                && let Some(line) = lines(&String::from_utf8_lossy(text)).next()
                && line.mac == mac
            {
                seen.same_mac.get_or_insert_with(|| line.name.to_owned());
            }
        })?;
        Ok(seen)
    }
}

/// Adds a line. What is left of a writer that died is cut off first.
fn append(path: &Path, end: u64, lease: &Lease) -> Result<()> {
    ensure!(
        !lease.name.contains(char::is_whitespace) && !lease.container.is_empty(),
        "invalid container name {:?}",
        lease.name
    );
    let line = lines::line(lease);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        if file.metadata()?.len() > end {
            file.set_len(end)?;
        }
        file.write_all(line.as_bytes())
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Rewrites the file with the lines that `stay`, and says how many went. The lock is held.
fn keep(home: &Home, network_id: &str, stay: impl Fn(&Line<'_>) -> bool) -> Result<usize> {
    let path = path(home, network_id);
    let text = read(&path)?;
    let mut kept = String::with_capacity(text.len());
    let mut gone = 0;
    for line in lines(&text) {
        if stay(&line) {
            kept.push_str(line.text);
        } else {
            gone += 1;
        }
    }
    if gone > 0 {
        write_whole(&path, kept.as_bytes())?;
    }
    Ok(gone)
}

/// Whether what stands in the way is a lease that is being released, here or at a sibling.
fn is_about_to_end(
    home: &Home,
    network: &Network,
    siblings: &[String],
    refusal: &Refusal,
) -> Result<bool> {
    let mut ending = false;
    let mut there = false;
    for id in std::iter::once(&network.id).chain(siblings) {
        let text = read(&path(home, id))?;
        for line in lines(&text) {
            match refusal {
                Refusal::Taken(address) if line.has(*address) => {
                    there = true;
                    ending |= line.state == FREE;
                }
                Refusal::Full { .. } => ending |= line.state == FREE,
                _ => {}
            }
        }
    }
    // Released between the refusal and now: try again.
    let gone = matches!(refusal, Refusal::Taken(_)) && !there;
    Ok(ending || gone)
}

fn path(home: &Home, network_id: &str) -> PathBuf {
    home.networks().join(network_id).join("leases")
}

fn read(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        result => result.with_context(|| format!("read {}", path.display())),
    }
}

/// The file, to be changed where it lies; `None` where there is none.
fn open(path: &Path) -> Result<Option<File>> {
    match File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        file => file
            .map(Some)
            .with_context(|| format!("open {}", path.display())),
    }
}

/// Locks the leases of a network, by its directory: the file itself is replaced now and then.
/// `None` where there is no such network.
fn lock(home: &Home, network_id: &str) -> Result<Option<Flock<File>>> {
    let path = home.networks().join(network_id);
    let directory = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result.with_context(|| format!("open {}", path.display()))?,
    };
    match Flock::lock(directory, FlockArg::LockExclusive) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, errno)) => Err(errno).with_context(|| format!("lock {}", path.display())),
    }
}

fn not_found(network: &Network) -> String {
    format!("network {} not found", network.name)
}
