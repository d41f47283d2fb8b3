//! Leases: who has which address of a network.
//!
//! One text file per network, one lease a line:
//!
//! ```text
//! held 172.16.86.2 02:42:ac:10:56:02 CONTAINER ENDPOINT my-macvlan-alpine
//! ```
//!
//! A lease belongs to its container until the container is removed, so the address survives stop,
//! start and reboot. A new lease is a line at the end of the file, a release rewrites the file; both
//! under an exclusive flock(2) of the network's directory. A line without its newline is one whose
//! writer died on the way: it does not count.
//!
//! The first word is `held` or `free`. `free` with the rest of the line still there means that the
//! container is gone but its link is just being deleted, which takes the kernel some 20 ms; its hardware
//! address, which follows from the IP address, is in use until then. Such an address is passed over;
//! who asks for just that one waits a moment.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use super::claim::is_claimed;
use super::{Home, new_id, write_whole};
use crate::net::endpoint::{Endpoint, Mac};
use crate::net::ipam::{self, Refusal};
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
    /// `--mac-address`.
    pub mac: Option<Mac>,
    /// `--network-alias`.
    pub aliases: Vec<String>,
    /// The interface's name in the container; empty means `eth0`.
    pub ifname: String,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whether the container still has it.
    pub state: State,
    /// The address.
    pub address: Ipv4Addr,
    /// The hardware address.
    pub mac: Mac,
    /// The container's id.
    pub container: String,
    /// The endpoint's id.
    pub endpoint: String,
    /// The container's name.
    pub name: String,
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

/// Claims an address of `network`: the one that is asked for, or the lowest that is free. A container
/// that has a lease in the network already keeps it.
pub fn claim(home: &Home, network: &Network, request: Request) -> Result<Endpoint> {
    let patience = Instant::now() + PATIENCE;
    let mut reclaimed = false;
    loop {
        let refusal = {
            let _lock = lock(home, &network.id)?.with_context(|| not_found(network))?;
            match try_claim(home, network, &request)? {
                Ok(endpoint) => return Ok(endpoint),
                Err(refusal) => refusal,
            }
        };
        let dropped = !reclaimed && reclaim(home, &network.id)? > 0;
        reclaimed = true;
        if dropped {
            continue;
        }
        if Instant::now() > patience || !is_about_to_end(home, network, &refusal)? {
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
    let text = read(&path)?;
    let Some(at) = line_of(&text, container).map(|line| line.at) else {
        return Ok(());
    };
    let file = std::fs::OpenOptions::new().write(true).open(&path);
    file.and_then(|file| file.write_all_at(FREE.as_bytes(), at as u64))
        .with_context(|| format!("write {}", path.display()))
}

/// Releases the lease of `container`. A lease or a network that is gone already is no error.
pub fn release(home: &Home, network_id: &str, container: &str) -> Result<()> {
    let Some(_lock) = lock(home, network_id)? else {
        return Ok(());
    };
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
    let text = read(&path)?;
    lines(&text)
        .map(|line| line.lease())
        .collect::<Option<_>>()
        .with_context(|| format!("{} is damaged", path.display()))
}

const HELD: &str = "held";
const FREE: &str = "free";

/// A line of the file, in its parts.
struct Line<'a> {
    /// Where it begins, in bytes from the start of the file.
    at: usize,
    text: &'a str,
    state: &'a str,
    address: &'a str,
    mac: &'a str,
    container: &'a str,
    endpoint: &'a str,
    name: &'a str,
}

impl Line<'_> {
    fn is_of(&self, container: &str) -> bool {
        self.container == container
    }

    fn lease(&self) -> Option<Lease> {
        Some(Lease {
            state: match self.state {
                HELD => State::Held,
                FREE => State::Releasing,
                _ => return None,
            },
            address: self.address.parse().ok()?,
            mac: self.mac.parse().ok()?,
            container: self.container.to_owned(),
            endpoint: self.endpoint.to_owned(),
            name: self.name.to_owned(),
        })
    }
}

/// The whole lines of the file.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut at = 0;
    text.split_inclusive('\n').filter_map(move |text| {
        let start = at;
        at += text.len();
        let mut words = text.strip_suffix('\n')?.split(' ');
        Some(Line {
            at: start,
            text,
            state: words.next()?,
            address: words.next()?,
            mac: words.next()?,
            container: words.next()?,
            endpoint: words.next()?,
            name: words.next()?,
        })
    })
}

/// The line of `container`. Looked for as text, since there may be ten thousand lines.
fn line_of<'a>(text: &'a str, container: &str) -> Option<Line<'a>> {
    let at = text.find(&format!(" {container} "))?;
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let line = lines(&text[start..]).next()?;
    (line.container == container).then_some(Line { at: start, ..line })
}

/// The addresses of all lines; `None` if one is no address.
fn addresses(text: &str) -> Option<Vec<Ipv4Addr>> {
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| line.split(' ').nth(1)?.parse().ok())
        .collect()
}

/// One try, under the lock. The inner error is one that time may cure.
fn try_claim(
    home: &Home,
    network: &Network,
    request: &Request,
) -> Result<Result<Endpoint, Refusal>> {
    let path = path(home, &network.id);
    let text = read(&path)?;
    if let Some(line) = line_of(&text, &request.container)
        && line.state == HELD
    {
        let lease = line
            .lease()
            .with_context(|| format!("{} is damaged", path.display()))?;
        return Ok(Ok(endpoint(network, request, &lease)?));
    }
    let mut taken = addresses(&text).with_context(|| format!("{} is damaged", path.display()))?;
    taken.sort_unstable();
    let address = match request.ip {
        Some(ip) => ipam::requested(network, ip, &taken),
        None => ipam::next(network, &taken),
    };
    let address = match address {
        Ok(address) => address.addr(),
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mac = request.mac.unwrap_or_else(|| Mac::of(address));
    check_mac(&text, request, mac)?;
    let lease = Lease {
        state: State::Held,
        address,
        mac,
        container: request.container.clone(),
        endpoint: new_id()?,
        name: request.name.clone(),
    };
    append(&path, &text, &lease)?;
    Ok(Ok(endpoint(network, request, &lease)?))
}

/// A hardware address that was asked for must not be another container's.
fn check_mac(text: &str, request: &Request, mac: Mac) -> Result<()> {
    if request.mac.is_none() {
        return Ok(());
    }
    let mac = mac.to_string();
    if let Some(line) = lines(text).find(|line| line.mac == mac) {
        bail!(
            "the MAC address {mac} is in use by the container {}",
            line.name
        );
    }
    Ok(())
}

fn endpoint(network: &Network, request: &Request, lease: &Lease) -> Result<Endpoint> {
    let subnet = network
        .subnets
        .iter()
        .find(|pool| pool.subnet.contains(&std::net::IpAddr::V4(lease.address)))
        .with_context(|| format!("no subnet of {} has {}", network.name, lease.address))?
        .subnet;
    Ok(Endpoint {
        network: network.name.clone(),
        network_id: network.id.clone(),
        endpoint_id: lease.endpoint.clone(),
        parent: network.parent.clone(),
        mode: network.mode,
        mtu: None,
        ifname: match request.ifname.as_str() {
            "" => "eth0".to_owned(),
            name => name.to_owned(),
        },
        mac: lease.mac,
        ipv4: Some(ipnet::Ipv4Net::new(lease.address, subnet.prefix_len())?),
        gateway: ipam::gateway(network, lease.address),
        ipv6: None,
        ipv6_gateway: None,
        requested_ipv4: request.ip,
        requested_mac: request.mac,
        aliases: request.aliases.clone(),
        internal: network.internal,
    })
}

/// Adds a line. What is left of a writer that died is cut off first.
fn append(path: &Path, text: &str, lease: &Lease) -> Result<()> {
    ensure!(
        !lease.name.contains(char::is_whitespace) && !lease.container.is_empty(),
        "invalid container name {:?}",
        lease.name
    );
    let line = format!(
        "{HELD} {} {} {} {} {}\n",
        lease.address, lease.mac, lease.container, lease.endpoint, lease.name
    );
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64)?;
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

/// Whether what stands in the way is a lease that is being released.
fn is_about_to_end(home: &Home, network: &Network, refusal: &Refusal) -> Result<bool> {
    let releasing = |line: &Line<'_>| match refusal {
        Refusal::Taken(address) => {
            line.state == FREE && line.address.parse().as_ref() == Ok(address)
        }
        Refusal::Full { .. } => line.state == FREE,
        _ => false,
    };
    let text = read(&path(home, &network.id))?;
    let about_to_end = lines(&text).any(|line| releasing(&line));
    // Released between the refusal and now: try again.
    let gone = match refusal {
        Refusal::Taken(address) => {
            !lines(&text).any(|line| line.address.parse().as_ref() == Ok(address))
        }
        _ => false,
    };
    Ok(about_to_end || gone)
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
