//! A network, as it was declared.
//!
//! A network is a promise, no thing in the kernel: which addresses may be given out, by which router
//! one leaves, and on which link of the host the containers' macvlans will sit. Only when a container
//! starts does the kernel hear of it ([`super::link`]). So a network survives a reboot by being a
//! file, and there is nothing that could be lost.
//!
//! How a declaration is checked is in [`super::declare`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::kind::{Ipam, Ipv6Policy, IpvlanFlag, IpvlanMode, Kind, MacvlanMode};

/// A network, as `network create` declared it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name that the user gave.
    pub name: String,
    /// When it was declared.
    pub created: Timestamp,
    /// Which kind of link its containers get.
    pub driver: Driver,
    /// Whether containers get no default route.
    pub internal: bool,
    /// Whether IPv4 addresses are given out.
    pub enable_ipv4: bool,
    /// Where IPv6 addresses come from, if any.
    pub ipv6: Ipv6Policy,
    /// Who gives the addresses out.
    pub ipam: Ipam,
    /// The address pools of both families, in the order in which they were declared.
    pub subnets: Vec<Pool>,
    /// The host's link that the containers' links sit on; empty for the predefined networks.
    pub parent: Parent,
    /// Largest packet in bytes; `None` takes the parent's.
    pub mtu: Option<u32>,
    /// What containers are told beside the default route, `--route`.
    pub routes: Vec<Route>,
    /// The options as given, `-o KEY=VALUE`.
    pub options: BTreeMap<String, String>,
    /// The labels as given, `--label KEY=VALUE`.
    pub labels: BTreeMap<String, String>,
}

/// One address pool of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The subnet as the LAN knows it.
    pub subnet: IpNet,
    /// The part of the subnet from which addresses are given out; `None` is all of it.
    pub ip_range: Option<IpRange>,
    /// The LAN's router.
    pub gateway: Option<IpAddr>,
    /// Addresses that something else on the LAN has, by a name for each.
    pub aux: BTreeMap<String, IpAddr>,
}

/// Addresses from the first to the last. Written as a prefix where it is one, else as `a-b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    /// The lowest.
    pub first: IpAddr,
    /// The highest.
    pub last: IpAddr,
}

impl IpRange {
    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && self.first <= address && address <= self.last
    }
}

impl From<IpNet> for IpRange {
    /// All of a prefix, its first and last address included.
    fn from(net: IpNet) -> IpRange {
        IpRange {
            first: net.network(),
            last: net.broadcast(),
        }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = if self.first.is_ipv4() { 32 } else { 128 };
        let prefix = (0..=longest)
            .filter_map(|length| IpNet::new(self.first, length).ok())
            .find(|net| IpRange::from(*net) == *self);
        match prefix {
            Some(net) => net.fmt(f),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// A text that is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid ip-range {0}: write it as 172.16.86.128/25 or as 172.16.86.10-172.16.86.99")]
pub struct NoRange(pub String);

impl FromStr for IpRange {
    type Err = NoRange;

    fn from_str(text: &str) -> Result<IpRange, NoRange> {
        let no = || NoRange(text.to_owned());
        if let Some((first, last)) = text.split_once('-') {
            let first: IpAddr = first.parse().map_err(|_| no())?;
            let last: IpAddr = last.parse().map_err(|_| no())?;
            if first.is_ipv4() != last.is_ipv4() || first > last {
                return Err(no());
            }
            return Ok(IpRange { first, last });
        }
        text.parse::<IpNet>().map(IpRange::from).map_err(|_| no())
    }
}

impl Serialize for IpRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IpRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<IpRange, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A route that containers get beside the default route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub dst: IpNet,
    /// Through which router.
    pub via: IpAddr,
    /// The lower, the better, among several to one destination; `None` is the kernel's default.
    pub metric: Option<u32>,
}

/// The host's link below the containers' links.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Parent {
    /// Its name.
    pub link: String,
    /// What rmac has made and makes again when it is missing, the lowest first; empty if the link is
    /// somebody else's.
    pub made: Vec<Lower>,
    /// Which Ethernet segment it leads to.
    pub segment: Segment,
}

/// A link of the host that rmac makes for a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lower {
    /// An 802.1Q sub-interface.
    Vlan {
        /// Its name.
        link: String,
        /// The link that carries the tagged frames.
        base: String,
        /// The tag, 1 to 4094.
        vid: u16,
    },
    /// A link that leads nowhere, for a network without a parent.
    Isolated {
        /// Its name.
        link: String,
    },
}

impl Lower {
    /// The link's name.
    pub fn link(&self) -> &str {
        match self {
            Lower::Vlan { link, .. } | Lower::Isolated { link } => link,
        }
    }
}

impl Parent {
    /// Whether the network leads nowhere but to its own containers.
    pub fn is_isolated(&self) -> bool {
        matches!(self.made.as_slice(), [Lower::Isolated { .. }])
    }
}

/// An Ethernet segment: all that a broadcast reaches. Two networks on one segment must not give out
/// the same addresses, on two they may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Segment {
    /// The link that leads there.
    pub base: String,
    /// The VLAN tags, the outermost first.
    pub vids: Vec<u16>,
}

/// Which kind of link a network's containers get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// None: they share the host's network namespace.
    Host,
    /// Loopback only.
    None,
    /// A link of their own on the LAN behind the parent.
    Lan(Kind),
}

impl fmt::Display for Driver {
    /// Docker's name of the driver; that of the network `none` is `null`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Driver::Lan(kind) => kind.driver(),
            Driver::Host => "host",
            Driver::None => "null",
        })
    }
}

impl Network {
    /// The two networks that always exist: `host` and `none`.
    pub fn predefined() -> [Network; 2] {
        [
            fixed(
                "host",
                Driver::Host,
                "b13f5d0a7c2e4986a1d07f3be5426c98d4ef10c7359ab862e70d5c41f983a26b",
            ),
            fixed(
                "none",
                Driver::None,
                "e6029c84d1f75ab3903b6e28c4d7f150a95c3de2476b81f04a1c97d85e32fb60",
            ),
        ]
    }

    /// Whether this is one of the [`Network::predefined`] networks.
    pub fn is_predefined(&self) -> bool {
        !matches!(self.driver, Driver::Lan(_))
    }
}

/// A predefined network; its id is the same everywhere, so that nothing need be stored.
fn fixed(name: &str, driver: Driver, id: &str) -> Network {
    Network {
        id: id.to_owned(),
        name: name.to_owned(),
        created: Timestamp::UNIX_EPOCH,
        driver,
        internal: false,
        enable_ipv4: true,
        ipv6: Ipv6Policy::Off,
        ipam: Ipam::None,
        subnets: Vec::new(),
        parent: Parent::default(),
        mtu: None,
        routes: Vec::new(),
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_reads_back_as_it_was_written() {
        for network in Network::predefined() {
            assert_eq!(network.id.len(), 64);
            let json = serde_json::to_string(&network).unwrap();
            assert_eq!(serde_json::from_str::<Network>(&json).unwrap(), network);
        }
    }

    #[test]
    fn modes_are_docker_s() {
        for name in ["bridge", "private", "vepa", "passthru"] {
            assert_eq!(name.parse::<MacvlanMode>().unwrap().to_string(), name);
        }
        assert!("source".parse::<MacvlanMode>().is_err());
    }
}
