//! What a user may declare as a network.
//!
//! Every check that can be made with what is known of the networks that exist and of the host's links,
//! both of which are data here: the arithmetic of subnets, names, options, parents. The texts of the
//! errors are Docker's, so that what one finds on the web about them helps here too; where Docker's
//! text leaves the reader alone, a cause or a cure follows.

mod neighbours;
mod options;
mod pools;

pub use neighbours::shares;
pub use options::{IPVLAN_OPTIONS, MACVLAN_OPTIONS, announce, parent_wait};

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use jiff::Timestamp;

use super::host::{self, Host};
use super::host_access;
use super::ipam;
use super::network::{Driver, Ipv6Policy, Kind, Lower, Network, Parent, Segment};

/// A network as the flags of `network create` describe it, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declaration {
    /// The name.
    pub name: String,
    /// `-d`: empty means macvlan.
    pub driver: String,
    /// `--subnet`, in CIDR notation.
    pub subnets: Vec<String>,
    /// `--ip-range`, in CIDR notation, as first-last, or `auto:SHARE/SHARES`.
    pub ip_ranges: Vec<String>,
    /// `--gateway`.
    pub gateways: Vec<String>,
    /// `--aux-address NAME=ADDRESS`.
    pub aux: Vec<String>,
    /// `--route DST,GATEWAY[,METRIC]`.
    pub routes: Vec<String>,
    /// `-o KEY=VALUE`.
    pub options: Vec<String>,
    /// `--label KEY[=VALUE]`.
    pub labels: Vec<String>,
    /// `--internal`.
    pub internal: bool,
    /// `--ipv4=false` switches IPv4 off.
    pub ipv4: bool,
    /// `--ipv6`: true, false, static, slaac or off; empty follows the subnets.
    pub ipv6: String,
    /// `--ipam-driver`: default, dhcp or none; empty means default.
    pub ipam: String,
}

impl Network {
    /// Checks `declaration` against itself, against the `existing` networks and against the `host`,
    /// and makes the network `id` of it, declared at `created`.
    pub fn declare(
        declaration: &Declaration,
        existing: &[Network],
        host: &Host,
        id: String,
        created: Timestamp,
    ) -> Result<Network> {
        check_name(&declaration.name, existing)?;
        check_driver(&declaration.driver)?;
        let options = pairs("-o", &declaration.options)?;
        let kind = options::kind(&declaration.driver, &options)?;
        let parent = parent(&options, kind, existing, host, &id)?;
        let mut subnets = pools::pools(declaration)?;
        pools::add_on_link_gateway(&mut subnets, &options, kind)?;
        let ipam = declaration.ipam.parse()?;
        let ipv6 = ipv6(declaration, &subnets)?;
        pools::complete(
            &mut subnets,
            declaration,
            &parent,
            existing,
            ipv6,
            ipam,
            &id,
        )?;
        let network = Network {
            mtu: options::mtu(&options, &parent, host)?,
            // As Docker: what leads nowhere needs no default route.
            internal: declaration.internal || parent.is_isolated(),
            enable_ipv4: declaration.ipv4,
            routes: pools::routes(&declaration.routes, &subnets, kind)?,
            id,
            name: declaration.name.clone(),
            created,
            driver: Driver::Lan(kind),
            ipv6,
            ipam,
            subnets,
            parent,
            options,
            labels: labels(&declaration.labels),
        };
        check_host_access(&network)?;
        neighbours::check(&network, existing)?;
        Ok(network)
    }
}

/// The host's own addresses for its containers: of the network's subnets, and nobody else's.
fn check_host_access(network: &Network) -> Result<()> {
    let Some(text) = network.options.get("host_access") else {
        return Ok(());
    };
    for address in host_access::own(text)?.addresses() {
        // Without subnets of ours (--ipam-driver=dhcp) only the user can know.
        if !network.subnets.is_empty() {
            ipam::requested(network, address, &[])
                .with_context(|| format!("invalid option host_access={text}"))?;
        }
    }
    Ok(())
}

/// The link that `-o parent` and `-o vlan` mean; without either, one that leads nowhere.
fn parent(
    options: &BTreeMap<String, String>,
    kind: Kind,
    existing: &[Network],
    host: &Host,
    id: &str,
) -> Result<Parent> {
    let made: Vec<Lower> = existing
        .iter()
        .flat_map(|network| network.parent.made.iter().cloned())
        .collect();
    let vids = match options.get("vlan") {
        Some(text) => text.split('.').map(host::tag).collect::<Result<Vec<_>>>()?,
        None => vec![],
    };
    ensure!(
        vids.len() <= 2,
        "at most two VLAN tags, as in -o vlan=10.20"
    );
    let default = || {
        host.default_route.as_deref().context(
            "this host has no default route whose link could be the parent: name one with -o parent=eth0 (see: ip link)",
        )
    };
    match options.get("parent").map(String::as_str) {
        None | Some("") if vids.is_empty() => Ok(isolated(kind, id)),
        None | Some("" | "auto") => host.tagged(default()?, &vids, &made),
        Some(name) => {
            options::check_parent_name(name, kind)?;
            host.tagged(name, &vids, &made)
        }
    }
}

/// A link that leads nowhere, with Docker's name for it.
fn isolated(kind: Kind, id: &str) -> Parent {
    let prefix = match kind {
        Kind::Macvlan { .. } => "dm",
        Kind::Ipvlan { .. } => "di",
    };
    let link = format!("{prefix}-{}", &id[..id.len().min(12)]);
    Parent {
        segment: Segment {
            base: link.clone(),
            vids: vec![],
        },
        made: vec![Lower::Isolated { link: link.clone() }],
        link,
    }
}

/// `--ipv6`, or else what the subnets say.
fn ipv6(declaration: &Declaration, subnets: &[super::network::Pool]) -> Result<Ipv6Policy> {
    let given = subnets.iter().find(|pool| pool.subnet.addr().is_ipv6());
    let policy = match declaration.ipv6.as_str() {
        "" if given.is_some() => Ipv6Policy::Static,
        "" | "false" => Ipv6Policy::Off,
        "true" => Ipv6Policy::Static,
        other => other.parse()?,
    };
    if let (Ipv6Policy::Off, Some(pool)) = (policy, given) {
        bail!(
            "conflicting options: IPv6 is switched off, and the subnet {} is one: leave out one of the two",
            pool.subnet
        );
    }
    Ok(policy)
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
        "" | "macvlan" | "ipvlan" => Ok(()),
        "host" | "null" | "none" => bail!("only one instance of {driver:?} network is allowed"),
        other => {
            bail!("could not find the driver {other:?}: rmac has macvlan and ipvlan (-d macvlan)")
        }
    }
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
