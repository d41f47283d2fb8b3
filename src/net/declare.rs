//! What a user may declare as a network.
//!
//! Every check that needs no kernel: the arithmetic of subnets, names, options, and what does not go
//! together with the networks that exist. The texts of the errors are Docker's, so that what one finds
//! on the web about them helps here too; where Docker's text leaves the reader alone, a cause or a cure
//! follows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ipnet::IpNet;
use jiff::Timestamp;

use super::network::{Driver, MacvlanMode, Network, Pool};

/// A network as the flags of `network create` describe it, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declaration {
    /// The name.
    pub name: String,
    /// `-d`: empty means macvlan.
    pub driver: String,
    /// `--subnet`, in CIDR notation.
    pub subnets: Vec<String>,
    /// `--ip-range`, in CIDR notation.
    pub ip_ranges: Vec<String>,
    /// `--gateway`.
    pub gateways: Vec<String>,
    /// `--aux-address NAME=ADDRESS`.
    pub aux: Vec<String>,
    /// `-o KEY=VALUE`.
    pub options: Vec<String>,
    /// `--label KEY[=VALUE]`.
    pub labels: Vec<String>,
    /// `--internal`.
    pub internal: bool,
    /// `--ipv4=false` switches IPv4 off.
    pub ipv4: bool,
    /// `--ipv6`.
    pub ipv6: bool,
}

/// The options that the macvlan driver knows.
pub const OPTIONS: [&str; 2] = ["parent", "macvlan_mode"];

impl Network {
    /// Checks `declaration` against itself and against the `existing` networks, and makes the network
    /// `id` of it, declared at `created`.
    pub fn declare(
        declaration: &Declaration,
        existing: &[Network],
        id: String,
        created: Timestamp,
    ) -> Result<Network> {
        check_name(&declaration.name, existing)?;
        check_driver(&declaration.driver)?;
        ensure!(
            declaration.ipv4 && !declaration.ipv6,
            "IPv6 addresses are not given out yet: leave out --ipv6 and --ipv4=false"
        );
        let options = pairs("-o", &declaration.options)?;
        if let Some(unknown) = options.keys().find(|key| !OPTIONS.contains(&key.as_str())) {
            bail!(
                "unknown option {unknown:?} for a macvlan network; known are: {}",
                OPTIONS.join(", ")
            );
        }
        let mode: MacvlanMode = options
            .get("macvlan_mode")
            .map_or("", String::as_str)
            .parse()?;
        let parent = options.get("parent").cloned().unwrap_or_default();
        ensure!(
            !parent.is_empty(),
            "a macvlan network needs a link of the host to sit on: add -o parent=eth0 (networks without a parent are not built yet)"
        );
        check_parent_name(&parent)?;
        let subnets = pools(declaration)?;
        check_neighbours(&parent, mode, &subnets, existing)?;
        Ok(Network {
            id,
            name: declaration.name.clone(),
            created,
            driver: Driver::Macvlan,
            internal: declaration.internal,
            enable_ipv4: true,
            enable_ipv6: false,
            subnets,
            parent,
            mode,
            options,
            labels: labels(&declaration.labels),
        })
    }
}

/// The name: not taken, not predefined, and one that can be the name of a file.
fn check_name(name: &str, existing: &[Network]) -> Result<()> {
    ensure!(!name.is_empty(), "invalid name: name is empty");
    ensure!(
        !["host", "none", "bridge", "default"].contains(&name),
        "operation is not permitted on predefined {name} network"
    );
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    ensure!(
        name.chars().all(fits) && name.starts_with(|c: char| c.is_ascii_alphanumeric()),
        "invalid name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed"
    );
    ensure!(name.len() <= 255, "invalid name: longer than 255 bytes");
    ensure!(
        existing.iter().all(|other| other.name != name),
        "network with name {name} already exists"
    );
    Ok(())
}

fn check_driver(driver: &str) -> Result<()> {
    match driver {
        "" | "macvlan" => Ok(()),
        "host" | "null" | "none" => bail!("only one instance of {driver:?} network is allowed"),
        "ipvlan" => bail!("the driver ipvlan is not built yet: use -d macvlan"),
        other => bail!("could not find the driver {other:?}: rmac has macvlan (-d macvlan)"),
    }
}

/// What can be said of a parent without asking the kernel: whether it can be the name of a link at all.
fn check_parent_name(parent: &str) -> Result<()> {
    ensure!(
        parent != "lo",
        "loopback interface is not a valid macvlan parent link: name the link that leads to the LAN, such as eth0"
    );
    ensure!(
        parent.len() < 16 && !parent.contains(['/', ':']) && !parent.contains(char::is_whitespace),
        "invalid parent {parent:?}: a link's name has at most 15 characters, and no slash, colon or space"
    );
    Ok(())
}

/// Gives each gateway, range and auxiliary address to the subnet that contains it.
fn pools(declaration: &Declaration) -> Result<Vec<Pool>> {
    ensure!(
        !declaration.subnets.is_empty(),
        "ipv4 pool is empty: say which addresses the LAN behind the parent uses, such as --subnet=172.16.86.0/24 --gateway=172.16.86.1"
    );
    ensure!(
        declaration.subnets.len() >= declaration.ip_ranges.len()
            && declaration.subnets.len() >= declaration.gateways.len(),
        "every ip-range or gateway must have a corresponding subnet"
    );
    let mut pools: Vec<Pool> = Vec::new();
    for text in &declaration.subnets {
        let subnet = subnet(text)?;
        ensure!(
            pools.iter().all(|pool| !overlap(&pool.subnet, &subnet)),
            "multiple overlapping subnet configuration is not supported"
        );
        pools.push(Pool {
            subnet,
            ip_range: None,
            gateway: None,
            aux: BTreeMap::new(),
        });
    }
    for text in &declaration.ip_ranges {
        add_range(&mut pools, text)?;
    }
    for text in &declaration.gateways {
        add_gateway(&mut pools, text)?;
    }
    for (name, text) in pairs("--aux-address", &declaration.aux)? {
        let address = address("aux-address", &text)?;
        pool_of(&mut pools, address)
            .with_context(|| format!("no matching subnet for aux-address {text}"))?
            .aux
            .insert(name, address);
    }
    Ok(pools)
}

fn subnet(text: &str) -> Result<IpNet> {
    let subnet: IpNet = text.parse().map_err(|_| {
        anyhow!("invalid subnet {text}: invalid CIDR block notation, such as 172.16.86.0/24")
    })?;
    ensure!(
        subnet == subnet.trunc(),
        "invalid network config:\ninvalid subnet {text}: it should be {}",
        subnet.trunc()
    );
    ensure!(
        subnet.addr().is_ipv4(),
        "invalid subnet {text}: IPv6 addresses are not given out yet"
    );
    Ok(subnet)
}

fn add_range(pools: &mut [Pool], text: &str) -> Result<()> {
    let range: IpNet = text
        .parse()
        .map_err(|_| anyhow!("invalid ip-range {text}: invalid CIDR block notation"))?;
    let pool = pool_of(pools, range.addr())
        .with_context(|| format!("no matching subnet for range {text}"))?;
    if let Some(other) = pool.ip_range {
        bail!(
            "cannot configure multiple ranges ({text}, {other}) on the same subnet ({})",
            pool.subnet
        );
    }
    ensure!(
        pool.subnet.contains(&range),
        "invalid network config:\ninvalid ip-range {text}: parent subnet {} doesn't contain ip-range",
        pool.subnet
    );
    ensure!(
        range == range.trunc(),
        "invalid network config:\ninvalid ip-range {text}: it should be {}",
        range.trunc()
    );
    pool.ip_range = Some(range);
    Ok(())
}

fn add_gateway(pools: &mut [Pool], text: &str) -> Result<()> {
    let gateway = address("gateway", text)?;
    let pool = pool_of(pools, gateway)
        .with_context(|| format!("no matching subnet for gateway {text}"))?;
    if let Some(other) = pool.gateway {
        bail!(
            "cannot configure multiple gateways ({text}, {other}) for the same subnet ({})",
            pool.subnet
        );
    }
    ensure!(
        pool.subnet.max_prefix_len() - pool.subnet.prefix_len() < 2
            || (gateway != pool.subnet.network() && gateway != pool.subnet.broadcast()),
        "invalid gateway {text}: it is the network or the broadcast address of {}",
        pool.subnet
    );
    pool.gateway = Some(gateway);
    Ok(())
}

/// What does not go together with another network on the same parent. Two networks on different
/// parents are on different LANs and may use the same addresses.
fn check_neighbours(
    parent: &str,
    mode: MacvlanMode,
    pools: &[Pool],
    existing: &[Network],
) -> Result<()> {
    for other in existing
        .iter()
        .filter(|other| !other.is_predefined() && other.parent == parent)
    {
        if mode == MacvlanMode::Passthru {
            bail!(
                "cannot use mode passthru, macvlan network {} is already using parent interface {parent}",
                other.id
            );
        }
        if other.mode == MacvlanMode::Passthru {
            bail!(
                "macvlan network {} is already using parent interface {parent} in mode passthru",
                other.id
            );
        }
        for theirs in &other.subnets {
            if let Some(ours) = pools.iter().find(|o| overlap(&o.subnet, &theirs.subnet)) {
                bail!(
                    "invalid pool request: Pool overlaps with other one on this address space ({} here, {} in the network {}; remove it first with: rmac network rm {})",
                    ours.subnet,
                    theirs.subnet,
                    other.name,
                    other.name
                );
            }
        }
    }
    Ok(())
}

fn address(what: &str, text: &str) -> Result<IpAddr> {
    text.parse()
        .map_err(|_| anyhow!("invalid {what} {text}: not an IP address"))
}

fn pool_of(pools: &mut [Pool], address: IpAddr) -> Option<&mut Pool> {
    pools.iter_mut().find(|pool| pool.subnet.contains(&address))
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// `KEY=VALUE` texts as a map.
fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(anyhow!(
                "invalid argument {text:?} for {flag}: it should be KEY=VALUE"
            )),
        })
        .collect()
}

/// `KEY[=VALUE]` texts as a map.
fn labels(texts: &[String]) -> BTreeMap<String, String> {
    let label = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    texts.iter().map(label).collect()
}
