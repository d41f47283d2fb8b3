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
    /// Whether IPv6 addresses are given out.
    pub enable_ipv6: bool,
    /// The address pools, in the order in which they were declared.
    pub subnets: Vec<Pool>,
    /// The host's link that the macvlans sit on; empty for the predefined networks.
    pub parent: String,
    /// Who may speak to whom on the parent.
    pub mode: MacvlanMode,
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
    pub ip_range: Option<IpNet>,
    /// The LAN's router.
    pub gateway: Option<IpAddr>,
    /// Addresses that something else on the LAN has, by a name for each.
    pub aux: BTreeMap<String, IpAddr>,
}

/// Which kind of link a network's containers get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A link of their own on the LAN behind the parent.
    Macvlan,
    /// None: they share the host's network namespace.
    Host,
    /// Loopback only.
    None,
}

impl fmt::Display for Driver {
    /// Docker's name of the driver; that of the network `none` is `null`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Driver::Macvlan => "macvlan",
            Driver::Host => "host",
            Driver::None => "null",
        })
    }
}

/// Who may speak to whom among the macvlans of one parent, ip-link(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// All with each other, directly, and with the LAN.
    #[default]
    Bridge,
    /// Only with the LAN.
    Private,
    /// With each other only if the switch sends the frames back (a hairpin, IEEE 802.1Qbg).
    Vepa,
    /// A single one, which gets the parent for itself.
    Passthru,
}

impl MacvlanMode {
    /// The mode's name, as in `-o macvlan_mode=` and ip-link(8).
    pub fn as_str(self) -> &'static str {
        match self {
            MacvlanMode::Bridge => "bridge",
            MacvlanMode::Private => "private",
            MacvlanMode::Vepa => "vepa",
            MacvlanMode::Passthru => "passthru",
        }
    }
}

impl fmt::Display for MacvlanMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A `macvlan_mode` that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "requested macvlan mode '{0}' is not valid, 'bridge' mode is the macvlan driver default; the others are private, vepa and passthru"
)]
pub struct UnknownMode(pub String);

impl FromStr for MacvlanMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<MacvlanMode, UnknownMode> {
        match text {
            "" | "bridge" => Ok(MacvlanMode::Bridge),
            "private" => Ok(MacvlanMode::Private),
            "vepa" => Ok(MacvlanMode::Vepa),
            "passthru" => Ok(MacvlanMode::Passthru),
            other => Err(UnknownMode(other.to_owned())),
        }
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
        self.driver != Driver::Macvlan
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
        enable_ipv6: false,
        subnets: Vec::new(),
        parent: String::new(),
        mode: MacvlanMode::default(),
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
