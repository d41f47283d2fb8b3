//! The kinds of links that containers get, and their modes.
//!
//! Both put several links on top of one. A **macvlan** has a hardware address of its own, so the LAN
//! sees one station more. An **ipvlan** shares the parent's hardware address and is told apart by its
//! IP address: for switches and access points that accept one hardware address a port. One parent
//! carries one kind or the other, never both. ip-link(8), Documentation/networking/ipvlan.rst.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a container's link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A link with a hardware address of its own.
    Macvlan {
        /// Who may speak to whom.
        mode: MacvlanMode,
        /// How many broadcasts may wait for delivery; `None` is the kernel's 1000.
        bcqueuelen: Option<u32>,
        /// From how many receivers on a broadcast is put off; `None` is the kernel's choice.
        bclim: Option<i32>,
    },
    /// A link with the parent's hardware address; frames are told apart by their IP addresses.
    Ipvlan {
        /// On which layer.
        mode: IpvlanMode,
        /// Who may speak to whom.
        flag: IpvlanFlag,
    },
}

impl Kind {
    /// A macvlan in bridge mode: what most networks are.
    pub const BRIDGE: Kind = Kind::Macvlan {
        mode: MacvlanMode::Bridge,
        bcqueuelen: None,
        bclim: None,
    };

    /// The driver's name.
    pub fn driver(self) -> &'static str {
        match self {
            Kind::Macvlan { .. } => "macvlan",
            Kind::Ipvlan { .. } => "ipvlan",
        }
    }

    /// Whether the link routes and speaks no ARP: it has no router, everything goes into the link.
    pub fn is_layer_3(self) -> bool {
        matches!(
            self,
            Kind::Ipvlan {
                mode: IpvlanMode::L3 | IpvlanMode::L3s,
                ..
            }
        )
    }

    /// Whether it wants the parent for itself.
    pub fn is_passthru(self) -> bool {
        matches!(
            self,
            Kind::Macvlan {
                mode: MacvlanMode::Passthru,
                ..
            }
        )
    }
}

/// What an ipvlan does with frames, ip-link(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// It switches: containers take part in ARP and broadcasts.
    #[default]
    L2,
    /// It routes: no ARP, no broadcast, no multicast.
    L3,
    /// As `l3`, and packets pass the host's netfilter.
    L3s,
}

/// Who may speak to whom among the ipvlans of one parent, ip-link(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanFlag {
    /// All with each other.
    #[default]
    Bridge,
    /// None with another.
    Private,
    /// Through the switch only.
    Vepa,
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

/// Where a container's IPv6 addresses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipv6Policy {
    /// There are none: IPv6 is switched off on the link.
    #[default]
    Off,
    /// From the network's pools only; what routers advertise is not listened to.
    Static,
    /// From the advertisements of the LAN's routers, RFC 4862.
    Slaac,
}

/// Who gives addresses out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipam {
    /// rmac, from the network's pools.
    #[default]
    Default,
    /// The LAN's DHCP server.
    Dhcp,
    /// Nobody: the container has a link and no address.
    None,
}

/// Names for the variants of an enum, as `-o` and ip-link(8) have them.
macro_rules! named {
    ($type:ident, $what:literal, $whose:literal, $($variant:ident = $name:literal),+) => {
        impl $type {
            /// Its name, as in `-o` and ip-link(8).
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = Unknown;

            fn from_str(text: &str) -> Result<$type, Unknown> {
                match text {
                    $($name => Ok($type::$variant),)+
                    "" => Ok($type::default()),
                    other => Err(Unknown {
                        what: $what,
                        whose: $whose,
                        name: other.to_owned(),
                        default: $type::default().as_str(),
                        known: [$($name),+].join(", "),
                    }),
                }
            }
        }
    };
}

named!(
    MacvlanMode,
    "macvlan mode",
    "mode is the macvlan driver default",
    Bridge = "bridge",
    Private = "private",
    Vepa = "vepa",
    Passthru = "passthru"
);
named!(
    IpvlanMode,
    "ipvlan mode",
    "mode is the ipvlan driver default",
    L2 = "l2",
    L3 = "l3",
    L3s = "l3s"
);
named!(
    IpvlanFlag,
    "ipvlan flag",
    "is the ipvlan driver default",
    Bridge = "bridge",
    Private = "private",
    Vepa = "vepa"
);
named!(
    Ipv6Policy,
    "ipv6 policy",
    "is the default",
    Off = "off",
    Static = "static",
    Slaac = "slaac"
);
named!(
    Ipam,
    "ipam driver",
    "is the default",
    Default = "default",
    Dhcp = "dhcp",
    None = "none"
);

/// A name that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("requested {what} '{name}' is not valid, '{default}' {whose}; known are: {known}")]
pub struct Unknown {
    what: &'static str,
    whose: &'static str,
    name: String,
    default: &'static str,
    known: String,
}
